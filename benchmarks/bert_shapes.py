"""Parameter trees in the shape of BERT, stacked and unstacked, for the benchmarks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a BERT encoder with pooler and a two-label classifier."""

    layers: int
    hidden: int
    feed_forward: int
    vocabulary: int = 30522
    positions: int = 512


SHAPES = {
    "tiny": Shape(layers=2, hidden=32, feed_forward=64, vocabulary=100, positions=16),
    "bert-base": Shape(layers=12, hidden=768, feed_forward=3072),
    "bert-large": Shape(layers=24, hidden=1024, feed_forward=4096),
}


def parameters(shape: Shape, stacked: bool) -> dict[str, Any]:
    """Shapes and dtypes of the parameters, layers stacked or one by one.

    Args:
      shape: Sizes of the encoder.
      stacked: Whether each kind of layer parameter is one leaf with a leading layer
        axis (as under ``scan``) or one leaf for each layer.

    Returns:
      A nested dict of float32 ``jax.ShapeDtypeStruct``.
    """
    hidden, wide = shape.hidden, shape.feed_forward

    def dense(inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {"kernel": (inputs, outputs), "bias": (outputs,)}

    norm = {"scale": (hidden,), "bias": (hidden,)}
    layer = {
        **{name: dense(hidden, hidden) for name in ("query", "key", "value", "output")},
        "output_norm": norm,
        "intermediate": dense(hidden, wide),
        "dense": dense(wide, hidden),
        "dense_norm": norm,
    }
    layers = (
        _map(lambda leaf: (shape.layers, *leaf), layer)
        if stacked
        else {str(index): layer for index in range(shape.layers)}
    )
    tree = {
        "embeddings": {
            "word": {"embedding": (shape.vocabulary, hidden)},
            "position": {"embedding": (shape.positions, hidden)},
            "token_type": {"embedding": (2, hidden)},
            "norm": norm,
        },
        "encoder": {"layers": layers},
        "pooler": dense(hidden, hidden),
        "classifier": dense(hidden, 2),
    }
    return _map(lambda leaf: jax.ShapeDtypeStruct(leaf, jnp.float32), tree)


def many_leaves(count: int, size: int = 64) -> dict[str, Any]:
    """Shapes of ``count`` separate (size, size) leaves."""
    leaf = jax.ShapeDtypeStruct((size, size), jnp.float32)
    return {f"leaf_{index:03}": leaf for index in range(count)}


def random_like(shapes: Any, key: jax.Array, scale: float) -> Any:
    """Normal random arrays of the given shapes and dtypes."""
    leaves, treedef = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(
        [
            scale * jax.random.normal(key, leaf.shape, leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
    )


def size_in_bytes(shapes: Any) -> int:
    """Bytes that all leaves together take."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def _map(function: Any, tree: Any) -> Any:
    return jax.tree.map(function, tree, is_leaf=lambda node: isinstance(node, tuple))
