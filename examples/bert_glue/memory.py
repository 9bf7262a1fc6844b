"""How much memory training takes, and how much there is."""

import math
import pathlib
from typing import Any

import jax

from bert_glue.model import BertConfig
from bert_glue.recipe import Recipe

_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_CGROUP_USES = ("memory.current", "memory/memory.usage_in_bytes")


def bytes_per_seed(
    config: BertConfig, parameters: int, recipe: Recipe, length: int, dtype: str
) -> int:
    """Estimates the memory that the training of one seed takes, to plan with.

    The compiler knows it to the byte, but compiling takes its time. This counts what
    the optimizer and the backward pass keep.

    Args:
        config: sizes of the model.
        parameters: number of parameters.
        recipe: the method.
        length: tokens that batches are cut to, at most.
        dtype: name of the dtype that is computed in.

    Returns:
        Bytes.
    """
    # Parameters, two moments, the gradient, and the gradient of the embeddings again
    # while it is being summed.
    copies = 5 + (recipe.make_transform() is not None) + (recipe.keep == "best")
    wide = 12 * config.hidden_size + 4 * config.intermediate_size
    square = 5 * config.num_attention_heads * length
    tokens = recipe.batch_size * length
    activations = tokens * config.num_hidden_layers * (wide + square)
    return 4 * copies * parameters + (2 if dtype == "bfloat16" else 4) * activations


def free_bytes(device: Any = None) -> int:
    """Memory that this process may still take.

    Args:
        device: a jax device; the first device by default.

    Returns:
        Bytes: of the accelerator, or for a CPU of the machine or of the container that
        the process runs in, whichever is less.
    """
    device = jax.devices()[0] if device is None else device
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    free = psutil.virtual_memory().available
    limit = _read_number(_CGROUP_LIMITS)
    used = _read_number(_CGROUP_USES)
    if limit is not None and used is not None:
        free = min(free, limit - used)
    return max(0, int(free))


def count_parameters(tree: object) -> int:
    """Number of numbers in a pytree of arrays."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _read_number(names: tuple[str, ...]) -> int | None:
    for name in names:
        try:
            text = (pathlib.Path("/sys/fs/cgroup") / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None
