"""Numbers that users give: checked where they are known, let through where traced."""

import contextlib
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp


def known_number(
    argument: str, value: Any, accepted: str = "a number or a jax scalar"
) -> float | None:
    """The number that a scalar holds, or None if it is traced.

    Args:
      argument: name of the argument, for messages.
      value: what the user gave.
      accepted: what is accepted, for messages.

    Returns:
      The number, or None inside ``jit``, ``vmap`` and ``optax.inject_hyperparams``,
      where it cannot be known.

    Raises:
      TypeError: if it is not a number.
      ValueError: if it is an array with axes.
    """
    # A class has its instances' methods: the class float has a __float__.
    number: Any = None if isinstance(value, str | bool | type) else value
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if kind in "bc":  # Arrays of truths and of complex numbers have one, too.
        number = None
    if not hasattr(number, "__float__"):
        raise TypeError(f"{argument} must be {accepted}, got {value!r}")
    if jnp.ndim(number) != 0:
        raise ValueError(
            f"{argument} must be a scalar, got an array of shape {jnp.shape(number)}"
        )
    try:
        return float(number)
    except jax.errors.ConcretizationTypeError:
        return None


def check_number(
    argument: str,
    value: Any,
    largest: float = math.inf,
    accepted: str = "a number or a jax scalar",
) -> None:
    """Raises an error unless a value is a scalar from 0 to ``largest``, or traced."""
    number = known_number(argument, value, accepted)
    # Written so that NaN, which compares with nothing, is refused.
    if number is not None and not 0 <= number <= largest:
        bounds = "at least 0" if largest == math.inf else f"from 0 to {largest:g}"
        raise ValueError(f"{argument} must be {bounds}, got {number:g}")


def as_index(argument: str, value: Any, accepted: str = "an int") -> int:
    """An int, or a TypeError that names the argument; True and False are none."""
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            return operator.index(value)
    raise TypeError(f"{argument} must be {accepted}, got {value!r}")
