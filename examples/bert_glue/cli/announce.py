"""What is going to be run, said before it is."""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike

from bert_glue.cli import choices
from bert_glue.cli.options import EMBEDDED, flag
from bert_glue.data import metrics
from bert_glue.data.tables import listed
from bert_glue.data.tasks import GENERATED
from bert_glue.devices import environment
from bert_glue.records.designs import Design, choose_reference
from bert_glue.records.trackers import KINDS
from bert_glue.report import verdicts
from bert_glue.study.configuration import Configuration
from bert_glue.study.study import Study
from bert_glue.training.methods import describe
from bert_glue.training.recipe import Recipe
from bert_glue.training.settings import EXAMPLES, written
from bert_glue.training.subjects import Subject
from cwgnc_jax import stability


def announcement(
    options: argparse.Namespace, study: Study, design: Design
) -> Iterator[str]:
    """What is going to be run, line by line.

    Args:
      options: the script's options.
      study: what is run.
      design: the table of it.
    """
    if advice := environment.advice():
        yield f"note: {advice}"
    if options.over is not None:
        yield from _about_curves(options, study)
        yield from _about_tracking(study)
        yield from (f"note: {note}" for note in study.records.notes)
        return
    shown = None
    for configuration in study.configurations:
        if configuration.subject is not shown:
            shown = configuration.subject
            yield from _about_subject(options, shown)
        yield from _about_recipe(options, configuration.recipe)
        yield from _about_runs(study, configuration)
    labels = {configuration.recipe.label for configuration in study.configurations}
    for label in (recipe.label for recipe in options.recipes):
        if label not in labels:
            yield f"{label}: a method before it has the same settings; no new row"
    planned = {
        (each.subject.task.name, each.recipe.label): [each.fields]
        for each in study.configurations
    }
    # Of means and of spreads.
    comparisons = 2 * len(verdicts.pairs(planned, design.reference))
    what = f"with {design.reference} (of means and spreads, corrected together)"
    yield from _about_seeds(comparisons, what, len(design.seeds))
    yield from _about_shard(options, study)
    yield from _about_tracking(study)
    names = {configuration.name for configuration in study.configurations}
    if others := {run["configuration"] for run in study.records.read()} - names:
        many = "configurations have" if len(others) > 1 else "configuration has"
        yield f"{len(others)} other {many} runs in this directory; summary.json has all"
    yield from (f"note: {note}" for note in study.records.notes)


def are_alike(labels: ArrayLike | None) -> bool:
    """Whether all examples have the same label or labels."""
    return labels is not None and len(np.unique(np.asarray(labels), axis=0)) == 1


def _about_subject(options: argparse.Namespace, subject: Subject) -> Iterator[str]:
    task = subject.task
    positive = task.labels[task.positive] if task.labels else ""
    metric = metrics.in_words(task.metric, task.problem_type, positive)
    yield (
        f"{options.model} on {task.name}: {len(subject.train.lengths):,} "
        f"examples to train on, {len(subject.evaluation.lengths):,} to score"
        + (", held out of the training set" if subject.held_out else "")
        + f", by {metric}"
    )
    if options.model == EMBEDDED and task.name not in GENERATED:
        yield (
            f"note: the embedded model has {subject.config.vocab_size} word pieces, of "
            "a small made-up English, and spells most words of real text letter by "
            "letter: name a model for it, as in --model bert-base-uncased"
        )
    if options.train_file is not None or options.dataset is not None:
        labels = task.labels
        several = ", any number of them an example" if task.is_multi_label else ""
        names = f"{len(labels)} classes{several}: {listed(labels, most=8)}"
        yield names if labels else "labels are numbers"
    if are_alike(subject.evaluation.labels):
        yield "note: all examples to score have one label, so that scores say little"
    if subject.fresh:
        fresh = ", ".join(subject.fresh)
        yield f"not taken from the checkpoint, drawn from each seed: {fresh}"
    else:
        others = [recipe.label for recipe in options.recipes if recipe.redraws]
        drawn = f"but for {', '.join(others)} nothing" if others else "nothing"
        yield f"the classifier is the checkpoint's; {drawn} is drawn from the seeds"
    if subject.truncated_share:
        yield (
            f"note: {subject.truncated_share:.1%} of the examples to train on are cut "
            f"to {subject.max_length} tokens; the longest has {subject.longest}"
        )
    yield from (f"note: {note}" for note in subject.notes)


def _about_recipe(
    options: argparse.Namespace, recipe: Recipe, varied: Mapping[str, str] | None = None
) -> Iterator[str]:
    yield describe(recipe, varied)
    given = choices.settings(options)
    own = choices.model_defaults(options.model)
    if taken := [
        name for name in own if name not in {*recipe.changed, *given, *(varied or {})}
    ]:
        names = ", ".join(taken).replace("_", " ")
        yield f"  of these the embedded model's own: {names}"
    for name, value in given.items():
        if why := choices.why_idle(recipe, name, value):
            yield f"  {flag(name)} has no effect on it: {why}"


def _about_runs(study: Study, configuration: Configuration) -> Iterator[str]:
    runs = len(study.seeds_of(configuration))
    missing = len(study.missing(configuration))
    if missing < runs:
        yield f"  {runs - missing} of {runs} runs are recorded, {missing} missing"
    if plan := study.plan(configuration):
        yield f"  seeds side by side: {plan.group_size} ({plan.reason})"


def _about_tracking(study: Study) -> Iterator[str]:
    if study.tracking is None:
        return
    folder = study.tracking.folder
    for kind in study.tracking.kinds:
        where = KINDS[kind].where.replace("FOLDER", str(folder))
        yield f"tracked by {kind}: {where}"
    total = sum(len(study.seeds_of(each)) for each in study.configurations)
    if recorded := total - study.runs_missing():
        yield f"  not tracked: the {recorded} runs that are recorded already"


def _about_shard(options: argparse.Namespace, study: Study) -> Iterator[str]:
    if options.shard is not None:
        mine = sum(len(study.seeds_of(each)) for each in study.configurations)
        total = len(study.configurations) * len(study.seeds)
        number, of = options.shard
        yield f"shard {number} of {of}: {mine} of the {total} runs"


def _about_seeds(
    comparisons: int, what: str, seeds: int, of: str = ""
) -> Iterator[str]:
    """A note where seeds are too few to show a thing, or a difference of what."""
    if comparisons and seeds < (fewest := stability.fewest_seeds(comparisons)):
        yield (
            f"note: {seeds} seed{'s' if seeds > 1 else ''} can show no difference "
            f"{of}between methods, however large: {comparisons} comparisons {what} "
            f"take {fewest} seeds at least"
        )


def _about_curves(options: argparse.Namespace, study: Study) -> Iterator[str]:
    """A line for each method, not for each of its values."""
    setting, values = options.over.setting, [*map(written, options.over.values)]
    words = f"{', '.join(values[:-1])} or {values[-1]}"
    # The last one of a task has most examples to train on.
    subjects = {each.subject.task.name: each.subject for each in study.configurations}
    for subject in subjects.values():
        yield from _about_subject(options, subject)
    if setting == EXAMPLES:
        yield f"of the examples to train on {words}, always the same"
    methods = {}
    for recipe in options.recipes:
        changed = tuple(name for name in recipe.changed if name != setting)
        base = dataclasses.replace(recipe, changed=changed)
        methods.setdefault(base.label, base)
    for recipe in methods.values():
        yield from _about_recipe(options, recipe, {setting: words})
    if options.budget is not None:
        yield f"{options.budget.words}, where they tell most"
        return
    plans = filter(None, (study.plan(each) for each in study.configurations))
    # How much memory is free is not the same from one to the next.
    for plan in {plan.group_size: plan for plan in plans}.values():
        yield f"seeds side by side: {plan.group_size} ({plan.reason})"
    runs = sum(len(study.seeds_of(each)) for each in study.configurations)
    if (missing := study.runs_missing()) < runs:
        yield f"{runs - missing} of {runs} runs are recorded, {missing} missing"
    reference = choose_reference([*methods], options.reference)
    comparisons = (len(methods) - 1) * (1 + len(values))
    what = f"with {reference} (of widths and of means at {len(values)} values)"
    seeds = len(study.seeds)
    yield from _about_seeds(comparisons, what, seeds, "of widths or means ")
    if setting != EXAMPLES:
        ends = 2 * (len(methods) - 1), f"with {reference} (of ends of ranges)"
        yield from _about_seeds(*ends, seeds, "of where ranges begin or end ")
    yield from _about_shard(options, study)
