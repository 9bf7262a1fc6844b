"""Runs of several settings on one axis: as if each had been trained alone."""

import pytest
import tiny_bert
from bert_glue.devices import mesh
from bert_glue.records.run_store import RunStore
from bert_glue.study.configuration import Configuration, families
from bert_glue.study.progress import Progress
from bert_glue.study.study import Study
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed

# Whole runs, each of which compiles its own program.
pytestmark = pytest.mark.slow

RECIPE = METHODS["cwgnc"].replace(
    batch_size=8, epochs=2, learning_rate=5e-3, max_norm=1.0, dropout=0.1
)
SETTINGS = ({}, {"learning_rate": 1e-3, "max_norm": 0.05, "warmup_ratio": 0.5})
SEEDS = [Seed(0, 0), Seed(3, 1)]


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 44, 41)


@pytest.fixture(scope="module")
def configurations(subject):
    return [
        Configuration(subject, "tiny", RECIPE.replace(**settings))
        for settings in SETTINGS
    ]


def records_of(folder, configurations, parallel, notes=None, minutes=0.0):
    store = RunStore(folder)
    made = Study(
        configurations,
        SEEDS,
        store,
        parallel_seeds=parallel,
        checkpoint_minutes=minutes,
    )
    progress = Progress(made.runs_missing(), shown=False)
    if notes is not None:
        progress.note = notes.append
    made.run(progress)
    store.close()
    return {run["run"]: run for run in store.read()}


@pytest.fixture(scope="module")
def together(configurations, tmp_path_factory):
    return records_of(tmp_path_factory.mktemp("together"), configurations, 8)


def test_a_run_is_the_same_whatever_runs_beside_it(configurations, together, tmp_path):
    alone = records_of(tmp_path, configurations, 1)
    assert [run["group_size"] for run in together.values()] == [4] * 4
    assert [run["group_size"] for run in alone.values()] == [1] * 4
    # In the same order, configuration by configuration.
    assert [*together] == [*alone]
    assert len({run["configuration"] for run in alone.values()}) == 2
    for run, other in zip(together.values(), alone.values(), strict=True):
        differing = {key for key in run if run[key] != other[key]}
        # Sums of another order: as in the tests of the trainer.
        rounded = {"train_loss", "history"}
        assert differing <= rounded | {"seconds", "group_size", "finished"}
        assert run["train_loss"] == pytest.approx(other["train_loss"], rel=2e-4)
        for one, two in zip(run["history"], other["history"], strict=True):
            assert one["score"] == two["score"]
            assert one["train_loss"] == pytest.approx(two["train_loss"], rel=2e-4)
    losses = [run["train_loss"] for run in together.values()]
    assert min(abs(a - b) for a in losses for b in losses if a is not b) > 1e-3


def test_an_interrupted_group_of_two_settings_goes_on(
    configurations, together, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    # In the second evaluation, after a checkpoint.
    score, left = Configuration.score, iter(range(5))

    def score_until_killed(configuration, logits):
        if next(left, None) is None:
            raise Killed
        return score(configuration, logits)

    with monkeypatch.context() as patch:
        patch.setattr(Configuration, "score", score_until_killed)
        with pytest.raises(Killed):
            records_of(tmp_path, configurations, 8, minutes=1e-9)
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    assert checkpoint.name.startswith(configurations[0].name)
    notes = []
    # In another order of the settings, too.
    found = records_of(tmp_path, configurations[::-1], 8, notes, minutes=1e-9)
    assert sum("going on from" in note for note in notes) == 1
    assert not checkpoint.exists()
    assert found.keys() == together.keys()
    for name, run in found.items():
        # By the same program.
        assert run["history"] == together[name]["history"]
        assert run["score"] == together[name]["score"]


def test_what_may_lie_side_by_side(subject):
    def of(settings, method="cwgnc"):
        recipe = METHODS[method].replace(**settings)
        return Configuration(subject, "tiny", recipe)

    alike = [
        of(settings)
        for settings in (
            {},
            {"learning_rate": 1e-3},
            {"max_norm": 0.5, "b1": 0.8, "warmup_steps": 3},
        )
    ]
    others = [
        of({"epochs": 3}),
        of({"evaluations_per_epoch": 2}),
        of({"keep": "best"}),
        of({"batch_size": 8}),
        of({"clipping": "global"}),
        of({"dropout": 0.0}),
    ]
    dropouts = [of({"dropout": rate}) for rate in (0.2, 0.3)]
    mixed = [alike[0], *others, *dropouts, *alike[1:]]
    found = families(mixed, apart=False)
    assert found == [alike, *([each] for each in others), dropouts]
    assert families(mixed, apart=True) == [[each] for each in mixed]


def test_on_a_cpu_only_if_asked_for(configurations, tmp_path, monkeypatch):
    def plans(**options):
        study = Study(configurations, SEEDS, RunStore(tmp_path), **options)
        return [study.plan(each).group_size for each in configurations]

    assert plans() == [2, 2]
    assert plans(parallel_seeds=3) == [3, 3]
    assert plans(parallel_seeds=5) == [4, 4]
    monkeypatch.setattr(mesh, "on_cpu", lambda: False)
    assert plans() == [4, 4]
