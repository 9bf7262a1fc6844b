"""What evaluations tell of runs: which one counts, and where one diverged."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.training.evaluation import Params

Evaluation = dict[str, Any]
"""An entry of a run's history: step, epoch, score, what was predicted and so on."""


def kept_evaluation(run: Mapping[str, Any]) -> Evaluation:
    """The evaluation that is a run's result.

    Args:
      run: its record, or as much of it as its ``history`` and its recipe's ``keep``.

    Returns:
      The last of its evaluations, or the best, of which equal ones the first counts.
    """
    history = run["history"]
    if run.get("keep") == "best":
        return max(history, key=lambda evaluation: evaluation["score"])
    return history[-1]


def has_stopped(scores: Sequence[float], patience: int | None) -> bool:
    """Whether a run is at its end before its steps are.

    Args:
      scores: of its evaluations so far.
      patience: how many may follow the best one, of which equal ones the first counts;
        None for any number.

    Returns:
      Whether no other evaluation is to follow.

    Examples:
      >>> has_stopped([50, 60, 60], 2), has_stopped([50, 60, 60, 59], 2)
      (False, True)
    """
    if patience is None or not scores:
        return False
    best = max(range(len(scores)), key=scores.__getitem__)
    return len(scores) - 1 - best >= patience


@jax.jit
def choose(better: jax.Array, new: Params, old: Params) -> Params:
    """New parameters of the seeds that got better, and old ones of the others."""

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
