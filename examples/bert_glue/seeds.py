"""Seeds: what each one decides, and how many run side by side.

A run is decided by two seeds. The init seed draws the parameters that the checkpoint
does not have (pooler, classifier); the data seed draws the order of the examples, the
dropout masks and whatever else is random in training. As in the paper both are the
run's seed unless they are varied apart. Nothing depends on which other seeds run beside
one, or on when.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

T = TypeVar("T")

# What the two seeds are used for; fixed numbers, so that results stay the same.
_INIT, _ORDER, _NOISE = 0, 1, 2
# The order of groups of like length is no seed's own.
_GROUPS = 3

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

    init = [seed.init for seed in seeds]
    data = [seed.data for seed in seeds]
    return SeedKeys(keys(init, _INIT), keys(data, _ORDER), keys(data, _NOISE))


def epoch_order(
    keys: Key[Array, "seeds"],
    epoch: Int[Array, ""] | int,
    examples: int,
    batch_size: int,
    groups: Int[Array | np.ndarray, " examples"] | None = None,
) -> Int[Array, "seeds steps batch"]:
    """Which examples make up each batch of an epoch: all of them, each once.

    Args:
        keys: keys of the order, shape (seeds,).
        epoch: number of the epoch, from 0; each has an order of its own.
        examples: number of examples.
        batch_size: examples in a batch.
        groups: number of each example's group, such as its length. Batches are then
            drawn within groups (but for those at a border of two), and come in an
            order that is random but the same for all seeds, so that a step is of one
            group in all of them.

    Returns:
        Indices of the examples, int32 of shape (seeds, steps, batch): uniformly random
        for each seed, or within the groups. One batch is filled up with -1, the last
        one without groups.

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
        if groups is None:
            return order
        return order[jnp.argsort(jnp.asarray(groups)[order], stable=True)]

    order = jax.vmap(permute)(keys)
    filler = steps * batch_size - examples
    order = jnp.pad(order, ((0, 0), (0, filler)), constant_values=-1)
    order = order.reshape(len(keys), steps, batch_size)
    if groups is None:
        return order
    shared = jax.random.fold_in(root_key(_GROUPS), epoch)
    return order[:, jax.random.permutation(shared, steps)]


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
    return [Seed(each, other) for each in init for other in data]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many seeds run side by side.

    Attributes:
        group_size: number of seeds in a group.
        reason: why, as a sentence for the user.
    """

    group_size: int
    reason: str


def plan_groups(
    seeds: int,
    *,
    bytes_per_seed: int,
    bytes_shared: int,
    bytes_available: int,
    gain: bool,
    wanted: int | None = None,
    places: int = 1,
) -> Plan:
    """Chooses how many seeds to train side by side.

    Args:
        seeds: number of seeds to train.
        bytes_per_seed: memory that one seed's training takes.
        bytes_shared: memory that is needed once: the data, the checkpoint.
        bytes_available: free memory of a device.
        gain: whether seeds side by side are faster than one after the other.
        wanted: what the user asks for; None to choose here.
        places: devices, or sets of them, that seeds are dealt to; a group has a
            multiple of it.

    Returns:
        The plan.

    Raises:
        ValueError: if not even one seed fits, or the number wanted does not.

    Examples:
        >>> plan = plan_groups(25, bytes_per_seed=5 << 30, bytes_shared=1 << 30,
        ...                    bytes_available=78 << 30, gain=True)
        >>> plan.group_size, plan.reason
        (13, '15 seeds of 5.0 GiB fit in the 78.0 GiB that are free; 2 groups')
    """
    fit = places * (max(0, bytes_available - bytes_shared) // max(1, bytes_per_seed))
    each, free = gibibytes(bytes_per_seed), gibibytes(bytes_available)
    if wanted is not None:
        if wanted > fit:
            each_place = math.ceil(wanted / places)
            needed = gibibytes(bytes_shared + each_place * bytes_per_seed)
            raise ValueError(
                f"{wanted} parallel seeds need about {needed}, but only {free} are "
                f"free; accepted is {_range(fit)}"
            )
        return Plan(min(wanted, seeds), "as asked for")
    if fit < 1:
        raise ValueError(
            f"training needs about {gibibytes(bytes_shared + bytes_per_seed)}, but "
            f"only {free} are free; a smaller batch size or maximum length needs less"
        )
    if not gain:
        reason = "on this device a model of this size gains nothing from more"
        return Plan(min(places, seeds), reason)
    groups = math.ceil(seeds / fit)
    if groups <= 1:
        return Plan(seeds, f"all fit in the {free} that are free")
    # Groups of about equal size, so that none runs nearly alone at the end.
    have = f"{fit} seeds of {each} fit in the {free} that are free"
    size = math.ceil(math.ceil(seeds / groups) / places) * places
    return Plan(size, f"{have}; {groups} groups")


def _range(fit: int) -> str:
    return f"1 to {fit}" if fit else "a smaller batch size or maximum length"


def gibibytes(count: int) -> str:
    """A number of bytes, for the user."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**28 else f"{count / 2**20:.0f} MiB"
