"""Datasets from the Hugging Face hub, through its cache, or from folders."""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_glue.data.examples import Examples, Task, TaskData
from bert_glue.data.quiet import quiet
from bert_glue.data.tables import DataError, Table, listed

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


def read_splits(dataset: str) -> dict[str, Table]:
    """Reads a dataset's examples to train on and those to score, as far as it has them.

    Args:
      dataset: its name on the hub, or a folder of files that ``datasets`` knows; behind
        a colon the configuration, if there are several.

    Returns:
      One table or two by the names of their splits: that to train on, :data:`TRAIN`,
      and the first of :data:`EVALUATION` to score.

    Raises:
      DataError: if it cannot be loaded, or has neither.
    """
    import datasets

    name, configuration = dataset, None
    if not pathlib.Path(dataset).is_dir() and ":" in dataset:
        name, _, configuration = dataset.rpartition(":")
    try:
        with quiet(), _without_bars_and_retries(name):
            splits: Any = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # whatever the many layers below raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise DataError(f"cannot load the dataset {dataset!r} ({reason})") from error
    names = list(map(str, splits))
    chosen = [split for split in EVALUATION if split in names][:1]
    if TRAIN in names:
        chosen.insert(0, TRAIN)
    if not chosen:
        raise no_split(dataset, TRAIN, names)
    return {split: _table(f"{dataset}, {split}", splits[split]) for split in chosen}


def no_split(dataset: str, wanted: str, names: Iterable[str]) -> DataError:
    """What to say of a dataset without the split that is needed."""
    return DataError(
        f"the dataset {dataset!r} has no split {wanted!r}; there are {listed(names)}"
    )


def _table(path: str, split: "datasets.Dataset") -> Table:
    """A split as a table; classes of which it knows the names have those."""
    classes: dict[str, tuple[str, ...]] = {}
    columns: dict[str, list[Any]] = split[:]
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
