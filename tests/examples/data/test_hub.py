import logging
import time

import numpy as np
import pandas
import pytest
from bert_glue.data import hub, tasks
from bert_glue.data.examples import Task
from bert_glue.data.load import (
    Reading,
    load_dataset,
    load_files,
    load_task,
    read_dataset,
)
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


def test_a_dataset_knows_its_classes(monkeypatch):
    import datasets
    from datasets import ClassLabel, Features, Value

    names = ["neg", "pos", "unseen"]
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    rows = {"text": ["fine", "bad"], "label": [1, 0]}
    splits = {
        name: datasets.Dataset.from_dict(rows, features)
        for name in ("unsupervised", "test", "train", "validation")
    }
    asked = stand_in(monkeypatch, datasets.DatasetDict(splits))
    data = load_dataset("someone/reviews:plain")
    assert asked == [("someone/reviews", "plain")]
    assert data.task.labels == ("neg", "pos", "unseen")
    assert data.train.texts == [("fine",), ("bad",)]
    np.testing.assert_array_equal(data.train.labels, [1, 0])
    assert data.files == ("reviews:plain, train", "reviews:plain, validation")
    splits["train"] = splits["train"].map(lambda row: {"label": -1})
    stand_in(monkeypatch, datasets.DatasetDict(splits))
    with pytest.raises(DataError, match="reviews, train, line 1: the label is empty"):
        load_dataset("someone/reviews")


def test_a_dataset_with_several_labels_an_example(monkeypatch):
    import datasets
    from datasets import ClassLabel, Features, List, Value

    classes = List(ClassLabel(names=["joy", "anger, rage", "fear"]))
    features = Features({"text": Value("string"), "labels": classes})
    rows = {"text": ["a", "b", "c"], "labels": [[0, 1], [], [2]]}
    split = datasets.Dataset.from_dict(rows, features)
    stand_in(monkeypatch, datasets.DatasetDict({"train": split}))
    data = load_dataset("emotions", Reading(label_column="labels", metric="f1_macro"))
    assert data.task.is_multi_label
    assert data.task.labels == ("joy", "anger, rage", "fear")
    expected = [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(data.train.labels, expected)
    # As long as nothing is held out.
    assert data.evaluation is data.train


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, and a cache beside it."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


FRAME = pandas.DataFrame(
    {
        "text": ["it is fine", 'a "bad" one, 2', "no", "yes", "well", "so so"],
        "stars": [1, 5, 1, 5, 1, 5],
    }
)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_folder_is_a_dataset(folder, ending):
    file = folder / f"reviews.{ending}"
    if ending == "csv":
        FRAME.to_csv(file, index=False)
    elif ending == "jsonl":
        FRAME.to_json(file, orient="records", lines=True)
    else:
        FRAME.to_parquet(file)
    reading = Reading(label_column="stars", evaluation_share=1 / 3)
    data, same = load_dataset(str(folder), reading), load_files(file, None, reading)
    assert data.held_out == 1 / 3
    assert data.task.labels == ("1", "5")
    for part, other in ((data.train, same.train), (data.evaluation, same.evaluation)):
        assert part.texts == other.texts
        np.testing.assert_array_equal(part.labels, other.labels)
    np.testing.assert_array_equal(data.evaluation.labels, [0, 1])
    assert data.files == ("data, train",)


def test_a_folder_with_examples_to_score(folder):
    for name in ("train", "test"):
        FRAME.to_csv(folder / f"{name}.csv", index=False)
    reading = Reading(label_column="stars")
    data = load_dataset(str(folder), reading)
    assert len(data.evaluation) == 6
    assert data.evaluation is not data.train
    assert data.files == ("data, train", "data, test")
    reading = Reading(label_column="stars", evaluation_share=0.5)
    with pytest.raises(
        ValueError, match=r"share to score is 0.5, but .*test.csv is there"
    ):
        load_dataset(str(folder), reading)


def test_examples_to_score_alone(folder):
    FRAME.to_csv(folder / "test.csv", index=False)
    task = Task("custom", ("text",), ("1", "5"), "accuracy", label="stars")
    examples = read_dataset(str(folder), task, Reading())
    assert [text for (text,) in examples.texts] == list(FRAME["text"])
    np.testing.assert_array_equal(examples.labels, FRAME["stars"] == 5)
    FRAME.to_csv(folder / "dev.csv", index=False)
    with pytest.raises(DataError, match="no split 'train'; there are 'validation', 't"):
        load_dataset(str(folder))
    (folder / "dev.csv").unlink()
    (folder / "test.csv").rename(folder / "train.csv")
    with pytest.raises(
        DataError, match=r"to score \(validation, .*; there are 'train'"
    ):
        read_dataset(str(folder), task, Reading())


def test_csv_of_folders_is_read_as_such_files_are(folder):
    rows = 'NA;01\nNone;02\n007;01\n"1.50";02\n'
    for name in ("train-1", "train-2", "test"):
        (folder / f"{name}.csv").write_text(f"text;grad\xe9\n{rows}", "cp1252")
    reading = Reading(label_column="grad\xe9", encoding="cp1252")
    data = load_dataset(str(folder), reading)
    assert data.task.labels == ("01", "02")
    assert data.evaluation.texts == [("NA",), ("None",), ("007",), ("1.50",)]
    assert data.train.texts == 2 * data.evaluation.texts
    (folder / "train-2.csv").write_text("text;label\n")
    with pytest.raises(
        DataError, match=r"train-2.csv, line 1: the columns are 'text', "
    ):
        load_dataset(str(folder), reading)
    for file in folder.iterdir():
        file.unlink()
    FRAME.to_parquet(folder / "train.parquet")
    with pytest.raises(
        DataError, match=r"encoding is 'cp1252', but .* no folder of CSV"
    ):
        load_dataset(str(folder), reading)


def test_sounds_are_not_listened_to(monkeypatch):
    import datasets

    sound = [{"bytes": b"0", "path": None}] * 2
    rows = {"text": ["a", "b"], "label": ["yes", "no"], "sound": sound}
    split = datasets.Dataset.from_dict(rows).cast_column("sound", datasets.Audio())
    split = split.cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    stand_in(monkeypatch, datasets.DatasetDict({"train": split}))
    data = load_dataset("x")
    assert data.train.texts == [("a",), ("b",)]
    np.testing.assert_array_equal(data.train.labels, [1, 0])


def test_datasets_that_cannot_be_used(monkeypatch, folder):
    import datasets

    with pytest.raises(DataError, match=r"cannot load the dataset .*data' \(\w+: "):
        load_dataset(str(folder))
    stand_in(monkeypatch, ConnectionError("a\nb"))
    with pytest.raises(DataError, match=r"dataset 'x:y' \(ConnectionError: a b\)$"):
        load_dataset("x:y")
    split = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    stand_in(monkeypatch, datasets.DatasetDict({"all": split}))
    with pytest.raises(DataError, match="has no split 'train'; there are 'all'"):
        load_dataset("x")
    split = split.rename_column("text", "body")
    stand_in(monkeypatch, datasets.DatasetDict({"train": split}))
    with pytest.raises(
        DataError, match="x, train, line 1: the columns are 'body', 'la"
    ):
        load_dataset("x")
