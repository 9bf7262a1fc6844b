"""GLUE from the Hugging Face hub, through its cache."""

from bert_glue.tasks import Task, TaskData, from_columns
from bert_glue.tsv import DataError

DATASET = "nyu-mll/glue"


def load_task(task: Task, evaluation_split: int = 0) -> TaskData:
    """Reads a task from the hub, or from the cache of an earlier time.

    Args:
      task: A row of ``tasks.TASKS``.
      evaluation_split: Which of the task's evaluation splits.

    Returns:
      The task's data.

    Raises:
      DataError: If the hub cannot be reached and the cache does not hold the data.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(DATASET, task.name)
    except Exception as error:  # whatever the many layers below raise without network
        raise DataError(
            f"cannot load {task.name!r} of {DATASET} from the hub "
            f"({type(error).__name__}); without network, give a folder that holds "
            f"{task.folder}/train.tsv with --data-dir"
        ) from error
    texts = task.hub_texts or task.texts
    return TaskData(
        task,
        from_columns(task, loaded["train"], texts),
        from_columns(task, loaded[task.hub_splits[evaluation_split]], texts),
    )
