"""Figures of the page: where runs are, and where curves end."""

import re

import pytest
from bert_glue.records.designs import Design
from bert_glue.report import charts, tables
from run_records import RUNS, run


@pytest.fixture(scope="module")
def table():
    return tables.build(Design.of_records(RUNS), RUNS)


def test_curve_ends_where_the_loss_is_not_finite(table):
    curves = charts.curves(table.column("cola"), "train_loss", "loss")
    paths = re.findall(r'class="curve( failed)?" d="([^"]+)"', curves)
    assert len(paths) == 14
    # One evaluation is a dot; the other runs have two.
    assert [path.endswith("h0") for _, path in paths] == [False] * 13 + [True]
    first = re.fullmatch(r"M50.00 ([\d.]+)L100.00 ([\d.]+)", paths[0][1])
    # Down, as the loss falls from 0.6 to 0.3 over a scale with a margin of 6% of that.
    assert first is not None
    assert float(first[1]) == pytest.approx(100 * 0.06 / 1.12, abs=0.01)
    assert float(first[2]) == pytest.approx(100 * 1.06 / 1.12, abs=0.01)


def test_scores_that_are_all_alike_have_an_axis_to_read():
    runs = [run("cwgnc", seed, 0.0) for seed in range(3)]
    runs = [
        each | {"history": [part | {"score": 0.0} for part in each["history"]]}
        for each in runs
    ]
    column = tables.build(Design.of_records(runs), runs).column("cola")
    ticks = re.findall(r"%\">([^<]+)</span>", charts.curves(column, "score", "x"))
    assert ticks == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_equal_scores_do_not_hide_each_other():
    runs = [run("cwgnc", seed, 0.0) for seed in range(25)]
    column = tables.build(Design.of_records(runs), runs).column("cola")
    html = charts.dots(column)
    heights = {
        re.search(r'y="([^"]+)"', dot)[1]
        for dot in re.findall(r'<svg class="run.*?>', html)
    }
    assert len(heights) == 25
    assert all(0 < float(height) < 46 for height in heights)
