"""What a setting may be: its type and range, how it is read, and how it is written."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, get_args


@dataclasses.dataclass(frozen=True)
class Rule:
    """What values are accepted.

    Attributes:
      kind: type of the values.
      accepted: what is accepted, in words.
      is_valid: whether a value of that type is.
      choices: the words that are accepted, if it is a word.
      optional: whether None, which a user writes 'none', is accepted, too.
    """

    kind: type
    accepted: str
    is_valid: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    optional: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a value is accepted; a whole number is a number, too."""
        if value is None:
            return self.optional
        return isinstance(value, (self.kind, int)) and self.is_valid(value)

    def read(self, text: str) -> Any:
        """Reads a value as a user writes it.

        Args:
          text: what the user wrote.

        Returns:
          The value.

        Raises:
          ValueError: if it is not accepted.

        Examples:
          >>> WHOLE.read("3"), BOOL.read("False")
          (3, False)
        """
        if text.lower() == "none" and self.optional:
            return None
        try:
            value = _BOOLS[text.lower()] if self.kind is bool else self.kind(text)
            if self.allows(value):
                return value
        except (KeyError, ValueError):
            pass
        raise ValueError(f"got {text!r}; accepted is {self.accepted}")


_BOOLS = {"true": True, "false": False}

# Comparisons with NaN are false: no rule accepts it.
WHOLE = Rule(int, "a whole number of at least 1", lambda value: value >= 1)
FROM_ZERO = Rule(float, "a number of at least 0", lambda value: 0 <= value < math.inf)
POSITIVE = Rule(float, "a number above 0", lambda value: 0 < value < math.inf)
BELOW_ONE = Rule(
    float, "a number of at least 0 and below 1", lambda value: 0 <= value < 1
)
SHARE = Rule(
    float, "a number of at least 0 and at most 1", lambda value: 0 <= value <= 1
)
NORM = Rule(float, "a number of at least 0, or inf", lambda value: value >= 0)
BOOL = Rule(bool, "true or false", lambda value: isinstance(value, bool))


def one_of(words: Any) -> Rule:
    """A rule that accepts the words of a ``Literal``."""
    choices = get_args(words)
    return Rule(str, " or ".join(choices), lambda value: value in choices, choices)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field of a recipe that a user may set.

    Attributes:
      default: its value in a recipe that says nothing of it.
      rule: what is accepted; None, too, where that is the default.
      help: what it is, for the user.
      needs: another setting without which it has no effect.
    """

    default: Any
    rule: Rule
    help: str
    needs: str | None


def setting(default: Any, rule: Rule, help: str, needs: str | None = None) -> Any:
    """A field of a recipe with a :class:`Setting` of these arguments."""
    if default is None:
        accepted = f"{rule.accepted} or none"
        rule = dataclasses.replace(rule, accepted=accepted, optional=True)
    about = Setting(default, rule, help, needs)
    return dataclasses.field(default=default, metadata={"setting": about})


def written(value: Any) -> str:
    """A setting's value as a user writes it, each number as short as can be."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else ""
    return short if short and float(short) == value else str(value)
