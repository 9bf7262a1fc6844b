"""What training works on: a workload, the state of a group of seeds, and its log."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import optax
from jaxtyping import Array, Float, Key

from bert_glue.data.batching import Data
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.training.evaluation import Forward, Params

Init = Callable[[Params, Key[Array, ""]], Params]
"""A seed's initial parameters from the pretrained ones and its key."""


# Compared by identity: comparing arrays would be no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """What is trained on what, whatever the method.

    Attributes:
      forward: logits of a batch, float32 of shape (batch, labels), from parameters,
        batch and the key of dropout (None for none).
      init: a seed's initial parameters from the pretrained ones and its key.
      pretrained: the checkpoint's parameters.
      train: examples to learn from, on the device.
      evaluation: examples to be scored on, on the device.
      regression: whether labels are values rather than classes.
      placement: where all of it lies, and what is trained is to lie.
    """

    forward: Forward
    init: Init
    pretrained: Params
    train: Data
    evaluation: Data
    regression: bool = False
    placement: Placement = SINGLE


class TrainState(NamedTuple):
    """State of a group in a stage; every array has a leading seed axis.

    Attributes:
      params: the parameters that are differentiated.
      opt_state: the optimizer's state.
      initial: what they were before the run, for methods that look back to that,
        else None.
      frozen: the other parameters; None if there are none.
    """

    params: Params
    opt_state: optax.OptState
    initial: Params | None
    frozen: Params | None


class TrainLog(NamedTuple):
    """What is written down at each step of an epoch.

    Attributes:
      losses: float32 of shape (seeds, steps).
      norms: norms of the gradient's components before clipping, float32 of shape
        (seeds, steps, components); None if they are not recorded.
      scales: factors of the components, of the same shape; None likewise.
    """

    losses: Float[Array, "seeds steps"]
    norms: Float[Array, "seeds steps components"] | None
    scales: Float[Array, "seeds steps components"] | None
