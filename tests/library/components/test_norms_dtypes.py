"""Dtypes to compute in; nothing is promoted where JAX makes that an error."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

KEY = jax.random.key(0)


@pytest.fixture(params=["float32", "bfloat16"])
def params(request):
    draws = np.random.default_rng(0).standard_normal((3, 4))
    leaf = jnp.asarray(draws, request.param)
    return {"embed": leaf, "layers": {"kernel": jnp.stack([leaf, 2 * leaf])}}


def updated(tx):
    def update(params):
        state = tx.init(params)
        half = jax.tree.map(lambda leaf: leaf / 2, params)
        return tx.update(half, state, params)[0]

    return update


FUNCTIONS = {
    "layer decay": updated(contrib.scale_by_layer_decay(0.9)),
    "child tuning": updated(contrib.child_tuning(0.5, KEY)),
    "pretrained": updated(contrib.decay_towards_pretrained(jnp.float32(0.01))),
    "mixout": lambda params: contrib.mixout(
        params, params, KEY, 0.5, leaves=".*", output_layer=None
    ),
    "noisytune": lambda params: contrib.noisytune(params, KEY),
    "fisher": lambda params: contrib.fisher_mask(params, 0.5, leaves=".*"),
    "rmsd": lambda params: cwgnc_jax.component_rmsd(
        params, jax.tree.map(jnp.cos, params)
    ),
    "cosine": lambda params: cwgnc_jax.component_cosine_distance(
        params, jax.tree.map(jnp.cos, params)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_strict_promotion_changes_nothing(params, name):
    expected = FUNCTIONS[name](params)
    with jax.numpy_dtype_promotion("strict"):
        found = FUNCTIONS[name](params)
    chex.assert_trees_all_equal(found, expected)


def test_decay_towards_pretrained_is_computed_in_32_bits():
    # In bfloat16 the pull itself would be rounded before it is added.
    w, w0 = jnp.bfloat16(1.0), jnp.bfloat16(0.7)
    tx = contrib.decay_towards_pretrained(0.3, {"w": w0}, mask=lambda tree: {"w": True})
    state = tx.init({"w": w})
    found, _ = tx.update({"w": jnp.bfloat16(0.25)}, state, {"w": w})
    expected = 0.25 + np.float32(0.3) * (np.float32(w) - np.float32(w0))
    assert found["w"] == jnp.bfloat16(expected)
