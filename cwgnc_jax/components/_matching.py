"""Which entry of a map of components belongs to which leaf."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import jax.numpy as jnp
from jax.tree_util import all_leaves

from cwgnc_jax.components._component import Component, ComponentMap, ComponentTree
from cwgnc_jax.components._paths import (
    is_masked,
    leaves_with_paths,
    list_offenders,
    nearest_entry,
    overlaps,
)

Maker = TypeVar("Maker", bound=Callable[..., Any])

Components: TypeAlias = dict[str, Component | None]
"""What the ready-made maps return: the component of each path, None for left out."""


_READY_MADE = {
    name: name for name in ("by_layer", "by_leaf", "by_module", "whole_tree")
}
_MAKERS: list[Callable[..., Any]] = []


def makes_maps(example: str) -> Callable[[Maker], Maker]:
    """Registers a function that makes maps, with a call of it, for error messages."""

    def register(maker: Maker) -> Maker:
        _READY_MADE[maker.__name__] = example
        _MAKERS.append(maker)
        return maker

    return register


def check_map(argument: str, components: Any) -> None:
    """Refuses the name of a ready-made map, and what makes maps but was not called.

    The one would be taken for the label of a component that all leaves make, the
    other be called with the parameters.

    Args:
      argument: name of the argument, for messages.
      components: what the user gave for a map.

    Raises:
      TypeError: if it is one of these.
    """
    if isinstance(components, str) and components in _READY_MADE:
        raise TypeError(
            f"{argument}: the string {components!r} would be the label of one component"
            f" for all leaves; pass the map itself: cwgnc_jax.{_READY_MADE[components]}"
        )
    for maker in _MAKERS:
        if components is maker:
            name = maker.__name__
            raise TypeError(
                f"{argument}: {name} makes a map when it is called, got the function "
                f"itself; pass {_READY_MADE[name]}"
            )


# The axis of layers and the number of the first, by the path of a leaf that was cut. A
# leaf is an array and cannot carry them; maps are called while a step is traced, in the
# thread that traces it.
_CUTS: contextvars.ContextVar[Mapping[str, tuple[int, int]]] = contextvars.ContextVar(
    "cuts"
)


@contextlib.contextmanager
def number_cut_layers(cuts: Mapping[str, tuple[int, int]]) -> Iterator[None]:
    """Lets components of leaves that were cut count as the whole ones do.

    Args:
      cuts: the axis and the number of its first index, by path.
    """
    token = _CUTS.set(cuts)
    try:
        yield
    finally:
        _CUTS.reset(token)


def cut_paths() -> tuple[str, ...]:
    """Leaves that are known to lack layers, of which rules may speak."""
    return tuple(_CUTS.get({}))


def match_components(tree: Any, components: ComponentMap) -> Components:
    """Finds each leaf's entry in a map: its own, or that of a node above it.

    Args:
      tree: parameters or updates; leaves may be hidden by ``optax.MaskedNode``.
      components: the map.

    Returns:
      The component of each leaf that is there, by path.

    Raises:
      ValueError: if map and leaves do not fit.
      TypeError: if it is no map.
    """
    nodes = leaves_with_paths(tree, is_leaf=is_masked)
    paths = [path for path, leaf in nodes if not is_masked(leaf)]
    check_map("components", components)
    # A callable module may be a tree of components; a function is a leaf.
    if callable(components) and all_leaves([components]):
        components = components(tree)
    entries = _read_entries(components)
    matched: Components = {}
    used = set()
    for path in paths:
        entry = nearest_entry(path, entries)
        if entry is not None:
            used.add(entry)
            matched[path] = entries[entry]
    missing = [path for path in paths if path not in matched]
    if missing:
        raise ValueError(
            "components: no component for these leaves (None leaves a leaf out on "
            "purpose):" + list_offenders(missing)
        )
    hidden = {path for path, leaf in nodes if path not in matched}
    unused = [
        path
        for path, entry in entries.items()
        if path not in used and entry is not None and not overlaps(path, hidden)
    ]
    if unused and paths:
        raise ValueError(
            "components: entries that belong to no leaf:" + list_offenders(unused)
        )
    cuts, leaves = _CUTS.get({}), dict(nodes)
    for path in matched.keys() & cuts.keys():
        matched[path] = _number(
            path, matched[path], jnp.ndim(leaves[path]), *cuts[path]
        )
    return matched


def _number(
    path: str, component: Component | None, ndim: int, axis: int, start: int
) -> Component | None:
    """A component that counts the layers of a cut leaf from the first that it has."""
    # Users may have given the start themselves.
    if component is None or component.start:
        return component
    axes = [each % ndim if -ndim <= each < ndim else each for each in component.axes]
    if axis not in axes:
        return component
    if axes[0] != axis:
        raise ValueError(
            f"components: layers of {path!r} were cut on axis {axis}, which must then "
            f"be the first of its axes, got {component.axes}"
        )
    return dataclasses.replace(component, start=start)


def _read_entries(tree: ComponentTree) -> Components:
    def is_entry(node: Any) -> bool:
        return node is None or isinstance(node, Component)

    entries: Components = {}
    for path, entry in leaves_with_paths(tree, is_leaf=is_entry):
        entry = Component(entry) if isinstance(entry, str) else entry
        if not is_entry(entry):
            raise TypeError(
                "components must hold Component, str (a label) or None, got "
                f"{entry!r} at {path!r}"
            )
        entries[path] = entry
    return entries
