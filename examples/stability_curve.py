"""In which range of a setting is fine-tuning stable, and does a method widen it?

Fine-tunes with every method at every value of a setting, such as the learning rate, by
many seeds. A value is stable where few runs fail and their mean is near the method's
best. Prints, for each method, from where to where that is, and whether one range is
shown to be wider than another; draws the curves. Settings that differ in numbers alone
are compiled once. Without options it does so on a small BERT and a small task that come
with the project.
"""

import argparse
import importlib.util
from typing import TYPE_CHECKING, Any

from bert_glue.cli import choices, script
from bert_glue.cli.options import add_group, add_options, report_only
from bert_glue.cli.parser import make_parser, parse_grid
from bert_glue.training.settings import EXAMPLES

if TYPE_CHECKING:
    from bert_glue.records.run_store import RunStore

_EXAMPLES = """\
  %(prog)s --seeds 10
      component and global clipping over eight learning rates, with the embedded model
  %(prog)s --method cwgnc,adamw,adamw:clipping=none --over learning_rate=1e-5..1e-3:12
      a finer grid; what is recorded in the directory is not run again
  %(prog)s --method cwgnc,auto --over batch_size=4,8,16,32,64
      over another setting
  %(prog)s --over learning_rate=1e-5..1e-3:15 --runs 200
      200 runs, where they tell most of the ranges
  %(prog)s --over max_train_examples=50,100,250,500,1000 --seeds 25
      over numbers of examples
  %(prog)s --model DIR --task cola --data-dir GLUE --held-out 0.2 --then-run 25
      on training examples that are held out; then the best of each method on others
  %(prog)s --sampler optuna --over learning_rate=1e-5..1e-3 --over max_norm=0.01..1 \\
      --method cwgnc --held-out 0.2 --runs 100 --then-run 25
      the best of two numbers
  %(prog)s --report-only --over learning_rate --output-dir runs/cola
      the curves of runs that there are, such as those of finetune_glue.py
"""

_GRID = "learning_rate=1e-5..1e-3:8"
_MARGIN, _MOST_FAILED = 2.0, 0.1
OWN = {
    "--over GRID": "setting and its values: NAME=A,B,C, or NAME=LOW..HIGH:COUNT for "
    f"evenly spaced logarithms (default {_GRID}); with --report-only its name is "
    "enough, and all curves that there are the default",
    "--runs N": "do N runs in all, those that are recorded included, where they tell "
    "most: few seeds at some of the values first, then where ranges end",
    "--minutes X": "the same for X minutes of runs, and what it takes to end the runs "
    "that were chosen together",
    "--then-run N": "with --held-out: then run each method at its best value, on the "
    "examples otherwise scored, by N fresh seeds, and make the table of that",
    "--sampler optuna": "search for several numbers at once, each given by --over, "
    "with Optuna: on --held-out examples, by N --runs in all, of which each method has "
    "its share, and what its last trial takes; a trial that does badly by its first "
    "seeds gets no more",
    "--reference METHOD": "method that the others are compared with, as it is called "
    "in the curves (default cwgnc, or else the first)",
    "--margin POINTS": "how far below the best mean of its method a mean may be where "
    f"it is stable, in per cent (default {_MARGIN:g})",
    "--most-failed RATE": "largest share of failed runs where a method is stable "
    f"(default {_MOST_FAILED:g})",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser(__file__, __doc__ or "", _EXAMPLES)
    add_group(parser, "the curve", OWN | report_only("draw the curves"))
    folder = "runs/stability_curve/TASK"
    add_options(parser, methods="cwgnc,adamw", seeds=5, folder=folder)
    parser.set_defaults(budget=None)
    options = choices.parse(parser, arguments, expand)
    from bert_glue.cli import curve_study, study_script

    if options.sampler:
        from bert_glue.cli import search

        return study_script.run(parser, options, search.prepare)

    def draw(records: "RunStore") -> None:
        curve_study.draw_recorded(study_script.say, records, options)

    return study_script.run(parser, options, curve_study.prepare, draw)


def expand(options: argparse.Namespace) -> None:
    """Makes of each method one for each value of the grid."""
    options.grids = options.over or []
    if options.report_only:
        if options.sampler:
            raise ValueError("--report-only draws curves; leave out --sampler")
        return
    options.grids = options.grids or [parse_grid(_GRID)]
    options.over = grid = options.grids[0]
    check(options)
    if options.sampler:
        options.over = None
        return
    if grid.setting == EXAMPLES:
        options.train_sizes = tuple(map(int, grid.values))
        return
    if grid.setting in choices.settings(options):
        raise ValueError(f"{grid.setting} is what --over varies; give it there alone")
    recipes = []
    for recipe in options.method:
        if grid.setting in recipe.changed:
            raise ValueError(f"{recipe.label} sets {grid.setting}, which --over varies")
        for value in grid.values:
            changes: dict[str, Any] = {grid.setting: value}
            recipes.append(recipe.replace(**changes))
    options.method = tuple(recipes)


def check(options: argparse.Namespace) -> None:
    """Refuses what does not go together."""
    for grid in options.grids:
        if not grid.values:
            raise ValueError(
                f"--over is {grid.setting} without values; it needs some, such as "
                f"{_GRID}, but for --report-only"
            )
    if options.over.setting == EXAMPLES and options.max_train_examples:
        raise ValueError(f"--over varies {EXAMPLES}; leave out --max-train-examples")
    if options.runs and options.runs < (methods := len(options.method)):
        raise ValueError(
            f"--runs is {options.runs}: not one for each of {methods} methods"
        )
    if options.then_run and not options.held_out:
        raise ValueError(
            "--then-run reports on other examples than those that a value is chosen "
            "by; it needs --held-out, such as --held-out 0.2"
        )
    if options.then_run and options.over.setting == EXAMPLES:
        raise ValueError(f"--then-run chooses a setting, and {EXAMPLES} is none")
    if options.then_run and options.shard:
        raise ValueError("--then-run needs all runs; use it once the shards are done")
    if options.sampler:
        check_search(options)
    elif len(options.grids) > 1:
        raise ValueError("--over is there twice; several numbers take --sampler optuna")
    else:
        check_budget(options)


def check_budget(options: argparse.Namespace) -> None:
    """Refuses what does not go with a budget, if there is one."""
    given = [name for name in ("runs", "minutes") if vars(options)[name] is not None]
    if not given:
        return
    if len(given) > 1 or options.minutes == 0:
        raise ValueError("--runs and --minutes are two budgets; give one, above 0")
    for name in ("seeds", "init_seeds", "data_seeds", "shard"):
        if vars(options)[name] is not None:
            raise ValueError(
                f"--{given[0]} decides which seeds run where; leave out "
                f"--{name.replace('_', '-')}"
            )
    options.default_seeds = (0,)


def check_search(options: argparse.Namespace) -> None:
    """Refuses what does not go with a search for several numbers."""
    if importlib.util.find_spec("optuna") is None:
        raise ValueError("--sampler optuna needs optuna: pip install cwgnc-jax[optuna]")
    if not options.runs or options.minutes or options.shard:
        raise ValueError("--sampler optuna takes --runs N, and no --minutes or --shard")
    if options.distributed or options.coordinator:
        raise ValueError(
            "--sampler optuna searches in one process; leave out --distributed and "
            "--coordinator"
        )
    if not options.held_out:
        raise ValueError(
            "--sampler optuna searches on training examples that are held out; it "
            "needs --held-out, such as --held-out 0.2"
        )
    names = [grid.setting for grid in options.grids]
    for name in names:
        own = [each.label for each in options.method if name in each.changed]
        if own or name in choices.settings(options) or names.count(name) > 1:
            where = own[0] if own else "another option"
            raise ValueError(f"{name} is what --over varies, but {where} sets it, too")
        if name == EXAMPLES:
            raise ValueError(f"{name} is no setting of a method to search for")


if __name__ == "__main__":
    script.run_script(main)
