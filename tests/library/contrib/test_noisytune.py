"""NoisyTune against the formula of the paper in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import enable_x64

import cwgnc_jax
from cwgnc_jax import contrib

KEY, INTENSITY = jax.random.key(4), 0.15


def make_params():
    rng = np.random.default_rng(0)
    layers = rng.standard_normal((3, 20, 30)) * np.array([1e-3, 1, 50])[:, None, None]
    return {
        "layers": {"kernel": layers.astype(np.float32)},
        # All near 1, as the scales of a LayerNorm are.
        "norm": (1 + 1e-3 * rng.standard_normal(600)).astype(np.float32),
        "zeros": np.zeros(9, np.float32),
        "one": np.ones(1, np.float32),
    }


def check_noise(before, after):
    """Uniform noise, as wide as the paper says; torch.std divides by n - 1."""
    before, after = (np.asarray(x, np.float64) for x in (before, after))
    noise = (after - before) / before.std(ddof=1) / INTENSITY
    # The sum is rounded to float32: 6e-8 of 1 where the noise is 1e-4.
    assert np.abs(noise).max() <= 0.5 + 1e-3
    # 600 draws: four standard errors of mean and of variance.
    assert abs(noise.mean()) < 4 * np.sqrt(1 / 12 / noise.size)
    assert abs(noise.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / noise.size)


def test_each_layer_gets_noise_of_its_own_spread():
    params = make_params()
    components = cwgnc_jax.stacked("layers/.*")
    noisy = jax.jit(
        lambda params: contrib.noisytune(params, KEY, INTENSITY, components)
    )(params)
    kernels = params["layers"]["kernel"], noisy["layers"]["kernel"]
    for before, after in zip(*kernels, strict=True):
        check_noise(before, after)
    check_noise(params["norm"], noisy["norm"])
    for name in ("zeros", "one"):
        np.testing.assert_array_equal(noisy[name], params[name])


def test_by_default_each_leaf_has_one_spread():
    params = {"kernel": make_params()["norm"].reshape(20, 30)}
    check_noise(params["kernel"], contrib.noisytune(params, KEY, INTENSITY)["kernel"])


def test_what_has_no_component_stays_and_no_noise_is_none():
    params = make_params()
    rules = cwgnc_jax.by_rules([("norm", None), (".*", cwgnc_jax.by_leaf)])
    noisy = contrib.noisytune(params, KEY, INTENSITY, rules)
    np.testing.assert_array_equal(noisy["norm"], params["norm"])
    assert not np.array_equal(noisy["layers"]["kernel"], params["layers"]["kernel"])
    chex.assert_trees_all_equal(contrib.noisytune(params, KEY, 0.0), params)


def test_the_spread_of_64_bits_is_measured_in_64_bits():
    with enable_x64(True):
        draws = np.random.default_rng(0).standard_normal(1000)
        params = {"a": jnp.asarray(0.1 + 1e-9 * draws)}
        noise = contrib.noisytune(params, KEY, 1.0)["a"] - params["a"]
        # Uniform over as much as one standard deviation.
        expected = np.std(1e-9 * draws) / 12**0.5
        assert float(jnp.std(noise)) == pytest.approx(expected, rel=0.05)


def test_half_precision_keeps_its_dtype_and_keys_differ():
    params = {"a": jnp.arange(64, dtype=jnp.bfloat16), "b": jnp.arange(64.0)}
    noisy = contrib.noisytune(params, KEY, 1.0)
    chex.assert_trees_all_equal_shapes_and_dtypes(noisy, params)
    other = contrib.noisytune(params, jax.random.key(9), 1.0)
    assert not np.array_equal(noisy["b"], other["b"])
    with pytest.raises(ValueError, match="intensity must be at least 0"):
        contrib.noisytune(params, KEY, -0.1)
