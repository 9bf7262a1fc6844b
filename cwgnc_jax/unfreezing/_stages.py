"""Gradual unfreezing, section 2 and Algorithm 1 of the paper."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import keystr, tree_flatten_with_path

from cwgnc_jax.components._paths import flatten_with_paths, is_masked, list_offenders
from cwgnc_jax.unfreezing._groups import UnfreezingGroups, unfreezing_groups
from cwgnc_jax.unfreezing._labels import FROZEN, TRAINABLE, carry_opt_state


class SplitParams(NamedTuple):
    """Parameters that a stage trains, and those that it leaves alone.

    Attributes:
      trainable: the tree with ``optax.MaskedNode()`` in place of frozen leaves, and
        the upper part of the leaves that were cut.
      frozen: the tree with the rest.
    """

    trainable: Any
    frozen: Any


class UnfreezingStage(NamedTuple):
    """What there is to train in a stage.

    Attributes:
      number: its number, from 0.
      trainable: parameters to differentiate and update; see :class:`SplitParams`.
      frozen: the others.
      optimizer: for the trainable parameters.
      opt_state: its state, fresh or carried over.
    """

    number: int
    trainable: Any
    frozen: Any
    optimizer: optax.GradientTransformation
    opt_state: optax.OptState


def unfreezing_labels(
    params: Any, stage: int, groups: UnfreezingGroups | None = None
) -> Any:
    """Labels the parameters that a stage of gradual unfreezing trains.

    Stage k trains the head and the top k + 1 layers, and the last stage everything.

    Args:
      params: parameters, a pytree of arrays, with each layer in leaves of its own. A
        stack of layers is one if the stage trains it all or nothing of it;
        :func:`split_params` cuts others.
      stage: number of the stage, from 0.
      groups: groups of the parameters, by default those of
        :func:`unfreezing_groups`.

    Returns:
      A pytree of the same structure of 'trainable' and 'frozen', for :func:`freeze`
      or ``optax.partition``.

    Raises:
      ValueError: if there is no such stage, a leaf is in no group, or the stage
        trains a part of a leaf.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import unfreezing_labels
      >>> params = {"embed": jnp.ones((9, 2)), "head": jnp.ones((2, 2)),
      ...           "layers": [jnp.ones((2, 2)), jnp.ones((2, 2))]}
      >>> unfreezing_labels(params, 0)
      {'embed': 'frozen', 'head': 'trainable', 'layers': ['frozen', 'trainable']}
    """
    groups = unfreezing_groups(params) if groups is None else groups
    lowest = groups.lowest_level(stage)
    labels, cut = [], []
    for path, _ in flatten_with_paths(params):
        place = groups.place(path)
        labels.append(TRAINABLE if place.level >= lowest else FROZEN)
        if place.level < lowest < place.end:
            cut.append(path)
    if cut:
        raise ValueError(
            f"params: stage {stage} trains a part of these leaves, which hold several "
            "layers; split_params cuts them:" + list_offenders(cut)
        )
    return jax.tree.unflatten(jax.tree.structure(params), labels)


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
    for path, leaf in flatten_with_paths(params):
        place = groups.place(path)
        if place.level >= lowest:
            upper, lower = leaf, optax.MaskedNode()
        elif place.end <= lowest:
            upper, lower = optax.MaskedNode(), leaf
        else:
            boundary = lowest - place.level
            upper, lower = leaf[boundary:], leaf[:boundary]
        trainable.append(upper)
        frozen.append(lower)
    treedef = jax.tree.structure(params)
    return SplitParams(
        jax.tree.unflatten(treedef, trainable), jax.tree.unflatten(treedef, frozen)
    )


def join_params(trainable: Any, frozen: Any, *, keep_cut: str | None = None) -> Any:
    """Puts the two parts of :func:`split_params` together again.

    Args:
      trainable: the part that was trained.
      frozen: the other.
      keep_cut: path of the node of stacked layers, ``encoder/layers``, if these are to
        stay cut for a forward pass that runs one stack after the other. The node then
        becomes a dict of two, 0 for the lower, frozen stack and 1 for the upper one,
        unless the stage left the stack whole.

    Returns:
      The whole tree; leaves that were cut are whole again unless kept cut.

    Raises:
      ValueError: if the parts are not of one tree, or there is no such node.

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
    stacks = [_node_at(part, keep_cut) for part in (trainable, frozen)]

    def is_leaf(node: Any) -> bool:
        at_cut = any(node is stack for stack in stacks)
        return at_cut or node is None or is_masked(node)

    (upper, treedef), (lower, other) = (
        tree_flatten_with_path(part, is_leaf=is_leaf) for part in (trainable, frozen)
    )
    if treedef != other:
        raise ValueError(
            "trainable and frozen must be parts of one tree, got the structures "
            f"{treedef} and {other}"
        )
    paths = [keystr(path, simple=True, separator="/") for path, _ in upper]
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
        elif path == keep_cut:
            joined.append(
                {0: bottom, 1: top}
                if _is_cut(top, bottom)
                else join_params(top, bottom)
            )
        elif jnp.shape(top)[1:] == jnp.shape(bottom)[1:] and jnp.ndim(top):
            joined.append(jnp.concatenate([bottom, top]))
        else:
            raise ValueError(
                "trainable and frozen both have a leaf that was not cut from one: "
                f"{path} {jnp.shape(top)} and {jnp.shape(bottom)}"
            )
    return jax.tree.unflatten(treedef, joined)


def _node_at(tree: Any, path: str | None) -> Any:
    """The node of a path, or None if there is no such node."""
    nodes = [("", tree)]
    while path is not None and nodes:
        place, node = nodes.pop()
        if place == path:
            return node
        # One level: everything but the node itself counts as a leaf.
        children, _ = tree_flatten_with_path(
            node, is_leaf=functools.partial(operator.is_not, node)
        )
        for keys, child in children:
            name = keystr(keys, simple=True, separator="/")
            name = f"{place}/{name}" if place else name
            if keys and f"{path}/".startswith(f"{name}/"):
                nodes.append((name, child))
    return None


def _is_cut(upper: Any, lower: Any) -> bool:
    """Whether two parts of a node have leaves in common."""
    paths = [{path for path, _ in flatten_with_paths(part)} for part in (upper, lower)]
    return bool(paths[0] & paths[1])


def gradual_unfreezing(
    params: Any,
    optimizer: optax.GradientTransformation
    | Callable[[int], optax.GradientTransformation],
    fit: Callable[[UnfreezingStage], tuple[Any, optax.OptState]],
    groups: UnfreezingGroups | None = None,
    *,
    restart: bool = False,
    carry_optimizer: bool = False,
    stages: Sequence[int] | None = None,
    batched: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Trains more and more layers, from the top down: GU and GU (restart).

    Stage k trains the head and the top k + 1 layers until ``fit`` says so, the paper
    for 3 epochs; the last stage trains everything, embeddings included, so that of GU
    (restart) it is full fine-tuning.

    The paper leaves open whether the optimizer goes on from stage to stage. Here it
    and its schedule start anew, as a new run of training would, unless
    ``carry_optimizer`` is set.

    Args:
      params: pretrained parameters and the head's initial ones, a pytree of arrays.
      optimizer: for the trainable parameters, which are all that it sees; or a
        function from a stage's number to one, for components or schedules that
        differ (:meth:`UnfreezingGroups.lowest_layer`).
      fit: trains a stage. It returns the trainable parameters and the optimizer's
        state after training.
      groups: groups of the parameters, by default those of
        :func:`unfreezing_groups`.
      restart: whether each stage starts from ``params`` again rather than where the
        one before stopped: GU (restart).
      carry_optimizer: whether moments and counts go on (:func:`carry_opt_state`).
      stages: numbers of the stages, in their order; by default all of them.
      batched: whether all arrays have a leading axis of independent runs. The
        optimizer is then called under ``vmap``.

    Yields:
      The number of each stage and all parameters after it.

    Raises:
      ValueError: at once if there is no such stage or a leaf is in no group.

    Examples:
      Each stage pulls what it trains to 1, here by one step of descent:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import gradual_unfreezing
      >>> params = {"embed": jnp.zeros(1), "head": jnp.zeros(1),
      ...           "layers": {"kernel": jnp.zeros((2, 1))}}
      >>> def fit(stage):
      ...     gradients = jax.tree.map(lambda leaf: leaf - 1, stage.trainable)
      ...     updates, opt_state = stage.optimizer.update(gradients, stage.opt_state)
      ...     return optax.apply_updates(stage.trainable, updates), opt_state
      >>> for stage, after in gradual_unfreezing(params, optax.sgd(0.5), fit):
      ...     print(stage, after["layers"]["kernel"].ravel(), after["embed"])
      0 [0.  0.5] [0.]
      1 [0.5  0.75] [0.5]

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, section 2 and Algorithm 1

      Howard & Ruder, `Universal Language Model Fine-tuning for Text Classification
      <https://arxiv.org/abs/1801.06146>`_, 2018
    """
    if groups is None:
        groups = unfreezing_groups(_one_run(params) if batched else params)
    numbers = range(groups.stages) if stages is None else tuple(stages)
    for number in numbers:
        groups.lowest_level(number)
    over_runs: Callable[..., Any] = jax.vmap if batched else lambda function: function

    def run() -> Iterator[tuple[int, Any]]:
        current, opt_state = params, None
        for number in numbers:
            split = functools.partial(split_params, stage=number, groups=groups)
            trainable, frozen = over_runs(split)(params if restart else current)
            # optax.MultiSteps is an optimizer, but no GradientTransformation.
            tx = optimizer(number) if callable(optimizer) else optimizer
            if carry_optimizer and opt_state is not None:
                carry = functools.partial(carry_opt_state, tx)
                opt_state = over_runs(carry)(trainable, opt_state)
            else:
                opt_state = over_runs(tx.init)(trainable)
            stage = UnfreezingStage(number, trainable, frozen, tx, opt_state)
            trainable, opt_state = fit(stage)
            current = over_runs(join_params)(trainable, frozen)
            yield number, current

    return run()


def _one_run(params: Any) -> Any:
    """Shapes of the parameters of one run among several."""
    return jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), params)
