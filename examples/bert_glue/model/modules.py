"""Linear layers and normalisations by a configuration."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from bert_glue.model.config import EncoderConfig

Tokens = Int[Array, "batch length"]
Hidden = Float[Array, "batch length hidden"]


def linear(
    inputs: int,
    outputs: int,
    config: EncoderConfig,
    dtype: Any,
    rngs: nnx.Rngs,
    bias: bool = True,
    flat: bool = False,
) -> nnx.Linear:
    """A product with a kernel; if it is flat, of all tokens in one axis."""
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=bias,
        dtype=dtype,
        kernel_init=nnx.initializers.normal(config.initializer_range),
        dot_general=_flat_product if flat else jax.lax.dot_general,
        rngs=rngs,
    )


def norm(
    config: EncoderConfig, dtype: Any, rngs: nnx.Rngs, width: int | None = None
) -> nnx.LayerNorm | nnx.RMSNorm:
    """A normalisation of the configured kind, as wide as hidden states if not said."""
    width, epsilon = width or config.hidden_size, config.layer_norm_eps
    if config.norm == "rms":
        return nnx.RMSNorm(width, epsilon=epsilon, dtype=dtype, rngs=rngs)
    return nnx.LayerNorm(
        width, epsilon=epsilon, use_bias=config.norm_bias, dtype=dtype, rngs=rngs
    )


def _flat_product(inputs: Array, kernel: Array, _: Any, **options: Any) -> Array:
    """``inputs @ kernel``, with all axes of the inputs but the last in one."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    product = jax.lax.dot(rows, kernel, **options)
    return product.reshape(*inputs.shape[:-1], -1)
