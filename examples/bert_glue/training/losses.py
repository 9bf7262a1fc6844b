"""The loss of each kind of labels, with weights of classes and smoothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

from bert_glue.data.examples import MULTI_LABEL, REGRESSION

_FOR_CLASSES = (
    "class_weights and label_smoothing are for classes, but labels are numbers; "
    "accepted are none and 0"
)


# Compared by identity: comparing arrays would be no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """Losses of examples: softmax or sigmoid cross entropy, or squared error.

    Weights multiply an example's loss, or with several labels an example that of each
    label. The mean is over examples, not over weights as PyTorch takes it: a batch of a
    rare class then counts for more, and no batch's composition changes what an example
    is worth. Balanced weights have the mean 1 over the training examples.

    Attributes:
      problem: what labels are, a value of ``examples.PROBLEMS``.
      class_weights: of shape (classes,); with several labels an example those of its
        absence and presence, of shape (classes, 2); None for all alike.
      label_smoothing: share of the truth that is spread over all classes alike, or over
        absence and presence.

    Raises:
      ValueError: if there are weights or smoothing where labels are numbers.
    """

    problem: str
    class_weights: NDArray[np.float32] | None = None
    label_smoothing: float | Float[Array, ""] = 0.0

    def __post_init__(self) -> None:
        if self.problem == REGRESSION and self._is_changed:
            raise ValueError(_FOR_CLASSES)

    def __call__(
        self, logits: Float[Array, "batch outputs"], labels: Array
    ) -> Float[Array, " batch"]:
        """The loss of each example.

        Args:
          logits: outputs of the model, float32.
          labels: classes, int32, or values, float32, of shape (batch,); for several
            labels an example 0 and 1, int32 of shape (batch, outputs).

        Returns:
          Losses in nats, or of values their squared errors; with several labels an
          example the mean over its labels.
        """
        if self.problem == REGRESSION:
            return jnp.square(logits[:, 0] - labels)
        if self.problem == MULTI_LABEL:
            # Of both signs, as log(1 - sigmoid(x)) has no digits left where x is large.
            log_chances = jax.nn.log_sigmoid(jnp.stack([-logits, logits], axis=-1))
            targets = jnp.asarray(self._targets(labels, logits.shape[-1]))
            return -jnp.sum(targets * log_chances, axis=-1).mean(axis=-1)
        if not self._is_changed:
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        targets = self._targets(labels, logits.shape[-1])
        return optax.softmax_cross_entropy(logits, targets)

    def constant(self, labels: ArrayLike, outputs: int) -> float:
        """Least mean loss of a constant answer.

        Args:
          labels: those of the training examples.
          outputs: number of the model's outputs.

        Returns:
          The variance of numbers; of classes the entropy in nats of their shares, as
          weights and smoothing change these; of several labels the mean over labels.

        Examples:
          >>> loss = Loss("single_label_classification")
          >>> round(loss.constant([0, 1], 2), 3)
          0.693
          >>> Loss("regression").constant([1.0, 3.0], 1)
          1.0
        """
        from scipy.special import entr

        if self.problem == REGRESSION:
            return float(np.var(np.asarray(labels, np.float64)))
        targets = np.asarray(self._targets(jnp.asarray(labels), outputs), np.float64)
        shares = targets.mean(axis=0)
        # The minimum of -sum(shares * log(q)) is at q = shares / sum(shares).
        total = shares.sum(axis=-1)
        return float((entr(shares).sum(axis=-1) - entr(total)).mean())

    @property
    def _is_changed(self) -> bool:
        # What is traced may be any share.
        is_off = isinstance(self.label_smoothing, float) and self.label_smoothing == 0
        return self.class_weights is not None or not is_off

    def _targets(self, labels: Array, outputs: int) -> Array:
        """The share that each answer has in an example's truth, times its weight.

        Of shape (examples, outputs), or for several labels (examples, outputs, 2).
        """
        is_multi_label = self.problem == MULTI_LABEL
        truth = jax.nn.one_hot(labels, 2 if is_multi_label else outputs)
        targets = optax.smooth_labels(truth, self.label_smoothing)  # pyright: ignore[reportArgumentType]  # Traced.
        if self.class_weights is None:
            return targets
        weights = jnp.sum(truth * self.class_weights, axis=-1, keepdims=True)
        return targets * weights


def balanced_weights(
    labels: ArrayLike, problem: str, classes: int
) -> NDArray[np.float32]:
    """Weights that make all classes count alike, however rare, as scikit-learn's.

    Args:
      labels: those of the training examples.
      problem: what they are: one class an example, or several.
      classes: how many there are.

    Returns:
      examples / (number of classes * examples of the class), float32 of shape
      (classes,), or for several labels, of which each is absent or present, of shape
      (classes, 2). A class without examples, for which there is nothing to weigh, has
      1, and does not count.

    Raises:
      ValueError: if labels are numbers.

    Examples:
      >>> balanced_weights([0, 0, 0, 1], "single_label_classification", 2).round(3)
      array([0.667, 2.   ], dtype=float32)
    """
    if problem == REGRESSION:
        raise ValueError(_FOR_CLASSES)
    labels = np.asarray(labels)
    if problem == MULTI_LABEL:
        present = labels.sum(axis=0)
        counts = np.stack([len(labels) - present, present], axis=-1)
    else:
        counts = np.bincount(labels, minlength=classes)
    there = np.sum(counts > 0, axis=-1, keepdims=True)
    weights = len(labels) / (there * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 1).astype(np.float32)
