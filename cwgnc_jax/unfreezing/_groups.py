"""Groups of parameters from top to bottom: the head, the layers, the embeddings."""

import contextlib
import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cwgnc_jax._numbers import as_index
from cwgnc_jax.components._layers import (
    CHILD,
    NUMBERED,
    STACKED,
    are_stacked,
    layer_count,
    numbered_layer,
    topmost_match,
)
from cwgnc_jax.components._matching import number_cut_layers
from cwgnc_jax.components._paths import (
    PathLeaf,
    compile_pattern,
    leaves_with_paths,
    list_offenders,
    nodes_above,
)
from cwgnc_jax.components._shards import shard_like

# What stands above the layers, the last normalisation of a decoder included; one that
# belongs to a layer or to the embeddings lies below a node of theirs.
HEAD = (
    r"(?i)(.*/)?(pooler|\w*classifier|(\w+_)?head|cls|score|qa_outputs|unembed\w*"
    r"|norm|(final|last|encoder|decoder)_(layer_?)?norm|ln_f|final_ln|logits_dense)"
)
EMBEDDINGS = r"(?i)(.*/)?(\w*embed\w*|wte|wpe)"


class Span(NamedTuple):
    """The levels between bottom and top that a leaf takes up.

    Attributes:
      level: 0 for embeddings, 1 for the lowest layer, and so on up to the head; for a
        stack, that of its first layer.
      layers: number of layers stacked in the leaf; 0 if none are.
      axis: the axis that they are stacked on.
    """

    level: int
    layers: int = 0
    axis: int = 0

    @property
    def end(self) -> int:
        """The level above."""
        return self.level + max(1, self.layers)

    def cut(self, leaf: Any, layers: int) -> tuple[Any, Any]:
        """So many of the lowest layers of a leaf, and the others."""
        before = (slice(None),) * self.axis
        return leaf[*before, :layers], leaf[*before, layers:]

    def join(self, lower: Any, upper: Any) -> jax.Array:
        """Lower and upper layers in one leaf."""
        # Of a leaf that is sharded, what is new may lie on one device.
        lower = shard_like(lower, upper)
        return jnp.concatenate([lower, shard_like(upper, lower)], axis=self.axis)

    def are_cuts(self, shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
        """Whether two shapes differ in nothing but the number of layers."""
        shapes = [list(shape), list(other)]
        if len(shape) != len(other) or len(shape) <= self.axis:
            return False
        for lengths in shapes:
            del lengths[self.axis]
        return shapes[0] == shapes[1]


@dataclasses.dataclass(frozen=True)
class UnfreezingGroups:
    """The groups that gradual unfreezing makes trainable one after the other.

    :func:`unfreezing_groups` finds them in a tree of parameters.

    Attributes:
      layers: numbers of the layers as the tree has them, from the lowest up; those of
        a stack count from 0.
      spans: the levels of each leaf, by path.
    """

    layers: tuple[int, ...]
    spans: Mapping[str, Span]

    def __hash__(self) -> int:
        # A mapping has none; as static arguments of compiled functions groups need one.
        return hash((self.layers, frozenset(self.spans.items())))

    @property
    def stages(self) -> int:
        """Number of stages: one for each layer."""
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups that have leaves, from the top: 'head', 'layer 11' ..."""
        levels = {
            level
            for span in self.spans.values()
            for level in range(span.level, span.end)
        }
        return tuple(self.name(level) for level in sorted(levels, reverse=True))

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
        (:func:`stacked`); :meth:`numbering` gives it to maps that do not say it.

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
        if not 0 <= as_index("stage", stage) < self.stages:
            raise ValueError(
                f"stage must be one of 0 to {self.stages - 1}, as many as there are "
                f"layers, got {stage}"
            )
        return 0 if stage == self.stages - 1 else self.stages - stage

    def numbering(self, stage: int) -> contextlib.AbstractContextManager[None]:
        """Lets layers of a stack that a stage cuts keep their numbers.

        Inside, components of the trainable part of :func:`split_params` have the names
        that they have in the whole tree, so that a rule for layer 3 holds for layer 3.
        The optimizers of :func:`gradual_unfreezing` do this themselves. A function
        under ``jit`` must be called inside when it is traced.

        Args:
          stage: its number, from 0.

        Returns:
          The context.

        Raises:
          ValueError: if there is no such stage.

        Examples:
          >>> import jax.numpy as jnp
          >>> import cwgnc_jax
          >>> params = {"head": jnp.ones(2), "layers": {"kernel": jnp.ones((4, 2))},
          ...           "embed": jnp.ones(2)}
          >>> groups = cwgnc_jax.unfreezing_groups(params)
          >>> trainable, _ = cwgnc_jax.split_params(params, 0, groups)
          >>> with groups.numbering(0):
          ...     cwgnc_jax.component_names(trainable, cwgnc_jax.stacked("layers/.*"))
          ('head', 'layers/kernel[3]')
        """
        lowest = self.lowest_level(stage)
        return number_cut_layers(
            {
                path: (span.axis, lowest - span.level)
                for path, span in self.spans.items()
                if span.level < lowest < span.end
            }
        )

    def span(self, path: str, shape: tuple[int, ...] | None = None) -> Span:
        """The levels of a leaf, which must have its layers where they were found."""
        if path not in self.spans:
            raise ValueError(
                f"groups: they were found in another tree, which has no leaf {path!r}"
            )
        span = self.spans[path]
        if span.layers and shape is not None and shape[span.axis] != span.layers:
            raise ValueError(
                f"groups: they were found in another tree, whose leaf {path!r} has "
                f"{span.layers} layers on axis {span.axis}; here its shape is {shape}"
            )
        return span


def unfreezing_groups(
    params: Any,
    *,
    head: str | None = HEAD,
    layers: str | None = None,
    embeddings: str | None = EMBEDDINGS,
    stacked: bool | None = None,
    layer_axis: int = 0,
) -> UnfreezingGroups:
    r"""Finds head, layers and embeddings in a tree of parameters.

    A group is given by a regular expression for the whole path of a node; all leaves
    below such a node belong to it. Where several nodes above a leaf match, the
    topmost decides, and for a node that several match, layers come before the head
    and the head before embeddings.

    Args:
      params: parameters, a pytree of arrays or of ``jax.ShapeDtypeStruct``.
      head: nodes of the head; by default pooler, classifier and the like, and the last
        normalisation. A model has none if its head is tied to the embeddings, or if
        this is None.
      layers: nodes of the layers. Its first group, ``encoder/layer_(\d+)``, is the
        layer's number. Without a group, ``encoder/layers``, it names lists of layers,
        whose children are all numbers or numbered layers, or else nodes whose leaves
        have the layers stacked on an axis. By default numbered nodes called
        layer, block or h are looked for and, if there are none, such a stack.
      embeddings: nodes of the embeddings; by default those with ``embed`` in their
        name. None if there are none.
      stacked: True if numbered nodes hold several layers each, stacked on an axis,
        from the bottom up: a stack that was cut; or if what looks like a list of
        layers is one of stacked leaves.
      layer_axis: the axis on which layers are stacked, in all leaves of a stack: 1 for
        MaxText's, whose kernels have the shape (inputs, layers, outputs).

    Returns:
      The groups.

    Raises:
      ValueError: if an expression matches no node above a leaf, a leaf is in no
        group, stacked leaves do not have the same number of layers, or layers are
        found below several nodes and none was chosen. A default that matches no head
        is no error: leaves that are in no group are.
      TypeError: if a leaf is no array, such as an activation function of an Equinox
        module that was not filtered, or ``layer_axis`` is no int.

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

      Layers on axis 1, and a head that is tied to the embeddings:

      >>> stack = {"kernel": jnp.ones((3, 12, 3)), "scale": jnp.ones((3, 12))}
      >>> params = {"embedder": dense, "layers": stack, "final_norm": dense}
      >>> unfreezing_groups(params, layer_axis=1).stages
      12
    """
    leaves = leaves_with_paths(params)
    _check_arrays(leaves)
    shapes = {path: tuple(jnp.shape(leaf)) for path, leaf in leaves}
    if layers is None:
        pattern = choose_layers(shapes, as_index("layer_axis", layer_axis))
    else:
        pattern = compile_pattern("layers", layers)
        if not pattern.groups and not stacked:
            pattern = _children_of_lists(pattern, shapes) or pattern
    if not pattern.groups and stacked is False:
        raise ValueError(
            "layers must have a group for the number of a layer where stacked is "
            f"False, got {pattern.pattern!r}"
        )
    # The order decides for a node that several match.
    patterns = {"layers": pattern}
    for argument, expression in (("head", head), ("embeddings", embeddings)):
        if expression is not None:
            patterns[argument] = compile_pattern(argument, expression)
    members = _gather(shapes, patterns, optional="head" if head == HEAD else None)
    if stacked or not pattern.groups:
        axis = as_index("layer_axis", layer_axis)
        numbers, spans = _stacked_layers(members["layers"], shapes, axis)
    else:
        numbers, spans = _single_layers(members["layers"])
    spans |= dict.fromkeys(members.get("head", ()), Span(len(numbers) + 1))
    spans |= dict.fromkeys(members.get("embeddings", ()), Span(0))
    return UnfreezingGroups(numbers, spans)


def _check_arrays(leaves: Sequence[PathLeaf]) -> None:
    # Modules of Equinox keep activation functions among their leaves.
    wrong = [
        f"{path}: {type(leaf).__name__}"
        for path, leaf in leaves
        if not (hasattr(leaf, "shape") or isinstance(leaf, int | float | complex))
    ]
    if wrong:
        raise TypeError(
            "params must be arrays (eqx.filter(model, eqx.is_inexact_array) takes "
            "those of an Equinox model), got:" + list_offenders(wrong)
        )


def _gather(
    paths: Collection[str],
    patterns: Mapping[str, re.Pattern[str]],
    optional: str | None,
) -> dict[str, dict[str, int]]:
    """The leaves of each argument, with the numbers of their layers or stacks."""
    members: dict[str, dict[str, int]] = {argument: {} for argument in patterns}
    missed = []
    for path in paths:
        argument, layer = _group_of(path, patterns)
        if argument is None:
            missed.append(path)
        else:
            members[argument][path] = layer
    for argument, leaves in members.items():
        if not leaves and argument != optional:
            hint = "" if argument == "layers" else f" ({argument}=None if it has none)"
            raise ValueError(
                f"{argument}: no node of the tree matches "
                f"{patterns[argument].pattern!r}{hint}; the leaves are:"
                + list_offenders(paths)
            )
    if missed:
        raise ValueError(
            "head, layers, embeddings: these leaves are in none of them:"
            + list_offenders(missed)
        )
    return members


def _group_of(
    path: str, patterns: Mapping[str, re.Pattern[str]]
) -> tuple[str | None, int]:
    """The argument that names a leaf's group, and the number of its layer or stack."""
    for node in nodes_above(path):
        for argument, pattern in patterns.items():
            match = pattern.fullmatch(node)
            if match is None:
                continue
            if argument != "layers" or not pattern.groups:
                return argument, 0
            if not (match.group(1) or "").isdecimal():
                raise ValueError(
                    f"layers: the first group of {pattern.pattern!r} must be a number, "
                    f"got {match.group(1)!r} at {node!r}"
                )
            return argument, int(match.group(1))
    return None, 0


def _children_of_lists(
    pattern: re.Pattern[str], paths: Collection[str]
) -> re.Pattern[str] | None:
    """The numbered layers of the nodes, if they are lists: square kernels have rows."""
    nodes = {path: topmost_match(path, (pattern,)) for path in paths}
    lists = {node for node in nodes.values() if node is not None}
    child = rf"(?:{'|'.join(map(re.escape, sorted(lists)))})/{CHILD}"
    numbered = re.compile(child)
    if lists and all(
        topmost_match(path, (numbered,)) for path, node in nodes.items() if node
    ):
        return numbered
    return None


def choose_layers(
    shapes: Mapping[str, tuple[int, ...]], axis: int = 0
) -> re.Pattern[str]:
    """The definition of a layer that finds some, in one place."""
    paths = shapes.keys()
    for pattern in (NUMBERED, STACKED):
        containers = set()
        if pattern is NUMBERED and _are_parts_of_stacks(shapes, axis):
            continue
        for path in paths:
            if node := topmost_match(path, (pattern,)):
                match = pattern.fullmatch(node)
                assert match is not None
                containers.add(node[: match.start(1)] if pattern.groups else node)
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


def _are_parts_of_stacks(shapes: Mapping[str, tuple[int, ...]], axis: int) -> bool:
    """Whether all numbered nodes are inside the layers of stacks."""
    stacks: dict[str, list[tuple[int, ...]]] = {}
    for path, shape in shapes.items():
        if numbered_layer(path, (NUMBERED,)):
            return False
        if stack := topmost_match(path, (STACKED,)):
            stacks.setdefault(stack, []).append(shape)
    return all(are_stacked(each, axis) for each in stacks.values())


def _single_layers(
    members: Mapping[str, int],
) -> tuple[tuple[int, ...], dict[str, Span]]:
    """Numbers of layers in leaves of their own, and the spans of these."""
    numbers = tuple(sorted(set(members.values())))
    level = {number: i for i, number in enumerate(numbers, start=1)}
    return numbers, {path: Span(level[n]) for path, n in members.items()}


def _stacked_layers(
    members: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]], axis: int
) -> tuple[tuple[int, ...], dict[str, Span]]:
    """Numbers of layers in one or several stacks, and the spans of their leaves."""
    spans: dict[str, Span] = {}
    end = 1
    for stack in sorted(set(members.values())):
        paths = [path for path, other in members.items() if other == stack]
        length = layer_count((shapes[path] for path in paths), axis)
        if length is None:
            raise ValueError(
                f"layers: stacked leaves must have the layers on axis {axis} (see "
                "layer_axis), as many on each, got:"
                + list_offenders(f"{path} {shapes[path]}" for path in paths)
            )
        for path in paths:
            spans[path] = Span(end, length, axis % len(shapes[path]))
        end += length
    return tuple(range(end - 1)), spans
