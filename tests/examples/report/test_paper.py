"""The paper's numbers and settings beside those of runs."""

import pytest
from bert_glue.report import paper
from run_records import run


@pytest.mark.parametrize(
    ("method", "task", "mean"),
    [
        ("devlin", "rte", 50.9),
        ("mosbach", "mrpc", 90.3),
        ("cwgnc", "cola", 62.2),
        ("cwgnc:max_norm=5", "cola", 57.3),
        ("cwgnc:max_norm=5", "rte", None),
        ("cwgnc:max_norm=7", "cola", None),
        ("cwgnc:epochs=3", "cola", None),
        ("adamw:schedule=bert", "cola", None),
        ("gu", "cola", None),
    ],
)
def test_the_papers_numbers_stand_beside_its_own_settings_only(method, task, mean):
    record = run(method, 0, 60.0, task=task)
    published = paper.published(record)
    assert (None if published is None else published.mean) == mean
    for change in (
        {"model": "bert-base-uncased"},
        {"train_examples": 1000},
        {"eval_examples": 100},
        {"max_length": 64},
        {"dtype": "bfloat16"},
        {"learning_rate": 1e-4},
        {"held_out": 0.1},
    ):
        assert paper.published(record | change) is None
