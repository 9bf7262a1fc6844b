"""Norms of components, and their leaves scaled: the arithmetic, sharded or not."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._layout import Block, Layout, Member, dtype_of, make_layout
from cwgnc_jax.components._specs import Specs, read_specs


def component_norms(
    tree: Any, components: ComponentMap | None = None, *, specs: Specs = None
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
    layout = resolve(tree, components, specs)
    leaves = jax.tree.leaves(tree)
    norms = [safe_sqrt(total) for total in block_squares(leaves, layout)]
    return stack_blocks(norms, norms_dtype(leaves, layout))


def resolve(tree: Any, components: ComponentMap | None, specs: Specs) -> Layout:
    """The layout of a tree, whose leaves may be shards inside ``shard_map``."""
    if specs is None:
        return make_layout(tree, components)
    by_path, sizes = read_specs(tree, specs)
    return make_layout(tree, components, by_path, sizes)


def block_squares(leaves: Sequence[Any], layout: Layout) -> list[jax.Array]:
    """Sums of squares of the components of each block, over all shards."""
    mesh_axes = tuple(
        dict.fromkeys(
            name
            for block in layout.blocks
            for member in block.members
            for names in member.spec
            for name in names
        )
    )
    totals = []
    for block in layout.blocks:
        sharded = any(name for member in block.members for name in member.spec)
        squares = []
        for member in block.members:
            square = _leaf_squares(leaves[member.position], member)
            if sharded:
                square = _place(square, member)
                square = _count_once(square, member, mesh_axes)
            squares.append(square)
        widest = _widest(square.dtype for square in squares)
        squares = [square.astype(widest) for square in squares]
        totals.append(functools.reduce(jnp.add, squares))
    return _sum_over_shards(totals, layout, mesh_axes) if mesh_axes else totals


def scale_leaf(leaf: Any, scale: jax.Array, member: Member) -> jax.Array:
    """Multiplies the parts of a leaf by the scales of their components.

    Args:
      leaf: the leaf, or this device's shard of it.
      scale: scales of the leaf's block, in its shape.
      member: where the leaf belongs.

    Returns:
      The scaled leaf, in its own dtype; where the scale is 1, the same to the bit.
    """
    leaf = jnp.asarray(leaf)
    wide = _accumulator(leaf.dtype)
    factor = _spread(scale.astype(wide), jnp.shape(leaf), member)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        # A complex product would carry NaN from one part into the other.
        scaled = jax.lax.complex(jnp.real(leaf) * factor, jnp.imag(leaf) * factor)
    else:
        scaled = (leaf.astype(wide) * factor).astype(leaf.dtype)
    # Even a product with 1 may turn subnormal numbers into 0.
    return select(_sharded_like(leaf, factor == 1), leaf, scaled)


def select(mask: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """``jnp.where``, of one operation instead of a function where that will do."""
    if a.shape == b.shape and mask.shape in ((), a.shape):
        return jax.lax.select(mask, a, b)
    return jnp.where(mask, a, b)


def safe_sqrt(squares: jax.Array) -> jax.Array:
    """Square root whose derivative at 0 is 0."""
    zero = squares == 0
    root = jnp.sqrt(jnp.where(zero, jnp.ones_like(squares), squares))
    return jnp.where(zero, jnp.zeros_like(squares), root)


def stack_blocks(blocks: Sequence[jax.Array], dtype: Any) -> jax.Array:
    """One vector of the values of all blocks, in the order of the names."""
    if not blocks:
        return jnp.zeros((0,), dtype)
    return jnp.concatenate([block.astype(dtype).ravel() for block in blocks])


def unstack_blocks(vector: jax.Array, layout: Layout) -> list[jax.Array]:
    """The blocks of such a vector, each in its own shape."""
    blocks = []
    end = 0
    for block in layout.blocks:
        start, end = end, end + block.size
        blocks.append(vector[start:end].reshape(block.shape))
    return blocks


def norms_dtype(leaves: Sequence[Any], layout: Layout) -> Any:
    """The dtype in which norms are summed: float32, or float64 for 64-bit leaves."""
    dtypes = [
        _accumulator(dtype_of(leaves[member.position]))
        for block in layout.blocks
        for member in block.members
    ]
    return _widest(dtypes)


def _widest(dtypes: Iterable[Any]) -> Any:
    """The widest of several real dtypes; float32 if there are none."""
    single = jnp.dtype(jnp.float32)
    return max([single, *dtypes], key=lambda dtype: dtype.itemsize)


def _accumulator(dtype: Any) -> Any:
    return jnp.dtype(jnp.float64 if jnp.finfo(dtype).bits > 32 else jnp.float32)


def _leaf_squares(leaf: Any, member: Member) -> jax.Array:
    """Sums of squares of a leaf (or shard) for each of its indices and parts."""
    leaf = jnp.asarray(leaf)
    wide = _accumulator(leaf.dtype)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        squares = jnp.square(jnp.real(leaf)) + jnp.square(jnp.imag(leaf))
    else:
        squares = jnp.square(leaf.astype(wide))
    order = member.axes
    if member.split_axis is not None:
        order = (*order, member.split_axis)
    rest = tuple(axis for axis in range(leaf.ndim) if axis not in order)
    squares = _whole(jnp.sum(squares, axis=rest))
    squares = jnp.transpose(squares, [sorted(order).index(axis) for axis in order])
    if member.split_axis is None:
        return squares
    part = _part_of_each(leaf.shape[member.split_axis], member)
    inside = part[:, None] == jnp.arange(len(member.sizes))[None, :]
    # Not a product with 0 and 1: NaN and inf stay in their own part.
    spread = jnp.where(
        inside.reshape((1,) * len(member.axes) + inside.shape),
        squares[..., None],
        jnp.zeros((), wide),
    )
    return jnp.sum(spread, axis=-2)


def _whole(squares: jax.Array) -> jax.Array:
    """The same on every device, where the type of an array says how it is sharded."""
    sharding = _explicit_sharding(squares)
    if sharding is None:
        return squares
    return jax.sharding.reshard(squares, NamedSharding(sharding.mesh, PartitionSpec()))


def _sharded_like(leaf: jax.Array, mask: jax.Array) -> jax.Array:
    """A mask of a leaf's entries, sharded as the leaf's type says."""
    sharding = _explicit_sharding(leaf)
    if sharding is None or mask.ndim == 0:
        return mask
    return jax.sharding.reshard(jnp.broadcast_to(mask, leaf.shape), sharding)


def _explicit_sharding(array: jax.Array) -> NamedSharding | None:
    """How an array is sharded over mesh axes of type Explicit, None if it is not."""
    if not hasattr(jax.sharding, "reshard"):  # Before jax 0.7 or so.
        return None
    sharding = getattr(jax.typeof(array), "sharding", None)
    if not isinstance(sharding, NamedSharding) or not any(sharding.spec):
        return None
    return sharding


def _part_of_each(length: int, member: Member) -> jax.Array:
    """The number of the part in which each index of the split axis lies."""
    assert member.split_axis is not None
    indices = jnp.arange(length)
    names = member.spec[member.split_axis]
    if names:
        indices += jax.lax.axis_index(names) * length
    part = jnp.zeros_like(indices)
    end = 0
    for size in member.sizes[:-1]:
        end += size
        part += (indices >= end).astype(part.dtype)
    return part


def _spread(scale: jax.Array, shape: tuple[int, ...], member: Member) -> jax.Array:
    """Scales of a block in a shape that broadcasts over a leaf (or shard)."""
    if not member.index_shape:
        return scale
    order = member.axes
    for position, axis in enumerate(member.axes):
        if member.spec[axis]:
            offset = jax.lax.axis_index(member.spec[axis]) * shape[axis]
            scale = jax.lax.dynamic_slice_in_dim(scale, offset, shape[axis], position)
    if member.split_axis is not None:
        order = (*order, member.split_axis)
        scale = scale[..., _part_of_each(shape[member.split_axis], member)]
    scale = jnp.transpose(scale, [order.index(axis) for axis in sorted(order)])
    return scale.reshape(
        [length if axis in order else 1 for axis, length in enumerate(shape)]
    )


def _place(square: jax.Array, member: Member) -> jax.Array:
    """Puts a shard's sums at their indices among those of the whole leaf."""
    for position, axis in enumerate(member.axes):
        if names := member.spec[axis]:
            length = square.shape[position]
            shape = list(square.shape)
            shape[position] = member.shape[axis]
            square = jax.lax.dynamic_update_slice_in_dim(
                jnp.zeros(shape, square.dtype),
                square,
                jax.lax.axis_index(names) * length,
                position,
            )
    return square


def _count_once(
    square: jax.Array, member: Member, mesh_axes: tuple[str, ...]
) -> jax.Array:
    """Keeps a leaf's sums on one of the devices that hold the same copy of it."""
    sharded = {name for names in member.spec for name in names}
    copies = tuple(name for name in mesh_axes if name not in sharded)
    if not copies:
        return square
    return jnp.where(jax.lax.axis_index(copies) == 0, square, jnp.zeros_like(square))


def _sum_over_shards(
    totals: list[jax.Array], layout: Layout, mesh_axes: tuple[str, ...]
) -> list[jax.Array]:
    """Adds up the sums of all shards: one psum, of one vector."""

    def is_sharded(block: Block) -> bool:
        return any(names for member in block.members for names in member.spec)

    chosen = [i for i, block in enumerate(layout.blocks) if is_sharded(block)]
    widest = _widest(totals[i].dtype for i in chosen)
    vector = jnp.concatenate([totals[i].astype(widest).ravel() for i in chosen])
    vector = jax.lax.psum(vector, mesh_axes)
    totals = list(totals)
    end = 0
    for i in chosen:
        start, end = end, end + totals[i].size
        part = vector[start:end].reshape(totals[i].shape)
        totals[i] = part.astype(totals[i].dtype)
    return totals
