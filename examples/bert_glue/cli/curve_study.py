"""From the options of a curve to its runs, its figures, and runs at what is chosen."""

import argparse
import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from bert_glue.cli import study_script
from bert_glue.cli.parser import Grid
from bert_glue.cli.study_script import Job, Report
from bert_glue.devices import processes
from bert_glue.records import manifest
from bert_glue.records.designs import Design, choose_reference
from bert_glue.records.files import RecordsError, identity
from bert_glue.records.run_store import RunStore
from bert_glue.report import curves, formats, write
from bert_glue.report.curves import CurveDesign, TaskCurves
from bert_glue.report.tables import CHOSEN, build
from bert_glue.study.configuration import Configuration
from bert_glue.study.progress import Progress
from bert_glue.study.spending import Budget, Spending, spend
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.seeds import Seed
from bert_glue.training.settings import EXAMPLES, written
from cwgnc_jax.stability import Look

# What is varied where nobody says it.
_USUAL = "learning_rate"
# Of a study with all its looks.
_ALPHA = 0.05


def prepare(job: Job) -> Report:
    """Does the runs within a budget, where there is one, and draws the curves.

    Args:
      job: what is about to be run.

    Returns:
      What draws the curves, and does the runs at what they say.
    """
    options, setting = job.options, job.options.over.setting
    methods = {
        curves.method_of(each.fields, setting): curves.without_setting(
            each.recipe.label, setting
        )
        for each in job.configurations
    }
    design = CurveDesign(
        setting,
        methods,
        job.design.seeds,
        **_given(options),
        configurations=(
            tuple(each.name for each in job.configurations)
            if setting == EXAMPLES
            else None
        ),
    )
    check_report(options)
    if options.runs or options.minutes:
        options.budget = Budget(options.runs, options.minutes)
        # Of fewer examples than a grid asks for all are its last value.
        values = {_value(each, setting) for each in job.configurations}
        _check_grid(_read_spending(job.records, _budget_key(design)), setting, values)
        job.conduct = functools.partial(_spend, job, design)

    def report(progress: Progress) -> None:
        final = _with_looks(job.records, design, spent=bool(options.budget))
        found = draw(progress.note, job.records, final)
        if not found and not options.shard:
            progress.note(f"no curves: no method has runs at two values of {setting}")
        if options.then_run:
            seeds = [*job.design.seeds]
            for _, count in final.asked or ():
                seeds += _seeds(count)
            for each in found:
                chosen = _chosen(job, each, final)
                run_chosen(job, chosen, seeds, progress, final.reference)

    return report


def draw_recorded(
    say: Callable[[str], None], records: RunStore, options: argparse.Namespace
) -> None:
    """Draws the curves of whatever runs a folder has.

    Args:
      say: prints a line.
      records: the folder.
      options: of the curve.

    Raises:
      RecordsError: if there are none.
    """
    content = manifest.read(records.folder)
    settings = [*content["curves"]] or [_USUAL]
    grids = options.grids or [Grid(name, ()) for name in settings]
    refused: list[RecordsError] = []
    for grid in grids:
        try:
            _draw_recorded(say, records, options, content, grid)
        except RecordsError as error:
            refused.append(error)
    # Of all that there are some may be drawn.
    if options.grids or len(refused) == len(grids):
        for error in refused:
            raise error
    for error in refused:
        say(f"note: {error}")


def _draw_recorded(
    say: Callable[[str], None],
    records: RunStore,
    options: argparse.Namespace,
    content: manifest.Config,
    grid: Grid,
) -> None:
    setting, values = grid.setting, grid.values or None
    saved = content["curves"].get(setting)
    known = CurveDesign.from_json(saved) if saved else None
    asked = _given(options) | {"values": values}
    runs = curves.runs_of_curves(records)
    there = {curves.value_of(run, setting) for run in runs}
    if none := [value for value in values or () if value not in there]:
        say(f"note: no runs at {setting} {', '.join(map(written, none))}")
    if known and known.asked:
        # A study with a budget has curves of its own runs alone, and had its looks.
        design = dataclasses.replace(known, **asked)
    else:
        if values:
            runs = [run for run in runs if curves.value_of(run, setting) in values]
        if known:
            asked = {"margin": known.margin, "most_failed": known.most_failed} | asked
        design = CurveDesign.of_records(runs, setting, **asked)
        if (
            known
            and not design.reference
            and known.reference in design.methods.values()
        ):
            design = dataclasses.replace(design, reference=known.reference)
        if setting == EXAMPLES:
            # They do not say of which data they are.
            names = dict.fromkeys(run["configuration"] for run in runs)
            design = dataclasses.replace(design, configurations=tuple(names))
        # One with a budget may have been stopped before it drew any.
        is_stopped = _budget_key(design) in content["budgets"]
        design = _with_looks(records, design, spent=is_stopped and not values)
    if not draw(say, records, design):
        raise RecordsError(
            f"{records.folder} has no runs of one method at several values of "
            f"{grid.setting}"
        )


def draw(
    say: Callable[[str], None], records: RunStore, design: CurveDesign
) -> list[TaskCurves]:
    """Prints curves and writes their files.

    Args:
      say: prints a line.
      records: the folder.
      design: of the curves.

    Returns:
      Those that have a range.
    """
    runs = curves.runs_of_curves(records)
    found = [each for each in curves.build(runs, design) if each.ranges]
    for each in found:
        for line in each.lines():
            say(line)
    # A shard may have nothing to do, and find nothing done.
    if found:
        before = len(records.notes)
        for path in write.write_curves(records, found):
            say(str(path))
        for note in records.notes[before:]:
            say(f"note: {note}")
    return found


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What is asked of curves, but for what is left to be as usual or as it was."""
    names = ("margin", "most_failed", "reference")
    return {name: value for name in names if (value := vars(options)[name]) is not None}


def _spend(job: Job, design: CurveDesign, progress: Progress) -> None:
    """Does the runs that a budget suffices for."""
    options, records = job.options, job.records
    values = collections.defaultdict(list)
    for each in job.configurations:
        values[_value(each, design.setting)].append(each)

    def do(spending: Spending) -> tuple[int, float]:
        started, done = time.monotonic(), 0
        recorded = {run["run"] for run in records.read()}
        by_seeds: dict[int, list[Configuration]] = collections.defaultdict(list)
        for value, count in sorted(spending.seeds.items()):
            seeds = _seeds(count)
            by_seeds[count] += [
                each
                for each in values[value]
                if any(each.run(seed) not in recorded for seed in seeds)
            ]
        for count, configurations in sorted(by_seeds.items()):
            if configurations:
                study = study_script.make_study(job, configurations, _seeds(count))
                missing = study.runs_missing()
                done += missing
                progress.expect(missing)
                study.run(progress)
        return done, processes.agree(lambda: time.monotonic() - started)

    def asked(spending: Spending, correction: float = 1.0) -> CurveDesign:
        runs = tuple(sorted(spending.seeds.items()))
        return dataclasses.replace(design, asked=runs, correction=correction)

    def is_shown(look: Look) -> bool:
        at_look = asked(spending, _ALPHA / look.level)
        [found] = curves.build(curves.runs_of_curves(records), at_look)
        widths = [verdict.widths for verdict in found.verdicts.values()]
        shown = bool(widths) and all(each and each.shown for each in widths)
        runs = len(design.methods) * sum(spending.seeds.values())
        verdict = "all that is asked is shown" if shown else "not all is shown"
        progress.note(f"after {runs} runs {verdict} (level {look.level:.2g})")
        return shown

    key = _budget_key(design)
    spending = _read_spending(records, key)
    if spending.is_over:
        progress.note(
            "note: this study had its last look before; more runs cannot change its "
            "verdict. For another one take another --output-dir, and other data or "
            "methods"
        )
    spend(
        options.budget,
        spending,
        sorted(values),
        len(set(design.methods.values())),
        margin=design.margin,
        most_failed=design.most_failed,
        do=do,
        curves=lambda spending: [
            *curves.gather(curves.runs_of_curves(records), asked(spending)).values()
        ],
        is_shown=is_shown,
        save=lambda spending: manifest.change(
            records,
            lambda content: content["budgets"].update({key: spending.to_json()}),
        ),
    )


def _check_grid(spending: Spending, setting: str, values: Set[float]) -> None:
    """Refuses a grid without values that a study under way has begun with."""
    begun = sorted(spending.seeds)
    if not spending.is_over and not set(begun) <= values:
        raise ValueError(
            f"--over must have the values at which this study was begun, "
            f"{setting}={','.join(map(written, begun))}, until its budget is "
            "spent; for others take another --output-dir"
        )


def _with_looks(records: RunStore, design: CurveDesign, *, spent: bool) -> CurveDesign:
    """The design at the level of the last look that there was.

    Looks of a study with a budget count for whatever else is asked of its methods.

    Args:
      records: the folder.
      design: of the curves.
      spent: whether a budget for the same decides which runs count.

    Returns:
      The design.
    """
    saved = manifest.read(records.folder)["budgets"]
    budgets = {key: Spending.from_json(each) for key, each in saved.items()}
    spending = budgets.pop(_budget_key(design), Spending())
    if spent:
        asked = sorted(spending.seeds.items())
        design = dataclasses.replace(design, seeds=None, asked=tuple(asked))
    level = spending.looks[-1].level if spending.looks else _ALPHA
    return dataclasses.replace(
        design,
        correction=_ALPHA / level,
        looks=len(spending.looks),
        other_looks=sum(len(other.looks) for other in budgets.values()),
    )


def _budget_key(design: CurveDesign) -> str:
    # What its verdict depends on.
    limits = {"margin": design.margin, "most_failed": design.most_failed}
    return identity({"methods": sorted(design.methods), **limits})


def _read_spending(records: RunStore, key: str) -> Spending:
    saved = manifest.read(records.folder)["budgets"].get(key)
    return Spending.from_json(saved) if saved else Spending()


def _value(configuration: Configuration, setting: str) -> float:
    return curves.value_of(configuration.fields, setting) or 0.0


def _seeds(count: int, first: int = 0) -> list[Seed]:
    return [Seed(number, number) for number in range(first, first + count)]


def _chosen(
    job: Job, found: TaskCurves, design: CurveDesign
) -> dict[str, Configuration]:
    """By its name each method at its best value, which may be one of another grid."""
    chosen = {}
    for each in job.configurations:
        name = curves.without_setting(each.recipe.label, design.setting)
        if name in found.curves:
            kind = SETTINGS[design.setting].rule.kind
            value = {design.setting: kind(best_value(found, name))}
            recipe = each.recipe.replace(**value)
            chosen[name] = dataclasses.replace(each, recipe=recipe)
    return chosen


def run_chosen(
    job: Job,
    chosen: Mapping[str, Configuration],
    seeds: Sequence[Seed],
    progress: Progress,
    reference: str | None = None,
) -> None:
    """Does runs of chosen settings on the evaluation examples, by fresh seeds.

    Args:
      job: in which they were chosen, on examples held out.
      chosen: by the name of each method its configuration, a row of the table that is
        made of them.
      seeds: that they were chosen by.
      progress: where to show how far it is.
      reference: the method that others are compared with; None for the usual choice.
    """
    options = job.options
    evaluated = _evaluated(options)
    configurations: dict[str, Configuration] = {}
    for each in chosen.values():
        task = each.subject.task.name
        subject = study_script.load_subject(evaluated, task, options.max_train_examples)
        if subject.fresh == each.subject.fresh:
            subject = dataclasses.replace(subject, pretrained=each.subject.pretrained)
        label = each.recipe.label
        configurations[label] = dataclasses.replace(each, subject=subject)
    first = 1 + max(max(seed) for seed in seeds)
    tasks = dict.fromkeys(each.subject.task.name for each in configurations.values())
    table = Design(
        CHOSEN,
        tuple(configurations),
        tuple(tasks),
        {
            (each.subject.task.name, label): each.name
            for label, each in configurations.items()
        },
        tuple(_seeds(options.then_run, first)),
        choose_reference(
            [*configurations], reference and chosen[reference].recipe.label
        ),
    )
    progress.note(
        f"\nchosen on examples held out: {', '.join(table.methods)}; now on the "
        f"evaluation examples, by the seeds {first} to {table.seeds[-1].name}"
    )

    def add(content: manifest.Config) -> None:
        for each in configurations.values():
            if each.name not in content["configurations"]:
                content["chosen"].append(each.name)
            content["configurations"][each.name] = each.fields
        content["tables"][table.name] = table.to_json()

    manifest.change(job.records, add)
    study = study_script.make_study(job, [*configurations.values()], table.seeds)
    progress.expect(study.runs_missing())
    study.run(progress)
    found = build(table, job.records.read())
    if found.cells:
        progress.note(formats.fill("table.txt", table=found))
        for path in write.write(job.records, write.read(job.records)):
            progress.note(str(path))


def check_report(options: argparse.Namespace) -> None:
    """Raises a ValueError if what is chosen cannot be reported on, before any run."""
    for task in options.tasks if options.then_run else ():
        study_script.load_data(_evaluated(options), task)


def _evaluated(options: argparse.Namespace) -> argparse.Namespace:
    """Options by which the evaluation examples are scored, not those held out."""
    return argparse.Namespace(**vars(options) | {"held_out": None})


def best_value(found: TaskCurves, method: str) -> float:
    """The value that a method is best at: the best stable one, or else of all.

    Args:
      found: the curves.
      method: one of them.

    Returns:
      The value.
    """
    curve, stable = found.curves[method], found.ranges.get(method)
    if stable is not None and np.isfinite(stable.best):
        return stable.best
    return float(curve.values[np.argmax(curve.means)])
