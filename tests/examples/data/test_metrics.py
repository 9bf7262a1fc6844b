import itertools

import numpy as np
import pytest
from bert_glue.data import load, metrics, tasks
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.data.metrics import constant_score, majority_score, score
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
    predictions = labels
    if metrics.METRICS[metric].of_probabilities:
        predictions = np.eye(2)[labels]
    assert score(metric, predictions, labels) == pytest.approx(100, **ROUNDING)
    if MULTI_LABEL in metrics.METRICS[metric].problems:
        several = np.eye(2, dtype=int)[labels]
        assert score(metric, several, several) == pytest.approx(100, **ROUNDING)


# Each in the words of the field, from counts of hits, alarms and misses by class.
def f1_by_class(predictions, labels):
    """F1 and support of each column of 0 and 1."""
    hits = (predictions * labels).sum(axis=0)
    either = predictions.sum(axis=0) + labels.sum(axis=0)
    f1 = np.divide(2 * hits, either, out=np.zeros(len(hits)), where=either > 0)
    return f1, labels.sum(axis=0), 2 * hits.sum() / max(either.sum(), 1)


three_classes = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20
)


@pytest.mark.medium
@quick
@given(three_classes)
def test_metrics_of_three_classes(pairs):
    predictions, labels = np.array(pairs).T
    matrix = np.zeros((3, 3))
    np.add.at(matrix, (labels, predictions), 1)
    there = matrix.sum(axis=1) > 0
    recall = matrix.diagonal()[there] / matrix.sum(axis=1)[there]
    expected = {"accuracy": np.trace(matrix) / len(pairs)}
    expected["balanced_accuracy"] = recall.mean()
    f1, support, micro = f1_by_class(np.eye(3)[predictions], np.eye(3)[labels])
    # As in scikit-learn, a class that neither has is no part of the mean.
    either = np.unique(np.concatenate([predictions, labels]))
    expected |= {"f1_macro": f1[either].mean(), "f1_micro": micro}
    expected["f1_weighted"] = (f1 * support).sum() / support.sum()
    for metric, share in expected.items():
        found = score(metric, predictions, labels)
        assert found == pytest.approx(100 * share, **ROUNDING)
    for positive in range(3):
        found = score("f1", predictions, labels, positive)
        assert found == pytest.approx(100 * f1[positive], **ROUNDING)


@st.composite
def label_sets(draw, matrices=2):
    shape = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    draws = draw(
        st.lists(
            st.booleans(),
            min_size=(n := shape[0] * shape[1]) * matrices,
            max_size=n * matrices,
        )
    )
    return np.array(draws, int).reshape(matrices, *shape)


@pytest.mark.medium
@quick
@given(label_sets())
def test_metrics_of_several_labels_an_example(pair):
    predictions, labels = pair
    f1, support, micro = f1_by_class(predictions, labels)
    expected = {
        "accuracy": (predictions == labels).all(axis=1).mean(),
        "f1_macro": f1.mean(),
        "f1_micro": micro,
        "f1_weighted": (f1 * support).sum() / max(support.sum(), 1),
        "f1": f1[1],
    }
    for metric, share in expected.items():
        found = score(metric, predictions, labels)
        assert found == pytest.approx(100 * share, **ROUNDING)


def area(chances, truth):
    """Share of pairs of which the true one has the higher chance; ties count half."""
    pairs = chances[truth][:, None] - chances[~truth]
    return ((pairs > 0) + (pairs == 0) / 2).mean()


def test_area_under_the_curve():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=40)
    chances = rng.dirichlet(np.ones(3), size=40).round(1)
    areas = [area(chances[:, k], labels == k) for k in range(3)]
    found = score("roc_auc", chances, labels)
    assert found == pytest.approx(100 * np.mean(areas), **ROUNDING)
    # Of two classes either gives the same.
    two = np.stack([1 - chances[:, 0], chances[:, 0]], axis=1)
    found = score("roc_auc", two, (labels == 0).astype(int))
    assert found == pytest.approx(100 * areas[0], **ROUNDING)
    several = np.eye(3, dtype=int)[labels]
    several[:, 2] = 1
    # What all examples have tells none apart.
    found = score("roc_auc", chances, several)
    assert found == pytest.approx(100 * np.mean(areas[:2]), **ROUNDING)
    assert score("roc_auc", chances[:3], [1, 1, 1]) == 50
    assert score("roc_auc", np.full((2, 2), np.nan), [0, 1]) == 50


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
        (
            ("bleu", [1], [1]),
            "unknown metric 'bleu'; there are accuracy, balanced_accuracy, f1",
        ),
        (("f1", [1, 0], [1]), r"shape \(2,\) and labels of shape \(1,\)"),
        (("f1", [], []), "of one example at least"),
        (("f1", [[[1]]], [[[1]]]), r"must be \(examples,\)"),
        (("roc_auc", [1], [1]), "or probabilities"),
        (("matthews", [[1, 0]], [[1, 0]]), "'matthews' does not fit labels .* several"),
    ],
)
def test_what_cannot_be_scored(arguments, message):
    with pytest.raises(ValueError, match=message):
        score(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bleu", SINGLE_LABEL), "unknown metric 'bleu'"),
        (("accuracy", REGRESSION), "not fit labels that are numbers; .* pearson, sp"),
        (("pearson", SINGLE_LABEL), "does not fit labels that are classes"),
        (("matthews", MULTI_LABEL), "not fit labels that are several an example"),
        (("f1", SINGLE_LABEL, "abc"), "--positive-class names .* f1_macro, f1_micro"),
        (("f1", MULTI_LABEL, "ab"), "--positive-class names where"),
        (("f1", SINGLE_LABEL, "ab", "c"), "class is 'c'; accepted are 'a', 'b'$"),
        (("accuracy", None, None, "c"), "'accuracy' is of all; .* one class are f1$"),
    ],
)
def test_metrics_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.check_metric(*arguments)


def test_every_task_has_a_metric_that_fits():
    for task in [*tasks.TASKS.values(), *tasks.GENERATED.values()]:
        metrics.check_metric(task.metric, task.problem_type, task.labels)


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


def test_majority_of_several_labels_is_the_commonest_set():
    train = [[1, 0], [0, 1], [0, 1], [1, 1]]
    labels = [[0, 1], [1, 1], [0, 0], [1, 0]]
    assert majority_score("accuracy", train, labels) == 25
    # Of four answers two are right, and two are missed.
    assert majority_score("f1_micro", train, labels) == 50
    assert majority_score("roc_auc", train, labels) == 50


@pytest.mark.medium
@settings(quick, max_examples=15)
@given(label_sets(1))
def test_no_constant_set_of_labels_scores_better_than_the_best(matrices):
    (labels,) = matrices
    sets = itertools.product([0, 1], repeat=labels.shape[1])
    everything = [np.broadcast_to(each, labels.shape) for each in sets]
    for name, metric in metrics.METRICS.items():
        if MULTI_LABEL in metric.problems and not metric.of_probabilities:
            best = max(score(name, each, labels) for each in everything)
            assert constant_score(name, labels) == pytest.approx(best, **ROUNDING)


def test_constant_answers_of_classes():
    labels = [0, 0, 1, 2]
    assert constant_score("accuracy", labels) == 50
    assert constant_score("balanced_accuracy", labels) == pytest.approx(100 / 3)
    assert constant_score("f1_macro", labels) == pytest.approx(100 * (2 / 3) / 3)
    assert constant_score("f1", labels, positive=2) == pytest.approx(40)
    assert constant_score("roc_auc", labels) == 50
    assert constant_score("pearson", [1.0, 2.0]) == 0


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
