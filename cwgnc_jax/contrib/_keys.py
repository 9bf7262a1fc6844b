"""Random keys of leaves."""

import zlib

import jax
import numpy as np


def leaf_key(key: jax.Array, path: str) -> jax.Array:
    """The key of a leaf: its path alone decides, so that others can come and go."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(path.encode())))
