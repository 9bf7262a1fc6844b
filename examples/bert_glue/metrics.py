"""Scores in per cent, as the paper prints them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

REGRESSION = ("pearson_spearman",)
BINARY = ("f1",)


def score(metric: str, predictions: ArrayLike, labels: ArrayLike) -> float:
    """Scores predictions.

    Args:
      metric: One of ``METRICS``.
      predictions: Class indices or, for regression, numbers, of shape (examples,).
      labels: The true ones, of the same shape.

    Returns:
      The score in per cent: 100 for perfect ones. A correlation that is not defined,
      since all predictions are alike, is 0; predictions that are not finite score as
      if they were all alike.

    Raises:
      ValueError: If the metric is unknown or the shapes differ.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
    if predictions.shape != labels.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"predictions of shape {predictions.shape} and labels of shape "
            f"{labels.shape}: both must be (examples,), of one example at least"
        )
    return 100.0 * METRICS[metric](predictions, labels)


def majority_score(metric: str, train_labels: ArrayLike, labels: ArrayLike) -> float:
    """Score of always predicting what is most frequent in training.

    For regression, the mean of the training labels is predicted.

    Args:
      metric: One of ``METRICS``.
      train_labels: Labels of the training examples.
      labels: Labels of the evaluation examples.

    Returns:
      The score in per cent.
    """
    train_labels, labels = np.asarray(train_labels), np.asarray(labels)
    if metric in REGRESSION:
        constant = train_labels.mean()
    else:
        constant = np.bincount(train_labels).argmax()
    return score(metric, np.full(labels.shape, constant), labels)


def _accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def _f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))


def _matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def _pearson_spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import pearsonr, spearmanr

    if not np.isfinite(predictions).all() or np.ptp(predictions) == 0:
        return 0.0
    if np.ptp(labels) == 0:
        return 0.0
    both = pearsonr(predictions, labels).statistic, spearmanr(predictions, labels)[0]
    return float(np.mean(both))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "pearson_spearman": _pearson_spearman,
}
