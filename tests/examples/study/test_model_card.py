"""A model card that the Hugging Face hub accepts, whatever names it holds."""

import types

import huggingface_hub
import pytest
import run_records
import yaml
from bert_glue.data.examples import Task
from bert_glue.data.tasks import TASKS
from bert_glue.study.configuration import Configuration
from bert_glue.study.model_card import make_card
from bert_glue.training.methods import METHODS

HOSTILE = "a`b\n# no heading <script> | ---"


def configuration(task=TASKS["rte"], method="cwgnc", files=(), **subject):
    lengths = types.SimpleNamespace(lengths=[5] * 277)
    about = {
        "held_out": 0.0,
        "files": files,
        "max_length": 128,
        "truncated_share": 0.0,
        "constant_score": 52.7,
        "model_fingerprint": "0123456789ab",
        "data_fingerprint": "ba9876543210",
        "dtype": "float32",
    }
    subject = types.SimpleNamespace(
        task=task, train=lengths, evaluation=lengths, **(about | subject)
    )
    return Configuration(subject, "bert-large-uncased", METHODS[method])


def runs_of(*scores):
    return [run_records.run("cwgnc", n, s, task="rte") for n, s in enumerate(scores)]


def card_of(configuration, runs, record, **more):
    card = huggingface_hub.ModelCard(
        make_card(configuration, runs, record, **{"is_local": False} | more)
    )
    # Nothing from outside ends the front matter, or a table's row.
    front = card.content.split("---\n")[1]
    assert yaml.safe_load(front)["library_name"] == "transformers"
    return card


def test_a_task_of_glue():
    runs = runs_of(70.04, 71.96, 52.0)
    card = card_of(
        configuration(), runs, runs[1], command="finetune_glue.py --task rte"
    )
    data = card.data.to_dict()
    assert data["base_model"] == "bert-large-uncased"
    assert data["datasets"] == ["nyu-mll/glue"]
    (index,) = data["model-index"]
    assert index["name"] == "bert-large-uncased on rte"
    (result,) = index["results"]
    assert result["dataset"] == {
        "name": "rte",
        "type": "nyu-mll/glue",
        "config": "rte",
        "split": "validation",
    }
    assert [metric["value"] for metric in result["metrics"]] == [0.7196, 0.6467, 0.0899]
    assert {metric["type"] for metric in result["metrics"]} == {"accuracy"}
    text = card.text
    assert "| 72.0 | 3 | 9.0 | 64.7 | 72.0 | 52.0 | 1 |" in text
    assert "chosen by its score on these very examples" in text
    assert "bias vector was clipped on its own, to the norm 0.05." in text
    assert "\n    finetune_glue.py --task rte\n" in text
    assert "This run failed" not in text


def test_one_run_that_failed():
    (run,) = runs_of(50.0)
    card = card_of(configuration(method="adamw"), [run], run)
    (result,) = card.data.to_dict()["model-index"][0]["results"]
    assert [metric["name"] for metric in result["metrics"]] == [
        "this model, the only run"
    ]
    assert "| 50.0 | 1 | - | 50.0 |" in card.text
    assert "**This run failed: no better than a constant answer.**" in card.text
    assert "chosen by its score" not in card.text
    assert "The command" not in card.text


def test_names_from_outside_are_text():
    task = Task("custom", ("text",), (HOSTILE, "b"), "f1", positive=0)
    runs = [run | {"task": "custom"} for run in runs_of(60.0, 61.0)]
    card = card_of(
        configuration(task, files=(HOSTILE,)),
        runs,
        runs[0],
        is_local=True,
        command=f"finetune_glue.py '{HOSTILE}'",
    )
    assert card.data.base_model is None
    outside = [
        line
        for line in card.text.splitlines()
        if line.startswith("#") or "script" in line
    ]
    headings = [line for line in outside if line.startswith("#")]
    assert headings == [
        "# `bert-large-uncased` fine-tuned on `custom`",
        "## Scores",
        "## Data",
        "## Training",
    ]
    code = "``a`b # no heading <script> | ---``"
    for line in set(outside) - set(headings):
        assert line.startswith("    ") or code in line


def test_what_a_score_is_of():
    runs = runs_of(60.0, 61.0)
    for about, words in (
        (("accuracy", True), "Subset accuracy"),
        (("accuracy", False), "Accuracy"),
        (("f1", True), "F1 of the class `b`"),
    ):
        metric, several = about
        task = Task("custom", ("text",), ("a", "b"), metric, is_multi_label=several)
        card = card_of(configuration(task), runs, runs[0])
        assert f"\n{words} in per cent, on 277 examples:" in card.text


@pytest.mark.parametrize(
    ("held_out", "split"), [(0.0, "validation_mismatched"), (0.1, None)]
)
def test_what_was_scored_is_said(held_out, split):
    runs = runs_of(80.0, 81.0)
    card = card_of(
        configuration(TASKS["mnli-mm"], held_out=held_out, truncated_share=0.25),
        runs,
        runs[0],
    )
    (result,) = card.data.to_dict()["model-index"][0]["results"]
    assert result["dataset"].get("split") == split
    assert result["dataset"]["config"] == "mnli"
    assert ("held out of the training set" in card.text) == bool(held_out)
    assert "25.0% are longer and were cut" in card.text
