"""The line that is recorded of a finished run."""

import types

import pytest
from bert_glue.devices.mesh import SINGLE
from bert_glue.study.run_group import GroupResult, Outcome
from bert_glue.study.run_record import make_records
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed


def records_of(outcomes, released=53.0):
    configuration = types.SimpleNamespace(
        recipe=METHODS["adamw"],
        name="0123",
        run=lambda seed: f"rte-cwgnc-0123-{seed.name}",
        fields={"task": "rte", "constant_score": 100 * 146 / 277},
        subject=types.SimpleNamespace(
            majority_score=100 * 131 / 277,
            task=types.SimpleNamespace(failed_below=released, labels=("yes", "no")),
        ),
    )
    trainers = [types.SimpleNamespace(steps=5, placement=SINGLE)] * 3
    surroundings = {"hardware": {"device": "cpu"}, "commit": "abc"}
    result = GroupResult(outcomes, 6.0, None, {})
    configurations = [configuration] * len(outcomes)
    return make_records(configurations, trainers, result, surroundings)


def test_each_run_has_its_share_of_the_group():
    history = [{"step": 15, "score": 70.0}]
    outcomes = [
        Outcome(Seed(3, 3), 70.0, 0.5, history, None, [200, 77]),
        Outcome(Seed(0, 5), 60.0, 0.6, history, 7),
    ]
    first, second = records_of(outcomes)
    assert first["run"] == "rte-cwgnc-0123-3"
    assert (first["seed"], first["init_seed"], first["data_seed"]) == (3, 3, 3)
    assert (second["seed"], second["init_seed"], second["data_seed"]) == ("0-5", 0, 5)
    assert first["steps"] == 15
    assert first["seconds"] == 3
    assert first["group_size"] == 2
    assert first["hardware"] == {"device": "cpu"}
    assert not first["failed"]
    assert first["predicted"] == {"yes": 200, "no": 77}
    # Whatever it scores, a run that diverged failed.
    assert second["failed"]
    assert second["failed_majority"]
    assert second["predicted"] is None
    assert not second["failed_released"]
    assert second["diverged_at"] == 7


@pytest.mark.parametrize(
    ("score", "failed", "failed_majority", "failed_released"),
    [
        (100 * 131 / 277, True, True, True),
        # The best constant's score, rounded on its way, is not better than it.
        (100 * (146 / 277), True, False, True),
        (100 * 146 / 277 + 1e-12, True, False, True),
        (52.9, False, False, True),
        (53.0, False, False, True),
        (53.1, False, False, False),
    ],
)
def test_a_run_that_does_not_beat_the_limit_failed(
    score, failed, failed_majority, failed_released
):
    outcome = Outcome(Seed(0, 0), score, 0.5, [], None)
    [record] = records_of([outcome])
    assert record["failed"] == failed
    assert record["failed_majority"] == failed_majority
    assert record["failed_released"] == failed_released
    # CoLA's released limit is 0, which is a limit; generated tasks have none.
    [record] = records_of([outcome], released=0.0)
    assert record["failed_released"] is False
    [record] = records_of([outcome], released=None)
    assert record["failed_released"] is None
