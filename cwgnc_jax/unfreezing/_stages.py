"""Gradual unfreezing, section 2 and Algorithm 1 of the paper."""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax.components._paths import leaves_with_paths, list_offenders
from cwgnc_jax.unfreezing._carry import carry_opt_state
from cwgnc_jax.unfreezing._groups import UnfreezingGroups, unfreezing_groups
from cwgnc_jax.unfreezing._split import join_params, split_params


class UnfreezingStage(NamedTuple):
    """What there is to train in a stage.

    Attributes:
      number: its number, from 0.
      trainable: parameters to differentiate and update; see :class:`SplitParams`.
      frozen: the others.
      optimizer: for the trainable parameters; layers of a stack that was cut have the
        numbers that they have in the whole (:meth:`UnfreezingGroups.numbering`).
      opt_state: its state, fresh or carried over.
    """

    number: int
    trainable: Any
    frozen: Any
    optimizer: optax.GradientTransformation
    opt_state: optax.OptState


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
        differ. Components of a stack that is cut keep their names, so that rules hold
        for the same layers in all stages.
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
      ValueError: at once if there is no such stage or a leaf is in no group; after a
        stage, if ``fit`` returned something else than the trainable parameters, such
        as all of them.
      TypeError: likewise, if that is no pair.

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
            tx = _with_numbers(tx, number, groups)
            if carry_optimizer and opt_state is not None:
                carry = functools.partial(carry_opt_state, tx, groups=groups)
                opt_state = over_runs(carry)(trainable, opt_state)
            else:
                opt_state = over_runs(tx.init)(trainable)
            stage = UnfreezingStage(number, trainable, frozen, tx, opt_state)
            trainable, opt_state = _checked(fit(stage), stage)
            join = functools.partial(join_params, groups=groups)
            current = over_runs(join)(trainable, frozen)
            yield number, current

    return run()


def _with_numbers(tx: Any, stage: int, groups: UnfreezingGroups) -> Any:
    """The optimizer of a stage, whose maps see the numbers of the whole stack."""

    @functools.wraps(tx.init)
    def init(*args: Any, **extra: Any) -> Any:
        with groups.numbering(stage):
            return tx.init(*args, **extra)

    @functools.wraps(tx.update)
    def update(*args: Any, **extra: Any) -> Any:
        with groups.numbering(stage):
            return tx.update(*args, **extra)

    if isinstance(tx, optax.GradientTransformation):
        return tx._replace(init=init, update=update)
    numbered = copy.copy(tx)
    numbered.init, numbered.update = init, update
    return numbered


def _checked(fitted: Any, stage: UnfreezingStage) -> Any:
    """What ``fit`` returned, if it is what a stage returns."""
    what = (
        f"fit must return the trainable parameters of stage {stage.number} and the "
        "optimizer's state"
    )
    if not isinstance(fitted, tuple | list) or len(fitted) != 2:
        raise TypeError(
            f"{what}, got a {type(fitted).__name__} that is no pair of them"
        )
    trained, _ = fitted
    shapes, expected = (
        {path: jnp.shape(leaf) for path, leaf in leaves_with_paths(tree)}
        for tree in (trained, stage.trainable)
    )
    if shapes != expected:
        raise ValueError(
            f"{what}, got parameters that differ from them:"
            + list_offenders(
                f"{path}: {shapes.get(path, 'none')} instead of "
                f"{expected.get(path, 'none')}"
                for path in sorted(shapes.keys() | expected.keys())
                if shapes.get(path) != expected.get(path)
            )
        )
    return fitted


def _one_run(params: Any) -> Any:
    """Shapes of the parameters of one run among several."""
    return jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), params)
