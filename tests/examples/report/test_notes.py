"""What readers of a table are told."""

import pytest
from bert_glue.records.designs import Design
from bert_glue.report import headings, notes, paper, tables
from run_records import run


def differences_said(runs):
    remarks = notes.notes(tables.build(Design.of_records(runs), runs))
    (note,) = (note for note in remarks if note.startswith("The setting is not the"))
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
    # Records have null where nothing is clipped.
    [words] = paper.recipe_differences(run("cwgnc", 0, 60.0, max_norm=None))
    assert words == "max norm inf and not 0.05"


@pytest.mark.parametrize(("unfreeze", "epochs"), [("gu", 72), ("restart", 3)])
def test_epochs_of_stages_count_where_they_go_on(unfreeze, epochs):
    # Three epochs in each of 24 stages.
    history = [{"step": 9, "epoch": 72.0, "score": 60.0, "train_loss": 0.3}]
    staged = {"unfreeze": unfreeze, "epochs": 3, "history": history}
    runs = [
        run(method, seed, 60.0 + seed, **changes)
        for method, changes in (("cwgnc", {}), ("cwgnc:epochs=3", {}), ("gu", staged))
        for seed in range(3)
    ]
    table = tables.build(Design.of_records(runs), runs)
    pairs = {(each.reference, each.method) for each in table.verdicts}
    assert (("cwgnc:epochs=3", "gu") in pairs) == (epochs == 3)
    (note,) = [
        note for note in notes.notes(table) if note.startswith("Rows differ in their")
    ]
    assert (f"{epochs} of gu" in note) == (epochs == 72)
    assert ("3 of cwgnc:epochs=3, gu" in note) == (epochs == 3)


def test_why_nothing_is_compared():
    def outcome(**scores):
        runs = [
            run(method, seed, score)
            for method, of_method in scores.items()
            for seed, score in enumerate(of_method)
        ]
        design = Design.of_records([run("cwgnc", 0, 0.0), run("adamw", 0, 0.0), *runs])
        return notes.outcome(tables.build(design, runs))

    nothing = "There is nothing to compare: "
    reason = "it takes two methods with two runs each."
    assert outcome(cwgnc=[60.0, 61.0], adamw=[50.0]) == nothing + reason
    reason = "cwgnc, the reference, has no two runs yet."
    two = [50.0, 51.0]
    assert outcome(cwgnc=[60.0], adamw=two, devlin=two) == nothing + reason
    other = [run("adamw", n, 50.0 + n, data_fingerprint="ffffffffffff") for n in (0, 1)]
    runs = [*other, *(run("cwgnc", seed, 60.0) for seed in range(2))]
    table = tables.build(Design.of_records(runs), runs)
    reason = "no other method has two runs with what cwgnc was trained and scored on."
    assert notes.outcome(table) == nothing + reason


def test_what_runs_saw_and_learnt_is_said():
    lost = {"constant_loss": 0.69, "truncation": {"share": 0.127, "longest": 289}}
    history = [{"step": 9, "epoch": 1.0, "score": 60.0, "train_loss": 0.689}]
    runs = [
        run("cwgnc", 0, 60.0, **lost, history=history),
        run("cwgnc", 1, 61.0, **lost),
    ]
    remarks = notes.notes(tables.build(Design.of_records(runs), runs))
    assert (
        "The training loss has hardly moved (above 98% of a constant answer's) in 1 of "
        "cwgnc on cola." in remarks
    )
    assert (
        "12.7% of the training examples of cola were cut to the maximum length; the "
        "longest has 289 tokens." in remarks
    )


@pytest.mark.parametrize(
    ("task", "classes", "name"),
    [
        ("mrpc", None, "F1 of the class 1"),
        ("custom", ["no", "yes"], "F1 of the class yes"),
        ("custom", None, "F1"),
    ],
)
def test_f1_is_of_a_class(task, classes, name):
    record = {"task": task, "metric": "f1", "classes": classes}
    assert headings.metric_name(record) == name
