"""How leaves are sharded inside ``shard_map``: their PartitionSpecs, read by path."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from cwgnc_jax.components._matching import nearest_entry
from cwgnc_jax.components._paths import flatten_with_paths, list_offenders

Specs: TypeAlias = Any
"""A pytree of PartitionSpec that lies over the parameters, matched by path.

An entry above a leaf holds for all leaves below it; None is a leaf that every device
holds whole.
"""

LeafSpec: TypeAlias = tuple[tuple[str, ...], ...]
"""The mesh axes that shard each axis of a leaf."""


def read_specs(tree: Any, specs: Specs) -> tuple[dict[str, LeafSpec], dict[str, int]]:
    """Finds how each leaf is sharded, as far as its shards are what we see.

    Args:
      tree: parameters or updates; shards of them inside ``shard_map``.
      specs: the user's specs.

    Returns:
      The specs by path, restricted to mesh axes over which we are mapped, and the
      sizes of mesh axes, 0 for the others. Outside ``shard_map`` arrays are whole,
      and the compiler sees to sums over their shards.
    """
    found = _match(tree, specs)
    sizes: dict[str, int] = {}
    by_path: dict[str, LeafSpec] = {}
    for path, spec in found.items():
        axes = []
        for entry in spec:
            names = entry if isinstance(entry, tuple) else (entry,)
            names = tuple(name for name in names if isinstance(name, str))
            for name in names:
                if name not in sizes:
                    sizes[name] = _axis_size(name)
            axes.append(tuple(name for name in names if sizes[name]))
        by_path[path] = tuple(axes)
    return by_path, sizes


def _match(tree: Any, specs: Specs) -> dict[str, PartitionSpec]:
    entries: dict[str, PartitionSpec] = {}
    for path, spec in flatten_with_paths(
        specs, is_leaf=lambda x: x is None or isinstance(x, PartitionSpec)
    ):
        if not (spec is None or isinstance(spec, PartitionSpec)):
            raise TypeError(
                f"specs must hold jax.sharding.PartitionSpec, got {spec!r} at {path!r}"
            )
        entries[path] = PartitionSpec() if spec is None else spec
    found: dict[str, PartitionSpec] = {}
    problems = []
    for path, leaf in flatten_with_paths(tree):
        entry = nearest_entry(path, entries)
        if entry is None:
            problems.append(f"{path}: no spec")
        elif len(entries[entry]) > jnp.ndim(leaf):
            problems.append(f"{path}: {entries[entry]} for shape {jnp.shape(leaf)}")
        else:
            found[path] = entries[entry]
    if problems:
        raise ValueError("specs do not fit the leaves:" + list_offenders(problems))
    return found


def _axis_size(name: str) -> int:
    """Devices along a mesh axis over which we are mapped, 0 if we are not."""
    try:
        return jax.lax.psum(1, name)
    except NameError:
        known = jax.sharding.get_abstract_mesh().axis_names
        if known and name not in known:
            raise ValueError(
                f"specs name the mesh axis {name!r}; the axes of the mesh are {known}"
            ) from None
        return 0
