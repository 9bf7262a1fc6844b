"""Every family is trained as BERT is: seeds, stages, Mixout, clipped components."""

import functools

import jax
import numpy as np
import pytest
import tiny_bert
import tiny_families
from bert_glue.data import load, metrics
from bert_glue.model import checkpoint
from bert_glue.model.components import layer_components
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import train_group
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed
from bert_glue.training.stages import make_stages
from bert_glue.training.trainer import Trainer

import cwgnc_jax

# One of each kind of positions, attention, layers and head.
FAMILIES = [
    pytest.param(case, family, id=case, marks=[pytest.mark.slow] if slow else ())
    for case, family, slow in (
        ("roberta", "roberta", True),
        ("albert_two_groups", "albert", True),
        ("mpnet", "mpnet", True),
        ("deberta_v3", "deberta-v2", True),
        ("modernbert", "modernbert", True),
        ("llama", "llama", False),
    )
]
SETTINGS = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 1, "dropout": 0.1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    train = tiny_bert.write_tsv(folder / "train.tsv", 24, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 11, seed=1)
    return load.load_files(train, dev)


@pytest.fixture(scope="module")
def prepared(files, tmp_path_factory):
    @functools.cache
    def prepare(case, family):
        folder = tiny_families.save(tmp_path_factory.mktemp("model"), case, family)
        return subjects.prepare(files, folder)

    return prepare


def train(subject, recipe, count=2):
    """A group of seeds, side by side."""
    workload = subject.workload(recipe)
    trainers = [
        Trainer(workload, recipe, count, buckets=(24,), stage=stage)
        for stage in make_stages(recipe, subject.shapes)
    ]
    labels = np.asarray(subject.evaluation.labels)

    def score(logits):
        return metrics.score("accuracy", subject.predictions(logits), labels)

    seeds = [Seed(seed, seed) for seed in range(count)]
    return train_group(trainers, seeds, score, Progress(1, shown=False))


def moved(subject, result):
    """How far each component of the first seed's model has moved."""
    first = jax.tree.map(lambda leaf: leaf[0], result.params)
    drawn = subject.init()(subject.pretrained, jax.random.key(0))
    layers = [first["encoder"], drawn["encoder"]]
    components = layer_components()
    names = cwgnc_jax.component_names({"encoder": layers[0]}, components)
    rmsd = cwgnc_jax.component_rmsd(*({"encoder": part} for part in layers), components)
    return dict(zip(names, np.asarray(rmsd), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("case", "family"), FAMILIES)
def test_families_are_trained_and_saved(prepared, case, family, tmp_path):
    """Beside another seed as alone, all of it, and transformers gets it back."""
    subject = prepared(case, family)
    recipe = METHODS["cwgnc"].replace(**SETTINGS, max_norm=0.1, mixout=0.3)
    both, alone = train(subject, recipe), train(subject, recipe, count=1)
    params = jax.device_get(jax.tree.map(lambda leaf: leaf[0], alone.params))
    # Three steps of 1e-3, each of which Adam may turn round for a gradient near zero.
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two[0], atol=1e-4),
        params,
        jax.device_get(both.params),
    )
    still = [name for name, distance in moved(subject, alone).items() if not distance]
    # The first layer of ModernBERT does not normalise what comes in.
    of_first = ["encoder/layers/attention_norm/scale[0]"]
    assert still == of_first * (not subject.config.norms_first_input)
    checkpoint.save(
        tmp_path,
        subject.config,
        params,
        labels=subject.task.labels,
        tokenizer_from=subject.folder,
    )
    again = checkpoint.read(tmp_path)
    filled = checkpoint.fill(again, subject.shapes, subject.task.labels)
    assert filled.initialised == ()
    jax.tree.map(np.testing.assert_array_equal, filled.params, params)
    assert (tmp_path / "tokenizer.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("case", "family"), FAMILIES)
def test_gradual_unfreezing_leaves_the_lower_layers_alone(prepared, case, family):
    subject = prepared(case, family)
    recipe = METHODS["cwgnc"].replace(**SETTINGS, unfreeze="gu", stages=1)
    distances = moved(subject, train(subject, recipe, count=1))
    top = f"[{subject.config.stacked_layers - 1}"
    assert {name for name, distance in distances.items() if distance} == {
        name for name in distances if top in name
    }


@pytest.mark.parametrize(("case", "family"), FAMILIES)
def test_pairs_are_enclosed_as_the_family_does(prepared, case, family):
    from transformers import AutoTokenizer

    subject = prepared(case, family)
    pairs = [("the cat sees", "a dog"), ("a bird", "the small red cat")]
    theirs = AutoTokenizer.from_pretrained(subject.folder)(pairs)["input_ids"]
    ours = subject.encode(load.Examples(pairs, None))
    for row, ids in enumerate(theirs):
        assert ours.input_ids[row, : len(ids)].tolist() == ids
        assert ours.lengths[row] == len(ids)
    assert not np.any(ours.token_type_ids) or subject.config.type_vocab_size > 1
