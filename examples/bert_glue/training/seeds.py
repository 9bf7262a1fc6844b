"""Seeds: what each one decides, the order of the examples above all.

A run is decided by two seeds. The init seed draws the parameters that the checkpoint
does not have (pooler, classifier); the data seed draws the order of the examples, the
dropout masks and whatever else is random in training. As in the paper both are the
run's seed unless they are varied apart. Nothing depends on which other seeds run beside
one, or on when.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

# What the two seeds are used for; fixed numbers, so that results stay the same.
_INIT, _ORDER, _NOISE = 0, 1, 2
# The order of buckets is no seed's own: its key is that of this number.
_BUCKETS = 3


class Seed(NamedTuple):
    """The seeds of a run.

    Attributes:
      init: of the new parameters.
      data: of the order of the examples, and of dropout.
    """

    init: int
    data: int

    @property
    def name(self) -> str:
        """As a name of files and records: '7', or '7-3' where they differ."""
        return f"{self.init}" if self.init == self.data else f"{self.init}-{self.data}"


class SeedKeys(NamedTuple):
    """Random keys of a group of seeds, each of shape (seeds,).

    Attributes:
      init: for the new parameters.
      order: for the order of the examples.
      noise: for dropout and the like.
    """

    init: Key[Array, "seeds"]
    order: Key[Array, "seeds"]
    noise: Key[Array, "seeds"]


def root_key(seed: Int[Array, ""] | int) -> Key[Array, ""]:
    """The key of a seed: Threefry's, whatever JAX is set to use by default.

    Of other generators a vmapped key gives other numbers than the key alone, and a
    run would depend on those beside it.
    """
    return jax.random.key(seed, impl="threefry2x32")


def seed_keys(seeds: Sequence[Seed]) -> SeedKeys:
    """Keys of a group of seeds; a seed's do not depend on the others.

    Args:
      seeds: the group.

    Returns:
      Their keys.
    """

    def keys(values: list[int], purpose: int) -> Key[Array, "seeds"]:
        make = jax.vmap(lambda seed: jax.random.fold_in(root_key(seed), purpose))
        return make(jnp.asarray(values, jnp.int32))

    data = [seed.data for seed in seeds]
    return SeedKeys(
        init=keys([seed.init for seed in seeds], _INIT),
        order=keys(data, _ORDER),
        noise=keys(data, _NOISE),
    )


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
