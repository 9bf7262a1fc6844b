"""Makes the paper's Table 1 (methods) or Table 2 (thresholds of component clipping).

Each cell is standard deviation, mean and best of many seeds; failed runs are counted,
differences are tested, and beside the numbers stand the paper's where the setting is
the same. Prints the table, and writes it as Markdown, LaTeX and CSV, and a page
(index.html) with every run and all learning curves, into the directory of the records.
Without options it does so on a small BERT and small tasks that come with the project.
"""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from bert_glue.cli import choices, script
from bert_glue.cli.options import EMBEDDED, add_group, add_options, report_only
from bert_glue.cli.parser import make_parser
from bert_glue.report import paper
from bert_glue.training.methods import METHODS, parse_methods
from bert_glue.training.settings import written

if TYPE_CHECKING:
    from bert_glue.cli.study_script import Job, Report
    from bert_glue.records.run_store import RunStore
    from bert_glue.study.progress import Progress

EXAMPLES = """\
  %(prog)s --table 1 --seeds 5
      methods on three generated tasks, with the embedded model
  %(prog)s --table 1 --model bert-large-uncased
      the paper's; model and data come from the Hugging Face hub
  %(prog)s --table 2 --model DIR --data-dir GLUE --output-dir runs/t2
      thresholds on CoLA; a model and data in folders
  %(prog)s --model DIR --data-dir GLUE --shard 2/8 --output-dir runs/part2
      the second of eight parts of the runs, on one of eight machines
  %(prog)s --report-only --output-dir runs/all --merge runs/part*
      the table and the page of all of them, from their records
"""

_ALL = "runs"

_ADAMW, _MOSBACH, _CWGNC = (
    METHODS[name].epochs for name in ("adamw", "mosbach", "cwgnc")
)
# Beside the paper's rows stand some with matched budgets, so that 5 epochs against 3,
# or 20 against 5, do not pass for an effect of clipping.
_MATCHED = {
    "adamw": ("adamw", f"adamw:epochs={_CWGNC}"),
    "cwgnc": (f"cwgnc:epochs={_ADAMW}", "cwgnc", f"cwgnc:epochs={_MOSBACH}"),
}
# The embedded model takes 5 epochs for all methods that do not say otherwise.
_EMBEDDED = {"adamw": ("adamw",), "mosbach": (f"mosbach:epochs={_MOSBACH}",)}
# 1e5 clips nothing: the released code's way to switch clipping off.
_THRESHOLDS = (*paper.THRESHOLDS, 1e5)


def default_methods(table: str, model: str) -> str:
    """The rows of a table."""
    if table == "2":
        return ",".join(f"cwgnc:max_norm={written(norm)}" for norm in _THRESHOLDS)
    names = dict.fromkeys(name for name, _ in paper.TABLE_1)
    rows = _MATCHED | (_EMBEDDED if model == EMBEDDED else {})
    return ",".join(row for name in names for row in rows.get(name, (name,)))


def default_tasks(table: str, model: str) -> tuple[str, ...]:
    """The columns of a table; Table 2 has the paper's last task."""
    tasks = ("entailment", "paraphrase", "acceptability")
    if model != EMBEDDED:
        tasks = paper.TASKS
    return tasks[-1:] if table == "2" else tasks


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser(__file__, __doc__ or "", EXAMPLES)
    own = {
        f"--table 1|2|{_ALL}": "1: methods (the default); 2: thresholds; with "
        f"--report-only also {_ALL}: whatever runs the directory has",
        "--reference METHOD": "row that the others are compared with, as it is written "
        "in the table (default cwgnc; in Table 2 the threshold "
        f"{METHODS['cwgnc'].max_norm:g})",
    }
    add_group(parser, "table", own | report_only("make the tables and the page"))
    add_options(
        parser,
        methods=default_methods("1", "").replace(",", ", "),
        seeds=paper.RUNS,
        folder="runs/tables",
        tasks=f"{','.join(paper.TASKS)}, or {','.join(default_tasks('1', EMBEDDED))} "
        "for the embedded model; Table 2: cola, or acceptability",
    )
    parser.set_defaults(method=None)
    options = choices.parse(parser, arguments, fill_in)
    from bert_glue.cli import study_script

    def report(records: "RunStore") -> None:
        report_tables(study_script.say, records, options.table, options.reference)

    return study_script.run(parser, options, prepare, report)


def fill_in(options: argparse.Namespace) -> None:
    """Sets what depends on the table and the model."""
    if options.report_only:
        return
    if options.table == _ALL:
        raise ValueError(f"--table {_ALL} goes with --report-only")
    options.table = options.table or "1"
    options.default_tasks = default_tasks(options.table, options.model)
    if options.method is None:
        options.method = parse_methods(default_methods(options.table, options.model))


def prepare(job: "Job") -> "Report":
    """Makes the table of every method on every task in the end."""

    def report(progress: "Progress") -> None:
        # A shard may have nothing to do, and find nothing done.
        if job.table().cells:
            report_tables(progress.note, job.records, job.options.table)

    return report


def report_tables(
    say: Callable[[str], None],
    records: "RunStore",
    name: str | None,
    reference: str | None = None,
) -> None:
    """Prints the table wanted, and writes all of the folder."""
    from bert_glue.report import formats, write

    tables = write.read(records, name, reference)
    for table in tables:
        if name in (None, table.design.name):
            say(formats.fill("table.txt", table=table) + "\n")
    if note := write.left_over(records, tables):
        say(f"note: {note}")
    for path in write.write(records, tables):
        say(str(path))


if __name__ == "__main__":
    script.run_script(main)
