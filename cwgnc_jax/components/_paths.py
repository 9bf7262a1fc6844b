"""One spelling of a parameter's path, whatever kind of tree holds the parameter."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    SequenceKey,
    tree_flatten_with_path,
)

Choice = TypeVar("Choice")


class PathLeaf(NamedTuple):
    """A leaf of a tree and where it was found.

    Attributes:
      path: normalised path, such as ``encoder/layers/query/kernel``.
      value: the leaf.
    """

    path: str
    value: Any


def flatten_with_paths(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[PathLeaf]:
    """Leaves of a tree with normalised paths, in the order of ``jax.tree.leaves``.

    Keys, indices and attribute names are joined by slashes. A node that only wraps a
    leaf in an attribute ``value`` (a Flax variable or a box of metadata) takes no
    part in the path, so that a tree of variables and the tree of their arrays agree.

    Args:
      tree: any pytree.
      is_leaf: as in ``jax.tree.flatten``. ``optax.MaskedNode``, which holds no leaf,
        is returned if this says so.

    Returns:
      The leaves with their paths; the path of a tree that is a leaf is empty.
    """
    return [PathLeaf("/".join(keys), leaf) for keys, leaf in _walk(tree, is_leaf, ())]


def is_masked(node: Any) -> bool:
    """Whether a node stands for a leaf that ``optax.masked`` hides."""
    return isinstance(node, optax.MaskedNode)


def is_step(tree: Any) -> bool:
    """Whether what should be a tree of parameters is a step, a single integer.

    ``optax.inject_hyperparams`` takes each function for a schedule, and calls it so.
    """
    return (
        jax.tree_util.all_leaves([tree])
        and jnp.ndim(tree) == 0
        and jnp.issubdtype(jnp.result_type(tree), jnp.integer)
    )


def list_offenders(offenders: Iterable[str], limit: int = 12) -> str:
    """Names one below the other for an error message, cut where there are many."""
    shown = [repr(name) for name in offenders]
    rest = len(shown) - limit
    if rest > 0:
        shown = [*shown[:limit], f"... and {rest} more"]
    return "".join(f"\n  {name}" for name in shown)


def compile_rules(
    argument: str, rules: Mapping[str, Choice] | Sequence[tuple[str, Choice]]
) -> list[tuple[re.Pattern[str], Choice]]:
    """Ordered rules with compiled expressions; ``argument`` names them in errors."""
    pairs = list(rules.items() if isinstance(rules, Mapping) else rules)
    if not pairs:
        raise ValueError(f"{argument}: at least one rule is needed, got none")
    compiled = []
    for rule in pairs:
        if not (
            isinstance(rule, tuple | list)
            and len(rule) == 2
            and isinstance(rule[0], str)
        ):
            raise TypeError(
                f"{argument} must be pairs of a regular expression (str) and a value,"
                f" got {rule!r}"
            )
        try:
            compiled.append((re.compile(rule[0]), rule[1]))
        except re.error as error:
            raise ValueError(
                f"{argument}: {rule[0]!r} is not a regular expression: {error}"
            ) from error
    return compiled


def _walk(
    node: Any, is_leaf: Callable[[Any], bool] | None, keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    if is_leaf is not None and is_leaf(node):
        yield keys, node
        return
    children = _children(node)
    if children is None:
        yield keys, node
    elif _is_box(children):
        yield from _walk(children[0][1], is_leaf, keys)
    else:
        for key, child in children:
            yield from _walk(child, is_leaf, (*keys, _spell(key)))


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    """Keys and children of a node, or None for a leaf."""
    children, _ = tree_flatten_with_path(node, is_leaf=lambda other: other is not node)
    if len(children) == 1 and not children[0][0]:
        return None
    return [(path[0], child) for path, child in children]


def _is_box(children: list[tuple[Any, Any]]) -> bool:
    if len(children) != 1:
        return False
    [(key, child)] = children
    return key == GetAttrKey("value") and (
        is_masked(child) or jax.tree.structure(child) == jax.tree.structure(0)
    )


def _spell(key: Any) -> str:
    match key:
        case DictKey(key=name) | FlattenedIndexKey(key=name):
            return str(name)
        case SequenceKey(idx=index):
            return str(index)
        case GetAttrKey(name=name):
            return name
        case _:
            return str(key)
