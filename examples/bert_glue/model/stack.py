"""What is done with the parameters of a stack of layers before the scan over them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from bert_glue.model.config import EncoderConfig


def round_layers(config: EncoderConfig, dtype: Any, params: Any) -> Any:
    """Parameters with the layers' kernels in the dtype that they are computed in.

    An encoder does so itself, before the scan over the layers rather than in it: the
    gradients of the stack are then kept in that dtype, too, which loses nothing where
    each is that of one product. A training loop may do it once for a whole step.

    Args:
      config: sizes and settings.
      dtype: what the encoder computes in.
      params: nested dict of parameters, or a part of it.

    Returns:
      The parameters; as they were where a kernel is used several times in a pass, whose
      gradients must be summed in float32.
    """
    encoder = params.get("encoder", {})
    if "layers" not in encoder or not is_used_once(config):
        return params
    layers = rounded_kernels(encoder["layers"], dtype)
    return {**params, "encoder": {**encoder, "layers": layers}}


def is_used_once(config: EncoderConfig) -> bool:
    """Whether each kernel of a layer makes one product in a pass."""
    repeated = config.num_hidden_layers > config.stacked_layers
    return not (repeated or config.share_att_key)


def rounded_kernels(layers: Any, dtype: Any) -> Any:
    """Layers whose kernels are in the compute dtype; vectors are no weight."""

    def rounded(path: tuple[Any, ...], leaf: Array) -> Array:
        is_kernel = any("kernel" in str(part) for part in path)
        return leaf.astype(dtype) if is_kernel else leaf

    return jax.tree_util.tree_map_with_path(rounded, layers)


def pack(state: nnx.State) -> tuple[list[Array], Callable[[list[Array]], nnx.State]]:
    """A stack's vectors side by side, then its matrices, and what takes a layer apart.

    Biases and norms are a thousandth of the parameters and half of the leaves: one by
    one, each would be cut out of its stack by a kernel in every layer and pass, and its
    gradient be written into one by another.
    """
    leaves, structure = jax.tree.flatten(state)
    vectors = [leaf.ndim == 2 for leaf in leaves]
    flat = [leaf for leaf, is_vector in zip(leaves, vectors, strict=True) if is_vector]
    edges = np.cumsum([leaf.shape[1] for leaf in flat])[:-1]

    def unpack(layer: list[Array]) -> nnx.State:
        flat = iter(jnp.split(layer[0], edges))
        matrices = iter(layer[1:])
        parts = [next(flat if is_vector else matrices) for is_vector in vectors]
        return jax.tree.unflatten(structure, parts)

    matrices = [
        leaf for leaf, is_vector in zip(leaves, vectors, strict=True) if not is_vector
    ]
    return [jnp.concatenate(flat, axis=1), *matrices], unpack
