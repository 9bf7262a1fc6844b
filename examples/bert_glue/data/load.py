"""Reads tasks: from GLUE's folders, the hub, a grammar, or a user's own files."""

import pathlib
from collections.abc import Sequence

from bert_glue.data import generated, hub, labels, tsv
from bert_glue.data.examples import Examples, Task, TaskData
from bert_glue.data.metrics import check_metric
from bert_glue.data.tasks import GENERATED, PAIR, SINGLE, TASKS
from bert_glue.data.tsv import DataError


def load_task(name: str, data_dir: str | pathlib.Path | None = None) -> TaskData:
    """Reads a task of the table.

    Args:
      name: a key of ``TASKS`` or ``GENERATED``.
      data_dir: folder that holds ``RTE/``, ``MRPC/`` and so on, each with the TSV files
        of the official download; None for the hub. Generated tasks need neither.

    Returns:
      The task's data.

    Raises:
      DataError: if there is no such task, or a file is missing, empty or malformed
        (the message names file and line), or the hub cannot be reached.
    """
    if name in GENERATED:
        return generated.load(name)
    if name not in TASKS:
        raise DataError(
            f"unknown task {name!r}; there are {', '.join([*GENERATED, *TASKS])}"
        )
    task = TASKS[name]
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
      train_file: examples for training.
      evaluation_file: examples for evaluation; None for those of training, a share of
        which is to be held out.
      metric: one of ``metrics.METRICS``, which also decides between classes and
        regression; by default accuracy, or for regression the mean of Pearson's and
        Spearman's correlation.

    Returns:
      The task's data; the task is called ``custom``.

    Raises:
      DataError: if a file is missing, empty or malformed; names file and line.
      ValueError: if there is no such metric, or it does not fit the labels.
    """
    if metric is not None:
        check_metric(metric)
    table = tsv.read(train_file)
    *texts, _ = _choose_columns(
        table,
        [(*SINGLE, "label"), (*PAIR, "label")],
        "needed are 'sentence', or 'sentence1' and 'sentence2', and 'label'",
    )
    classes = labels.find_classes(table, "label", metric)
    metric = metric or ("accuracy" if classes else "pearson_spearman")
    check_metric(metric, len(classes))
    task = Task("custom", tuple(texts), classes, metric)
    train = _labelled(table, task)
    names = [pathlib.Path(path).name for path in (train_file, evaluation_file) if path]
    evaluation = train
    if evaluation_file is not None:
        evaluation = read_examples(evaluation_file, task)
    return TaskData(task, train, evaluation, files=tuple(names))


def read_examples(
    path: str | pathlib.Path, task: Task, *, labelled: bool = True
) -> Examples:
    """Reads one TSV file of a task.

    Args:
      path: the file.
      task: says which columns and labels there are.
      labelled: whether labels are read; without, the file needs no label column, may
        use the columns ``sentence`` or ``sentence1`` and ``sentence2`` whatever the
        task's own are called, and must have a header.

    Returns:
      The examples, in the order of the file.

    Raises:
      DataError: if the file is missing, empty or malformed; names file and line.
    """
    if labelled:
        return _labelled(tsv.read(path, task.columns, task.skips_short_lines), task)
    table = tsv.read(path)
    texts = _choose_columns(
        table,
        [task.texts, PAIR if len(task.texts) == 2 else SINGLE],
        f"needed for {task.name} are {' and '.join(map(repr, task.texts))}",
    )
    return Examples(table.select(texts), None)


def _labelled(table: tsv.Table, task: Task) -> Examples:
    texts = table.select(task.texts)
    return Examples(texts, labels.to_numbers(table, task.label, task.labels))


def _choose_columns(
    table: tsv.Table, choices: Sequence[tuple[str, ...]], needed: str
) -> tuple[str, ...]:
    """The first choice of columns that a table has."""
    for names in choices:
        if set(names) <= set(table.header):
            return names
    raise DataError(
        f"{table.path}, line 1: the columns are {table.columns()}; {needed}"
    )


def _content(folder: pathlib.Path) -> str:
    """What is in a folder, for messages."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    more = ", ..." if len(names) > 12 else ""
    return f"{folder} holds {', '.join(names[:12]) or 'nothing'}{more}"
