import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_glue.model.dropout import DropoutKey, dropout, fold, threefry

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_keeps_the_expectation(dtype):
    # Numbers between 1 and 2, whose rounding to bfloat16 averages out.
    inputs = jnp.linspace(1, 2, 1 << 16, dtype=dtype).reshape(64, 16, 64)
    dropped = np.asarray(dropout(inputs, 0.1, jax.random.key(0)), np.float64)
    kept = dropped != 0
    factor = (dropped[kept] / np.asarray(inputs, np.float64)[kept]).mean()
    # 59,000 numbers rounded by up to 0.4% each.
    assert factor == pytest.approx(1 / 0.9, abs=1e-4)


class TestDropout:
    @pytest.mark.parametrize(
        ("shape", "square"), [((20, 50, 31), False), ((10, 6, 25, 21), True)]
    )
    def test_share_and_scale(self, shape, square):
        rate = 0.3
        ones = jnp.ones(shape)
        dropped = dropout(ones, rate, jax.random.key(0), square=square)
        share = float((dropped == 0).mean())
        # Five standard deviations of a binomial share, and half a step of the rate.
        error = 5 * np.sqrt(rate * (1 - rate) / ones.size) + 0.5 / 65536
        assert abs(share - rate) < error
        kept = dropped[dropped != 0]
        np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=1e-4)
        # No axis is served less than the others.
        for axis in range(len(shape)):
            others = tuple(other for other in range(len(shape)) if other != axis)
            means = (dropped == 0).mean(others)
            count = ones.size // shape[axis]
            assert np.abs(means - rate).max() < 6 * np.sqrt(rate / count)

    @pytest.mark.parametrize("square", [False, True])
    def test_a_mask_is_part_of_a_longer_ones(self, square):
        key = jax.random.key(1)
        if square:
            short = dropout(jnp.ones((2, 3, 5, 5)), 0.5, key, square=True)
            long = dropout(jnp.ones((2, 3, 9, 9)), 0.5, key, square=True)
            np.testing.assert_array_equal(short, long[:, :, :5, :5])
        else:
            short = dropout(jnp.ones((2, 5, 7)), 0.5, key)
            long = dropout(jnp.ones((2, 9, 7)), 0.5, key)
            np.testing.assert_array_equal(short, long[:, :5])

    def test_neighbours_are_independent(self):
        mask = np.asarray(dropout(jnp.ones((16, 64, 64)), 0.5, jax.random.key(2)) > 0)
        centred = mask - mask.mean()
        for axis in range(3):
            for lag in (1, 16, 32):
                if lag < mask.shape[axis]:
                    product = centred * np.roll(centred, lag, axis)
                    # The mean of n products of independent +-1/2 has the standard
                    # deviation 1 / (4 sqrt(n)).
                    assert abs(product.mean()) < 5 * 0.25 / np.sqrt(mask.size)

    @pytest.mark.parametrize("bits", [8, 32])
    @pytest.mark.parametrize("square", [False, True])
    def test_other_numbers_of_bits(self, bits, square):
        rate, key = 0.1, jax.random.key(4)
        ones = jnp.ones((16, 12, 32, 32) if square else (32, 64, 98))
        dropped = dropout(ones, rate, key, square=square, bits=bits)
        mask = np.asarray(dropped > 0, np.float64)
        # With 8 bits it is the nearest of 256 rates that is dropped, and scaled for.
        rate = round(rate * 256) / 256 if bits == 8 else rate
        np.testing.assert_allclose(dropped[dropped > 0], 1 / (1 - rate), rtol=1e-6)
        spread = np.sqrt(rate * (1 - rate) / ones.size)
        assert abs(1 - mask.mean() - rate) < 5 * spread
        # All numbers of a count are independent: they lie a block apart.
        axis = 1 if square else 2
        block = -(-ones.shape[axis] * bits // 64)
        centred = np.moveaxis(mask, axis, 0) - (1 - rate)
        for lag in range(block, len(centred), block):
            product = centred[lag:] * centred[:-lag]
            assert abs(product.mean()) < 5 * rate * (1 - rate) / np.sqrt(product.size)

    def test_the_masks_of_16_bits_are_these(self):
        """Recorded runs depend on them."""
        key, steps = jax.random.key(5), 6554
        expected = []
        for position in range(3):
            counts = jnp.arange(2 * 2, dtype=jnp.uint32).reshape(2, 2)
            words = threefry(key, jnp.full_like(counts, position), counts)
            halves = [part for word in words for part in (word & 0xFFFF, word >> 16)]
            expected.append(np.concatenate(halves, 1)[:, :7] >= steps)
        found = dropout(jnp.ones((2, 3, 7)), 0.1, key) > 0
        np.testing.assert_array_equal(found, np.stack(expected, 1))

    def test_nothing_to_drop(self):
        ones = jnp.ones((2, 3, 4))
        assert dropout(ones, 0.0, jax.random.key(0)) is ones
        assert dropout(ones, 0.001, jax.random.key(0), bits=8) is ones
        assert dropout(ones, 0.5, None) is ones

    @pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
    def test_a_traced_rate_drops_the_same(self, rate):
        ones, key = jnp.ones((4, 8, 16)), jax.random.key(3)
        expected = dropout(ones, rate, key)
        np.testing.assert_array_equal(
            jax.jit(lambda rate: dropout(ones, rate, key))(rate), expected
        )
        # A key that brings the rate has the last word, but where a model never drops.
        own = fold(DropoutKey(key, jnp.float32(rate)), 5)
        expected = dropout(ones, rate, fold(key, 5))
        np.testing.assert_array_equal(dropout(ones, 0.3, own), expected)
        # One that rounds to nothing is no such place: it is another setting's.
        np.testing.assert_array_equal(dropout(ones, 1e-6, own), expected)
        assert dropout(ones, 0.0, own) is ones

    def test_what_drops_all_has_a_finite_gradient(self):
        # In steps of 1/65536 this is no less than 1.
        slope = jax.grad(lambda x: dropout(x, 0.999999, jax.random.key(0)).sum())
        assert np.isfinite(slope(jnp.ones((2, 3, 4)))).all()

    def test_dtype_is_kept(self):
        dropped = dropout(jnp.ones((2, 3, 8), jnp.bfloat16), 0.5, jax.random.key(0))
        assert dropped.dtype == jnp.bfloat16
        assert set(np.unique(dropped.astype(jnp.float32))) == {0.0, 2.0}

    def test_threefry_is_jax_randoms(self):
        import jax.extend

        key = jax.random.key(7)
        high = jnp.arange(64, dtype=jnp.uint32)
        low = high * jnp.uint32(2654435761)
        words = jax.random.key_data(key)
        theirs = jax.extend.random.threefry2x32_p.bind(
            jnp.full_like(high, words[0]), jnp.full_like(high, words[1]), high, low
        )
        for ours, expected in zip(threefry(key, high, low), theirs, strict=True):
            np.testing.assert_array_equal(ours, expected)
