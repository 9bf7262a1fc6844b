"""What is going to be run, said before it is."""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from bert_glue.cli import choices
from bert_glue.cli.options import flag
from bert_glue.data.examples import Task
from bert_glue.study.configuration import Configuration
from bert_glue.study.study import Study
from bert_glue.training.methods import describe
from bert_glue.training.recipe import Recipe
from bert_glue.training.subjects import Subject

Say = Callable[[str], None]


def announce(say: Say, options: argparse.Namespace, study: Study) -> None:
    """Tells the user what is going to be run.

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
        _announce_recipe(say, options, configuration.recipe)
        _announce_runs(say, study, configuration)
    labels = {configuration.recipe.label for configuration in study.configurations}
    for recipe in options.recipes:
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


def has_one_class(task: Task, labels: ArrayLike | None) -> bool:
    """Whether all examples are of one class."""
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
    if has_one_class(subject.task, subject.evaluation.labels):
        say("note: all examples to score are of one class, so that scores say little")
    if subject.fresh:
        say(f"not in the checkpoint, drawn from each seed: {', '.join(subject.fresh)}")
    else:
        say("the classifier is the checkpoint's; nothing is drawn from the seeds")


def _announce_recipe(say: Say, options: argparse.Namespace, recipe: Recipe) -> None:
    say(describe(recipe))
    given = choices.settings(options)
    taken = [
        name.replace("_", " ")
        for name in choices.model_defaults(options.model)
        if name not in recipe.changed and name not in given
    ]
    if taken:
        say(f"  of these the embedded model's own: {', '.join(taken)}")
    for name, value in given.items():
        if why := choices.why_idle(recipe, name, value):
            say(f"  {flag(name)} has no effect on it: {why}")


def _announce_runs(say: Say, study: Study, configuration: Configuration) -> None:
    mine = study.seeds_of(configuration)
    missing = len(study.missing(configuration))
    if missing < len(mine):
        done = len(mine) - missing
        say(f"  {done} of {len(mine)} runs are recorded, {missing} missing")
    plan = study.plan(configuration)
    if plan is not None:
        say(f"  seeds side by side: {plan.group_size} ({plan.reason})")
