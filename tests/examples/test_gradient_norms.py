"""The script's figures from records, and what it refuses. Nothing is trained here."""

import gradient_norms
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


@pytest.mark.medium
def test_every_run_failed(tmp_path, capsys):
    recorded_runs.write(tmp_path, [0, 0])
    assert report(tmp_path) == 0
    said = capsys.readouterr().out
    assert "devlin: every run failed; one is drawn alone" in said
    assert "note: " not in said
    assert str(tmp_path / "figures" / "figure_3_devlin.png") in said


@pytest.mark.medium
def test_runs_without_a_recording_are_said(tmp_path, capsys):
    (first, _) = recorded_runs.write(tmp_path, [0, 1])
    ComponentLogs(tmp_path).path(first).unlink()
    assert report(tmp_path) == 0
    logs = ComponentLogs(tmp_path).folder
    note = f"note: 1 of 2 runs have no recording in {logs}, and are left out"
    assert note in capsys.readouterr().out


def test_layers(tmp_path, capsys):
    recorded_runs.write(tmp_path, [1])
    folder = ("--report-only", "--output-dir", tmp_path)
    with pytest.raises(SystemExit):
        gradient_norms.main([*map(str, folder), "--layer", str(recorded_runs.LAYERS)])
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    message = said.err
    assert "there is no layer 3; the model's are 0 to 2, from the bottom" in message
    assert "int" in refusal(capsys, "--layer", "top")


@pytest.mark.medium
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


@pytest.mark.slow
def test_reports_of_merged_directories(tmp_path):
    recorded_runs.write(tmp_path / "a", [1])
    recorded_runs.write(tmp_path / "b", [2], "full")
    assert report(tmp_path / "all", "--merge", tmp_path / "a", tmp_path / "b") == 0
    assert (tmp_path / "all" / "figures" / "figure_3_full.png").exists()
    assert [method.label for method in methods_of(tmp_path / "all")] == [
        "devlin",
        "full",
    ]
