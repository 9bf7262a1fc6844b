"""The tasks of GLUE as a table, and their data: folders, the hub, a user's own files.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language
Understanding", ICLR 2019.
"""

import dataclasses
import pathlib

import numpy as np

from bert_glue import labels, tsv
from bert_glue.metrics import METRICS, check_metric
from bert_glue.tsv import DataError

# Which rows a smaller training set keeps does not follow the seed of a run, so that all
# runs see the same ones.
_SUBSET_SEED = 20221207
_HELD_OUT_SEED = 20221211


@dataclasses.dataclass(frozen=True)
class Task:
    """What is read from where, and how predictions are scored.

    Attributes:
      name: Name on the command line.
      texts: Columns of one sentence or of two.
      label: Column of the label.
      labels: Spellings of the classes, in the order of their indices; empty for
        regression.
      metric: One of ``metrics.METRICS``.
      folder: Folder of the official download; empty if there is none.
      evaluation_file: File of the evaluation split.
      columns: Names of all columns, for files without a header.
      skips_short_lines: Whether lines with too few columns, which the official files
        of this task hold, are passed over.
      hub_name: What the hub's dataset calls the task, if not by its name.
      hub_texts: Columns of the sentences in the hub's dataset, if they differ.
      hub_split: Name of the evaluation split in the hub's dataset.
      failed_below: Score in per cent at or below which the released code of Yang and
        Ma (2022) counts a run as failed.
    """

    name: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metric: str
    folder: str = ""
    evaluation_file: str = "dev.tsv"
    columns: tuple[str, ...] | None = None
    skips_short_lines: bool = False
    hub_name: str = ""
    hub_texts: tuple[str, ...] | None = None
    hub_split: str = "validation"
    failed_below: float | None = None

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers and not classes."""
        return not self.labels

    @property
    def num_labels(self) -> int:
        """Outputs that a model for this task has; 1 for regression."""
        return len(self.labels) or 1


_SINGLE = ("sentence",)
_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

# Where GLUE scores a task by two metrics, F1 is taken of accuracy and F1, as in the
# paper, and the mean of the two correlations.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("rte", _PAIR, "label", _ENTAILMENT, "accuracy", "RTE", failed_below=53.0),
        Task(
            "mrpc",
            ("#1 String", "#2 String"),
            "Quality",
            ("0", "1"),
            "f1",
            "MRPC",
            hub_texts=_PAIR,
            failed_below=75.0,
        ),
        Task(
            "cola",
            ("sentence",),
            "label",
            ("0", "1"),
            "matthews",
            "CoLA",
            columns=("source", "label", "mark", "sentence"),
            failed_below=0.0,
        ),
        Task("sst2", ("sentence",), "label", ("0", "1"), "accuracy", "SST-2"),
        Task("wnli", _PAIR, "label", ("0", "1"), "accuracy", "WNLI"),
        Task(
            "qnli", ("question", "sentence"), "label", _ENTAILMENT, "accuracy", "QNLI"
        ),
        Task(
            "qqp",
            ("question1", "question2"),
            "is_duplicate",
            ("0", "1"),
            "f1",
            "QQP",
            skips_short_lines=True,
        ),
        Task(
            "mnli",
            _PAIR,
            "gold_label",
            ("entailment", "neutral", "contradiction"),
            "accuracy",
            "MNLI",
            evaluation_file="dev_matched.tsv",
            hub_texts=("premise", "hypothesis"),
            hub_split="validation_matched",
        ),
        Task(
            "mnli-mm",
            _PAIR,
            "gold_label",
            ("entailment", "neutral", "contradiction"),
            "accuracy",
            "MNLI",
            evaluation_file="dev_mismatched.tsv",
            hub_name="mnli",
            hub_texts=("premise", "hypothesis"),
            hub_split="validation_mismatched",
        ),
        Task("stsb", _PAIR, "score", (), "pearson_spearman", "STS-B"),
    )
}

# Made by a grammar (bert_glue.generated), in the shape of three of the above.
GENERATED: dict[str, Task] = {
    task.name: task
    for task in (
        Task("acceptability", ("sentence",), "label", ("0", "1"), "matthews"),
        Task("paraphrase", _PAIR, "label", ("0", "1"), "f1"),
        Task("entailment", _PAIR, "label", _ENTAILMENT, "accuracy"),
    )
}


@dataclasses.dataclass(frozen=True)
class Examples:
    """Sentences or pairs of them, and their labels.

    Attributes:
      texts: For each example one sentence or two.
      labels: int32 class indices or float32 numbers of shape (examples,), or None.
    """

    texts: list[tuple[str, ...]]
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, count: int | None) -> "Examples":
        """At most ``count`` examples: the same random ones each time, in file order.

        Args:
          count: How many; None for all.

        Returns:
          The examples that were kept; a smaller number keeps some of those that a
          larger one keeps.

        Raises:
          ValueError: If ``count`` is below 1.
        """
        if count is not None and count < 1:
            raise ValueError(f"count is {count}; at least 1 example must be kept")
        if count is None or count >= len(self):
            return self
        order = np.random.default_rng(_SUBSET_SEED).permutation(len(self))
        return self._select(order[:count])

    def hold_out(self, share: float) -> tuple["Examples", "Examples"]:
        """Parts the examples at random in two, the same ones each time.

        Args:
          share: Share of the second part, above 0 and below 1, rounded to whole
            examples.

        Returns:
          The examples left, and those held out; both in file order.

        Raises:
          ValueError: If one of the two would be empty.
        """
        count = round(share * len(self))
        if not 0 < count < len(self):
            raise ValueError(
                f"{share:g} of {len(self)} examples are {count}; there must be some to "
                "train on and some to score"
            )
        order = np.random.default_rng(_HELD_OUT_SEED).permutation(len(self))
        return self._select(order[count:]), self._select(order[:count])

    def _select(self, chosen: np.ndarray) -> "Examples":
        chosen = np.sort(chosen)
        return Examples(
            [self.texts[index] for index in chosen],
            None if self.labels is None else self.labels[chosen],
        )


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A task with its training and evaluation examples.

    Attributes:
      task: The row of the table.
      train: Labelled examples.
      evaluation: Labelled examples, none of which is for training.
      held_out: Share of the task's training examples that ``evaluation`` is; 0 if it
        has examples of its own.
    """

    task: Task
    train: Examples
    evaluation: Examples
    held_out: float = 0.0

    def hold_out(self, share: float | None) -> "TaskData":
        """The task with a share of its training examples to be scored.

        Args:
          share: Which share; None to leave the task as it is.

        Returns:
          The task, whose evaluation examples are held out of training.

        Raises:
          ValueError: As :meth:`Examples.hold_out`.
        """
        if share is None:
            return self
        train, evaluation = self.train.hold_out(share)
        return TaskData(self.task, train, evaluation, share)

    def take(self, train: int | None, evaluation: int | None) -> "TaskData":
        """The task with fewer examples, as :meth:`Examples.take` chooses them.

        Args:
          train: At most so many to train on; None for all.
          evaluation: At most so many to score.

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


def load_task(name: str, data_dir: str | pathlib.Path | None = None) -> TaskData:
    """Reads a task of the table.

    Args:
      name: A key of ``TASKS`` or ``GENERATED``.
      data_dir: Folder that holds ``RTE/``, ``MRPC/`` and so on, each with the TSV files
        of the official download; None for the hub. Generated tasks need neither.

    Returns:
      The task's data.

    Raises:
      DataError: If there is no such task, or a file is missing, empty or malformed
        (the message names file and line), or the hub cannot be reached.
    """
    if name in GENERATED:
        from bert_glue import generated

        return generated.load(name)
    if name not in TASKS:
        raise DataError(
            f"unknown task {name!r}; there are {', '.join([*GENERATED, *TASKS])}"
        )
    task = TASKS[name]
    if data_dir is None:
        from bert_glue import hub

        return hub.load_task(task)
    data_dir = pathlib.Path(data_dir)
    folder = data_dir / task.folder
    needed = [folder / "train.tsv", folder / task.evaluation_file]
    if missing := [path for path in needed if not path.is_file()]:
        raise DataError(
            f"no file {missing[0]}: the data directory must hold {task.folder}/"
            f"train.tsv and {task.folder}/{task.evaluation_file}; {_content(data_dir)}"
        )
    train, evaluation = (read_examples(path, task) for path in needed)
    return TaskData(task, train, evaluation)


def load_files(
    train_file: str | pathlib.Path,
    evaluation_file: str | pathlib.Path | None,
    *,
    metric: str | None = None,
) -> TaskData:
    """Reads a task of the user's own from two TSV files with a header.

    The columns ``sentence``, or ``sentence1`` and ``sentence2``, and ``label`` are
    read. The classes are the labels of the training file, in the order of their
    numbers or of the alphabet; F1 is that of the second class. Labels that are all
    numbers, but not all written as integers (1.0 is not), make it a regression.

    Args:
      train_file: Examples for training.
      evaluation_file: Examples for evaluation; None for those of training, a share of
        which is to be held out.
      metric: One of ``metrics.METRICS``, which also decides between classes and
        regression; by default accuracy, or for regression the mean of Pearson's and
        Spearman's correlation.

    Returns:
      The task's data; the task is called ``custom``.

    Raises:
      DataError: If a file is missing, empty or malformed; names file and line.
      ValueError: If there is no such metric, or it does not fit the labels.
    """
    if metric is not None and metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
    table = tsv.read(train_file)
    texts = _own_columns(table, "label")
    classes = labels.find_classes(table, "label", metric)
    metric = metric or ("accuracy" if classes else "pearson_spearman")
    check_metric(metric, len(classes))
    task = Task("custom", texts, "label", classes, metric)
    train = _labelled(table, task)
    if evaluation_file is None:
        return TaskData(task, train, train)
    return TaskData(task, train, read_examples(evaluation_file, task))


def read_examples(
    path: str | pathlib.Path, task: Task, *, labelled: bool = True
) -> Examples:
    """Reads one TSV file of a task.

    Args:
      path: The file.
      task: Says which columns and labels there are.
      labelled: Whether labels are read; without, the file needs no label column, may
        use the columns ``sentence`` or ``sentence1`` and ``sentence2`` whatever the
        task's own are called, and must have a header.

    Returns:
      The examples, in the order of the file.

    Raises:
      DataError: If the file is missing, empty or malformed; names file and line.
    """
    if labelled:
        return _labelled(tsv.read(path, task.columns, task.skips_short_lines), task)
    table = tsv.read(path)
    for names in (task.texts, _PAIR if len(task.texts) == 2 else _SINGLE):
        if all(name in table.header for name in names):
            return Examples(table.select(names), None)
    raise DataError(
        f"{table.path}, line 1: the columns are {table.columns()}; needed for "
        f"{task.name} are {' and '.join(map(repr, task.texts))}"
    )


def _labelled(table: tsv.Table, task: Task) -> Examples:
    texts = table.select(task.texts)
    return Examples(texts, labels.to_numbers(table, task.label, task.labels))


def _own_columns(table: tsv.Table, label: str) -> tuple[str, ...]:
    for names in (_SINGLE, _PAIR):
        if all(name in table.header for name in (*names, label)):
            return names
    raise DataError(
        f"{table.path}, line 1: the columns are {table.columns()}; needed are "
        f"'sentence', or 'sentence1' and 'sentence2', and {label!r}"
    )


def _content(folder: pathlib.Path) -> str:
    """What is in a folder, for messages."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    more = ", ..." if len(names) > 12 else ""
    return f"{folder} holds {', '.join(names[:12]) or 'nothing'}{more}"
