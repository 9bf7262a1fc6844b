"""Ready-made maps from leaves to components: by leaf, module, layer, rule, index."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from cwgnc_jax._numbers import as_index
from cwgnc_jax.components._component import Component, ComponentMap, Split
from cwgnc_jax.components._layers import (
    LISTED,
    NUMBERED,
    STACKED,
    are_stacked,
    layer_count,
    numbered_layer,
    topmost_match,
)
from cwgnc_jax.components._matching import (
    Components,
    check_map,
    makes_maps,
    match_components,
)
from cwgnc_jax.components._paths import (
    PathLeaf,
    compile_pattern,
    compile_rules,
    is_masked,
    is_step,
    leaves_with_paths,
    list_offenders,
    match_rules,
    may_match,
)


def by_leaf(tree: Any) -> Components:
    """Makes each leaf a component: the paper's choice, and the default.

    Args:
      tree: parameters or updates, a pytree of arrays.

    Returns:
      A dict from paths to components.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_leaf, component_names
      >>> params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
      >>> component_names(params, by_leaf)
      ('dense/bias', 'dense/kernel')

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, section 3
    """
    return {path: Component(path) for path, _ in _leaves_of(tree)}


def by_module(tree: Any) -> Components:
    """Joins the leaves of a module, such as a kernel and its bias.

    Args:
      tree: parameters or updates, a pytree of arrays.

    Returns:
      A dict from paths to components, whose label is the path without its last key. A
      leaf that lies in no module is a component of its own, labelled by its path.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_module, component_names
      >>> params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
      >>> component_names(params, by_module)
      ('dense',)
    """
    return {
        path: Component(path.rpartition("/")[0] or path) for path, _ in _leaves_of(tree)
    }


def by_layer(tree: Any, *, layer_axis: int = 0) -> Components:
    """Joins all leaves of a layer, whose number is found in the path.

    The label ends with the first key that is a number (``layers/3``: lists, NNX,
    Equinox) or a word for a layer with a number (``layer_3``, ``EncoderBlock_3``,
    ``h3``: Linen, Haiku). Layers stacked on an axis of all leaves of a node called
    ``layers``, ``blocks`` or ``h`` stay apart, each an index of that label; numbers
    inside of these layers, as of the parts of an MLP, are none of theirs. What lies in
    no layer goes by module. For other names see :func:`by_rules`.

    Args:
      tree: parameters or updates, a pytree of arrays.
      layer_axis: the axis on which layers are stacked, in all leaves of a stack, as in
        :func:`unfreezing_groups`; ``functools.partial(by_layer, layer_axis=1)`` is the
        map for MaxText's.

    Returns:
      A dict from paths to components.

    Raises:
      ValueError: if leaves of such a node do not have as many layers each.
      TypeError: if ``layer_axis`` is no int.

    Examples:
      >>> import functools
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_layer, component_names
      >>> layer = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> params = {"layers": [layer, layer], "head": layer}
      >>> component_names(params, by_layer)
      ('head', 'layers/0', 'layers/1')
      >>> params = {"layers": {"kernel": jnp.ones((3, 2, 3)), "bias": jnp.ones((3, 2))}}
      >>> component_names(params, functools.partial(by_layer, layer_axis=1))
      ('layers[0]', 'layers[1]')
    """
    axis = as_index("layer_axis", layer_axis)
    modules = by_module(tree)
    components = dict(modules)
    stacks: dict[str, dict[str, tuple[int, ...]]] = {}
    for path, leaf in _leaves_of(tree):
        if layer := numbered_layer(path, (NUMBERED, LISTED)):
            components[path] = Component(layer)
        elif stack := topmost_match(path, (STACKED,)):
            components[path] = Component(stack, axes=axis)
            stacks.setdefault(stack, {})[path] = tuple(jnp.shape(leaf))
    for stack, shapes in stacks.items():
        # Called like a stack, but perhaps numbered layers lie deeper in it.
        layers = {path: topmost_match(path, (NUMBERED, LISTED)) for path in shapes}
        if any(layers.values()) and not are_stacked(shapes.values(), axis):
            for path, layer in layers.items():
                components[path] = Component(layer) if layer else modules[path]
        elif layer_count(shapes.values(), axis) is None:
            raise ValueError(
                f"by_layer: {stack!r} is called a stack of layers, but its leaves do "
                f"not have as many on axis {axis} each (see layer_axis; stacked and "
                "by_rules say what they are):"
                + list_offenders(f"{path} {shape}" for path, shape in shapes.items())
            )
    return components


def whole_tree(tree: Any) -> Components:
    """Joins all leaves: clipping is then that of the global norm.

    Args:
      tree: parameters or updates, a pytree of arrays.

    Returns:
      A dict from paths to the one component, ``all``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_norms, whole_tree
      >>> params = {"kernel": jnp.ones((2, 4)), "bias": jnp.full(2, 2.0)}
      >>> float(component_norms(params, whole_tree)[0])  # sqrt(8 * 1 + 2 * 4)
      4.0
    """
    return {path: Component("all") for path, _ in _leaves_of(tree)}


@makes_maps("by_rules([('.*', by_leaf)])")
def by_rules(
    rules: Mapping[str, ComponentMap] | Sequence[tuple[str, ComponentMap]],
) -> Callable[[Any], Components]:
    r"""Chooses the components of leaves by ordered rules over their paths.

    Args:
      rules: pairs of a regular expression and what becomes of the leaves whose whole
        path it matches first: a label (in which ``\1`` is the expression's first
        group), a :class:`Component`, another map, which is shown these leaves alone,
        or None to leave them out.

    Returns:
      A map. It raises a ValueError for a leaf that no rule matches and for a rule
      that matches first nowhere, unless it may be for a leaf that a mask hides.

    Raises:
      ValueError: if there are no rules or an expression is not valid; when the map is
        used, if a label names a group that its expression lacks.
      TypeError: if a choice is the name of a ready-made map, instead of the map.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_leaf, by_rules, component_names
      >>> dense = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
      >>> params = {"embedding": jnp.ones((9, 3)), "query": dense, "head": dense}
      >>> components = by_rules([
      ...     ("embedding", None),
      ...     ("head/.*", by_leaf),
      ...     (r"(.*)/(kernel|bias)", r"\1"),
      ... ])
      >>> component_names(params, components)
      ('head/bias', 'head/kernel', 'query')
    """
    compiled = compile_rules("rules", rules)
    for pattern, choice in compiled:
        check_map(f"rules of {pattern.pattern!r}", choice)
    patterns = [pattern for pattern, _ in compiled]

    def components_by_rules(tree: Any) -> Components:
        nodes = _leaves_of(tree, is_leaf=is_masked)
        leaves = {path: leaf for path, leaf in nodes if not is_masked(leaf)}
        hidden = {path: node for path, node in nodes if is_masked(node)}
        matched = match_rules("rules", patterns, list(leaves), hidden=hidden)
        components: Components = {}
        for rule, (pattern, choice) in enumerate(compiled):
            taken = [p for p, r in zip(leaves, matched, strict=True) if r == rule]
            if isinstance(choice, str):
                components |= {
                    path: Component(_expand(pattern, path, choice)) for path in taken
                }
            elif choice is None:
                components |= dict.fromkeys(taken)
            elif taken:
                # The map is not to miss what a mask hides.
                part = {path: leaves[path] for path in taken} | hidden
                components |= match_components(part, choice)
        return components

    return components_by_rules


@makes_maps("stacked('layers/.*')")
def stacked(
    pattern: str,
    axes: int | Sequence[int] = 0,
    *,
    start: int = 0,
    joined: bool | str = False,
    base: ComponentMap = by_leaf,
) -> Callable[[Any], Components]:
    """Makes each index of an axis a component: layers stacked for scan, or heads.

    Args:
      pattern: regular expression that matches the whole path of the stacked leaves.
      axes: the axis, or axes, whose indices are components of their own.
      start: number of the first index of the first axis, if the stack was cut.
      joined: joins the leaves that match into one component for each index, with this
        label, or with the path that they have in common if True (leaves that a mask
        hides count). Otherwise ``base`` says which of them belong together.
      base: the map that gives the labels, and the components of all other leaves.

    Returns:
      A map. It raises a ValueError if no leaf's path matches, nor may match that of
      one that a mask hides, or if leaves are to be joined whose paths have nothing in
      common.

    Raises:
      ValueError: if the expression is not valid.
      TypeError: if ``pattern`` is not a string, ``axes`` and ``start`` are not ints, or
        ``base`` is None.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_module, component_names, stacked
      >>> params = {
      ...     "layers": {"kernel": jnp.ones((2, 3, 3)), "bias": jnp.ones((2, 3))},
      ...     "head": {"kernel": jnp.ones((3, 5))},
      ... }
      >>> component_names(params, stacked("layers/.*"))
      ('head/kernel', 'layers/bias[0]', 'layers/bias[1]', 'layers/kernel[0]',
       'layers/kernel[1]')
      >>> component_names(params, stacked("layers/.*", start=10, joined=True))
      ('head/kernel', 'layers[10]', 'layers[11]')
      >>> component_names(params, stacked("layers/.*", base=by_module))
      ('head', 'layers[0]', 'layers[1]')
    """
    # What is no number is to show here, not when the map is used.
    Component(str(pattern), axes, start=start)

    def change(
        components: dict[str, Component], hidden: Sequence[str]
    ) -> dict[str, Component]:
        label = joined
        if joined is True:
            label = _common_path([*components, *hidden])
            if not label and len(components) > 1:
                raise ValueError(
                    "stacked: joined is True, but the paths of the leaves have "
                    "nothing in common; give the label instead:"
                    + list_offenders(components)
                )
        return {
            path: dataclasses.replace(
                component, label=label or component.label, axes=axes, start=start
            )
            for path, component in components.items()
        }

    return _modified("stacked", pattern, base, change)


@makes_maps("fused('.*/qkv/.*', ('query', 'key', 'value'))")
def fused(
    pattern: str,
    parts: Mapping[str, int] | Sequence[str],
    axis: int = -1,
    *,
    base: ComponentMap = by_leaf,
) -> Callable[[Any], Components]:
    """Cuts fused leaves into named parts: query, key and value in one kernel.

    Args:
      pattern: regular expression that matches the whole path of the fused leaves.
      parts: names of the parts in their order along the axis; a dict gives their
        sizes as well, which are equal otherwise.
      axis: the axis along which they lie.
      base: the map that gives labels and axes, and the components of all other
        leaves; :func:`stacked` if the leaves are stacked as well.

    Returns:
      A map. It raises a ValueError if no leaf's path matches, nor may match that of
      one that a mask hides.

    Raises:
      ValueError: if the expression is not valid or the parts' names are not distinct.
      TypeError: if ``pattern`` is not a string.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_module, component_names, fused, stacked
      >>> params = {"qkv": {"kernel": jnp.ones((2, 4, 12)), "bias": jnp.ones((2, 12))}}
      >>> components = fused(".*", ("q", "k", "v"), base=stacked(".*", base=by_module))
      >>> component_names(params, components)
      ('qkv[0,q]', 'qkv[0,k]', 'qkv[0,v]', 'qkv[1,q]', 'qkv[1,k]', 'qkv[1,v]')

      Heads inside a square kernel, two of two columns each:

      >>> heads = fused("kernel", ("head 0", "head 1"))
      >>> component_names({"kernel": jnp.ones((4, 4))}, heads)
      ('kernel[head 0]', 'kernel[head 1]')
    """
    split = Split(axis, parts)

    def change(
        components: dict[str, Component], hidden: Sequence[str]
    ) -> dict[str, Component]:
        del hidden
        return {
            path: dataclasses.replace(component, split=split)
            for path, component in components.items()
        }

    return _modified("fused", pattern, base, change)


def _modified(
    maker: str,
    pattern: str,
    base: ComponentMap,
    change: Callable[[dict[str, Component], Sequence[str]], dict[str, Component]],
) -> Callable[[Any], Components]:
    """A map that changes the components of the leaves whose path matches."""
    if not isinstance(pattern, str):
        raise TypeError(
            f"{maker}: pattern must be a regular expression (str), got an object of "
            f"type {type(pattern).__name__}"
        )
    compiled = compile_pattern("pattern", pattern)
    if base is None:  # Of left-out leaves there would be nothing to modify.
        raise TypeError(f"{maker}: base must be a map of components, got None")

    def modified_components(tree: Any) -> Components:
        components = match_components(tree, base)
        matched = {
            path: component
            for path, component in components.items()
            if component is not None and compiled.fullmatch(path)
        }
        nodes = leaves_with_paths(tree, is_leaf=is_masked)
        hidden = [path for path, node in nodes if is_masked(node)]
        if not matched and nodes and not may_match(compiled, hidden):
            raise ValueError(
                f"{maker}: no leaf's path matches {pattern!r}; the paths are:"
                + list_offenders(components)
            )
        return components | change(
            matched, [path for path in hidden if compiled.fullmatch(path)]
        )

    return modified_components


def _leaves_of(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[PathLeaf]:
    """Leaves with their paths, of what can be a tree of parameters."""
    if is_step(tree):  # All parameters would silently become one component.
        raise ValueError(
            "components: a map was called with an integer instead of parameters; "
            "optax.inject_hyperparams needs "
            'static_args=("components", "specs") to tell maps from schedules'
        )
    return leaves_with_paths(tree, is_leaf)


def _expand(pattern: re.Pattern[str], path: str, label: str) -> str:
    """A label with the groups of the match filled in."""
    match = pattern.fullmatch(path)
    assert match is not None
    try:
        return match.expand(label)
    except (re.error, IndexError) as error:
        raise ValueError(
            f"rules: the label {label!r} does not fit the expression "
            f"{pattern.pattern!r}: {error}"
        ) from error


def _common_path(paths: Sequence[str]) -> str:
    common = []
    for keys in zip(*(path.split("/")[:-1] for path in paths), strict=False):
        if len(set(keys)) > 1:
            break
        common.append(keys[0])
    return "/".join(common)
