"""Random keys of leaves."""

import operator
import zlib

import jax
import jax.numpy as jnp
import numpy as np


def leaf_key(key: jax.Array, path: str) -> jax.Array:
    """The key of a leaf: its path alone decides, so that others can come and go."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(path.encode())))


def as_key(key: jax.Array | int) -> jax.Array:
    """A key, or that of a seed.

    Raises:
      TypeError: if it is neither.
    """
    is_typed = isinstance(key, jax.Array) and jnp.issubdtype(
        key.dtype, jax.dtypes.prng_key
    )
    if is_typed or np.ndim(key):
        return jnp.asarray(key)
    if not isinstance(key, jax.Array):
        try:
            key = operator.index(key)
        except TypeError:
            raise TypeError(
                f"key must be a key or a whole number, got {key!r}"
            ) from None
    return jax.random.key(key)
