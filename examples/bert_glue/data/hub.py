"""Datasets from the Hugging Face hub, through its cache, or from folders."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_glue.data.examples import Examples, Task, TaskData
from bert_glue.data.quiet import quiet
from bert_glue.data.tables import DataError, Table, listed, read

if TYPE_CHECKING:
    import datasets

DATASET = "nyu-mll/glue"
TRAIN = "train"
EVALUATION = ("validation", "valid", "val", "dev", "eval", "evaluation", "test")
"""What splits to score are called; the first that is there is taken."""
_PATIENCE = 10.0  # seconds


def load_task(task: Task) -> TaskData:
    """Reads a task from the hub, or from the cache of an earlier time.

    Args:
      task: a row of ``tasks.TASKS``.

    Returns:
      The task's data.

    Raises:
      DataError: if the hub cannot be reached and the cache does not hold the data, or
        the dataset there is not what the table says.
    """
    import datasets

    name = task.hub_name or task.name
    try:
        with quiet(), _without_bars_and_retries(DATASET):
            splits = datasets.load_dataset(DATASET, name)
    except Exception as error:  # whatever the many layers below raise without network
        raise DataError(
            f"cannot load {name!r} of {DATASET} from the hub "
            f"({type(error).__name__}); without network, give a folder that holds "
            f"{task.folder}/train.tsv and {task.folder}/{task.evaluation_file} with "
            "--data-dir"
        ) from error
    train, evaluation = (_examples(splits, n, task) for n in ("train", task.hub_split))
    return TaskData(task, train, evaluation)


def read_splits(
    dataset: str, *, is_trained: bool, encoding: str | None = None
) -> dict[str, Table]:
    """Reads a dataset's examples to score, and those to train on before them.

    Folders of CSV are read as such files are, so that NA is a text and 01 no number;
    the hub's are what ``datasets`` makes of them.

    Args:
      dataset: its name on the hub, or a folder of files that ``datasets`` knows; behind
        a colon the configuration, if there are several.
      is_trained: whether something is trained, which the split :data:`TRAIN` is for.
      encoding: of CSV, as of :func:`tables.read`.

    Returns:
      Tables by the names of their splits; that to score, the first of
      :data:`EVALUATION`, may be missing where something is trained.

    Raises:
      DataError: if it cannot be loaded, has no split that is needed, or an encoding is
        given for what is no CSV.
    """
    import datasets

    name, configuration = dataset, None
    if not pathlib.Path(dataset).is_dir() and ":" in dataset:
        name, _, configuration = dataset.rpartition(":")
    try:
        with quiet(), _without_bars_and_retries(name):
            files = _csv_files(name, configuration)
            splits: Any = files or datasets.load_dataset(name, configuration or None)
    except Exception as error:  # whatever the many layers below raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise DataError(f"cannot load the dataset {dataset!r} ({reason})") from error
    names = list(map(str, splits))
    chosen = [split for split in EVALUATION if split in names][:1]
    needed = repr(TRAIN) if is_trained else f"to score ({', '.join(EVALUATION)})"
    if TRAIN not in names if is_trained else not chosen:
        raise DataError(
            f"the dataset {dataset!r} has no split {needed}; there are {listed(names)}"
        )
    if encoding is not None and not files:
        raise DataError(
            f"encoding is {encoding!r}, but the dataset {dataset!r} is no folder of CSV"
        )
    chosen = [TRAIN, *chosen] if is_trained else chosen
    paths = {split: f"{dataset}, {split}" for split in chosen}
    if files:
        return {split: _join(paths[split], files[split], encoding) for split in chosen}
    return {split: _table(paths[split], splits[split]) for split in chosen}


def _csv_files(name: str, configuration: str | None) -> dict[str, list[pathlib.Path]]:
    """The files of each split of a folder of CSV; none of other datasets."""
    import datasets

    if not pathlib.Path(name).is_dir():
        return {}
    builder = datasets.load_dataset_builder(name, configuration or None)
    files = {
        str(split): list(map(pathlib.Path, paths))
        for split, paths in (builder.config.data_files or {}).items()
    }
    kinds = {path.suffix.lower() for paths in files.values() for path in paths}
    return files if kinds <= {".csv", ".tsv"} else {}


def _join(path: str, files: Sequence[pathlib.Path], encoding: str | None) -> Table:
    """A table of the rows of some files; of one file it is that file's."""
    first, *others = tables = [read(file, encoding) for file in files]
    for other in others:
        if other.header != first.header:
            raise DataError(
                f"{other.path}, line 1: the columns are {listed(other.header)}; "
                f"those of {first.path} are {listed(first.header)}"
            )
    if not others:
        return first
    rows = [row for table in tables for _, row in table.rows]
    notes = [note for table in tables for note in table.notes]
    return Table(path, first.header, [*enumerate(rows, 1)], 0, notes)


def _table(path: str, split: "datasets.Dataset") -> Table:
    """A split as a table; classes of which it knows the names have those."""
    classes: dict[str, tuple[str, ...]] = {}
    # Sounds and pictures, which nobody wants, stay as they are stored.
    content: Any = split.with_format("arrow")[:]
    columns: dict[str, list[Any]] = content.to_pydict()
    for column, feature in split.features.items():
        # Several labels are a list of such a feature.
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            classes[column] = tuple(names)
            columns[column] = [_named(value, names) for value in columns[column]]
    rows = map(list, zip(*columns.values(), strict=True))
    return Table(path, tuple(columns), [*enumerate(rows, 1)], 0, classes=classes)


def _named(value: Any, names: list[str]) -> Any:
    """The name of a class, or those of a list; None for -1, which marks no label."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return None if value is None or value < 0 else names[value]


def _examples(splits: "datasets.DatasetDict", name: str, task: Task) -> Examples:
    where = f"{DATASET}, split {name!r}"
    if name not in splits:
        raise DataError(f"{where}: not there; there are {', '.join(map(str, splits))}")
    texts = task.hub_texts or task.texts
    present = splits[name].column_names
    for column in (*texts, "label"):
        if column not in present:
            there = ", ".join(map(repr, present))
            raise DataError(f"{where}: no column {column!r}; there are {there}")
    columns = splits[name].select_columns([*texts, "label"])[:]
    labels = np.array(columns["label"], np.float32 if task.is_regression else np.int32)
    if not labels.size:
        raise DataError(f"{where}: no examples")
    # The hub marks what has no label, or a withheld one, by -1.
    least, most, last = labels.min(), labels.max(), len(task.labels) - 1
    if not task.is_regression and not 0 <= least <= most <= last:
        raise DataError(
            f"{where}: labels from {least} to {most}; accepted are 0 to {last}"
        )
    rows = zip(*(columns[column] for column in texts), strict=True)
    return Examples(list(rows), labels)


@contextlib.contextmanager
def _without_bars_and_retries(name: str) -> Iterator[None]:
    """Draws no progress, and spares a hub that does not answer half a minute of tries.

    Without an answer, what an earlier time left in the cache is taken. A folder asks
    nobody.
    """
    import datasets
    from datasets import config
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    offline = config.HF_HUB_OFFLINE
    bars = datasets.are_progress_bars_disabled()
    try:
        if not pathlib.Path(name).is_dir():
            HfApi().dataset_info(name, timeout=_PATIENCE)
    except HfHubHTTPError:
        pass  # it answers, and load_dataset will say what
    except Exception:  # of whatever lies between here and there
        config.HF_HUB_OFFLINE = True
    try:
        datasets.disable_progress_bars()
        yield
    finally:
        config.HF_HUB_OFFLINE = offline
        if not bars:
            datasets.enable_progress_bars()
