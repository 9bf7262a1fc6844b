import dataclasses

import numpy as np
import pytest
import tiny_bert
from bert_glue.data import tasks
from bert_glue.data.examples import Examples
from bert_glue.training import subjects


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return tiny_bert.save(tmp_path_factory.mktemp("tiny"))


def fingerprint(folder, train, evaluation, task=tasks.GENERATED["acceptability"]):
    splits = [
        Examples(list(map(tuple, texts)), np.array(labels, np.int32))
        for texts, labels in (train, evaluation)
    ]
    data = tasks.TaskData(task, *splits)
    return subjects.prepare(data, folder).data_fingerprint


def test_the_fingerprint_changes_with_any_text_and_label(tiny_folder):
    train = [["the cat sees"], ["a dog"]], [0, 1]
    evaluation = [["the bird"]], [1]
    f1 = dataclasses.replace(tasks.GENERATED["acceptability"], metric="f1")
    of_two = tasks.GENERATED["paraphrase"]
    different = [
        fingerprint(tiny_folder, train, evaluation),
        fingerprint(tiny_folder, ([["the cat hears"], ["a dog"]], [0, 1]), evaluation),
        fingerprint(tiny_folder, ([["the cat sees"], ["a dog"]], [1, 1]), evaluation),
        fingerprint(tiny_folder, ([["a dog"], ["the cat sees"]], [1, 0]), evaluation),
        fingerprint(tiny_folder, train, ([["the dog"]], [1])),
        fingerprint(tiny_folder, train, ([["the bird"]], [0])),
        fingerprint(tiny_folder, evaluation, train),
        fingerprint(tiny_folder, train, evaluation, f1),
        fingerprint(tiny_folder, ([["a", "cat"]], [0]), ([["a", "dog"]], [1]), of_two),
        fingerprint(tiny_folder, ([["a cat", ""]], [0]), ([["a", "dog"]], [1]), of_two),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint(tiny_folder, train, evaluation) == different[0]
