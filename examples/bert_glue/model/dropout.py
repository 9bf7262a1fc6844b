"""Dropout whose mask does not depend on how far a batch is padded.

The training loop cuts each batch to a length that fits it, and seeds that train side by
side are cut to the same length. So that neither changes a result, whether an entry is
dropped must depend on where it stands alone: example, position, feature. ``jax.random``
numbers the entries of the whole array instead, so each one is counted here by itself,
and the counts go through the same Threefry cipher (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011), which makes 64 bits of one count: four 16-bit
numbers, or eight of 8 bits, which are drawn twice as fast but know the rate by 1/256.

A mask is kept as one byte for each count, a bit for each of its numbers: less than one
pass over the mask as bools costs, so that the backward pass reads it (see ``SAVED``)
rather than draws it again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, UInt

BITS = (8, 16, 32)
"""How many random bits an entry may be given."""
SAVED = "dropout mask"
"""The name of what the backward pass needs of a mask, for ``jax.checkpoint_policies``:
a byte for each 64 random bits."""
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


class DropoutKey(NamedTuple):
    """A key of dropout that brings the rate with it, in place of the model's own.

    A model's rates are constants of its compiled programs; this one is an argument of
    them, so that settings of other rates share a program.

    Attributes:
      key: key of the random numbers.
      rate: the rate in all places where the model drops out.
    """

    key: Array
    rate: Float[Array, ""]


Key = Array | DropoutKey
"""A typed or raw Threefry key, alone or with a rate."""


def fold(key: Key | None, number: int | Array) -> Key | None:
    """The key of a place, or of a layer; None stays None."""
    if isinstance(key, DropoutKey):
        return key._replace(key=jax.random.fold_in(key.key, number))
    return None if key is None else jax.random.fold_in(key, number)


def dropout(
    inputs: Float[Array, "..."],
    rate: float | Float[Array, ""],
    key: Key | None,
    *,
    square: bool = False,
    bits: int = 16,
) -> Float[Array, "..."]:
    """Sets entries to zero at random and scales up the others.

    Args:
      inputs: hidden states of shape (batch, length, features), or attention weights of
        shape (batch, heads, queries, keys).
      rate: share of entries that are dropped, in steps of 1/65536, or of 1/256 with 8
        bits; a number or a scalar that is traced. Where the number is 0, nothing is
        computed.
      key: key of the random numbers; None to drop nothing. Where it has a rate of its
        own, that one counts, unless this one is 0.
      square: whether the inputs are attention weights.
      bits: random bits of an entry, of :data:`BITS`.

    Returns:
      An array like the inputs, with the same expectation.
    """
    # Of 32 bits a rate in float32 does not know the last ones.
    count = 1 << min(bits, 24)
    is_number = isinstance(rate, float | int)
    if key is None or (is_number and rate == 0):
        return inputs
    if isinstance(key, DropoutKey):
        key, rate = key
    elif is_number and round(rate * count) == 0:
        return inputs
    # In float32 a rate is off by less than a hundredth of a step. Where all are dropped
    # the factor must only be finite, for the gradient.
    steps = jnp.minimum(jnp.round(jnp.asarray(rate, "float32") * count), count - 1)
    threshold = steps.astype("uint32") << max(bits - 24, 0)
    keep = keep_mask(key, inputs.shape, threshold, square=square, bits=bits)
    # The factor itself, rounded to bfloat16, would be 0.2% off in every entry.
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    scaled = inputs.astype(wide) * (count / (count - steps)).astype(wide)
    return jnp.where(keep, scaled.astype(inputs.dtype), jnp.zeros((), inputs.dtype))


def keep_mask(
    key: Array,
    shape: tuple[int, ...],
    threshold: UInt[Array, ""],
    *,
    square: bool,
    bits: int = 16,
) -> Bool[Array, "..."]:
    """Says for each entry whether it is kept: whether its number is not below that."""
    # The numbers of a count go to features, or heads, that lie far apart: the mask is
    # then as many blocks, where neighbours would have to be interleaved.
    axis, numbers = (1 if square else 2), 64 // bits
    counted = list(shape)
    counted[axis] = -(-shape[axis] // numbers)
    iota = [
        jax.lax.broadcasted_iota(jnp.uint32, counted, dimension)
        for dimension in range(len(counted))
    ]
    if square:
        batch, head, query, position = iota
        low = (position * counted[0] + batch) * counted[1] + head
        words = threefry(key, query, low)
    else:
        batch, position, feature = iota
        words = threefry(key, position, batch * counted[2] + feature)
    parts = [
        (word >> shift) & jnp.uint32((1 << bits) - 1)
        for word in words
        for shift in range(0, 32, bits)
    ]
    kept = jnp.zeros(counted, jnp.uint8)
    for at, part in enumerate(parts):
        kept = kept + ((part >= threshold).astype(jnp.uint8) << at)
    packed = checkpoint_name(_computed_once(kept, key), SAVED)

    def concatenated(packed: Array) -> Array:
        return jnp.concatenate([(packed >> at) & 1 for at in range(numbers)], axis)

    def repeated(packed: Array) -> Array:
        at = jax.lax.broadcasted_iota(jnp.uint8, (numbers, *counted[axis:]), 0)
        blocks = (jnp.expand_dims(packed, axis) >> at) & 1
        return blocks.reshape(
            *shape[:axis], numbers * counted[axis], *shape[axis + 1 :]
        )

    # The same; the one is fewer kernels on a TPU, the other draws once on a CPU.
    mask = jax.lax.platform_dependent(packed, cpu=repeated, default=concatenated)
    mask = mask.astype(jnp.bool_)
    return jax.lax.slice_in_dim(mask, 0, shape[axis], axis=axis)


def _computed_once(kept: UInt[Array, "..."], key: Array) -> UInt[Array, "..."]:
    """The same bytes, which a compiler does not compute anew for each that reads them.

    For GPUs and TPUs a barrier is enough. The compiler for CPUs takes it away before it
    fuses, but never repeats a division: here by 1, which it cannot know.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)

    def divided(kept: Array, word: Array) -> Array:
        return (kept.astype(jnp.uint32) // (((word >> 1) >> 31) + 1)).astype(jnp.uint8)

    once = jax.lax.platform_dependent(
        kept, key[0], cpu=divided, default=lambda kept, word: kept
    )
    return jax.lax.optimization_barrier(once)


def threefry(
    key: Array, high: UInt[Array, "..."], low: UInt[Array, "..."]
) -> tuple[UInt[Array, "..."], UInt[Array, "..."]]:
    """Threefry-2x32 with 20 rounds, the same function that ``jax.random`` uses.

    It is written out here because JAX compiles its own into a loop over arrays in
    memory, ten times slower on a CPU than these sums, which fuse.

    Args:
      key: key of two words.
      high: first word of each count, uint32.
      low: second word of each count, uint32.

    Returns:
      Two random words for each count.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    left, right = high + schedule[0], low + schedule[1]
    for cycle in range(5):
        for rotation in _ROTATIONS[cycle % 2]:
            left = left + right
            right = left ^ ((right << rotation) | (right >> (32 - rotation)))
        left = left + schedule[(cycle + 1) % 3]
        right = right + schedule[(cycle + 2) % 3] + jnp.uint32(cycle + 1)
    return left, right
