"""Scripts that record what components do: from their options to their figures."""

import argparse
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bert_glue.cli import choices, command_line, device_options
from bert_glue.records.component_logs import LoggedMethod, gather

if TYPE_CHECKING:
    from bert_glue.records.run_store import RunStore

# What makes runs comparable: the same model on the same data.
_SUBJECT = ("task", "model_fingerprint", "data_fingerprint", "max_length", "dtype")


Say = Callable[[str], None]
Draw = Callable[[Say, pathlib.Path, Sequence[LoggedMethod]], None]
"""Prints what was found, and draws figures into a folder."""


def add_options(
    parser: argparse.ArgumentParser, *, methods: str, seeds: int, folder: str
) -> Any:
    """All options of a script that records.

    Args:
      parser: gets the options.
      methods: the methods by default.
      seeds: number of seeds by default.
      folder: where records go by default; a folder for each task in it.

    Returns:
      The group of options about figures, for the script's own.
    """
    group = parser.add_argument_group("figures")
    group.add_argument(
        "--report-only",
        action="store_true",
        help="train nothing: draw the figures from the runs in the output directory "
        "(and of --merge), whatever the options of models and methods say",
    )
    command_line.add_subject_options(parser)
    command_line.add_method_options(parser, default=methods)
    command_line.add_run_options(
        parser, default_seeds=seeds, default_folder=str(pathlib.Path(folder, "TASK"))
    )
    parser.set_defaults(default_folder=folder)
    device_options.add_device_options(parser)
    return group


def main(
    parser: command_line.Parser,
    options: argparse.Namespace,
    command: Sequence[str],
    draw: Draw,
    check: Callable[[int], None] = lambda layers: None,
) -> int:
    """Does the runs that are missing, and draws the figures.

    Args:
      parser: the script's parser.
      options: its options.
      command: the command line.
      draw: draws the figures.
      check: raises a ValueError if the script's own options do not go with a model
        of so many layers.

    Returns:
      The exit code.
    """
    if options.report_only:
        return _report_only(parser, options, draw)
    # What takes long to import waits until the command line is known to be right.
    from bert_glue.cli import setup
    from bert_glue.devices import environment, processes
    from bert_glue.report import formats
    from bert_glue.study.progress import Progress
    from bert_glue.study.study import Study

    with command_line.errors_in_one_line(parser, *setup.BAD_INPUT):
        choices.check_subject(options)
        seeds = choices.seeds(options)
        device_options.connect(options)
        recipes = choices.recipes(options, setup.model_defaults(options.model))
        records, recordings = _open(options)
        if not options.no_compilation_cache:
            environment.keep_compiled_programs()
        subject = setup.load_subject(options)
        check(subject.config.num_hidden_layers)
        configurations = setup.configure(options.model, [subject], recipes)
        study = Study(
            configurations,
            seeds,
            records,
            parallel_seeds=options.parallel_seeds,
            checkpoint_minutes=options.checkpoint_minutes,
            axes=options.mesh,
            shard=options.shard,
            component_logs=recordings,
        )
        setup.write_config(records, command, configurations)

    def draw_all(say: Say) -> None:
        wanted = {
            configuration.run(seed)
            for configuration in configurations
            for seed in seeds
        }
        runs = [
            record
            for record in records.read()
            if record["run"] in wanted and recordings.has(record["run"])
        ]
        # A shard may have nothing to do, and find nothing done.
        if runs:
            say(formats.rows_text(study.rows()) + "\n")
            order = [configuration.name for configuration in configurations]
            runs.sort(key=lambda record: order.index(record["configuration"]))
            draw(say, records.folder, gather(runs, recordings.load))

    def report(progress: Progress) -> None:
        # Only the first process has the recordings; the others hear if that failed.
        processes.agree(lambda: draw_all(progress.note))

    return setup.run_study(parser, options, study, report)


def _report_only(
    parser: command_line.Parser, options: argparse.Namespace, draw: Draw
) -> int:
    from bert_glue.cli import setup

    with command_line.errors_in_one_line(parser, *setup.BAD_INPUT):
        own = options.train_file and choices.OWN_FILES
        options.task = own or options.task or "acceptability"
        folder = (
            options.output_dir or pathlib.Path(options.default_folder) / options.task
        )
        if not options.merge and not folder.is_dir():
            raise ValueError(f"there is no output directory {folder}")
        records, recordings = _open(options)
        for note in records.notes:
            print(f"note: {note}")
        runs = [each for each in records.read() if recordings.has(each["run"])]
        if not runs:
            raise ValueError(
                f"no run in {folder} has a recording in {recordings.folder}"
            )
        subjects = {tuple(run[name] for name in _SUBJECT) for run in runs}
        if len(subjects) > 1:
            raise ValueError(
                f"the runs in {folder} are of {len(subjects)} models or tasks, which "
                "no figure compares; give the options of the runs wanted instead of "
                "--report-only: nothing that is recorded is trained again"
            )
        draw(print, records.folder, gather(runs, recordings.load))
        records.close()
    return 0


def _open(options: argparse.Namespace) -> tuple["RunStore", Any]:
    from bert_glue.cli import setup
    from bert_glue.records.component_logs import ComponentLogs

    default = pathlib.Path(options.default_folder) / options.task
    records = setup.open_records(options, default)
    recordings = ComponentLogs(records.folder)
    recordings.copy_from(options.merge)
    return records, recordings
