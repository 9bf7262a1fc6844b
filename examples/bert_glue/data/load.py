"""Reads tasks: from GLUE's folders, the hub, a grammar, or a user's own files."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

from bert_glue.data import generated, hub, labels, tables, tasks
from bert_glue.data.examples import (
    MULTI_LABEL,
    REGRESSION,
    Examples,
    Task,
    TaskData,
)
from bert_glue.data.metrics import check_metric
from bert_glue.data.tables import DataError, Table, listed
from bert_glue.data.tasks import (
    GENERATED,
    LABEL_COLUMNS,
    PAIR,
    SINGLE,
    TASKS,
    TEXT_COLUMNS,
)

_LABELS = tuple((name,) for name in LABEL_COLUMNS)


def usual_metric(problem: str) -> str:
    """How labels of a kind are scored if the user does not say it."""
    return "pearson_spearman" if problem == REGRESSION else "accuracy"


def load_task(name: str, data_dir: str | pathlib.Path | None = None) -> TaskData:
    """Reads a task of the table.

    Args:
      name: a key of ``TASKS`` or ``GENERATED``, however it is spelled.
      data_dir: folder that holds ``RTE/``, ``MRPC/`` and so on, each with the TSV files
        of the official download; None for the hub. Generated tasks need neither.

    Returns:
      The task's data.

    Raises:
      DataError: if there is no such task, or a file is missing, empty or malformed
        (the message names file and line), or the hub cannot be reached.
    """
    task = tasks.find(name)
    if task is None:
        raise DataError(
            f"unknown task {name!r}; there are {', '.join([*GENERATED, *TASKS])}"
        )
    if task.name in GENERATED:
        return generated.load(task.name)
    if data_dir is None:
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


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the user's own data are read and scored.

    Attributes:
      problem: what labels are, a value of ``examples.PROBLEMS``; None if that follows
        from the labels and the metric.
      metric: a key of ``metrics.METRICS``; by default accuracy, or for regression the
        mean of Pearson's and Spearman's correlation.
      positive_class: the class that F1 is of; by default the second of two.
      text_columns: names of one or two columns of texts; numbers, from 1, in a file
        without a header.
      label_column: name or number of the column of labels.
      encoding: of files, if it is not UTF-8 and no byte order mark tells.
      evaluation_share: share of the examples to be scored and not trained on, where
        there are none to score.
    """

    problem: str | None = None
    metric: str | None = None
    positive_class: str | None = None
    text_columns: Sequence[str] = ()
    label_column: str | None = None
    encoding: str | None = None
    evaluation_share: float | None = None

    def __post_init__(self) -> None:
        if self.metric is not None:
            check_metric(self.metric, self.problem, positive=self.positive_class)


def load_files(
    train_file: str | pathlib.Path,
    evaluation_file: str | pathlib.Path | None = None,
    reading: Reading | None = None,
) -> TaskData:
    """Reads a task of the user's own from two files of a kind that `tables.read` knows.

    Texts are the columns of ``tasks.TEXT_COLUMNS`` that are there, labels that of
    ``tasks.LABEL_COLUMNS``, in any case, if the user names no others. The classes are
    the labels of the training file, in the order of their numbers or of the alphabet.
    Labels that are fractions make it a regression, lists several labels an example.

    Args:
      train_file: examples for training.
      evaluation_file: examples for evaluation; None for a share of those of training,
        or as long as none is held out, all of them.
      reading: what the user says of them.

    Returns:
      The task's data; the task is called ``custom``.

    Raises:
      DataError: if a file is missing, empty or malformed; names file and line.
      ValueError: if there is no such metric, or it does not fit the labels.
    """
    reading = reading or Reading()
    paths = [pathlib.Path(path) for path in (train_file, evaluation_file) if path]
    read = functools.partial(tables.read, encoding=reading.encoding)
    return _own_task(list(map(read, paths)), [path.name for path in paths], reading)


def load_dataset(name: str, reading: Reading | None = None) -> TaskData:
    """Reads a task of the user's own from the hub, or a folder that `datasets` reads.

    Columns and labels are found as by :func:`load_files`, but for classes of which the
    dataset has names. The evaluation examples are those of the first split of
    ``hub.EVALUATION`` that is there.

    Args:
      name: name on the hub or a folder, with ``:`` and a configuration if there are
        several.
      reading: what the user says of it.

    Returns:
      The task's data; the task is called ``custom``. Where there is no split to score
      a share of the training examples is, or as long as none is held out, all of them.

    Raises:
      DataError: if the dataset cannot be loaded, has no split to train on, or is
        malformed.
      ValueError: if there is no such metric, or it does not fit the labels.
    """
    reading = reading or Reading()
    splits = hub.read_splits(name, is_trained=True, encoding=reading.encoding)
    files = [f"{pathlib.PurePath(name).name}, {split}" for split in splits]
    return _own_task([*splits.values()], files, reading)


def _own_task(
    tables: Sequence[Table], names: Sequence[str], reading: Reading
) -> TaskData:
    """A task of one table to train on, and perhaps one to score."""
    table, *others = tables
    texts = tuple(reading.text_columns) or _present(table, TEXT_COLUMNS)
    column = reading.label_column
    label = (column,) if column else _present(table, _LABELS)
    if not (texts and label):
        raise _no_columns(
            table,
            "needed are 'sentence', or 'sentence1' and 'sentence2', and 'label', or "
            "what --text-columns and --label-column name",
        )
    if len({*texts, *label}) < len(texts) + 1:
        raise ValueError(
            f"texts are in {listed(texts)}, labels in {label[0]!r}; these must be "
            "different columns"
        )
    table = _with_names(table, [*texts, *label])
    problem, classes = labels.find_labels(
        table, label[0], reading.problem, reading.metric
    )
    metric = reading.metric or usual_metric(problem)
    check_metric(metric, problem, classes, reading.positive_class)
    positive = reading.positive_class
    task = Task(
        "custom",
        texts,
        classes,
        metric,
        label=label[0],
        is_multi_label=problem == MULTI_LABEL,
        positive=1 if positive is None else classes.index(positive),
    )
    standard = texts in (SINGLE, PAIR) and label == _LABELS[0]
    if not standard and not (reading.text_columns and column):
        table.notes.append(
            f"{table.path}: texts are in {listed(texts)}, labels in {label[0]!r}"
        )
    train = evaluation = _examples(table, task.texts, task)
    for other in others:
        evaluation = _labelled(other, task)
        if reading.evaluation_share is not None:
            raise ValueError(
                f"the share to score is {reading.evaluation_share:g}, but "
                f"{other.path} is there to be scored; a share is for data without"
            )
    data = TaskData(task, train, evaluation, files=tuple(names))
    return data.hold_out(reading.evaluation_share)


def read_examples(
    path: str | pathlib.Path,
    task: Task,
    *,
    labelled: bool = True,
    encoding: str | None = None,
) -> Examples:
    """Reads one file of a task.

    Args:
      path: the file; of a task of GLUE with labels it is one of the official download.
      task: says which columns and labels there are.
      labelled: whether labels are read; without, the file is read as
        :func:`read_further` does it, and needs no label column.
      encoding: of the file, if it is not UTF-8 and no byte order mark tells.

    Returns:
      The examples, in the order of the file.

    Raises:
      DataError: if the file is missing, empty or malformed; names file and line.
    """
    if labelled and task.folder:
        columns, skips = task.columns, task.skips_short_lines
        table = tables.read_official(path, columns, skips)
        return _examples(table, task.texts, task)
    table = tables.read(path, encoding)
    if labelled:
        return _labelled(table, task)
    return _fitted(table, task, Reading(), labelled)


def read_further(
    path: str | pathlib.Path, task: Task, reading: Reading, *, labelled: bool
) -> Examples:
    """Reads a user's file for a task that was learnt before.

    Args:
      path: the file.
      task: its own columns are taken, if they are known and there, or else those of
        :func:`load_files`, in the same number.
      reading: columns that the user names, which are taken instead, and the encoding.
      labelled: whether there are labels to score.

    Returns:
      The examples, in the order of the file.

    Raises:
      DataError: if the file is missing, empty or malformed; names file and line.
    """
    return _fitted(tables.read(path, reading.encoding), task, reading, labelled)


def read_dataset(name: str, task: Task, reading: Reading) -> Examples:
    """Reads the examples of a dataset to score by what was learnt before.

    Args:
      name: as of :func:`load_dataset`.
      task: as of :func:`read_further`.
      reading: as there.

    Returns:
      The examples of the split that :func:`load_dataset` would score.

    Raises:
      DataError: if the dataset cannot be loaded, has no such split, or is malformed.
    """
    splits = hub.read_splits(name, is_trained=False, encoding=reading.encoding)
    (table,) = splits.values()
    return _fitted(table, task, reading, labelled=True)


def _fitted(table: Table, task: Task, reading: Reading, labelled: bool) -> Examples:
    """The examples of a table whose columns may be called otherwise than the task's."""
    named = tuple(reading.text_columns)
    many = len(named or task.texts)
    fitting = [names for names in TEXT_COLUMNS if many in (0, len(names))]
    texts = _choose(table, named, task.texts, fitting)
    label: tuple[str, ...] = ()
    if labelled:
        named = (reading.label_column,) if reading.label_column else ()
        label = _choose(table, named, (task.label,) if task.label else (), _LABELS)
    table = _with_names(table, [*texts, *label])
    needed = [*(texts or SINGLE), *((label or _LABELS[0]) if labelled else ())]
    if not set(needed) <= set(table.header):
        names = " and ".join(map(repr, needed))
        raise _no_columns(table, f"needed for {task.name} are {names}")
    if task.texts and texts != task.texts and not reading.text_columns:
        table.notes.append(f"{table.path}: texts are in {listed(texts)}")
    if label and task.label not in ("", *label) and not reading.label_column:
        table.notes.append(f"{table.path}: labels are in {label[0]!r}")
    own = dataclasses.replace(task, label=label[0]) if label else None
    return _examples(table, texts, own)


def _choose(
    table: Table,
    named: tuple[str, ...],
    known: tuple[str, ...],
    usual: Sequence[tuple[str, ...]],
) -> tuple[str, ...]:
    """Columns that the user names, or else those of a task or usual ones."""
    return named or _present(table, [known, *usual] if known else usual) or known


def _labelled(table: Table, task: Task) -> Examples:
    """The examples of a table of the user's own."""
    table = _with_names(table, [*task.texts, task.label])
    return _examples(table, task.texts, task)


def _examples(table: Table, columns: Sequence[str], task: Task | None) -> Examples:
    """The texts in these columns, with the labels of a task if one is given."""
    texts = table.select(columns)
    empty = [
        line
        for line, each in zip(table.lines, texts, strict=True)
        if not all(map(str.strip, each))
    ]
    if empty:
        lines = ", ".join(map(str, empty[:8])) + (", ..." if len(empty) > 8 else "")
        table.notes.append(
            f"{table.path}: {len(empty)} of {len(texts)} examples have an empty text "
            f"(line {lines}), and are used all the same"
        )
    numbers = task and labels.to_numbers(
        table, task.label, task.labels, task.problem_type
    )
    return Examples(texts, numbers, tuple(table.notes), tuple(columns))


def _present(table: Table, choices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The first choice of columns that a table has, as it spells them; none if none."""
    names = {name.strip().casefold(): name for name in reversed(table.header)}
    names |= {name: name for name in table.header}
    for choice in choices:
        if set(choice) <= set(names):
            return tuple(names[name] for name in choice)
    return ()


def _with_names(table: Table, names: Sequence[str]) -> Table:
    """A table without a header if the user says so, by numbers for columns."""
    if not names or not all(map(str.isdecimal, names)) or not table.header_line:
        return table
    # Columns may be called by numbers, but then all of them are: a row may hold one.
    if set(names) <= set(table.header) and all(map(str.isdecimal, table.header)):
        return table
    return table.without_header()


def _no_columns(table: Table, needed: str) -> DataError:
    """What to say of a table without the columns that are needed."""
    message = f"{table.path}, line 1: the columns are {listed(table.header)}; {needed}"
    if table.header_line and set(enumerate(table.header)) & {
        field for _, row in table.rows for field in enumerate(row)
    }:
        message += (
            ". It looks like a row: of a file without a header columns are named by "
            "number, such as --text-columns 2 --label-column 1"
        )
    return DataError(message)


def _content(folder: pathlib.Path) -> str:
    """What is in a folder, for messages."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    more = ", ..." if len(names) > 12 else ""
    return f"{folder} holds {', '.join(names[:12]) or 'nothing'}{more}"
