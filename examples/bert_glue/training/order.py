"""The order of the examples: which of them make up each batch of an epoch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from bert_glue.training.seeds import root_key

# The order of buckets is no seed's own: its key is that of this number.
_BUCKETS = 3


def epoch_order(
    keys: Key[Array, "seeds"],
    epoch: Int[Array, ""] | int,
    examples: int,
    batch_size: int,
    buckets: Int[Array | np.ndarray, " examples"] | None = None,
) -> Int[Array, "seeds steps batch"]:
    """Which examples make up each batch of an epoch: all of them, each once.

    Args:
      keys: keys of the order, shape (seeds,).
      epoch: number of the epoch, from 0; each has an order of its own.
      examples: number of examples.
      batch_size: examples in a batch.
      buckets: number of each example's bucket, such as one of like lengths. Batches
        are then drawn within buckets (but for those at a border of two), and come in
        an order that is random but the same for all seeds, so that a step is of one
        bucket in all of them.

    Returns:
      Indices of the examples, int32 of shape (seeds, steps, batch): uniformly random
      for each seed, or within the buckets. One batch is filled up with -1, the last
      one without buckets.

    Examples:
      >>> from bert_glue.training.seeds import Seed, seed_keys
      >>> keys = seed_keys([Seed(0, 0)]).order
      >>> order = epoch_order(keys, 0, examples=5, batch_size=2)
      >>> order.shape, sorted(order.ravel().tolist())
      ((1, 3, 2), [-1, 0, 1, 2, 3, 4])
    """
    steps = math.ceil(examples / batch_size)

    def permute(key: Key[Array, ""]) -> Int[Array, " examples"]:
        numbers = jnp.arange(examples, dtype=jnp.int32)
        order = jax.random.permutation(jax.random.fold_in(key, epoch), numbers)
        if buckets is None:
            return order
        # Stable, so that each bucket keeps its random order.
        return order[jnp.argsort(jnp.asarray(buckets)[order], stable=True)]

    order = jax.vmap(permute)(keys)
    filler = steps * batch_size - examples
    order = jnp.pad(order, ((0, 0), (0, filler)), constant_values=-1)
    order = order.reshape(len(keys), steps, batch_size)
    if buckets is None:
        return order
    shared = jax.random.fold_in(root_key(_BUCKETS), epoch)
    return order[:, jax.random.permutation(shared, steps)]
