"""Child-Tuning against the released code in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cwgnc_jax import contrib

KEY = jax.random.key(2)


def random_tree(seed):
    rng = np.random.default_rng(seed)
    return {
        "encoder": {
            "a": rng.standard_normal((40, 30)).astype(np.float32),
            "b": rng.standard_normal(17).astype(np.float32),
        },
        "classifier": rng.standard_normal((30, 2)).astype(np.float32),
    }


def test_adam_sees_masked_gradients_as_in_the_released_code():
    share, steps, b1, b2 = 0.3, 4, 0.9, 0.999
    tx = contrib.child_tuning(share, KEY)
    # Masks are read off gradients of 1.
    ones = jax.tree.map(jnp.ones_like, random_tree(0))
    state, masks = tx.init(ones), []
    for _ in range(steps):
        kept, state = tx.update(ones, state)
        masks.append(jax.tree.map(lambda leaf: np.asarray(leaf) > 0, kept))
    chain = optax.chain(tx, optax.scale_by_adam(b1, b2, 1e-6))
    update, state = jax.jit(chain.update), chain.init(ones)
    first = second = jax.tree.map(lambda leaf: np.zeros(leaf.shape), ones)
    for step in range(steps):
        gradients = random_tree(step)
        updates, state = update(gradients, state)
        masked = jax.tree.map(
            lambda g, m: g.astype("d") * m / share, gradients, masks[step]
        )
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, masked)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, second, masked)
        one, two = 1 - b1 ** (step + 1), 1 - b2 ** (step + 1)
        expected = jax.tree.map(
            lambda m, v, one=one, two=two: m / one / (np.sqrt(v / two) + 1e-6),
            first,
            second,
        )
        # Sums and quotients in float32, of which a few all but cancel.
        chex.assert_trees_all_close(updates, expected, rtol=1e-4, atol=1e-5)


def test_masks_are_fair_new_and_every_leaf_s_own():
    tree = {name: jnp.ones((100, 100)) for name in "ab"}
    tx = contrib.child_tuning(0.3, KEY)
    one, state = tx.update(tree, tx.init(tree))
    two, _ = tx.update(tree, state)
    alone, _ = tx.update({"a": tree["a"]}, tx.init(tree))
    np.testing.assert_array_equal(alone["a"], one["a"])
    masks = [one["a"] > 0, one["b"] > 0, two["a"] > 0]
    for i, mask in enumerate(masks):
        # 10,000 draws: four standard errors.
        assert abs(mask.mean() - 0.3) < 4 * np.sqrt(0.21 / 1e4)
        for other in masks[:i]:
            assert abs((mask & other).mean() - 0.09) < 4 * np.sqrt(0.09 / 1e4)
    np.testing.assert_allclose(np.unique(one["a"]), [0, 1 / 0.3], rtol=1e-6)


def test_runs_side_by_side_take_keys_of_their_own():
    tree, share = jnp.ones(50), 0.5
    tx = optax.chain(contrib.child_tuning(share), optax.scale(1.0))
    state = tx.init(tree)
    keys = jax.random.split(KEY, 2)
    rows = jax.vmap(lambda key: tx.update(tree, state, key=key)[0])(keys)
    assert not np.array_equal(*rows)
    for key, row in zip(keys, rows, strict=True):
        own = contrib.child_tuning(share, key)
        np.testing.assert_array_equal(own.update(tree, own.init(tree))[0], row)


def test_a_dropped_nan_is_dropped_and_all_may_be_kept():
    tx = contrib.child_tuning(0.5, KEY)
    updates, _ = tx.update(jnp.full(100, jnp.nan), tx.init(jnp.ones(100)))
    assert 0 < np.isnan(updates).sum() < 100
    whole = contrib.child_tuning(1.0)
    tree = random_tree(0)
    chex.assert_trees_all_equal(whole.update(tree, whole.init(tree))[0], tree)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_the_fisher_mask_is_that_of_the_released_code(share):
    fisher = jax.tree.map(np.square, random_tree(0))
    flat = np.concatenate([np.ravel(leaf) for leaf in fisher["encoder"].values()])
    border = np.percentile(flat, (1 - share) * 100)
    mask = contrib.fisher_mask(fisher, share)
    for name, leaf in fisher["encoder"].items():
        np.testing.assert_array_equal(mask["encoder"][name], leaf >= border)
    assert mask["classifier"].all()
    tx = contrib.keep_masked(mask)
    tree = random_tree(1)
    kept, _ = tx.update(tree, tx.init(tree))
    chex.assert_trees_all_equal(kept, jax.tree.map(np.multiply, tree, mask))


def test_errors():
    for wrong in (0.0, 1.5, np.nan):
        with pytest.raises(ValueError, match="reserve must be above 0 and at most 1"):
            contrib.child_tuning(wrong)
    with pytest.raises(ValueError, match=r"chooses none of fisher:\n  'a'"):
        contrib.fisher_mask({"a": jnp.ones(2)})
    tx = contrib.keep_masked({"a": jnp.ones(3, bool)})
    with pytest.raises(
        ValueError, match=r"hold:\n  'a of the shape \(2,\), there \(3,\)'"
    ):
        tx.update({"a": jnp.ones(2)}, optax.EmptyState())
    with pytest.raises(ValueError, match=r"it does not hold:\n  'b'"):
        tx.update({"b": jnp.ones(3)}, optax.EmptyState())


def test_the_border_of_many_entries_in_16_bits():
    entries = np.random.default_rng(0).exponential(size=70_000)
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        fisher = {"encoder": {"a": jnp.asarray(entries, dtype)}}
        share = contrib.fisher_mask(fisher, 0.3)["encoder"]["a"].mean()
        assert share == pytest.approx(0.3, abs=0.01)


def test_an_entry_that_is_not_a_number_freezes_no_other():
    fisher = {"encoder": {"a": jnp.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])}}
    mask = contrib.fisher_mask(fisher, 0.5)["encoder"]["a"]
    assert mask.tolist() == [False, False, False, True, True, True]


def test_a_border_that_is_infinite_freezes_no_other():
    fisher = {"encoder": {"a": jnp.array([1.0, np.inf, np.inf])}}
    mask = contrib.fisher_mask(fisher, 0.5)["encoder"]["a"]
    assert mask.tolist() == [False, True, True]


@pytest.mark.parametrize("seed", [3, np.int64(3), jnp.int32(3), jax.random.key(3)])
def test_seeds_of_any_kind(seed):
    gradients = jnp.arange(1.0, 40)
    expected, got = (
        tx.update(gradients, tx.init(gradients))[0]
        for tx in (contrib.child_tuning(0.5, 3), contrib.child_tuning(0.5, seed))
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("key", ["a", 1.0, None])
def test_what_is_no_key(key):
    with pytest.raises(TypeError, match="key must be a key or a whole number"):
        contrib.child_tuning(0.5, key)
