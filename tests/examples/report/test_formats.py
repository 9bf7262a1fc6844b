"""Tables as text, Markdown, LaTeX and CSV, read back and compared with NumPy."""

import csv
import itertools
import re

import numpy as np
import pytest
from bert_glue.records.designs import Design
from bert_glue.report import formats, tables
from run_records import ADAMW, CWGNC, MRPC, RUNS, run
from scipy import stats


@pytest.fixture(scope="module")
def table():
    return tables.build(Design.of_records(RUNS), RUNS)


def expected(scores):
    return np.std(scores), np.mean(scores), np.max(scores)


def test_text_says_what_there_is(table):
    text = formats.fill("table.txt", table=table)
    lines = text.splitlines()
    assert lines[0] == "Runs"
    assert lines[1].startswith("cola: Matthews' correlation in %, 8,551 training")
    line = next(line for line in lines if line.startswith("adamw "))
    assert line.split()[:2] == ["adamw", "7"]
    assert f"{np.std(ADAMW):.1f}" in line
    assert "63.9*" in line
    assert "11.1" in line
    assert "Of 4 comparisons with cwgnc" in text
    assert "(2 of means, 2 of spreads)" in text
    # Every comparison that is not shown says so.
    shown = sum(each.comparison.shown for each in table.verdicts)
    assert text.count("not shown (") == 4 - shown


def test_csv_holds_the_numbers_unrounded(table):
    rows = list(csv.DictReader(formats.fill("table.csv", table=table).splitlines()))
    assert [(row["task"], row["method"]) for row in rows] == [
        *(("cola", "cwgnc"), ("cola", "adamw"), ("mrpc", "cwgnc"), ("mrpc", "adamw")),
    ]
    scores = [CWGNC, ADAMW, MRPC["cwgnc"], MRPC["adamw"]]
    for row, of_row in zip(rows, scores, strict=True):
        numbers = [float(row[name]) for name in ("std", "mean", "max")]
        assert numbers == pytest.approx(expected(of_row), rel=1e-12)
        assert float(row["min"]) == min(of_row)
        assert int(row["runs"]) == len(of_row)
    # Majority rule: scores of 0 and below, and the run that diverged.
    assert [row["failed"] for row in rows] == ["0", "2", "0", "1"]
    # MRPC's released threshold lies below the majority classifier.
    assert [row["failed_released"] for row in rows] == ["0", "2", "0", "0"]
    assert [row["diverged"] for row in rows] == ["0", "1", "0", "0"]
    # Wilson's interval of 2 of 7 by its formula, z = 1.959964.
    z, share, n = 1.959963984540054, 2 / 7, 7
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    ends = [float(rows[1][f"failure_rate_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx([center - half, center + half], rel=1e-9)
    # Three runs say nothing about their spread.
    assert rows[2]["std_low"] == rows[2]["std_high"] == ""
    assert [row["paper_mean"] for row in rows] == ["62.2", "59.2", "", ""]


def exchanges_p_value(differences):
    means = [
        abs(np.mean(np.multiply(signs, differences)))
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    # Equal but for rounding is equal.
    return np.mean(np.array(means) >= abs(np.mean(differences)) - 1e-9)


def test_comparisons_are_paired_and_corrected_together(table):
    rows = list(csv.DictReader(formats.fill("table.csv", table=table).splitlines()))

    def far(scores):
        return np.abs(np.array(scores) - np.median(scores))

    def spread_p_value(first, second):
        # Exchanges and a t-test of the distances are to agree.
        exchanges = exchanges_p_value(far(second) - far(first))
        return max(exchanges, stats.ttest_rel(far(second), far(first)).pvalue)

    p_values = [
        exchanges_p_value(np.subtract(CWGNC, ADAMW)),
        spread_p_value(CWGNC, ADAMW),
        exchanges_p_value(np.subtract(MRPC["cwgnc"], MRPC["adamw"])),
        spread_p_value(MRPC["cwgnc"], MRPC["adamw"]),
    ]
    answers = [rows[1], rows[3]]
    found = [
        float(row[f"{question}_p"])
        for row in answers
        for question in ("score", "spread")
    ]
    assert found == pytest.approx(p_values, rel=1e-9)
    # Holm's correction by hand: times 4, 3, 2, 1, never below the one before.
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(np.array([4, 3, 2, 1]) * np.sort(p_values))
    corrected = dict(zip(order.tolist(), np.minimum(stepped, 1), strict=True))
    found = [
        float(row[f"{question}_p_corrected"])
        for row in answers
        for question in ("score", "spread")
    ]
    assert found == pytest.approx([corrected[place] for place in range(4)], rel=1e-9)
    assert [row["score_test"] for row in answers] == ["paired", "paired"]
    # The reference is not compared with itself.
    assert rows[0]["score_p"] == rows[0]["spread_shown"] == ""


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_markdown_round_trip(table):
    text = formats.fill("table.md", table=table)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    head, rows = cells_of(lines[0]), [cells_of(line) for line in lines[2:4]]
    assert head == [
        "method",
        *(f"{task} {name}" for task in ("cola", "mrpc") for name in tables.SCORES),
    ]
    # The first column stands to the left, the others to the right.
    assert lines[1] == f"| --- |{' --: |' * 6}"
    scores = [(CWGNC, MRPC["cwgnc"]), (ADAMW, MRPC["adamw"])]
    for row, of_row in zip(rows, scores, strict=True):
        printed = [f"{x:.1f}" for scores in of_row for x in expected(scores)]
        assert [re.sub(r"\*| \(.*", "", cell) for cell in row[1:]] == printed
    bold = [[cell.startswith("**") for cell in row[1:]] for row in rows]
    # The best 91.0 and 91.04 are printed alike: both are bold.
    assert bold[0] == [True, True, False, True, True, True]
    assert bold[1] == [False, False, True, False, False, True]
    # The paper's numbers stand beside the setting that is the paper's.
    assert rows[0][1].endswith(" (1.7)")
    assert rows[0][2].endswith(" (62.2)")
    assert "(" not in "".join(rows[0][4:] + rows[1][4:])
    assert "models/" not in text
    assert "the model is" in text
    assert "not shown" in text
    widths = {len(cells_of(line)) for line in lines[:4]}
    assert widths == {7}


def test_latex_is_a_whole_tabular(table):
    text = formats.fill("table.tex", table=table)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrr}"
    assert body[-1] == r"\end{tabular}"
    rules = [line for line in body if line.startswith(r"\cmidrule")]
    assert rules == [r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"]
    rows = [line for line in body if line.endswith(r" \\")]
    assert rows[0].count("&") == 2
    assert all(row.count(" & ") == 6 for row in rows[1:])
    assert rows[2].startswith(rf"cwgnc & \textbf{{{np.std(CWGNC):.1f}}} & ")
    # The paper's numbers stand below, where there are any.
    small = [cell.strip() for cell in rows[3].removesuffix(r" \\").split(" & ")]
    assert small == [
        "",
        *(rf"{{\scriptsize ({n})}}" for n in (1.7, 62.2, 65.0)),
        *[""] * 3,
    ]
    assert r"{\scriptsize Devlin et al. (2019) + bias correction} & " in rows[5]
    for rule in ("toprule", "midrule", "bottomrule"):
        assert body.count(f"\\{rule}") == 1
    assert text.count("{") == text.count("}")


def test_latex_escapes():
    runs = [run("cwgnc:max_norm=0.5", seed, 60.0 + seed) for seed in range(2)]
    text = formats.fill("table.tex", table=tables.build(Design.of_records(runs), runs))
    assert r"cwgnc:max\_norm=0.5 & 0.5 & " in text


def test_a_spread_that_nothing_bounds_is_unknown():
    runs = [run("devlin", seed, -1.0 if seed == 3 else 0.0) for seed in range(25)]
    table = tables.build(Design.of_records(runs), runs)
    row = table.column("cola")["devlin"]
    assert row.summary.std_interval.high == np.inf
    assert formats.sureness(row)["std, 95% interval"] == "unknown"
    # Nor can scores from 0 to 100 have a spread of more than 50.
    wide = [
        run("cwgnc", seed, s, task="rte") for seed, s in enumerate([52, 53, 52, 70, 71])
    ]
    row = tables.build(Design.of_records(wide), wide).cells["rte", "cwgnc"]
    assert 50 < row.summary.std_interval.high < np.inf
    assert formats.sureness(row)["std, 95% interval"] == "unknown"
