"""Scores in per cent, as the paper prints them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

METRICS = ("accuracy", "f1", "matthews", "pearson_spearman")
REGRESSION = ("pearson_spearman",)
BINARY = ("f1",)


def score(metric: str, predictions: ArrayLike, labels: ArrayLike) -> float:
    """Scores predictions.

    Args:
      metric: one of ``METRICS``.
      predictions: class indices or, for regression, numbers, of shape (examples,).
      labels: the true ones, of the same shape.

    Returns:
      The score in per cent: 100 for perfect ones. A correlation that is not defined,
      since all predictions or all labels are alike, is 0; numbers that are not finite
      score as if they were all alike. F1 is that of class 1.

    Raises:
      ValueError: if the metric is unknown or the shapes differ.
    """
    check_metric(metric)
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"predictions of shape {predictions.shape} and labels of shape "
            f"{labels.shape}: both must be (examples,), of one example at least"
        )
    return 100.0 * _share(metric, predictions, labels)


def check_metric(metric: str, num_classes: int | None = None) -> None:
    """Checks that there is a metric, and that it fits the labels.

    Args:
      metric: what should be one of ``METRICS``.
      num_classes: how many classes there are; 0 if labels are numbers, None if that is
        not known yet.

    Raises:
      ValueError: if there is no such metric, or it scores another kind of labels.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
    if num_classes is None:
        return
    if (metric in REGRESSION) != (num_classes == 0):
        kind = "classes" if num_classes else "numbers"
        raise ValueError(f"the metric {metric!r} does not fit labels that are {kind}")
    if metric in BINARY and num_classes != 2:
        raise ValueError(f"the metric {metric!r} needs two classes, not {num_classes}")


def majority_score(metric: str, train_labels: ArrayLike, labels: ArrayLike) -> float:
    """Score of always predicting what is most frequent in training.

    Of classes that are equally frequent it is the first; for regression, the mean of
    the training labels is predicted.

    Args:
      metric: one of ``METRICS``.
      train_labels: labels of the training examples.
      labels: labels of the evaluation examples.

    Returns:
      The score in per cent.

    >>> round(majority_score("f1", [0, 1, 1], [0, 1, 1, 1]), 1)
    85.7
    """
    train_labels, labels = np.asarray(train_labels), np.asarray(labels)
    if metric in REGRESSION:
        constant = train_labels.mean()
    else:
        constant = np.bincount(train_labels).argmax()
    return score(metric, np.full(labels.shape, constant), labels)


def constant_score(metric: str, labels: ArrayLike) -> float:
    """Score of the best constant answer, whatever is most frequent in training.

    Args:
      metric: one of ``METRICS``.
      labels: labels of the evaluation examples.

    Returns:
      The score in per cent.

    >>> constant_score("accuracy", [0, 1, 1, 1])
    75.0
    """
    labels = np.asarray(labels)
    answers = labels[:1] if metric in REGRESSION else np.unique(labels)
    return max(
        score(metric, np.full_like(labels, answer), labels) for answer in answers
    )


def constant_loss(labels: ArrayLike) -> float:
    """Least mean training loss of a constant answer.

    Args:
      labels: labels of the training examples: classes, integers, or numbers.

    Returns:
      The entropy of the classes in nats, or the variance of the numbers.

    >>> round(constant_loss([0, 1]), 3), constant_loss([1.0, 3.0])
    (0.693, 1.0)
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        return float(np.var(labels))
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return float(-np.sum(shares * np.log(shares)))


def _share(metric: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """The score of a known metric, as a share of that of perfect predictions."""
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    if metric == "accuracy":
        return float(accuracy_score(labels, predictions))
    if metric == "f1":
        f1 = f1_score(
            labels,
            predictions,
            zero_division=0.0,  # pyright: ignore[reportArgumentType]
        )
        return float(f1)
    if any((values == values[0]).all() for values in (predictions, labels)):
        return 0.0
    if metric == "matthews":
        return float(matthews_corrcoef(labels, predictions))
    if not np.isfinite(predictions).all():
        return 0.0
    from scipy.stats import pearsonr, spearmanr

    # Differences that float32 can hold are neither lost nor overflow in float64.
    values = predictions.astype(np.float64), labels.astype(np.float64)
    pearson: Any = pearsonr(*values)
    spearman: Any = spearmanr(*values)
    return float(pearson.statistic + spearman.statistic) / 2
