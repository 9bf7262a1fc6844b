"""Every family is trained as BERT is: many seeds, stages, Mixout, clipped components."""

import jax
import numpy as np
import pytest
import tiny_bert
import tiny_families
from bert_glue.data import load, metrics
from bert_glue.model import checkpoint
from bert_glue.model.encoder import layer_components
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import train_group
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed
from bert_glue.training.stages import make_stages
from bert_glue.training.trainer import Trainer

import cwgnc_jax

# One of each kind of positions, attention, layers and head.
FAMILIES = {
    "roberta": "roberta",
    "albert_two_groups": "albert",
    "mpnet": "mpnet",
    "deberta_v3": "deberta-v2",
    "modernbert": "modernbert",
    "llama": "llama",
}
SETTINGS = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 1, "dropout": 0.1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    train = tiny_bert.write_tsv(folder / "train.tsv", 24, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 11, seed=1)
    return load.load_files(train, dev)


@pytest.fixture(scope="module", params=FAMILIES.items(), ids=FAMILIES)
def subject(request, files, tmp_path_factory):
    folder = tiny_families.save(tmp_path_factory.mktemp("model"), *request.param)
    return subjects.prepare(files, folder)


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


def test_all_layers_train_with_clipped_components(subject):
    recipe = METHODS["cwgnc"].replace(**SETTINGS, max_norm=0.1)
    distances = moved(subject, train(subject, recipe))
    still = [name for name, distance in distances.items() if not distance]
    # The first layer of ModernBERT does not normalise what comes in.
    of_first = ["encoder/layers/attention_norm/scale[0]"]
    assert still == of_first * (not subject.config.norms_first_input)


def test_gradual_unfreezing_leaves_the_lower_layers_alone(subject):
    recipe = METHODS["cwgnc"].replace(**SETTINGS, unfreeze="gu", stages=1)
    distances = moved(subject, train(subject, recipe))
    top = f"[{subject.config.stacked_layers - 1}"
    assert {top in name for name, distance in distances.items() if distance} == {True}
    assert {top in name for name, distance in distances.items() if not distance} == {
        False
    }


def test_a_seed_does_not_depend_on_those_beside_it(subject):
    recipe = METHODS["mixout"].replace(**SETTINGS)
    both, alone = train(subject, recipe), train(subject, recipe, count=1)
    np.testing.assert_allclose(
        both.outcomes[0].losses, alone.outcomes[0].losses, rtol=1e-4
    )


def test_what_was_trained_is_saved_for_transformers(subject, tmp_path):
    result = train(subject, METHODS["full"].replace(**SETTINGS), count=1)
    params = jax.device_get(jax.tree.map(lambda leaf: leaf[0], result.params))
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


def test_pairs_are_enclosed_as_the_family_does(subject):
    from transformers import AutoTokenizer

    pairs = [("the cat sees", "a dog"), ("a bird", "the small red cat")]
    theirs = AutoTokenizer.from_pretrained(subject.folder)(pairs)["input_ids"]
    ours = subject.encode(load.Examples(pairs, None))
    for row, ids in enumerate(theirs):
        assert ours.input_ids[row, : len(ids)].tolist() == ids
        assert ours.lengths[row] == len(ids)
    assert not np.any(ours.token_type_ids) or subject.config.type_vocab_size > 1
