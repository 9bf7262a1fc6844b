"""Tasks and their examples, whatever they were read from."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

# Which rows are kept or held out does not follow the seed of a run: all runs see the
# same ones.
_SUBSET_SEED = 20221207
_HELD_OUT_SEED = 20221211

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"
PROBLEMS = {
    name.removesuffix("_classification"): name
    for name in (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
}
"""What labels are, in short and as transformers' ``problem_type`` has it: one class an
example, any number of classes, or numbers."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What is read from where, and how predictions are scored.

    Attributes:
      name: name on the command line.
      texts: columns of one sentence or of two.
      labels: spellings of the classes, in the order of their indices; empty for
        regression.
      metric: a key of ``metrics.METRICS``.
      folder: folder of the official download; empty if there is none.
      label: column of the label.
      evaluation_file: file of the evaluation split.
      columns: names of all columns, for files without a header.
      skips_short_lines: whether lines with too few columns, which the official files
        of this task hold, are passed over.
      hub_name: what the hub's dataset calls the task, if not by its name.
      hub_texts: columns of the sentences in the hub's dataset, if they differ.
      hub_split: name of the evaluation split in the hub's dataset.
      is_multi_label: whether an example has any number of the classes, not one.
      positive: index of the class that a metric of one class is of.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str
    folder: str = ""
    label: str = "label"
    evaluation_file: str = "dev.tsv"
    columns: tuple[str, ...] | None = None
    skips_short_lines: bool = False
    hub_name: str = ""
    hub_texts: tuple[str, ...] | None = None
    hub_split: str = "validation"
    is_multi_label: bool = False
    positive: int = 1

    @property
    def failed_below(self) -> float | None:
        """Score (per cent) up to which the paper's released code calls a run failed."""
        # Tasks' names are read for the help, which does not wait for JAX.
        from cwgnc_jax.stability import RELEASED_FAILED_AT

        return RELEASED_FAILED_AT.get(self.name)

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers and not classes."""
        return not self.labels

    @property
    def problem_type(self) -> str:
        """What labels are: a value of :data:`PROBLEMS`."""
        if self.is_regression:
            return REGRESSION
        return MULTI_LABEL if self.is_multi_label else SINGLE_LABEL

    @property
    def num_labels(self) -> int:
        """Outputs that a model for this task has; 1 for regression."""
        return len(self.labels) or 1


@dataclasses.dataclass(frozen=True)
class Examples:
    """Sentences or pairs of them, and their labels.

    Attributes:
      texts: for each example one sentence or two.
      labels: int32 class indices or float32 numbers of shape (examples,); 0 and 1 for
        several labels an example, int32 of shape (examples, classes); or None.
      notes: what the user should know of them.
      columns: what the texts are called where they were read.
    """

    texts: list[tuple[str, ...]]
    labels: np.ndarray | None
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, count: int | None) -> "Examples":
        """At most ``count`` examples: the same random ones each time, in file order.

        Args:
          count: how many; None for all.

        Returns:
          The examples that were kept; a smaller count keeps some of those that a
          larger one keeps.

        Raises:
          ValueError: if ``count`` is below 1.
        """
        if count is not None and count < 1:
            raise ValueError(f"count is {count}; at least 1 example must be kept")
        if count is None or count >= len(self):
            return self
        order = np.random.default_rng(_SUBSET_SEED).permutation(len(self))
        return self._select(order[:count])

    def hold_out(self, share: float) -> tuple["Examples", "Examples"]:
        """Parts the examples at random in two, the same ones each time.

        Both parts have the classes, or the commoner sets of labels, in the same shares.

        Args:
          share: share of the second part, above 0 and below 1, rounded to whole
            examples.

        Returns:
          The examples left, and those held out; both in file order.

        Raises:
          ValueError: if one of the two would be empty, or could not have every class.
        """
        count = round(share * len(self))
        smaller = min(count, len(self) - count)
        if smaller < 1:
            raise ValueError(
                f"{share:g} of {len(self)} examples are {count}; there must be some to "
                "train on and some to score"
            )
        classes = None
        if self.labels is not None and self.labels.dtype.kind == "i":
            classes = self.labels
            if classes.ndim == 2:
                classes = _strata(classes, smaller)
            sizes = np.unique(classes, return_counts=True)[1]
            if sizes.min() < 2 or smaller < len(sizes):
                raise ValueError(
                    f"{share:g} of {len(self)} examples are {count}; both parts must "
                    f"have each of {len(sizes)} classes, and the smallest class has "
                    f"{sizes.min()}"
                )
        from sklearn.model_selection import train_test_split

        kept, held = train_test_split(
            np.arange(len(self)),
            test_size=count,
            stratify=classes,
            random_state=_HELD_OUT_SEED,
        )
        return self._select(kept), self._select(held)

    def _select(self, chosen: ArrayLike) -> "Examples":
        chosen = np.sort(np.asarray(chosen))
        return Examples(
            [self.texts[index] for index in chosen],
            None if self.labels is None else self.labels[chosen],
            self.notes,
            self.columns,
        )


def _strata(labels: np.ndarray, smaller: int) -> np.ndarray:
    """Numbers of sets of labels; those too rare to be in both parts are taken as one.

    Args:
      labels: 0 and 1, of shape (examples, classes).
      smaller: number of examples of the smaller part.

    Returns:
      A number for each example, each number there twice at least.
    """
    _, stratum, counts = np.unique(
        labels, axis=0, return_inverse=True, return_counts=True
    )
    stratum = np.where(counts[stratum] * smaller < len(labels), -1, stratum)
    if np.sum(stratum == -1) == 1:
        stratum[stratum == -1] = counts.argmax()
    return stratum


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A task with its training and evaluation examples.

    Attributes:
      task: the row of the table.
      train: labelled examples.
      evaluation: labelled examples, none of which is for training.
      held_out: share of the task's training examples that ``evaluation`` is; 0 if it
        has examples of its own.
      files: names, without folders, of the user's own files that were read.
    """

    task: Task
    train: Examples
    evaluation: Examples
    held_out: float = 0.0
    files: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the examples, each once."""
        return tuple(dict.fromkeys(self.train.notes + self.evaluation.notes))

    def hold_out(self, share: float | None) -> "TaskData":
        """The task with a share of its training examples to be scored.

        Args:
          share: which share; None to leave the task as it is.

        Returns:
          The task, whose evaluation examples are held out of training.

        Raises:
          ValueError: As :meth:`Examples.hold_out`.
        """
        if share is None:
            return self
        train, evaluation = self.train.hold_out(share)
        return dataclasses.replace(
            self, train=train, evaluation=evaluation, held_out=share
        )

    def take(self, train: int | None, evaluation: int | None) -> "TaskData":
        """The task with fewer examples, as :meth:`Examples.take` chooses them.

        Args:
          train: at most so many to train on; None for all.
          evaluation: at most so many to score.

        Returns:
          The task.

        Raises:
          ValueError: If a number is below 1.
        """
        return dataclasses.replace(
            self,
            train=self.train.take(train),
            evaluation=self.evaluation.take(evaluation),
        )
