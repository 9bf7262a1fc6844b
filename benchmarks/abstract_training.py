"""The scripts' training programs from shapes alone: nothing in them is computed."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from bert_glue.data.batching import Data
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import initial_params
from bert_glue.model.stack import round_layers
from bert_glue.training.subjects import DTYPES, make_forward, make_init
from bert_glue.training.trainer import Workload

LENGTH, EXAMPLES, LABELS = 128, 2490, 2
HEADS = ("pooler", "head", "classifier")


def workload(
    config: EncoderConfig,
    *,
    stacks: int | None = None,
    dtype: str = "bfloat16",
    **options: Any,
) -> Workload:
    """A task of RTE's size, all of one length, and shapes of a model.

    Args:
      config: sizes of the model.
      stacks: number of stacks of one layer each; None for a single stack of all.
      dtype: what is computed in.
      **options: as for an encoder: how its layers are computed.

    Returns:
      The workload, whose parameters are shapes.
    """
    tokens = jnp.zeros((EXAMPLES, LENGTH), jnp.int32)
    ones = jnp.ones(EXAMPLES, jnp.int32)
    data = Data(tokens, tokens, LENGTH * ones, ones)
    params: Any = jax.eval_shape(
        functools.partial(initial_params, config, LABELS), jax.random.key(0)
    )
    heads = tuple(name for name in params if name in HEADS)
    pretrained = {name: part for name, part in params.items() if name not in heads}
    if stacks is not None:
        layer = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype),
            pretrained["encoder"]["layers"],
        )
        pretrained["encoder"] = {"layers": dict.fromkeys(range(stacks), layer)}
    return Workload(
        forward=make_forward(config, LABELS, dtype, **options),
        init=make_init(config, LABELS, heads),
        pretrained=pretrained,
        train=data,
        evaluation=data,
        rounded=functools.partial(round_layers, config, DTYPES[dtype]),
    )
