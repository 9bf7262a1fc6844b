"""What a component is: the part of the parameters that one gradient norm speaks of."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from cwgnc_jax._numbers import as_index


@dataclasses.dataclass(frozen=True)
class Split:
    """Named parts into which an axis is cut.

    Attributes:
      axis: the axis of the leaf that is cut; negative ones count from the last.
      parts: names and sizes of the parts, in their order along the axis. Given as
        names alone, the parts are of equal size, None here until the leaf is known.

    Examples:
      >>> from cwgnc_jax import Split
      >>> Split(-1, ("query", "key", "value")).parts
      (('query', None), ('key', None), ('value', None))
      >>> Split(-1, {"query": 1024, "key_value": 256}).parts
      (('query', 1024), ('key_value', 256))
    """

    axis: int
    parts: tuple[tuple[str, int | None], ...]

    def __init__(self, axis: int, parts: Mapping[str, int] | Sequence[Any]):
        axis = as_index("axis", axis)
        if isinstance(parts, str):
            raise TypeError(f"parts must be several names, got the string {parts!r}")
        items = parts.items() if isinstance(parts, Mapping) else parts
        pairs = [_as_part(item) for item in items]
        names = [name for name, _ in pairs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"parts must have names, all different, got {names}")
        if len({size is None for _, size in pairs}) > 1:
            raise ValueError(f"parts must have sizes all or none, got {pairs}")
        object.__setattr__(self, "axis", axis)
        object.__setattr__(self, "parts", tuple(pairs))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(name for name, _ in self.parts)

    def sizes(self, length: int) -> tuple[int, ...] | None:
        """Sizes of the parts of an axis, or None if they do not fit its length."""
        if self.parts[0][1] is None:
            size, rest = divmod(length, len(self.parts))
            return None if rest else (size,) * len(self.parts)
        sizes = tuple(size or 0 for _, size in self.parts)
        return sizes if sum(sizes) == length else None

    def describe(self) -> str:
        """The parts with their sizes, for a message."""
        return ", ".join(
            name if size is None else f"{name}: {size}" for name, size in self.parts
        )


@dataclasses.dataclass(frozen=True)
class Component:
    """The component, or the row of components, to which a leaf belongs.

    Leaves of one label add up to one component. A leaf that holds many components,
    such as the kernels of all layers stacked on an axis, keeps that axis: each of its
    indices is a component of its own, and leaves of one label add up index by index.

    Attributes:
      label: name of the component, ``encoder/layers/query/kernel`` for instance.
      axes: axes of the leaf whose indices are components of their own, in the order
        in which the name shows them. A single axis may be given as an int.
      split: an axis that is cut into named parts which are components of their own.
      start: number of the first index of the first of ``axes``. It keeps the numbers
        of layers true in a stack that was cut.

    Examples:
      A stack of layers, of which this is the upper half:

      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import Component, Split, component_names
      >>> params = {"kernel": jnp.ones((2, 4, 6)), "bias": jnp.ones((2, 6))}
      >>> components = {"kernel": Component("kernel", axes=0, start=2),
      ...               "bias": Component("bias", axes=0, start=2)}
      >>> component_names(params, components)
      ('bias[2]', 'bias[3]', 'kernel[2]', 'kernel[3]')

      The same with query, key and value fused into one kernel:

      >>> split = Split(-1, ("query", "key", "value"))
      >>> fused = Component("attention", axes=0, split=split, start=2)
      >>> component_names(params, {"kernel": fused, "bias": fused})
      ('attention[2,query]', 'attention[2,key]', 'attention[2,value]',
       'attention[3,query]', 'attention[3,key]', 'attention[3,value]')
    """

    label: str
    axes: tuple[int, ...] = ()
    split: Split | None = None
    start: int = 0

    def __init__(
        self,
        label: str,
        axes: int | Sequence[int] = (),
        split: Split | None = None,
        start: int = 0,
    ):
        if not isinstance(label, str):
            raise TypeError(f"label must be a string, got {label!r}")
        if not isinstance(split, Split | None):
            raise TypeError(f"split must be a Split or None, got {split!r}")
        axes = _as_axes(axes)
        start = as_index("start", start)
        if start and not axes:
            raise ValueError(f"start is {start}, but {label!r} keeps no axes to number")
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "split", split)
        object.__setattr__(self, "start", start)


def _as_part(part: Any) -> tuple[str, int | None]:
    match part:
        case str():
            return part, None
        case (str() as name, None):
            return name, None
        case (str() as name, size):
            size = as_index(f"parts: the size of {name!r}", size)
            if size < 0:
                raise ValueError(f"parts: {name!r} has the negative size {size}")
            return name, size
    raise TypeError(f"parts must be names, or pairs of name and size, got {part!r}")


def _as_axes(axes: Any) -> tuple[int, ...]:
    with contextlib.suppress(TypeError):
        return (as_index("axes", axes),)
    try:
        return tuple(as_index("axes", axis) for axis in axes)
    except TypeError:
        raise TypeError(f"axes must be an int or several, got {axes!r}") from None


ComponentTree: TypeAlias = Any
"""A pytree of `Component`, label (str) or None.

It lies over the parameters, matched by path. An entry above a leaf holds for all leaves
below it. None leaves out: such a leaf has no component and passes untouched.
"""

ComponentMap: TypeAlias = ComponentTree | Callable[[Any], ComponentTree]
"""Says which component each leaf belongs to: a tree, or a function from the parameters
(or updates, which look alike) to one. A dict from paths to components is one as well.
"""
