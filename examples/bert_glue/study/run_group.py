"""One group of seeds from its first step to its scores."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.records.resume import Checkpoint
from bert_glue.study.progress import Progress
from bert_glue.training.evaluation import Params
from bert_glue.training.group_state import Best, Course, Journal, Stretch, template
from bert_glue.training.seeds import Seed
from bert_glue.training.trainer import Trainer

Score = Callable[[NDArray[np.float32]], float]
"""Score in per cent of the logits of the evaluation examples."""

Measure = Callable[[Params, Params, Params], dict[str, jax.Array]]
"""What to keep of the parameters after a stage, given these, the initial ones, and
those before the stage, with a leading seed axis: arrays of shape (seeds, n) by name."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
      seed: its seeds.
      score: its score in per cent: of the last evaluation, or of the best if the
        recipe keeps that.
      train_loss: mean loss of the steps of the last epoch; NaN if it diverged.
      history: one dict for each evaluation: step, epoch, score, the mean loss of
        the steps since the one before, and the stage where there are several.
      diverged_at: number of the first step (from 1) whose loss was not finite, or
        after which the logits were not; None if there was none.
    """

    seed: Seed
    score: float
    train_loss: float
    history: list[dict[str, Any]]
    diverged_at: int | None


@dataclasses.dataclass(frozen=True)
class Group:
    """What became of a group.

    Attributes:
      outcomes: those of its runs.
      seconds: time that the whole group took; compilation excluded, but for what
        starts the later stages of several.
      params: parameters behind the scores, with a leading seed axis; its last places
        may be no runs.
      recorded: arrays with a leading seed axis by name: 'losses' of all steps; for
        each stage 'norms/STAGE' and 'scales/STAGE', of shape (seeds, steps,
        components), if the trainers record them; and 'NAME/STAGE' for what was
        measured after it.
    """

    outcomes: list[Outcome]
    seconds: float
    params: Params
    recorded: dict[str, NDArray[Any]]


def train_group(
    trainers: Sequence[Trainer],
    seeds: list[Seed],
    score: Score,
    progress: Progress,
    *,
    measure: Measure | None = None,
    checkpoint: Checkpoint | None = None,
) -> Group:
    """Trains and scores some seeds side by side.

    Args:
      trainers: compiled programs for at least as many seeds, one for each stage.
      seeds: the seeds.
      score: scores the logits of a run.
      progress: where to show how far it is.
      measure: measures the parameters after each stage.
      checkpoint: where to go on from if it was interrupted, and what to save to.

    Returns:
      The outcomes, in the order of the seeds.
    """
    recipe = trainers[0].recipe
    began = time.perf_counter()
    steps = sum(trainer.steps for trainer in trainers)
    progress.start(recipe, seeds, steps)
    # On several devices places may be left over; there the first seed runs again.
    places = trainers[0].group_size
    keys, fetch = trainers[0].keys(seeds), trainers[0].placement.fetch
    course = Course(
        Journal(places, several_stages=len(trainers) > 1),
        Best(places) if recipe.keep == "best" else None,
    )
    if checkpoint is not None:
        saved = checkpoint.load(lambda facts: template(trainers, facts))
        if saved is not None:
            course.resume(trainers, *saved)
            progress.advance(course.done)
    order: Any = None
    for stretch in itinerary(trainers, cut=progress.shown):
        if stretch.done <= course.done:
            continue
        trainer = trainers[stretch.stage]
        epoch = trainer.stage.epochs_before + stretch.epoch
        if stretch.epoch == stretch.start == 0:
            before = None if trainer.stage.restarts else course.before
            carried = None
            if course.state is not None and recipe.carry_optimizer:
                carried = course.state.opt_state
            course.state = trainer.start(keys.init, before, carried)
            if measure is not None:
                # A copy, as the state is given to the first step.
                course.before = jax.tree.map(jnp.copy, trainer.whole(course.state))
                if course.initial is None:
                    course.initial = course.before
        if stretch.start == 0:
            course.log, course.since = trainer.new_log(), 0
        if stretch.start == 0 or order is None:
            order = trainer.order(keys.order, epoch)
        course.state, course.log = trainer.train(
            course.state,
            course.log,
            keys.noise,
            order,
            epoch,
            stretch.start,
            stretch.stop,
        )
        course.done = stretch.done
        if progress.shown:
            shown = fetch(course.log.losses)[:, stretch.start : stretch.stop]
            progress.advance(stretch.stop - stretch.start, loss=float(shown.mean()))
        if not stretch.is_evaluation:
            continue
        now = trainer.whole(course.state)
        logits = trainer.evaluate(now)
        journal, losses = course.journal, fetch(course.log.losses)
        journal.enter(
            trainer, stretch, losses, logits, course.since, map(score, logits)
        )
        if course.best is not None:
            course.best.look(journal.scores, now)
        course.since = stretch.stop
        progress.advance(0, score=float(np.mean(journal.scores)))
        if stretch.ends_epoch:
            course.keep_log(stretch.stage, fetch(course.log))
        if stretch.ends_stage:
            if measure is not None:
                measured = measure(now, course.initial, course.before)
                for name, value in measured.items():
                    course.recorded[f"{name}/{stretch.stage}"] = [fetch(value)]
            course.before = now
        if checkpoint is not None and stretch.done < steps and checkpoint.is_due():
            seconds = course.seconds + time.perf_counter() - began
            facts, arrays = course.save(stretch, seconds)
            arrays = trainer.placement.gather(arrays)
            checkpoint.save(stretch.done, facts, arrays)
    best, journal = course.best, course.journal
    params = best.params if best else jax.block_until_ready(course.before)
    outcomes = [
        Outcome(
            seed,
            best.scores[number] if best else journal.history[number][-1]["score"],
            journal.last_losses[number],
            journal.history[number],
            journal.diverged[number],
        )
        for number, seed in enumerate(seeds)
    ]
    progress.finish(len(seeds))
    seconds = course.seconds + time.perf_counter() - began
    recorded = {name: rows[: len(seeds)] for name, rows in course.joined().items()}
    return Group(outcomes, seconds, params, recorded)


def itinerary(trainers: Sequence[Trainer], *, cut: bool) -> Iterator[Stretch]:
    """All stretches of a run, in their order.

    Args:
      trainers: one for each stage.
      cut: whether to look at the losses a few times an epoch, which costs a stop.

    Yields:
      The stretches.
    """
    before = 0
    for stage, trainer in enumerate(trainers):
        steps, recipe = trainer.steps_per_epoch, trainer.recipe
        longest = max(1, steps // 20) if cut else None
        for epoch in range(recipe.epochs):
            for part in stretches(steps, recipe.evaluations_per_epoch, longest):
                _, stop, _ = part
                ends_epoch = stop == steps
                ends_stage = ends_epoch and epoch == recipe.epochs - 1
                yield Stretch(
                    stage, epoch, *part, before + stop, ends_epoch, ends_stage
                )
            before += steps


def stretches(
    steps: int, evaluations: int, longest: int | None
) -> Iterator[tuple[int, int, bool]]:
    """Cuts an epoch where something has to happen between two steps.

    Args:
      steps: steps of the epoch.
      evaluations: evaluations in it, evenly spread, the last one at its end.
      longest: most steps of a stretch; None for no limit.

    Yields:
      First step, last step (exclusive), and whether an evaluation follows.

    Examples:
      >>> list(stretches(10, evaluations=2, longest=3))
      [(0, 3, False), (3, 5, True), (5, 8, False), (8, 10, True)]
    """
    stops = {
        round(steps * (number + 1) / evaluations) for number in range(evaluations)
    } - {0}
    start = 0
    for stop in sorted(stops):
        while longest is not None and stop - start > longest:
            yield start, start + longest, False
            start += longest
        yield start, stop, True
        start = stop
