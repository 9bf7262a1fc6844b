"""Metrics and constant answers in words."""

import pytest
from bert_glue.data.metrics import METRICS
from bert_glue.report.headings import constant_answer, facts, metric_name
from bert_glue.study.summaries import Row
from run_records import run

SEVERAL = {"problem_type": "multi_label_classification"}
OWN = {"task": "custom", "classes": ["ham", "spam"]}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"task": "mrpc", "metric": "f1"}, "F1 of the class 1"),
        # Older records do not hold the classes of users' own files.
        ({"task": "custom", "metric": "f1"}, "F1"),
        (OWN | {"metric": "f1"}, "F1 of the class spam"),
        (OWN | {"metric": "f1", "positive_class": "ham"}, "F1 of the class ham"),
        (OWN | {"metric": "f1_macro"}, "macro F1"),
        (OWN | {"metric": "accuracy"}, "accuracy"),
        (OWN | {"metric": "accuracy"} | SEVERAL, "subset accuracy"),
    ],
)
def test_which_class_a_metric_is_of(record, words):
    assert metric_name(record) == words


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_words(metric):
    assert metric_name(OWN | {"metric": metric}).startswith(METRICS[metric].words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "accuracy"}, "majority classifier"),
        ({"metric": "pearson"}, "mean"),
        ({"metric": "f1_micro"} | SEVERAL, "commonest set of labels"),
    ],
)
def test_what_always_gives_one_answer(changes, words):
    assert constant_answer(changes) == words
    record = run(
        "cwgnc", 0, 60.0, **{"problem_type": "", "constant_score": 54.0} | changes
    )
    assert facts(Row("cwgnc", (record,)))[2] == (
        f"the {words} has 0.0, the best constant answer 54.0"
    )
