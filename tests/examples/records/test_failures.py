"""When a run failed, in records of this version and of earlier ones."""

import pytest
import run_records
from bert_glue.records.failures import failure, hardly_learned
from bert_glue.records.run_store import RunStore

SEVERAL = {"problem_type": "multi_label_classification"}


def record(score, **changes):
    """The record of a run on RTE, whose commonest answer in training is the worse."""
    known = {
        "majority_score": 100 * 131 / 277,
        "constant_score": 100 * 146 / 277,
        "constant_loss": 0.693,
        "predicted": {"entailment": 200, "not_entailment": 77},
    }
    return run_records.run("adamw", 0, score, task="rte", **(known | changes))


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (record(60.0), ""),
        (record(60.0, diverged_at=1234), "diverged at step 1,234"),
        (record(100 * 146 / 277), "no better than a constant answer"),
        (record(50.0), "no better than a constant answer"),
        (
            record(60.0, predicted={"entailment": 0, "not_entailment": 277}),
            "gives every example one answer",
        ),
        # Of several labels an example the one is given to some, the other to none.
        (record(60.0, predicted={"a": 200, "b": 0}, **SEVERAL), ""),
        (record(60.0, predicted={"a": 277, "b": 277, "c": 9}, **SEVERAL), ""),
        (
            record(60.0, predicted={"a": 277, "b": 277, "c": 0}, **SEVERAL),
            "gives every example one answer",
        ),
        (
            record(60.0, predicted={"a": 0, "b": 0}, **SEVERAL),
            "gives every example one answer",
        ),
        (record(60.0, predicted={"a": 100, "b": 100}), ""),
        (record(60.0, constant_loss=0.3), "learnt nothing"),
        (record(60.0, constant_loss=0.301), ""),
        # Numbers have no classes.
        (record(60.0, predicted=None), ""),
    ],
)
def test_why_a_run_failed(run, why):
    assert failure(run) == why


def test_a_single_epoch_is_too_short_to_say_that_nothing_was_learnt():
    history = [{"step": 9, "epoch": 1, "score": 60.0, "train_loss": 0.7}]
    assert failure(record(60.0, history=history)) == ""
    assert hardly_learned(record(60.0, history=history))


def test_the_loss_is_that_of_the_evaluation_that_counts():
    history = [
        {"step": 9, "epoch": 2, "score": 60.0, "train_loss": 0.5},
        {"step": 18, "epoch": 3, "score": 55.0, "train_loss": 0.9},
    ]
    assert failure(record(60.0, history=history, keep="best")) == ""
    assert failure(record(55.0, history=history)) == "learnt nothing"


@pytest.mark.parametrize(("loss", "hardly"), [(0.679, False), (0.68, True)])
def test_a_loss_that_has_hardly_moved(loss, hardly):
    # The threshold is 0.98 times 0.693: 0.67914.
    run = record(60.0)
    run["history"][-1]["train_loss"] = loss
    assert hardly_learned(run) is hardly
    assert not hardly_learned(run | {"diverged_at": 3})
    assert not hardly_learned({k: v for k, v in run.items() if k != "constant_loss"})


@pytest.mark.parametrize(
    ("score", "task", "majority", "constant", "failed"),
    [
        # 146 of 277 are of the other class.
        (100 * 146 / 277, "rte", 100 * 131 / 277, 100 * 146 / 277, True),
        (100 * 147 / 277, "rte", 100 * 131 / 277, 100 * 146 / 277, False),
        (53.0, "rte", 100 * 146 / 277, 100 * 146 / 277, False),
        (0.5, "cola", 0.0, 0.0, False),
        # What F1 the other answer has is not known.
        (81.2, "mrpc", 81.2, 81.2, True),
        (50.0, "mrpc", 0.0, 0.0, False),
    ],
)
def test_old_records_are_counted_anew(
    tmp_path, score, task, majority, constant, failed
):
    old = run_records.run("adamw", 0, score, task=task, majority_score=majority)
    old["failed"] = score <= majority
    del old["failed_majority"], old["constant_score"]
    store = RunStore(tmp_path)
    store.append([old])
    written = store.path.read_bytes()
    [read] = store.read()
    assert read["constant_score"] == pytest.approx(constant)
    assert read["failed"] is failed
    assert read["failed_majority"] is (score <= majority)
    assert read["failed_released"] == old["failed_released"]
    # On the disk it stays what it was; copied elsewhere it is read the same.
    assert store.path.read_bytes() == written
    other = RunStore(tmp_path / "other")
    other.append([read])
    assert other.read() == [read]
