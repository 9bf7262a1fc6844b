"""Values of options, help, and answers that come before JAX is imported."""

import os
import re
import subprocess
import sys

import finetune_glue
import gradient_norms
import gradual_unfreezing
import pytest
import reproduce_tables
import stability_curve
from bert_glue.cli.parser import (
    parse_columns,
    parse_grid,
    parse_seeds,
    parse_shard,
    parse_tasks,
)

NO_SEEDS = ["", "x", "0", "-1", "1.5", "3,x", "5-3,", "1,1", "3,-4", "9999999999,"]
NO_SEEDS += [",", "1,,2", "9" * 14, "0-9999999", "0-" + "9" * 23]


@pytest.mark.parametrize("text", NO_SEEDS)
def test_what_is_no_list_of_seeds(text):
    with pytest.raises(ValueError, match="seeds are"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_shard(text):
    with pytest.raises(ValueError, match=r"shard is .*; accepted is 1/8 to 8/8"):
        parse_shard(text)


@pytest.mark.parametrize("text", ["", "a,", "a,b,c"])
def test_what_are_no_columns(text):
    with pytest.raises(ValueError, match=r"columns are .*; accepted are one or two"):
        parse_columns(text)
    assert parse_columns("premise, my text") == ("premise", "my text")


def test_grids_are_even_on_a_logarithmic_axis():
    assert parse_grid("learning_rate=1e-5..1e-3:5").values == (
        *(1e-5, 3.2e-5, 1e-4, 3.2e-4, 1e-3),
    )
    assert len(parse_grid("learning-rate=1e-5..1e-3").values) == 8
    # Of the data, and no setting of a method; and a name without values.
    examples = parse_grid("max-train-examples=50,250,100")
    assert (examples.setting, examples.values) == ("max_train_examples", (50, 100, 250))
    assert parse_grid("epochs").values == ()
    found = parse_grid("batch_size=4..64:5")
    assert (found.setting, found.values) == ("batch_size", (4, 8, 16, 32, 64))
    assert parse_grid("max_norm=1,0.1").values == (0.1, 1)


def test_grids_stay_between_their_ends():
    # Of two digits 0.999 is 1, and 9.87e-5 9.9e-5.
    assert parse_grid("b2=0.9..0.999:5").values == (0.9, 0.924, 0.948, 0.973, 0.999)
    values = parse_grid("learning_rate=1.23e-5..9.87e-5:3").values
    assert values == (1.23e-5, 3.48e-5, 9.87e-5)
    # So near each other that two digits do not tell them apart.
    assert len(parse_grid("mixout=0.9..0.91:6").values) == 6


def test_tasks_are_understood_however_they_are_spelled():
    assert parse_tasks("SST-2, RTE,MNLI-mm") == ("sst2", "rte", "mnli-mm")
    with pytest.raises(ValueError, match="there twice"):
        parse_tasks("sst2,SST-2")


def shown(capsys, script, option):
    """A help's text, and the options that it explains."""
    with pytest.raises(SystemExit) as error:
        script.main([option])
    assert error.value.code == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 100 for line in text.splitlines())
    return text, re.findall(r"^  (--[\w-]+)(?=  | [^a-z])", text, re.MULTILINE)


@pytest.mark.parametrize(
    "script",
    [
        *(finetune_glue, reproduce_tables, gradient_norms, gradual_unfreezing),
        stability_curve,
    ],
)
def test_help_has_ten_options_and_help_all_the_rest(capsys, script):
    text, options = shown(capsys, script, "--help")
    for word in ("examples:", "-h, --help", "acceptability", "cwgnc"):
        assert word in text
    options.remove("--help-all")
    assert len(options) <= 10
    assert {"--model", "--task", "--train-file", "--seeds"} <= {*options}
    assert len(text.splitlines()) < 100
    _, every = shown(capsys, script, "--help-all")
    further = {"--parallel-seeds", "--learning-rate", "--eps", "--mesh", "--new-head"}
    assert {*options, *further} <= {*every}
    assert not further & {*options}


def test_help_is_of_what_newcomers_do_first(capsys):
    _, options = shown(capsys, finetune_glue, "--help")
    assert options[1:] == [
        *("--model", "--task", "--train-file", "--eval-file", "--method", "--seeds"),
        *("--output-dir", "--save-model", "--predict", "--evaluate"),
    ]


@pytest.mark.parametrize("script", [finetune_glue, reproduce_tables])
@pytest.mark.parametrize(
    "arguments", ["--help", "--help-all", "--epochs 0", "--b1 0 --epochs x"]
)
def test_answers_come_before_long_imports(script, arguments):
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "finally: print({'jax', 'transformers', 'datasets'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script.__file__, *arguments.split()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if "--help" in arguments else 2)
    assert done.stdout.endswith("set()\n")
