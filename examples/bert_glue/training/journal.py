"""What evaluations tell of runs: which one is the best, and where one diverged."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.training.evaluation import Params


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
