"""Ways to clip separate leaves by component that launch fewer kernels; experiments.

The norms of leaves of one shape can be taken by one reduction of several operands, and
all scales can be computed in one vector. The library does not: sharded by the
compiler, operands of one reduction must be sharded alike, or gradients are sent around
(a query's and an output's kernel have one shape, and are sharded along different axes);
and a leaf that takes its scale out of a vector waits for all norms, so that all
gradients are in memory at once. Only AdaGC, whose leaves wait anyway, does the latter.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax.components._layout import make_layout
from cwgnc_jax.components._norms import unstack_blocks

MAX_NORM = 0.05

# Each operand has an accumulator, and a GPU's thread few registers.
_OPERANDS = 8


class Variant(NamedTuple):
    """A way to clip before AdamW.

    Attributes:
      clip: The transformation, or None for AdamW alone.
      records: Whether the compiled step returns the clipping's own state, as a
        training step does that keeps norms and scales.
    """

    clip: optax.GradientTransformation | None
    records: bool = True


Squares = Callable[[Sequence[jax.Array]], list[jax.Array]]
"""Squared norms of leaves."""


def each(leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Squared norms, a reduction for each leaf."""
    return [jnp.sum(jnp.square(leaf)) for leaf in leaves]


def by_shape(leaves: Sequence[jax.Array]) -> list[jax.Array]:
    """Squared norms, two reductions for several leaves of one shape.

    First along the last axis: a sum of all entries in a row would lose the last ones.
    """
    groups: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
    for index, leaf in enumerate(leaves):
        groups[leaf.shape].append(index)
    squares = [jnp.zeros(())] * len(leaves)
    for shape, members in groups.items():
        for first in range(0, len(members), _OPERANDS):
            some = members[first : first + _OPERANDS]
            sums = [jnp.square(leaves[index]) for index in some]
            for axis in reversed(range(len(shape))):
                sums = _reduce(sums, axis)
            for index, value in zip(some, sums, strict=True):
                squares[index] = value
    return squares


def _reduce(operands: Sequence[jax.Array], axis: int) -> list[jax.Array]:
    zeros = [jnp.zeros((), operand.dtype) for operand in operands]

    def add(left: Sequence[jax.Array], right: Sequence[jax.Array]) -> Any:
        return [a + b for a, b in zip(left, right, strict=True)]

    return list(jax.lax.reduce(list(operands), zeros, add, (axis,)))


def clip(squares: Squares, one_vector: bool) -> optax.GradientTransformation:
    """Clips each leaf on its own, and records norms and scales.

    Args:
      squares: how norms are taken.
      one_vector: whether leaves take their scales out of the vector of all.

    Returns:
      The transformation.
    """

    def init(params: Any) -> tuple[jax.Array, jax.Array]:
        count = len(jax.tree.leaves(params))
        return jnp.zeros(count), jnp.ones(count)

    def scale(norms: jax.Array) -> jax.Array:
        return MAX_NORM / jnp.maximum(norms, MAX_NORM)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del state, params
        leaves, treedef = jax.tree.flatten(updates)
        found = squares(leaves)
        norms = jnp.sqrt(jnp.stack(found))
        scales = scale(norms)
        if one_vector:
            own = unstack_blocks(scales, make_layout(updates))
        else:
            own = [scale(jnp.sqrt(square)) for square in found]
        clipped = [leaf * each for leaf, each in zip(leaves, own, strict=True)]
        return treedef.unflatten(clipped), (norms, scales)

    return optax.GradientTransformation(init, update)


def variants(library: Mapping[str, Variant]) -> dict[str, Variant]:
    """The library's ways that they are compared with, and the experiments."""
    return {name: library[name] for name in ("bare", "component", "global norm")} | {
        "component, one vector": Variant(clip(each, one_vector=True)),
        "component, by shape": Variant(clip(by_shape, one_vector=False)),
        "component, by shape, one vector": Variant(clip(by_shape, one_vector=True)),
    }
