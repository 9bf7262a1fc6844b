import numpy as np
import pytest
from bert_glue.data import generated, tasks
from bert_glue.data.load import (
    Reading,
    load_files,
    load_task,
    read_examples,
    read_further,
)
from bert_glue.data.tables import DataError
from glue_files import LABELS, OFFICIAL, write, write_official


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_layout(tmp_path, name):
    expected = write_official(tmp_path, name)
    data = load_task(name, tmp_path)
    assert data.task is tasks.TASKS[name]
    assert data.evaluation.texts == expected
    assert data.train.texts != expected
    for examples in (data.train, data.evaluation):
        assert examples.labels is not None
        if name == "stsb":
            assert examples.labels.dtype == np.float32
            np.testing.assert_array_equal(examples.labels, np.float32([0, 3.8, 5]))
        else:
            assert examples.labels.dtype == np.int32
            np.testing.assert_array_equal(examples.labels, range(len(LABELS[name])))
    assert data.task.num_labels == (1 if name == "stsb" else len(LABELS[name]))
    assert data.task.is_regression == (name == "stsb")


@pytest.mark.parametrize("name", tasks.GENERATED)
def test_generated_tasks_need_no_data(monkeypatch, name):
    monkeypatch.setattr(generated, "load", lambda asked: ("generated", asked))
    assert load_task(name) == ("generated", name)


def test_folders_that_lack_something(tmp_path):
    with pytest.raises(
        DataError, match=r"RTE/train.tsv and RTE/dev.tsv; there is no f"
    ):
        load_task("rte", tmp_path / "absent")
    with pytest.raises(DataError, match=r"no file .*RTE/train.tsv.* holds nothing$"):
        load_task("rte", tmp_path)
    write_official(tmp_path, "mnli")
    write_official(tmp_path, "cola")
    with pytest.raises(DataError, match=r"no file .*RTE.* holds CoLA, MNLI$"):
        load_task("rte", tmp_path)
    with pytest.raises(DataError, match=r"no file .*MNLI/dev_mismatched.tsv: "):
        load_task("mnli-mm", tmp_path)


@pytest.mark.parametrize("name", ["SST-2", "sst_2", "MNLI-mm", "STS-B", "Entailment"])
def test_tasks_however_they_are_spelled(name):
    bare = name.lower().replace("-", "").replace("_", "")
    found = tasks.find(name)
    assert found is not None
    assert found.name.replace("-", "") == bare


def test_unknown_task():
    with pytest.raises(
        DataError, match=r"unknown task 'glue'; .* acceptability.* stsb"
    ):
        load_task("glue")


@pytest.mark.parametrize(
    ("spellings", "classes"),
    [
        (["yes", "no", "yes"], ("no", "yes")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["2", "none", "1"], ("1", "2", "none")),
        (["1", "0", "1"], ("0", "1")),
        (["b c", "a", "\u00e4"], ("a", "b c", "\u00e4")),
    ],
)
def test_own_classes_are_those_of_training(tmp_path, spellings, classes):
    rows = [f"{label}\ttext {i}" for i, label in enumerate(spellings)]
    train = write(tmp_path / "train", "label\tsentence", *rows)
    dev = write(tmp_path / "dev", "sentence\tid\tlabel", f"new\t7\t{spellings[1]}")
    data = load_files(train, dev)
    assert data.task.name == "custom"
    assert data.task.labels == classes
    assert data.task.metric == "accuracy"
    np.testing.assert_array_equal(
        data.train.labels, [classes.index(label) for label in spellings]
    )
    assert data.evaluation.texts == [("new",)]
    np.testing.assert_array_equal(data.evaluation.labels, [classes.index(spellings[1])])
    with pytest.raises(DataError, match=r"line 2: unknown label 'other'"):
        load_files(train, write(tmp_path / "bad", "sentence\tlabel", "new\tother"))


def test_own_regression(tmp_path):
    header = "sentence1\tsentence2\tlabel"
    train = write(tmp_path / "train", header, "a\tb\t1", "c\td\t-2.5", "e\tf\t1e-1")
    dev = write(tmp_path / "dev", header, "g\th\t3")
    data = load_files(train, dev)
    assert data.task.is_regression
    assert data.task.metric == "pearson_spearman"
    assert data.train.labels is not None
    assert data.train.labels.dtype == np.float32
    np.testing.assert_array_equal(data.train.labels, np.float32([1, -2.5, 0.1]))
    assert data.evaluation.texts == [("g", "h")]


def test_the_metric_decides_what_labels_are(tmp_path):
    whole = write(tmp_path / "whole", "sentence\tlabel", "a\t1", "b\t2", "c\t3")
    data = load_files(whole, whole, Reading(metric="pearson_spearman"))
    np.testing.assert_array_equal(data.train.labels, np.float32([1, 2, 3]))
    halves = write(tmp_path / "halves", "sentence\tlabel", "a\t1.5", "b\t0.5")
    data = load_files(halves, halves, Reading(metric="f1"))
    assert data.task.labels == ("0.5", "1.5")


@pytest.mark.parametrize(
    ("lines", "metric", "message"),
    [
        (
            ["body\tlabel", "a\t1"],
            None,
            "line 1: the columns are 'body', 'label'; need",
        ),
        (["sentence", "a"], None, "line 1: the columns are 'sentence'; needed are"),
        (["sentence1\tlabel", "a\t1"], None, "'sentence', or 'sentence1' and 'senten"),
        (
            ["a sentence " * 9 + "\t1", "b\t0"],
            None,
            r"are 'a sentence .*\[...\]', '1'; ",
        ),
        (["sentence\tlabel", "a\t1", "b\t1"], None, "every label is '1'; two classes"),
        (["sentence\tlabel", "a\t1", "b\t "], None, "line 3: the label is empty"),
        (
            ["sentence\tlabel", "a\t.5", "b\tx"],
            None,
            "line 3: the label 'x' is no numb",
        ),
        (
            ["sentence\tlabel", "a\t1", "b\tx"],
            "pearson_spearman",
            "line 3: unknown label 'x'; accepted are numbers",
        ),
        (
            ["sentence\tlabel", "a\t1", "b\t2", "c\t3"],
            "f1",
            "one class, which --positive-class names where there are not two",
        ),
        (["sentence\tlabel", "a\t1", "b\t2"], "bleu", "unknown metric 'bleu'"),
        (
            ["sentence\tlabel", "a\t0.5", "b\t.50"],
            None,
            "every label is '0.5'; two different numbers are needed",
        ),
    ],
)
def test_bad_own_files(tmp_path, lines, metric, message):
    file = write(tmp_path / "file", *lines)
    with pytest.raises(ValueError, match=message):
        load_files(file, file, Reading(metric=metric))


def test_a_row_that_holds_a_number_is_no_header(tmp_path):
    reading = Reading(text_columns=("2",), label_column="1")
    train = write(tmp_path / "train", "1\tgood cat", "2\tbad cat", "1\tgood dog")
    data = load_files(train, train, reading)
    further = write(tmp_path / "further", "2\tthe cat", "1\tthe dog")
    for named in (reading, Reading()):
        found = read_further(further, data.task, named, labelled=False)
        assert found.texts == [("the cat",), ("the dog",)]
    # But columns may be called by numbers.
    numbered = write(tmp_path / "numbered", "1\t2", "2\tthe cat", "1\tthe dog")
    assert load_files(numbered, numbered, reading).train.texts == found.texts


@pytest.mark.parametrize(
    ("name", "header", "row", "expected"),
    [
        ("rte", "index\tsentence1\tsentence2", "0\ta\tb", ("a", "b")),
        ("rte", "sentence2\tlabel\tsentence1", "b\twhat?\ta", ("a", "b")),
        ("cola", "index\tsentence", "0\ta", ("a",)),
        ("mrpc", "#1 String\t#2 String", "a\tb", ("a", "b")),
        ("mrpc", "sentence1\tsentence2", "a\tb", ("a", "b")),
        ("qnli", "question\tsentence", "a\tb", ("a", "b")),
    ],
)
def test_files_to_predict(tmp_path, name, header, row, expected):
    file = write(tmp_path / "file", header, row)
    examples = read_examples(file, tasks.TASKS[name], labelled=False)
    assert examples.texts == [expected]
    assert examples.labels is None


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "qnli",
            ["sentence", "a"],
            "line 1: .* for qnli are 'question' and 'sentence'",
        ),
        (
            "cola",
            ["a sentence", "b"],
            "are 'a sentence'; needed for cola are 'sentence'",
        ),
        ("cola", ["sentence", "a", "", "b"], "line 3: an empty line"),
        ("cola", ["sentence"], "has no examples"),
    ],
)
def test_bad_files_to_predict(tmp_path, name, lines, message):
    with pytest.raises(DataError, match=message):
        read_examples(
            write(tmp_path / "file", *lines), tasks.TASKS[name], labelled=False
        )


@pytest.mark.parametrize(
    ("name", "train", "evaluation", "positive"),
    [("rte", 2490, 277, 131), ("mrpc", 3668, 408, 279), ("cola", 8551, 1043, 721)],
)
def test_real_data(shared_dir, name, train, evaluation, positive):
    data = load_task(name, shared_dir / "glue")
    assert (len(data.train), len(data.evaluation)) == (train, evaluation)
    assert data.train.labels is not None
    assert data.evaluation.labels is not None
    assert set(data.train.labels.tolist()) == {0, 1}
    assert data.evaluation.labels.sum() == positive
    for examples in (data.train, data.evaluation):
        assert all(text.strip() == text != "" for row in examples.texts for text in row)
