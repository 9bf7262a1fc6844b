"""In which range of a setting is fine-tuning stable, and does a method widen it?

Fine-tunes with every method at every value of a setting, such as the learning rate, by
many seeds. A value is stable where few runs fail and their mean is near the method's
best. Prints, for each method, from where to where that is, and whether one range is
shown to be wider than another; draws the curves. Settings that differ in numbers alone
are compiled once. Without options it does so on a small BERT and a small task that come
with the project.
"""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bert_glue.cli import choices, script
from bert_glue.cli.options import add_group, add_options, report_only
from bert_glue.cli.parser import Grid, make_parser, parse_grid

if TYPE_CHECKING:
    from bert_glue.cli.study_script import Job, Report
    from bert_glue.records.run_store import RunStore
    from bert_glue.report.curves import CurveDesign
    from bert_glue.study.progress import Progress

EXAMPLES = """\
  %(prog)s --seeds 10
      component and global clipping over eight learning rates, with the embedded model
  %(prog)s --method cwgnc,adamw,adamw:clipping=none --over learning_rate=1e-5..1e-3:12
      a finer grid; what is recorded in the directory is not run again
  %(prog)s --method cwgnc,auto --over batch_size=4,8,16,32,64
      over another setting
  %(prog)s --model DIR --task cola --data-dir GLUE --held-out 0.2 --seeds 25
      on training examples that are held out, to choose a setting by
  %(prog)s --report-only --over learning_rate --output-dir runs/cola
      the curves of runs that there are, such as those of finetune_glue.py
"""

_GRID = "learning_rate=1e-5..1e-3:8"
_MARGIN, _MOST_FAILED = 2.0, 0.1
OWN = {
    "--over GRID": "setting and its values: NAME=A,B,C, or NAME=LOW..HIGH:COUNT for "
    f"evenly spaced logarithms (default {_GRID}); with --report-only its name is "
    "enough",
    "--reference METHOD": "method that the others are compared with, as it is called "
    "in the curves (default cwgnc, or else the first)",
    "--margin X": "how far below the best mean of its method a mean may be where it is "
    f"stable, in per cent (default {_MARGIN:g})",
    "--most-failed SHARE": "largest share of failed runs where a method is stable "
    f"(default {_MOST_FAILED:g})",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser(__file__, __doc__ or "", EXAMPLES)
    add_group(parser, "the curve", OWN | report_only("draw the curves"))
    folder = "runs/stability_curve/TASK"
    add_options(parser, methods="cwgnc,adamw", seeds=5, folder=folder)
    parser.set_defaults(over=parse_grid(_GRID), margin=_MARGIN)
    parser.set_defaults(most_failed=_MOST_FAILED)
    options = choices.parse(parser, arguments, expand)
    from bert_glue.cli import study_script

    def draw(records: "RunStore") -> None:
        draw_recorded(study_script.say, records, options)

    return study_script.run(parser, options, prepare, draw)


def expand(options: argparse.Namespace) -> None:
    """Makes of each method one for each value of the grid."""
    if options.report_only:
        return
    grid: Grid = options.over
    if not grid.values:
        raise ValueError(
            f"--over is {grid.setting} without values; it needs some, such as {_GRID}, "
            "but for --report-only"
        )
    if grid.setting in choices.settings(options):
        raise ValueError(f"{grid.setting} is what --over varies; give it there alone")
    options.methods = options.method
    recipes = []
    for recipe in options.method:
        if grid.setting in recipe.changed:
            raise ValueError(f"{recipe.label} sets {grid.setting}, which --over varies")
        for value in grid.values:
            changes: dict[str, Any] = {grid.setting: value}
            recipes.append(recipe.replace(**changes))
    options.method = tuple(recipes)


def prepare(job: "Job") -> "Report":
    """Draws the curves of each task in the end."""
    from bert_glue.report import curves

    options, setting = job.options, job.options.over.setting
    methods = {
        curves.method_of(each.fields, setting): curves.without_setting(
            each.recipe.label, setting
        )
        for each in job.configurations
    }
    design = curves.CurveDesign(
        setting,
        methods,
        job.design.seeds,
        margin=options.margin,
        most_failed=options.most_failed,
        reference=options.reference,
    )

    def report(progress: "Progress") -> None:
        draw_curves(progress.note, job.records, design)

    return report


def draw_recorded(
    say: Callable[[str], None], records: "RunStore", options: argparse.Namespace
) -> None:
    """Draws the curves of whatever runs a folder has."""
    from bert_glue.records.files import RecordsError
    from bert_glue.report import curves

    grid: Grid = options.over
    runs = records.read()
    design = curves.CurveDesign.of_records(
        runs,
        grid.setting,
        margin=options.margin,
        most_failed=options.most_failed,
        reference=options.reference,
    )
    if not draw_curves(say, records, design):
        raise RecordsError(
            f"{records.folder} has no runs of one method at several values of "
            f"{grid.setting}"
        )


def draw_curves(
    say: Callable[[str], None], records: "RunStore", design: "CurveDesign"
) -> bool:
    """Prints curves and writes their files; whether there are any."""
    from bert_glue.report import curves, write

    found = [each for each in curves.build(records.read(), design) if each.ranges]
    # A shard may have nothing to do, and find nothing done.
    if not found:
        return False
    for each in found:
        for line in each.lines():
            say(line)
    for path in write.write_curves(records, found):
        say(str(path))
    return True


if __name__ == "__main__":
    script.run_script(main)
