"""From the options of a script to a model, a task and a place for the records."""

import argparse
import datetime
import json
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_glue import cli, environment, tasks, workload
from bert_glue.records import RecordsError, RunRecords
from bert_glue.study import Configuration, Study
from bert_glue.workload import Subject

BAD_INPUT = (ValueError, RecordsError)
"""Errors that the user's input can cause."""

Say = Callable[[str], None]


def load_subject(options: argparse.Namespace) -> Subject:
    """Reads model and data.

    Args:
        options: with those of :func:`cli.add_subject_options`, checked.

    Returns:
        The model and the task.

    Raises:
        ValueError: if one of them cannot be used.
    """
    if options.train_file is not None:
        data = tasks.load_files(
            options.train_file, options.eval_file, metric=options.metric
        )
    else:
        data = tasks.load_task(options.task, options.data_dir)
    data = tasks.TaskData(
        data.task,
        data.train.take(options.max_train_examples),
        data.evaluation.take(options.max_eval_examples),
    )
    folder = options.model
    if folder == cli.EMBEDDED:
        folder = embedded_model()
    return workload.prepare(
        data, folder, max_length=options.max_length, dtype=options.dtype
    )


def embedded_model() -> pathlib.Path:
    """Folder of the model that comes with the project."""
    return pathlib.Path(__file__).parent / "embedded"


def model_defaults(model: str) -> Mapping[str, Any]:
    """Settings that suit a model better than the paper's.

    Args:
        model: what the user called the model.

    Returns:
        Values of a recipe's fields; none for a model that is not the embedded one.
    """
    if model != cli.EMBEDDED:
        return {}
    text = (embedded_model() / "finetuning.json").read_text()
    return json.loads(text)


def open_records(options: argparse.Namespace) -> RunRecords:
    """Opens the output directory.

    Args:
        options: with those of :func:`cli.add_run_options`.

    Returns:
        The records in it.

    Raises:
        RecordsError: if it cannot be used.
    """
    folder = options.output_dir or pathlib.Path("runs") / options.task
    records = RunRecords(folder)
    records.read()
    return records


def write_config(
    records: RunRecords,
    command: Sequence[str],
    configurations: Sequence[Configuration],
) -> None:
    """Adds a command to ``config.json``: what someone needs to repeat it.

    Args:
        records: the output directory.
        command: the command line.
        configurations: what it runs.
    """
    with records.locked():
        try:
            known = json.loads((records.folder / "config.json").read_text())
        except FileNotFoundError:
            known = {"commands": [], "configurations": {}}
        except ValueError:
            raise RecordsError(
                f"{records.folder / 'config.json'} is not JSON; remove it or use "
                "another output directory"
            ) from None
        known["commands"].append(
            {
                "command": shlex.join(command),
                "started": datetime.datetime.now(datetime.UTC).isoformat(
                    "T", "seconds"
                ),
                "commit": environment.commit(),
                "versions": environment.versions(),
                "hardware": environment.hardware(),
            }
        )
        for configuration in configurations:
            known["configurations"][configuration.name] = configuration.fields
        records.write_json("config.json", known)


def announce(say: Say, options: argparse.Namespace, study: Study) -> None:
    """Tells the user what is going to be run, before it is.

    Args:
        say: prints a line.
        options: the script's options.
        study: what is run.
    """
    subject = study.configurations[0].subject
    say(
        f"{options.model} on {subject.task.name}: {len(subject.train.lengths):,} "
        f"examples to train on, {len(subject.evaluation.lengths):,} to score"
    )
    if subject.fresh:
        say(f"not in the checkpoint, drawn from each seed: {', '.join(subject.fresh)}")
    defaults = model_defaults(options.model)
    for configuration in study.configurations:
        say(cli.describe(configuration.recipe))
        taken = cli.taken_defaults(configuration.recipe, defaults)
        if taken:
            say(f"  of these the embedded model's own: {', '.join(taken)}")
        missing = len(study.missing(configuration))
        if missing < len(study.seeds):
            done = len(study.seeds) - missing
            say(f"  {done} of {len(study.seeds)} runs are recorded, {missing} missing")
        plan = study.plan(configuration)
        if plan is not None:
            say(f"  seeds side by side: {plan.group_size} ({plan.reason})")
    names = {configuration.name for configuration in study.configurations}
    others = {run["configuration"] for run in study.records.read()} - names
    if others:
        many = "configurations have" if len(others) > 1 else "configuration has"
        say(
            f"{len(others)} other {many} runs in this directory; summary.json keeps "
            "them apart"
        )
    for note in study.records.notes:
        say(f"note: {note}")
