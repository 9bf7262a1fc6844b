"""How far components moved from a reference: difference and angle."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._layout import Layout, make_layout
from cwgnc_jax.components._norms import (
    block_squares,
    norms_dtype,
    safe_sqrt,
    scale_leaf,
    stack_blocks,
)
from cwgnc_jax.components._paths import flatten_with_paths, list_offenders


def component_sizes(tree: Any, components: ComponentMap | None = None) -> np.ndarray:
    """Number of entries of each component.

    Args:
      tree: a pytree of arrays or of ``jax.ShapeDtypeStruct``.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The numbers, int64 of shape (components,), in the order of
      :func:`component_names`.

    Raises:
      ValueError: if the map does not fit the tree.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_sizes, stacked
      >>> params = {"bias": jnp.ones((2, 8)), "kernel": jnp.ones((2, 4, 8))}
      >>> component_sizes(params, stacked(".*")).tolist()
      [8, 8, 32, 32]
    """
    sizes = []
    for block in make_layout(tree, components).blocks:
        total = np.zeros(block.shape, np.int64)
        for member in block.members:
            kept = {*member.axes, member.split_axis}
            rest = [n for axis, n in enumerate(member.shape) if axis not in kept]
            total += np.prod(rest, dtype=np.int64) * np.asarray(member.sizes or 1)
        sizes.append(total.ravel())
    return np.concatenate([np.zeros(0, np.int64), *sizes])


def component_rmsd(
    tree: Any, reference: Any, components: ComponentMap | None = None
) -> jax.Array:
    r"""Root-mean-square difference of each component from a reference.

    .. math::
      \sqrt{\frac{1}{n} \sum_{j=1}^{n} (w_j - r_j)^2}

    Args:
      tree: parameters, a pytree of arrays.
      reference: what to compare with, matched by path: the pretrained parameters,
        those of the stage or the step before. It may hold other leaves too.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The differences, shape (components,), float32, or float64 if a leaf has 64 bits;
      in the order of :func:`component_names`. A component without entries has 0.

    Raises:
      ValueError: if the map does not fit the tree, or the reference lacks a leaf or
        has another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_names, component_rmsd
      >>> before = {"bias": jnp.zeros(2), "kernel": jnp.ones((2, 2))}
      >>> after = {"bias": jnp.array([0.0, 1.0]), "kernel": jnp.full((2, 2), 1.5)}
      >>> names = component_names(after)
      >>> moved = component_rmsd(after, before)
      >>> {name: f"{x:.3f}" for name, x in zip(names, moved)}
      {'bias': '0.707', 'kernel': '0.500'}

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, Figure 2
    """
    layout, leaves, others = _pair(tree, reference, components)
    moved = [a - b for a, b in zip(leaves, others, strict=True)]
    squares = stack_blocks(block_squares(moved, layout), norms_dtype(moved, layout))
    sizes = np.maximum(component_sizes(tree, components), 1)
    return safe_sqrt(squares / sizes.astype(squares.dtype))


def component_cosine_distance(
    tree: Any, reference: Any, components: ComponentMap | None = None
) -> jax.Array:
    r"""One minus the cosine similarity of each component and a reference.

    Fine-tuning turns a component so little that the similarity itself rounds to 1.
    The distance is therefore not computed from it but as

    .. math::
      1 - \cos(w, r) = \frac{1}{2} \left\lVert \frac{w}{\lVert w \rVert} -
        \frac{r}{\lVert r \rVert} \right\rVert^2

    which float32 resolves down to some 1e-14.

    Args:
      tree: parameters, a pytree of arrays.
      reference: what to compare with, matched by path; it may hold other leaves too.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The distances, from 0 to 2, shape (components,), float32, or float64 if a leaf
      has 64 bits. Between two components of zeros, which did not turn, it is 0, and
      between zeros and anything else 1.

    Raises:
      ValueError: as :func:`component_rmsd`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_cosine_distance
      >>> before = {"bias": jnp.zeros(2), "kernel": jnp.array([1.0, 0.0])}
      >>> after = {"bias": jnp.ones(2), "kernel": jnp.array([1.0, 1e-5])}
      >>> [f"{x:.1e}" for x in component_cosine_distance(after, before)]
      ['1.0e+00', '5.0e-11']

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, appendix C
    """
    layout, leaves, others = _pair(tree, reference, components)
    units, zeros = zip(
        *(_units(part, layout) for part in (leaves, others)), strict=True
    )
    apart = [a - b for a, b in zip(*units, strict=True)]
    # A compiler that fuses product and difference leaves a rest of rounding between
    # units of equal components: these are found by comparing their entries.
    unequal = [
        (leaf != other).astype(leaf.dtype)
        for leaf, other in zip(leaves, others, strict=True)
    ]
    distances = []
    for square, count, zero, other in zip(
        block_squares(apart, layout),
        block_squares(unequal, layout),
        *zeros,
        strict=True,
    ):
        distance = jnp.where(count == 0, 0, jnp.minimum(square / 2, 2))
        distances.append(jnp.where(zero != other, 1, distance).astype(square.dtype))
    return stack_blocks(distances, norms_dtype(apart, layout))


def component_cosine(
    tree: Any, reference: Any, components: ComponentMap | None = None
) -> jax.Array:
    """Cosine similarity of each component and a reference.

    Args:
      tree: parameters, a pytree of arrays.
      reference: what to compare with, matched by path; it may hold other leaves too.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The similarities, from -1 to 1, shape (components,): 1 minus
      :func:`component_cosine_distance`, which tells apart what is close to 1. Two
      components of zeros have 1, zeros and anything else 0.

    Raises:
      ValueError: as :func:`component_rmsd`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_cosine
      >>> before = {"bias": jnp.zeros(2), "kernel": jnp.array([3.0, 4.0])}
      >>> component_cosine({"bias": jnp.zeros(2), "kernel": -before["kernel"]}, before)
      Array([ 1., -1.], dtype=float32)
    """
    return 1 - component_cosine_distance(tree, reference, components)


def _pair(
    tree: Any, reference: Any, components: ComponentMap | None
) -> tuple[Layout, list[jax.Array], list[jax.Array]]:
    """The layout, and the leaves of both trees in at least 32 bits."""
    layout = make_layout(tree, components)
    by_path = dict(flatten_with_paths(reference))
    chosen = {member.path for block in layout.blocks for member in block.members}
    leaves, others, wrong = [], [], []
    for path, leaf in flatten_with_paths(tree):
        other = by_path.get(path) if path in chosen else leaf
        if other is None or jnp.shape(other) != jnp.shape(leaf):
            shape = "missing" if other is None else jnp.shape(other)
            wrong.append(f"{path}: {jnp.shape(leaf)}, reference: {shape}")
            continue
        wide = jnp.promote_types(jnp.result_type(leaf, other), jnp.float32)
        leaves.append(jnp.asarray(leaf, wide))
        others.append(jnp.asarray(other, wide))
    if wrong:
        raise ValueError(
            "reference must have the leaves of the tree in their shapes:"
            + list_offenders(wrong)
        )
    return layout, leaves, others


def _units(
    leaves: list[jax.Array], layout: Layout
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Leaves over the norms of their components, and which of these are 0."""
    units = list(leaves)
    zeros = []
    squares = block_squares(leaves, layout)
    for block, square in zip(layout.blocks, squares, strict=True):
        norm = safe_sqrt(square)
        zeros.append(norm == 0)
        scale = 1 / jnp.where(norm == 0, 1, norm)
        for member in block.members:
            leaf = leaves[member.position]
            units[member.position] = scale_leaf(leaf, scale, member)
    return units, zeros
