"""One spelling of a parameter's path, whatever kind of tree holds it, and its rules."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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


def leaves_with_paths(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[PathLeaf]:
    """Leaves of a tree with their paths, as all rules of this library see them.

    Keys, indices and attribute names are joined by slashes. A node that only wraps a
    leaf in an attribute ``value`` (a Flax variable or a box of metadata) takes no
    part in the path, so that a tree of variables and the tree of their arrays agree.

    Args:
      tree: any pytree.
      is_leaf: as in ``jax.tree.flatten``. ``optax.MaskedNode``, which holds no leaf,
        is returned if this says so.

    Returns:
      The leaves with their paths, in the order of ``jax.tree.leaves``; the path of a
      tree that is a leaf is empty.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import leaves_with_paths
      >>> params = {"layers": [{"kernel": jnp.ones((3, 2))}], "bias": jnp.ones(2)}
      >>> [(path, leaf.shape) for path, leaf in leaves_with_paths(params)]
      [('bias', (2,)), ('layers/0/kernel', (3, 2))]
    """
    return [PathLeaf("/".join(keys), leaf) for keys, leaf in _walk(tree, is_leaf, ())]


def is_masked(node: Any) -> bool:
    """Whether a node stands for a leaf that is elsewhere.

    ``optax.masked`` puts a node of its own there, ``eqx.partition`` None.
    """
    return node is None or isinstance(node, optax.MaskedNode)


def is_step(tree: Any) -> bool:
    """Whether what should be a tree of parameters is a step, a single integer.

    ``optax.inject_hyperparams`` takes each function for a schedule, and calls it so.
    """
    return (
        jax.tree_util.all_leaves([tree])
        and jnp.ndim(tree) == 0
        and jnp.issubdtype(jnp.result_type(tree), jnp.integer)
    )


def nearest_entry(path: str, entries: Mapping[str, Any]) -> str | None:
    """The path itself or the nearest above it that has an entry, None without one."""
    while path and path not in entries:
        path = path.rpartition("/")[0]
    return path if path in entries else None


def node_at(tree: Any, path: str) -> Any:
    """The node of a path, or None if there is no such node."""
    if not path:
        return tree
    # Keys may hold slashes themselves, so that several can begin the path.
    for key, child in _children(tree) or ():
        name = _spell(key)
        if f"{path}/".startswith(f"{name}/"):
            node = node_at(child, path[len(name) + 1 :])
            if node is not None:
                return node
    return None


def nodes_above(path: str) -> Iterator[str]:
    """The nodes above a leaf from the top, and the leaf itself."""
    keys = path.split("/")
    for depth in range(1, len(keys) + 1):
        yield "/".join(keys[:depth])


def list_offenders(offenders: Iterable[str], limit: int = 12) -> str:
    """Names one below the other for an error message, cut where there are many."""
    shown = [repr(name) for name in offenders]
    rest = len(shown) - limit
    if rest > 0:
        shown = [*shown[:limit], f"... and {rest} more"]
    return "".join(f"\n  {name}" for name in shown)


def list_unlike(leaves: Iterable[PathLeaf], others: Mapping[str, Any]) -> list[str]:
    """Leaves that others lack, or have in another shape, in words."""
    found = []
    for path, leaf in leaves:
        if path not in others:
            found.append(path)
        elif (other := jnp.shape(others[path])) != (shape := jnp.shape(leaf)):
            found.append(f"{path} of the shape {shape}, there {other}")
    return found


def compile_rules(
    argument: str, rules: Mapping[str, Choice] | Sequence[tuple[str, Choice]]
) -> list[tuple[re.Pattern[str], Choice]]:
    """Ordered rules with compiled expressions; ``argument`` names them in errors."""
    if isinstance(rules, str) or not isinstance(rules, Mapping | Iterable):
        raise TypeError(
            f"{argument} must be pairs, or a dict, of regular expressions (str) and "
            f"values, got {rules!r}"
        )
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
        compiled.append((compile_pattern(argument, rule[0]), rule[1]))
    return compiled


def compile_pattern(argument: str, expression: str) -> re.Pattern[str]:
    """A regular expression that a user gave; ``argument`` names it in errors."""
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"{argument}: {expression!r} is not a regular expression: {error}"
        ) from error


def overlaps(path: str, others: set[str]) -> bool:
    """Whether one of the paths is this one, or lies above or below it."""
    return any(
        f"{other}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other}/")
        for other in others
    )


def match_rules(
    argument: str,
    patterns: Sequence[re.Pattern[str]],
    names: Sequence[str],
    *,
    hidden: Collection[str] = (),
    kinds: tuple[str, str] = ("leaf", "leaves"),
) -> list[int]:
    """The number of the first rule that matches each whole name.

    Args:
      argument: what the rules are called, for messages.
      patterns: expressions of the rules, in their order.
      names: what they are for.
      hidden: names that a mask hides, or of nodes above them: a rule may be for these
        (:func:`may_match`).
      kinds: what a name, and several, stand for, for messages.

    Returns:
      An index into ``patterns`` for each name.

    Raises:
      ValueError: if no rule matches a name, or a rule is the first match of no name
        and for none that is hidden: it is misspelt, or comes after one that takes all.
    """
    one, several = kinds
    matched = []
    missed = []
    for name in names:
        for rule, pattern in enumerate(patterns):
            if pattern.fullmatch(name):
                matched.append(rule)
                break
        else:
            missed.append(name)
    if missed:
        raise ValueError(
            f"{argument}: no rule matches the {several}:" + list_offenders(missed)
        )
    used = set(matched)
    unused = [
        pattern.pattern
        for i, pattern in enumerate(patterns)
        if i not in used and not may_match(pattern, hidden)
    ]
    if unused and names:
        raise ValueError(
            f"{argument}: no {one} is left for the rules (the first match wins):"
            + list_offenders(unused)
            + f"\nThe {several} are:"
            + list_offenders([*names, *(f"{name} (hidden)" for name in hidden)])
        )
    return matched


def may_match(pattern: re.Pattern[str], hidden: Iterable[str]) -> bool:
    """Whether a whole name that is hidden, or lies below one, may match.

    Where a mask hides a node, what was below it is not known, nor how many indices
    there were. What is known is how the names begin, and often the expression, too.
    """
    source = pattern.pattern
    text = re.match(r"[\w/ -]*", source)
    assert text is not None
    start = text[0]
    if source[len(start) : len(start) + 1] in ("*", "?", "{"):
        start = start[:-1]  # The last character need not be there.
    if "|" in source or pattern.flags & (re.IGNORECASE | re.VERBOSE):
        start = ""
    return any(
        not name or f"{name}/".startswith(start) or start.startswith(f"{name}/")
        for name in hidden
    )


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
    # One level alone: whatever is not the node itself counts as a leaf of it.
    children, _ = tree_flatten_with_path(node, is_leaf=lambda other: other is not node)
    if len(children) == 1 and not children[0][0]:
        return None
    return [(path[0], child) for path, child in children]


def _is_box(children: list[tuple[Any, Any]]) -> bool:
    # nnx.Optimizer initialises with variables and updates with arrays: paths with and
    # without their `value` must be spelt alike, or no rule holds for both.
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
