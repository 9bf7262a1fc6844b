"""Parameters taken apart into what a stage trains and the rest, and joined again."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax.components._paths import (
    is_masked,
    leaves_with_paths,
    list_offenders,
    node_at,
)
from cwgnc_jax.unfreezing._groups import Span, UnfreezingGroups, unfreezing_groups


class SplitParams(NamedTuple):
    """Parameters that a stage trains, and those that it leaves alone.

    Attributes:
      trainable: the tree with ``optax.MaskedNode()`` in place of frozen leaves, and
        the upper part of the leaves that were cut.
      frozen: the tree with the rest.
    """

    trainable: Any
    frozen: Any


def split_params(
    params: Any, stage: int, groups: UnfreezingGroups | None = None
) -> SplitParams:
    """Splits parameters into those that a stage trains and those that it does not.

    Differentiate the loss with respect to the first, and give them alone to the
    optimizer: nothing frozen is then differentiated, decayed or given state. Leaves
    of stacked layers are cut at the boundary; a model that runs the lower part before
    the upper one needs no backward pass through the lower.

    Args:
      params: parameters, a pytree of arrays.
      stage: number of the stage, from 0; see :func:`unfreezing_labels`.
      groups: groups of the parameters, by default those of
        :func:`unfreezing_groups`.

    Returns:
      The two parts, with the paths of ``params``. Transformations and maps of
      components see the leaves of the other part as hidden by a mask.

    Raises:
      ValueError: if there is no such stage, or a leaf is in no group.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import join_params, split_params
      >>> params = {"embed": jnp.ones((9, 2)), "head": jnp.ones((2, 2)),
      ...           "layers": {"kernel": jnp.ones((24, 2, 2))}}
      >>> trainable, frozen = split_params(params, stage=1)
      >>> trainable["layers"]["kernel"].shape, frozen["layers"]["kernel"].shape
      ((2, 2, 2), (22, 2, 2))
      >>> trainable["embed"], frozen["head"]
      (MaskedNode(), MaskedNode())
      >>> join_params(trainable, frozen)["layers"]["kernel"].shape
      (24, 2, 2)
    """
    groups = unfreezing_groups(params) if groups is None else groups
    lowest = groups.lowest_level(stage)
    trainable, frozen = [], []
    for path, leaf in leaves_with_paths(params):
        span = groups.span(path, jnp.shape(leaf))
        if span.level >= lowest:
            lower, upper = optax.MaskedNode(), leaf
        elif span.end <= lowest:
            lower, upper = leaf, optax.MaskedNode()
        else:
            lower, upper = span.cut(leaf, lowest - span.level)
        trainable.append(upper)
        frozen.append(lower)
    treedef = jax.tree.structure(params)
    return SplitParams(
        jax.tree.unflatten(treedef, trainable), jax.tree.unflatten(treedef, frozen)
    )


def join_params(
    trainable: Any,
    frozen: Any,
    groups: UnfreezingGroups | None = None,
    *,
    keep_cut: str | None = None,
) -> Any:
    """Puts the two parts of :func:`split_params` together again.

    Args:
      trainable: the part that was trained.
      frozen: the other.
      groups: groups of the parameters, which say on which axis layers are stacked; by
        default on the first.
      keep_cut: path of the node of stacked layers, ``encoder/layers``, if these are to
        stay cut for a forward pass that runs one stack after the other. The node then
        becomes a dict of two, 0 for the lower, frozen stack and 1 for the upper one,
        unless the stage left the stack whole.

    Returns:
      The whole tree; leaves that were cut are whole again unless kept cut.

    Raises:
      ValueError: if the parts are not of one tree, or there is no such node; if the
        groups, given or found as by default, show that the parts overlap (one is the
        whole) or were swapped.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import join_params, split_params
      >>> params = {"layers": {"kernel": jnp.ones((4, 2, 2))}, "head": jnp.ones(2),
      ...           "embed": jnp.ones(2)}
      >>> trainable, frozen = split_params(params, stage=0)
      >>> stacks = join_params(trainable, frozen, keep_cut="layers")["layers"]
      >>> {number: stack["kernel"].shape for number, stack in stacks.items()}
      {0: (3, 2, 2), 1: (1, 2, 2)}
    """
    stacks = [
        None if keep_cut is None else node_at(part, keep_cut)
        for part in (trainable, frozen)
    ]

    def is_leaf(node: Any) -> bool:
        at_cut = any(node is stack for stack in stacks)
        return at_cut or node is None or is_masked(node)

    treedef, other = (
        jax.tree.structure(part, is_leaf=is_leaf) for part in (trainable, frozen)
    )
    if treedef != other:
        raise ValueError(
            "trainable and frozen must be parts of one tree, got the structures "
            f"{treedef} and {other}"
        )
    _check_parts(trainable, frozen, groups)
    upper, lower = (
        leaves_with_paths(part, is_leaf=is_leaf) for part in (trainable, frozen)
    )
    paths = [path for path, _ in upper]
    if keep_cut is not None and keep_cut not in paths:
        raise ValueError(
            f"keep_cut: no node {keep_cut!r} in the tree; the leaves are:"
            + list_offenders(paths)
        )
    joined = []
    for path, (_, top), (_, bottom) in zip(paths, upper, lower, strict=True):
        if not jax.tree.leaves(bottom):
            joined.append(top)
        elif not jax.tree.leaves(top):
            joined.append(bottom)
        elif path == keep_cut and _is_cut(top, bottom):
            joined.append({0: bottom, 1: top})
        elif path == keep_cut:
            joined.append(join_params(top, bottom))
        else:
            joined.append(_join_leaf(path, top, bottom, groups))
    return jax.tree.unflatten(treedef, joined)


def _check_parts(trainable: Any, frozen: Any, groups: UnfreezingGroups | None) -> None:
    """Refuses parts that overlap or are swapped, as far as the groups are known."""
    upper, lower = (
        {path: tuple(jnp.shape(leaf)) for path, leaf in leaves_with_paths(part)}
        for part in (trainable, frozen)
    )
    groups = _groups_of_parts(upper, lower) if groups is None else groups
    if groups is None:
        return
    ends, starts, overlaps = [0], [groups.stages + 1], []
    for path in upper.keys() | lower.keys():
        span = groups.span(path)
        # A leaf that is not stacked is one layer, in one of the parts.
        above, below = (
            (part[path][span.axis] if span.layers else 1) if path in part else 0
            for part in (upper, lower)
        )
        if below:
            ends.append(span.level + below)
        if above:
            starts.append(span.end - above)
        if above + below != span.end - span.level:
            overlaps.append(
                f"{path}: {upper.get(path, 'none')} and {lower.get(path, 'none')}"
            )
    if overlaps:
        raise ValueError(
            "trainable and frozen must be the two parts of split_params; these leaves "
            "are not cut in two (on the axis of layers that groups say):"
            + list_offenders(sorted(overlaps))
        )
    if max(ends) > min(starts):
        raise ValueError(
            "trainable and frozen must be the upper and the lower part of one stage, "
            f"got a trainable part from {groups.name(min(starts))!r} up and a frozen "
            f"one that ends with {groups.name(max(ends) - 1)!r}: are they swapped, or "
            "of different stages?"
        )


def _groups_of_parts(
    upper: Mapping[str, tuple[int, ...]], lower: Mapping[str, tuple[int, ...]]
) -> UnfreezingGroups | None:
    """The groups that are found by default in two parts, put together."""
    whole = dict(lower) | dict(upper)
    for path in upper.keys() & lower.keys():
        if upper[path] and lower[path]:
            whole[path] = (upper[path][0] + lower[path][0], *upper[path][1:])
    try:
        return unfreezing_groups(
            {path: jax.ShapeDtypeStruct(shape, bool) for path, shape in whole.items()}
        )
    except ValueError:  # The groups are the user's own and were not given.
        return None


def _join_leaf(
    path: str, upper: Any, lower: Any, groups: UnfreezingGroups | None
) -> jax.Array:
    """A leaf of stacked layers, of which both parts have some."""
    span = Span(0) if groups is None else groups.span(path)
    if not span.are_cuts(jnp.shape(upper), jnp.shape(lower)):
        raise ValueError(
            "trainable and frozen both have a leaf that was not cut from one (on axis "
            f"{span.axis}; groups say if layers are on another): "
            f"{path} {jnp.shape(upper)} and {jnp.shape(lower)}"
        )
    return span.join(lower, upper)


def _is_cut(upper: Any, lower: Any) -> bool:
    """Whether two parts of a node have leaves in common."""
    paths = [{path for path, _ in leaves_with_paths(part)} for part in (upper, lower)]
    return bool(paths[0] & paths[1])
