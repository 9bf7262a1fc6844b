"""Seeds: what each one decides, and how many run side by side.

A run is decided by two seeds. The init seed draws the parameters that the checkpoint
does not have (pooler, classifier); the data seed draws the order of the examples, the
dropout masks and whatever else is random in training. As in the paper both are the
run's seed unless they are varied apart. Nothing depends on which other seeds run beside
one, or on when.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

# What the two seeds are used for; fixed numbers, so that results stay the same.
_INIT, _ORDER, _NOISE = 0, 1, 2


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
