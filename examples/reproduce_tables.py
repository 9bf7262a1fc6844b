"""Makes the paper's Table 1 (methods) or Table 2 (thresholds of component clipping).

Each cell is standard deviation, mean and best of many seeds; failed runs are counted,
differences are tested, and beside the numbers stand the paper's where the setting is
the same. Prints the table, and writes it as Markdown, LaTeX and CSV, and a page
(index.html) with every run and all learning curves, into the directory of the records.
Without options it does so on a small BERT and small tasks that come with the project.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from bert_glue.cli import choices, command_line, device_options, script
from bert_glue.training.methods import parse_methods

if TYPE_CHECKING:
    from bert_glue.records.run_store import RunStore

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

FOLDER = "runs/tables"

_ALL = "runs"

# Beside the paper's rows stand some with matched budgets, so that 5 epochs against 3,
# or 20 against 5, do not pass for an effect of clipping.
_TABLE_1 = "devlin,adamw,adamw:epochs=5,mixout,mosbach,cwgnc:epochs=3,cwgnc"
_TABLE_1 += ",cwgnc:epochs=20"
# The embedded model takes 5 epochs for all methods that do not say otherwise.
_EMBEDDED_1 = "devlin,adamw,mixout,mosbach:epochs=20,cwgnc:epochs=3,cwgnc"
_EMBEDDED_1 += ",cwgnc:epochs=20"
# 1e5 clips nothing: the released code's way to switch clipping off.
_TABLE_2 = ",".join(
    f"cwgnc:max_norm={threshold}"
    for threshold in ("0.01", "0.05", "0.1", "0.5", "1", "5", "1e5")
)


def make_parser() -> command_line.Parser:
    """The script's options."""
    parser = command_line.make_parser(__file__, __doc__ or "", EXAMPLES)
    group = parser.add_argument_group("table")
    group.add_argument(
        "--table",
        choices=("1", "2", _ALL),
        help="1: methods (the default); 2: thresholds; with --report-only also "
        f"{_ALL}: whatever runs the directory has",
    )
    group.add_argument(
        "--reference",
        metavar="METHOD",
        help="row that the others are compared with, as it is written in the table "
        "(default cwgnc; in Table 2 the threshold 0.05)",
    )
    group.add_argument(
        "--report-only",
        action="store_true",
        help="train nothing: make the tables and the page from the records in the "
        "output directory (and of --merge), whatever the other options say",
    )
    command_line.add_subject_options(
        parser,
        several="rte,mrpc,cola, or "
        f"{','.join(_tasks('1', command_line.EMBEDDED))} for the embedded model; "
        "Table 2: cola, or acceptability",
    )
    command_line.add_method_options(
        parser, default=None, shown=_TABLE_1.replace(",", ", ")
    )
    command_line.add_run_options(parser, default_seeds=25, default_folder=FOLDER)
    device_options.add_device_options(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    command = [parser.prog, *(sys.argv[1:] if arguments is None else arguments)]
    if options.report_only:
        return _report_only(parser, options)
    if options.table == _ALL:
        parser.error(f"--table {_ALL} goes with --report-only")
    # What takes long to import waits until the command line is known to be right.
    from bert_glue.cli import setup
    from bert_glue.devices import environment
    from bert_glue.study.progress import Progress
    from bert_glue.study.study import Study

    with command_line.errors_in_one_line(parser, *setup.BAD_INPUT):
        number = options.table or "1"
        choices.check_subject(options, _tasks(number, options.model))
        seeds = choices.seeds(options)
        if options.method is None:
            options.method = parse_methods(_methods(number, options.model))
        device_options.connect(options)
        recipes = choices.recipes(options, setup.model_defaults(options.model))
        records = setup.open_records(options, FOLDER)
        if not options.no_compilation_cache:
            environment.keep_compiled_programs()
        subjects = setup.load_subjects(options, options.task)
        configurations, design = setup.design_table(
            number, options.model, subjects, recipes, seeds, options.reference
        )
        study = Study(
            configurations,
            seeds,
            records,
            parallel_seeds=options.parallel_seeds,
            checkpoint_minutes=options.checkpoint_minutes,
            axes=options.mesh,
            shard=options.shard,
        )
        setup.write_config(records, command, configurations, design)

    def report(progress: Progress) -> None:
        # A shard may have nothing to do, and find nothing done.
        names = {configuration.name for configuration in configurations}
        if any(run["configuration"] in names for run in records.read()):
            _report(progress.note, records, number)

    return setup.run_study(parser, options, study, report)


def _report_only(parser: command_line.Parser, options: argparse.Namespace) -> int:
    from bert_glue.cli import setup

    with command_line.errors_in_one_line(parser, *setup.BAD_INPUT):
        folder = options.output_dir or pathlib.Path(FOLDER)
        if not options.merge and not folder.is_dir():
            raise ValueError(f"there is no output directory {folder}")
        records = setup.open_records(options, FOLDER)
        for note in records.notes:
            print(f"note: {note}")
        _report(print, records, options.table, options.reference)
    return 0


def _report(
    say: Callable[[str], None],
    records: "RunStore",
    number: str | None,
    reference: str | None = None,
) -> None:
    """Prints the table wanted, and writes all of the folder."""
    from bert_glue.report import formats, write

    wanted = write.read(records, number, reference)
    for table in wanted:
        say(formats.text(table) + "\n")
    tables = wanted
    if number is not None:
        known = write.read(records, reference=reference)
        tables = [*known, *(wanted if number == _ALL else [])]
        tables = list({table.design.number: table for table in tables}.values())
    if note := write.left_over(records, tables):
        say(f"note: {note}")
    for path in write.write(records, tables):
        say(str(path))


def _tasks(number: str, model: str) -> tuple[str, ...]:
    if number == "2":
        return ("acceptability",) if model == command_line.EMBEDDED else ("cola",)
    if model == command_line.EMBEDDED:
        return ("entailment", "paraphrase", "acceptability")
    return ("rte", "mrpc", "cola")


def _methods(number: str, model: str) -> str:
    if number == "2":
        return _TABLE_2
    return _EMBEDDED_1 if model == command_line.EMBEDDED else _TABLE_1


if __name__ == "__main__":
    script.run_script(main)
