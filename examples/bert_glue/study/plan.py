"""How many seeds run side by side: what their training takes, and what there is."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from bert_glue.devices import memory
from bert_glue.training.recipe import Recipe
from bert_glue.training.subjects import Subject

_LESS = "a smaller batch size or maximum length"


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
    bytes_available: int,
    gain: bool,
    wanted: int | None = None,
    places: int = 1,
) -> Plan:
    """Chooses how many seeds to train side by side by an estimate of their memory.

    Args:
      seeds: number of seeds to train.
      bytes_per_seed: memory that one seed's training takes.
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
      >>> plan = plan_groups(25, bytes_per_seed=5 << 30, bytes_available=77 << 30,
      ...                    gain=True)
      >>> plan.group_size, plan.reason
      (13, '13 take 65.0 GiB of the 77.0 GiB that are free, as estimated; 2 groups')
    """

    def bytes_of(seeds: int) -> int:
        return math.ceil(seeds / places) * bytes_per_seed

    fit = places * (bytes_available // max(1, bytes_per_seed))
    if (wanted or 1) > fit:
        needed, free = gibibytes(bytes_of(wanted or 1)), gibibytes(bytes_available)
        who = "training needs" if wanted is None else f"{wanted} parallel seeds need"
        remedy = f"accepted is 1 to {fit}" if fit else f"{_LESS} needs less"
        raise ValueError(f"{who} about {needed}, but only {free} are free; {remedy}")
    if wanted is not None:
        return as_wanted(wanted, seeds)
    if not gain:
        reason = "on this device a model of this size gains nothing from more"
        if places > 1:
            reason = "one on each device, which gains nothing from more"
        return Plan(min(places, seeds), reason)
    return largest_group(
        bytes_of,
        seeds,
        bytes_available,
        each=bytes_per_seed,
        places=places,
        how="estimated",
    )


def as_wanted(wanted: int, seeds: int) -> Plan:
    """As many seeds side by side as the user asks for, or all that there are."""
    if wanted > seeds:
        return Plan(seeds, f"all there are to do; {wanted} were asked for")
    return Plan(wanted, "as asked for")


def largest_group(
    bytes_of: Callable[[int], int],
    seeds: int,
    available: int,
    *,
    each: int,
    fixed: int = 0,
    places: int = 1,
    how: str = "compiled",
) -> Plan:
    """Finds how many seeds fit side by side, most often by compiling for one size.

    The memory of a program is a fixed part and one for each seed, very nearly. An
    estimate of both says which size to compile for, and what that takes as compiled
    how good the estimate is: another size is tried only if it does not fit, or if
    fewer groups would do.

    Args:
      bytes_of: memory of each device that a group of a given size takes.
      seeds: number of seeds to train.
      available: free memory of each device, in bytes.
      each: estimate of the memory of one seed.
      fixed: memory that a group takes whatever its size.
      places: devices, or sets of them, that seeds are dealt to; a group has a
        multiple of it.
      how: how that memory is known, for the user.

    Returns:
      The plan.

    Raises:
      ValueError: if not even one seed on each place fits.

    Examples:
      >>> plan = largest_group(lambda seeds: (2 + 5 * seeds) << 30, 25, 70 << 30,
      ...                      each=4 << 30)
      >>> plan.group_size, plan.reason
      (13, '13 take 67.0 GiB of the 70.0 GiB that are free, as compiled; 2 groups')
    """
    free = gibibytes(available)
    fitting, too_many = 0, math.ceil(seeds / places) * places + places

    def groups(size: int) -> int:
        return math.ceil(seeds / size)

    def even(most: int) -> int:
        # Groups of about equal size: none runs nearly alone at last.
        most = max(places, min(most, too_many - places))
        return math.ceil(seeds / groups(most) / places) * places

    def room(each: float) -> int:
        return places * int(max(0, available - fixed) / max(1, each))

    size, used_by = even(room(each)), {}
    while size not in used_by:
        used = used_by[size] = bytes_of(size)
        most = room((used - fixed) / (size // places))
        if used <= available:
            fitting = size
            if groups(even(most)) == groups(size):
                break
        elif size == places:
            raise ValueError(
                f"training takes {gibibytes(used)} of each device as compiled, but "
                f"only {free} are free; {_LESS}, --remat full or a mesh with a model "
                "axis needs less"
            )
        else:
            too_many = size
            # Where it is much too large the compiler may not say how much.
            most = max(most, size // 2)
        size = max(fitting, even(most))
    count = groups(fitting)
    reason = (
        f"{fitting} take {gibibytes(used_by[fitting])}"
        f"{'' if places == 1 else ' of each device'} of the {free} that are free, "
        f"as {how}{f'; {count} groups' if count > 1 else ''}"
    )
    return Plan(fitting, reason)


def bytes_per_seed(subject: Subject, recipe: Recipe) -> int:
    """Estimates the memory that the training of one seed takes, to plan with.

    The compiler knows it to the byte, but compiling takes its time. This counts what
    the optimizer and the backward pass keep.

    Args:
      subject: the model and the task.
      recipe: the method.

    Returns:
      Bytes.
    """
    # Parameters, two moments, the gradient, and the gradient of the embeddings again
    # while it is being summed; Mixout looks back to the initial parameters.
    config, length = subject.config, int(np.max(subject.train.lengths))
    copies = 5 + (recipe.mixout > 0) + (recipe.keep == "best")
    # Of a batch in parts, the gradient of those before.
    copies += recipe.accumulate > 1
    wide = 12 * config.hidden_size + 4 * config.intermediate_size
    square = 5 * config.num_attention_heads * length
    tokens = recipe.batch_size // recipe.accumulate * length
    activations = tokens * config.num_hidden_layers * (wide + square)
    width = 2 if subject.dtype == "bfloat16" else 4
    parameters = memory.count_parameters(subject.pretrained)
    return 4 * copies * parameters + width * activations


def gibibytes(count: int) -> str:
    """A number of bytes, for the user."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**28 else f"{count / 2**20:.0f} MiB"
