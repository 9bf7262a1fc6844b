"""Parts of a study, for processes that know nothing of each other."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bert_glue.study.configuration import Configuration
from bert_glue.training.seeds import Seed
from bert_glue.training.stages import make_stages


class Shard(NamedTuple):
    """One of several parts.

    Attributes:
      part: which one, from 1.
      parts: how many there are.
    """

    part: int
    parts: int


def deal(costs: Sequence[int], shard: Shard) -> list[int]:
    """Which of several pieces of work, in their order, belong to a part.

    Parts have no gaps, so that each has few kinds of work, and cost about
    the same. Every piece belongs to exactly one part.

    Args:
      costs: cost of each piece, above 0, in any unit.
      shard: the part.

    Returns:
      Numbers of its pieces, from 0.

    Examples:
      >>> [deal([1, 1, 1, 1, 4], Shard(part, 2)) for part in (1, 2)]
      [[0, 1, 2, 3], [4]]
    """
    total, before, chosen = sum(costs), 0, []
    for piece, cost in enumerate(costs):
        # Whole numbers, so that every machine finds the same part for a middle.
        if (2 * before + cost) * shard.parts // (2 * total) == shard.part - 1:
            chosen.append(piece)
        before += cost
    return chosen


def share(
    configurations: Sequence[Configuration],
    seeds: Sequence[Seed],
    shard: Shard | None,
) -> Mapping[str, Sequence[Seed]]:
    """The runs of a study that belong to a part.

    Args:
      configurations: those of the study.
      seeds: its seeds.
      shard: the part; None for all runs.

    Returns:
      The seeds that the part runs of each configuration, by its name.
    """
    if shard is None:
        return {configuration.name: seeds for configuration in configurations}
    # A piece of work is a run: all seeds of the first configuration, then the next.
    costs = np.repeat([_tokens(each) for each in configurations], len(seeds)).tolist()
    runs: dict[str, list[Seed]] = {each.name: [] for each in configurations}
    for piece in deal(costs, shard):
        configuration, seed = divmod(piece, len(seeds))
        runs[configurations[configuration].name].append(seeds[seed])
    return runs


def _tokens(configuration: Configuration) -> int:
    """How many tokens a run sees."""
    recipe, subject = configuration.recipe, configuration.subject
    lengths = np.asarray(subject.train.lengths)
    steps_per_epoch = math.ceil(len(lengths) / recipe.batch_size)
    steps = recipe.steps(steps_per_epoch) * len(make_stages(recipe, subject.shapes))
    return steps * int(np.sum(lengths)) // steps_per_epoch
