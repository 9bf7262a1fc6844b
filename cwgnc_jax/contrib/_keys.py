"""Random keys of leaves."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from cwgnc_jax._numbers import as_index


def leaf_key(key: jax.Array, path: str) -> jax.Array:
    """The key of a leaf: its path alone decides, so that others can come and go."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(path.encode())))


def check_key(key: jax.Array | int) -> jax.Array | int:
    """A key, or a seed, as it is; it asks for no device.

    Raises:
      TypeError: if it is neither.
    """
    if isinstance(key, jax.Array) or np.ndim(key):
        return key
    return as_index("key", key, "a key or a whole number")


def as_key(key: jax.Array | int) -> jax.Array:
    """A key, or that of a seed; errors as :func:`check_key`."""
    key = check_key(key)
    dtype = getattr(key, "dtype", int)
    is_key = np.ndim(key) > 0 or jnp.issubdtype(dtype, jax.dtypes.prng_key)
    return jnp.asarray(key) if is_key else jax.random.key(key)
