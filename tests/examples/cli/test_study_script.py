"""The frame of the scripts: from an option to what it sets, and what is said of it."""

import finetune_glue
import pytest
import tiny_bert
from bert_glue.study.study import Study

pytestmark = pytest.mark.usefixtures("kept_programs")


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    train = tiny_bert.write_tsv(folder / "train.tsv", 16, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 8, seed=1)
    model = tiny_bert.save(folder / "model")
    files = ["--train-file", train, "--eval-file", dev]
    return ["--model", str(model), *files, "--epochs", "1", "--batch-size", "8"]


def said(monkeypatch, capsys, folder, *arguments):
    """What is said before anything is trained."""
    monkeypatch.setattr(Study, "run", lambda *_: None)
    folder = ["--output-dir", str(folder), "--no-compilation-cache"]
    assert finetune_glue.main([*arguments, *folder]) == 0
    return capsys.readouterr().out


@pytest.mark.medium
def test_what_a_user_gave_is_not_called_the_models(tmp_path, monkeypatch, capsys):
    embedded = ["--max-train-examples", "16", "--max-eval-examples", "16"]
    own = "of these the embedded model's own: "
    # These are the model's values as well, but it is the user who says so.
    given = ["--learning-rate", "5e-4", "--method", "adamw:epochs=5"]
    text = said(monkeypatch, capsys, tmp_path, *embedded, *given)
    assert "learning rate 0.0005, batch size 16, epochs 5" in text
    assert f"{own}batch size\n" in text
    text = said(monkeypatch, capsys, tmp_path, *embedded, "--batch-size", "16")
    assert f"{own}learning rate, epochs\n" in text


def test_what_holds_for_some_methods_is_said(own_data, tmp_path, monkeypatch, capsys):
    options = ["--method", "cwgnc,adamw,adamw:epochs=2", "--max-norm", "0.2"]
    lines = said(monkeypatch, capsys, tmp_path, *own_data, *options).splitlines()
    of = {line.split(": ")[0]: number for number, line in enumerate(lines)}
    assert "norm of each component <= 0.2, learning rate" in lines[of["cwgnc"]]
    assert "global norm <= 1, learning rate" in lines[of["adamw"]]
    why = "it clips the global norm, which adamw:max_norm=0.2 sets"
    assert lines[of["adamw"] + 1] == f"  --max-norm has no effect on it: {why}"
    assert (
        "  --epochs has no effect on it: its own is 2" in lines[of["adamw:epochs=2"] :]
    )
    assert sum("no effect" in line for line in lines) == 3


@pytest.mark.medium
def test_what_labels_are_is_said(own_data, tmp_path, monkeypatch, capsys):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "reviews"
    folder.mkdir()
    rows = [f'{{"text": "a cat", "labels": [{n % 3}, 3]}}' for n in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    dataset = ["--dataset", str(folder), "--eval-share", "0.25", "--batch-size", "8"]
    f1 = ["--metric", "f1", "--positive-class", "2"]
    text = said(monkeypatch, capsys, tmp_path, *own_data[:2], *dataset, *f1)
    assert "custom: 30 examples to train on, 10 to score, held out of the tr" in text
    assert "by F1 of the class 2\n" in text
    assert "4 classes, any number of them an example: '0', '1', '2', '3'\n" in text
    with pytest.raises(SystemExit):
        said(monkeypatch, capsys, tmp_path, *own_data[:2], *dataset[:2])
    assert "no split to score; --eval-share 0.2" in capsys.readouterr().err


@pytest.mark.medium
def test_seeds_that_can_show_nothing_are_said_before(
    own_data, tmp_path, monkeypatch, capsys
):
    arguments = [*own_data, "--method", "cwgnc,adamw", "--seeds"]
    note = (
        "note: 6 seeds can show no difference between methods, however large: 2 "
        "comparisons with cwgnc (of means and spreads, corrected together) take 7 "
        "seeds at least\n"
    )
    assert note in said(monkeypatch, capsys, tmp_path, *arguments, "6")
    assert "however large" not in said(monkeypatch, capsys, tmp_path, *arguments, "7")
    # No folder of this machine is kept.
    files = [path.read_text() for path in tmp_path.glob("*.json")]
    assert files
    assert not any(str(tmp_path.parent) in text for text in files)


def test_real_text_is_not_for_the_embedded_model(
    own_data, tmp_path, monkeypatch, capsys
):
    text = said(monkeypatch, capsys, tmp_path, *own_data[2:])
    assert "note: the embedded model has 650 word pieces, of a small made-up" in text
    assert "--model bert-base-uncased" in text
