import numpy as np
import pytest
from bert_glue.data.examples import Examples, TaskData
from bert_glue.data.tasks import TASKS


def numbered(count: int) -> Examples:
    return Examples([(str(i),) for i in range(count)], np.arange(count, dtype=np.int32))


def test_fewer_examples_are_nested_and_in_order():
    everything = numbered(200)
    kept: set[int] = set()
    for count in (1, 2, 50, 199, 200, 500):
        taken = everything.take(count)
        assert taken.labels is not None
        labels = taken.labels.tolist()
        assert len(labels) == min(count, 200)
        assert labels == sorted(set(labels))
        assert taken.texts == [(str(label),) for label in labels]
        assert kept <= set(labels)
        kept = set(labels)
    assert everything.take(None) is everything


def test_fewer_examples_are_the_same_ones_for_ever():
    # Records of runs on a part of the data would otherwise silently change meaning.
    taken = numbered(100).take(6).labels
    np.testing.assert_array_equal(taken, [27, 42, 77, 79, 83, 85])


def test_fewer_examples_are_drawn_from_everywhere():
    taken = numbered(1000).take(100).labels
    assert taken is not None
    # The mean of 100 of 1,000 has a standard deviation of 27.
    assert abs(taken.mean() - 499.5) < 4 * 27


def test_fewer_unlabelled_examples():
    taken = Examples([("a",), ("b",)], None).take(1)
    assert len(taken) == 1
    assert taken.labels is None


@pytest.mark.parametrize("count", [0, -3])
def test_no_examples_cannot_be_taken(count):
    with pytest.raises(ValueError, match=f"count is {count}; at least 1"):
        numbered(5).take(count)


def scored(count: int) -> Examples:
    """Examples of a regression: the text says which is which."""
    return Examples(
        [(str(i),) for i in range(count)], np.arange(count, dtype=np.float32)
    )


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_held_out_examples_are_not_trained_on(share):
    everything = scored(1000)
    data = TaskData(TASKS["stsb"], everything, scored(3)).hold_out(share)
    assert data.held_out == share
    assert len(data.evaluation) == round(1000 * share)
    parts = []
    for part in (data.train, data.evaluation):
        assert part.labels is not None
        parts.append(part.labels.astype(int).tolist())
        assert part.texts == [(str(label),) for label in parts[-1]]
        assert parts[-1] == sorted(parts[-1])
    assert sorted(parts[0] + parts[1]) == list(range(1000))


@pytest.mark.parametrize("share", [0.1, 0.37, 0.9])
def test_held_out_examples_have_the_classes_in_the_same_shares(share):
    labels = np.repeat(np.array([0, 1, 2], np.int32), [700, 290, 10])
    everything = Examples([(str(i),) for i in range(1000)], labels)
    parts = everything.hold_out(share)
    for part, size in zip(parts, (1 - share, share), strict=True):
        assert part.labels is not None
        counts = np.bincount(part.labels, minlength=3)
        # The nearest whole numbers that add up.
        assert np.abs(counts - size * np.array([700, 290, 10])).max() < 1
        rows = [int(text) for (text,) in part.texts]
        np.testing.assert_array_equal(part.labels, labels[rows])


def test_held_out_examples_are_the_same_ones_for_ever_and_from_everywhere():
    # Records of runs with held-out examples would otherwise silently change meaning.
    held = scored(60).hold_out(0.1)[1].labels
    np.testing.assert_array_equal(held, [18, 26, 41, 45, 49, 57])
    parities = Examples(scored(60).texts, np.arange(60, dtype=np.int32) % 2)
    held = parities.hold_out(0.1)[1].texts
    assert held == [("14",), ("16",), ("19",), ("27",), ("40",), ("45",)]
    held = scored(1000).hold_out(0.1)[1].labels
    assert held is not None
    # The mean of 100 of 1,000 has a standard deviation of 27.
    assert abs(held.mean() - 499.5) < 4 * 27
    # They are not the ones that a smaller training set would keep.
    smaller = scored(1000).take(100).labels
    assert smaller is not None
    assert len(set(held.tolist()) & set(smaller.tolist())) < 30


def test_nothing_held_out():
    data = TaskData(TASKS["cola"], numbered(5), numbered(3))
    assert data.hold_out(None) is data


@pytest.mark.parametrize(("share", "count"), [(0.01, 0), (0.99, 5)])
def test_both_parts_must_have_examples(share, count):
    with pytest.raises(ValueError, match=f"of 5 examples are {count}; there must be"):
        numbered(5).hold_out(share)


@pytest.mark.parametrize(
    ("labels", "share", "message"),
    [
        ([0] * 9 + [1], 0.5, "each of 2 classes, and the smallest class has 1"),
        ([0, 1, 2] * 4, 0.1, "of 12 examples are 1; both parts must .* 3 classes"),
    ],
)
def test_both_parts_must_have_every_class(labels, share, message):
    examples = Examples([("",)] * len(labels), np.array(labels, np.int32))
    with pytest.raises(ValueError, match=message):
        examples.hold_out(share)


def test_common_sets_of_labels_are_held_out_in_the_same_shares():
    sets = np.repeat(
        np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]], np.int32),
        [50, 30, 15, 4, 1],
        axis=0,
    )
    for share in (0.2, 0.8):
        everything = Examples([(str(i),) for i in range(100)], sets)
        for part, size in zip(
            everything.hold_out(share), (1 - share, share), strict=True
        ):
            counts = [
                (part.labels == each).all(axis=1).sum() for each in sets[[0, 60, 90]]
            ]
            # The nearest whole numbers that add up.
            assert np.abs(np.array(counts) - size * np.array([50, 30, 15])).max() < 1
            assert len(part) == round(100 * size)
    # A set of its own each, or a single rare one, is no reason to refuse.
    for few in (np.eye(6, dtype=np.int32), sets[[0] * 5 + [99]]):
        kept, held = Examples([("",)] * 6, few).hold_out(0.5)
        assert len(kept) == len(held) == 3


def test_unlabelled_examples_are_held_out_too():
    kept, held = Examples([(str(i),) for i in range(10)], None).hold_out(0.3)
    assert sorted(kept.texts + held.texts) == [(str(i),) for i in range(10)]
    assert held.labels is None
    assert len(held) == 3
