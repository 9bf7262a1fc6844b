"""Several numbers of a method at once: Optuna draws them, seeds are its steps."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import filelock
import optuna
from optuna.distributions import FloatDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from bert_glue.cli import curve_study, study_script
from bert_glue.cli.parser import Grid, rounded
from bert_glue.cli.study_script import Job, Report
from bert_glue.records import locks
from bert_glue.records.files import identity
from bert_glue.records.run_store import Record
from bert_glue.study.configuration import Configuration, runs_of
from bert_glue.study.progress import Progress
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.seeds import Seed
from bert_glue.training.settings import written

JOURNAL = "optuna.log"
"""Optuna's file in the output directory, with all that it has drawn."""

# Draws for each run that may be of values that do not go together.
_MOST_REFUSED = 20


def prepare(job: Job) -> Report:
    """Searches for the best numbers of each method, within a budget of runs.

    Args:
      job: what is about to be run: each method as it is.

    Returns:
      What says which are best, and does the runs at them.

    Raises:
      ValueError: if a method cannot have the ends of what is searched, or what was
        searched cannot be reported on.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best: dict[str, Configuration] = {}
    curve_study.check_report(job.options)
    ends = [grid.ends for grid in job.options.grids]
    names = [grid.setting for grid in job.options.grids]
    for base, corner in itertools.product(job.configurations, itertools.product(*ends)):
        values = {
            name: SETTINGS[name].rule.kind(value)
            for name, value in zip(names, corner, strict=True)
        }
        dataclasses.replace(base, recipe=base.recipe.replace(**values)).check()

    def search(progress: Progress) -> None:
        each = job.options.runs // len(job.configurations)
        between = ", ".join(
            f"{grid.setting.replace('_', ' ')} from "
            + " to ".join(map(written, grid.ends))
            for grid in job.options.grids
        )
        progress.note(
            f"searched instead: {between}, by {each} runs of each method, "
            "and what its last trial takes"
        )
        lock = locks.exclusive(job.records.folder / f"{JOURNAL}.running")
        try:
            held = lock.acquire(timeout=0)
        except filelock.Timeout:
            raise study_script.StudyStopped(
                f"another process searches in {job.records.folder}; a search is one "
                "process's"
            ) from None
        with held:
            for configuration in job.configurations:
                label = configuration.recipe.label
                best[label] = _search(job, configuration, each, progress)

    def report(progress: Progress) -> None:
        if job.options.then_run:
            seeds, reference = job.design.seeds, job.design.reference
            curve_study.run_chosen(job, best, seeds, progress, reference)

    job.conduct = search
    return report


def objective(runs: Sequence[Record]) -> float:
    """What is to be as high as can be: mean score minus the share of failed runs.

    Args:
      runs: of one configuration.

    Returns:
      Both in per cent.

    Examples:
      >>> objective([{"score": 70.0, "failed": False}, {"score": 50.0, "failed": True}])
      10.0
    """
    failed = sum(run["failed"] for run in runs) / len(runs)
    return sum(run["score"] for run in runs) / len(runs) - 100 * failed


def _search(
    job: Job, base: Configuration, runs: int, progress: Progress
) -> Configuration:
    """The best of what is tried of a method; what was tried before counts."""
    grids: Sequence[Grid] = job.options.grids
    # Trials of other ranges, or by other seeds, are of another search.
    ranges = [[grid.setting, *grid.ends] for grid in grids]
    asked = identity({"ranges": ranges, "seeds": list(map(list, job.design.seeds))})
    backend = JournalFileBackend(str(job.records.folder / JOURNAL))
    study = optuna.create_study(
        study_name=f"{base.name}-{asked}",
        storage=optuna.storages.JournalStorage(backend),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        direction="maximize",
        load_if_exists=True,
    )
    # Of the same seed each start would draw the same again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    tried: dict[str, Configuration] = {}
    refused: list[str] = []

    def configure(values: Mapping[str, Any]) -> Configuration:
        found = dataclasses.replace(base, recipe=base.recipe.replace(**values))
        return tried.setdefault(found.name, found)

    for values in _go_on(study):
        with contextlib.suppress(ValueError):
            configure(values)

    def one(trial: optuna.Trial) -> float:
        _draw(trial, grids)
        try:
            configuration = configure(_rounded(trial))
            configuration.check()
        except ValueError as error:  # A batch that accumulate does not divide.
            refused.append(str(error))
            raise optuna.TrialPruned from error
        seeds, value = job.design.seeds, 0.0
        for step, _ in enumerate(seeds, 1):
            part = study_script.make_study(job, [configuration], seeds[:step])
            progress.expect(part.runs_missing())
            part.run(progress)
            value = objective(_runs(job, [configuration], seeds[:step]))
            trial.report(value, step)
            if step < len(seeds) and trial.should_prune():
                raise optuna.TrialPruned
        return value

    # A trial of values that are rounded to those of another takes no runs, as does one
    # of values that do not go together.
    accepted = 0
    while accepted < runs and len(refused) < _MOST_REFUSED * runs:
        if len(_runs(job, tried.values(), job.design.seeds)) >= runs:
            break
        before = len(refused)
        study.optimize(one, n_trials=1)
        accepted += len(refused) == before
    whole = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not whole:
        reason = (
            f"{runs} runs are not enough for all seeds of one trial; give more --runs "
            "or fewer --seeds"
            if accepted or not refused
            else f"no values that were drawn go together; the last ones: {refused[-1]}"
        )
        raise study_script.StudyStopped(f"{base.recipe.label}: {reason}")
    best = configure(_rounded(study.best_trial))
    words = ", ".join(
        f"{grid.setting.replace('_', ' ')} "
        f"{written(getattr(best.recipe, grid.setting))}"
        for grid in grids
    )
    progress.note(
        f"{base.recipe.label}: best of {len(study.trials)} trials, {len(whole)} of "
        f"them by all seeds: {words} (mean minus failed runs {study.best_value:.1f})"
    )
    return best


def _go_on(study: optuna.Study) -> list[dict[str, float]]:
    """Puts trials whose process was stopped before all others; the values of all.

    What such a trial did is recorded, and not done again.
    """
    trials = study.get_trials()
    drawn = [trial for trial in trials if trial.params]
    stopped = (TrialState.RUNNING, TrialState.FAIL)
    ended = [trial.params for trial in drawn if trial.state not in stopped]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial in drawn and trial.params not in ended:
            study.enqueue_trial(trial.params)
            ended.append(trial.params)
    return [_rounded(trial) for trial in drawn]


def _draw(trial: optuna.Trial, grids: Sequence[Grid]) -> None:
    for grid in grids:
        low, high = grid.ends
        if SETTINGS[grid.setting].rule.kind is int:
            ends = int(low), int(high)
            trial.suggest_int(grid.setting, *ends, log=True)
        else:
            trial.suggest_float(grid.setting, low, high, log=True)


def _rounded(trial: optuna.Trial | FrozenTrial) -> dict[str, float]:
    """What was drawn, with few digits, as grids have it."""
    found = dict(trial.params)
    for name, within in trial.distributions.items():
        if isinstance(within, FloatDistribution):
            ends = within.low, within.high
            [found[name]] = rounded([found[name]], *ends, SETTINGS[name].rule)
    return found


def _runs(
    job: Job, configurations: Iterable[Configuration], seeds: Sequence[Seed]
) -> list[Record]:
    return runs_of(job.records.read(), [*configurations], seeds)
