"""What seeds decide, and which examples make up the batches of an epoch."""

import jax
import numpy as np
import pytest
from bert_glue.data import batching, load, tokenization
from bert_glue.training.seeds import Seed, epoch_order, seed_keys


@pytest.mark.parametrize(("examples", "batch"), [(13, 4), (12, 4), (3, 8), (1, 1)])
def test_every_example_is_seen_once_an_epoch(examples, batch):
    keys = seed_keys([Seed(seed, seed) for seed in range(3)]).order
    order = np.asarray(epoch_order(keys, 0, examples, batch))
    assert order.shape == (3, -(-examples // batch), batch)
    for of_seed in order:
        flat = of_seed.ravel()
        assert sorted(flat[flat >= 0]) == list(range(examples))
        # Only the last batch is not full.
        assert np.all(flat[:examples] >= 0)


def test_order_is_of_the_seed_alone_and_of_the_epoch():
    group = seed_keys([Seed(3, 3), Seed(1, 1), Seed(3, 9)]).order
    alone = seed_keys([Seed(1, 1)]).order
    order = np.asarray(epoch_order(group, 2, 50, 8))
    np.testing.assert_array_equal(order[1], epoch_order(alone, 2, 50, 8)[0])
    assert np.any(order[0] != order[1])
    assert np.any(order[0] != order[2])
    assert np.any(order[0] != np.asarray(epoch_order(group, 3, 50, 8))[0])


@pytest.mark.parametrize("generator", ["rbg", "unsafe_rbg"])
def test_order_does_not_depend_on_jaxs_default_generator(generator):
    # Of these a key that is vmapped gives other numbers than alone.
    seeds = [Seed(3, 3), Seed(1, 1)]
    expected = np.asarray(epoch_order(seed_keys(seeds).order, 2, 50, 8))
    with jax.default_prng_impl(generator):
        group = epoch_order(seed_keys(seeds).order, 2, 50, 8)
        alone = epoch_order(seed_keys(seeds[1:]).order, 2, 50, 8)
    np.testing.assert_array_equal(group, expected)
    np.testing.assert_array_equal(alone, expected[1:])


def test_batches_of_like_length_are_random_within_groups_and_as_a_sequence():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 3, size=203).astype(np.int32)
    keys = seed_keys([Seed(seed, seed) for seed in range(3)]).order
    order = np.asarray(epoch_order(keys, 0, 203, 8, groups))
    of = np.where(order >= 0, groups[order], -1).max(axis=2)
    for of_seed in order:
        flat = of_seed.ravel()
        assert sorted(flat[flat >= 0]) == list(range(203))
    # All seeds are in the same group at a step, with other examples of it.
    np.testing.assert_array_equal(of, np.broadcast_to(of[0], of.shape))
    assert np.all(np.any(order[0] != order[1], axis=1))
    # At most one batch lies at each of the two borders.
    mixed = [len(set(groups[each[each >= 0]])) > 1 for each in order[0]]
    assert sum(mixed) <= 2
    # Neither short to long nor long to short, and another sequence in each epoch.
    assert np.any(np.diff(of[0]) > 0)
    assert np.any(np.diff(of[0]) < 0)
    later = np.asarray(epoch_order(keys, 1, 203, 8, groups))
    assert np.any(np.where(later >= 0, groups[later], -1).max(axis=2) != of)
    # A seed's batches do not depend on the others.
    alone = np.asarray(epoch_order(keys[2:], 0, 203, 8, groups))
    np.testing.assert_array_equal(alone[0], order[2])


def test_first_example_is_uniform():
    keys = seed_keys([Seed(seed, seed) for seed in range(4000)]).order
    first = np.asarray(epoch_order(keys, 0, 5, 5))[:, 0, 0]
    counts = np.bincount(first, minlength=5)
    # Chi-squared with 4 degrees of freedom exceeds 20 once in 2,000 tables.
    assert np.sum((counts - 800) ** 2 / 800) < 20


@pytest.mark.parametrize("task", ["rte", "mrpc", "cola"])
def test_batches_of_like_length_are_padded_by_less_than_a_tenth(shared_dir, task):
    data = load.load_task(task, shared_dir / "glue")
    tokenizer = tokenization.load_tokenizer(shared_dir / "models/all-MiniLM-L6-v2")
    lengths = tokenization.encode(data.train, tokenizer, 128).data.lengths
    buckets = batching.choose_groups(lengths, 128)
    groups = np.searchsorted(buckets, lengths)
    keys = seed_keys([Seed(0, 0), Seed(1, 1)]).order
    order = np.asarray(epoch_order(keys, 0, len(lengths), 16, groups))
    assert batching.padding_share(lengths, order, buckets) < 0.1


def test_what_each_seed_decides():
    keys = seed_keys([Seed(1, 2), Seed(1, 3), Seed(4, 2)])
    init, order, noise = (np.asarray(jax.random.key_data(key)) for key in keys)
    assert np.array_equal(init[0], init[1])
    assert not np.array_equal(init[0], init[2])
    for data in (order, noise):
        assert np.array_equal(data[0], data[2])
        assert not np.array_equal(data[0], data[1])
    assert len({tuple(key) for key in np.concatenate([init, order, noise])}) == 6


def test_names():
    assert Seed(3, 3).name == "3"
    assert Seed(3, 4).name == "3-4"
