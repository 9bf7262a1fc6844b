import json

import numpy as np
import pandas
import pytest
from bert_glue.data import tasks
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.data.load import Reading, load_files, read_examples
from bert_glue.data.tables import DataError
from glue_files import write


def write_labels(path, labels):
    rows = [f"text {i}\t{label}" for i, label in enumerate(labels)]
    path.write_text("\n".join(["sentence\tlabel", *rows, ""]))
    return path


def test_the_ends_of_float32_are_labels(tmp_path):
    largest = np.finfo(np.float32).max
    file = write_labels(tmp_path / "file", [f"{largest:.9g}", "0.5", f"{-largest:.9g}"])
    labels = load_files(file, file).train.labels
    np.testing.assert_array_equal(labels, np.float32([largest, 0.5, -largest]))


@pytest.mark.parametrize("label", ["3.5e38", "-1e39", "1e400"])
def test_labels_beyond_float32_are_refused(tmp_path, label):
    # float32 would make them infinite, and with them the loss.
    file = write_labels(tmp_path / "file", ["0.5", label])
    with pytest.raises(DataError, match=r"file, line 3: .* in the range of float32"):
        load_files(file, file)
    with pytest.raises(DataError, match=f"file, line 3: unknown label '{label}'"):
        load_files(file, file, Reading(metric="pearson_spearman"))


def test_spaces_around_labels_make_no_other_class(tmp_path):
    train = write_labels(tmp_path / "train", ["1", "0", "1 ", " 0"])
    data = load_files(train, write_labels(tmp_path / "dev", [" 1", "0 "]))
    assert data.task.labels == ("0", "1")
    np.testing.assert_array_equal(data.train.labels, [1, 0, 1, 0])
    np.testing.assert_array_equal(data.evaluation.labels, [1, 0])


def test_whole_numbers_with_a_point_are_classes_unless_they_are_many(tmp_path):
    file = write_labels(tmp_path / "file", ["1.0", "0.0", "2.0", "1"])
    data = load_files(file, file)
    assert data.task.labels == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.labels, [1, 0, 2, 1])
    assert "--problem regression makes them values" in data.notes[0]
    asked = load_files(file, file, Reading(metric="accuracy"))
    assert asked.task.labels == data.task.labels
    assert asked.notes == ()
    assert load_files(file, file, Reading(metric="pearson_spearman")).task.is_regression
    many = write_labels(tmp_path / "many", [f"{n}.0" for n in range(21)])
    assert load_files(many, many).task.is_regression
    (note,) = load_files(many, many).notes
    assert "taken for a value; --problem single_label makes them classes" in note
    asked = load_files(many, many, Reading(problem=SINGLE_LABEL))
    assert len(asked.task.labels) == 21
    assert asked.notes == ()
    few = write_labels(tmp_path / "few", [f"{n}.0" for n in range(20)])
    assert len(load_files(few, few).task.labels) == 20
    half = write_labels(tmp_path / "half", ["1.0", "0.0", "0.5"])
    assert load_files(half, half).task.is_regression


@pytest.mark.parametrize("label", ["two\nlines", "a\ttab"])
def test_classes_have_names_of_one_line(tmp_path, label):
    file = tmp_path / "file.csv"
    file.write_text(f'text,label\na,ham\nb,"{label}"\n')
    with pytest.raises(DataError, match=r"file.csv, line 3: .* has a tab or a line"):
        load_files(file, file)


def test_many_classes_are_not_all_listed(tmp_path):
    train = write_labels(tmp_path / "train", [f"c{n:02}" for n in range(77)])
    dev = write_labels(tmp_path / "dev", ["none"])
    with pytest.raises(DataError, match=r"'c00', .*'c11', \.\.\. \(77 in all\)$"):
        load_files(train, dev)


def test_unknown_labels_come_with_what_is_accepted(tmp_path):
    file = write(tmp_path / "file", "sentence\tlabel", "good\t1", "bad\t2")
    with pytest.raises(DataError, match=r"line 3: unknown label '2'; .* '0', '1'$"):
        read_examples(file, tasks.TASKS["sst2"])


@pytest.mark.parametrize("score", ["high", "nan", "inf", ""])
def test_scores_are_finite_numbers(tmp_path, score):
    file = write(tmp_path / "file", "sentence1\tsentence2\tscore", f"a\tb\t{score}")
    with pytest.raises(DataError, match=f"line 2: unknown score '{score}'; .* numbers"):
        read_examples(file, tasks.TASKS["stsb"])


SETS = ["4", "27", "4,27", "", " 27 , 4 "]
MATRIX = [[1, 0], [0, 1], [1, 1], [0, 0], [1, 1]]


def test_several_labels_separated_by_commas(tmp_path):
    file = write_labels(tmp_path / "file", SETS)
    data = load_files(file, file, Reading(problem=MULTI_LABEL))
    assert data.task.labels == ("4", "27")
    assert data.task.problem_type == MULTI_LABEL
    assert data.task.metric == "accuracy"
    assert data.train.labels is not None
    assert data.train.labels.dtype == np.int32
    np.testing.assert_array_equal(data.train.labels, MATRIX)
    assert data.notes == (f"{file}: 1 of 5 examples have no label",)


@pytest.mark.parametrize("metric", [None, "f1_micro"])
def test_lists_are_several_labels(tmp_path, metric):
    sets = [[4], [27], [4, 27], [], [27, 4]]
    rows = [{"text": f"text {i}", "label": each} for i, each in enumerate(sets)]
    file = tmp_path / "file.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    data = load_files(file, file, Reading(metric=metric))
    assert data.task.labels == ("4", "27")
    assert data.task.is_multi_label
    np.testing.assert_array_equal(data.train.labels, MATRIX)
    pandas.DataFrame(rows).to_parquet(tmp_path / "file.parquet")
    columns = load_files(tmp_path / "file.parquet", file)
    np.testing.assert_array_equal(columns.train.labels, MATRIX)
    with pytest.raises(DataError, match=r"line 1: the label is a list, \['4'\]; acc"):
        load_files(file, file, Reading(problem=SINGLE_LABEL))


@pytest.mark.parametrize(
    ("labels", "evaluation", "message"),
    [
        (["a", "a,b"], ["a,c"], "line 2: unknown label 'c'; accepted are 'a', 'b'"),
        (["a", "a,b"], ["b,b"], "line 2: the label has 'b' twice; accepted are the n"),
        (["a", ""], ["a"], "every label is 'a'; two classes are needed"),
        (["", ","], ["a"], "every label is empty; two classes are needed"),
    ],
)
def test_sets_of_labels_that_cannot_be_used(tmp_path, labels, evaluation, message):
    train = write_labels(tmp_path / "train", labels)
    dev = write_labels(tmp_path / "dev", evaluation)
    with pytest.raises(DataError, match=message):
        load_files(train, dev, Reading(problem=MULTI_LABEL))


def test_labels_in_another_case_are_taken_and_said(tmp_path):
    train = write_labels(tmp_path / "train", ["Yes", "No", "ab", "AB"])
    dev = write_labels(tmp_path / "dev", ["YES", "no", "AB", "YES"])
    data = load_files(train, dev)
    assert data.task.labels == ("AB", "No", "Yes", "ab")
    np.testing.assert_array_equal(data.evaluation.labels, [2, 1, 0, 2])
    assert data.evaluation.notes == (
        f"{dev}: a label that differs from a class in case alone is taken for it: "
        "'YES' for 'Yes', 'no' for 'No'",
    )
    # Of two that are alike in small letters neither is meant.
    with pytest.raises(DataError, match="line 2: unknown label 'Ab'"):
        load_files(train, write_labels(tmp_path / "either", ["Ab"]))


def test_decimal_commas_are_said(tmp_path):
    file = write_labels(tmp_path / "file", ["3,5", "1,2", "2"])
    (note,) = load_files(file, file).notes
    assert "takes it for several; numbers are written with a point)" in note
    (note,) = load_files(file, file, Reading(metric="accuracy")).notes
    with pytest.raises(
        DataError, match="line 2: unknown label '3,5'; accepted are num"
    ):
        load_files(file, file, Reading(problem=REGRESSION))
    words = write_labels(tmp_path / "words", ["good", "good"])
    with pytest.raises(DataError, match="line 2: unknown label 'good'; accepted are n"):
        load_files(words, words, Reading(problem=REGRESSION))


def test_labels_with_commas_that_are_taken_for_names_are_said(tmp_path):
    file = write_labels(tmp_path / "file", SETS[:3])
    (note,) = load_files(file, file).notes
    assert "'4,27' has a comma" in note
    assert "--problem multi_label takes it for several" in note


def test_the_class_that_f1_is_of(tmp_path):
    file = write_labels(tmp_path / "file", ["ham", "spam", "ham"])
    assert load_files(file, file, Reading(metric="f1")).task.positive == 1
    reading = Reading(metric="f1", positive_class="ham")
    assert load_files(file, file, reading).task.positive == 0
    three = write_labels(tmp_path / "three", ["a", "b", "c"])
    reading = Reading(metric="f1", positive_class="c")
    assert load_files(three, three, reading).task.positive == 2
    with pytest.raises(
        ValueError, match="the positive class is 'c'; accepted are 'ham"
    ):
        load_files(file, file, reading)


def test_whole_numbers_are_values_where_the_user_says_so(tmp_path):
    file = write_labels(tmp_path / "file", ["1", "2", "3"])
    task = load_files(file, file, Reading(problem=REGRESSION)).task
    assert task.problem_type == REGRESSION
    assert task.metric == "pearson_spearman"
    with pytest.raises(ValueError, match="'f1' does not fit labels that are numbers"):
        Reading(problem=REGRESSION, metric="f1")
