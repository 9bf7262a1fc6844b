"""One group of seeds from its first step to its scores."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from bert_glue.records.resume import Checkpoint
from bert_glue.study.progress import Progress
from bert_glue.study.tracking import GroupTracking
from bert_glue.training.evaluation import Params
from bert_glue.training.group_state import GroupState, Score
from bert_glue.training.journal import Evaluation, kept_evaluation
from bert_glue.training.program import clock
from bert_glue.training.seeds import Seed
from bert_glue.training.segments import Segment, cut_run
from bert_glue.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
      seed: its seeds.
      score: its score in per cent: of the last evaluation, or of the best if the
        recipe keeps that.
      train_loss: mean loss of the steps of the last epoch; NaN if it diverged.
      history: one dict for each evaluation: step, epoch, score, counts of the
        answers, the mean loss of the steps since the one before, and the stage where
        there are several.
      diverged_at: number of the first step (from 1) whose loss was not finite, or
        after which the logits were not; None if there was none.
      predicted: how often the evaluation that is scored answered with each class;
        None for regression.
    """

    seed: Seed
    score: float
    train_loss: float
    history: list[Evaluation]
    diverged_at: int | None
    predicted: list[int] | None = None


@dataclasses.dataclass(frozen=True)
class GroupResult:
    """What became of a group.

    Attributes:
      outcomes: those of its runs.
      seconds: time that the whole group took, compilation excluded.
      params: parameters behind the scores, with a leading seed axis; its last places
        may be no runs.
      recorded: arrays with a leading seed axis by name: 'losses' of all steps; for
        each stage, if the trainers record the components, 'norms/STAGE' and
        'scales/STAGE', of shape (seeds, steps, components), and how far these moved,
        as :func:`group_state.measure` names it, 'rmsd_from_initial/STAGE' ...
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
    checkpoint: Checkpoint | None = None,
    tracking: GroupTracking | None = None,
) -> GroupResult:
    """Trains and scores some seeds side by side.

    Args:
      trainers: compiled programs for at least as many seeds, one for each stage.
      seeds: the seeds, of each run: the same one may be there with several settings.
      score: scores the logits of a run.
      progress: where to show how far it is.
      checkpoint: where to go on from if it was interrupted, and what to save to.
      tracking: what is told of the runs while they are trained.

    Returns:
      The outcomes, in the order of the seeds.
    """
    began = clock()
    steps = sum(trainer.steps for trainer in trainers)
    settings = len(set(trainers[0].recipes))
    progress.start(trainers[0].recipe, seeds, steps, settings)
    keys = trainers[0].keys(seeds)
    group = GroupState(trainers)
    saved = None if checkpoint is None else checkpoint.load(group.template)
    if saved is not None:
        group.resume(*saved)
        progress.reach(group.done)
        if tracking is not None:
            tracking.resume(trainers, group)
    order = None
    finely = progress.shown or tracking is not None
    first = group.done if progress.is_awaited else None
    for segment in cut_run(trainers, finely=finely, first=first):
        if segment.done <= group.done or group.is_over:
            continue
        trainer = trainers[segment.stage]
        epoch = trainer.epochs_before + segment.epoch
        group.start(segment, keys.init)
        if segment.start == 0 or order is None:
            order = trainer.order(keys.order, epoch)
        steps_to_take = epoch, segment.start, segment.stop
        group.state, group.log = trainer.train(
            group.state, group.log, keys.noise, order, *steps_to_take
        )
        group.done = segment.done
        _look(group, segment, trainer, progress, tracking)
        if segment.is_evaluation:
            _evaluate(group, segment, score, seeds, progress, tracking)
            if checkpoint is not None and segment.done < steps and checkpoint.is_due():
                facts, arrays = group.save(segment, clock() - began)
                arrays = trainer.placement.gather(arrays)
                checkpoint.save(segment.done, facts, arrays)
        elif segment.ends_epoch:
            group.end_epoch(segment)
    progress.finish(len(seeds))
    return _result(group, seeds, trainers[-1], began)


def _look(
    group: GroupState,
    segment: Segment,
    trainer: Trainer,
    progress: Progress,
    tracking: GroupTracking | None,
) -> None:
    if progress.is_awaited:
        # To look at the losses is to wait for the steps.
        losses = trainer.placement.fetch(group.log.losses)
        mean = losses[:, segment.start : segment.stop].mean()
        progress.reach(segment.done, loss=float(mean))
        progress.foresee(segment.done, is_last=segment.is_evaluation)
    if tracking is not None:
        tracking.after(segment, trainer, group)


def _evaluate(
    group: GroupState,
    segment: Segment,
    score: Score,
    seeds: list[Seed],
    progress: Progress,
    tracking: GroupTracking | None,
) -> None:
    known = list(group.diverged)
    scores = group.evaluate(segment, score)
    # What is not looked at is counted once it is scored.
    progress.reach(segment.done, score=float(np.mean(scores)))
    if tracking is not None:
        tracking.evaluated(segment, group)
    for seed, before, now in zip(seeds, known, group.diverged, strict=False):
        if now != before:
            progress.note(f"  seed {seed.name} diverged at step {now:,}")
    if group.is_over:
        progress.note(f"  no run got better any more: ended at step {group.done:,}")


def _result(
    group: GroupState, seeds: list[Seed], last: Trainer, began: float
) -> GroupResult:
    keep = last.recipe.keep
    params = group.best if keep == "best" else jax.block_until_ready(group.before)
    # On several devices places may be left over; there the first seed runs again.
    recorded = {name: rows[: len(seeds)] for name, rows in group.joined().items()}
    # A run may have stopped before its group did.
    last_epochs = [
        losses[: history[-1]["step"]][-last.steps_per_epoch :]
        for losses, history in zip(recorded["losses"], group.history, strict=False)
    ]
    outcomes = [
        Outcome(
            seed,
            (kept := kept_evaluation({"history": history, "keep": keep}))["score"],
            float(losses.mean()),
            history,
            diverged_at,
            kept["predicted"],
        )
        for seed, history, diverged_at, losses in zip(
            seeds, group.history, group.diverged, last_epochs, strict=False
        )
    ]
    seconds = group.seconds + clock() - began
    return GroupResult(outcomes, seconds, params, recorded)
