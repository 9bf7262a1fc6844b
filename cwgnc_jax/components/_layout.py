"""Which leaves of a tree make which components, and what these are called."""

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from cwgnc_jax.components._component import Component, ComponentMap
from cwgnc_jax.components._matching import Components, cut_paths, match_components
from cwgnc_jax.components._paths import (
    PathLeaf,
    is_masked,
    leaves_with_paths,
    list_offenders,
)

LeafSpec: TypeAlias = tuple[tuple[str, ...], ...]
"""The mesh axes that shard each axis of a leaf; empty for a leaf that is whole."""


class WholeLeaf(NamedTuple):
    """The leaf of which a shard is seen inside ``shard_map``.

    Attributes:
      shape: its whole shape, over all shards.
      spec: mesh axes that shard each of its axes.
    """

    shape: tuple[int, ...]
    spec: LeafSpec


@dataclasses.dataclass(frozen=True)
class Member:
    """A leaf as part of its block: all static facts that the arithmetic needs.

    Attributes:
      path: normalised path of the leaf.
      position: its place among the leaves of the tree.
      shape: its whole shape, over all shards.
      spec: mesh axes that shard each of its axes inside ``shard_map``.
      axes: axes whose indices are components, the split one not among them.
      split_axis: the axis that is cut into parts, or None.
      sizes: sizes of those parts.
    """

    path: str
    position: int
    shape: tuple[int, ...]
    spec: LeafSpec = ()
    axes: tuple[int, ...] = ()
    split_axis: int | None = None
    sizes: tuple[int, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """Axes that are not summed over, in the order of the block's: parts last."""
        return self.axes if self.split_axis is None else (*self.axes, self.split_axis)

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Numbers of indices and parts: the shape of the leaf's norms."""
        lengths = tuple(self.shape[axis] for axis in self.axes)
        return lengths if self.split_axis is None else (*lengths, len(self.sizes))

    @property
    def entries(self) -> np.ndarray:
        """Numbers of entries in the leaf's components, of the shape of its norms."""
        rest = [n for axis, n in enumerate(self.shape) if axis not in self.order]
        of_parts = np.asarray(self.sizes or 1, np.int64) * math.prod(rest)
        return np.broadcast_to(of_parts, self.index_shape)

    def spec_of(self, axis: int) -> tuple[str, ...]:
        """Mesh axes that shard an axis of the leaf."""
        return self.spec[axis] if self.spec else ()


@dataclasses.dataclass(frozen=True)
class Block:
    """Components of one label: those that a leaf, or leaves that add up, hold.

    Attributes:
      label: their common label.
      start: number of the first index.
      parts: names of the parts of a split, empty without one.
      members: the leaves.
    """

    label: str
    start: int
    parts: tuple[str, ...]
    members: tuple[Member, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of norms of the block."""
        return self.members[0].index_shape

    @property
    def size(self) -> int:
        """Number of components in the block."""
        return math.prod(self.shape)

    @property
    def is_sharded(self) -> bool:
        """Whether devices hold shards of one of its leaves."""
        return any(member.spec for member in self.members)

    def names(self) -> list[str]:
        """Full names of the components, in row-major order of the index."""
        if not self.shape:
            return [self.label]
        return [
            f"{self.label}[{','.join(map(str, index))}]"
            for index in itertools.product(*self._indices())
        ]

    def summary(self) -> str:
        """The label with the range of each index and the parts, on one line."""
        if not self.shape:
            return self.label
        indices = [
            f"{index.start}:{index.stop}"
            if isinstance(index, range)
            else "|".join(index)
            for index in self._indices()
        ]
        return f"{self.label}[{','.join(indices)}]"

    def _indices(self) -> list[Sequence[Any]]:
        numbered = self.shape[:-1] if self.parts else self.shape
        indices: list[Sequence[Any]] = [range(length) for length in numbered]
        if numbered:
            indices[0] = range(self.start, self.start + numbered[0])
        return [*indices, self.parts] if self.parts else indices


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which leaves of a tree make which components.

    Attributes:
      blocks: the components by label, in the order of their first leaves.
      hidden: finds labels and paths, as far as they can be known, of what
        ``optax.masked`` or ``optax.partition`` hides; rules ask, and nothing else.
    """

    blocks: tuple[Block, ...]
    hidden: Callable[[], Sequence[str]] = tuple

    @property
    def size(self) -> int:
        """Number of components."""
        return sum(block.size for block in self.blocks)

    @property
    def is_sharded(self) -> bool:
        """Whether devices hold shards of any leaf."""
        return any(block.is_sharded for block in self.blocks)

    def names(self) -> tuple[str, ...]:
        """Full names of all components."""
        return tuple(name for block in self.blocks for name in block.names())


def component_names(
    tree: Any, components: ComponentMap | None = None
) -> tuple[str, ...]:
    """Names of the components, in the order of recorded norms and scales.

    Args:
      tree: parameters or updates, a pytree of arrays or of ``jax.ShapeDtypeStruct``.
        A clipping inside ``optax.masked``, ``optax.partition`` or :func:`freeze` has
        no norms of what these hide: :func:`component_record` has its names.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      One name for each component: its label, followed by its index if the label has
      many, ``encoder/layers/query/kernel[21]``. The first index is counted from the
      component's ``start``, and the part of a split comes last.

    Raises:
      ValueError: if the map does not give every leaf a component that fits it, or
        names leaves that are not there.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_names
      >>> params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
      >>> component_names(params)
      ('dense/bias', 'dense/kernel')
      >>> component_names(params, {"dense": "dense layer"})
      ('dense layer',)
    """
    return make_layout(tree, components).names()


def describe_components(tree: Any, components: ComponentMap | None = None) -> str:
    """A table of what each component contains.

    Args:
      tree: parameters or updates, a pytree of arrays or of ``jax.ShapeDtypeStruct``.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      A table with a line for each label, and one for each further leaf of it: the
      range of its index, how many components there are, the entries in each (of
      parts, in the largest), the paths and shapes of the leaves. The last line counts.

    Raises:
      ValueError: as :func:`component_names`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import by_module, describe_components, stacked
      >>> params = {
      ...     "layers": {"kernel": jnp.ones((12, 8, 8)), "bias": jnp.ones((12, 8))},
      ...     "head": {"kernel": jnp.ones((8, 2))},
      ... }
      >>> print(describe_components(params, stacked("layers/.*", base=by_module)))
      component     count  entries  leaves
      head              1       16  head/kernel (8, 2)
      layers[0:12]     12       72  layers/bias (12, 8)
                                    layers/kernel (12, 8, 8)
      13 components of 880 entries in 3 leaves
    """
    layout = make_layout(tree, components)
    rows = [("component", "count", "entries", "leaves")]
    for block in layout.blocks:
        entries = sum(np.max(member.entries, initial=0) for member in block.members)
        leaves = [f"{member.path} {member.shape}" for member in block.members]
        rows.append((block.summary(), f"{block.size}", f"{entries:,}", leaves[0]))
        rows += [("", "", "", leaf) for leaf in leaves[1:]]
    label, count, entries = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [
        f"{row[0]:<{label}}  {row[1]:>{count}}  {row[2]:>{entries}}  {row[3]}"
        for row in rows
    ]
    members = [member for block in layout.blocks for member in block.members]
    total = sum(math.prod(member.shape) for member in members)
    lines.append(
        f"{layout.size} components of {total:,} entries in {len(members)} leaves"
    )
    return "\n".join(lines)


def make_layout(
    tree: Any,
    components: ComponentMap | None = None,
    whole: Mapping[str, WholeLeaf] | None = None,
) -> Layout:
    """Applies a map of components to the leaves that are there.

    Args:
      tree: parameters or updates.
      components: the map; by default each leaf is a component, and none is matched.
      whole: the whole leaves of which those of the tree are shards, by path.

    Returns:
      The components of the tree. Leaves that are not of floating-point numbers
      (integers, random keys, functions) have none.
    """
    nodes = leaves_with_paths(tree, is_leaf=is_masked)
    leaves = [(path, value) for path, value in nodes if not is_masked(value)]
    members = []
    for position, (path, leaf) in enumerate(leaves):
        if _is_inexact(leaf):
            shape, spec = whole[path] if whole else (jnp.shape(leaf), ())
            members.append(Member(path, position, shape, spec))
    _check_paths([path for path, _ in leaves])
    if components is None:
        blocks = tuple(Block(m.path, 0, (), (m,)) for m in members)
    else:
        blocks = _gather(members, match_components(tree, components))
    return Layout(blocks, functools.partial(_find_hidden, nodes, components))


def _find_hidden(
    nodes: Sequence[PathLeaf], components: ComponentMap | None
) -> list[str]:
    """Paths and labels of what is hidden; "", all that may be, if the map fails."""
    hidden = [path for path, value in nodes if is_masked(value)]
    if components is None:
        return hidden
    hidden += cut_paths()  # of which the lower layers are hidden
    if not hidden:
        return hidden
    # A scalar in their place: maps by path do not look at them.
    tree = {path: 0.0 if is_masked(node) else node for path, node in nodes}
    try:
        by_path = match_components(tree, components)
    except Exception:
        return [*hidden, ""]
    found = [by_path.get(path) for path in hidden]
    return hidden + [component.label for component in found if component is not None]


def _gather(members: Sequence[Member], by_path: Components) -> tuple[Block, ...]:
    """Joins leaves of one label, and keeps apart what their components keep apart."""
    blocks: dict[tuple[Any, ...], list[Member]] = {}
    problems: list[str] = []
    for member in members:
        component = by_path[member.path]
        if component is None:
            continue
        try:
            member = _with_axes(member, component)
        except ValueError as error:
            problems.append(f"{member.path}: {error}")
            continue
        parts = () if component.split is None else component.split.names
        key = (component.label, component.start, parts, member.index_shape)
        blocks.setdefault(key, []).append(member)
    if problems:
        raise ValueError(
            "components: axes or splits that do not fit their leaves:"
            + list_offenders(problems)
        )
    joined = tuple(
        Block(label, start, parts, tuple(of_block))
        for (label, start, parts, _), of_block in blocks.items()
    )
    _check_labels(joined)
    return joined


def dtype_of(leaf: Any) -> Any:
    """The dtype of an array, a description of one, or a Python number."""
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def _is_inexact(leaf: Any) -> bool:
    try:
        return jnp.issubdtype(dtype_of(leaf), jnp.inexact)
    except TypeError:  # Not a number: an activation function in a module.
        return False


def _with_axes(member: Member, component: Component) -> Member:
    """A leaf with the axes and the split of its component, checked."""
    shape = member.shape

    def normalise(axis: int) -> int:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"no axis {axis} in shape {shape}")
        return axis % len(shape)

    axes = tuple(normalise(axis) for axis in component.axes)
    split_axis, sizes = None, ()
    if component.split is not None:
        split_axis = normalise(component.split.axis)
        sizes = component.split.sizes(shape[split_axis])
        if sizes is None:
            raise ValueError(
                f"axis {component.split.axis} of shape {shape} cannot be cut into "
                f"the parts {component.split.describe()}"
            )
    member = dataclasses.replace(member, axes=axes, split_axis=split_axis, sizes=sizes)
    if len(set(member.order)) < len(member.order):
        raise ValueError(f"axes {component.axes} and split name an axis twice")
    return member


def _check_paths(paths: Sequence[str]) -> None:
    repeated = [path for path, times in Counter(paths).items() if times > 1]
    if repeated:
        raise ValueError(
            "paths of several leaves, spelt alike:" + list_offenders(repeated)
        )


def _check_labels(blocks: Sequence[Block]) -> None:
    """Leaves of one label must add up, or have no index in common."""
    ranks: dict[str, set[int]] = {}
    for block in blocks:
        ranks.setdefault(block.label, set()).add(len(block.shape))
    names = Counter(name for block in blocks for name in block.names())
    repeated = [name for name, times in names.items() if times > 1]
    repeated += [label for label, held in ranks.items() if len(held) > 1]
    if repeated:
        raise ValueError(
            "components: leaves of one label must keep axes of the same lengths and "
            "start, and have the same parts, or be numbered apart:"
            + list_offenders(repeated)
        )
