"""Scores in per cent, as the paper prints them, and as scikit-learn and SciPy do."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.data.tables import listed

_CLASSES = (SINGLE_LABEL, MULTI_LABEL)


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a name of a metric stands for.

    Attributes:
      words: what tables call it.
      problems: kinds of labels that it scores.
      of_one_class: whether it is that of one class, which has to be named.
      of_probabilities: whether it scores probabilities, not answers.
      is_correlation: whether the worst score is -100, not 0.
    """

    words: str
    problems: tuple[str, ...] = _CLASSES
    of_one_class: bool = False
    of_probabilities: bool = False
    is_correlation: bool = False


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy"),
    "balanced_accuracy": Metric("balanced accuracy", (SINGLE_LABEL,)),
    "f1": Metric("F1", of_one_class=True),
    "f1_macro": Metric("macro F1"),
    "f1_micro": Metric("micro F1"),
    "f1_weighted": Metric("weighted F1"),
    "roc_auc": Metric("area under the ROC curve", of_probabilities=True),
    "matthews": Metric("Matthews' correlation", (SINGLE_LABEL,), is_correlation=True),
    "pearson": Metric("Pearson's correlation", (REGRESSION,), is_correlation=True),
    "spearman": Metric("Spearman's correlation", (REGRESSION,), is_correlation=True),
    "pearson_spearman": Metric(
        "mean of Pearson's and Spearman's correlation",
        (REGRESSION,),
        is_correlation=True,
    ),
}
"""All metrics by name."""


def in_words(metric: str, problem: str | None = None, positive: str = "") -> str:
    """What a score is, for tables and pages.

    Args:
      metric: a key of :data:`METRICS`.
      problem: what the labels are, a value of ``examples.PROBLEMS``, if that is known.
      positive: the class that it is of, if it is of one and that is known.

    Returns:
      Words within a sentence.

    Examples:
      >>> in_words("accuracy", MULTI_LABEL), in_words("f1", positive="good")
      ('subset accuracy', 'F1 of the class good')
    """
    about = METRICS[metric]
    is_subset = metric == "accuracy" and problem == MULTI_LABEL
    words = f"subset {about.words}" if is_subset else about.words
    return (
        f"{words} of the class {positive}" if about.of_one_class and positive else words
    )


def score(
    metric: str, predictions: ArrayLike, labels: ArrayLike, positive: int = 1
) -> float:
    """Scores predictions.

    Args:
      metric: a key of :data:`METRICS`.
      predictions: class indices, or for regression numbers, of shape (examples,); for
        several labels an example 0 and 1, of shape (examples, classes). For
        ``roc_auc`` probabilities of that shape, whatever the labels.
      labels: the true ones, integers of shape (examples,) or (examples, classes), or
        numbers of shape (examples,).
      positive: index of the class that ``f1`` is of.

    Returns:
      The score in per cent: 100 for perfect ones. Accuracy of several labels an example
      takes all of them to be right. What divides by zero is 0, as by default in
      scikit-learn: a correlation where all predictions or all labels are alike, F1 of a
      class that neither has. An area under the curve is the mean of those of each class
      against the rest, as far as both are there, and 50 where none is. Numbers that are
      not finite score as if they were all alike.

    Raises:
      ValueError: if the metric is unknown or does not score such labels, or the shapes
        differ.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    check_metric(metric)
    fits = predictions.shape == labels.shape
    if METRICS[metric].of_probabilities:
        fits = predictions.ndim == 2 and len(predictions) == len(labels)
    if not fits or labels.ndim not in (1, 2) or not labels.size:
        raise ValueError(
            f"predictions of shape {predictions.shape} and labels of shape "
            f"{labels.shape}: both must be (examples,), or (examples, classes) for "
            "several labels or probabilities, of one example at least"
        )
    if labels.ndim == 2:
        check_metric(metric, MULTI_LABEL)
    return 100.0 * _share(metric, predictions, labels, positive)


def check_metric(
    metric: str,
    problem: str | None = None,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
) -> None:
    """Checks that there is a metric, and that it fits the labels.

    Args:
      metric: what should be a key of :data:`METRICS`.
      problem: what labels are, such as ``REGRESSION``; None if that is not known yet.
      classes: their names; None if they are not known.
      positive: the class that the user names for F1; None for none.

    Raises:
      ValueError: if there is no such metric, it scores another kind of labels, or the
        class that it is of does not follow, is unknown, or named in vain.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
    about = METRICS[metric]
    if positive is not None and not about.of_one_class:
        raise ValueError(
            f"the positive class is {positive!r}, but the metric {metric!r} is of all; "
            "metrics of one class are "
            + ", ".join(name for name, metric in METRICS.items() if metric.of_one_class)
        )
    if problem is None:
        return
    if problem not in about.problems:
        kind = {REGRESSION: "numbers", MULTI_LABEL: "several an example"}
        fitting = [
            name for name, metric in METRICS.items() if problem in metric.problems
        ]
        raise ValueError(
            f"the metric {metric!r} does not fit labels that are "
            f"{kind.get(problem, 'classes')}; accepted are {', '.join(fitting)}"
        )
    if classes is None or not about.of_one_class:
        return
    if positive is None and (problem == MULTI_LABEL or len(classes) != 2):
        raise ValueError(
            f"the metric {metric!r} is of one class, which --positive-class names "
            f"where there are not two to choose from; {metric}_macro, {metric}_micro "
            f"and {metric}_weighted are of all"
        )
    if positive is not None and positive not in classes:
        raise ValueError(
            f"the positive class is {positive!r}; accepted are {listed(classes)}"
        )


def majority_score(
    metric: str, train_labels: ArrayLike, labels: ArrayLike, positive: int = 1
) -> float:
    """Score of always predicting what is most frequent in training.

    Of classes, or sets of labels, that are equally frequent it is the first; for
    regression, the mean of the training labels is predicted.

    Args:
      metric: a key of :data:`METRICS`.
      train_labels: labels of the training examples.
      labels: labels of the evaluation examples.
      positive: index of the class that ``f1`` is of.

    Returns:
      The score in per cent.

    >>> round(majority_score("f1", [0, 1, 1], [0, 1, 1, 1]), 1)
    85.7
    """
    train_labels, labels = np.asarray(train_labels), np.asarray(labels)
    if REGRESSION in METRICS[metric].problems:
        constant = train_labels.mean()
    else:
        constant = _commonest(train_labels)
    return _score_of_constant(metric, constant, labels, positive)


def constant_score(metric: str, labels: ArrayLike, positive: int = 1) -> float:
    """Score of the best constant answer, whatever is most frequent in training.

    Args:
      metric: a key of :data:`METRICS`.
      labels: labels of the evaluation examples.
      positive: index of the class that ``f1`` is of.

    Returns:
      The score in per cent.

    >>> constant_score("accuracy", [0, 1, 1, 1])
    75.0
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        answers = _best_label_sets(labels)
    elif REGRESSION in METRICS[metric].problems:
        answers = labels[:1]
    else:
        answers = np.unique(labels)
    return max(
        _score_of_constant(metric, answer, labels, positive) for answer in answers
    )


def _commonest(labels: np.ndarray) -> np.ndarray:
    """The commonest class, or set of labels."""
    answers, counts = np.unique(labels, axis=0, return_counts=True)
    return answers[counts.argmax()]


def _best_label_sets(labels: np.ndarray) -> list[np.ndarray]:
    """Sets of labels, of which one is the best constant answer by any metric.

    All labels are best by F1 of one label, and so by its mean over labels; the
    commonest set by accuracy. By F1 of all answers, 2 hits / (answers + truths), it is
    the k commonest labels, for one k.
    """
    counts = labels.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    sizes = np.arange(1, len(counts) + 1)
    f1 = 2 * np.cumsum(counts[order]) / (len(labels) * sizes + counts.sum())
    commonest_labels = np.zeros_like(counts)
    commonest_labels[order[: f1.argmax() + 1]] = 1
    return [_commonest(labels), commonest_labels, np.ones_like(counts)]


def _score_of_constant(
    metric: str, answer: ArrayLike, labels: np.ndarray, positive: int
) -> float:
    # A constant probability tells no example from another.
    if METRICS[metric].of_probabilities:
        return 50.0
    answers = np.broadcast_to(answer, labels.shape)
    return score(metric, answers, labels, positive)


def _share(
    metric: str, predictions: np.ndarray, labels: np.ndarray, positive: int
) -> float:
    """The score of a known metric, as a share of that of perfect predictions."""
    # What needs no scikit-learn does not wait for it: importing it takes seconds.
    if metric == "accuracy":
        right = predictions == labels
        return float(np.mean(right.all(axis=1) if right.ndim == 2 else right))
    is_constant = any((each == each[0]).all() for each in (predictions, labels))
    if METRICS[metric].is_correlation and is_constant:
        return 0.0
    from sklearn import metrics

    if metric == "balanced_accuracy":
        # As balanced_accuracy_score, which warns of classes that are but predicted.
        return float(
            metrics.recall_score(
                labels, predictions, labels=np.unique(labels), average="macro"
            )
        )
    if metric == "roc_auc":
        return _area(predictions, labels)
    if METRICS[metric].of_one_class and labels.ndim == 2:
        predictions, labels = predictions[:, positive], labels[:, positive]
    elif METRICS[metric].of_one_class:
        predictions, labels = predictions == positive, labels == positive
    if metric.startswith("f1"):
        average: Any = metric.removeprefix("f1_") if "_" in metric else "binary"
        zero: Any = 0.0
        return float(
            metrics.f1_score(labels, predictions, average=average, zero_division=zero)
        )
    if metric == "matthews":
        return float(metrics.matthews_corrcoef(labels, predictions))
    if not np.isfinite(predictions).all():
        return 0.0
    return _correlation(metric, predictions, labels)


def _correlation(metric: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import pearsonr, spearmanr

    # Differences that float32 can hold are neither lost nor overflow in float64.
    values = predictions.astype(np.float64), labels.astype(np.float64)
    of: Any = {"pearson": pearsonr, "spearman": spearmanr}
    found = [float(of[name](*values).statistic) for name in metric.split("_")]
    return sum(found) / len(found)


def _area(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean area under the ROC curve of each class against the rest."""
    from sklearn.metrics import roc_auc_score

    if labels.ndim == 1:
        labels = labels[:, None] == np.arange(probabilities.shape[1])
    if not np.isfinite(probabilities).all():
        return 0.5
    areas = [
        float(roc_auc_score(truth, chance))
        for truth, chance in zip(labels.T, probabilities.T, strict=True)
        if 0 < truth.sum() < len(truth)
    ]
    return sum(areas) / len(areas) if areas else 0.5
