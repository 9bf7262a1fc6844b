"""Experiments clip as the library does."""

import chex
import few_kernels
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cwgnc_jax


@pytest.fixture(scope="module")
def gradients():
    shapes = {f"kernel {i:02}": (8, 16) for i in range(11)}
    shapes |= {"bias": (16,), "number": (), "other": (3, 2, 5), "word": (16,)}
    rng = np.random.default_rng(0)
    return {
        # Some are below the threshold, others far above.
        name: jnp.asarray(rng.normal(0, 10.0 ** -(i % 4), shape), jnp.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("one_vector", [False, True])
@pytest.mark.parametrize("squares", [few_kernels.each, few_kernels.by_shape])
def test_they_clip_as_the_library_does(gradients, squares, one_vector):
    ours = cwgnc_jax.clip_by_component_norm(few_kernels.MAX_NORM)
    theirs = few_kernels.clip(squares, one_vector)
    expected, state = jax.jit(ours.update)(gradients, ours.init(gradients))
    found, (norms, scales) = jax.jit(theirs.update)(gradients, theirs.init(gradients))
    # Sums of up to 128 numbers in another order: some ten units in the last place.
    chex.assert_trees_all_close(found, expected, rtol=2e-6)
    chex.assert_trees_all_close(norms, state.norms, rtol=2e-6)
    chex.assert_trees_all_close(scales, state.scales, rtol=2e-6)
