"""The options that all scripts share, those of methods generated from ``Recipe``."""

import argparse
import pathlib
from typing import Any

from bert_glue.cli import parser as types
from bert_glue.cli.parser import Parser, typed
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.training.methods import METHODS, parse_methods
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.settings import FROM_ZERO, WHOLE, Rule, written

EMBEDDED = "embedded"
"""Name of the model that comes with the project."""

_TASK = "acceptability"

# The settings that are used most; all others stand at the end of the help.
_FIRST = (
    "max_norm",
    "learning_rate",
    "epochs",
    "batch_size",
    "warmup_ratio",
    "weight_decay",
    "group_by_length",
)

_LENGTH = Rule(int, "a whole number of at least 8", lambda value: value >= 8)
_PART = Rule(float, "a number above 0 and below 1", lambda value: 0 < value < 1)


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
    _add_subject_options(parser, tasks)
    _add_method_options(parser, methods)
    _add_run_options(parser, seeds, folder)
    _add_device_options(parser)
    group = parser.add_argument_group("further settings of methods")
    for name in SETTINGS:
        if name not in _FIRST:
            _add_setting(group, name)
    parser.set_defaults(
        default_tasks=(_TASK,),
        default_seeds=tuple(range(seeds)),
        default_folder=folder,
        report_only=False,
    )


def add_report_only(group: argparse._ArgumentGroup, makes: str) -> None:
    """The option to train nothing.

    Args:
      group: gets the option.
      makes: what is made of the records all the same.
    """
    group.add_argument(
        "--report-only",
        action="store_true",
        help=f"train nothing: {makes} from the runs in the output directory (and of "
        "--merge), whatever the options of models and methods say",
    )


def flag(setting: str) -> str:
    """The option of a recipe's setting."""
    return f"--{setting.replace('_', '-')}"


def _add_setting(group: argparse._ArgumentGroup, name: str) -> None:
    about = SETTINGS[name]
    rule = about.rule
    own = [
        f"{method} {written(getattr(recipe, name))}"
        for method, recipe in METHODS.items()
        if getattr(recipe, name) != about.default
    ]
    default = "; ".join([f"default {written(about.default)}", *own])
    kind: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    text = about.help
    if rule.kind is not bool:
        metavar = {int: "N", float: "X", str: "WORD"}[rule.kind]
        kind = {"type": typed(rule.read), "metavar": metavar}
        text += f": {rule.accepted}"
    # Where the user says nothing there is nothing: None is a value, too.
    group.add_argument(
        flag(name), default=argparse.SUPPRESS, help=f"{text} ({default})", **kind
    )


def _add_subject_options(parser: Parser, several: str | None) -> None:
    group = parser.add_argument_group("model and task")
    group.add_argument(
        "--model",
        default=EMBEDDED,
        help="'embedded' (a small BERT that comes with the project; the default), a "
        "folder with a Hugging Face BERT, or a name on the hub: bert-base-uncased",
    )
    default = f"separated by commas (default {several})" if several else ""
    group.add_argument(
        "--task",
        dest="tasks",
        type=typed(types.parse_tasks if several else types.parse_task),
        metavar="TASKS" if several else "TASK",
        help=f"{', '.join(GENERATED)} (generated, nothing to download), or of GLUE "
        f"{', '.join(TASKS)}; {default or f'the default is {_TASK}'}",
    )
    group.add_argument(
        "--data-dir",
        type=pathlib.Path,
        metavar="DIR",
        help="GLUE's official TSV files, in RTE/, MRPC/ and so on; without it GLUE is "
        "read from the Hugging Face hub",
    )
    group.add_argument(
        "--train-file",
        type=pathlib.Path,
        metavar="FILE",
        help="your own task instead: TSV with a header, the columns sentence (or "
        "sentence1 and sentence2) and label",
    )
    group.add_argument(
        "--eval-file", type=pathlib.Path, metavar="FILE", help="its examples to score"
    )
    group.add_argument(
        "--metric",
        help="its metric: accuracy (the default), f1, matthews, or for labels that are "
        "values pearson_spearman",
    )
    group.add_argument(
        "--max-train-examples",
        type=typed(WHOLE.read),
        metavar="N",
        help="train on N examples, drawn at random, the same for every run",
    )
    group.add_argument(
        "--max-eval-examples",
        type=typed(WHOLE.read),
        metavar="N",
        help="score N examples, drawn likewise",
    )
    group.add_argument(
        "--held-out",
        type=typed(_PART.read),
        metavar="X",
        help="score this share of the training examples, and do not train on it: to "
        "choose settings by, so that the examples otherwise scored stay unseen",
    )
    group.add_argument(
        "--max-length",
        type=typed(_LENGTH.read),
        metavar="N",
        help="most tokens of an example (128, or what the model can take)",
    )


def _add_method_options(parser: Parser, default: str) -> None:
    group = parser.add_argument_group(
        "methods and their settings",
        "A setting given here holds for all methods; one written behind a method's\n"
        "name, as in adamw:epochs=5, for that one. Without either a method takes its\n"
        "own: the paper's, shown in brackets, but for the embedded model others.\n"
        "--max-norm is of a component; adamw:max_norm=1 sets a global norm.",
    )
    known = "; ".join(f"{name}: {recipe.summary}" for name, recipe in METHODS.items())
    group.add_argument(
        "--method",
        type=typed(parse_methods),
        default=default,
        metavar="NAMES",
        help=f"methods, separated by commas (default {default}). {known}",
    )
    for name in _FIRST:
        _add_setting(group, name)


def _add_run_options(parser: Parser, seeds: int, folder: str) -> None:
    group = parser.add_argument_group("runs")
    group.add_argument(
        "--seeds",
        type=typed(types.parse_seeds),
        help="a count (5 means 0 to 4), or a list such as 3,7,10-12, or '7,' for the "
        f"seed 7 alone (default {seeds})",
    )
    group.add_argument(
        "--init-seeds",
        type=typed(types.parse_seeds),
        metavar="SEEDS",
        help="instead of --seeds: seeds of the new parameters alone, each run with "
        "each of --data-seeds (default the seed 0)",
    )
    group.add_argument(
        "--data-seeds",
        type=typed(types.parse_seeds),
        metavar="SEEDS",
        help="seeds of the order of the examples and of dropout, each run with each of "
        "--init-seeds (default the seed 0)",
    )
    group.add_argument(
        "--shard",
        type=typed(types.parse_shard),
        metavar="I/N",
        help="do the I-th of N parts of the runs; start all N, on any machines",
    )
    group.add_argument(
        "--parallel-seeds",
        type=typed(types.parse_parallel),
        metavar="N",
        help="seeds to train side by side (auto, the default: what is fastest)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what is computed in (default float32; bfloat16 is for GPUs and TPUs); "
        "parameters are float32 always",
    )
    group.add_argument(
        "--output-dir",
        type=pathlib.Path,
        metavar="DIR",
        help=f"folder for the records (default {folder}); a run that is recorded there "
        "is not done again",
    )
    group.add_argument(
        "--checkpoint-minutes",
        type=typed(FROM_ZERO.read),
        default=10.0,
        metavar="X",
        help="save every X minutes what runs that are under way need to go on after an "
        "interruption (default 10; 0: never)",
    )
    group.add_argument(
        "--merge",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="output directories whose runs are first copied into this one, each once",
    )
    group.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="do not keep compiled programs in $CWGNC_CACHE or ~/.cache/cwgnc_jax",
    )


def _add_device_options(parser: Parser) -> None:
    group = parser.add_argument_group("devices")
    group.add_argument(
        "--mesh",
        type=typed(types.parse_mesh),
        metavar="AXES",
        help="how the devices are used, such as seed=4,data=2: places for seeds, parts "
        "of each batch, and (model) parts of batch, parameters and moments. By default "
        "as many seeds side by side as there are, batches shared by what is left over",
    )
    group.add_argument(
        "--remat",
        choices=("none", "cheap", "full"),
        default="cheap",
        help="what the backward pass computes anew to save memory (default cheap)",
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="this is one of several processes that do the same runs together, each on "
        "devices of its own; JAX finds the others on a TPU slice, SLURM, Open MPI or "
        "Kubernetes. (Without it processes with one output directory share the runs)",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="the same anywhere else: where the first process is reached",
    )
    group.add_argument(
        "--num-processes", type=int, metavar="N", help="number of processes"
    )
    group.add_argument(
        "--process-id", type=int, metavar="I", help="number of this one, from 0"
    )
