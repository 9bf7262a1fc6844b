"""AGC by component, against the paper's formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

SHAPES = {"a": (4, 3), "b": (5,), "c": (2, 3, 2)}


def random_leaves(rng, spread=2.0):
    return {
        name: (10 ** rng.uniform(-spread, spread) * rng.standard_normal(shape)).astype(
            np.float32
        )
        for name, shape in SHAPES.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_formula(seed):
    rng = np.random.default_rng(seed)
    params, gradients = random_leaves(rng), random_leaves(rng)
    if seed == 0:
        params["a"] *= 0
    expected = oracles.adaptive_clip(gradients, params, 0.3, 1e-2)
    tx = contrib.adaptive_clip_by_component_norm(0.3, 1e-2)
    updates, state = jax.jit(tx.update)(gradients, tx.init(params), params)
    for name in SHAPES:
        # Two norms, a quotient and two products in float32.
        np.testing.assert_allclose(updates[name], expected[name], rtol=1e-6)
    exact = [np.linalg.norm(gradients[name].astype("d")) for name in SHAPES]
    np.testing.assert_allclose(state.norms, exact, rtol=1e-6)


def test_units_of_a_kernel_equal_optax():
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.standard_normal((6, 4)), jnp.float32)}
    gradients = jax.tree.map(lambda p: 0.1 * p[::-1], params)
    peer = optax.adaptive_grad_clip(0.05)
    expected, _ = peer.update(gradients, peer.init(params), params)
    tx = contrib.adaptive_clip_by_component_norm(
        0.05, components=cwgnc_jax.stacked("kernel", axes=1)
    )
    updates, state = tx.update(gradients, tx.init(params), params)
    assert state.scales.shape == (4,)
    np.testing.assert_allclose(updates["kernel"], expected["kernel"], rtol=1e-6)


def test_parameters_are_found_by_path():
    params = {"a": jnp.full(4, 3.0), "b": jnp.ones(2), "extra": jnp.ones(3)}
    gradients = {"a": jnp.full(4, 10.0), "b": jnp.full(2, 0.1)}
    tx = contrib.adaptive_clip_by_component_norm(0.5)
    updates, _ = tx.update(gradients, tx.init(gradients), params)
    np.testing.assert_allclose(updates["a"], 1.5, rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], gradients["b"])


def test_errors():
    tx = contrib.adaptive_clip_by_component_norm()
    gradients = {"a": jnp.ones(2)}
    with pytest.raises(ValueError, match="params are needed"):
        tx.update(gradients, tx.init(gradients))
    with pytest.raises(ValueError, match=r"params lack .*\n  'a'"):
        tx.update(gradients, tx.init(gradients), {"b": jnp.ones(2)})
    for argument in ("clipping", "eps"):
        with pytest.raises(ValueError, match=f"{argument} must be at least 0"):
            contrib.adaptive_clip_by_component_norm(**{argument: -1.0})


def test_parameters_of_other_shapes_are_refused():
    tx = contrib.adaptive_clip_by_component_norm(0.01)
    cut, whole = {"layers": jnp.ones((2, 3))}, {"layers": jnp.ones((4, 3))}
    with pytest.raises(ValueError, match=r"in other shapes:\n  'layers'$"):
        tx.update(cut, tx.init(cut), whole)
