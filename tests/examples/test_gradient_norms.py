"""The script's figures from records, and what it refuses. Nothing is trained here."""

import gradient_norms
import numpy as np
import pytest
import recorded_runs
import tiny_bert
from bert_glue.records.component_logs import ComponentLogs, gather
from bert_glue.records.run_store import RunStore


def report(folder, *more):
    arguments = ["--report-only", "--output-dir", str(folder), *map(str, more)]
    return gradient_norms.main(arguments)


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        gradient_norms.main([str(argument) for argument in arguments])
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def methods_of(folder):
    return gather(RunStore(folder).read(), ComponentLogs(folder).load)


def arrays(seed, name, shape):
    if name.startswith("norms"):
        return np.full(shape, seed + 1, np.float32)
    return np.full(shape, 0.5 if seed == 0 else 1, np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two failed runs of one method and two others, and a method that never fails."""
    recorded_runs.write(tmp_path, [0, 30, -5, 20], arrays=arrays)
    recorded_runs.write(
        tmp_path, [7, 8], "cwgnc", arrays=arrays, clipping="component", steps=3
    )
    return tmp_path


def test_figures_and_what_is_said(folder, capsys):
    assert report(folder) == 0
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines()]
    # Method, outcome, runs, largest norm, norm at the end: seed + 1 of fake norms.
    assert ["devlin", "failed", "2", "3", "2"] in rows
    assert ["devlin", "successful", "2", "4", "3"] in rows
    assert ["cwgnc", "successful", "2", "2", "1.5"] in rows
    assert "cwgnc: no run failed; its best is drawn alone" in output
    assert "devlin: " not in output
    figures = folder / "figures"
    layers = {f"layer_{number}.png" for number in range(recorded_runs.LAYERS)}
    kinds = {f"{n}_{kind}.png" for n in ("key", "query") for kind in ("bias", "kernel")}
    for method in ("devlin", "cwgnc"):
        assert (figures / f"figure_3_{method}.png").stat().st_size > 5000
        found = {path.name for path in (figures / f"norms_{method}").iterdir()}
        assert found == layers | kinds | {"head.png", "embeddings.png"}
    for what in ("components", "parameters"):
        assert (figures / f"clip_rate_{what}.png").exists()


def test_every_run_failed(tmp_path, capsys):
    recorded_runs.write(tmp_path, [0, 0])
    assert report(tmp_path) == 0
    assert "devlin: every run failed; one is drawn alone" in capsys.readouterr().out


def test_layers(folder, capsys):
    message = refusal(
        capsys, "--report-only", "--output-dir", folder, "--layer", recorded_runs.LAYERS
    )
    assert "there is no layer 3; the model's are 0 to 2, from the bottom" in message
    assert "int" in refusal(capsys, "--layer", "top")


def test_a_layer_is_refused_before_anything_is_trained(tmp_path, capsys):
    model = tiny_bert.save(tmp_path / "model")
    train = tiny_bert.write_tsv(tmp_path / "train.tsv", 16, seed=0)
    options = ["--model", model, "--train-file", train, "--eval-file", train]
    options += ["--output-dir", tmp_path / "out", "--no-compilation-cache"]
    assert "no layer -1" in refusal(capsys, *options, "--layer", "-1")
    assert "mesh seed=3,data=1,model=1 has 3 places" in refusal(
        capsys, *options, "--mesh", "seed=3"
    )
    assert "belong together" in refusal(capsys, *options, "--process-id", "0")
    message = refusal(capsys, *options, "--method", "gu:stages=3")
    assert "stages is 3 in the method gu; accepted is 1 to 2" in message
    assert not (tmp_path / "out").exists()


def test_namesakes_are_told_apart(tmp_path):
    for rate in (0.1, 0.2):
        recorded_runs.write(
            tmp_path, [1], learning_rate=rate, configuration=f"rate {rate}"
        )
    recorded_runs.write(tmp_path, [1], "full", learning_rate=0.1)
    labels = [method.label for method in methods_of(tmp_path)]
    assert labels == ["devlin:learning_rate=0.1", "devlin:learning_rate=0.2", "full"]


def test_reports_that_cannot_be_made(tmp_path, capsys):
    nowhere = ("--report-only", "--output-dir", tmp_path / "nowhere")
    assert "there is no output directory" in refusal(capsys, *nowhere)
    (tmp_path / "empty").mkdir()
    empty = ("--report-only", "--output-dir", tmp_path / "empty")
    assert "has a recording" in refusal(capsys, *empty)
    recorded_runs.write(tmp_path / "two", [1])
    recorded_runs.write(tmp_path / "two", [1], "full", task="another")
    two = ("--report-only", "--output-dir", tmp_path / "two")
    assert "are of 2 models or tasks" in refusal(capsys, *two)


def test_reports_of_merged_directories(tmp_path):
    recorded_runs.write(tmp_path / "a", [1])
    recorded_runs.write(tmp_path / "b", [2], "full")
    assert report(tmp_path / "all", "--merge", tmp_path / "a", tmp_path / "b") == 0
    assert (tmp_path / "all" / "figures" / "figure_3_full.png").exists()
    assert [method.label for method in methods_of(tmp_path / "all")] == [
        "devlin",
        "full",
    ]
