"""Lines of named cells as text, Markdown and CSV."""

import csv

from bert_glue.report import layouts


def test_columns_are_aligned_and_may_have_gaps():
    lines = [{"method": "a", "Std": "10.0"}, {"method": "long", "Max": "7"}]
    assert layouts.aligned(lines).split("\n") == [
        "method   Std  Max",
        "a       10.0     ",
        "long            7",
    ]


def test_markdown_has_a_rule_below_its_head():
    lines = [{"method": "a", "Std": "1"}, {"method": "b", "Std": "2"}]
    assert layouts.markdown(lines).split("\n") == [
        "| method | Std |",
        "| --- | --: |",
        "| a | 1 |",
        "| b | 2 |",
    ]


def test_csv_is_read_back_by_name():
    lines = [
        {"name": 'a, "b"', "value": 0.1},
        {"value": float("nan"), "name": "inf"},
        {"name": "none", "value": None},
        {"name": "lacking"},
    ]
    text = layouts.as_csv(["name", "value"], lines)
    assert list(csv.DictReader(text.splitlines())) == [
        {"name": 'a, "b"', "value": "0.1"},
        *({"name": name, "value": ""} for name in ("inf", "none", "lacking")),
    ]
