"""The components of an encoder, as the paper has them."""

import re
from typing import Any

import cwgnc_jax
from bert_glue.model.architectures import LAYERS

_FUSED = {
    "query_key_value": ("query", "key", "value"),
    "gate_intermediate": ("gate", "intermediate"),
}


def layer_components(first_layer: int = 0) -> cwgnc_jax.ComponentMap:
    """The paper's components of an encoder: each matrix and bias of each layer.

    Args:
      first_layer: number of the lowest layer of the stack, which may have been cut.

    Returns:
      The map.
    """
    stacked = cwgnc_jax.stacked(f"{LAYERS}/.*", start=first_layer)

    def components(params: Any) -> Any:
        # Where kernels are fused, each of their parts is a matrix of its own.
        layout = stacked
        paths = [entry.path for entry in cwgnc_jax.leaves_with_paths(params)]
        for name, parts in _FUSED.items():
            pattern = f"{LAYERS}/(.*/)?{name}/.*"
            if any(re.fullmatch(pattern, path) for path in paths):
                layout = cwgnc_jax.fused(pattern, parts, base=layout)
        return layout(params)

    return components
