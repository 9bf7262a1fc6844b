"""From the options of a script to a model, a task and a place for the records."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bert_glue.cli import choices, command_line
from bert_glue.data import load, tasks
from bert_glue.devices import environment, processes
from bert_glue.records import manifest, merge
from bert_glue.records.designs import Design, choose_reference
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore, normalised_label
from bert_glue.study.configuration import Configuration
from bert_glue.study.programs import StudyStopped
from bert_glue.study.progress import Progress
from bert_glue.study.study import Study
from bert_glue.training import subjects
from bert_glue.training.methods import describe
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject

BAD_INPUT = (ValueError, RecordsError)
"""Errors that the user's input can cause."""

FAILURES = (RecordsError, StudyStopped)
"""Errors that can end a study."""

Say = Callable[[str], None]


def load_subject(options: argparse.Namespace) -> Subject:
    """Reads model and data.

    Args:
      options: with those of :func:`command_line.add_subject_options`, checked.

    Returns:
      The model and the task.

    Raises:
      ValueError: if one of them cannot be used.
    """
    if options.train_file is not None:
        data = load.load_files(
            options.train_file, options.eval_file, metric=options.metric
        )
    else:
        data = load.load_task(options.task, options.data_dir)
    data = data.hold_out(options.held_out)
    data = data.take(options.max_train_examples, options.max_eval_examples)
    if _one_class(data.task, data.train.labels):
        raise ValueError(
            f"all {len(data.train)} examples left to train on are of one class; "
            "--max-train-examples or --held-out must leave more"
        )
    folder = options.model
    if folder == command_line.EMBEDDED:
        folder = embedded_model()
    subject = subjects.prepare(
        data,
        folder,
        max_length=options.max_length,
        dtype=options.dtype,
        remat=getattr(options, "remat", "cheap"),
    )
    drawn = getattr(options, "init_seeds", None)
    if drawn is not None and len(drawn) > 1 and not subject.fresh:
        raise ValueError(
            f"--init-seeds has {len(drawn)} seeds, but {options.model} holds all "
            "parameters, the classifier included: nothing is drawn at random"
        )
    return subject


def embedded_model() -> pathlib.Path:
    """Folder of the model that comes with the project."""
    return pathlib.Path(__file__).parents[1] / "model" / "embedded"


def model_defaults(model: str) -> Mapping[str, Any]:
    """Settings that suit a model better than the paper's.

    Args:
      model: what the user called the model.

    Returns:
      Values of a recipe's fields; none for a model that is not the embedded one.
    """
    if model != command_line.EMBEDDED:
        return {}
    text = (embedded_model() / "finetuning.json").read_text()
    return json.loads(text)


def load_subjects(options: argparse.Namespace, names: Sequence[str]) -> list[Subject]:
    """Reads a model and several tasks; the model's weights are there once.

    Args:
      options: with those of :func:`command_line.add_subject_options`, checked.
      names: the tasks.

    Returns:
      The model with each task.

    Raises:
      ValueError: as :func:`load_subject`.
    """
    subjects: list[Subject] = []
    for name in names:
        subject = load_subject(argparse.Namespace(**{**vars(options), "task": name}))
        if subjects and subject.fresh == subjects[0].fresh:
            subject = dataclasses.replace(subject, pretrained=subjects[0].pretrained)
        subjects.append(subject)
    return subjects


def open_records(
    options: argparse.Namespace, default: str | os.PathLike[str] | None = None
) -> RunStore:
    """Opens the output directory.

    Args:
      options: with those of :func:`command_line.add_run_options`.
      default: the directory if the user names none; ``runs/TASK`` by default.

    Returns:
      The records in it, those of the directories to merge included.

    Raises:
      RecordsError: if a directory cannot be used.
    """
    folder: str | os.PathLike[str] | None = options.output_dir or default
    records = RunStore(folder or pathlib.Path("runs") / options.task)
    records.read()
    if options.merge:
        # Of several processes the first alone has to have the other directories.
        copied = processes.agree(lambda: merge.merge(records, options.merge))
        records.notes.append(f"{copied} runs were copied from other directories")
    return records


def configure(
    model: str, subjects: Sequence[Subject], recipes: Sequence[Recipe]
) -> list[Configuration]:
    """Every method on every task, each configuration once.

    Args:
      model: what the user calls the model.
      subjects: the model with each task.
      recipes: the methods. One whose settings are those of one before it is left
        out, as a matched budget is where the budgets match anyway.

    Returns:
      The configurations, task by task.
    """
    found: dict[str, Configuration] = {}
    for subject in subjects:
        for recipe in recipes:
            configuration = Configuration(subject, model, recipe)
            found.setdefault(configuration.name, configuration)
    return list(found.values())


def design_table(
    number: str,
    model: str,
    subjects: Sequence[Subject],
    recipes: Sequence[Recipe],
    seeds: Sequence[Seed],
    reference: str | None,
) -> tuple[list[Configuration], Design]:
    """Every method on every task.

    Args:
      number: number of the table.
      model: what the user calls the model.
      subjects: the model with each task.
      recipes: the methods.
      seeds: the seeds of each.
      reference: label of the row to compare with; chosen if None.

    Returns:
      The configurations as :func:`configure` gives them, and the table that they
      make.

    Raises:
      ValueError: if the reference is no row.
    """
    configurations = configure(model, subjects, recipes)
    cells = {
        (each.subject.task.name, each.recipe.label): each for each in configurations
    }
    methods = tuple(dict.fromkeys(label for _, label in cells))
    reference = None if reference is None else normalised_label(reference)
    if reference is not None and reference not in methods:
        raise ValueError(
            f"the reference is {reference!r}; accepted are {', '.join(methods)}"
        )
    design = Design(
        number,
        methods,
        tuple(subject.task.name for subject in subjects),
        {cell: configuration.name for cell, configuration in cells.items()},
        tuple(seeds),
        reference or choose_reference(methods),
    )
    return configurations, design


def write_config(
    records: RunStore,
    command: Sequence[str],
    configurations: Sequence[Configuration],
    design: Design | None = None,
) -> None:
    """Adds a command to ``config.json``: what someone needs to repeat it.

    Args:
      records: the output directory.
      command: the command line.
      configurations: what it runs.
      design: the table that it makes, if it makes one.
    """
    entry = {
        "command": shlex.join(command),
        "started": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
        "commit": environment.commit(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "settings": environment.settings(),
    }

    def add(content: manifest.Config) -> None:
        content["commands"].append(entry)
        for configuration in configurations:
            content["configurations"][configuration.name] = configuration.fields
        if design is not None:
            saved = content["tables"].get(design.number)
            content["tables"][design.number] = _extended(saved, design).to_json()

    manifest.change(records, add)


def _extended(saved: Mapping[str, Any] | None, design: Design) -> Design:
    """The saved table with the rows, columns and seeds of a new command."""
    if saved is None:
        return design
    try:
        return Design.from_json(design.number, saved).join(design)
    except RecordsError:
        # One row would have two settings: the folder's table is the last command's.
        return design


def run_study(
    parser: command_line.Parser,
    options: argparse.Namespace,
    study: Study,
    report: Callable[[Progress], None],
    failures: tuple[type[Exception], ...] = FAILURES,
) -> int:
    """Does what is missing of a study, reports, and lets go of its records.

    Args:
      parser: the script's parser.
      options: its options.
      study: what is to be run.
      report: says what came of it, and writes that, once all is done.
      failures: errors that end the script with a line.

    Returns:
      The script's exit code.
    """
    progress = Progress(study.runs_missing())
    announce(progress.note, options, study)
    try:
        study.run(progress)
        progress.note("")
        report(progress)
    except failures as error:
        progress.close()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.close()
        print("interrupted; the same command does what is missing", file=sys.stderr)
        return 130
    finally:
        progress.close()
        study.records.close()
    return 0


def announce(say: Say, options: argparse.Namespace, study: Study) -> None:
    """Tells the user what is going to be run, before it is.

    Args:
      say: prints a line.
      options: the script's options.
      study: what is run.
    """
    shown = None
    for configuration in study.configurations:
        if configuration.subject is not shown:
            shown = configuration.subject
            _announce_subject(say, options, shown)
        _announce_configuration(say, options, study, configuration)
    labels = {configuration.recipe.label for configuration in study.configurations}
    for recipe in choices.recipes(options, model_defaults(options.model)):
        if recipe.label not in labels:
            say(f"{recipe.label}: a method before it has the same settings; no new row")
    if options.shard is not None:
        mine = sum(len(study.seeds_of(each)) for each in study.configurations)
        total = len(study.configurations) * len(study.seeds)
        number, of = options.shard
        say(f"shard {number} of {of}: {mine} of the {total} runs")
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


def _one_class(task: tasks.Task, labels: ArrayLike | None) -> bool:
    if task.is_regression or labels is None:
        return False
    return len(np.unique(np.asarray(labels))) == 1


def _announce_subject(say: Say, options: argparse.Namespace, subject: Subject) -> None:
    say(
        f"{options.model} on {subject.task.name}: {len(subject.train.lengths):,} "
        f"examples to train on, {len(subject.evaluation.lengths):,} to score"
        + (", held out of the training set" if subject.held_out else "")
    )
    if options.train_file is not None:
        labels = subject.task.labels
        names = ", ".join(labels[:8]) + (" ..." if len(labels) > 8 else "")
        say(f"{len(labels)} classes: {names}" if labels else "labels are numbers")
    if _one_class(subject.task, subject.evaluation.labels):
        say("note: all examples to score are of one class, so that scores say little")
    if subject.fresh:
        say(f"not in the checkpoint, drawn from each seed: {', '.join(subject.fresh)}")
    else:
        say("the classifier is the checkpoint's; nothing is drawn from the seeds")


def _announce_configuration(
    say: Say, options: argparse.Namespace, study: Study, configuration: Configuration
) -> None:
    say(describe(configuration.recipe))
    defaults = model_defaults(options.model)
    taken = choices.taken_defaults(configuration.recipe, defaults)
    if taken:
        say(f"  of these the embedded model's own: {', '.join(taken)}")
    mine = study.seeds_of(configuration)
    missing = len(study.missing(configuration))
    if missing < len(mine):
        done = len(mine) - missing
        say(f"  {done} of {len(mine)} runs are recorded, {missing} missing")
    plan = study.plan(configuration)
    if plan is not None:
        say(f"  seeds side by side: {plan.group_size} ({plan.reason})")
