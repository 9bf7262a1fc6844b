import numpy as np
import pytest
from bert_glue.data import load, metrics, tasks
from bert_glue.data.metrics import majority_score, score
from hypothesis import given, settings
from hypothesis import strategies as st

# Sums of at most some thirty float64 terms, in per cent.
ROUNDING = {"abs": 1e-9}
# The first example imports scikit-learn.
quick = settings(deadline=None, max_examples=50)


def binary_labels(size: int):
    return st.lists(st.integers(0, 1), min_size=size, max_size=size)


pairs_of_labels = st.integers(1, 30).flatmap(
    lambda size: st.tuples(binary_labels(size), binary_labels(size))
)


@quick
@given(pairs_of_labels)
def test_classification_from_the_four_counts(pair):
    predictions, labels = np.array(pair)
    hits = int(np.sum((predictions == 1) & (labels == 1)))
    rejected = int(np.sum((predictions == 0) & (labels == 0)))
    alarms = int(np.sum((predictions == 1) & (labels == 0)))
    missed = int(np.sum((predictions == 0) & (labels == 1)))

    accuracy = 100 * (hits + rejected) / len(labels)
    assert score("accuracy", predictions, labels) == pytest.approx(accuracy, **ROUNDING)
    f1 = 100 * 2 * hits / (2 * hits + alarms + missed) if hits else 0.0
    assert score("f1", predictions, labels) == pytest.approx(f1, **ROUNDING)
    product = (
        (hits + alarms) * (hits + missed) * (rejected + alarms) * (rejected + missed)
    )
    root = np.sqrt(product)
    matthews = 100 * (hits * rejected - alarms * missed) / root if product else 0.0
    assert score("matthews", predictions, labels) == pytest.approx(matthews, **ROUNDING)


def correlation(first, second) -> float:
    first, second = first - np.mean(first), second - np.mean(second)
    return np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2))


def ranks(values) -> np.ndarray:
    """Ranks of values, the mean one where some are alike."""
    below = np.array([np.sum(values < value) for value in values])
    return below + np.array([(np.sum(values == value) - 1) / 2 for value in values])


@quick
@given(
    st.lists(
        st.tuples(st.integers(-50, 50), st.integers(0, 20)), min_size=2, max_size=30
    )
)
def test_regression_is_the_mean_of_two_correlations(pairs):
    predictions, labels = np.array(pairs, np.float32).T / 4
    found = score("pearson_spearman", predictions, labels)
    if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        assert found == 0
        return
    predictions, labels = predictions.astype(float), labels.astype(float)
    of_values = correlation(predictions, labels)
    of_ranks = correlation(ranks(predictions), ranks(labels))
    assert found == pytest.approx(50 * (of_values + of_ranks), **ROUNDING)


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_perfect_predictions_have_100(metric):
    labels = np.array([0, 1, 1, 0, 1])
    assert score(metric, labels, labels) == pytest.approx(100, **ROUNDING)


def test_matthews_of_three_classes():
    # R_K of Gorodkin (2004): 3 of 5 are right; each class is predicted 1, 2, 2 times
    # and true 2, 1, 2 times.
    predictions, labels = [0, 1, 2, 2, 1], [0, 1, 2, 0, 2]
    expected = 100 * (3 * 5 - (1 * 2 + 2 * 1 + 2 * 2)) / np.sqrt((25 - 9) * (25 - 9))
    assert score("matthews", predictions, labels) == pytest.approx(expected, **ROUNDING)


# The test configuration turns any warning of SciPy or scikit-learn into an error.
@pytest.mark.parametrize(
    ("metric", "predictions", "labels", "expected"),
    [
        ("matthews", [1, 1, 1], [0, 1, 1], 0),
        ("matthews", [0, 1, 1], [1, 1, 1], 0),
        ("matthews", [1, 1], [1, 1], 0),
        ("matthews", [1], [1], 0),
        ("f1", [0, 0, 0], [0, 1, 1], 0),
        ("f1", [0, 1, 1], [0, 0, 0], 0),
        ("f1", [0, 0], [0, 0], 0),
        ("accuracy", [2], [2], 100),
        ("pearson_spearman", [3.0, 3.0], [1.0, 2.0], 0),
        ("pearson_spearman", [1.0, 2.0], [3.0, 3.0], 0),
        ("pearson_spearman", [1.0], [3.0], 0),
        ("pearson_spearman", [1.0, np.nan, 2.0], [1.0, 2.0, 3.0], 0),
        ("pearson_spearman", [1.0, np.inf, 2.0], [1.0, 2.0, 3.0], 0),
        # Neighbours in float32, and the ends of its range.
        ("pearson_spearman", np.float32([3, 3.0000002]), [1.0, 2.0], 100),
        ("pearson_spearman", np.float32([-3e38, 0, 3e38]), [1.0, 2.0, 3.0], 100),
    ],
)
def test_degenerate_predictions(metric, predictions, labels, expected):
    assert score(metric, predictions, labels) == pytest.approx(expected, **ROUNDING)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bleu", [1], [1]), "unknown metric 'bleu'; there are accuracy, f1"),
        (("f1", [1, 0], [1]), r"shape \(2,\) and labels of shape \(1,\)"),
        (("f1", [], []), "of one example at least"),
        (("f1", [[1]], [[1]]), r"must be \(examples,\)"),
    ],
)
def test_what_cannot_be_scored(arguments, message):
    with pytest.raises(ValueError, match=message):
        score(*arguments)


@pytest.mark.parametrize(
    ("metric", "classes", "message"),
    [
        ("bleu", 2, "unknown metric 'bleu'"),
        ("accuracy", 0, "'accuracy' does not fit labels that are numbers"),
        ("pearson_spearman", 3, "does not fit labels that are classes"),
        ("f1", 3, "'f1' needs two classes, not 3"),
    ],
)
def test_metrics_that_do_not_fit(metric, classes, message):
    with pytest.raises(ValueError, match=message):
        metrics.check_metric(metric, classes)


def test_every_task_has_a_metric_that_fits():
    for task in [*tasks.TASKS.values(), *tasks.GENERATED.values()]:
        metrics.check_metric(task.metric, len(task.labels))


@quick
@given(st.integers(1, 40), st.integers(0, 40))
def test_f1_of_the_positive_majority(positive, negative):
    labels = [1] * positive + [0] * negative
    share = positive / len(labels)
    found = majority_score("f1", [1], labels)
    assert found == pytest.approx(100 * 2 * share / (1 + share), **ROUNDING)


def test_majority_is_that_of_training():
    assert majority_score("accuracy", [2, 2, 0], [0, 0, 0, 2]) == 25
    assert majority_score("matthews", [1, 1, 0], [0, 1]) == 0
    assert majority_score("f1", [0, 0, 1], [1, 1]) == 0
    # Of equals the first.
    assert majority_score("accuracy", [1, 0], [0, 0, 1, 0]) == 75
    assert majority_score("pearson_spearman", [1.5, 2.0], [1.0, 2.0]) == 0


# Known shares of the official development sets, to a tenth.
@pytest.mark.parametrize(
    ("name", "expected", "accuracy"),
    [("rte", 52.7, 52.7), ("mrpc", 81.2, 68.4), ("cola", 0.0, 69.1)],
)
def test_majority_of_real_tasks(shared_dir, name, expected, accuracy):
    data = load.load_task(name, shared_dir / "glue")
    labels = data.train.labels, data.evaluation.labels
    assert majority_score(data.task.metric, *labels) == pytest.approx(
        expected, abs=0.05
    )
    assert majority_score("accuracy", *labels) == pytest.approx(accuracy, abs=0.05)
