"""What evaluations tell of runs."""

import jax
import jax.numpy as jnp
import numpy as np
from bert_glue.training.journal import BestEvaluation, first_bad_step


def test_where_a_run_diverged():
    logits = np.zeros((5, 2), np.float32)
    losses = np.array([0.7, 0.5, 0.4], np.float32)
    assert first_bad_step(losses, logits, 9) is None
    assert first_bad_step(losses, logits + np.nan, 9) == 9
    losses[1:] = np.inf, np.nan
    assert first_bad_step(losses, logits, 9) == 8


def test_the_best_evaluation_is_each_seeds_own():
    best = BestEvaluation(2)
    for scores, value in (
        ([50.0, 60.0], 1.0),
        ([70.0, 60.0], 2.0),
        ([60.0, 80.0], 3.0),
    ):
        params = {"kernel": jnp.full((2, 3), value), "bias": jnp.full(2, value)}
        best.enter(scores, params)
        # A step that follows uses the parameters up.
        jax.tree.map(lambda leaf: leaf.delete(), params)
    assert best.scores == [70, 80]
    # An equal score is no better one.
    assert np.asarray(best.params["kernel"]).tolist() == [[2] * 3, [3] * 3]
    assert np.asarray(best.params["bias"]).tolist() == [2, 3]
