"""Candidates that are found, cases that are chosen, and lengths that are drawn."""

import dataclasses

import candidates
import numpy as np
import pytest
import random_task
import throughput
import torch_turns
from bert_glue.training.subjects import Subject
from candidates import Case

BASE = Case(2, shape="tiny", one_length=True)


@pytest.fixture(scope="module")
def subject():
    return random_task.subject("tiny", "rte", "float32")


# Means of the real lengths, in tokens of BERT's uncased vocabulary, cut to 128.
@pytest.mark.parametrize(
    ("task", "mean"), [("rte", 66.56), ("mrpc", 53.24), ("cola", 11.33)]
)
def test_lengths_are_like_the_real_ones(task, mean):
    lengths = random_task.TASK_LENGTHS[task].draw()
    # Between quantiles in steps of a twentieth a length is off by less than one.
    assert lengths.mean() == pytest.approx(mean, abs=1)
    assert lengths.dtype == np.int32


def test_settings_that_the_project_has_are_candidates():
    assert candidates.owner("remat") is Subject
    assert candidates.owner("no_such_setting") is None
    found = [case.settings for case in candidates.variants(BASE)]
    assert (("remat", "none"),) in found
    assert (("dropout", 0.0),) in found
    # The default is the base itself.
    assert (("remat", "cheap"),) not in found
    assert len(set(found)) == len(found)


@pytest.mark.medium
def test_a_setting_that_the_project_does_not_have(subject):
    case = dataclasses.replace(BASE, settings=(("no_such_setting", 1),))
    with pytest.raises(candidates.Absent, match="no setting no_such_setting"):
        candidates.make_trainer(case, subject)


def test_settings_reach_the_trainer(subject):
    settings = (("remat", "none"), ("dropout", 0.0))
    case = dataclasses.replace(BASE, settings=settings)
    trainer, changed = candidates.make_trainer(case, subject)
    assert changed.remat == "none"
    assert trainer.recipe.dropout == 0
    assert trainer.buckets == (32,)


def test_batches_are_cut_to_a_few_lengths():
    lengths = random_task.TASK_LENGTHS["rte"].draw()
    alike = candidates.buckets(Case(4, "like length"), lengths)
    assert 1 < len(alike) <= 4
    assert alike[-1] == 128
    # Among 64 random examples there is nearly always one of the longest.
    assert candidates.buckets(Case(4), lengths) == (128,)
    assert candidates.buckets(Case(4, "like length", one_length=True), lengths) == (
        128,
    )


def test_what_made_steps_faster_is_put_together():
    def case(*settings):
        pairs = tuple(zip(settings[::2], settings[1::2], strict=True))
        return dataclasses.replace(BASE, settings=pairs)

    found = {
        BASE: 3.0,
        case("unroll", 2): 2.5,
        case("unroll", 4): 2.0,
        case("remat", "none"): 2.9,
        case("attention", "cudnn"): 4.0,
        # Another training, not a faster one.
        case("dropout", 0.0): 1.0,
        case("dropout", 0.0, "attention", "xla"): 0.9,
    }
    best = candidates.together(BASE, found)
    assert best is not None
    assert dict(best.settings) == {"unroll": 4, "remat": "none"}
    assert candidates.together(BASE, {BASE: 3.0, case("unroll", 2): 2.5}) is None


def test_pytorch_gets_full_batches():
    lengths = np.arange(3, 103)
    orders = torch_turns.orders(lengths)
    for order in orders.values():
        assert order.shape == (6, 16)
        assert len(np.unique(order)) == order.size
    alike = lengths[orders["order like length"]]
    assert (np.ptp(alike, axis=1) == 15).all()


def test_hours_are_those_of_all_three_tasks():
    found = {Case(4, task=task): 0.01 for task in ("rte", "mrpc")}
    assert throughput.hours(found) == ""
    found[Case(4, task="cola")] = 0.01
    # 25 runs of five methods of 3, 3, 3, 20 and 5 epochs: 34 in all.
    steps = 25 * 34 * (2490 + 3668 + 8551) / 16
    assert float(throughput.hours(found)) == pytest.approx(
        steps * 0.01 / 3600, rel=0.05
    )


def test_a_case_that_fails_costs_its_row(subject, tmp_path):
    class Bench:
        def measure(self, case):
            if case.seeds == 1:
                raise RuntimeError("out of\nmemory")
            return throughput.Measured(0.01, 3.0, 0.5, 0.005, 0.004, {})

    options = throughput.argparse.Namespace(
        title="", cases="seeds", dtype="float32", rounds=1, steps=2
    )
    options.output = tmp_path / "table.md"
    table = throughput.Table(options, (1e12, 1e12))
    cases = iter([Case(1), Case(4)])
    found = throughput.measure_all(cases, Bench(), table, float("inf"))
    assert list(found) == [Case(4)]
    text = options.output.read_text()
    assert "RuntimeError: out of memory" in text
    assert "| 10.00 | 50% | 40% | 50% | 3 |" in text


def test_nothing_is_begun_when_the_time_is_up(tmp_path):
    class Bench:
        def measure(self, case):
            raise AssertionError("begun")

    options = throughput.argparse.Namespace(
        title="", cases="seeds", dtype="float32", rounds=1, steps=2, output=None
    )
    table = throughput.Table(options, (1e12, 1e12))
    assert throughput.measure_all(iter([Case(4)]), Bench(), table, 0.0) == {}
    assert "No time left for: as it is, 4 seeds." in table.notes
