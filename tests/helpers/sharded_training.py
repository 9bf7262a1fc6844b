"""Training on eight devices; test_mesh.py runs it."""

import re

import jax
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import load
from bert_glue.devices import mesh
from bert_glue.model.components import layer_components
from bert_glue.records.run_store import RunStore
from bert_glue.study.configuration import Configuration
from bert_glue.study.plan import Plan
from bert_glue.study.programs import make_trainers
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import train_group
from bert_glue.study.study import Study
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed

import cwgnc_jax

# As between a group and its seeds one by one (test_training.py): sums in another order
# differ by some 1e-7 relative, which Adam, at a learning rate of 5e-3 over 13 steps,
# passes on to the parameters at far less than 1e-4.
ROUNDING = {"rtol": 2e-4, "atol": 1e-4}

SEEDS = [Seed(4, 4), Seed(1, 1), Seed(2, 7)]

RECIPE = METHODS["cwgnc"].replace(
    learning_rate=5e-3,
    max_norm=0.05,
    batch_size=8,
    epochs=1,
    evaluations_per_epoch=2,
    keep="best",
)
# One of the runs has other numbers than those beside it.
OTHER = RECIPE.replace(learning_rate=2e-3, max_norm=0.02, weight_decay=0.1)
RECIPES = [RECIPE, OTHER, RECIPE]


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    # The last batch has 4 examples; 41 make no equal batches to evaluate either.
    train = tiny_bert.write_tsv(folder / "train.tsv", 100, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 41, seed=1)
    subject = subjects.prepare(load.load_files(train, dev), model)
    return Configuration(subject, "tiny", RECIPE)


def trainers_on(configuration, placement):
    return make_trainers(
        configuration,
        placement.round_up(len(SEEDS)),
        recipes=RECIPES,
        recording=True,
        placement=placement,
    )


def group_of(configuration, trainers):
    progress = Progress(len(SEEDS), shown=False)
    group = train_group(trainers, SEEDS, configuration.score, progress)
    return group, trainers[0].placement.fetch(group.params)


@pytest.fixture(scope="module")
def alone(configuration):
    return group_of(configuration, trainers_on(configuration, mesh.SINGLE))


def collectives(trainer):
    """What is exchanged between devices in the compiled training steps."""
    trainer.compile()
    [program] = trainer._train.values()
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    return re.findall(rf" ((?:{kinds})(?:-start)?)\(", program.compiled.as_text())


@pytest.mark.parametrize("axes", ["seed=8", "data=2,model=2"])
def test_equals_a_single_device(configuration, alone, axes):
    expected, params = alone
    assert jax.device_count() == 8
    placement = mesh.choose(mesh.parse_mesh(axes), len(SEEDS), RECIPE.batch_size)
    trainers = trainers_on(configuration, placement)
    if axes == "seed=8":
        # Devices with other seeds have nothing to say to each other.
        assert not collectives(trainers[0])
    else:
        assert collectives(trainers[0])
    found, found_params = group_of(configuration, trainers)
    assert [outcome.seed for outcome in found.outcomes] == SEEDS
    for ours, theirs in zip(found.outcomes, expected.outcomes, strict=True):
        # No logit is near the border of two answers.
        assert ours.score == theirs.score
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=2e-4)
        assert len(ours.history) == 2
    assert found.recorded.keys() == expected.recorded.keys()
    assert found.recorded.keys() > {"losses", "norms/0", "scales/0"}
    names = cwgnc_jax.component_names(configuration.subject.shapes, layer_components())
    # A key's bias adds the same to all scores of a query: its gradient is rounding, and
    # the way that it goes is no way to compare.
    aimless = np.array(["key/bias" in name for name in names])
    for name, values in expected.recorded.items():
        ours = found.recorded[name]
        if name.startswith("cosine_distance"):
            ours, values = ours[:, ~aimless], values[:, ~aimless]
        np.testing.assert_allclose(ours, values, **ROUNDING)
    assert 0.01 < expected.recorded["rmsd_from_initial/0"].max() < 0.1
    # The threshold divides the components, or the scales would show nothing.
    assert 0.1 < np.mean(expected.recorded["scales/0"] < 1) < 0.9
    for ours, theirs in zip(
        jax.tree.leaves(found_params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(ours[: len(SEEDS)], theirs, **ROUNDING)


def test_parameters_and_moments_lie_in_parts(configuration):
    placement = mesh.choose({"data": 2, "model": 2}, 3, RECIPE.batch_size)
    shapes = placement.state(
        jax.eval_shape(
            lambda: jax.tree.map(
                lambda leaf: jax.numpy.zeros((4, *leaf.shape)),
                configuration.subject.shapes,
            )
        )
    )
    layers = shapes["encoder"]["layers"]

    def spec(leaf):
        return tuple(leaf.sharding.spec)

    # Seeds on two places, the larger axis of a kernel in two parts; layers uncut.
    assert spec(layers["intermediate"]["kernel"]) == ("seed", None, None, "model")
    assert spec(layers["output"]["kernel"]) == ("seed", None, "model", None)
    assert spec(shapes["pooler"]["bias"]) == ("seed", None)
    whole = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    held = sum(
        np.prod(leaf.sharding.shard_shape(leaf.shape))
        for leaf in jax.tree.leaves(shapes)
    )
    # A quarter but for some vectors.
    assert 0.25 <= held / whole < 0.26


@pytest.mark.parametrize(
    ("axes", "batch", "message"),
    [
        ("seed=3,data=2", 8, "has 6 places, but there are 8 devices"),
        ("data=3", 9, "seed=2,data=3,model=1 has 6 places"),
        ("data=16", 16, "has 16 places"),
        ("data=4", 6, "batch of 6 examples cannot be cut into 4 equal parts"),
        ("data=2,model=2", 6, r"into 4 equal parts \(data=2, model=2\)"),
    ],
)
def test_meshes_that_do_not_fit(axes, batch, message):
    with pytest.raises(ValueError, match=message):
        mesh.choose(mesh.parse_mesh(axes), 4, batch)


@pytest.mark.parametrize(
    ("seeds", "batch", "chosen"),
    [
        (25, 16, "seed=8,data=1,model=1"),
        (5, 16, "seed=8,data=1,model=1"),
        (4, 16, "seed=4,data=2,model=1"),
        (3, 16, "seed=4,data=2,model=1"),
        (1, 16, "seed=1,data=8,model=1"),
        (1, 12, "seed=2,data=4,model=1"),
        (2, 3, "seed=8,data=1,model=1"),
    ],
)
def test_choice_of_a_mesh(seeds, batch, chosen):
    assert mesh.choose(None, seeds, batch).name == chosen


def test_each_core_has_a_run_of_its_own(configuration, tmp_path):
    """Ten runs of two settings share eight devices of a CPU, one on each."""
    other = Configuration(configuration.subject, "tiny", OTHER)
    seeds = [Seed(seed, seed) for seed in range(5)]
    study = Study([configuration, other], seeds, RunStore(tmp_path))
    for each in (configuration, other):
        assert study.plan(each) == Plan(
            8, "one on each device, which gains nothing from more"
        )
