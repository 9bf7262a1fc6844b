"""What a model's outputs say: answers, and the probability of each class."""

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bert_glue.data import metrics
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, Task


def answers(problem: str, logits: NDArray[np.float32]) -> NDArray[np.generic]:
    """Answers from logits.

    Args:
      problem: what labels are, a value of ``examples.PROBLEMS``.
      logits: outputs of the model, float32 of shape (..., outputs).

    Returns:
      Class indices or, for regression, values, of shape (...); for several labels an
      example 0 and 1, of shape (..., outputs): 1 where the probability is above a half.

    Examples:
      >>> logits = np.array([[2.0, 1.0, -1.0]], np.float32)
      >>> answers("single_label_classification", logits)
      array([0])
      >>> answers("multi_label_classification", logits)
      array([[1, 1, 0]])
    """
    if problem == REGRESSION:
        return logits[..., 0]
    if problem == MULTI_LABEL:
        return (logits > 0).astype(np.int64)
    return np.argmax(logits, axis=-1)


def probabilities(problem: str, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probability of each class.

    Args:
      problem: what labels are, but for regression.
      logits: outputs of the model, float32 of shape (..., classes).

    Returns:
      Probabilities, float64 of that shape: of an example's classes they add up to 1,
      but for several labels an example each is on its own.

    Raises:
      ValueError: if labels are numbers, which have no probabilities.
    """
    # float64 tells logits apart that float32 would round to a probability of 1.
    from scipy.special import expit, softmax

    if problem == REGRESSION:
        raise ValueError(f"problem is {problem}: numbers have no probabilities")
    of = expit if problem == MULTI_LABEL else functools.partial(softmax, axis=-1)
    # Logits of a run that diverged may be infinite.
    with np.errstate(invalid="ignore"):
        return of(logits.astype(np.float64))


def score(
    task: Task,
    logits: NDArray[np.float32],
    labels: ArrayLike,
    metric: str | None = None,
) -> float:
    """Scores logits.

    Args:
      task: what was asked.
      logits: outputs of the model, of shape (examples, outputs).
      labels: the true ones.
      metric: a key of ``metrics.METRICS``; that of the task by default.

    Returns:
      The score in per cent.
    """
    metric = metric or task.metric
    if metrics.METRICS[metric].of_probabilities:
        predictions = probabilities(task.problem_type, logits)
    else:
        predictions = answers(task.problem_type, logits)
    return metrics.score(metric, predictions, np.asarray(labels), task.positive)


def count_answers(problem: str, logits: NDArray[np.float32]) -> list[int] | None:
    """How often a run answers with each class; None where answers are numbers.

    Args:
      problem: what labels are, a value of ``examples.PROBLEMS``.
      logits: of the evaluation examples, shape (examples, outputs).

    Returns:
      The counts, in the order of the classes.
    """
    if problem == REGRESSION:
        return None
    given = answers(problem, logits)
    if problem == MULTI_LABEL:
        return given.sum(axis=0).tolist()
    return np.bincount(given, minlength=logits.shape[-1]).tolist()
