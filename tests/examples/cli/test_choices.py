"""Bad input gets one line and code 2, before anything takes long."""

import json
import pathlib
import shutil
import time

import finetune_glue
import jax
import pytest
import tiny_bert
from bert_glue.cli import choices
from bert_glue.cli.options import add_options
from bert_glue.cli.parser import make_parser
from bert_glue.model import checkpoint
from bert_glue.model.encoder import initial_params


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_bert.save(folder / "model")
    tiny_bert.write_tsv(folder / "train.tsv", 40, seed=0)
    tiny_bert.write_tsv(folder / "dev.tsv", 20, seed=1)
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    broken = folder / "broken"
    tiny_bert.save(broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"hidden_size": 24}))
    return folder


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        finetune_glue.main([str(argument) for argument in arguments])
    assert error.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("(--help-all shows all options)\n")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "colla"], "unknown task 'colla'; accepted are acceptability"),
        (["--seeds", "five"], "seeds are 'five'; accepted is a count such as 5"),
        (["--seeds", "0"], "seeds are '0'"),
        (["--method", "sgd"], "unknown method 'sgd'; accepted are cwgnc, devlin"),
        (
            ["--method", "cwgnc:max_norm=-1"],
            "max_norm is -1 in the method cwgnc",
        ),
        (["--max-norm", "-0.5"], "got '-0.5'; accepted is a number above 0"),
        (["--max-norm", "0"], "got '0'; accepted is a number above 0, or inf to clip"),
        (["--method", "adamw:max_norm=0"], "accepted is a number above 0, or inf"),
        (["--max-norm", "nan"], "got 'nan'"),
        (["--learning-rate", "0"], "accepted is a number above 0"),
        (["--epochs", "1.5"], "accepted is a whole number of at least 1"),
        (["--batch-size", "0"], "accepted is a whole number of at least 1"),
        (["--warmup-ratio", "2"], "at least 0 and at most 1"),
        (["--parallel-seeds", "0"], "at least 1, or auto"),
        (["--dtype", "float16"], "float16"),
        (["--shard", "9/8"], "shard is '9/8'; accepted is 1/8 to 8/8"),
        (["--shard", "1/8", "--save-model"], "use them without --shard once"),
        (["--no-such-option"], "--no-such-option"),
        (["--data-dir", "x"], "--data-dir goes with a task of GLUE"),
        (["--train-file", "x"], "--train-file needs --eval-file, or --eval-share"),
        (["--eval-file", "x"], "--eval-file belongs to --train-file"),
        (
            ["--train-file", "x", "--eval-file", "y", "--held-out", "0.1"],
            "leave out --eval-file",
        ),
        (["--held-out", "1"], "got '1'; accepted is a number above 0 and below 1"),
        (["--train-file", "x", "--eval-file", "y", "--task", "rte"], "give one kind"),
        (["--metric", "f1"], "--metric is for --train-file"),
        (["--text-columns", "a,b"], "--text-columns is for --train-file"),
        (["--label-column", "a"], "--label-column is for --train-file"),
        (["--encoding", "cp1252"], "--encoding is for --train-file"),
        (["--positive-class", "a"], "--positive-class is for --train-file"),
        (["--eval-share", "0.2"], "--eval-share is for --train-file; a task has"),
        (["--dataset", "x", "--encoding", "a"], "--encoding is for --train-file; a da"),
        (["--dataset", "x", "--train-file", "y"], "--dataset replaces --train-file"),
        (["--dataset", "x", "--task", "rte"], "--dataset replaces --task and --data-"),
        (["--dataset", "x", "--eval-file", "y"], "--eval-file belongs to --train-fil"),
        (
            ["--train-file", "x", "--eval-file", "y", "--eval-share", "0.1"],
            "--eval-share scores training examples; leave out --eval-file",
        ),
        (["--problem", "many"], "invalid choice: 'many'"),
        (["--model", "./nowhere"], "there is no model folder nowhere"),
    ],
)
def test_options_are_checked_before_long_work(capsys, tmp_path, arguments, message):
    began = time.monotonic()
    text = refusal(capsys, *arguments, "--output-dir", tmp_path / "new")
    assert message in text
    assert text.startswith("finetune_glue.py: error: ")
    # Imports may be among it; reading a model or compiling is not.
    assert time.monotonic() - began < 30
    assert not (tmp_path / "new").exists()


def own_data(folder):
    return ["--train-file", folder / "train.tsv", "--eval-file", folder / "dev.tsv"]


@pytest.mark.medium
def test_model_folders_are_checked(capsys, folder, tmp_path):
    out = ["--output-dir", tmp_path / "new"]
    text = refusal(capsys, "--model", folder / "empty", *own_data(folder), *out)
    assert f"the model folder {folder / 'empty'} has no config.json" in text
    text = refusal(capsys, "--model", folder / "broken", *own_data(folder), *out)
    assert "does not fit the model" in text
    assert "embeddings.word_embeddings.weight" in text
    assert not (tmp_path / "new").exists()


def test_data_is_checked(capsys, folder, tmp_path):
    model = ["--model", folder / "model", "--output-dir", tmp_path / "new"]
    text = refusal(capsys, *model, "--task", "rte", "--data-dir", folder)
    assert str(folder / "RTE") in text
    (folder / "bad.tsv").write_text("sentence\tlabel\nthe cat\t1\nthe dog\n")
    text = refusal(
        capsys,
        *model,
        *["--train-file", folder / "train.tsv", "--eval-file", folder / "bad.tsv"],
    )
    assert "bad.tsv, line 3" in text
    text = refusal(capsys, *model, *own_data(folder), "--max-length", "64")
    assert "the maximum length is 64" in text
    assert "at most 40" in text
    text = refusal(capsys, *model, *own_data(folder), "--predict", folder / "no.tsv")
    assert "no.tsv" in text
    assert not (tmp_path / "new").exists()


def test_one_class_cannot_be_learnt(capsys, folder, tmp_path):
    rows = ["sentence\tlabel", "the cat\t1", *["the dog\t0"] * 30]
    (folder / "rare.tsv").write_text("\n".join([*rows, ""]))
    text = refusal(
        capsys,
        *["--model", folder / "model", "--output-dir", tmp_path],
        *["--train-file", folder / "rare.tsv", "--eval-file", folder / "dev.tsv"],
        *["--max-train-examples", "2"],
    )
    assert "all 2 examples left to train on have one label" in text


@pytest.mark.medium
def test_seeds_that_draw_nothing(capsys, folder, tmp_path):
    # The saved model of another run has a classifier already.
    shutil.copytree(folder / "model", tmp_path / "whole")
    shapes = tiny_bert.parameters()
    heads = initial_params(tiny_bert.CONFIG, 2, jax.random.key(0)) | shapes
    checkpoint.save(tmp_path / "whole", tiny_bert.CONFIG, heads)
    text = refusal(
        capsys,
        *["--model", tmp_path / "whole", "--output-dir", tmp_path, *own_data(folder)],
        *["--init-seeds", "2"],
    )
    assert "--init-seeds has 2 seeds, but" in text
    assert "nothing is drawn at random" in text
    drawn = ["--init-seeds", "2", "--method", "reinit:reinit_layers=1"]
    arguments = ["--model", tmp_path / "whole", "--output-dir", tmp_path / "runs"]
    arguments += [*own_data(folder), *drawn, "--max-steps", "1", "--batch-size", "4"]
    assert finetune_glue.main([str(argument) for argument in arguments]) == 0
    assert "but for reinit:reinit_layers=1 nothing is drawn" in capsys.readouterr().out


def test_more_parallel_seeds_than_memory(capsys, folder, tmp_path, monkeypatch):
    from bert_glue.devices import memory, mesh

    monkeypatch.setattr(mesh, "on_cpu", lambda: True)
    monkeypatch.setattr(memory, "free_bytes", lambda *devices: 10 << 20)
    text = refusal(
        capsys,
        *["--model", folder / "model", "--output-dir", tmp_path, *own_data(folder)],
        *["--seeds", "2000", "--parallel-seeds", "1000"],
    )
    assert "1000 parallel seeds need about" in text
    assert "only 10 MiB are free; accepted is 1 to" in text


def recipes(*arguments, model_defaults=None):
    parser = make_parser("x.py", "", "")
    add_options(parser, methods="cwgnc", seeds=3)
    return choices.recipes(parser.parse_args(arguments), model_defaults or {})


def test_settings_hold_for_all_methods_but_those_that_have_their_own():
    arguments = ["--method", "cwgnc:epochs=2,adamw", "--epochs", "4"]
    defaults = {"epochs": 7, "learning_rate": 0.5}
    made = recipes(*arguments, "--group-by-length", model_defaults=defaults)
    assert [recipe.epochs for recipe in made] == [2, 4]
    assert all(recipe.group_by_length for recipe in made)
    assert all(recipe.learning_rate == 0.5 for recipe in made)
    assert not any(recipe.group_by_length for recipe in recipes(*arguments))
    # None is a value like others.
    (mixout,) = recipes("--method", "mixout", "--dropout", "none")
    assert mixout.dropout is None


def test_a_threshold_is_of_components_or_of_one_method():
    cwgnc, adamw = recipes("--method", "cwgnc,adamw", "--max-norm", "0.001")
    assert (cwgnc.max_norm, adamw.max_norm) == (0.001, 1)
    (adamw,) = recipes("--method", "adamw:max_norm=0.001")
    assert adamw.max_norm == 0.001
    (clipped,) = recipes(
        *("--method", "adamw", "--clipping", "component", "--max-norm", "0.001")
    )
    assert (clipped.clipping, clipped.max_norm) == ("component", 0.001)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--max-norm 0.001 --method adamw", "global norm, which adamw:max_norm=0.001 "),
        ("--max-norm 1 --method devlin,full", "full:max_norm=1 sets"),
        ("--max-norm 1 --clipping none", "it needs --clipping"),
        ("--mixout-gradient exact", "it needs --mixout"),
        ("--no-mixout-output-layer", "it needs --mixout"),
        ("--mixout 0 --method mixout --mixout-gradient exact", "it needs --mixout"),
        ("--stages 2", "it needs --unfreeze"),
        ("--freezing labels", "it needs --unfreeze"),
        ("--carry-optimizer --method gu,full --unfreeze none", "it needs --unfreeze"),
        ("--unfreeze none --method gu:stages=1", "while unfreeze is none"),
        ("--clipping none --method cwgnc:max_norm=1", "while clipping is none"),
    ],
)
def test_a_setting_without_effect_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        recipes(*arguments.split())


def test_a_setting_with_an_effect_on_one_method_is_accepted():
    gu, full = recipes("--method", "gu,full", "--stages", "2")
    assert (gu.stages, full.stages) == (2, None)
    assert choices.why_idle(gu, "stages", 2) == ""
    assert choices.why_idle(full, "stages", 2) == "it needs --unfreeze"
    # Only together they are accepted.
    stages = ("--l2-sp", "0.01", "--unfreeze", "gu", "--carry-optimizer")
    (carried,) = recipes("--method", "adamw", *stages)
    assert (carried.l2_sp, carried.carry_optimizer) == (0.01, True)
    (parts,) = recipes("--method", "adamw", "--accumulate", "3", "--batch-size", "24")
    assert (parts.accumulate, parts.batch_size) == (3, 24)
    (own,) = recipes("--method", "adamw:epochs=2", "--epochs", "4")
    assert choices.why_idle(own, "epochs", 4) == "its own is 2"


def test_more_stages_than_layers(capsys, folder, tmp_path):
    text = refusal(
        capsys,
        *["--model", folder / "model", "--output-dir", tmp_path, *own_data(folder)],
        *["--method", "gu:stages=99"],
    )
    assert "stages is 99 in the method gu; accepted is 1 to 2" in text


def test_output_directory_is_checked(capsys, folder, tmp_path):
    options = ["--model", folder / "model", *own_data(folder)]
    text = refusal(capsys, *options, "--output-dir", folder / "file")
    assert "cannot be made" in text
    (tmp_path / "runs.jsonl").write_text('{"format": 99, "run": "x"}\n')
    text = refusal(capsys, *options, "--output-dir", tmp_path)
    assert "version 99" in text


def seeds_of(*arguments):
    parser = make_parser("x.py", "", "")
    add_options(parser, methods="cwgnc", seeds=3)
    return choices.seeds(parser.parse_args(arguments))


def test_both_seeds_of_a_run():
    assert seeds_of() == [(0, 0), (1, 1), (2, 2)]
    assert seeds_of("--seeds", "7,") == [(7, 7)]
    crossed = seeds_of("--init-seeds", "2", "--data-seeds", "0,5-6")
    assert crossed == [(0, 0), (0, 5), (0, 6), (1, 0), (1, 5), (1, 6)]
    assert seeds_of("--data-seeds", "2") == [(0, 0), (0, 1)]
    assert seeds_of("--init-seeds", "2") == [(0, 0), (1, 0)]
    with pytest.raises(ValueError, match="--seeds sets both seeds of a run"):
        seeds_of("--seeds", "2", "--init-seeds", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--coordinator host:1", "belong together"),
        ("--num-processes 2 --process-id 0", "belong together"),
        ("--coordinator host:1 --num-processes 2 --process-id 2", "accepted is 0 to 1"),
        (
            "--coordinator host:1 --num-processes 2 --process-id -1",
            "accepted is 0 to 1",
        ),
    ],
)
def test_processes_that_cannot_be(arguments, message):
    parser = make_parser("x.py", "", "")
    add_options(parser, methods="cwgnc", seeds=3)
    with pytest.raises(ValueError, match=message):
        choices.check_processes(parser.parse_args(arguments.split()))


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("/data/models/bert", "bert"),
        ("--model=/data/models/a=b", "--model=a=b"),
        ("{here}/runs/x", "runs/x"),
        ("{here}", pathlib.Path.cwd().name),
        ("bert-base-uncased", "bert-base-uncased"),
        ("../models", "../models"),
        ("cwgnc:max_norm=0.5", "cwgnc:max_norm=0.5"),
    ],
)
def test_no_folder_of_this_machine_is_recorded(word, kept):
    assert choices.without_folder(word.format(here=pathlib.Path.cwd())) == kept
