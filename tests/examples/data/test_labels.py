import numpy as np
import pytest
from bert_glue.data import tasks
from bert_glue.data.load import load_files, read_examples
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
        load_files(file, file, metric="pearson_spearman")


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
    assert "--metric pearson_spearman makes them values" in data.notes[0]
    asked = load_files(file, file, metric="accuracy")
    assert asked.task.labels == data.task.labels
    assert asked.notes == ()
    assert load_files(file, file, metric="pearson_spearman").task.is_regression
    many = write_labels(tmp_path / "many", [f"{n}.0" for n in range(21)])
    assert load_files(many, many).task.is_regression
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
