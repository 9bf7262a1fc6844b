"""Norms of components, and their leaves scaled: the arithmetic of whole arrays."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cwgnc_jax.components import _shards
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._layout import Layout, Member, dtype_of, make_layout


def component_norms(
    tree: Any, components: ComponentMap | None = None, *, specs: _shards.Specs = None
) -> jax.Array:
    r"""L2 norm of each component of a tree of parameters, gradients or updates.

    Args:
      tree: a pytree of arrays.
      components: which component each leaf belongs to; by default each leaf is one.
      specs: inside ``shard_map``, how each leaf is sharded, as in
        :func:`clip_by_component_norm`.

    Returns:
      The norms, shape (components,), float32, or float64 if a leaf has 64 bits; in
      the order of :func:`component_names`.

    Raises:
      ValueError: if the map does not fit the tree.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_names, component_norms
      >>> gradients = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.array([3.0, 4.0])}
      >>> norms = component_norms(gradients)
      >>> dict(zip(component_names(gradients), norms.tolist(), strict=True))
      {'bias': 5.0, 'kernel': 4.0}
    """
    return safe_sqrt(stack_blocks(measure(tree, components, specs).squares))


class Measured(NamedTuple):
    """A tree in its components, and how large these are.

    Attributes:
      layout: the components.
      leaves: the leaves of the tree, as ``jax.tree.flatten`` gives them.
      treedef: its structure.
      squares: squared norms of the components of each block.
    """

    layout: Layout
    leaves: list[Any]
    treedef: Any
    squares: list[jax.Array]

    @property
    def dtype(self) -> Any:
        """The dtype of all norms together."""
        return widest_dtype(square.dtype for square in self.squares)


def measure(
    tree: Any,
    components: ComponentMap | None,
    specs: _shards.Specs,
    dtype: Any = jnp.float32,
) -> Measured:
    """The squared norms of the components of a tree, at least in a dtype."""
    layout = resolve(tree, components, specs)
    leaves, treedef = jax.tree.flatten(tree)
    return Measured(layout, leaves, treedef, block_squares(leaves, layout, dtype))


def resolve(tree: Any, components: ComponentMap | None, specs: _shards.Specs) -> Layout:
    """The layout of a tree, whose leaves may be shards inside ``shard_map``."""
    whole = None if specs is None else _shards.read_specs(tree, specs)
    return make_layout(tree, components, whole)


def block_squares(
    leaves: Sequence[Any], layout: Layout, dtype: Any = jnp.float32
) -> list[jax.Array]:
    """Sums of squares of the components of each block, over all shards.

    They are summed in ``dtype`` or what is wider among the leaves of the block.
    """
    return block_sums(leaves, layout, _squares, dtype)


def block_sums(
    leaves: Sequence[Any],
    layout: Layout,
    terms: Callable[[jax.Array, Any], jax.Array],
    dtype: Any = jnp.float32,
) -> list[jax.Array]:
    """Sums of what ``terms`` makes of the entries of a leaf, in a dtype; likewise."""
    mesh_axes = _shards.mesh_axes(layout) if layout.is_sharded else ()
    totals = []
    for block in layout.blocks:
        # One wide leaf makes its component wide, and leaves the others as they are.
        # From the squares on: those of a float32 leaf may need float64 to be finite.
        widest = widest_dtype(
            [jnp.dtype(dtype)]
            + [norm_dtype(leaves[member.position]) for member in block.members]
        )
        squares = []
        for member in block.members:
            sums = _index_sums(
                terms(jnp.asarray(leaves[member.position]), widest), member
            )
            if block.is_sharded:
                sums = _shards.own_share(sums, member, mesh_axes)
            squares.append(_part_sums(sums, member))
        totals.append(functools.reduce(jnp.add, squares))
    return _shards.sum_over_shards(totals, layout, mesh_axes) if mesh_axes else totals


def scale_blocks(
    leaves: Sequence[Any], layout: Layout, scales: Sequence[jax.Array | None]
) -> list[Any]:
    """Multiplies the leaves of each block by the scales of their components.

    Args:
      leaves: leaves of the tree, or this device's shards of them.
      layout: the components.
      scales: scales of each block, in its shape, or None to leave the block alone.

    Returns:
      The scaled leaves, in their own dtypes; where a scale is 1, the same to the bit.
    """
    scaled = list(leaves)
    for block, scale in zip(layout.blocks, scales, strict=True):
        # Leaves of no block, and of those left alone, are not even looked at.
        if scale is not None:
            for member in block.members:
                scaled[member.position] = _scale(leaves[member.position], scale, member)
    return scaled


def select(mask: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """``jnp.where``, of one operation instead of a function where that will do."""
    if a.shape == b.shape and mask.shape in ((), a.shape):
        return jax.lax.select(mask, a, b)
    return jnp.where(mask, a, b)


def safe_sqrt(squares: jax.Array) -> jax.Array:
    """Square root whose derivative at 0 is 0."""
    # The root of 0 has an infinite slope, and infinity times a 0 from above is NaN:
    # its argument is exchanged, not only its result.
    zero = squares == 0
    root = jnp.sqrt(jnp.where(zero, jnp.ones_like(squares), squares))
    return jnp.where(zero, jnp.zeros_like(squares), root)


def stack_blocks(blocks: Sequence[jax.Array]) -> jax.Array:
    """One vector of the values of all blocks, in the order of the names."""
    dtype = widest_dtype(block.dtype for block in blocks)
    if not blocks:
        return jnp.zeros((0,), dtype)
    return jnp.concatenate([block.astype(dtype).ravel() for block in blocks])


def unstack_blocks(vector: jax.Array, layout: Layout) -> list[jax.Array]:
    """The blocks of such a vector, each in its own shape.

    Where a block begins is what the kernel of its reader is called with, not a part of
    that kernel's code: kernels for hundreds of leaves that differ in nothing else are
    compiled once, instead of in some 15 ms each.
    """
    sizes = [block.size for block in layout.blocks]
    # Without a sign, so that jax does not look for negative ones.
    ends = np.cumsum(sizes, dtype=np.uint32)
    # The compiler computes with what it knows, but does not look through a barrier. A
    # number alone, one that is repeated, and 0, 1, ... would be written into the code
    # all the same: hence ends, and these before the starts.
    spans = jax.lax.optimization_barrier(
        [
            jnp.asarray(np.array([end, end - size], np.uint32))
            for end, size in zip(ends.tolist(), sizes, strict=True)
        ]
    )
    return [
        jax.lax.dynamic_slice_in_dim(
            vector, jax.lax.index_in_dim(span, 1, keepdims=False), block.size
        ).reshape(block.shape)
        for span, block in zip(spans, layout.blocks, strict=True)
    ]


def widest_dtype(dtypes: Iterable[Any]) -> Any:
    """The widest of several real dtypes; float32 if there are none."""
    # By size, for `jnp.result_type` of none is an error, and of halves is no float32.
    single = jnp.dtype(jnp.float32)
    return max([single, *dtypes], key=lambda dtype: dtype.itemsize)


def wide_dtype(*leaves: Any) -> Any:
    """The dtype to compute with leaves in: theirs, of at least 32 bits."""
    # Promotion that is asked for, so that jax_numpy_dtype_promotion=strict lets it be.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(jnp.result_type(*leaves), jnp.float32)


def norm_dtype(leaf: Any) -> Any:
    """The dtype in which squares are summed: float32, or float64 for 64-bit leaves."""
    # The square of 300 overflows float16; bfloat16 stops counting equal terms at 256.
    # What NumPy holds in 64 bits has 32 here where jax_enable_x64 is not set.
    wide = jnp.finfo(jax.dtypes.canonicalize_dtype(dtype_of(leaf))).bits > 32
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def _squares(leaf: jax.Array, dtype: Any) -> jax.Array:
    # Cast before squaring, not after. Cast, square and sum become one loop over the
    # leaf: none of them is written to memory.
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        # Not abs(leaf) ** 2: its root would be drawn, differentiated and squared.
        real, imaginary = (part(leaf).astype(dtype) for part in (jnp.real, jnp.imag))
        return jnp.square(real) + jnp.square(imaginary)
    return jnp.square(leaf.astype(dtype))


def _index_sums(terms: jax.Array, member: Member) -> jax.Array:
    """Sums for each index of ``member.order``, in that order."""
    order = member.order
    rest = tuple(axis for axis in range(terms.ndim) if axis not in order)
    sums = jnp.sum(terms, axis=rest)
    if _is_explicit(sums):
        sums = _shards.replicate(sums)
    # The sum leaves the axes in the leaf's order; members that add up, and names, have
    # them in the component's. What is transposed is small.
    return jnp.transpose(sums, [sorted(order).index(axis) for axis in order])


def _part_sums(sums: jax.Array, member: Member) -> jax.Array:
    """Gathers the last axis of such sums, that of a split, into its parts."""
    if member.split_axis is None:
        return sums
    parts = jnp.arange(len(member.sizes))
    inside = _part_of_each(member)[:, None] == parts[None, :]
    # A mask and a sum, for slices of unequal parts would be a kernel each. And not a
    # product with 0 and 1: NaN and inf stay in their own part.
    spread = jnp.where(
        inside.reshape((1,) * len(member.axes) + inside.shape),
        sums[..., None],
        jnp.zeros((), sums.dtype),
    )
    return jnp.sum(spread, axis=-2)


def _part_of_each(member: Member) -> jax.Array:
    """The number of the part in which each index of the split axis lies."""
    # Counted, not a constant of the program: it fuses, and a constant would be read.
    indices = jnp.arange(member.shape[member.order[-1]])
    part = jnp.zeros_like(indices)
    end = 0
    for size in member.sizes[:-1]:
        end += size
        part += (indices >= end).astype(part.dtype)
    return part


def _scale(leaf: Any, scale: jax.Array, member: Member) -> jax.Array:
    """Multiplies the parts of a leaf, or of a shard of it, by their scales."""
    leaf = jnp.asarray(leaf)
    # In the wide dtype: a scale of 1e-6 is 0 in float16 long before the product is, as
    # one of 1e-60 is in float32, for a component of leaves of both widths.
    wide = scale.dtype
    factor = _spread(scale, member)
    if member.spec:
        factor = _shards.own_part(factor, member, leaf.shape)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        # A complex product would carry NaN from one part into the other.
        real, imaginary = (
            (part(leaf).astype(wide) * factor).astype(part(leaf).dtype)
            for part in (jnp.real, jnp.imag)
        )
        scaled = jax.lax.complex(real, imaginary)
    else:
        scaled = (leaf.astype(wide) * factor).astype(leaf.dtype)
    same = factor == 1
    if _is_explicit(leaf):
        same = _shards.shard_alike(same, leaf)
    # Even a product with 1 may turn subnormal numbers into 0.
    return select(same, leaf, scaled)


def _spread(scale: jax.Array, member: Member) -> jax.Array:
    """Scales of a block in a shape that broadcasts over the whole leaf."""
    order = member.order
    if not order:
        return scale
    if member.split_axis is not None:
        # Each column takes the scale of its part.
        scale = scale[..., _part_of_each(member)]
    # Back from the component's order of axes to the leaf's, with 1 for those summed.
    scale = jnp.transpose(scale, [order.index(axis) for axis in sorted(order)])
    return scale.reshape(
        [length if axis in order else 1 for axis, length in enumerate(member.shape)]
    )


def _is_explicit(array: jax.Array) -> bool:
    """Whether the type of an array says that axes of a mesh shard it."""
    sharding = getattr(jax.typeof(array), "sharding", None)
    return any(getattr(sharding, "spec", None) or ())
