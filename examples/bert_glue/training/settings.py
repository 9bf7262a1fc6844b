"""What a setting of a recipe may be, and how its value is written."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a setting may be.

    Attributes:
      kind: type of its values, beside None where that is the default.
      accepted: the same in words.
      is_valid: whether a value of that type is accepted.
    """

    kind: type
    accepted: str
    is_valid: Callable[[Any], bool]


WHOLE = Rule(int, "a whole number >= 1", lambda value: value >= 1)
FROM_ZERO = Rule(float, "a number >= 0", lambda value: 0 <= value < math.inf)
POSITIVE = Rule(float, "a number > 0", lambda value: 0 < value < math.inf)
BELOW_ONE = Rule(float, "a number from 0, below 1", lambda value: 0 <= value < 1)
SHARE = Rule(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)
NORM = Rule(float, "a number >= 0", lambda value: value >= 0)
BOOL = Rule(bool, "true or false", lambda value: isinstance(value, bool))


def one_of(*words: str) -> Rule:
    """A rule that accepts these words."""
    return Rule(str, " or ".join(words), lambda value: value in words)


def setting(default: Any, rule: Rule, *, always: bool = True) -> Any:
    """A field of a recipe that a user may set.

    One that is not ``always`` recorded is recorded only where it differs from its
    default: added later, it left the names of earlier configurations alone.
    """
    return dataclasses.field(default=default, metadata={"rule": rule, "always": always})


def written(value: Any) -> str:
    """A setting's value as a user writes it, each number as short as can be."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    short = f"{value:g}" if isinstance(value, float) else ""
    return short if short and float(short) == value else str(value)


def is_told_by_name(value: Any) -> bool:
    """Whether a function's name says what it does, as long as its code is the same."""
    return (
        inspect.isfunction(value)
        and value.__name__ != "<lambda>"
        and value.__closure__ is None
    )
