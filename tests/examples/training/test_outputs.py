"""What outputs say, for each kind of labels."""

import numpy as np
import pytest
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.training.outputs import answers, count_answers, probabilities

LOGITS = np.array([[0.0, 1, 0], [2, 1, -4], [0, 9, 1]], np.float32)


def test_answers_are_counted_by_class():
    assert count_answers(SINGLE_LABEL, LOGITS) == [1, 2, 0]
    assert count_answers(MULTI_LABEL, LOGITS) == [1, 3, 1]
    assert count_answers(REGRESSION, LOGITS[:, :1]) is None


def test_answers_of_each_kind():
    np.testing.assert_array_equal(answers(SINGLE_LABEL, LOGITS), [1, 0, 1])
    np.testing.assert_array_equal(answers(REGRESSION, LOGITS[:, :1]), [0, 2, 0])
    # A label is given where its probability is above a half.
    given = answers(MULTI_LABEL, LOGITS)
    np.testing.assert_array_equal(given, probabilities(MULTI_LABEL, LOGITS) > 0.5)


def test_probabilities():
    chances = probabilities(SINGLE_LABEL, LOGITS)
    expected = np.exp(LOGITS.astype(float))
    expected /= expected.sum(axis=1, keepdims=True)
    # Both in float64.
    np.testing.assert_allclose(chances, expected, rtol=1e-12)
    np.testing.assert_allclose(
        probabilities(MULTI_LABEL, LOGITS), 1 / (1 + np.exp(-LOGITS.astype(float)))
    )
    # float32 would make 1 of both.
    near = probabilities(SINGLE_LABEL, np.float32([[20, 0], [21, 0]]))
    assert near[0, 0] < near[1, 0]
    with pytest.raises(ValueError, match="numbers have no probabilities"):
        probabilities(REGRESSION, LOGITS)


def test_outputs_of_a_run_that_diverged():
    logits = np.float32([[np.inf, np.inf], [np.nan, 0]])
    for problem in (SINGLE_LABEL, MULTI_LABEL):
        assert not np.isfinite(probabilities(problem, logits)[1]).all()
        counts = count_answers(problem, logits)
        assert counts is not None
        assert len(counts) == 2
