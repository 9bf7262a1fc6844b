"""Options that the scripts share, and how they answer bad input: one line, code 2."""

import argparse
import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import NoReturn

from bert_glue.cli import values
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.study.shards import parse_shard
from bert_glue.training.methods import METHODS, parse_methods
from bert_glue.training.seeds import parse_seeds

EMBEDDED = "embedded"
"""Name of the model that comes with the project."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and ends the program with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help shows all options)\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=_help_width())


def make_parser(script: str, description: str, examples: str) -> Parser:
    """A parser without options.

    Args:
      script: name of the script's file.
      description: what the script does, for the top of its help.
      examples: commands with a line of explanation each, for its end.

    Returns:
      The parser.
    """
    return Parser(
        prog=pathlib.Path(script).name,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


def add_subject_options(
    parser: argparse.ArgumentParser, several: str | None = None
) -> None:
    """Which model, on which data.

    Args:
      parser: gets the options.
      several: if the script takes several tasks, which ones it does by default.
    """
    group = parser.add_argument_group("model and task")
    group.add_argument(
        "--model",
        default=EMBEDDED,
        metavar="MODEL",
        help="'embedded' (a small BERT that comes with the project; the default), a "
        "folder with a Hugging Face BERT (config.json, model.safetensors, tokenizer), "
        "or a name on the Hugging Face hub such as bert-base-uncased",
    )
    group.add_argument(
        "--task",
        type=values.checked(values.tasks if several else values.task),
        metavar="TASKS" if several else "TASK",
        help=f"{', '.join(GENERATED)} (generated, nothing to download), or of GLUE "
        f"{', '.join(TASKS)}"
        + (
            f"; separated by commas (default {several})"
            if several
            else "; the default is acceptability"
        ),
    )
    group.add_argument(
        "--data-dir",
        type=pathlib.Path,
        metavar="DIR",
        help="folder with GLUE's official TSV files, in RTE/, MRPC/, CoLA/ and so on; "
        "without it GLUE comes from the Hugging Face hub",
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
        metavar="NAME",
        help="its metric: accuracy (the default), f1, matthews, or for labels that are "
        "values pearson_spearman",
    )
    group.add_argument(
        "--max-train-examples",
        type=values.whole(1),
        metavar="N",
        help="train on N examples, drawn at random, the same for every run",
    )
    group.add_argument(
        "--max-eval-examples",
        type=values.whole(1),
        metavar="N",
        help="score N examples, drawn likewise",
    )
    group.add_argument(
        "--held-out",
        type=values.number(0, exclusive=True, below=1),
        metavar="X",
        help="score this share of the training examples, the same for every run, which "
        "are then not trained on: to choose settings by, so that the examples "
        "otherwise scored stay unseen",
    )
    group.add_argument(
        "--max-length",
        type=values.whole(8),
        metavar="N",
        help="most tokens of an example (128, or what the model can take); batches are "
        "only padded as far as their own examples need",
    )


def add_method_options(
    parser: argparse.ArgumentParser, default: str | None, shown: str | None = None
) -> None:
    """Which methods, with which settings.

    Args:
      parser: gets the options.
      default: the methods if the user names none; None if the script decides later.
      shown: the default in words, if it is not one text.
    """
    group = parser.add_argument_group(
        "methods and their settings",
        "A setting given here holds for all methods; one written behind a method's\n"
        "name, as in adamw:epochs=5, for that one. Without either a method takes its\n"
        "own: the paper's, shown in brackets, but for the embedded model others.",
    )
    known = "; ".join(f"{name}: {recipe.summary}" for name, recipe in METHODS.items())
    group.add_argument(
        "--method",
        type=values.checked(parse_methods),
        default=default,
        metavar="NAMES",
        help=f"methods, separated by commas (default {shown or default}). {known}",
    )
    group.add_argument(
        "--max-norm",
        type=values.number(0),
        metavar="X",
        help="largest norm of a component's gradient (0.05), for the methods that clip "
        "by component",
    )
    group.add_argument(
        "--learning-rate",
        type=values.number(0, exclusive=True),
        metavar="X",
        help="peak learning rate (2e-5)",
    )
    group.add_argument(
        "--epochs", type=values.whole(1), metavar="N", help="epochs (cwgnc 5, adamw 3)"
    )
    group.add_argument(
        "--batch-size",
        type=values.whole(1),
        metavar="N",
        help="examples in a step (16)",
    )
    group.add_argument(
        "--warmup-ratio",
        type=values.number(0, most=1),
        metavar="X",
        help="share of the steps in which the learning rate rises (0.1)",
    )
    group.add_argument(
        "--weight-decay",
        type=values.number(0),
        metavar="X",
        help="weight decay, not on biases and LayerNorms (0.01)",
    )
    group.add_argument(
        "--group-by-length",
        action="store_const",
        const=True,
        help="make batches of examples of like length, in random order, rather than "
        "uniformly random ones as the paper does: little padding, so up to twice as "
        "fast",
    )


def add_run_options(
    parser: argparse.ArgumentParser,
    default_seeds: int,
    default_folder: str = "runs/TASK",
) -> None:
    """Which seeds, how they are run, and where the results go."""
    group = parser.add_argument_group("runs")
    group.add_argument(
        "--seeds",
        type=values.checked(parse_seeds),
        metavar="SEEDS",
        help=f"a count (5 means 0 to 4), or a list such as 3,7,10-12 (default "
        f"{default_seeds}); '7,' is the single seed 7",
    )
    parser.set_defaults(default_seeds=parse_seeds(str(default_seeds)))
    group.add_argument(
        "--init-seeds",
        type=values.checked(parse_seeds),
        metavar="SEEDS",
        help="instead of --seeds: seeds of the new parameters alone, each run with "
        "each of --data-seeds (default the seed 0)",
    )
    group.add_argument(
        "--data-seeds",
        type=values.checked(parse_seeds),
        metavar="SEEDS",
        help="seeds of the order of the examples and of dropout, each run with each of "
        "--init-seeds (default the seed 0)",
    )
    group.add_argument(
        "--shard",
        type=values.checked(parse_shard),
        metavar="I/N",
        help="do the I-th of N parts of the runs; start all N, on any machines, with "
        "one output directory or with one each",
    )
    group.add_argument(
        "--parallel-seeds",
        type=values.parallel,
        metavar="N",
        help="seeds to train side by side, or 'auto' (the default): as many as is "
        "fastest and fits in memory",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what is computed in (default float32; bfloat16 is for GPUs and TPUs, and "
        "slower on CPUs); parameters are float32 always",
    )
    group.add_argument(
        "--output-dir",
        type=pathlib.Path,
        metavar="DIR",
        help=f"folder for the records (default {default_folder}); a run that is "
        "recorded there is not done again",
    )
    group.add_argument(
        "--checkpoint-minutes",
        type=values.number(0),
        default=10.0,
        metavar="X",
        help="while runs are under way, save after an evaluation what they need to go "
        "on after an interruption, if X minutes have passed since the last time "
        "(default 10; 0: never)",
    )
    group.add_argument(
        "--merge",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="output directories of other processes: their runs are first copied into "
        "this one's, each once",
    )
    group.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="do not keep compiled programs in $CWGNC_CACHE or ~/.cache/cwgnc_jax",
    )


@contextlib.contextmanager
def errors_in_one_line(parser: Parser, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of the given kinds into one line and code 2."""
    try:
        yield
    except kinds as error:
        parser.error(" ".join(str(error).split()))


def _help_width() -> int:
    with contextlib.suppress(OSError):
        return max(60, min(100, os.get_terminal_size(sys.stdout.fileno()).columns))
    return 88
