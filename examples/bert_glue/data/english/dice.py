"""Random choices, the same on every machine and Python."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Random choices that depend on their key alone.

    Python keeps the stream of `random.Random(key).random()` from version to version,
    but not what `choice` or `shuffle` make of it; so those are made here.

    Args:
      *key: what the choices depend on; its parts are joined as text.

    >>> Dice("demo", 0).pick("abcdef"), Dice("demo", 1).pick("abcdef")
    ('d', 'c')
    """

    def __init__(self, *key: object):
        self._next = random.Random("/".join(map(str, key))).random

    def below(self, bound: int) -> int:
        """Returns one of 0, ..., bound - 1."""
        return int(self._next() * bound)

    def chance(self, probability: float) -> bool:
        """Returns True with this probability."""
        return self._next() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Returns one of the options, each as likely."""
        return options[self.below(len(options))]

    def weighted(self, options: dict[T, float]) -> T:
        """Returns one of the keys, as likely as its value says."""
        left = self._next() * sum(options.values())
        for option, weight in options.items():
            left -= weight
            if left < 0:
                return option
        return next(reversed(options))

    def shuffled(self, options: Iterable[T]) -> list[T]:
        """Returns the options in a random order."""
        order = list(options)
        for i in range(len(order) - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order

    def some(self, options: Sequence[T], probability: float) -> list[T]:
        """Returns those options that a coin with this probability keeps."""
        return [option for option in options if self.chance(probability)]
