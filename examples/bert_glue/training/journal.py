"""What is written down of the runs of a group: their evaluations, and the best one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.training.evaluation import Params
from bert_glue.training.segments import Segment
from bert_glue.training.trainer import Trainer


class Journal:
    """The evaluations of each run.

    Args:
      runs: number of runs.
      several_stages: whether an entry says in which stage it was made.

    Attributes:
      history: for each run one dict for each evaluation.
      diverged: number of the first step of each run that was not finite, or None.
      last_losses: mean losses of the epoch of the last evaluation, up to it.
    """

    def __init__(self, runs: int, *, several_stages: bool) -> None:
        self.history: list[list[dict[str, Any]]] = [[] for _ in range(runs)]
        self.diverged: list[int | None] = [None] * runs
        self.last_losses: list[float] = []
        self._several_stages = several_stages

    def enter(
        self,
        trainer: Trainer,
        segment: Segment,
        losses: NDArray[np.float32],
        logits: NDArray[np.float32],
        scores: list[float],
        since: int,
    ) -> None:
        """Adds an evaluation.

        Args:
          trainer: what trained the runs.
          segment: what it follows.
          losses: of the epoch, shape (runs, steps), filled in up to it.
          logits: of the evaluation examples, shape (runs, examples, labels).
          scores: of the runs, in per cent.
          since: step of the epoch of the evaluation before; 0 for none.
        """
        losses = losses[:, : segment.stop]
        epochs = segment.stage * trainer.recipe.epochs + segment.epoch
        self.last_losses = [float(row.mean()) for row in losses]
        for run, score in enumerate(scores):
            entry = {
                "step": segment.done,
                "epoch": epochs + segment.stop / trainer.steps_per_epoch,
                "score": score,
                "train_loss": float(losses[run, since:].mean()),
            }
            if self._several_stages:
                entry["stage"] = segment.stage
            self.history[run].append(entry)
            if self.diverged[run] is None:
                bad = first_bad_step(losses[run], logits[run], segment.done)
                self.diverged[run] = bad


class BestEvaluation:
    """The best evaluation of each seed so far, and its parameters.

    Args:
      seeds: number of seeds.

    Attributes:
      scores: of the best evaluations, in per cent.
      params: parameters behind them, with a leading seed axis; None before the first.
    """

    def __init__(self, seeds: int) -> None:
        self.scores = [-np.inf] * seeds
        self.params: Params = None

    def enter(self, scores: list[float], params: Params) -> None:
        """Keeps what is better than before.

        Args:
          scores: of the seeds.
          params: their parameters, with a leading seed axis.
        """
        better = [new > old for new, old in zip(scores, self.scores, strict=True)]
        self.scores = list(np.maximum(scores, self.scores))
        if self.params is None:
            # The state is donated to the next step: what is kept is a copy.
            self.params = jax.tree.map(jnp.copy, params)
        elif any(better):
            self.params = _choose(np.asarray(better), params, self.params)


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
