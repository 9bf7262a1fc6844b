"""Rows and columns of tables, and the tables that are committed."""

import dataclasses
import pathlib
import re

import pytest
from bert_glue.records import manifest
from bert_glue.records.designs import Design
from bert_glue.records.run_store import read_only
from bert_glue.report import charts, formats, notes, tables
from run_records import RUNS, run


def test_runs_of_other_seeds_are_left_out_and_missing_ones_said():
    design = dataclasses.replace(Design.of_records(RUNS[:14]), name="1")
    found = [*RUNS[:10], run("cwgnc", 99, 10.0)]
    table = tables.build(design, found)
    assert len(table.cells["cola", "cwgnc"].runs) == 7
    assert notes.notes(table)[0].startswith("10 of 14 runs are recorded")
    # Of whatever runs there are nobody asked for more.
    table = tables.build(Design.of_records(found), found)
    assert not any("are recorded" in note for note in notes.notes(table))


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
    means = [row.summary.mean for row in table.column("cola").values()]
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
    (note,) = [note for note in notes.notes(mixed) if note.startswith("On rte ")]
    for facts in (
        "adamw (bert-large-uncased, accuracy in %, 2,241 training examples, the",
        "devlin (bert-large-uncased, accuracy in %, 2,490 training examples, the "
        "majority classifier has 51.0)",
    ):
        assert facts in note
    lines = re.findall(
        'class="constant" x1="([^"]+)"', charts.dots(mixed.column("rte"))
    )
    assert len(lines) == 3
    assert len(set(lines)) == 2
    alone = tables.build(Design.of_records(held), held)
    assert "on 0.4% held out of the training set" in alone.heading("cola")
    assert any("scored on 0.4% held out" in note for note in notes.notes(alone))


@pytest.mark.medium
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
        label = reference[1].replace("\\", "")
        design = dataclasses.replace(design, reference=label)
    table = tables.build(design, runs)
    assert formats.fill("table.md", table=table) == path.read_text()
    assert (
        formats.fill("table.tex", table=table) == path.with_suffix(".tex").read_text()
    )
