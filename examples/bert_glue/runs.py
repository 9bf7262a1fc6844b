"""One group of seeds from its first step to its scores."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.evaluation import Params
from bert_glue.progress import Progress
from bert_glue.seeds import Seed, seed_keys
from bert_glue.training import Trainer

Score = Callable[[NDArray[np.float32]], float]
"""Score in per cent of the logits of the evaluation examples."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        seed: its seeds.
        score: its score in per cent: of the last evaluation, or of the best if the
            recipe keeps that.
        train_loss: mean loss of the steps of the last epoch; NaN if it diverged.
        history: one dict for each evaluation: step, epoch, score, and the mean loss of
            the steps since the one before.
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
    """

    outcomes: list[Outcome]
    seconds: float
    params: Params


def train_group(
    trainer: Trainer, seeds: list[Seed], score: Score, progress: Progress
) -> Group:
    """Trains and scores some seeds side by side.

    Args:
        trainer: compiled programs for as many seeds.
        seeds: the seeds.
        score: scores the logits of a run.
        progress: where to show how far it is.

    Returns:
        The outcomes, in the order of the seeds.
    """
    recipe = trainer.recipe
    began = time.perf_counter()
    progress.start(recipe, seeds, trainer.steps)
    keys = seed_keys(seeds)
    state = trainer.init(keys.init)
    # Looking at the losses costs a stop, so it is done a few times an epoch, if at all.
    stretch = max(1, trainer.steps_per_epoch // 20) if progress.shown else None
    diverged: list[int | None] = [None] * len(seeds)
    history: list[list[dict[str, Any]]] = [[] for _ in seeds]
    best = _Best(len(seeds)) if recipe.keep == "best" else None
    losses = np.zeros((len(seeds), 0), np.float32)
    for epoch in range(recipe.epochs):
        order = trainer.order(keys.order, epoch)
        on_device = trainer.new_losses()
        since = 0
        for start, stop, is_evaluation in stretches(
            trainer.steps_per_epoch, recipe.evaluations_per_epoch, stretch
        ):
            state, on_device = trainer.train(
                state, on_device, keys.noise, order, epoch, start, stop
            )
            if progress.shown:
                shown = np.asarray(on_device)[:, start:stop]
                progress.advance(stop - start, loss=float(shown.mean()))
            if not is_evaluation:
                continue
            logits = trainer.evaluate(state.params)
            losses = np.asarray(on_device)
            done = epoch * trainer.steps_per_epoch + stop
            scores = [score(each) for each in logits]
            for number in range(len(seeds)):
                diverged[number] = diverged[number] or first_bad_step(
                    losses[number, :stop], logits[number], done
                )
                history[number].append(
                    {
                        "step": done,
                        "epoch": epoch + stop / trainer.steps_per_epoch,
                        "score": scores[number],
                        "train_loss": float(losses[number, since:stop].mean()),
                    }
                )
            if best is not None:
                best.look(scores, state.params)
            since = stop
            progress.advance(0, score=float(np.mean(scores)))
    jax.block_until_ready(state)
    outcomes = [
        Outcome(
            seed,
            best.scores[number] if best else history[number][-1]["score"],
            float(losses[number].mean()),
            history[number],
            diverged[number],
        )
        for number, seed in enumerate(seeds)
    ]
    progress.finish(len(seeds))
    return Group(
        outcomes,
        time.perf_counter() - began,
        best.params if best else state.params,
    )


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
