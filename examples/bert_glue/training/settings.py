"""What a setting may be: its type and range, how it is read, and how it is written."""

import contextlib
import ctypes
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args


@dataclasses.dataclass(frozen=True)
class Rule:
    """What values are accepted.

    Attributes:
      kind: type of the values.
      accepted: what is accepted, in words.
      is_valid: whether a value of that type is.
      optional: whether None, which a user writes 'none', is accepted, too.
    """

    kind: type
    accepted: str
    is_valid: Callable[[Any], bool]
    optional: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a value is accepted; a whole number is a number, too."""
        if value is None:
            return self.optional
        fits = isinstance(value, (self.kind, int)) and self.is_valid(value)
        return fits and (self.kind is not float or self._survives(value))

    def words_for(self, value: Any) -> str:
        """What is accepted, in words for one who gave a value that is not."""
        with contextlib.suppress(TypeError, ValueError):
            if self.kind is float and self.is_valid(value := float(value)):
                # It is as good as refused: computations are in float32.
                return f"{self.accepted}, but in float32 it is {in_float32(value):g}"
        return self.accepted

    def _survives(self, value: float) -> bool:
        """Whether it is still in the range, and no other limit, in float32."""
        rounded = in_float32(value)
        is_other_limit = rounded != value and rounded in (0, math.inf)
        return self.is_valid(rounded) and not is_other_limit

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
        with contextlib.suppress(KeyError, ValueError):
            value = _BOOLS[text.lower()] if self.kind is bool else self.kind(text)
            if self.allows(value):
                return value
        raise ValueError(f"got {text!r}; accepted is {self.words_for(text)}")


def in_float32(value: float) -> float:
    """What a compiled program makes of a number, whose tiniest ones XLA takes for 0.

    Examples:
      >>> in_float32(1e-60), in_float32(1e39), in_float32(0.9999999999)
      (0.0, inf, 1.0)
    """
    rounded = ctypes.c_float(value).value
    return rounded if abs(rounded) >= _SMALLEST else 0.0


_SMALLEST = 2.0**-126
_BOOLS = {"true": True, "false": False}

EXAMPLES = "max_train_examples"
"""The number of examples to train on: of the data, but varied as settings are."""

# Comparisons with NaN are false: no rule accepts it.
WHOLE = Rule(int, "a whole number of at least 1", lambda x: x >= 1)
COUNT = Rule(int, "a whole number of at least 0", lambda x: x >= 0)
FROM_ZERO = Rule(float, "a number of at least 0", lambda x: 0 <= x < math.inf)
POSITIVE = Rule(float, "a number above 0", lambda x: 0 < x < math.inf)
BELOW_ONE = Rule(float, "a number of at least 0 and below 1", lambda x: 0 <= x < 1)
SHARE = Rule(float, "a number of at least 0 and at most 1", lambda x: 0 <= x <= 1)
ABOVE_ZERO = Rule(float, "a number above 0 and at most 1", lambda x: 0 < x <= 1)
BITS = Rule(int, "8, 16 or 32", lambda x: x in (8, 16, 32))
NORM = Rule(float, "a number above 0, or inf to clip nothing", lambda x: x > 0)
BOOL = Rule(bool, "true or false", lambda x: isinstance(x, bool))
_RULES = {int: WHOLE, bool: BOOL}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field of a recipe that a user may set.

    Attributes:
      default: its value in a recipe that says nothing of it.
      help: what it is, for the user.
      rule: what is accepted; None, too, where that is the default.
      needs: another setting without which it has no effect.
      unless: another setting that takes its place where it is not None.
    """

    default: Any
    help: str
    rule: Rule
    needs: str | None
    unless: str | None


def setting(
    default: Any,
    help: str,
    rule: Rule | None = None,
    needs: str | None = None,
    unless: str | None = None,
) -> Any:
    """A field of a recipe; :func:`settings_of` makes a :class:`Setting` of it.

    Without a rule its type decides: a whole number, true or false, or the words of a
    ``Literal``.
    """
    metadata = {"help": help, "rule": rule, "needs": needs, "unless": unless}
    return dataclasses.field(default=default, metadata=metadata)


def settings_of(recipe: type) -> Mapping[str, Setting]:
    """The settings among the fields of a class, by name."""
    found = {}
    for field in dataclasses.fields(recipe):
        if field.metadata:
            is_optional = field.default is None
            kind: Any = get_args(field.type)[0] if is_optional else field.type
            rule = field.metadata["rule"] or _RULES.get(kind) or _one_of(get_args(kind))
            if is_optional:
                accepted = f"{rule.accepted} or none"
                rule = dataclasses.replace(rule, accepted=accepted, optional=True)
            about: dict[str, Any] = {**field.metadata, "rule": rule}
            found[field.name] = Setting(field.default, **about)
    return found


def _one_of(words: tuple[str, ...]) -> Rule:
    return Rule(str, " or ".join(words), lambda value: value in words)


def written(value: Any) -> str:
    """A setting's value as a user writes it, each number as short as can be."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else ""
    return short if short and float(short) == value else str(value)
