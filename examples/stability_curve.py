"""In which range of a setting is fine-tuning stable, and does a method widen it?

Fine-tunes with every method at every value of a setting, such as the learning rate, by
many seeds. A value is stable where few runs fail and their mean is near the method's
best. Prints, for each method, from where to where that is, and whether one range is
shown to be wider than another; draws the curves. Settings that differ in numbers alone
are compiled once. Without options it does so on a small BERT and a small task that come
with the project.
"""

import argparse
import functools
from typing import TYPE_CHECKING, Any

from bert_glue.cli import choices, script
from bert_glue.cli.options import add_group, add_options
from bert_glue.cli.parser import Grid, make_parser, parse_grid

if TYPE_CHECKING:
    from bert_glue.cli.study_script import Job, Report
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
"""

_GRID = "learning_rate=1e-5..1e-3:8"
_MARGIN, _MOST_FAILED = 2.0, 0.1
OWN = {
    "--over GRID": "setting and its values: NAME=A,B,C, or NAME=LOW..HIGH:COUNT for "
    f"evenly spaced logarithms (default {_GRID})",
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
    add_group(parser, "the curve", OWN)
    folder = "runs/stability_curve/TASK"
    add_options(parser, methods="cwgnc,adamw", seeds=5, folder=folder)
    options = choices.parse(parser, arguments, expand)
    from bert_glue.cli import study_script

    return study_script.run(parser, options, prepare)


def expand(options: argparse.Namespace) -> None:
    """Makes of each method one for each value of the grid."""
    grid: Grid = options.over or parse_grid(_GRID)
    if grid.setting in choices.settings(options):
        raise ValueError(f"{grid.setting} is what --over varies; give it there alone")
    options.points = {}
    recipes = []
    for recipe in options.method:
        if grid.setting in recipe.changed:
            raise ValueError(f"{recipe.label} sets {grid.setting}, which --over varies")
        for value in grid.values:
            changes: dict[str, Any] = {grid.setting: value}
            recipes.append(recipe.replace(**changes))
            options.points[recipes[-1].label] = recipe.label, value
    options.over, options.method = grid, tuple(recipes)


def prepare(job: "Job") -> "Report":
    """Draws the curves of each task in the end."""
    from bert_glue.records.files import replace_file
    from bert_glue.report import curves, plots

    from cwgnc_jax.plotting import plot_stability

    options = job.options
    points = {
        each.name: options.points[each.recipe.label] for each in job.configurations
    }
    build = functools.partial(
        curves.build,
        points=points,
        seeds=job.design.seeds,
        setting=options.over.setting,
        margin=options.margin or _MARGIN,
        most_failed=options.most_failed or _MOST_FAILED,
    )

    def report(progress: "Progress") -> None:
        # A shard may have nothing to do, and find nothing done.
        for found in build(job.records.read()):
            for line in found.lines():
                progress.note(line)
            folder, name = job.records.folder, f"curve_{plots.file_name(found.task)}"
            replace_file(folder / f"{name}.csv", found.csv().encode())
            figure = plot_stability(
                found.curves,
                found.ranges,
                xlabel=found.setting.replace("_", " "),
                ylabel=f"{found.metric} (%)",
                title=found.task,
            )
            for kind in ("png", "svg"):
                path = plots.save(figure, folder / f"{name}.{kind}")
                progress.note(f"{path}")

    return report


if __name__ == "__main__":
    script.run_script(main)
