"""The tasks of GLUE as a table, and their data: folders, the hub, a user's own files.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language
Understanding", ICLR 2019.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from bert_glue import tsv
from bert_glue.tsv import DataError

# Which rows a smaller training set keeps does not follow the seed of a run, so that all
# runs see the same ones.
_SUBSET_SEED = 20221207


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
      evaluation_files: File of each evaluation split, the default one first.
      columns: Names of all columns, for files without a header.
      skips_short_lines: Whether lines with too few columns, which the official files
        of this task hold, are passed over.
      hub_texts: Columns of the sentences in the hub's dataset, if they differ.
      hub_splits: Names of the evaluation splits in the hub's dataset.
      failed_below: Score in per cent at or below which the released code of Yang and
        Ma (2022) counts a run as failed.
    """

    name: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metric: str
    folder: str = ""
    evaluation_files: tuple[str, ...] = ("dev.tsv",)
    columns: tuple[str, ...] | None = None
    skips_short_lines: bool = False
    hub_texts: tuple[str, ...] | None = None
    hub_splits: tuple[str, ...] = ("validation",)
    failed_below: float | None = None

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers and not classes."""
        return not self.labels

    @property
    def num_labels(self) -> int:
        """Outputs that a model for this task has; 1 for regression."""
        return len(self.labels) or 1


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

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
            evaluation_files=("dev_matched.tsv", "dev_mismatched.tsv"),
            hub_texts=("premise", "hypothesis"),
            hub_splits=("validation_matched", "validation_mismatched"),
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
        """
        if count is None or count >= len(self):
            return self
        chosen = np.random.default_rng(_SUBSET_SEED).permutation(len(self))[:count]
        chosen.sort()
        return Examples(
            [self.texts[index] for index in chosen],
            None if self.labels is None else self.labels[chosen],
        )

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any text or label."""
        digest = hashlib.sha256()
        for texts in self.texts:
            digest.update(("\t".join(texts) + "\n").encode())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A task with its training and evaluation examples.

    Attributes:
      task: The row of the table.
      train: Labelled examples.
      evaluation: Labelled examples, none of which is for training.
    """

    task: Task
    train: Examples
    evaluation: Examples


def load_task(
    name: str,
    data_dir: str | pathlib.Path | None = None,
    *,
    evaluation_split: int = 0,
) -> TaskData:
    """Reads a task of the table.

    Args:
      name: A key of ``TASKS`` or ``GENERATED``.
      data_dir: Folder that holds ``RTE/``, ``MRPC/`` and so on, each with the TSV files
        of the official download; None for the hub. Generated tasks need neither.
      evaluation_split: Which evaluation split (1 is mnli's mismatched one).

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
    if evaluation_split not in range(len(task.evaluation_files)):
        raise DataError(
            f"task {name!r} has {len(task.evaluation_files)} evaluation splits; "
            f"got {evaluation_split}"
        )
    if data_dir is None:
        from bert_glue import hub

        return hub.load_task(task, evaluation_split)
    folder = pathlib.Path(data_dir) / task.folder
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder}: the data directory must hold {task.folder}/train.tsv "
            f"and {task.folder}/{task.evaluation_files[evaluation_split]}"
        )
    return TaskData(
        task,
        read_examples(folder / "train.tsv", task),
        read_examples(folder / task.evaluation_files[evaluation_split], task),
    )


def load_files(
    train_file: str | pathlib.Path,
    evaluation_file: str | pathlib.Path,
    *,
    metric: str | None = None,
) -> TaskData:
    """Reads a task of the user's own from two TSV files with a header.

    The columns ``sentence``, or ``sentence1`` and ``sentence2``, and ``label`` are
    read. The classes are the labels of the training file, in the order of their
    numbers or of the alphabet; labels with a decimal point make it a regression.

    Args:
      train_file: Examples for training.
      evaluation_file: Examples for evaluation.
      metric: One of ``metrics.METRICS``; by default accuracy, or for regression the
        mean of Pearson's and Spearman's correlation.

    Returns:
      The task's data; the task is called ``custom``.

    Raises:
      DataError: If a file is missing, empty or malformed, or the metric does not fit.
    """
    train_file = pathlib.Path(train_file)
    table = tsv.read(train_file)
    texts = _own_columns(table)
    spellings = {row[table.column("label")] for row in table.rows}
    regression = all(map(_is_number, spellings)) and any(
        "." in spelling for spelling in spellings
    )
    if not regression and len(spellings) < 2:
        raise DataError(
            f"{train_file}: every label is {spellings.pop()!r}; two classes are needed"
        )
    metric = metric or ("pearson_spearman" if regression else "accuracy")
    _check_metric(metric, regression, len(spellings))
    labels = () if regression else tuple(sorted(spellings, key=_class_order))
    task = Task("custom", texts, "label", labels, metric)
    return TaskData(
        task,
        read_examples(train_file, task),
        read_examples(pathlib.Path(evaluation_file), task),
    )


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
    path = pathlib.Path(path)
    if not labelled:
        table = tsv.read(path)
        columns = task.texts
        if not all(name in table.header for name in columns):
            columns = ("sentence",) if len(task.texts) == 1 else _PAIR
        return Examples(table.select(columns), None)
    table = tsv.read(path, task.columns, task.skips_short_lines)
    texts = table.select(task.texts)
    column = table.column(task.label)
    index = {spelling: number for number, spelling in enumerate(task.labels)}
    labels: list[float] = []
    for line, row in zip(table.lines, table.rows, strict=True):
        spelling = row[column]
        if task.is_regression:
            if not _is_number(spelling):
                raise DataError(
                    f"{path}, line {line}: the {task.label} {spelling!r} is no number"
                )
            labels.append(float(spelling))
        elif spelling in index:
            labels.append(index[spelling])
        else:
            raise DataError(
                f"{path}, line {line}: unknown label {spelling!r}; "
                f"accepted are {', '.join(map(repr, task.labels))}"
            )
    dtype = np.float32 if task.is_regression else np.int32
    return Examples(texts, np.asarray(labels, dtype))


def from_columns(
    task: Task, columns: Mapping[str, Sequence], texts: Sequence[str]
) -> Examples:
    """Examples from columns whose labels are numbers already, as the hub has them."""
    dtype = np.float32 if task.is_regression else np.int32
    rows = list(zip(*(columns[name] for name in texts), strict=True))
    return Examples(rows, np.asarray(columns["label"], dtype))


def _own_columns(table: tsv.Table) -> tuple[str, ...]:
    if "sentence" in table.header:
        return ("sentence",)
    if "sentence1" in table.header and "sentence2" in table.header:
        return _PAIR
    raise DataError(
        f"{table.path}, line 1: the columns are {', '.join(map(repr, table.header))}; "
        "needed are 'sentence', or 'sentence1' and 'sentence2', and 'label'"
    )


def _check_metric(metric: str, regression: bool, classes: int) -> None:
    from bert_glue.metrics import BINARY, METRICS, REGRESSION

    if metric not in METRICS:
        raise DataError(f"unknown metric {metric!r}; there are {', '.join(METRICS)}")
    if (metric in REGRESSION) != regression:
        kind = "numbers" if regression else "classes"
        raise DataError(f"the metric {metric!r} does not fit labels that are {kind}")
    if metric in BINARY and classes != 2:
        raise DataError(f"the metric {metric!r} needs two classes, not {classes}")


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _class_order(spelling: str) -> tuple[bool, int, str]:
    is_index = spelling.isdecimal()
    return (not is_index, int(spelling) if is_index else 0, spelling)
