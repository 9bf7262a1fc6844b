"""Norms of components against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles

import cwgnc_jax
from cwgnc_jax import Component, Split


def ones(**shapes):
    return {name: jnp.ones(shape) for name, shape in shapes.items()}


def bert(layers=2):
    """Parameters of a BERT, its layers stacked on the first axis."""
    return {
        "embeddings": {"word": jnp.ones((5, 4))},
        "encoder": {
            "layers": {
                "query": ones(kernel=(layers, 4, 4), bias=(layers, 4)),
                "norm": ones(scale=(layers, 4)),
            }
        },
        "classifier": ones(kernel=(4, 2), bias=(2,)),
    }


class TestNorms:
    def test_against_slices_in_double_precision(self):
        rng = np.random.default_rng(0)
        leaves = {
            "kernel": rng.standard_normal((3, 4, 10)).astype(np.float32),
            "bias": rng.standard_normal((3, 10)).astype(np.float32),
            "other": rng.standard_normal((6,)).astype(np.float32),
        }
        split = Split(-1, {"q": 5, "k": 2, "v": 3})
        fused = Component("qkv", axes=0, split=split, start=4)
        components = {"kernel": fused, "bias": fused, "other": "other"}
        options = {
            "label": "qkv",
            "axes": [0],
            "split_axis": -1,
            "parts": {"q": 5, "k": 2, "v": 3},
            "start": 4,
        }
        pieces = oracles.join(
            oracles.pieces_of("bias", (3, 10), **options),
            oracles.pieces_of("kernel", (3, 4, 10), **options),
            oracles.pieces_of("other", (6,)),
        )
        names = cwgnc_jax.component_names(leaves, components)
        expected = oracles.clip(leaves, pieces, 1.0).norms
        assert names == tuple(pieces)
        # Sums of at most 40 squares and a root, all in float32.
        np.testing.assert_allclose(
            cwgnc_jax.component_norms(leaves, components),
            [expected[name] for name in names],
            rtol=1e-6,
        )

    def test_of_no_leaves(self):
        norms = cwgnc_jax.component_norms({"a": None})
        assert norms.shape == (0,)
        assert norms.dtype == jnp.float32

    def test_under_jit(self):
        norms = jax.jit(cwgnc_jax.component_norms)(bert())
        # Two programs, which may sum in another order.
        np.testing.assert_allclose(norms, cwgnc_jax.component_norms(bert()), rtol=1e-6)
