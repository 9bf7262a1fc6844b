"""What shards do to norms: their specs, one psum for all, meshes of explicit axes.

Whole arrays pass none of this: :mod:`_norms` calls it for members that have a spec, and
for arrays whose type says how they are sharded.
"""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from cwgnc_jax.components._layout import Layout, Member, WholeLeaf
from cwgnc_jax.components._paths import (
    leaves_with_paths,
    list_offenders,
    nearest_entry,
)

Specs: TypeAlias = Any
"""A pytree of PartitionSpec that lies over the parameters, matched by path.

An entry above a leaf holds for all leaves below it; None is a leaf that every device
holds whole.
"""


def read_specs(tree: Any, specs: Specs) -> dict[str, WholeLeaf]:
    """Finds of which whole leaf each leaf is a shard, as far as shards are what we see.

    Args:
      tree: parameters or updates; shards of them inside ``shard_map``.
      specs: the user's specs.

    Returns:
      Shape and spec of the whole leaves, by path. Specs are restricted to mesh axes
      over which we are mapped: outside ``shard_map`` arrays are whole, and the
      compiler sees to sums over their shards.
    """
    sizes: dict[str, int] = {}
    whole = {}
    for path, (leaf, spec) in _match(tree, specs).items():
        shape = list(jnp.shape(leaf))
        axes: list[tuple[str, ...]] = [()] * len(shape)
        for axis, entry in enumerate(spec):
            names = entry if isinstance(entry, tuple) else (entry,)
            for name in names:
                if not isinstance(name, str):
                    continue  # None: no mesh axis. Or a constraint on the compiler.
                if name not in sizes:
                    sizes[name] = _axis_size(name)
                # With shard_map over some mesh axes, the compiler sees to the others.
                if sizes[name]:
                    shape[axis] *= sizes[name]
                    axes[axis] = (*axes[axis], name)
        whole[path] = WholeLeaf(tuple(shape), tuple(axes) if any(axes) else ())
    return whole


def mesh_axes(layout: Layout) -> tuple[str, ...]:
    """The mesh axes that shard any leaf, in the order of their first use."""
    return tuple(
        dict.fromkeys(
            name
            for block in layout.blocks
            for member in block.members
            for names in member.spec
            for name in names
        )
    )


def own_share(sums: jax.Array, member: Member, mesh_axes: tuple[str, ...]) -> jax.Array:
    """What a shard adds to the sums of the whole leaf, at their indices and parts.

    Args:
      sums: sums of the shard, an axis for each of ``member.order``.
      member: the leaf.
      mesh_axes: the mesh axes over which the sums will be added up.

    Returns:
      The same in the shape of the whole leaf's sums, 0 where others have theirs.
    """
    for position, axis in enumerate(member.order):
        if names := member.spec_of(axis):
            # Axes that are summed over need no place: their sums are added up. Those
            # that are kept, by index or by part, stand one after the other, in the
            # order of the devices along all the mesh axes that shard them.
            length = sums.shape[position]
            shape = list(sums.shape)
            shape[position] = member.shape[axis]
            # Not a product with 0 and 1: NaN and inf stay at their own index.
            sums = jax.lax.dynamic_update_slice_in_dim(
                jnp.zeros(shape, sums.dtype),
                sums,
                jax.lax.axis_index(names) * length,
                position,
            )
    return _count_once(sums, member, mesh_axes)


def sum_over_shards(
    totals: list[jax.Array], layout: Layout, mesh_axes: tuple[str, ...]
) -> list[jax.Array]:
    """Adds up the sums of all shards: one psum, of one vector.

    A collective costs its latency, whatever its size here: one for each leaf would take
    longer than the step. Blocks that every device holds whole are complete.
    """
    chosen = [i for i, block in enumerate(layout.blocks) if block.is_sharded]
    # One float64 block makes the vector wide; the others come back as they were.
    widest = jnp.result_type(*(totals[i] for i in chosen))
    vector = jnp.concatenate([totals[i].astype(widest).ravel() for i in chosen])
    vector = jax.lax.psum(vector, mesh_axes)
    totals = list(totals)
    end = 0
    for i in chosen:
        start, end = end, end + totals[i].size
        part = vector[start:end].reshape(totals[i].shape)
        totals[i] = part.astype(totals[i].dtype)
    return totals


def own_part(factor: jax.Array, member: Member, shape: tuple[int, ...]) -> jax.Array:
    """The part of a factor for the whole leaf that this device's shard needs."""
    for axis, length in enumerate(shape):
        # An axis of 1 broadcasts over the shard as it does over the leaf.
        if (names := member.spec_of(axis)) and axis in member.order:
            # Taken, not spread by a mask: each device has some of the whole factor.
            offset = jax.lax.axis_index(names) * length
            factor = jax.lax.dynamic_slice_in_dim(factor, offset, length, axis)
    return factor


def replicate(sums: jax.Array) -> jax.Array:
    """The same sums, or a whole leaf, on every device, where axes are explicit.

    With explicit axes no compiler decides where to add up: until they are the same
    everywhere, sums of leaves that are sharded in different ways do not combine.
    """
    sharding = _explicit_sharding(sums)
    if sharding is None:
        return sums
    return jax.sharding.reshard(sums, NamedSharding(sharding.mesh, PartitionSpec()))


def shard_alike(mask: jax.Array, leaf: jax.Array) -> jax.Array:
    """A mask of a leaf's entries, sharded as the leaf's type says."""
    if _explicit_sharding(leaf) is None or mask.ndim == 0:
        return mask
    # A select wants all of its operands sharded alike.
    return shard_like(jnp.broadcast_to(mask, leaf.shape), leaf)


def shard_like(leaf: Any, other: Any) -> Any:
    """A leaf sharded as another one's type says, if that says anything."""
    sharding = _explicit_sharding(other)
    return leaf if sharding is None else jax.sharding.reshard(leaf, sharding)


class _LeafAndSpec(NamedTuple):
    leaf: Any
    spec: PartitionSpec


def _match(tree: Any, specs: Specs) -> dict[str, _LeafAndSpec]:
    entries: dict[str, PartitionSpec] = {}
    # None is no leaf for jax.
    for path, spec in leaves_with_paths(
        specs, is_leaf=lambda x: x is None or isinstance(x, PartitionSpec)
    ):
        if not (spec is None or isinstance(spec, PartitionSpec)):
            raise TypeError(
                f"specs must hold jax.sharding.PartitionSpec, got {spec!r} at {path!r}"
            )
        entries[path] = PartitionSpec() if spec is None else spec
    matched: dict[str, _LeafAndSpec] = {}
    problems = []
    for path, leaf in leaves_with_paths(tree):
        entry = nearest_entry(path, entries)
        if entry is None:
            problems.append(f"{path}: no spec")
        elif len(entries[entry]) > jnp.ndim(leaf):
            problems.append(f"{path}: {entries[entry]} for shape {jnp.shape(leaf)}")
        else:
            matched[path] = _LeafAndSpec(leaf, entries[entry])
    if problems:
        raise ValueError("specs do not fit the leaves:" + list_offenders(problems))
    return matched


def _axis_size(name: str) -> int:
    """Devices along a mesh axis over which we are mapped, 0 if we are not."""
    try:
        # Of a Python number, psum is the number of devices, known while tracing.
        return jax.lax.psum(1, name)
    except NameError:
        # A name that no mesh has is a misspelling. One of a mesh that maps nothing here
        # is the same specs under jit, where arrays are whole.
        known = jax.sharding.get_abstract_mesh().axis_names
        if known and name not in known:
            raise ValueError(
                f"specs name the mesh axis {name!r}; the axes of the mesh are {known}"
            ) from None
        return 0


def _count_once(
    sums: jax.Array, member: Member, mesh_axes: tuple[str, ...]
) -> jax.Array:
    """Keeps a leaf's sums on one of the devices that hold the same copy of it.

    The psum runs over all mesh axes that any leaf uses. Along those that do not shard
    this leaf each device has the same sums, which would be added up once for each.
    """
    sharded = {name for names in member.spec for name in names}
    copies = tuple(name for name in mesh_axes if name not in sharded)
    if not copies:
        return sums
    # Exact, where dividing by their number would round.
    return jnp.where(jax.lax.axis_index(copies) == 0, sums, jnp.zeros_like(sums))


def _explicit_sharding(array: jax.Array) -> NamedSharding | None:
    """How an array is sharded over mesh axes of type Explicit, None if it is not."""
    if not hasattr(jax.sharding, "reshard"):  # Before jax 0.7 or so.
        return None
    # Axes of type Auto are in no type: the compiler knows of them, we need not.
    sharding = getattr(jax.typeof(array), "sharding", None)
    if not isinstance(sharding, NamedSharding) or not any(sharding.spec):
        return None
    # Outside of jit the type's mesh has no devices, but the array has.
    own = None if isinstance(array, Tracer) else getattr(array, "sharding", None)
    return own if isinstance(own, NamedSharding) else sharding
