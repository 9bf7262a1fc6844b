"""What evaluations tell of runs."""

import numpy as np
from bert_glue.training.journal import choose, first_bad_step, kept_evaluation


def test_where_a_run_diverged():
    logits = np.zeros((5, 2), np.float32)
    losses = np.array([0.7, 0.5, 0.4], np.float32)
    assert first_bad_step(losses, logits, 9) is None
    assert first_bad_step(losses, logits + np.nan, 9) == 9
    losses[1:] = np.inf, np.nan
    assert first_bad_step(losses, logits, 9) == 8


def test_the_evaluation_that_counts():
    history = [
        {"step": step, "score": score} for step, score in enumerate([50, 70, 70])
    ]
    assert kept_evaluation({"history": history})["step"] == 2
    assert kept_evaluation({"history": history, "keep": "last"})["step"] == 2
    # An equal score is no better one.
    assert kept_evaluation({"history": history, "keep": "best"})["step"] == 1


def test_each_seed_keeps_what_is_better():
    old, new = (
        {"kernel": np.full((2, 3), value), "bias": np.full(2, value)}
        for value in (1, 2)
    )
    kept = choose(np.array([True, False]), new, old)
    assert np.asarray(kept["kernel"]).tolist() == [[2] * 3, [1] * 3]
    assert np.asarray(kept["bias"]).tolist() == [2, 1]
