"""The case study from its command line to its figures."""

import contextlib
import io
import json

import gradual_unfreezing
import numpy as np
import pytest
import tiny_bert
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from bert_glue.study.study import Study

import cwgnc_jax

METHODS = ("gu", "gu-restart", "full")
SEEDS = 2
FIGURES = {
    "figure_1.png",
    "figure_2a_gu.png",
    "figure_2a_gu-restart.png",
    "figure_2b_gu.png",
    "figure_4_gu.png",
    "figure_5_gu.png",
    "figure_5_gu-restart.png",
}


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 40, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 21, seed=1)
    return [
        *("--model", str(model), "--train-file", train, "--eval-file", dev),
        *("--learning-rate", "5e-3", "--epochs", "1", "--batch-size", "8"),
    ]


def run(options, folder, *more):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        arguments = [*options, "--output-dir", str(folder), *map(str, more)]
        assert gradual_unfreezing.main(arguments) == 0
    return printed.getvalue()


def records_of(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """A folder with two seeds of the three methods, and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(options, folder, "--seeds", SEEDS)


def test_every_run_has_its_recording(finished):
    folder, _ = finished
    records = records_of(folder)
    assert [record["method"] for record in records] == np.repeat(
        METHODS, SEEDS
    ).tolist()
    recordings = ComponentLogs(folder)
    assert {path.stem for path in recordings.folder.iterdir()} == {
        record["run"] for record in records
    }
    for record in records:
        recording = recordings.load(record["run"])
        stages = 1 if record["method"] == "full" else tiny_bert.CONFIG.num_hidden_layers
        assert recording.stages == stages
        assert recording.at_steps("norms").shape == (5 * stages, len(recording.names))
        # The mean of the losses that were recorded is what the history says.
        last = record["history"][-1]["train_loss"]
        assert recording.losses[-5:].mean() == pytest.approx(last, rel=1e-6)
        frozen = np.setdiff1d(range(len(recording.names)), recording.trained[0])
        for measure in ("rmsd", "cosine_distance"):
            moved = recording.after_stages(f"{measure}_from_initial")
            assert not moved[0, frozen].any()
            assert (moved[-1] > 0).mean() > 0.9


def test_last_stage_of_restart_is_full_fine_tuning(finished):
    by_method = {
        method: [each for each in records_of(finished[0]) if each["method"] == method]
        for method in METHODS
    }
    for restarted, full in zip(by_method["gu-restart"], by_method["full"], strict=True):
        assert restarted["score"] == pytest.approx(full["score"])
        # Float32 sums in another order, through 5 steps of Adam.
        assert restarted["train_loss"] == pytest.approx(full["train_loss"], rel=1e-4)


def test_layers_may_be_left_alone_by_labels(finished, options, tmp_path):
    by_cut = next(each for each in records_of(finished[0]) if each["method"] == "gu")
    assert "freezing" not in by_cut
    run(options, tmp_path, "--method", "gu", "--freezing", "labels", "--seeds", 1)
    (by_labels,) = records_of(tmp_path)
    assert by_labels["freezing"] == "labels"
    assert by_labels["configuration"] != by_cut["configuration"]
    assert by_labels["score"] == pytest.approx(by_cut["score"])
    # Float32 sums in another order, through 10 steps of Adam.
    assert by_labels["train_loss"] == pytest.approx(by_cut["train_loss"], rel=1e-4)


def test_tables_are_of_the_records(finished):
    folder, printed = finished
    columns = []
    for method in METHODS:
        scores = [
            [entry["score"] for entry in record["history"]]
            for record in records_of(folder)
            if record["method"] == method
        ]
        columns.append(
            [f"{np.mean(x):.1f} ± {np.std(x):.1f}" for x in np.transpose(scores)]
        )
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert f"1 {columns[0][0]} {columns[1][0]}" in lines
    assert f"2 {columns[0][1]} {columns[1][1]}" in lines
    assert f"all at once {columns[2][0]}" in lines
    # 5 a stage; GU's second stage goes on from its first, that of restart does not.
    assert "updates until then 10 5 5" in lines
    # How unequally components moved, once more from the recorded arrays.
    raced = []
    for record in records_of(folder)[:SEEDS]:
        arrays = ComponentLogs(folder).load(record["run"]).arrays
        moved = np.stack([arrays[f"rmsd_from_before/{stage}"] for stage in range(2)])
        raced.append(float(cwgnc_jax.convergence_racing(moved)))
    line = next(line for line in lines if line.startswith("GU 0."))
    assert line.endswith(f"{np.mean(raced):.3f} ± {np.std(raced):.3f}")


def test_figures_are_drawn_again_without_training(finished, options, monkeypatch):
    folder, printed = finished
    before = (folder / "runs.jsonl").read_bytes()
    figures = folder / "figures"
    assert {path.name for path in figures.iterdir()} == FIGURES

    def no_training(*_):
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(Study, "_run_group", no_training)
    tables = printed[printed.index("accuracy in % after each stage") :]
    for again in (
        lambda: run([], folder, "--report-only"),
        lambda: run(options, folder, "--seeds", SEEDS),
    ):
        drawn = {path.name: path.read_bytes() for path in figures.iterdir()}
        for path in figures.iterdir():
            path.unlink()
        assert again().endswith(tables)
        assert {path.name: path.read_bytes() for path in figures.iterdir()} == drawn
    assert (folder / "runs.jsonl").read_bytes() == before


def test_lost_recordings_are_made_again(finished, options):
    folder, _ = finished
    recordings, records = ComponentLogs(folder), records_of(folder)
    lost = [recordings.path(record["run"]) for record in records[-SEEDS:]]
    before = [recordings.load(path.stem) for path in lost]
    for path in lost:
        path.unlink()
    run(options, folder, "--method", "full", "--seeds", SEEDS)
    for path, old in zip(lost, before, strict=True):
        # The same program: the same bits.
        again = recordings.load(path.stem)
        np.testing.assert_array_equal(again.losses, old.losses)
        np.testing.assert_array_equal(again.at_steps("norms"), old.at_steps("norms"))
    # The runs count once.
    assert RunStore(folder).read() == records


def test_a_recording_comes_before_its_record(options, tmp_path, monkeypatch, capsys):
    def full_disk(*_):
        raise RecordsError("no space left")

    monkeypatch.setattr(RunStore, "append", full_disk)
    arguments = [*options, "--output-dir", str(tmp_path), "--method", "full"]
    assert gradual_unfreezing.main([*arguments, "--seeds", str(SEEDS)]) == 1
    assert "no space left" in capsys.readouterr().err
    assert not (tmp_path / "runs.jsonl").exists()
    assert len(list(ComponentLogs(tmp_path).folder.iterdir())) == SEEDS
