"""Stages of training: everything at once, or from the top, a layer more in each."""

import dataclasses
from typing import Any

import jax

import cwgnc_jax
from bert_glue.model.bert import LAYERS
from bert_glue.training.recipe import Recipe

Params = Any


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage of training updates.

    Attributes:
      number: its number, from 0.
      count: how many stages the run has.
      groups: groups of the parameters, for gradual unfreezing; None if all
        parameters are trained.
      restarts: whether it begins with the initial parameters.
      epochs_before: number of its first epoch, by which the order of the examples
        and the noise are drawn. A stage that restarts is a run of its own, from 0.
    """

    number: int = 0
    count: int = 1
    groups: cwgnc_jax.UnfreezingGroups | None = None
    restarts: bool = True
    epochs_before: int = 0

    @property
    def first_layer(self) -> int:
        """Number of the lowest layer that is trained."""
        return 0 if self.groups is None else self.groups.lowest_layer(self.number)

    def split(self, params: Params) -> cwgnc_jax.SplitParams:
        """The parameters that are trained, and the others."""
        if self.groups is None:
            return cwgnc_jax.SplitParams(params, None)
        return cwgnc_jax.split_params(params, self.number, self.groups)

    def join(self, trainable: Params, frozen: Params) -> Params:
        """All parameters."""
        if self.groups is None:
            return trainable
        return cwgnc_jax.join_params(trainable, frozen)

    def join_cut(self, trainable: Params, frozen: Params) -> Params:
        """All parameters, the stack of layers in two where the training ends.

        A forward pass that runs one part after the other has no backward pass through
        the lower one.
        """
        if self.groups is None:
            return trainable
        return cwgnc_jax.join_params(trainable, frozen, keep_cut=LAYERS)


def make_stages(recipe: Recipe, params: Params) -> tuple[Stage, ...]:
    """The stages of a run.

    Args:
      recipe: the method.
      params: parameters of one run, or their shapes.

    Returns:
      The stages in their order.

    Raises:
      ValueError: if the recipe asks for more stages than there are layers.
    """
    if recipe.unfreeze is None:
        return (Stage(),)
    groups = cwgnc_jax.unfreezing_groups(jax.eval_shape(lambda: params))
    count = groups.stages if recipe.stages is None else recipe.stages
    if count > groups.stages:
        raise ValueError(
            f"stages is {count} in the method {recipe.name}; accepted is 1 to "
            f"{groups.stages}, one for each layer of the model"
        )
    restarts = recipe.unfreeze == "restart"
    return tuple(
        Stage(
            number,
            count,
            groups,
            restarts=restarts,
            epochs_before=0 if restarts else number * recipe.epochs,
        )
        for number in range(count)
    )
