"""What a layer is: the names of nodes that hold one, or a stack of several."""

import re
from collections.abc import Collection, Iterable

from cwgnc_jax.components._paths import nodes_above

# A word for a layer with a number, or a numbered child of one: layers/3, layer/11,
# layer_3, EncoderBlock_3, h3 (lists, Hugging Face, Linen, Haiku).
_WORD = r"(?:\w*(?:layer|block)s?|h)"
NUMBERED = re.compile(rf"(?i)(?:.*/)?{_WORD}[_/]?(\d+)")
# A numbered child of a node that is known to hold layers: 3, layer_3, Block3.
CHILD = rf"(?:(?i:{_WORD})_?)?(\d+)"
# One node whose leaves have the layers on an axis, as nn.scan and vmap make them.
STACKED = re.compile(r"(?i)(?:.*/)?(?:\w*(?:layers|blocks)|h)")
# The children of any list, where nothing is called a layer.
LISTED = re.compile(r"(?:.*/)?(\d+)")


def topmost_match(path: str, patterns: Iterable[re.Pattern[str]]) -> str | None:
    """The topmost node above a leaf that one of the expressions matches whole.

    Layers inside a layer, such as those of its MLP, are a part of it.
    """
    return next(
        (
            node
            for node in nodes_above(path)
            if any(pattern.fullmatch(node) for pattern in patterns)
        ),
        None,
    )


def numbered_layer(path: str, patterns: Iterable[re.Pattern[str]]) -> str | None:
    """The topmost numbered node above a leaf, if it is a layer of its own.

    Numbers inside the layers of a stack, ``layers/mlp/layers/0``, are parts of each of
    them, and there is none; the children of a list, ``layers/0``, are layers.
    """
    layer, stack = (topmost_match(path, each) for each in (patterns, (STACKED,)))
    if layer and stack and layer.startswith(f"{stack}/"):
        child = layer.removeprefix(f"{stack}/")
        return layer if re.fullmatch(CHILD, child) else None
    return layer


def layer_count(shapes: Iterable[tuple[int, ...]], axis: int) -> int | None:
    """The number of layers that leaves of a stack have on an axis, None if not one."""
    lengths = {
        shape[axis] if -len(shape) <= axis < len(shape) else 0 for shape in shapes
    }
    length = lengths.pop()
    return None if lengths or not length else length


def are_stacked(shapes: Collection[tuple[int, ...]], axis: int) -> bool:
    """Whether leaves may well be those of a stack, though they have numbers below it.

    They have as many layers, and a matrix among them, as square matrices and vectors of
    one size have not.
    """
    return layer_count(shapes, axis) is not None and max(map(len, shapes)) > 2
