"""Seeds: what each one decides, and how many run side by side.

A run is decided by two seeds. The init seed draws the parameters that the checkpoint
does not have (pooler, classifier); the data seed draws the order of the examples, the
dropout masks and whatever else is random in training. As in the paper both are the
run's seed unless they are varied apart. Nothing depends on which other seeds run beside
one, or on when.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

# What the two seeds are used for; fixed numbers, so that results stay the same.
_INIT, _ORDER, _NOISE = 0, 1, 2

MAX_SEED = 2**31 - 1
MOST_SEEDS = 100_000
"""More in a count or a range are a slip of the keyboard."""


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


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads a count of seeds, or a list of them.

    Args:
      text: a count (``5`` means the seeds 0 to 4), or seeds and ranges separated by
        commas (``3,7,10-12``; a single seed is written ``7,``).

    Returns:
      The seeds in the order given.

    Raises:
      ValueError: if it is neither, or a seed is there twice.

    Examples:
      >>> parse_seeds("5"), parse_seeds("3,7,10-12"), parse_seeds("7,")
      ((0, 1, 2, 3, 4), (3, 7, 10, 11, 12), (7,))
    """
    accepted = "a count such as 5, or seeds such as 3,7,10-12"
    items = [item.strip() for item in text.split(",")]
    try:
        if len(items) == 1 and "-" not in text:
            count = int(text)
            if not 1 <= count <= MOST_SEEDS:
                raise ValueError
            return tuple(range(count))
        seeds: list[int] = []
        # A comma at the end makes a list of a single seed.
        for item in items if items[-1] else items[:-1]:
            first, dash, last = item.partition("-")
            low, high = int(first), int(last if dash else first)
            # A range of more than sys.maxsize has no length.
            if not 0 <= low <= high <= MAX_SEED or high - low >= MOST_SEEDS:
                raise ValueError
            seeds += range(low, high + 1)
        if not seeds:
            raise ValueError
    except ValueError:
        raise ValueError(f"seeds are {text!r}; accepted is {accepted}") from None
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {text!r}, with a seed there twice")
    return tuple(seeds)


def cross(init: Sequence[int], data: Sequence[int]) -> list[Seed]:
    """Every init seed with every data seed, to tell their shares in the spread apart.

    Args:
      init: seeds of the new parameters.
      data: seeds of the order of the examples.

    Returns:
      The seeds of the runs.

    Examples:
      >>> [seed.name for seed in cross([0, 1], [0, 1])]
      ['0', '0-1', '1-0', '1']

    References:
      Dodge et al., "Fine-Tuning Pretrained Language Models: Weight Initializations,
      Data Orders, and Early Stopping", 2020.
    """
    return [Seed(*pair) for pair in itertools.product(init, data)]
