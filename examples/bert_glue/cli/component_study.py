"""Scripts that record what components do: from their options to their figures."""

import argparse
import pathlib
from collections.abc import Callable, Iterable, Sequence

from bert_glue.cli import study_script
from bert_glue.cli.parser import Parser
from bert_glue.cli.study_script import Job
from bert_glue.devices import processes
from bert_glue.records.component_logs import ComponentLogs, LoggedMethod, gather
from bert_glue.records.run_store import Record, RunStore
from bert_glue.report import formats
from bert_glue.study.progress import Progress

# What makes runs comparable: the same model on the same data.
_SUBJECT = ("task", "model_fingerprint", "data_fingerprint", "max_length", "dtype")


def run(
    parser: Parser,
    options: argparse.Namespace,
    describe: Callable[[Sequence[LoggedMethod]], str],
    draw: Callable[[pathlib.Path, Sequence[LoggedMethod]], Iterable[pathlib.Path]],
    check: Callable[[int], object] = lambda layers: None,
) -> int:
    """Does the runs that are missing unless only figures are wanted, and draws them.

    Args:
      parser: the script's parser.
      options: what :func:`choices.parse` returned.
      describe: says in words what the figures show.
      draw: draws the figures into a folder, and returns their files.
      check: raises a ValueError if the script's own options do not go with a model
        of so many layers.

    Returns:
      The exit code.
    """

    def show(
        say: Callable[[str], None], logs: ComponentLogs, runs: list[Record]
    ) -> None:
        methods = gather(runs, logs.load)
        # Drawing refuses what cannot be drawn, before anything is said.
        paths = [*draw(logs.folder.parent, methods)]
        say(describe(methods))
        for path in paths:
            say(str(path))

    def prepare(job: Job) -> Callable[[Progress], None]:
        check(job.configurations[0].subject.config.stacked_layers)
        logs = job.keep["component_logs"] = _open_logs(job.records, options)

        def show_all(progress: Progress) -> None:
            table = job.table()
            # A shard may have nothing to do, and find nothing done.
            if runs := _logged(table.runs, logs):
                progress.note(formats.fill("table.txt", table=table) + "\n")
                show(progress.note, logs, runs)

        # Only the first process has the logs; the others hear if that failed.
        return lambda progress: processes.agree(lambda: show_all(progress))

    def report_only(records: RunStore) -> None:
        logs = _open_logs(records, options)
        recorded = records.read()
        runs = _comparable(_logged(recorded, logs), logs)
        if others := len(recorded) - len(runs):
            study_script.say(
                f"note: {others} of {len(recorded)} runs have no recording in "
                f"{logs.folder}, and are left out"
            )
        show(study_script.say, logs, runs)

    return study_script.run(parser, options, prepare, report_only)


def _open_logs(records: RunStore, options: argparse.Namespace) -> ComponentLogs:
    logs = ComponentLogs(records.folder)
    logs.copy_from(options.merge)
    return logs


def _logged(runs: Iterable[Record], logs: ComponentLogs) -> list[Record]:
    return [run for run in runs if logs.has(run["run"])]


def _comparable(runs: list[Record], logs: ComponentLogs) -> list[Record]:
    """The runs, if they are of one model on one task."""
    folder = logs.folder.parent
    if not runs:
        raise ValueError(f"no run in {folder} has a recording in {logs.folder}")
    subjects = {tuple(run[name] for name in _SUBJECT) for run in runs}
    if len(subjects) > 1:
        raise ValueError(
            f"the runs in {folder} are of {len(subjects)} models or tasks, which no "
            "figure compares; give the options of the runs wanted instead of "
            "--report-only: nothing that is recorded is trained again"
        )
    return runs
