"""The curve of stability from its command line to its files."""

import contextlib
import io
import json

import pandas
import pytest
import stability_curve
import tiny_bert

pytestmark = pytest.mark.usefixtures("kept_programs")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 40, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 21, seed=1)
    return [
        *("--model", str(model), "--train-file", train, "--eval-file", dev),
        *("--epochs", "1", "--batch-size", "8", "--seeds", "2"),
    ]


def run(options, folder, *more):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        arguments = [*options, "--output-dir", str(folder), *more]
        assert stability_curve.main(arguments) == 0
    return printed.getvalue()


@pytest.mark.slow
def test_a_curve_and_a_finer_one_in_the_same_folder(options, tmp_path, compiled):
    printed = run(options, tmp_path, "--over", "learning_rate=1e-4..1e-2:3")
    assert "custom, accuracy: mean +- std, failed runs" in printed
    assert "at no value a difference of their scores is shown" in printed
    records = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(records) == 2 * 3 * 2
    # Learning rates are numbers: each method is one program, whatever they are.
    assert sum("_train_steps" in name for name in compiled) == 2
    finer = run(options, tmp_path, "--over", "learning_rate=0.0001,0.001,0.003,0.01")
    assert "2 of 2 runs are recorded" in finer
    records = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(records) == 2 * 4 * 2
    assert len({json.loads(line)["run"] for line in records}) == len(records)
    table = pandas.read_csv(tmp_path / "curve_custom.csv")
    assert table["method"].tolist() == ["cwgnc"] * 4 + ["adamw"] * 4
    assert table["value"].tolist() == [0.0001, 0.001, 0.003, 0.01] * 2
    assert table["runs"].tolist() == [2] * 8
    assert (tmp_path / "curve_custom.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "curve_custom.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--over", "speed=1,2"], "accepted are values of max_norm, learning_rate"),
        (["--over", "learning_rate=1"], "two values above 0 at least"),
        (["--over", "learning_rate=3..1:4"], "accepted is name=LOW..HIGH:COUNT"),
        (["--learning-rate", "1e-3"], "learning_rate is what --over varies"),
        (["--method", "cwgnc:learning_rate=1e-3"], "sets learning_rate, which --over"),
    ],
)
def test_what_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        stability_curve.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
