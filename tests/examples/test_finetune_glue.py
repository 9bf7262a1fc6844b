"""The main job from its command line to its files."""

import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import finetune_glue
import huggingface_hub
import jax
import kill_study
import numpy as np
import pandas
import pytest
import reproduce_tables
import tiny_bert
from bert_glue.data import load, metrics
from bert_glue.study import programs, study
from bert_glue.training import subjects
from bert_glue.training.evaluation import Evaluator

SETTINGS = [
    *("--metric", "matthews", "--learning-rate", "5e-3", "--epochs", "2"),
    *("--batch-size", "8", "--max-norm", "1"),
]


pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("kept_programs")]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 60, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 41, seed=1)
    tiny_bert.write_tsv(folder / "new.tsv", 9, seed=2, labels=False)
    return ["--model", str(model), "--train-file", train, "--eval-file", dev, *SETTINGS]


def run(options, folder, *more):
    arguments = [*options, "--output-dir", str(folder), *map(str, more)]
    assert finetune_glue.main(arguments) == 0


def records_of(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """A folder with three seeds of two methods, and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    new = os.path.join(os.path.dirname(options[1]), "new.tsv")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run(
            options,
            folder,
            *("--method", "cwgnc,adamw:weight_decay=0", "--seeds", 3),
            *("--predict", new, "--save-model"),
        )
    return folder, printed.getvalue()


def test_records(finished):
    folder, _ = finished
    runs = records_of(folder)
    assert [run["seed"] for run in runs] == [0, 1, 2, 0, 1, 2]
    assert [run["method"] for run in runs] == ["cwgnc"] * 3 + ["adamw"] * 3
    for record in runs:
        assert record["task"] == "custom"
        assert record["metric"] == "matthews"
        assert record["majority_score"] == 0
        assert record["learning_rate"] == 5e-3
        assert record["epochs"] == 2
        assert record["max_norm"] == 1
        assert record["weight_decay"] == (0.01 if record["method"] == "cwgnc" else 0)
        assert record["steps"] == 16
        assert record["group_size"] == 3
        assert record["seconds"] > 0
        assert np.isfinite(record["train_loss"])
        assert [each["step"] for each in record["history"]] == [8, 16]
        assert record["failed"] == (record["score"] <= 0)
        assert record["failed_released"] is None
        assert record["diverged_at"] is None
        assert {"python", "jax", "optax", "flax"} <= record["versions"].keys()


def test_summary_is_of_the_records(finished):
    folder, printed = finished
    summary = json.loads((folder / "summary.json").read_text())
    assert [row["method"] for row in summary] == ["cwgnc", "adamw:weight_decay=0"]
    for row, runs in zip(
        summary, (records_of(folder)[:3], records_of(folder)[3:]), strict=True
    ):
        scores = np.array([run["score"] for run in runs])
        assert row["runs"] == 3
        assert row["scores"] == {str(run["seed"]): run["score"] for run in runs}
        for name in ("std", "mean", "max", "min"):
            assert row[name] == pytest.approx(getattr(np, name)(scores))
        assert row["failed"] == sum(run["failed"] for run in runs)
        line = next(
            line
            for line in printed.splitlines()
            if line.startswith(row["method"]) and f"{scores.mean():.1f}" in line
        )
        assert f"{scores.std():.1f}" in line
        assert f"{scores.max():.1f}" in line


def test_a_row_is_said_as_soon_as_it_is_whole(finished):
    folder, printed = finished
    lines = printed.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("some "))
    assert re.fullmatch(
        r"some \d+ \w+ for 6 runs of 2 methods, done at \d\d:\d\d", lines[at]
    )
    scores = np.array([run["score"] for run in records_of(folder)[:3]])
    failed = sum(run["failed"] for run in records_of(folder)[:3])
    spread = f"std {scores.std():.1f}, mean {scores.mean():.1f}, max {scores.max():.1f}"
    row = f"custom, cwgnc: 3 of 3 runs: {spread}, failed {failed}"
    assert at < lines.index(row) < lines.index("Runs")
    # The last row is the table's.
    assert not any(line.startswith("custom, adamw") for line in lines)


def test_a_card_of_the_model(finished, options):
    folder, _ = finished
    card = huggingface_hub.ModelCard.load(folder / "model" / "README.md")
    about = json.loads((folder / "model" / "run.json").read_text())
    (row,) = [
        row
        for row in json.loads((folder / "summary.json").read_text())
        if about["run"].split("-")[2] == row["configuration"]
    ]
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.metrics == ["matthews_correlation"]
    # It was fine-tuned from a folder.
    assert card.data.base_model is None
    assert card.data.license is None
    values = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert values == {
        "this model, the best of 3 runs": pytest.approx(about["score"] / 100, abs=5e-5),
        "mean of 3 runs": pytest.approx(row["mean"] / 100, abs=5e-5),
        "standard deviation of 3 runs": pytest.approx(row["std"] / 100, abs=5e-5),
    }
    spread = [f"{row[name]:.1f}" for name in ("std", "mean", "max", "min")]
    cells = [f"{about['score']:.1f}", "3", *spread, f"{row['failed']}"]
    assert f"| {' | '.join(cells)} |" in card.text
    (command,) = json.loads((folder / "config.json").read_text())["commands"]
    assert f"    {command['command']}\n" in card.text
    assert row["settings"]["data_fingerprint"] in card.text
    assert "`train.tsv`" in card.text
    assert "own, to the norm 1." in card.text or "together, to the norm 1." in card.text


def test_files_beside_the_records(finished, kept_programs):
    folder, printed = finished
    picture = (folder / "runs.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    config = json.loads((folder / "config.json").read_text())
    names = {record["configuration"] for record in records_of(folder)}
    assert config["configurations"].keys() == names
    assert "--seeds 3" in config["commands"][0]["command"]
    assert config["commands"][0]["hardware"]["platform"]
    assert str(folder / "runs.png") in printed
    # Neither locks of runs nor temporary files are left; programs are kept.
    assert any(kept_programs.rglob("*train_steps*"))
    assert {path.name for path in folder.iterdir()} == {
        *("runs.jsonl", "runs.png", "summary.json", "config.json", ".lock"),
        *("model", "predictions.csv"),
    }


def test_best_model_is_saved_and_predicts(finished, options):
    folder, _ = finished
    best = max(records_of(folder), key=lambda record: record["score"])
    saved = json.loads((folder / "model" / "run.json").read_text())
    about = {"task": "custom", "texts": ["sentence"], "label": "label"}
    about |= {"metric": "matthews", "positive_class": None, "max_length": 40}
    assert saved == {"run": best["run"], "score": best["score"]} | about
    # The saved model, read as any checkpoint, has the score of the record.
    data = load.load_files(options[3], options[5], load.Reading(metric="matthews"))
    subject = subjects.prepare(data, folder / "model")
    assert subject.fresh == ()

    def answers(data):
        with_axis = jax.tree.map(lambda leaf: leaf[None], subject.pretrained)
        return subject.predictions(Evaluator(subject.forward(), data)(with_axis)[0])

    score = metrics.score(
        "matthews", answers(subject.evaluation), np.asarray(subject.evaluation.labels)
    )
    assert score == pytest.approx(best["score"])
    new = os.path.join(os.path.dirname(options[1]), "new.tsv")
    examples = load.read_examples(new, data.task, labelled=False)
    written = pandas.read_csv(folder / "predictions.csv")
    assert list(written["sentence"]) == [text for (text,) in examples.texts]
    # The classes are 0 and 1.
    assert list(written["prediction"]) == list(answers(subject.encode(examples)))


def test_same_command_does_only_what_is_missing(
    finished, options, tmp_path, capsys, monkeypatch
):
    folder, _ = finished
    lines = (folder / "runs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "runs.jsonl").write_text("".join(lines[:3]))
    method = ("--method", "cwgnc")

    def no_trainer(*_):
        raise AssertionError("nothing is missing")

    with monkeypatch.context() as patch:
        patch.setattr(programs, "make_trainers", no_trainer)
        run(options, tmp_path, "--method", "cwgnc,cwgnc:max_norm=1", "--seeds", 3)
    output = capsys.readouterr().out
    assert output.count("3 of 3 runs are recorded, 0 missing") == 1
    assert "cwgnc:max_norm=1: a method before it has the same settings" in output
    assert "2 classes: '0', '1'" in output
    assert (tmp_path / "runs.jsonl").read_text() == "".join(lines[:3])

    # One of three is lost: it is done again, alone, with the same result.
    (tmp_path / "runs.jsonl").write_text(lines[0] + lines[2])
    run(options, tmp_path, *method, "--seeds", 3)
    assert "2 of 3 runs are recorded, 1 missing" in capsys.readouterr().out
    again, before = records_of(tmp_path)[2], json.loads(lines[1])
    assert again["run"] == before["run"]
    assert again["group_size"] == 1
    # Rounding: vmapped products are summed in another order than single ones.
    assert again["train_loss"] == pytest.approx(before["train_loss"], rel=1e-4)
    assert again["score"] == pytest.approx(before["score"])

    # Another configuration is added and kept apart.
    with monkeypatch.context() as patch:
        patch.setattr(study.Study, "run", lambda *_: None)
        run(options, tmp_path, *method, "--seeds", 3, "--max-norm", "0.5")
    output = capsys.readouterr().out
    assert "1 other configuration has runs in this directory" in output
    assert "are recorded" not in output


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_done_twice(
    options, tmp_path, kept_programs
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ("--method", "cwgnc", "--seeds", 4, "--parallel-seeds", 1)
    run(options, whole, *more)
    command = [
        *(sys.executable, finetune_glue.__file__, *options, *map(str, more)),
        *("--checkpoint-minutes", "1e-9", "--output-dir", str(killed)),
    ]
    env = kill_study.environment(kept_programs)
    path = killed / "runs.jsonl"
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not path.exists() or not path.read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = records_of(killed)
    assert 1 <= len(done) <= 4
    # Again at any moment; kill_study.py does it twenty times.
    kill_study.kill(kill_study.start(command, env), random.uniform(0, 6))
    result = subprocess.run(
        command, env=env, capture_output=True, text=True, check=True
    )
    # Quiet when nobody is watching: no bar was drawn.
    assert "%|" not in result.stderr
    assert kill_study.differences(killed, whole) == []
    assert records_of(killed)[: len(done)] == done


@pytest.mark.slow
def test_shards_end_with_the_runs_of_one_process(finished, options, tmp_path, capsys):
    more = ("--method", "cwgnc,adamw:weight_decay=0", "--seeds", 3)
    shared, first, second = (tmp_path / name for name in ("shared", "first", "second"))
    for folder, shard in ((shared, 1), (shared, 2), (first, 1), (second, 2)):
        run(options, folder, *more, "--shard", f"{shard}/2")
        assert f"shard {shard} of 2: 3 of the 6 runs" in capsys.readouterr().out
    assert len(records_of(first)) == len(records_of(second)) == 3
    run(options, first, *more, "--merge", second)
    assert "3 runs were copied" in capsys.readouterr().out
    # The same groups of the same programs: not a bit may differ.
    for folder in (shared, first):
        assert kill_study.differences(folder, finished[0]) == []


@pytest.mark.slow
def test_diverged_runs_are_recorded_counted_and_drawn(options, tmp_path, capsys):
    # The warm-up's first step is 0 and the second 1e30: the third loss is not finite.
    methods = "cwgnc:learning_rate=1e30,cwgnc"
    run(options, tmp_path, "--method", methods, "--seeds", 3)
    runs = records_of(tmp_path)
    sick, sound = runs[:3], runs[3:]
    for record in sick:
        assert record["diverged_at"] == 3
        assert record["failed"] is True
        assert record["train_loss"] is None
        assert [each["train_loss"] for each in record["history"]] == [None, None]
        # All answers are alike, as those of a classifier that learnt nothing.
        assert record["score"] == 0
    assert [record["diverged_at"] for record in sound] == [None] * 3
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert [(row["diverged"], row["mean"]) for row in rows] == [
        (3, 0),
        (0, pytest.approx(np.mean([record["score"] for record in sound]))),
    ]
    assert (tmp_path / "runs.png").stat().st_size > 1000
    # The page has them, too, and the best run is none of them.
    tables = ["--report-only", "--output-dir", str(tmp_path)]
    assert reproduce_tables.main(tables) == 0
    assert "cwgnc:learning_rate=1e+30" in (tmp_path / "index.html").read_text()
    capsys.readouterr()
    run(options, tmp_path, "--method", methods, "--seeds", 3, "--save-model")
    saved = json.loads((tmp_path / "model" / "run.json").read_text())
    assert saved["run"] == max(sound, key=lambda record: record["score"])["run"]
    only = [*options, "--method", methods.split(",")[0], "--seeds", "3"]
    only += ["--output-dir", str(tmp_path), "--save-model"]
    assert finetune_glue.main(only) == 1
    # A busy machine may have said how far it is before.
    assert capsys.readouterr().err.endswith(
        "finetune_glue.py: there is no best run to keep: every run diverged\n"
    )


@pytest.mark.slow
def test_settings_are_chosen_on_held_out_examples(options, tmp_path, capsys):
    at = options.index("--eval-file")
    only = [*options[:at], *options[at + 2 :], "--held-out", "0.25", "--seeds", "1"]
    run(only, tmp_path, "--method", "cwgnc", "--epochs", 1)
    (record,) = records_of(tmp_path)
    assert record["held_out"] == 0.25
    assert record["eval_examples"] == 15
    assert record["train_examples"] == 45
    printed = capsys.readouterr().out
    assert "to score, held out of the training set" in printed
    assert "in % on 25% held out of the training set" in printed


@pytest.mark.slow
def test_real_encoder_on_real_data(shared_dir, tmp_path):
    # Two steps: this is about the way from files to a record.
    model = next(path for path in (shared_dir / "models").iterdir() if path.is_dir())
    run(
        ["--model", str(model)],
        tmp_path,
        *("--task", "rte", "--data-dir", shared_dir / "glue", "--seeds", 1),
        *("--epochs", 1, "--max-train-examples", 32, "--max-eval-examples", 16),
        *("--max-length", 32, "--learning-rate", "1e-4"),
    )
    record = records_of(tmp_path)[0]
    assert record["steps"] == 2
    # Two classes, an untrained classifier: about log 2.
    assert 0.3 < record["train_loss"] < 1.2
    assert record["failed_released"] is not None
