"""A run cut into segments: steps between which nothing has to happen."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bert_glue.training.trainer import Trainer


class Segment(NamedTuple):
    """Some steps of a run that one call takes.

    Attributes:
      stage: number of the stage.
      epoch: number of the epoch in the stage.
      start: first step, counted within the epoch.
      stop: the step after the last.
      is_evaluation: whether an evaluation follows.
      done: steps of the whole run that are done after it.
      ends_epoch: whether it is the last of its epoch.
      ends_stage: whether it is the last of its stage.
    """

    stage: int
    epoch: int
    start: int
    stop: int
    is_evaluation: bool
    done: int
    ends_epoch: bool
    ends_stage: bool


def cut_run(
    trainers: Sequence[Trainer], *, finely: bool, first: int | None = None
) -> Iterator[Segment]:
    """All segments of a run, in their order.

    Args:
      trainers: one for each stage.
      finely: whether to look at the losses a few times an epoch, which costs a stop.
      first: number of a step at which an epoch begins or goes on: look at it alone, and
        finely at the rest of the epoch; None for no such step.

    Yields:
      The segments.
    """
    before = 0
    for stage, trainer in enumerate(trainers):
        whole = trainer.steps_per_epoch
        recipe = trainer.recipe
        for epoch in range(trainer.epochs):
            is_last = epoch == trainer.epochs - 1
            is_evaluated = is_last or not (epoch + 1) % recipe.epochs_per_evaluation
            evaluations = recipe.evaluations_per_epoch if is_evaluated else 0
            steps = min(whole, trainer.steps - epoch * whole)
            alone = None if first is None else first - before
            is_first = alone is not None and 0 <= alone < steps
            longest = max(1, whole // 20) if finely or is_first else None
            parts = cut_epoch(whole, evaluations, longest, end=steps)
            for part in _cut_after(alone, parts):
                stop = part[1]
                ends_epoch = stop == steps
                ends_stage = ends_epoch and is_last
                done = before + stop
                yield Segment(stage, epoch, *part, done, ends_epoch, ends_stage)
            before += steps


def cut_epoch(
    steps: int, evaluations: int, longest: int | None, *, end: int | None = None
) -> Iterator[tuple[int, int, bool]]:
    """Cuts an epoch where something has to happen between two steps.

    Args:
      steps: steps of the epoch.
      evaluations: evaluations in it, evenly spread, the last one at its end; or 0.
      longest: most steps of a segment; None for no limit.
      end: where the training ends before the epoch does; an evaluation follows, if
        there are any.

    Yields:
      First step, last step (exclusive), and whether an evaluation follows.

    Examples:
      >>> list(cut_epoch(10, evaluations=2, longest=3))
      [(0, 3, False), (3, 5, True), (5, 8, False), (8, 10, True)]
      >>> list(cut_epoch(10, evaluations=2, longest=None, end=7))
      [(0, 5, True), (5, 7, True)]
    """
    end = steps if end is None else end
    stops = {round(steps * (last + 1) / evaluations) for last in range(evaluations)}
    start = 0
    for stop in sorted({stop for stop in stops if 0 < stop < end} | {end}):
        while longest is not None and stop - start > longest:
            yield start, start + longest, False
            start += longest
        yield start, stop, evaluations > 0
        start = stop


def _cut_after(
    step: int | None, parts: Iterable[tuple[int, int, bool]]
) -> Iterator[tuple[int, int, bool]]:
    """The parts of an epoch, of which one is cut after a step that it begins with."""
    for start, stop, is_evaluation in parts:
        if start == step and stop > start + 1:
            yield start, start + 1, False
            start += 1
        yield start, stop, is_evaluation
