"""Groups of parameters from top to bottom: the head, the layers, the embeddings."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from cwgnc_jax.components._paths import (
    compile_rules,
    flatten_with_paths,
    list_offenders,
)

HEAD = r"(?i)(.*/)?(pooler|\w*classifier|(\w+_)?head|cls|score|qa_outputs)"
EMBEDDINGS = r"(?i)(.*/)?(\w*embed\w*|wte|wpe)"
# layers/3, layer/11, layer_3, EncoderBlock_3, h3; or one node of stacked layers.
_NUMBERED = r"(?i)(?:.*/)?(?:\w*(?:layer|block)s?|h)[_/]?(\d+)"
_STACKED = r"(?i)(?:.*/)?(?:\w*(?:layers|blocks)|h)"


class Place(NamedTuple):
    """Where a leaf lies between bottom and top.

    Attributes:
      level: 0 for embeddings, 1 for the lowest layer, and so on up to the head; for a
        stack, that of its first layer.
      layers: number of layers stacked on the leaf's first axis; 0 if none are.
    """

    level: int
    layers: int = 0

    @property
    def end(self) -> int:
        """The level above."""
        return self.level + max(1, self.layers)


@dataclasses.dataclass(frozen=True)
class UnfreezingGroups:
    """The groups that gradual unfreezing makes trainable one after the other.

    :func:`unfreezing_groups` finds them in a tree of parameters.

    Attributes:
      layers: numbers of the layers as the tree has them, from the lowest up; those of
        a stack count from 0.
      places: where each leaf lies, by path.
    """

    layers: tuple[int, ...]
    places: Mapping[str, Place]

    @property
    def stages(self) -> int:
        """Number of stages: one for each layer."""
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups that have leaves, from the top: 'head', 'layer 11' ..."""
        found = {level for each in self.places.values() for level in _levels(each)}
        return tuple(self.name(level) for level in sorted(found, reverse=True))

    def name(self, level: int) -> str:
        """The name of the group at a level."""
        if level == 0:
            return "embeddings"
        return f"layer {self.layers[level - 1]}" if level <= self.stages else "head"

    def trainable(self, stage: int) -> tuple[str, ...]:
        """Names of the groups that a stage trains, from the top.

        Args:
          stage: its number, from 0.

        Returns:
          The names.

        Raises:
          ValueError: if there is no such stage.
        """
        lowest = self.lowest_level(stage)
        frozen = {self.name(level) for level in range(lowest)}
        return tuple(name for name in self.names if name not in frozen)

    def lowest_layer(self, stage: int) -> int:
        """Number of the lowest layer that a stage trains.

        It is the ``start`` of the components of a stack that was cut there
        (:func:`stacked`), so that they keep their names.

        Args:
          stage: its number, from 0.

        Returns:
          The number.

        Raises:
          ValueError: if there is no such stage.
        """
        self.lowest_level(stage)
        return self.layers[self.stages - 1 - stage]

    def lowest_level(self, stage: int) -> int:
        """The lowest level that a stage trains; the last stage trains all."""
        if not 0 <= stage < self.stages:
            raise ValueError(
                f"stage must be one of 0 to {self.stages - 1}, as many as there are "
                f"layers, got {stage}"
            )
        return 0 if stage == self.stages - 1 else self.stages - stage

    def place(self, path: str) -> Place:
        """Where a leaf lies."""
        if path not in self.places:
            raise ValueError(
                f"groups: they were found in another tree, which has no leaf {path!r}"
            )
        return self.places[path]


def unfreezing_groups(
    params: Any,
    *,
    head: str | None = HEAD,
    layers: str | None = None,
    embeddings: str | None = EMBEDDINGS,
    stacked: bool | None = None,
) -> UnfreezingGroups:
    r"""Finds head, layers and embeddings in a tree of parameters.

    A group is given by a regular expression for the whole path of a node; all leaves
    below such a node belong to it. Where several nodes above a leaf match, the
    topmost decides, and for a node that several match, layers come before the head
    and the head before embeddings.

    Args:
      params: parameters, a pytree of arrays or of ``jax.ShapeDtypeStruct``.
      head: nodes of the head; by default pooler, classifier and the like. None if
        there is no head.
      layers: nodes of the layers. Its first group, ``encoder/layer_(\d+)``, is the
        layer's number. Without a group, ``encoder/layers``, it names nodes whose
        leaves have the layers stacked on their first axis. By default numbered nodes
        called layer, block or h are looked for and, if there are none, such a stack.
      embeddings: nodes of the embeddings; by default those with ``embed`` in their
        name. None if there are none.
      stacked: True if numbered nodes hold several layers each, stacked on the first
        axis, from the bottom up: a stack that was cut.

    Returns:
      The groups.

    Raises:
      ValueError: if an expression matches no node above a leaf, a leaf is in no
        group, stacked leaves do not have the same number of layers, or layers are
        found below several nodes and none was chosen.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import unfreezing_groups
      >>> dense = {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
      >>> params = {"embeddings": dense, "layer_0": dense, "layer_1": dense,
      ...           "pooler": dense, "classifier": dense}
      >>> groups = unfreezing_groups(params)
      >>> groups.names
      ('head', 'layer 1', 'layer 0', 'embeddings')
      >>> groups.trainable(0)
      ('head', 'layer 1')

      Layers stacked on the first axis, and other names:

      >>> stack = {"kernel": jnp.ones((12, 3, 3)), "bias": jnp.ones((12, 3))}
      >>> params = {"tokens": dense, "encoder": stack, "norm": dense, "out": dense}
      >>> groups = unfreezing_groups(
      ...     params, head="norm|out", layers="encoder", embeddings="tokens")
      >>> groups.stages, groups.lowest_layer(0)
      (12, 11)
    """
    leaves = flatten_with_paths(params)
    shapes = {path: tuple(jnp.shape(leaf)) for path, leaf in leaves}
    if layers is None:
        pattern = _choose_layers(shapes)
    else:
        [(pattern, _)] = compile_rules("layers", [(layers, None)])
    if not pattern.groups and stacked is False:
        raise ValueError(
            "layers must have a group for the number of a layer where stacked is "
            f"False, got {pattern.pattern!r}"
        )
    others = {
        argument: compile_rules(argument, [(expression, None)])[0][0]
        for argument, expression in (("head", head), ("embeddings", embeddings))
        if expression is not None
    }
    found: dict[str, dict[str, int]] = {"layers": {}, **{name: {} for name in others}}
    missed = []
    for path in shapes:
        group, number = _group_of(path, pattern, others)
        if group is None:
            missed.append(path)
        else:
            found[group][path] = number
    for argument, members in found.items():
        if not members:
            expression = {"layers": pattern, **others}[argument].pattern
            without = (
                "" if argument == "layers" else f" ({argument}=None if it has none)"
            )
            raise ValueError(
                f"{argument}: no node of the tree matches {expression!r}{without}; the "
                "leaves are:" + list_offenders(shapes)
            )
    if missed:
        raise ValueError(
            "head, layers, embeddings: these leaves are in none of them:"
            + list_offenders(missed)
        )
    is_stacked = bool(stacked) or not pattern.groups
    numbers, places = _place_layers(found["layers"], shapes, is_stacked)
    places |= dict.fromkeys(found.get("head", ()), Place(len(numbers) + 1))
    places |= dict.fromkeys(found.get("embeddings", ()), Place(0))
    return UnfreezingGroups(numbers, places)


def _levels(place: Place) -> range:
    return range(place.level, place.end)


def _nodes(path: str) -> Iterator[str]:
    """The nodes above a leaf from the top, and the leaf itself."""
    keys = path.split("/")
    for depth in range(1, len(keys) + 1):
        yield "/".join(keys[:depth])


def _group_of(
    path: str, layers: re.Pattern[str], others: Mapping[str, re.Pattern[str]]
) -> tuple[str | None, int]:
    """The argument that names a leaf's group, and the number of its layer or stack."""
    for node in _nodes(path):
        if match := layers.fullmatch(node):
            if not layers.groups:
                return "layers", 0
            if not (match.group(1) or "").isdecimal():
                raise ValueError(
                    f"layers: the first group of {layers.pattern!r} must be a number, "
                    f"got {match.group(1)!r} at {node!r}"
                )
            return "layers", int(match.group(1))
        for argument, pattern in others.items():
            if pattern.fullmatch(node):
                return argument, 0
    return None, 0


def _choose_layers(paths: Mapping[str, Any]) -> re.Pattern[str]:
    """The expression among the usual ones that finds layers in one place."""
    for expression in (_NUMBERED, _STACKED):
        pattern = re.compile(expression)
        containers = set()
        for path in paths:
            for node in _nodes(path):
                if match := pattern.fullmatch(node):
                    containers.add(node[: match.start(1)] if pattern.groups else node)
                    break
        if len(containers) > 1:
            raise ValueError(
                "layers must say which of these nodes hold the layers to unfreeze, as "
                r"'encoder/layers/(\d+)' does:" + list_offenders(sorted(containers))
            )
        if containers:
            return pattern
    raise ValueError(
        r"layers must say which nodes are layers, as 'encoder/layer_(\d+)' does: none "
        "of these leaves' paths has a numbered layer or block, or a stack of them:"
        + list_offenders(paths)
    )


def _place_layers(
    members: Mapping[str, int], shapes: Mapping[str, Sequence[int]], stacked: bool
) -> tuple[tuple[int, ...], dict[str, Place]]:
    """Numbers of the layers, and the places of their leaves."""
    numbers = sorted(set(members.values()))
    if not stacked:
        level = {number: i for i, number in enumerate(numbers, start=1)}
        return tuple(numbers), {path: Place(level[n]) for path, n in members.items()}
    places = {}
    end = 1
    for number in numbers:
        stack = [path for path, other in members.items() if other == number]
        lengths = {tuple(shapes[path][:1]) for path in stack}
        if len(lengths) > 1 or not min(lengths) or 0 in min(lengths):
            raise ValueError(
                "layers: stacked leaves must have the layers on their first axis, as "
                "many on each, got:"
                + list_offenders(f"{path} {shapes[path]}" for path in stack)
            )
        [[length]] = lengths
        places |= dict.fromkeys(stack, Place(end, length))
        end += length
    return tuple(range(end - 1)), places
