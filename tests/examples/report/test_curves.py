"""Curves from records: which runs count, what is printed, what is written."""

import io

import numpy as np
import pandas
import pytest
from bert_glue.report import curves
from bert_glue.training.seeds import Seed

from cwgnc_jax import stability

RATES = (1e-4, 3e-4, 1e-3)
SEEDS = [Seed(number, number) for number in range(8)]
POINTS = {
    f"{method}-{rate:g}": (method, rate)
    for method in ("cwgnc", "adamw")
    for rate in RATES
}
LIMITS = {"setting": "learning_rate", "margin": 2.0, "most_failed": 0.1}
# The second method breaks at the highest rate.
MEANS = {"cwgnc": (60, 70, 69), "adamw": (60, 70, 20)}


def records(task="cola"):
    rng = np.random.default_rng(1)
    return [
        {
            "configuration": name,
            "task": task,
            "metric": "matthews",
            "init_seed": seed.init,
            "data_seed": seed.data,
            "score": MEANS[method][RATES.index(rate)] + rng.normal(0, 0.5),
            "failed": method == "adamw" and rate == RATES[-1],
        }
        for name, (method, rate) in POINTS.items()
        for seed in SEEDS
    ]


def build(runs, seeds=SEEDS, points=POINTS):
    return curves.build(runs, points, seeds, **LIMITS)


def test_curves_are_those_of_the_records():
    [found] = build(records())
    assert [*found.curves] == ["cwgnc", "adamw"]
    for method, curve in found.curves.items():
        np.testing.assert_allclose(curve.values, RATES)
        np.testing.assert_allclose(curve.means, MEANS[method], atol=1)
        assert curve.scores.shape == (3, 8)
    np.testing.assert_array_equal(found.curves["adamw"].failed_shares, [0, 0, 1])
    expected = stability.stable_range(found.curves["cwgnc"], margin=2)
    assert found.ranges["cwgnc"] == expected


def test_p_values_are_corrected_together():
    [found] = build(records())
    verdict = found.verdicts["adamw"]
    raw = stability.compare_ranges(
        *found.curves.values(), margin=2, names=("cwgnc", "adamw")
    )
    points = [
        stability.compare_scores(mine, theirs)
        for mine, theirs in zip(
            *(curve.scores for curve in found.curves.values()), strict=True
        )
    ]
    adjusted = stability.holm([raw.p_value, *(test.p_value for test in points)])
    ours = [verdict.widths.p_adjusted]
    ours += [test.p_adjusted for test in verdict.scores.values()]
    np.testing.assert_allclose(ours, adjusted)
    assert verdict.scores[RATES[-1]].shown
    assert not verdict.scores[RATES[0]].shown


def test_what_is_printed():
    [found] = build(records())
    lines = [*found.lines()]
    assert lines[0] == "cola, Matthews' correlation: mean +- std, failed runs"
    assert lines[1].split() == ["learning", "rate", "cwgnc", "adamw"]
    assert lines[4].startswith("0.001")
    assert lines[4].endswith("8/8")
    text = "\n".join(lines)
    assert "cwgnc: stable from " in text
    assert "to at least 0.001" in text
    assert "that the range of cwgnc is wider is shown (p = " in text
    assert "shown to score higher: cwgnc at 0.001" in text


def test_other_runs_do_not_count():
    runs = records()
    others = [run | {"configuration": "other", "score": 0.0} for run in runs]
    late = [run | {"init_seed": 99, "data_seed": 99, "score": 0.0} for run in runs]
    [one], [two] = build(runs), build([*runs, *others, *late])
    assert [*one.lines()] == [*two.lines()]


def test_a_study_under_way_has_its_curves_so_far():
    missing = [
        run
        for run in records()
        if run["init_seed"] < 3 and run["configuration"] != "adamw-0.0003"
    ]
    [found] = build(missing)
    assert found.curves["cwgnc"].runs.tolist() == [3, 3, 3]
    assert found.curves["adamw"].values.tolist() == [1e-4, 1e-3]
    # Over other values nothing is compared.
    assert found.verdicts == {}
    assert [line.split()[-1] for line in found.lines()][3] == "-"


def test_tasks_have_curves_of_their_own():
    assert [found.task for found in build([*records(), *records("rte")])] == [
        "cola",
        "rte",
    ]


def test_the_table_of_numbers():
    [found] = build(records())
    table = pandas.read_csv(io.StringIO(found.csv()))
    assert len(table) == 6
    assert table["value"].tolist() == [*RATES, *RATES]
    np.testing.assert_allclose(table["mean"][:3], found.curves["cwgnc"].means)
    assert table["failed"].tolist() == [0, 0, 0, 0, 0, 1]
    assert table["stable_high"][0] == pytest.approx(1e-3)
    low = stability.wilson_interval(8, 8).low
    assert table["failed_low"].tolist()[-1] == pytest.approx(low)
