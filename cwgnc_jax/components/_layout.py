"""Which leaves of a tree make which components, and what these are called."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from cwgnc_jax.components._component import Component, ComponentMap
from cwgnc_jax.components._maps import by_leaf
from cwgnc_jax.components._matching import match_components
from cwgnc_jax.components._paths import flatten_with_paths, is_masked, list_offenders


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
    spec: tuple[tuple[str, ...], ...]
    axes: tuple[int, ...]
    split_axis: int | None
    sizes: tuple[int, ...]

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Numbers of indices and parts: the shape of the leaf's norms."""
        lengths = tuple(self.shape[axis] for axis in self.axes)
        return lengths if self.split_axis is None else (*lengths, len(self.sizes))

    @property
    def largest_part(self) -> int:
        """Number of entries of the leaf in one component, the largest of its parts."""
        rest = [n for axis, n in enumerate(self.shape) if axis not in self.axes]
        if self.split_axis is None:
            return math.prod(rest)
        others = set(range(len(self.shape))) - {*self.axes, self.split_axis}
        return math.prod(self.shape[axis] for axis in others) * max(self.sizes)


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
      masked: whether ``optax.masked`` or ``optax.partition`` hides leaves.
    """

    blocks: tuple[Block, ...]
    masked: bool

    @property
    def size(self) -> int:
        """Number of components."""
        return sum(block.size for block in self.blocks)

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
        no norms of what these hide: put ``optax.MaskedNode()`` there, as below.
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

      Inside a mask:

      >>> import jax
      >>> import optax
      >>> from cwgnc_jax import clip_by_component_norm, get_clip_state
      >>> mask = {"dense": {"kernel": True, "bias": False}}
      >>> state = optax.masked(clip_by_component_norm(0.05), mask).init(params)
      >>> seen = jax.tree.map(
      ...     lambda shown, leaf: leaf if shown else optax.MaskedNode(), mask, params)
      >>> norms = get_clip_state(state).norms.tolist()
      >>> dict(zip(component_names(seen), norms, strict=True))
      {'dense/kernel': 0.0}
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
        entries = sum(member.largest_part for member in block.members)
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
    specs: Mapping[str, tuple[tuple[str, ...], ...]] | None = None,
    shards: Mapping[str, int] | None = None,
) -> Layout:
    """Applies a map of components to the leaves that are there.

    Args:
      tree: parameters or updates.
      components: the map.
      specs: mesh axes that shard each axis of a leaf, by path; by default none.
      shards: number of shards along each of those mesh axes.

    Returns:
      The components of the tree. Leaves that are not of floating-point numbers
      (integers, random keys, functions) have none.
    """
    nodes = flatten_with_paths(tree, is_leaf=is_masked)
    leaves = [(path, value) for path, value in nodes if not is_masked(value)]
    _check_paths([path for path, _ in leaves])
    found = match_components(tree, by_leaf if components is None else components)

    blocks: dict[tuple[Any, ...], list[Member]] = {}
    problems: list[str] = []
    for position, (path, leaf) in enumerate(leaves):
        component = found[path]
        if component is None or not _is_inexact(leaf):
            continue
        lengths = jnp.shape(leaf)
        spec = (specs or {}).get(path, ())
        spec = (*spec, *((),) * (len(lengths) - len(spec)))
        shape = tuple(
            length * math.prod((shards or {})[name] for name in names)
            for length, names in zip(lengths, spec, strict=True)
        )
        try:
            member = _make_member(path, position, shape, spec, component)
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        split = component.split
        parts = () if split is None else tuple(name for name, _ in split.parts)
        key = (component.label, component.start, parts, member.index_shape)
        blocks.setdefault(key, []).append(member)
    if problems:
        raise ValueError(
            "components: axes or splits that do not fit their leaves:"
            + list_offenders(problems)
        )
    layout = Layout(
        tuple(
            Block(label, start, parts, tuple(members))
            for (label, start, parts, _), members in blocks.items()
        ),
        masked=len(leaves) < len(nodes),
    )
    _check_labels(layout)
    return layout


def dtype_of(leaf: Any) -> Any:
    """The dtype of an array, a description of one, or a Python number."""
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def _is_inexact(leaf: Any) -> bool:
    try:
        return jnp.issubdtype(dtype_of(leaf), jnp.inexact)
    except TypeError:  # Not a number: an activation function in a module.
        return False


def _make_member(
    path: str,
    position: int,
    shape: tuple[int, ...],
    spec: tuple[tuple[str, ...], ...],
    component: Component,
) -> Member:
    def normalise(axis: int) -> int:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"no axis {axis} in shape {shape}")
        return axis % len(shape)

    axes = tuple(normalise(axis) for axis in component.axes)
    split_axis, sizes = None, ()
    if component.split is not None:
        split_axis = normalise(component.split.axis)
        found = component.split.sizes(shape[split_axis])
        if found is None:
            raise ValueError(
                f"axis {component.split.axis} of shape {shape} cannot be cut into "
                f"the parts {component.split.describe()}"
            )
        sizes = found
    used = axes if split_axis is None else (*axes, split_axis)
    if len(set(used)) < len(used):
        raise ValueError(f"axes {component.axes} and split name an axis twice")
    return Member(path, position, shape, spec, axes, split_axis, sizes)


def _check_paths(paths: Sequence[str]) -> None:
    repeated = [path for path, times in Counter(paths).items() if times > 1]
    if repeated:
        raise ValueError(
            "paths of several leaves, spelt alike:" + list_offenders(repeated)
        )


def _check_labels(layout: Layout) -> None:
    """Leaves of one label must add up, or have no index in common."""
    ranks: dict[str, set[int]] = {}
    for block in layout.blocks:
        ranks.setdefault(block.label, set()).add(len(block.shape))
    repeated = [name for name, times in Counter(layout.names()).items() if times > 1]
    repeated += [label for label, found in ranks.items() if len(found) > 1]
    if repeated:
        raise ValueError(
            "components: leaves of one label must keep axes of the same lengths and "
            "start, and have the same parts, or be numbered apart:"
            + list_offenders(repeated)
        )
