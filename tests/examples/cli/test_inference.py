"""A saved model is used from the command line, and nothing is trained."""

import re

import finetune_glue
import jax
import numpy as np
import pandas
import pytest
import tiny_bert
from bert_glue.data import load
from bert_glue.model import checkpoint
from bert_glue.model.encoder import initial_params
from bert_glue.training import subjects
from bert_glue.training.evaluation import Evaluator

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("kept_programs")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a classifier for 0 and 1, and files."""
    folder = tmp_path_factory.mktemp("saved")
    tiny_bert.save(folder / "bare")
    tiny_bert.save(folder / "model")
    heads = initial_params(tiny_bert.CONFIG, 2, jax.random.key(1))
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * 50, heads)
    checkpoint.save(folder / "model", tiny_bert.CONFIG, params, labels=("0", "1"))
    tiny_bert.write_tsv(folder / "dev.tsv", 30, seed=1)
    tiny_bert.write_tsv(folder / "new.tsv", 9, seed=2, labels=False)
    (folder / "own" / "model").mkdir(parents=True)
    (folder / "own" / "model" / "weights").write_text("mine")
    (folder / "words.csv").write_text("text,label\nthe cat,0\na dog,yes\n")
    return folder


def run(folder, *arguments):
    words = ["--model", folder / "model", *arguments]
    assert finetune_glue.main([str(word) for word in words]) == 0


def test_predictions_and_scores_of_one_command(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dev = folder / "dev.tsv"
    run(folder, "--predict", dev, "--evaluate", "--eval-file", dev)
    printed = capsys.readouterr().out
    file = tmp_path / "runs" / "custom" / "predictions.csv"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert "predictions for " in printed
    found = pandas.read_csv(file)
    truth = pandas.read_csv(dev, sep="\t")
    assert list(found["sentence"]) == list(truth["sentence"])

    # By another way: as a checkpoint that is to be trained further.
    subject = subjects.prepare(load.load_files(dev, dev), folder / "model")
    with_axis = jax.tree.map(lambda leaf: leaf[None], subject.pretrained)
    logits = Evaluator(subject.forward(), subject.evaluation)(with_axis)[0]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    columns = found[["probability_0", "probability_1"]].to_numpy()
    # float32, and six digits in the file.
    np.testing.assert_allclose(columns, chances, rtol=1e-4, atol=1e-6)
    assert list(found["prediction"]) == list(chances.argmax(axis=1))

    accuracy = 100 * np.mean(found["prediction"] == truth["label"])
    majority = 100 * max(truth["label"].mean(), 1 - truth["label"].mean())
    line = re.search(r"^accuracy +(\S+) +(\S+)$", printed, re.MULTILINE)
    assert line is not None
    assert float(line[1]) == pytest.approx(accuracy, abs=0.005)
    assert float(line[2]) == pytest.approx(majority, abs=0.005)
    assert "30 examples, 2 classes: '0', '1'" in printed
    assert "F1 of the class 1" in printed


def test_predictions_go_where_the_user_says(folder, tmp_path, capsys):
    file = tmp_path / "deep" / "answers.jsonl"
    run(folder, "--predict", folder / "new.tsv", "--predictions", file)
    assert len(pandas.read_json(file, lines=True)) == 9
    assert capsys.readouterr().out.endswith(f"new.tsv: {file}\n")


def test_the_examples_of_a_task(folder, tmp_path, capsys):
    out = ["--output-dir", tmp_path]
    run(folder, "--evaluate", "--task", "acceptability", "--max-eval-examples", 8, *out)
    printed = capsys.readouterr().out
    assert "on acceptability: 8 examples" in printed
    # The task's own metric comes first.
    assert re.search(r"score +best constant answer\nMatthews", printed)
    assert not any(tmp_path.iterdir())


def test_the_examples_of_a_dataset(folder, tmp_path, monkeypatch, capsys):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = pandas.read_csv(folder / "dev.tsv", sep="\t")
    rows.to_csv(tmp_path / "data" / "test.csv", index=False)
    run(folder, "--evaluate", "--dataset", "data")
    by_dataset = capsys.readouterr().out
    assert "on data: 30 examples, 2 classes: '0', '1'" in by_dataset
    run(folder, "--evaluate", "--eval-file", folder / "dev.tsv")
    assert by_dataset.splitlines()[1:] == capsys.readouterr().out.splitlines()[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--evaluate", "--evaluate needs examples to score: name --eval-file"),
        ("--evaluate --eval-file dev.tsv --seeds 2", "--seeds has no effect: --evalu"),
        ("--evaluate --train-file dev.tsv", "--train-file has no effect: --evaluate"),
        ("--evaluate --task rte --epochs 3", "--epochs has no effect: --evaluate tra"),
        ("--evaluate --task rte --metric f1", "--metric has no effect: a task has its"),
        ("--evaluate --task rte --encoding cp1252", "--encoding has no effect: a task"),
        ("--evaluate --eval-file dev.tsv --data-dir .", "--data-dir has no effect: it"),
        ("--evaluate --task rte --eval-file dev.tsv", "--task and --eval-file: give"),
        ("--evaluate --eval-file words.csv", "words.csv, line 3: unknown label 'yes'"),
        ("--evaluate --task entailment", "no classifier that was trained for 'entail"),
        (
            "--evaluate --eval-file dev.tsv --label-column x",
            "needed for custom are 'sentence' and 'x'",
        ),
        ("--predict new.tsv --save-model", "--save-model has no effect: --predict w"),
        ("--predict new.tsv --metric f1", "--predict scores nothing; add --evaluate"),
        ("--predict new.tsv --eval-file dev.tsv", "nothing; add --evaluate"),
        ("--predict none.tsv", "cannot read none.tsv"),
        ("--predict new.tsv --text-columns x,y", "needed for custom are 'x' and 'y'"),
        ("--predictions a.csv", "--predictions belongs to --predict"),
        ("--predict new.tsv --predictions a.xls", "accepted are names that end in"),
        ("--predict new.tsv --predictions new.tsv", "would replace new.tsv"),
        ("--predict new.tsv --predictions a/runs.jsonl", "would replace a/runs.jsonl"),
        ("--predict predictions.csv --output-dir .", "would replace predictions.csv"),
        (
            "--train-file dev.tsv --eval-file dev.tsv --output-dir . --save-model",
            "--save-model would replace model, which is fine-tuned",
        ),
        (
            "--train-file dev.tsv --eval-file dev.tsv --output-dir own --save-model",
            "--save-model would replace own/model, which was not saved by --save-model",
        ),
        ("--predict new.tsv --max-length 64", "the maximum length is 64"),
        ("", "name what to train it on, by --task or --train-file; --evaluate and"),
    ],
)
def test_what_is_refused_in_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as error:
        finetune_glue.main(["--model", "model", *arguments.split()])
    assert error.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert sorted(folder.rglob("*")) == before


def test_a_model_that_has_learnt_nothing_yet(folder, capsys):
    evaluate = ["--evaluate", "--task", "acceptability"]
    for model, what in (
        (str(folder / "bare"), ["--predict", str(folder / "new.tsv")]),
        ("embedded", evaluate),
    ):
        with pytest.raises(SystemExit):
            finetune_glue.main(["--model", model, *what])
        assert "has no classifier that was trained for" in capsys.readouterr().err
