"""Dropout whose mask does not depend on how far a batch is padded.

The training loop cuts each batch to a length that fits it, and seeds that train side by
side are cut to the same length. So that neither changes a result, whether an entry is
dropped must depend on its place alone: example, position and feature. ``jax.random``
numbers the entries of the whole array instead, so each place is counted here by itself,
and the counts go through the same Threefry cipher (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011), which makes four 16-bit numbers of one count.
"""

import jax
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt

_STEPS = 1 << 16
_NUMBERS = 4


def dropout(
    inputs: Float[Array, "..."],
    rate: float,
    key: Array | None,
    *,
    square: bool = False,
) -> Float[Array, "..."]:
    """Sets entries to zero at random and scales up the others.

    Args:
      inputs: Hidden states of shape (batch, length, features), or attention weights of
        shape (batch, heads, queries, keys).
      rate: Share of entries that are dropped, in steps of 1/65536.
      key: Key of the random numbers (a typed or raw Threefry key); None to drop nothing.
      square: Whether the inputs are attention weights.

    Returns:
      An array like the inputs, with the same expectation.
    """
    steps = round(rate * _STEPS)
    if key is None or steps == 0:
        return inputs
    keep = keep_mask(key, inputs.shape, steps, square=square)
    scaled = inputs * jnp.asarray(_STEPS / (_STEPS - steps), inputs.dtype)
    return jnp.where(keep, scaled, jnp.zeros((), inputs.dtype))


def keep_mask(
    key: Array, shape: tuple[int, ...], steps: int, *, square: bool
) -> Bool[Array, "..."]:
    """Says for each entry whether it is kept; ``steps`` in 65536 are dropped."""
    *outer, last = shape
    counted = (*outer, -(-last // _NUMBERS))
    iota = [
        jax.lax.broadcasted_iota(jnp.uint32, counted, axis)
        for axis in range(len(counted))
    ]
    if square:
        batch, heads, query, group = iota
        count = (query, (group * shape[0] + batch) * shape[1] + heads)
    else:
        batch, position, group = iota
        count = (position, batch * counted[-1] + group)
    keep = _random_bits(key, *count) >= jnp.uint16(steps)
    return keep.reshape(*outer, counted[-1] * _NUMBERS)[..., :last]


def _random_bits(
    key: Array, high: UInt[Array, "..."], low: UInt[Array, "..."]
) -> UInt[Array, "... 4"]:
    """Four uint16 for each count of two 32-bit words."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    words = jax.extend.random.threefry2x32_p.bind(
        jnp.broadcast_to(key[0], high.shape),
        jnp.broadcast_to(key[1], high.shape),
        high,
        low,
    )
    halves = [half for word in words for half in (word & 0xFFFF, word >> 16)]
    return jnp.stack(halves, axis=-1).astype(jnp.uint16)
