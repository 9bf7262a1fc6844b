import logging
import time

import numpy as np
import pytest
from bert_glue.data import hub, tasks
from bert_glue.data.load import load_task
from bert_glue.data.tables import DataError


def hub_splits(task: tasks.Task, **changes):
    import datasets

    texts = task.hub_texts or task.texts
    labels = [0.0, 3.8, 5.0] if task.is_regression else [*range(task.num_labels)]
    splits = {}
    for split in ("train", task.hub_split):
        columns = {name: [f"{split} {name} {i}" for i in labels] for name in texts}
        columns |= {"label": labels, "idx": [*range(len(labels))], **changes}
        columns = {k: v for k, v in columns.items() if v is not None}
        splits[split] = datasets.Dataset.from_dict(columns)
    return datasets.DatasetDict(splits)


def stand_in(monkeypatch, answer):
    import datasets
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)

    def load_dataset(*arguments):
        asked.append(arguments)
        if isinstance(answer, Exception):
            logging.getLogger("huggingface_hub.utils").warning("retrying")
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


HUB_NAMES = {"mnli-mm": "mnli"}


@pytest.mark.parametrize("name", tasks.TASKS)
def test_hub(monkeypatch, name):
    task = tasks.TASKS[name]
    asked = stand_in(monkeypatch, hub_splits(task))
    data = load_task(name)
    assert asked == [("nyu-mll/glue", HUB_NAMES.get(name, name))]
    assert data.task is task
    texts = task.hub_texts or task.texts
    assert data.evaluation.texts[1] == tuple(
        f"{task.hub_split} {column} {3.8 if task.is_regression else 1}"
        for column in texts
    )
    expected = [0, 3.8, 5] if task.is_regression else range(task.num_labels)
    dtype = np.float32 if task.is_regression else np.int32
    assert data.train.labels is not None
    assert data.train.labels.dtype == dtype
    np.testing.assert_array_equal(data.train.labels, np.array(expected, dtype))


def test_no_network_is_one_line(monkeypatch, caplog):
    import datasets

    logger = logging.getLogger("huggingface_hub")
    before = logger.level, datasets.are_progress_bars_disabled()
    stand_in(monkeypatch, ConnectionError("a\nb"))
    with pytest.raises(
        DataError,
        match=r"cannot load 'rte'.*RTE/train.tsv and RTE/dev.tsv with --data-d",
    ) as caught:
        load_task("rte")
    assert "\n" not in str(caught.value)
    assert not caplog.records
    assert before == (logger.level, datasets.are_progress_bars_disabled())


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, tmp_path):
    import datasets
    import huggingface_hub.constants

    waits = []
    # Nothing listens at the port for discarded messages of the machine itself.
    for place, name in (
        (huggingface_hub.constants, "ENDPOINT"),
        (datasets.config, "HF_ENDPOINT"),
    ):
        monkeypatch.setattr(place, name, "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(time, "sleep", waits.append)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(DataError, match=r"cannot load 'rte' .* with --data-dir$"):
        load_task("rte")
    assert waits == []
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": [-1, -1]},
            "split 'train': labels from -1 to -1; accepted are 0 to 1",
        ),
        ({"label": [0, 2]}, "labels from 0 to 2"),
        ({"sentence1": None}, "no column 'sentence1'; there are 'sentence2', 'label'"),
        ({"sentence1": [], "sentence2": [], "label": [], "idx": []}, "no examples"),
    ],
)
def test_a_hub_that_has_something_else(monkeypatch, changes, message):
    stand_in(monkeypatch, hub_splits(tasks.TASKS["rte"], **changes))
    with pytest.raises(DataError, match=message):
        hub.load_task(tasks.TASKS["rte"])


def test_a_hub_without_a_split(monkeypatch):
    splits = hub_splits(tasks.TASKS["rte"])
    del splits["validation"]
    stand_in(monkeypatch, splits)
    with pytest.raises(
        DataError, match="split 'validation': not there; there are train"
    ):
        hub.load_task(tasks.TASKS["rte"])
