"""What a saved model knows of its task, and what it answers."""

import json

import jax
import numpy as np
import pytest
import tiny_bert
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Examples
from bert_glue.data.load import Reading
from bert_glue.model import checkpoint
from bert_glue.model.encoder import initial_params
from bert_glue.study import saved_model
from transformers import AutoConfig

pytestmark = pytest.mark.medium

EXAMPLES = Examples([("the cat sees a dog",), ("a bird",), ("never often",)], None)
USUAL = Reading()


def save(folder, labels=("bad", "good", "so"), outputs=3, about=None, **more):
    """A tiny model with a classifier, whose weights are as large as 1."""
    tiny_bert.save(folder)
    heads = initial_params(tiny_bert.CONFIG, outputs, jax.random.key(1))
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * 50, heads)
    checkpoint.save(folder, tiny_bert.CONFIG, params, labels=labels, **more)
    if about is not None:
        (folder / saved_model.RUN).write_text(json.dumps(about))
    return folder


def logits(model, task):
    classifier = model.classifier(task)
    return classifier.logits(classifier.encode(EXAMPLES).data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    about = {"texts": ["body"], "label": "stars", "metric": "f1_macro"}
    about |= {"task": "custom", "max_length": 24, "positive_class": None}
    return save(tmp_path_factory.mktemp("saved"), about=about)


def test_the_task_is_that_of_the_files(folder):
    model = saved_model.read(folder)
    task = model.task(USUAL)
    assert (task.name, task.labels) == ("custom", ("bad", "good", "so"))
    assert (task.texts, task.label, task.metric) == (("body",), "stars", "f1_macro")
    assert task.problem_type == SINGLE_LABEL
    assert model.classifier(task).max_length == 24
    assert model.classifier(task, 16).max_length == 16
    with pytest.raises(ValueError, match="the maximum length is 64"):
        model.classifier(task, 64)
    # What the user says goes before.
    reading = Reading(metric="f1", positive_class="so", text_columns=["a", "b"])
    task = model.task(reading)
    assert (task.texts, task.metric, task.positive) == (("a", "b"), "f1", 2)
    with pytest.raises(ValueError, match="'pearson' does not fit labels"):
        model.task(Reading(metric="pearson"))


def test_transformers_reads_the_names_of_classes(folder):
    config = AutoConfig.from_pretrained(folder)
    assert config.id2label == {0: "bad", 1: "good", 2: "so"}
    assert config.label2id == {"bad": 0, "good": 1, "so": 2}
    assert config.problem_type == SINGLE_LABEL


@pytest.mark.parametrize(
    ("settings", "problem", "labels", "metric"),
    [
        ({"labels": (), "outputs": 1}, REGRESSION, (), "pearson_spearman"),
        ({"labels": ()}, SINGLE_LABEL, ("0", "1", "2"), "accuracy"),
        ({"problem_type": MULTI_LABEL}, MULTI_LABEL, ("bad", "good", "so"), "accuracy"),
    ],
)
def test_a_model_of_another_program(tmp_path, settings, problem, labels, metric):
    model = saved_model.read(save(tmp_path, **settings))
    task = model.task(USUAL)
    assert (task.problem_type, task.labels, task.metric) == (problem, labels, metric)
    assert (task.texts, task.label) == ((), "")
    assert logits(model, task).shape == (3, settings.get("outputs", 3))
    assert model.classifier(task).max_length == 40


def test_answers_are_in_the_order_of_the_task(folder):
    model = saved_model.read(folder)
    own = model.task(USUAL)
    other = logits(model, model_task(own, ("so", "bad", "good")))
    found = logits(model, own)
    # The same products, added in the same order: but the compiler may choose.
    np.testing.assert_allclose(other, found[:, [2, 0, 1]], rtol=1e-5, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 0.01
    with pytest.raises(ValueError, match="no classifier that was trained for 'a', 'b'"):
        model.classifier(model_task(own, ("a", "b")))


def model_task(task, labels):
    return type(task)(task.name, task.texts, labels, "accuracy")


def test_a_model_without_a_classifier(tmp_path):
    model = saved_model.read(tiny_bert.save(tmp_path))
    with pytest.raises(ValueError, match=r"no classifier .* name --task or"):
        model.classifier(model.task(USUAL))


def test_what_lies_beside_a_model_may_be_damaged(tmp_path):
    save(tmp_path, about=[1])
    assert saved_model.read(tmp_path).about == {}
    (tmp_path / saved_model.RUN).write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: no JSON"):
        saved_model.read(tmp_path)
