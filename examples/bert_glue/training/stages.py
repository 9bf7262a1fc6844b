"""Stages of training: everything at once, or from the top, a layer more in each.

Gradual unfreezing leaves the lower layers alone in one of two ways. A stack of layers
is *split* at the boundary, and only its upper part is differentiated; or the layers
are taken apart and the optimizer freezes them by *labels*, as it would in a model whose
layers are not stacked. Both train the same parameters.
"""

import dataclasses
import re
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

import cwgnc_jax
from bert_glue.model.architectures import LAYERS
from bert_glue.model.components import layer_components
from bert_glue.training.evaluation import Params
from bert_glue.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage that trains all parameters.

    Attributes:
      index: its number, from 0.
      count: how many stages the run has.
      restarts: whether it begins with the initial parameters.
      takes_apart: whether what it trains is in another form than the parameters.
    """

    index: int = 0
    count: int = 1
    restarts: bool = True
    takes_apart: ClassVar[bool] = False

    @property
    def first_layer(self) -> int:
        """Number of the lowest layer in the stack that the optimizer sees."""
        return 0

    def split(self, params: Params) -> cwgnc_jax.SplitParams:
        """The parameters that are differentiated, and the others."""
        return cwgnc_jax.SplitParams(params, None)

    def join(self, trainable: Params, frozen: Params, *, whole: bool = True) -> Params:
        """All parameters, as :meth:`split` was given them.

        Args:
          trainable: those that are differentiated.
          frozen: the others.
          whole: whether all layers are to be in one stack; if not, they are in as
            many as training needs.
        """
        del frozen, whole
        return trainable

    def freeze(
        self, optimizer: optax.GradientTransformation
    ) -> optax.GradientTransformation:
        """The optimizer of the parameters that are differentiated."""
        return optimizer

    def component_names(self, params: Params) -> tuple[str, ...]:
        """Names of the components that are trained, as the optimizer orders them."""
        trainable = jax.eval_shape(self.split, params).trainable
        return cwgnc_jax.component_names(trainable, layer_components(self.first_layer))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitStage(Stage):
    """A stage that trains the upper part of a stack, cut off from the lower one.

    Attributes:
      groups: groups of the parameters, of which it trains some.
    """

    groups: cwgnc_jax.UnfreezingGroups
    takes_apart: ClassVar[bool] = True

    @property
    def first_layer(self) -> int:
        """Number of the lowest layer that it trains."""
        return self.groups.lowest_layer(self.index)

    def split(self, params: Params) -> cwgnc_jax.SplitParams:
        """The parameters above the boundary, and those below."""
        return cwgnc_jax.split_params(params, self.index, self.groups)

    def join(self, trainable: Params, frozen: Params, *, whole: bool = True) -> Params:
        """All parameters, the stack whole again or in two."""
        # A forward pass that runs one stack after the other has no backward pass
        # through the lower one.
        cut = None if whole else LAYERS
        return cwgnc_jax.join_params(trainable, frozen, self.groups, keep_cut=cut)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledStage(Stage):
    """A stage that holds all parameters, each layer in leaves of its own.

    Attributes:
      groups: groups of the parameters whose layers are apart.
    """

    groups: cwgnc_jax.UnfreezingGroups
    takes_apart: ClassVar[bool] = True

    def split(self, params: Params) -> cwgnc_jax.SplitParams:
        """All parameters, their layers apart."""
        return cwgnc_jax.SplitParams(unstack_layers(params), None)

    def join(self, trainable: Params, frozen: Params, *, whole: bool = True) -> Params:
        """All parameters, the layers in one stack again or apart."""
        del frozen
        return stack_layers(trainable) if whole else trainable

    def freeze(
        self, optimizer: optax.GradientTransformation
    ) -> optax.GradientTransformation:
        """The optimizer for leaves that are trainable by their labels."""
        return cwgnc_jax.freeze(
            optimizer,
            lambda params: cwgnc_jax.unfreezing_labels(params, self.index, self.groups),
        )

    def component_names(self, params: Params) -> tuple[str, ...]:
        """Names of the components that are trained, as those of a stack."""
        # The optimizer sees the trainable leaves alone, as if the others were masked;
        # a layer of its own is the only one of its stack.
        apart = jax.eval_shape(unstack_layers, params)
        trainable, _ = cwgnc_jax.split_params(apart, self.index, self.groups)
        return tuple(
            re.sub(rf"^({LAYERS})/(\d+)/(.*)\[0\]$", r"\1/\3[\2]", name)
            for name in cwgnc_jax.component_names(trainable, layer_components())
        )


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
    by_labels = recipe.freezing == "labels"
    shapes = jax.eval_shape(unstack_layers if by_labels else lambda tree: tree, params)
    groups = cwgnc_jax.unfreezing_groups(shapes)
    count = groups.stages if recipe.stages is None else recipe.stages
    if count > groups.stages:
        raise ValueError(
            f"stages is {count} in the method {recipe.name}; accepted is 1 to "
            f"{groups.stages}, one for each layer of the model"
        )
    restarts = recipe.unfreeze == "restart"
    make = LabelledStage if by_labels else SplitStage
    return tuple(
        make(
            index,
            count,
            restarts=restarts,
            groups=groups,
        )
        for index in range(count)
    )


def unstack_layers(params: Params) -> Params:
    """The parameters with each layer in a stack of its own: ``encoder/layers/0`` ...

    Args:
      params: parameters, or parts of them, with all layers in one stack.

    Returns:
      The same arrays, those of the layers cut.
    """
    stack = params["encoder"]["layers"]
    count = jax.tree.leaves(stack)[0].shape[0]
    layers = {
        # Not the layer itself, but a stack of one: the encoder scans over it.
        layer: jax.tree.map(lambda leaf, at=layer: leaf[at : at + 1], stack)
        for layer in range(count)
    }
    return {**params, "encoder": {**params["encoder"], "layers": layers}}


def stack_layers(params: Params) -> Params:
    """The parameters with all layers in one stack again.

    Args:
      params: as :func:`unstack_layers` gives them.

    Returns:
      The same arrays, those of the layers put together.
    """
    layers = params["encoder"]["layers"]
    ordered = [layers[layer] for layer in sorted(layers)]
    stack = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *ordered)
    return {**params, "encoder": {**params["encoder"], "layers": stack}}
