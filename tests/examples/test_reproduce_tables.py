"""The tables from a command line to the files, and from several directories to one."""

import csv
import json
import shutil

import pytest
import reproduce_tables
import tiny_bert
from bert_glue.report import write

METHODS = "cwgnc,adamw"
SETTINGS = ["--metric", "matthews", "--learning-rate", "5e-3", "--batch-size", "8"]


pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("kept_programs")]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 24, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 20, seed=1)
    return [
        *("--model", str(model), "--train-file", train, "--eval-file", dev),
        *("--epochs", "1", "--parallel-seeds", "1", *SETTINGS),
    ]


def make(*arguments):
    assert reproduce_tables.main([str(argument) for argument in arguments]) == 0


def lines_of(folder):
    return (folder / "runs.jsonl").read_text().splitlines()


def scores_of(folder):
    runs = map(json.loads, lines_of(folder))
    return {run["run"]: run["score"] for run in runs}


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    make(*options, "--method", METHODS, "--seeds", 3, "--output-dir", folder)
    return folder


def test_table_1(finished):
    rows = list(csv.DictReader((finished / "table1.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["cwgnc", "adamw"]
    runs = [json.loads(line) for line in lines_of(finished)]
    assert [run["method"] for run in runs] == ["cwgnc"] * 3 + ["adamw"] * 3
    for row in rows:
        scores = [run["score"] for run in runs if run["label"] == row["method"]]
        assert float(row["mean"]) == pytest.approx(sum(scores) / 3)
        assert float(row["max"]) == max(scores)
    assert {path.name for path in finished.iterdir()} == {
        *("runs.jsonl", "summary.json", "config.json", ".lock", "index.html"),
        *("table1.md", "table1.tex", "table1.csv", "table1_comparisons.csv"),
    }
    saved = json.loads((finished / "config.json").read_text())
    assert "reproduce_tables.py" in saved["commands"][0]["command"]
    assert saved["tables"]["1"]["reference"] == "cwgnc"


def test_report_alone_needs_neither_model_nor_data(finished, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    names = [*(f"table1.{kind}" for kind in ("md", "tex", "csv")), write.PAGE]
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    make("--report-only", "--output-dir", folder)
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert lines_of(folder) == lines_of(finished)
    printed = capsys.readouterr().out
    assert printed.startswith("Table 1\ncustom: Matthews' correlation")
    make("--report-only", "--output-dir", folder, "--reference", "adamw")
    assert "1 comparison with adamw " in (folder / "table1.md").read_text()


def test_the_reference_is_the_one_named_last(options, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    methods = ("--method", "cwgnc,adamw", "--seeds", 3, "--output-dir", folder)
    for reference in ("adamw", "cwgnc"):
        make(*options, *methods, "--reference", reference)
        text = (folder / "table1.md").read_text()
        assert f"1 comparison with {reference} " in text


def test_a_row_that_is_another_by_another_name_is_left_out(options, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    method = "cwgnc,cwgnc:epochs=1,adamw"
    make(*options, "--method", method, "--seeds", 3, "--output-dir", folder)
    rows = list(csv.DictReader((folder / "table1.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["cwgnc", "adamw"]
    # Nothing was done again.
    assert lines_of(folder) == lines_of(finished)


@pytest.mark.slow
def test_a_second_command_adds_its_rows(options, finished, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    command = [*options, "--seeds", 1, "--output-dir", folder, "--method"]
    make(*command, "full")
    rows = list(csv.DictReader((folder / "table1.csv").read_text().splitlines()))
    assert [(row["method"], row["runs"]) for row in rows] == [
        *(("cwgnc", "3"), ("adamw", "3"), ("full", "1")),
    ]
    assert "7 of 9 runs are recorded" in capsys.readouterr().out
    # Other settings by the same name are another table, and no run is passed over.
    make(*command, "full", "--warmup-ratio", 0.5)
    rows = list(csv.DictReader((folder / "table1.csv").read_text().splitlines()))
    assert [(row["method"], row["runs"]) for row in rows] == [("full", "1")]
    output = capsys.readouterr().out
    assert "note: 7 other runs of this directory are in no table: 3 of cwgnc" in output
    make("--report-only", "--output-dir", folder, "--table", "runs")
    assert (folder / "table.md").read_text().count("\n| full (") == 2 + 2


def test_both_tables_share_a_directory_and_its_runs(options, finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    # The paper's threshold is cwgnc's own: there is nothing to run.
    make(
        *(*options, "--table", 2, "--method", "cwgnc:max_norm=0.05", "--seeds", 3),
        *("--output-dir", folder),
    )
    assert lines_of(folder) == lines_of(finished)
    row, other = (
        next(csv.DictReader((folder / f"table{number}.csv").read_text().splitlines()))
        for number in (1, 2)
    )
    assert other["method"] == other["reference"] == "cwgnc:max_norm=0.05"
    assert {**row, "method": "", "reference": ""} == {
        **other,
        **{"method": "", "reference": ""},
    }
    page = (folder / write.PAGE).read_text()
    assert "<h2>Table 1</h2>" in page
    assert "<h2>Table 2</h2>" in page


@pytest.mark.slow
def test_parts_made_apart_are_merged(options, finished, tmp_path, capsys):
    command = [*options, "--method", METHODS, "--seeds", 3, "--output-dir"]
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        make(*command, part, "--shard", f"{number}/2")
    output = capsys.readouterr().out
    assert "shard 1 of 2: " in output
    assert "of 6 runs are recorded; the table is of these" in output
    found = [scores_of(part) for part in parts]
    assert all(found)
    assert not found[0].keys() & found[1].keys()
    before = [(part / "runs.jsonl").read_bytes() for part in parts]
    merged = tmp_path / "merged"
    make("--report-only", "--output-dir", merged, "--merge", *parts, finished)
    assert [(part / "runs.jsonl").read_bytes() for part in parts] == before
    assert len(lines_of(merged)) == 6
    # One program for one seed, whichever part runs it: the scores are the same.
    assert scores_of(merged) == scores_of(finished) == found[0] | found[1]
    assert (merged / "table1.csv").read_text() == (finished / "table1.csv").read_text()
    commands = json.loads((merged / "config.json").read_text())["commands"]
    assert [("--shard" in each["command"]) for each in commands] == [True, True, False]
    # Merged once more, nothing is there twice.
    make("--report-only", "--output-dir", merged, "--merge", *parts)
    assert len(lines_of(merged)) == 6
    # A shard that had nothing to do has no runs; the others are merged all the same.
    (parts[1] / "runs.jsonl").unlink()
    rest = tmp_path / "rest"
    make("--report-only", "--output-dir", rest, "--merge", *parts)
    assert scores_of(rest) == found[0]


def test_crossed_seeds(options, tmp_path):
    make(
        *(*options, "--method", "cwgnc", "--init-seeds", 2, "--data-seeds", "0,7"),
        *("--output-dir", tmp_path),
    )
    runs = [json.loads(line) for line in lines_of(tmp_path)]
    assert [run["seed"] for run in runs] == [0, "0-7", "1-0", "1-7"]
    text = (tmp_path / "table1.md").read_text()
    assert "Initialisation and data order vary apart" in text


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        reproduce_tables.main([str(argument) for argument in arguments])
    assert error.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def test_bad_input(capsys, options, tmp_path):
    folder = ["--output-dir", tmp_path / "new"]
    for arguments, message in (
        (["--table", "3"], "invalid choice: '3'"),
        (["--table", "runs"], "--table runs goes with --report-only"),
        (["--task", "rte,rte"], "a task there twice"),
        (["--task", "rte,x"], "unknown task 'x'"),
        (["--shard", "3/2"], "shard is '3/2'; accepted is 1/8 to 8/8"),
        (["--seeds", "2", "--data-seeds", "2"], "--seeds sets both seeds of a run"),
        (["--data-dir", "x"], "entailment is generated"),
        (["--report-only"], "there is no output directory"),
    ):
        assert message in refusal(capsys, *arguments, *folder)
        assert not (tmp_path / "new").exists()
    text = refusal(capsys, *options, "--reference", "sgd", *folder)
    assert "the reference is 'sgd'; accepted are devlin, adamw" in text
    assert not (tmp_path / "new").exists()
    text = refusal(capsys, "--report-only", *folder, "--merge", tmp_path / "none")
    assert "runs.jsonl cannot be read: No such file" in text
    (tmp_path / "new").mkdir()
    text = refusal(capsys, "--report-only", *folder)
    assert "no runs are recorded in" in text


def test_defaults_are_the_papers(capsys):
    with pytest.raises(SystemExit):
        reproduce_tables.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in ("devlin, adamw, adamw:epochs=5", "(default 25)", "rte,mrpc,cola"):
        assert word in text
