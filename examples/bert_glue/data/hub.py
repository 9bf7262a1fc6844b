"""GLUE from the Hugging Face hub, through its cache."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bert_glue.data.examples import Examples, Task, TaskData
from bert_glue.data.quiet import quiet
from bert_glue.data.tables import DataError

if TYPE_CHECKING:
    import datasets

DATASET = "nyu-mll/glue"
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
        with quiet(), _without_bars_and_retries():
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
def _without_bars_and_retries() -> Iterator[None]:
    """Draws no progress, and spares a hub that does not answer half a minute of tries.

    Without an answer, what an earlier time left in the cache is taken.
    """
    import datasets
    from datasets import config
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    offline = config.HF_HUB_OFFLINE
    bars = datasets.are_progress_bars_disabled()
    try:
        HfApi().dataset_info(DATASET, timeout=_PATIENCE)
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
