"""The options that all scripts share, those of methods generated from ``Recipe``."""

import argparse
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from bert_glue.cli import parser as types
from bert_glue.cli.parser import Parser, typed
from bert_glue.data.examples import PROBLEMS
from bert_glue.data.metrics import METRICS
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.records.trackers import KINDS
from bert_glue.training.methods import ALWAYS_SHOWN, METHODS, parse_methods
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.settings import FROM_ZERO, POSITIVE, SHARE, WHOLE, Rule, written

EMBEDDED = "embedded"
"""Name of the model that comes with the project."""

_TASK = "acceptability"

FIRST = (
    *("--model", "--task", "--train-file", "--eval-file", "--method", "--seeds"),
    *("--output-dir", "--evaluate", "--predict", "--save-model", "--table"),
    *("--reference", "--report-only", "--layer", "--over"),
)
"""What --help shows, of each script ten at most; all else is behind --help-all."""

# The settings that are used most; all others stand at the end of the help.
_FIRST_SETTINGS = ("max_norm", *ALWAYS_SHOWN, "group_by_length")

_PART = Rule(float, "a number above 0 and below 1", lambda x: 0 < x < 1)

# How a value is read follows from what the help calls it; others are text.
_READERS: Mapping[str, Callable[[str], Any]] = {
    "DIR": pathlib.Path,
    "DIR...": pathlib.Path,
    "FILE": pathlib.Path,
    "I": int,
    "N": typed(WHOLE.read),
    "LENGTH": typed(Rule(int, "a whole number of at least 8", lambda x: x >= 8).read),
    "SHARE": typed(_PART.read),
    "X": typed(FROM_ZERO.read),
    "POINTS": typed(POSITIVE.read),
    "RATE": typed(SHARE.read),
    "NAMES": typed(types.parse_columns),
    "TASK": typed(types.parse_task),
    "TASKS": typed(types.parse_tasks),
    "METHODS": typed(parse_methods),
    "SEEDS": typed(types.parse_seeds),
    "GRID": typed(types.parse_grid),
    "I/N": typed(types.parse_shard),
    "TRACKERS": typed(types.parse_trackers),
    "N|auto": typed(types.parse_parallel),
    "AXES": typed(types.parse_mesh),
}

_MODEL = {
    "--model MODEL": "'embedded' (a small BERT that comes with the project; the "
    "default), a folder with a Hugging Face model, or a name on the hub: "
    "bert-base-uncased",
    "--new-head": "draw a new classifier from each seed, even if the model has one for "
    "the task's classes",
}
_DATA = {
    "--data-dir DIR": "GLUE's official TSV files, in RTE/, MRPC/ and so on; without it "
    "GLUE is read from the Hugging Face hub",
    "--train-file FILE": "your own task instead: TSV with a header, or by the end of "
    "its name .csv, .jsonl or .parquet; the columns sentence (or text, or sentence1 "
    "and sentence2, ...) and label",
    "--eval-file FILE": "its examples to score",
    "--dataset NAME": "or a dataset of the Hugging Face hub, NAME:CONFIG if there are "
    "several, or a folder of files; scored is its split validation, or dev, test and "
    "the like",
    "--eval-share SHARE": "of your own examples, where there are none to score, score "
    "this share, with the classes in the same shares, and do not train on it",
    f"--problem {'|'.join(PROBLEMS)}": "what your own labels are: one "
    "class an example, any number of classes (a,b or lists), or numbers; by default "
    "what they look like",
    "--text-columns NAMES": "its one or two columns of text, separated by a comma, if "
    "they are called otherwise; numbers, from 1, in a file without a header",
    "--label-column NAME": "its column of labels, likewise",
    "--encoding NAME": "of its text and of --predict, if it is not UTF-8: cp1252",
    "--metric NAME": f"its metric: {', '.join(METRICS)} (default accuracy, or for "
    "numbers pearson_spearman)",
    "--positive-class NAME": "the class that f1 is of (default the second of two)",
    "--max-train-examples N": "train on N examples drawn at random, always the same",
    "--max-eval-examples N": "score N examples, drawn likewise",
    "--held-out SHARE": "score this share of the training examples, and do not train "
    "on it: to choose settings by, so that the examples otherwise scored stay unseen",
    "--max-length LENGTH": "most tokens of an example (128, or what the model takes)",
}
_METHODS_NOTE = """\
A setting given here holds for all methods; one written behind a method's
name, as in adamw:epochs=5, for that one. Without either a method takes its
own: the paper's, shown in brackets, but for the embedded model others.
--max-norm is of a component; adamw:max_norm=1 sets a global norm."""
_RUNS = {
    "--init-seeds SEEDS": "instead of --seeds: seeds of the new parameters alone, each "
    "run with each of --data-seeds (default the seed 0)",
    "--data-seeds SEEDS": "seeds of the order of the examples and of dropout, each run "
    "with each of --init-seeds (default the seed 0)",
    "--shard I/N": "do the I-th of N parts of the runs; start all N, on any machines",
    "--parallel-seeds N|auto": "runs side by side, those of methods that differ in "
    "numbers alone among them (default auto: what is fastest)",
    "--dtype float32|bfloat16": "what is computed in (default float32; bfloat16 is for "
    "GPUs and TPUs); parameters are float32 always",
    "--checkpoint-minutes X": "between saves of runs under way (default 10; 0: never)",
    "--track TRACKERS": f"show runs while they are trained, of {', '.join(KINDS)}, "
    "separated by commas: settings, losses, scores, norms and clip rates by layer",
    "--track-every N": "steps between two entries there (default 10)",
    "--merge DIR...": "directories whose runs are first copied into this, each once",
    "--no-compilation-cache": "do not keep compiled programs in $CWGNC_CACHE or "
    "~/.cache/cwgnc_jax",
}
_DEVICES = {
    "--mesh AXES": "how devices are used, such as seed=4,data=2: places for seeds, "
    "parts of each batch, and (model) parts of batch, parameters and moments; by "
    "default as many seeds side by side as there are, batches shared by what is left",
    "--remat none|cheap|full": "what is computed anew to save memory (default cheap)",
    "--distributed": "this is one of several processes that do the same runs together, "
    "each on devices of its own; JAX finds the others on a TPU slice, SLURM, Open MPI "
    "or Kubernetes. (Without it processes with one output directory share the runs)",
    "--coordinator HOST:PORT": "the same elsewhere: where the first process is reached",
    "--num-processes N": "number of processes",
    "--process-id I": "number of this one, from 0",
}


def add_options(
    parser: Parser,
    *,
    methods: str,
    seeds: int,
    folder: str = "runs/TASK",
    tasks: str | None = None,
) -> None:
    """All options that the scripts share.

    Args:
      parser: gets the options.
      methods: the methods by default.
      seeds: number of seeds by default.
      folder: the output directory by default, for TASK the task's name.
      tasks: if the script takes several tasks, which ones it does by default.
    """
    default = f"separated by commas (default {tasks})" if tasks else f"default {_TASK}"
    task = {
        f"--task {'TASKS' if tasks else 'TASK'}": f"{', '.join(GENERATED)} (generated, "
        f"nothing to download), or of GLUE {', '.join(TASKS)}; {default}"
    }
    add_group(parser, "model and task", _MODEL | task | _DATA)

    known = "; ".join(f"{name}: {recipe.summary}" for name, recipe in METHODS.items())
    names = f"methods, separated by commas (default {methods}). {known}"
    first = add_group(
        parser, "methods and their settings", {"--method METHODS": names}, _METHODS_NOTE
    )
    runs = {
        "--seeds SEEDS": "a count (5 means 0 to 4), or a list such as 3,7,10-12, or "
        f"'7,' for the seed 7 alone (default {seeds})",
        "--output-dir DIR": f"folder for the records (default {folder}); a run that is "
        "recorded there is not done again",
    }
    add_group(parser, "runs", runs | _RUNS)
    add_group(parser, "devices", _DEVICES)
    further = parser.add_argument_group("further settings of methods")
    for name in SETTINGS:
        group = first if name in _FIRST_SETTINGS else further
        parser.further.append(_add_setting(group, name))
    parser.set_defaults(
        model=EMBEDDED,
        method=methods,
        dtype="float32",
        checkpoint_minutes=10.0,
        merge=(),
        remat="cheap",
        default_tasks=(_TASK,),
        default_seeds=tuple(range(seeds)),
        default_folder=folder,
        report_only=False,
        inference=False,
        table=None,
        reference=None,
        over=None,
        train_sizes=(),
    )


def add_group(
    parser: Parser, title: str, options: Mapping[str, str], note: str | None = None
) -> argparse._ArgumentGroup:
    """A group of options as the help shows them.

    Args:
      parser: gets the options.
      title: of the group.
      options: help of each option by its name and that of its value, such as
        ``--data-dir DIR``; small letters are the words accepted, as in ``--table
        1|2``, and an option without a value is a switch.
      note: what holds for all of them.

    Returns:
      The group.
    """
    group = parser.add_argument_group(title, note)
    for words, text in options.items():
        name, _, value = words.partition(" ")
        kind: dict[str, Any] = {"metavar": value, "type": _READERS.get(value, str)}
        if not value:
            kind = {"action": "store_true"}
        elif value.islower():
            kind = {"choices": value.split("|")}
        elif value == "GRID":
            kind |= {"action": "append"}
        elif value == "DIR...":
            kind |= {"metavar": "DIR", "nargs": "+"}
        option = group.add_argument(name, help=text, **kind)
        if name not in FIRST:
            parser.further.append(option)
    return group


def report_only(makes: str) -> dict[str, str]:
    """The option to train nothing, but to make this of the records all the same."""
    return {
        "--report-only": f"train nothing: {makes} from the runs in the output "
        "directory (and of --merge), whatever the options of models and methods say"
    }


def flag(setting: str) -> str:
    """The option of a recipe's setting."""
    return f"--{setting.replace('_', '-')}"


def _add_setting(group: argparse._ArgumentGroup, name: str) -> argparse.Action:
    about = SETTINGS[name]
    rule = about.rule
    defaults = [f"default {written(about.default)}"]
    for method, recipe in METHODS.items():
        if (own := getattr(recipe, name)) != about.default:
            defaults.append(f"{method} {written(own)}")
    kind: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    text = about.help
    if rule.kind is not bool:
        metavar = {int: "N", float: "X", str: "WORD"}[rule.kind]
        kind = {"type": typed(rule.read), "metavar": metavar}
        text += f": {rule.accepted}"
    text += f" ({'; '.join(defaults)})"
    # Where the user says nothing there is nothing: None is a value, too.
    return group.add_argument(flag(name), default=argparse.SUPPRESS, help=text, **kind)
