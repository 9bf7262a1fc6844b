"""What a token knows of where it stands: rotary angles and buckets of distances.

All of it depends on lengths alone, so that it is computed by NumPy while a program is
traced, and is a constant there.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Rotary = tuple[Float[Array, "length size"], Float[Array, "length size"]]
"""Cosines and sines of the angles by which the features of a position are turned."""

_ROTARY = {
    "default": ("rope_theta",),
    "linear": ("rope_theta", "factor"),
    "llama3": (
        "rope_theta",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


def check_rotary(parameters: Mapping[str, Any] | None) -> None:
    """Checks what a config.json says of rotary positions.

    Args:
      parameters: the object ``rope_parameters``, or the one of a type of layers.

    Raises:
      ValueError: if their kind is not known, or a number is missing.
    """
    if parameters is None:
        return
    kind = parameters.get("rope_type", "default")
    if kind not in _ROTARY:
        raise ValueError(f"rope_type is {kind!r}; known are {', '.join(_ROTARY)}")
    for name in _ROTARY[kind]:
        value = parameters.get(name)
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            raise ValueError(f"{name} is {value!r}: a number above 0 is due")
    if parameters.get("partial_rotary_factor", 1) != 1:
        raise ValueError("partial_rotary_factor is not 1: all features are turned")


def rotary(
    parameters: Mapping[str, Any], length: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of rotary positions.

    Args:
      parameters: ``rope_type``, ``rope_theta`` and what the type needs.
      length: number of positions.
      size: width of a head.

    Returns:
      Two float32 arrays of shape (length, size).

    References:
      Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021;
      for ``llama3``, the model card of Llama 3.1.
    """
    theta = np.float32(parameters["rope_theta"])
    frequencies = 1 / theta ** (np.arange(0, size, 2, dtype=np.float32) / size)
    kind = parameters.get("rope_type", "default")
    if kind == "linear":
        frequencies = frequencies / parameters["factor"]
    elif kind == "llama3":
        frequencies = _stretch(frequencies, parameters)
    angles = np.outer(np.arange(length), frequencies.astype(np.float32))
    # A feature is turned with the one half a head away.
    angles = np.concatenate([angles, angles], axis=1).astype(np.float32)
    return np.cos(angles), np.sin(angles)


def _stretch(frequencies: np.ndarray, parameters: Mapping[str, Any]) -> np.ndarray:
    """Slows down the frequencies whose waves are as long as the first training's texts.

    Between those that are and those that are not it goes over linearly.
    """
    turns = parameters["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - share) * frequencies / parameters["factor"] + share * frequencies


def turn(
    features: Float[Array, "batch heads length size"], rotary: Rotary
) -> Float[Array, "batch heads length size"]:
    """Turns queries or keys by the angles of their positions, in float32."""
    cos, sin = rotary
    wide = features.astype(jnp.float32)
    first, second = jnp.split(wide, 2, axis=-1)
    turned = wide * cos + jnp.concatenate([-second, first], axis=-1) * sin
    return turned.astype(features.dtype)


def bias_buckets(length: int, buckets: int) -> Int[np.ndarray, "length length"]:
    """Bucket of the distance from each query to each key, as T5 and MPNet have it.

    Half of the buckets are for keys after the query. Of each half, half are for single
    distances, the others for ranges that grow up to 128.

    Args:
      length: number of positions.
      buckets: how many there are.

    Returns:
      Whole numbers from 0 to ``buckets`` - 1.

    References:
      Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
      Text-to-Text Transformer", JMLR 2020.
    """
    half = buckets // 2
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    near = half // 2
    # Distances below are not used; of 0 there is no logarithm.
    far = np.maximum(np.abs(distance), near).astype(np.float32)
    scaled = np.log(far / np.float32(near)) / np.float32(math.log(128 / near))
    grown = near + (scaled * np.float32(half - near)).astype(np.int64)
    grown = np.minimum(grown, half - 1)
    bucket = np.where(np.abs(distance) < near, np.abs(distance), grown)
    return bucket + half * (distance > 0)


def distance_rows(
    length: int, span: int, buckets: int, farthest: int
) -> Int[np.ndarray, "length length"]:
    """Row of the embedding of the distance from each key to each query, as in DeBERTa.

    Args:
      length: number of positions.
      span: half the number of rows: row ``span`` is that of the distance 0.
      buckets: below half of them each distance has its own, the others share the
        longer ones, logarithmically; below 1 all have their own.
      farthest: distance that the last bucket ends with.

    Returns:
      Whole numbers from 0 to 2 * ``span`` - 1.

    References:
      He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", ICLR
      2021, and the code of DeBERTa-v2.
    """
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    if buckets > 0 and farthest > 0:
        middle = buckets // 2
        far = np.maximum(np.abs(distance), middle - 1).astype(np.float32)
        scaled = np.log(far / np.float32(middle)) / np.log(
            np.float32((farthest - 1) / middle)
        )
        grown = np.ceil(scaled * np.float32(middle - 1)).astype(np.int64) + middle
        distance = np.where(
            np.abs(distance) <= middle, distance, np.sign(distance) * grown
        )
    return np.clip(distance + span, 0, 2 * span - 1)


def visible(
    attention_mask: Int[Array, "batch length"],
    *,
    causal: bool = False,
    window: int | None = None,
) -> Float[Array, "batch 1 queries length"]:
    """What is added to scores so that tokens see no others than they should.

    Args:
      attention_mask: 1 for real tokens, 0 for padding.
      causal: whether they see only themselves and those before.
      window: largest distance of what they see; None for any.

    Returns:
      0 where a key is seen, the lowest finite number where it is not; one row for all
      queries where they see the same.
    """
    seen = attention_mask[:, None, None, :] > 0
    length = attention_mask.shape[1]
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    if causal:
        seen = seen & (distance >= 0)
    if window is not None:
        seen = seen & (np.abs(distance) <= window)
    # The lowest finite number, not minus infinity, which makes NaN of a row that sees
    # nothing. Added to a score it stays so low that the exponential underflows: what is
    # not seen gets the weight 0 exactly.
    return jnp.where(seen, 0.0, jnp.finfo(jnp.float32).min)
