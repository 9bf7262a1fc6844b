"""What a configuration is called, and what is recorded of it."""

import dataclasses
import types

import numpy as np
import pytest
import sklearn.metrics
from bert_glue.data import tasks
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.records.run_store import distinctions
from bert_glue.study.configuration import Configuration
from bert_glue.training.losses import Loss
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed


def configuration(recipe, **changes):
    subject = {
        "task": tasks.TASKS["rte"],
        "max_length": 128,
        "dtype": "float32",
        "model_fingerprint": "0" * 12,
        "data_fingerprint": "1" * 12,
        "held_out": 0.0,
        "constant_score": 53.0,
        "loss": lambda recipe: Loss(SINGLE_LABEL),
        "files": (),
        "truncated_share": 0.5,
        "longest": 9,
        "train": types.SimpleNamespace(lengths=[5, 6], labels=[0, 1]),
        "evaluation": types.SimpleNamespace(lengths=[7]),
        "majority_score": 52.7,
    }
    return Configuration(types.SimpleNamespace(**subject | changes), "bert", recipe)


# As they were when the first runs of this format were recorded: results are found again
# by these names.
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("cwgnc", "ea97ee101b5f"),
        ("devlin", "0eba77f81f81"),
        ("adamw", "8025391b1c97"),
        ("mixout", "9cb58f19b885"),
        ("mosbach", "25db3a97344e"),
        ("full", "903dc26152e9"),
        ("gu", "6b39d483d390"),
        ("gu-restart", "f38f7b96716c"),
    ],
)
def test_names_stay_the_same(method, name):
    assert configuration(METHODS[method]).name == name


def test_names_change_with_what_decides_a_result_and_with_nothing_else():
    recipe = METHODS["gu"]
    name = configuration(recipe).name
    assert configuration(recipe.replace(freezing="split")).name == name
    assert configuration(recipe, held_out=0.1).name == name
    for other in (
        configuration(recipe.replace(freezing="labels")),
        configuration(recipe.replace(epochs=4)),
        configuration(recipe, max_length=64),
        configuration(recipe, dtype="bfloat16"),
        configuration(recipe, data_fingerprint="2" * 12),
    ):
        assert other.name != name
    assert configuration(recipe).run(Seed(3, 4)) == f"rte-gu-{name}-3-4"


def test_what_a_result_does_not_depend_on_is_recorded_too():
    fields = configuration(METHODS["gu"], files=("a.tsv", "b.tsv")).fields
    assert fields["files"] == {"train": "a.tsv", "evaluation": "b.tsv"}
    assert fields["classes"] == ["entailment", "not_entailment"]
    assert fields["constant_loss"] == pytest.approx(np.log(2))
    assert not {"problem_type", "positive_class"} & set(fields)
    assert fields["truncation"] == {"share": 0.5, "longest": 9}
    held_out = configuration(METHODS["gu"], files=("a.tsv",)).fields
    assert held_out["files"] == {"train": "a.tsv"}
    assert "files" not in configuration(METHODS["gu"]).fields
    # Runs of earlier versions are not told apart by what they lack.
    new = {"run": "a", "configuration": "c", **fields}
    old = {"run": "b", "configuration": "d", **fields, "epochs": 9}
    for name in ("files", "classes", "constant_score", "constant_loss", "truncation"):
        del old[name]
    assert distinctions([new, old]) == {"c": {"epochs": 3}, "d": {"epochs": 9}}


def test_the_kind_of_labels_and_the_class_of_f1_are_recorded_where_unusual():
    recipe = METHODS["cwgnc"]
    topics = tasks.Task("custom", ("text",), ("a", "b", "c"), "f1_macro")
    several = dataclasses.replace(topics, is_multi_label=True)
    fields = configuration(
        recipe,
        task=several,
        loss=lambda recipe: Loss(MULTI_LABEL),
        train=types.SimpleNamespace(lengths=[5, 6], labels=[[1, 0, 0], [0, 0, 0]]),
    ).fields
    assert fields["problem_type"] == "multi_label_classification"
    of_one = [
        dataclasses.replace(topics, metric="f1", labels=labels, positive=positive)
        for labels in (("a", "b"), ("a", "b", "c"))
        for positive in (0, 1)
    ]
    found = [configuration(recipe, task=task) for task in of_one]
    recorded = [each.fields.get("positive_class") for each in found]
    assert recorded == ["a", None, "a", "b"]
    # Which class is scored decides the result.
    assert len({each.name for each in found}) == 3


@pytest.mark.parametrize("metric", ["accuracy", "f1", "roc_auc"])
def test_runs_are_scored_by_the_metric_of_the_task(metric):
    labels = np.array([0, 2, 1, 0, 1])
    task = tasks.Task("custom", ("text",), ("a", "b", "c"), metric, positive=0)
    subject = {
        "task": task,
        "predictions": lambda logits: logits.argmax(axis=-1),
        "evaluation": types.SimpleNamespace(labels=labels),
    }
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    answers = logits.argmax(axis=1)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(labels, answers),
        "f1": sklearn.metrics.f1_score(labels == 0, answers == 0),
        "roc_auc": sklearn.metrics.roc_auc_score(labels, chances, multi_class="ovr"),
    }
    found = configuration(METHODS["cwgnc"], **subject).score(logits)
    # Ranks are the same whatever the rounding.
    assert found == pytest.approx(100 * expected[metric], abs=1e-9)


def test_a_batch_of_more_examples_than_there_are_is_refused():
    fits = METHODS["adamw"].replace(batch_size=2)
    configuration(fits, shapes=None).check()
    smooth = {
        "shapes": None,
        "loss": lambda recipe: Loss(REGRESSION, None, recipe.label_smoothing),
    }
    configuration(fits, **smooth).check()
    with pytest.raises(ValueError, match=r"label_smoothing are for classes, but"):
        configuration(fits.replace(label_smoothing=0.1), **smooth).check()
    with pytest.raises(ValueError, match=r"batch_size is 16 .* 2 examples .* 1 to 2"):
        configuration(METHODS["adamw"], shapes=None).check()


@pytest.mark.cpu
def test_attention_of_another_device_is_refused():
    fits = METHODS["adamw"].replace(batch_size=2, attention="cudnn")
    with pytest.raises(
        ValueError, match=r"needs a GPU and .* here are cpu and float32"
    ):
        configuration(fits, shapes=None).check()


def test_a_schedule_may_warm_up_over_all_stages_that_it_is_for():
    ones = np.ones((3, 2), np.float32)
    shapes = {"embed": ones, "layers": {"kernel": ones}, "head": ones}
    steps = {"batch_size": 2, "epochs": 4, "warmup_steps": 12}
    each = METHODS["gu"].replace(**steps)
    with pytest.raises(ValueError, match=r"warmup_steps is 12 .* takes 4 steps"):
        configuration(each.replace(carry_optimizer=False), shapes=shapes).check()
    configuration(each.replace(carry_optimizer=True), shapes=shapes).check()


def test_only_settings_that_differ_from_later_defaults_are_recorded():
    fields = configuration(METHODS["gu"], held_out=0.1).fields
    assert "freezing" not in fields
    assert fields["held_out"] == 0.1
    assert (fields["label"], fields["model"]) == ("gu", "bert")
    assert (fields["train_examples"], fields["eval_examples"]) == (2, 1)
    labels = METHODS["gu"].replace(freezing="labels")
    assert configuration(labels).fields["freezing"] == "labels"
