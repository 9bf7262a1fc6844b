"""Dropout whose mask does not depend on how far a batch is padded.

The training loop cuts each batch to a length that fits it, and seeds that train side by
side are cut to the same length. So that neither changes a result, whether an entry is
dropped must depend on where it stands alone: example, position, feature. ``jax.random``
numbers the entries of the whole array instead, so each one is counted here by itself,
and the counts go through the same Threefry cipher (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011), which makes four 16-bit numbers of one count.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt

_STEPS = 1 << 16
_NUMBERS = 4
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
) -> Float[Array, "..."]:
    """Sets entries to zero at random and scales up the others.

    Args:
      inputs: hidden states of shape (batch, length, features), or attention weights of
        shape (batch, heads, queries, keys).
      rate: share of entries that are dropped, in steps of 1/65536; a number or a
        scalar that is traced. Where the number is 0, nothing is computed.
      key: key of the random numbers; None to drop nothing. Where it has a rate of its
        own, that one counts, unless this one is 0.
      square: whether the inputs are attention weights.

    Returns:
      An array like the inputs, with the same expectation.
    """
    if key is None or (isinstance(rate, float | int) and round(rate * _STEPS) == 0):
        return inputs
    if isinstance(key, DropoutKey):
        key, rate = key
    # In float32 a rate is off by less than a hundredth of a step. Where all are dropped
    # the factor must only be finite, for the gradient.
    steps = jnp.minimum(jnp.round(jnp.asarray(rate, "float32") * _STEPS), _STEPS - 1)
    keep = keep_mask(key, inputs.shape, steps.astype("uint32"), square=square)
    # The factor itself, rounded to bfloat16, would be 0.2% off in every entry.
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    scaled = inputs.astype(wide) * (_STEPS / (_STEPS - steps)).astype(wide)
    return jnp.where(keep, scaled.astype(inputs.dtype), jnp.zeros((), inputs.dtype))


def keep_mask(
    key: Array, shape: tuple[int, ...], steps: UInt[Array, ""], *, square: bool
) -> Bool[Array, "..."]:
    """Says for each entry whether it is kept; ``steps`` in 65536 are dropped."""
    # The four numbers of a count go to four features, or heads, that lie far apart:
    # the mask is then four blocks, where neighbours would have to be interleaved.
    axis = 1 if square else 2
    counted = list(shape)
    counted[axis] = -(-shape[axis] // _NUMBERS)
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
    kept = [half >= steps for word in words for half in (word & 0xFFFF, word >> 16)]
    # Without the barrier the compiler computes all four anew for each entry.
    mask = jax.lax.optimization_barrier(jnp.concatenate(kept, axis))
    return jax.lax.slice_in_dim(mask, 0, shape[axis], axis=axis)


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
