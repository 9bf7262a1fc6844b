"""Rows, columns and notes of tables, beside the paper's numbers and settings."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
from bert_glue.records import manifest
from bert_glue.records.designs import Design
from bert_glue.records.run_store import read_only
from bert_glue.report import charts, formats, paper, tables
from run_records import ADAMW, RUNS, run


@pytest.fixture(scope="module")
def table():
    return tables.build(Design.of_records(RUNS), RUNS)


def test_text_says_what_there_is(table):
    text = formats.text(table)
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


def test_runs_of_other_seeds_are_left_out_and_missing_ones_said():
    design = dataclasses.replace(Design.of_records(RUNS[:14]), number="1")
    found = [*RUNS[:10], run("cwgnc", 99, 10.0)]
    table = tables.build(design, found)
    assert len(table.cells["cola", "cwgnc"].runs) == 7
    assert table.notes[0].startswith("10 of 14 runs are recorded")
    # Of whatever runs there are nobody asked for more.
    table = tables.build(Design.of_records(found), found)
    assert not any("are recorded" in note for note in table.notes)


@pytest.mark.parametrize(
    ("method", "task", "mean"),
    [
        ("devlin", "rte", 50.9),
        ("mosbach", "mrpc", 90.3),
        ("cwgnc", "cola", 62.2),
        ("cwgnc:max_norm=5", "cola", 57.3),
        ("cwgnc:max_norm=5", "rte", None),
        ("cwgnc:max_norm=7", "cola", None),
        ("cwgnc:epochs=3", "cola", None),
        ("adamw:schedule=bert", "cola", None),
        ("gu", "cola", None),
    ],
)
def test_the_papers_numbers_stand_beside_its_own_settings_only(method, task, mean):
    record = run(method, 0, 60.0, task=task)
    published = paper.published(record)
    assert (None if published is None else published.mean) == mean
    for change in (
        {"model": "bert-base-uncased"},
        {"train_examples": 1000},
        {"eval_examples": 100},
        {"max_length": 64},
        {"dtype": "bfloat16"},
        {"learning_rate": 1e-4},
        {"held_out": 0.1},
    ):
        assert paper.published(record | change) is None


def differences_said(runs):
    notes = tables.build(Design.of_records(runs), runs).notes
    (note,) = (note for note in notes if note.startswith("The setting is not the"))
    return note


def test_settings_that_labels_do_not_name_are_said():
    runs = [
        *(run("cwgnc", seed, 60.0 + seed, learning_rate=1e-4) for seed in range(2)),
        run("adamw:epochs=5", 0, 60.0, learning_rate=1e-4),
        run("mosbach", 0, 60.0),
    ]
    # Of rows; the epochs stand in the row's name.
    assert differences_said(runs).endswith(
        "comparable: learning rate 0.0001 and not 2e-05 (cwgnc, adamw:epochs=5)."
    )
    runs = [
        run("cwgnc", 0, 60.0, learning_rate=1e-4, epochs=2),
        run("cwgnc", 0, 60.0, learning_rate=1e-4, task="rte"),
        run("adamw", 0, 60.0, learning_rate=1e-4),
        run("adamw", 0, 60.0, learning_rate=1e-4, task="rte", epochs=2),
    ]
    assert differences_said(runs).endswith(
        "learning rate 0.0001 and not 2e-05; epochs 2 and not 5 (cwgnc on cola); "
        "epochs 2 and not 3 (adamw on rte)."
    )
    assert paper.recipe_differences(run("gu", 0, 60.0, learning_rate=1e-4)) == []


def test_configurations_with_one_label_are_told_apart():
    runs = [
        run("cwgnc", 0, 60.0),
        run("cwgnc", 0, 50.0, learning_rate=1e-4),
        run("adamw", 0, 40.0),
    ]
    design = Design.of_records(runs)
    assert design.methods == (
        "cwgnc (learning rate 2e-05)",
        "cwgnc (learning rate 0.0001)",
        "adamw",
    )
    table = tables.build(design, runs)
    means = [cell.row.summary.mean for cell in table.column("cola").values()]
    assert means == [60, 50, 40]


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_scored_on_held_out_examples_is_told_apart(order):
    held = [run("adamw", seed, 50.0, data_fingerprint="held") for seed in range(2)]
    held = [each | {"held_out": 0.004, "eval_examples": 34} for each in held]
    runs = [*held, *(run("adamw", seed, 60.0) for seed in range(2))][::order]
    table = tables.build(Design.of_records(runs), runs)
    assert "held out" not in table.heading("cola")
    labels = sorted(table.column("cola"), key=len)
    assert len(labels) == 2
    assert "held out" not in labels[0]
    assert "held out 0.004" in labels[1]
    # What rows do not share is said of each.
    rte = [
        run(method, seed, 50.0 + seed, task="rte", **changes)
        for method, changes in (
            ("cwgnc", {}),
            ("adamw", {"data_fingerprint": "x", "train_examples": 2241}),
            ("devlin", {"data_fingerprint": "x", "majority_score": 51.0}),
        )
        for seed in range(2)
    ][::order]
    mixed = tables.build(Design.of_records(rte), rte)
    assert mixed.heading("rte") == "rte: accuracy in %"
    (note,) = [note for note in mixed.notes if note.startswith("On rte ")]
    for facts in (
        "adamw (bert-large-uncased, accuracy in %, 2,241 training examples, the",
        "devlin (bert-large-uncased, accuracy in %, 2,490 training examples, the "
        "majority classifier has 51.0)",
    ):
        assert facts in note
    lines = re.findall(
        'class="majority" x1="([^"]+)"', charts.dots(mixed.column("rte"), "accuracy")
    )
    assert len(lines) == 3
    assert len(set(lines)) == 2
    alone = tables.build(Design.of_records(held), held)
    assert "on 0.4% held out of the training set" in alone.heading("cola")
    assert any("scored on 0.4% held out" in note for note in alone.notes)


def test_a_spread_that_nothing_bounds_is_unknown():
    runs = [run("devlin", seed, -1.0 if seed == 3 else 0.0) for seed in range(25)]
    table = tables.build(Design.of_records(runs), runs)
    cell = table.column("cola")["devlin"]
    assert cell.row.summary.std_interval.high == np.inf
    assert formats.sureness(cell)[1] == "unknown"
    # Nor can scores from 0 to 100 have a spread of more than 50.
    wide = [
        run("cwgnc", seed, s, task="rte") for seed, s in enumerate([52, 53, 52, 70, 71])
    ]
    cell = tables.build(Design.of_records(wide), wide).cells["rte", "cwgnc"]
    assert 50 < cell.row.summary.std_interval.high < np.inf
    assert formats.sureness(cell)[1] == "unknown"


@pytest.mark.parametrize(
    "path",
    sorted((pathlib.Path(__file__).parents[3] / "results").glob("*/table*.md")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_recorded_tables_are_what_their_records_say(path):
    number = path.stem.removeprefix("table") or "runs"
    runs = read_only(path.parent)
    saved = manifest.read(path.parent)["tables"]
    design = (
        Design.from_json(number, saved[number])
        if number in saved
        else Design.of_records(runs)
    )
    reference = re.search(r"comparisons? with (\S+) ", path.read_text())
    if reference:
        design = dataclasses.replace(design, reference=reference[1])
    table = tables.build(design, runs)
    assert formats.markdown(table) == path.read_text()
    assert formats.latex(table) == path.with_suffix(".tex").read_text()
