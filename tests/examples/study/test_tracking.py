"""What trackers are sent of runs; that none of them ends one."""

import json
import types

import numpy as np
import pytest
import tiny_bert
from bert_glue.records import trackers
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.run_store import RunStore
from bert_glue.records.trackers import Kind
from bert_glue.study.configuration import Configuration, Run
from bert_glue.study.progress import Progress
from bert_glue.study.study import Study
from bert_glue.study.tracking import GroupTracking, Tracking
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed
from bert_glue.training.segments import Segment
from bert_glue.training.trainer import TrainLog

# Whole runs, each of which compiles its own program.
pytestmark = pytest.mark.slow

SEEDS = [Seed(3, 3), Seed(0, 5)]
EVERY = 4


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 50, 20)


class Dead:
    """A tracker that dies in one of its calls."""

    def __init__(self, dies):
        self._dies = dies
        self._live("start")

    def log(self, values, step):
        self._live("log")

    def finish(self, summary):
        self._live("finish")

    def _live(self, call):
        if call == self._dies:
            raise SystemExit(f"no {call}\nmore") if call == "log" else OSError(call)


DEAD = {
    "dead at start": Kind(lambda run: Dead("start"), ""),
    "dead at log": Kind(lambda run: Dead("log"), ""),
    "dead at finish": Kind(lambda run: Dead("finish"), ""),
}


@pytest.fixture(scope="module")
def study(subject, tmp_path_factory):
    """Two runs of 14 steps in two epochs that are tracked, recorded, and interrupted
    by nothing, though three trackers die and one is not there."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = METHODS["cwgnc"].replace(
        learning_rate=5e-3, max_norm=0.05, batch_size=8, epochs=2
    )
    configuration = Configuration(subject, "tiny", recipe)
    notes = []
    kinds = trackers.KINDS | DEAD | {
        "absent": Kind(lambda run: __import__("absent_package"), "", "absent_package")
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trackers, "KINDS", kinds)
        patch.setattr(Progress, "note", lambda self, text: notes.append(text))
        records = RunStore(folder)
        logs = ComponentLogs(folder)
        found = Study(
            [configuration],
            SEEDS,
            records,
            component_logs=logs,
            tracking=Tracking([*DEAD, "absent", "jsonl"], folder, EVERY),
        )
        found.run(Progress(2, shown=False))
    return types.SimpleNamespace(
        records=records.read(), logs=logs, notes=notes, folder=folder
    )


def lines_of(study, run):
    path = study.folder / "tracking" / f"{run}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_losses_norms_and_rates_are_those_of_the_recording(study):
    assert len(study.records) == 2
    for record in study.records:
        log = study.logs.load(record["run"])
        _, *entries, _ = lines_of(study, record["run"])
        steps = [entry["step"] for entry in entries if "loss" in entry]
        # The stage's last step, too.
        assert steps == [4, 8, 12, 14]
        norms, scales = log.at_steps("norms"), log.at_steps("scales")
        layers = np.array(log.groups)
        for start, entry in zip(
            (0, 4, 8, 12), (e for e in entries if "loss" in e), strict=True
        ):
            span = slice(start, entry.pop("step"))
            expected = {"loss": log.losses[span].mean()}
            for layer in ("all", *dict.fromkeys(log.groups)):
                is_in = (layers == layer) | (layer == "all")
                name = layer.replace(" ", "_")
                of_steps = np.sqrt((norms[span][:, is_in] ** 2).sum(axis=1))
                expected[f"grad_norm/{name}"] = of_steps.mean()
                clipped = (scales[span][:, is_in] < 1).mean()
                expected[f"clip_rate/{name}"] = clipped
            assert entry.keys() == expected.keys()
            assert {"grad_norm/layer_1", "clip_rate/head"} < entry.keys()
            for name, value in expected.items():
                # Recorded norms have 11 bits of mantissa: an error of at most 2^-11.
                np.testing.assert_allclose(
                    entry[name], value, rtol=2**-11, err_msg=name
                )
        assert 0 < np.mean([e["clip_rate/all"] for e in entries if "loss" in e]) < 1


def test_settings_scores_and_summary(study):
    for record in study.records:
        first, *entries, last = lines_of(study, record["run"])
        settings = first["settings"]
        assert settings["max_norm"] == 0.05
        assert settings["task"] == record["task"]
        assert settings["seed"] == str(record["seed"])
        assert [
            (entry["step"], entry["epoch"], entry["score"])
            for entry in entries
            if "score" in entry
        ] == [(e["step"], e["epoch"], e["score"]) for e in record["history"]]
        names = ("score", "train_loss", "failed", "diverged_at", "steps", "seconds")
        assert last == {"summary": {name: record[name] for name in names}}


def test_dead_trackers_end_no_run_and_are_told_of_once(study):
    said = [note for note in study.notes if note.startswith("note: tracking")]
    assert said == [
        "note: tracking by dead at start ends, the runs go on (OSError: start)",
        "note: tracking by absent ends, the runs go on (it needs absent_package: "
        "pip install 'cwgnc-jax[absent]')",
        "note: tracking by dead at log ends, the runs go on (SystemExit: no log)",
        "note: tracking by dead at finish ends, the runs go on (OSError: finish)",
    ]
    assert all(record["score"] > 0 for record in study.records)


def test_how_long_it_takes_is_said_before_the_rest(study):
    (line,) = [note for note in study.notes if note.startswith("some ")]
    assert line.startswith("some 10 seconds for 2 runs, done at ")


def test_an_interrupted_run_is_ended_as_one(subject, tmp_path):
    configuration = Configuration(subject, "tiny", METHODS["cwgnc"])
    tracking = Tracking(["jsonl"], tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.group([Run(configuration, seed) for seed in SEEDS], lambda text: None),
    ):
        raise KeyboardInterrupt
    paths = sorted((tmp_path / "tracking").iterdir())
    assert len(paths) == 2
    for path in paths:
        assert json.loads(path.read_text().splitlines()[-1]) == {"summary": None}


def test_what_is_not_clipped_by_component_has_no_rates(subject):
    sent, trainer, group = [], *stub_of_two(subject)
    configuration = Configuration(subject, "tiny", METHODS["adamw"])
    tracking = GroupTracking(configuration, 2, 3, lambda *call: sent.append(call))
    log = TrainLog(np.ones((3, 3)), np.ones((3, 3, 2)), np.ones((3, 3, 2)))
    tracking._take(segment(3), trainer, group, log)
    # The third place of the group is nobody's.
    assert [(row, step) for row, _, _, step in sent] == [(0, 3), (1, 3)]
    assert sent[0][2] == {
        "loss": 1.0,
        "grad_norm/all": pytest.approx(2**0.5),
        "grad_norm/head": pytest.approx(2**0.5),
    }


def test_a_run_that_stopped_is_told_no_more(subject):
    sent, trainer, group = [], *stub_of_two(subject)
    configuration = Configuration(subject, "tiny", METHODS["adamw"])
    tracking = GroupTracking(configuration, 2, 2, lambda *call: sent.append(call))
    log = TrainLog(np.ones((2, 4)), np.ones((2, 4, 2)), np.ones((2, 4, 2)))
    group.stopped = [True, False]
    group.history = [[{"step": 2}], [{"step": 2}]]
    tracking._take(segment(4), trainer, group, log)
    assert [(row, step) for row, _, _, step in sent] == [(0, 2), (1, 2), (1, 4)]


def stub_of_two(subject):
    """A trainer of the classifier alone, and a group of two runs."""
    names = ("classifier/bias", "classifier/kernel")
    return (
        types.SimpleNamespace(component_names=names),
        types.SimpleNamespace(stopped=[False, False], history=[[], []]),
    )


def segment(stop):
    return Segment(0, 0, 0, stop, False, stop, False, False)
