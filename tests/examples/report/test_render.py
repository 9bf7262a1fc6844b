"""What users wrote is text, whatever the document; lines of cells are aligned."""

import csv
import html

import pytest
from bert_glue.report import render


@pytest.mark.parametrize("label", ["<b>&", "cwgnc:max_norm=1e-5", "'\"><script>"])
def test_labels_break_after_settings_only(label):
    shown = str(render.breakable(label))
    assert "<wbr>" not in shown.replace(":<wbr>", "")
    assert "<" not in shown.replace("<wbr>", "")
    # Word joiners, which keep a number whole, have no width.
    assert html.unescape(shown).replace("<wbr>", "").replace("\u2060", "") == label


def test_marks_of_markdown_and_latex():
    assert render.markdown("a_b|c*") == r"a\_b\|c\*"
    assert render.markdown("<b>[x](y)`$1\n") == r"\<b\>\[x\](y)\`\$1 "
    assert render.latex(r"5% of {a_b} \ ~^&$#") == (
        r"5\% of \{a\_b\} \textbackslash{} "
        r"\textasciitilde{}\textasciicircum{}\&\$\#"
    )


def test_columns_are_aligned_and_may_have_gaps():
    lines = [{"method": "a", "Std": "10.0"}, {"method": "long", "Max": "7"}]
    assert render.aligned(lines).split("\n") == [
        "method   Std  Max",
        "a       10.0     ",
        "long            7",
    ]


def test_csv_is_read_back():
    lines = [['a, "b"', 0.1], ["nan", float("nan")], ["inf", -float("inf")]]
    text = [render.csv_line(line) for line in [*lines, ["none", None]]]
    assert list(csv.reader(text)) == [
        ['a, "b"', "0.1"],
        *([name, ""] for name in ("nan", "inf", "none")),
    ]


def test_nothing_is_a_formula_or_for_the_terminal():
    line = render.csv_line(["=1+1", "+x", "-x", "@x", "a=1", -1.5])
    assert next(csv.reader([line])) == ["'=1+1", "'+x", "'-x", "'@x", "a=1", "-1.5"]
    assert "\x1b" not in render.markdown("\x1b[31m") + render.latex("\x1b[31m")
