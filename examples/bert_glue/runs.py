"""One group of seeds from its first step to its scores."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.evaluation import Params
from bert_glue.progress import Progress
from bert_glue.seeds import Seed, seed_keys
from bert_glue.training import Trainer, TrainLog

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
        seconds: time that the whole group took, compilation excluded.
        params: parameters behind the scores, with a leading seed axis.
        recorded: arrays with a leading seed axis by name: 'losses' of all steps; for
            each stage 'norms/STAGE' and 'scales/STAGE', of shape (seeds, steps,
            components), if the trainers record them; and 'NAME/STAGE' for what was
            measured after it.
    """

    outcomes: list[Outcome]
    seconds: float
    params: Params
    recorded: dict[str, NDArray[Any]]


class Stretch(NamedTuple):
    """Some steps of a run between which nothing has to happen.

    Attributes:
        stage: number of the stage.
        epoch: number of the epoch in the stage.
        start: first step, counted within the epoch.
        stop: the step after the last.
        is_evaluation: whether an evaluation follows.
    """

    stage: int
    epoch: int
    start: int
    stop: int
    is_evaluation: bool


def train_group(
    trainers: Sequence[Trainer],
    seeds: list[Seed],
    score: Score,
    progress: Progress,
    *,
    measure: Measure | None = None,
) -> Group:
    """Trains and scores some seeds side by side.

    Args:
        trainers: compiled programs for as many seeds, one for each stage.
        seeds: the seeds.
        score: scores the logits of a run.
        progress: where to show how far it is.
        measure: measures the parameters after each stage.

    Returns:
        The outcomes, in the order of the seeds.
    """
    recipe = trainers[0].recipe
    began = time.perf_counter()
    progress.start(recipe, seeds, sum(trainer.steps for trainer in trainers))
    keys = seed_keys(seeds)
    journal = _Journal(len(seeds), several_stages=len(trainers) > 1)
    best = _Best(len(seeds)) if recipe.keep == "best" else None
    recorded: dict[str, list[NDArray[Any]]] = {}
    state: Any = None
    order: Any = None
    log: Any = None
    params = initial = None
    since = 0
    for stretch in itinerary(trainers, cut=progress.shown):
        trainer = trainers[stretch.stage]
        epoch = trainer.stage.epochs_before + stretch.epoch
        if stretch.epoch == stretch.start == 0:
            before = None if trainer.stage.restarts else params
            carried = state.opt_state if state and recipe.carry_optimizer else None
            state = trainer.start(keys.init, before, carried)
            if measure is not None:
                # A copy, as the state is given to the first step.
                params = jax.tree.map(jnp.copy, trainer.whole(state))
                initial = params if initial is None else initial
        if stretch.start == 0:
            order, log, since = trainer.order(keys.order, epoch), trainer.new_log(), 0
        state, log = trainer.train(
            state, log, keys.noise, order, epoch, stretch.start, stretch.stop
        )
        if progress.shown:
            shown = np.asarray(log.losses)[:, stretch.start : stretch.stop]
            progress.advance(stretch.stop - stretch.start, loss=float(shown.mean()))
        if not stretch.is_evaluation:
            continue
        now = trainer.whole(state)
        logits = trainer.evaluate(now)
        journal.enter(
            trainer, stretch, np.asarray(log.losses), logits, since, map(score, logits)
        )
        if best is not None:
            best.look(journal.scores, now)
        since = stretch.stop
        progress.advance(0, score=float(np.mean(journal.scores)))
        if stretch.stop == trainer.steps_per_epoch:
            _keep_log(recorded, stretch.stage, log)
            if stretch.epoch == recipe.epochs - 1:
                if measure is not None:
                    for name, value in measure(now, initial, params).items():
                        recorded[f"{name}/{stretch.stage}"] = [np.asarray(value)]
                params = now
    params = best.params if best else jax.block_until_ready(params)
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
    return Group(
        outcomes,
        time.perf_counter() - began,
        params,
        {name: np.concatenate(parts, axis=1) for name, parts in recorded.items()},
    )


def itinerary(trainers: Sequence[Trainer], *, cut: bool) -> Iterator[Stretch]:
    """All stretches of a run, in their order.

    Args:
        trainers: one for each stage.
        cut: whether to look at the losses a few times an epoch, which costs a stop.

    Yields:
        The stretches.
    """
    for stage, trainer in enumerate(trainers):
        steps, recipe = trainer.steps_per_epoch, trainer.recipe
        longest = max(1, steps // 20) if cut else None
        for epoch in range(recipe.epochs):
            for part in stretches(steps, recipe.evaluations_per_epoch, longest):
                yield Stretch(stage, epoch, *part)


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


class _Journal:
    """What is written down of each run at its evaluations."""

    def __init__(self, runs: int, *, several_stages: bool) -> None:
        self.history: list[list[dict[str, Any]]] = [[] for _ in range(runs)]
        self.diverged: list[int | None] = [None] * runs
        self.scores: list[float] = []
        self.last_losses: list[float] = []
        self._several_stages = several_stages

    def enter(
        self,
        trainer: Trainer,
        stretch: Stretch,
        losses: NDArray[np.float32],
        logits: NDArray[np.float32],
        since: int,
        scores: Iterable[float],
    ) -> None:
        epochs = stretch.stage * trainer.recipe.epochs + stretch.epoch
        done = epochs * trainer.steps_per_epoch + stretch.stop
        self.scores = list(scores)
        self.last_losses = [float(each[: stretch.stop].mean()) for each in losses]
        for number, score in enumerate(self.scores):
            self.diverged[number] = self.diverged[number] or first_bad_step(
                losses[number, : stretch.stop], logits[number], done
            )
            entry = {
                "step": done,
                "epoch": epochs + stretch.stop / trainer.steps_per_epoch,
                "score": score,
                "train_loss": float(losses[number, since : stretch.stop].mean()),
            }
            if self._several_stages:
                entry["stage"] = stretch.stage
            self.history[number].append(entry)


def _keep_log(
    recorded: dict[str, list[NDArray[Any]]], stage: int, log: TrainLog
) -> None:
    """Adds an epoch's log to those of the epochs before."""
    recorded.setdefault("losses", []).append(np.asarray(log.losses))
    if log.norms is not None:
        recorded.setdefault(f"norms/{stage}", []).append(np.asarray(log.norms))
        recorded.setdefault(f"scales/{stage}", []).append(np.asarray(log.scales))


class _Best:
    """The best evaluation of each seed so far, and its parameters."""

    def __init__(self, seeds: int) -> None:
        self.scores = [-np.inf] * seeds
        self.params: Params = None

    def look(self, scores: list[float], params: Params) -> None:
        better = [new > old for new, old in zip(scores, self.scores, strict=True)]
        self.scores = list(np.maximum(scores, self.scores))
        if self.params is None:
            # The state is donated to the next step: what is kept is a copy.
            self.params = jax.tree.map(jnp.copy, params)
        elif any(better):
            self.params = _choose(jnp.asarray(better), params, self.params)


@jax.jit
def _choose(better: jax.Array, new: Params, old: Params) -> Params:
    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, new, old)


def first_bad_step(
    losses: NDArray[np.float32], logits: NDArray[np.float32], done: int
) -> int | None:
    """Where a run diverged.

    Args:
        losses: losses of the last steps, shape (steps,).
        logits: what the model says after them.
        done: number of steps of the run so far.

    Returns:
        Number of the first step, from 1, whose loss is not finite, or of the last if
        only the logits are not; None if the run is sound.

    Examples:
        >>> losses = np.array([0.7, np.inf, np.nan], np.float32)
        >>> first_bad_step(losses, np.zeros((2, 2), np.float32), done=13)
        12
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        return done - losses.size + int(bad[0]) + 1
    return None if np.isfinite(logits).all() else done
