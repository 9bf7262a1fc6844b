"""Losses of each kind of labels, against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.training.losses import Loss, balanced_weights
from scipy.optimize import minimize
from sklearn.utils.class_weight import compute_class_weight

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (7, 3)).astype(np.float32)
CLASSES = np.array([0, 2, 2, 1, 0, 0, 2], np.int32)
SETS = RNG.integers(0, 2, (7, 3)).astype(np.int32)
WEIGHTS = np.float32([0.5, 2, 3])
OF_SETS = np.float32([[1, 2], [0.5, 3], [4, 0.25]])
# A few operations in float32.
CLOSE = {"rtol": 1e-5}


def softmax_loss(logits, label, smoothing=0.0, weights=(1, 1, 1)):
    """PyTorch's definition of smoothing: (1 - s) of the label, s of all alike."""
    chances = np.exp(logits) / np.exp(logits).sum()
    truth = (1 - smoothing) * np.eye(len(logits))[label] + smoothing / len(logits)
    return -weights[label] * (truth * np.log(chances)).sum()


def sigmoid_loss(logits, labels, smoothing=0.0, weights=((1, 1),) * 3):
    losses = [
        softmax_loss(np.array([0, logit]), label, smoothing, of_label)
        for logit, label, of_label in zip(logits, labels, weights, strict=True)
    ]
    return np.mean(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_one_class_an_example(weights, smoothing):
    loss = Loss(SINGLE_LABEL, weights, smoothing)
    found = jax.jit(loss)(LOGITS, CLASSES)
    used = np.ones(3) if weights is None else weights
    expected = [
        softmax_loss(row.astype(float), label, smoothing, used)
        for row, label in zip(LOGITS, CLASSES, strict=True)
    ]
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, OF_SETS])
def test_several_labels_an_example(weights, smoothing):
    loss = Loss(MULTI_LABEL, weights, smoothing)
    found = jax.jit(loss)(LOGITS, SETS)
    used = np.ones((3, 2)) if weights is None else weights
    expected = [
        sigmoid_loss(row.astype(float), labels, smoothing, used)
        for row, labels in zip(LOGITS, SETS, strict=True)
    ]
    np.testing.assert_allclose(found, expected, **CLOSE)
    # Far from 0, where 1 - sigmoid is 0 in float32, loss and gradient are finite.
    far = jnp.float32([[200, -200, 100]])
    np.testing.assert_allclose(
        Loss(MULTI_LABEL)(far, jnp.array([[0, 1, 1]])), [400 / 3], **CLOSE
    )
    gradient = jax.grad(lambda x: Loss(MULTI_LABEL)(x, jnp.array([[0, 1, 1]])).sum())
    np.testing.assert_allclose(gradient(far), [[1 / 3, -1 / 3, 0]], **CLOSE)


def test_numbers():
    values = np.float32([1, 2, 3])
    found = Loss(REGRESSION)(LOGITS[:3, :1], values)
    np.testing.assert_allclose(found, (LOGITS[:3, 0] - values) ** 2, **CLOSE)
    with pytest.raises(ValueError, match="are for classes, but labels are numbers"):
        Loss(REGRESSION, label_smoothing=0.1)
    with pytest.raises(ValueError, match="are for classes"):
        Loss(REGRESSION, class_weights=WEIGHTS)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (Loss(SINGLE_LABEL), CLASSES),
        (Loss(SINGLE_LABEL, WEIGHTS, 0.1), CLASSES),
        (Loss(MULTI_LABEL), SETS),
        (Loss(MULTI_LABEL, OF_SETS, 0.1), SETS),
        (Loss(REGRESSION), np.float32([1, 2, 4.5])),
    ],
)
def test_no_constant_answer_loses_less(loss, labels):
    outputs = 1 if loss.problem == REGRESSION else 3

    @jax.jit
    @jax.value_and_grad
    def mean(answer):
        return loss(jnp.tile(answer, (len(labels), 1)), jnp.asarray(labels)).mean()

    least = minimize(
        lambda x: jax.tree.map(np.float64, mean(jnp.float32(x))),
        np.zeros(outputs),
        jac=True,
    )
    # The search stops where float32 no longer tells losses apart.
    assert loss.constant(labels, outputs) == pytest.approx(least.fun, rel=1e-4)


def test_a_class_that_is_not_there_costs_a_constant_answer_nothing():
    assert Loss(SINGLE_LABEL).constant([0, 0], 2) == 0
    assert Loss(MULTI_LABEL).constant([[0, 1], [0, 0]], 2) == pytest.approx(
        np.log(2) / 2
    )


def test_balanced_weights_are_those_of_scikit_learn():
    found = balanced_weights(CLASSES, SINGLE_LABEL, 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.mean(found[CLASSES]) == pytest.approx(1)
    several = balanced_weights(SETS, MULTI_LABEL, 3)
    for column, weights in zip(SETS.T, several, strict=True):
        expected = compute_class_weight("balanced", classes=np.arange(2), y=column)
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
    # Training examples may lack a class: those that are there share the weight.
    np.testing.assert_allclose(
        balanced_weights([0, 2, 2], SINGLE_LABEL, 3), [1.5, 1, 0.75]
    )
    np.testing.assert_allclose(
        balanced_weights([[1, 0], [1, 1]], MULTI_LABEL, 2), [[1, 1], [1, 1]]
    )
