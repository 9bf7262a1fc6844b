"""Thresholds of components: a number, a schedule, or ordered rules over names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cwgnc_jax._layout import Layout
from cwgnc_jax._paths import compile_rules, list_offenders

Threshold: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number, a jax scalar (which may be traced), or a schedule of the step."""

MaxNorm: TypeAlias = (
    Threshold | Mapping[str, Threshold | None] | Sequence[tuple[str, Threshold | None]]
)
"""A threshold for all components, or ordered rules from names to thresholds."""


class BlockThreshold(NamedTuple):
    """Thresholds of the components of a block.

    Attributes:
      value: the threshold, a scalar or an array of the block's shape.
      alone: which components are left alone: all, none, or an array of the block's
        shape that says it of each.
    """

    value: jax.Array
    alone: bool | np.ndarray


def check_thresholds(argument: str, max_norm: MaxNorm) -> list[tuple[Any, Any]] | Any:
    """Checks what can be known of the thresholds before there is a tree.

    Args:
      argument: name of the argument, for messages.
      max_norm: what the user gave.

    Returns:
      Compiled rules as a list, or the one threshold.
    """
    if isinstance(max_norm, Mapping | Sequence) and not isinstance(max_norm, str):
        rules = compile_rules(argument, max_norm)
        for pattern, value in rules:
            if value is not None:
                _check_number(f"{argument} of {pattern.pattern!r}", value)
        return rules
    _check_number(argument, max_norm)
    return max_norm


def block_thresholds(
    argument: str, max_norm: Any, layout: Layout, count: jax.Array, dtype: Any
) -> list[BlockThreshold]:
    """The thresholds of every block at a step.

    Args:
      argument: name of the argument, for messages.
      max_norm: what `check_thresholds` returned.
      layout: the components.
      count: the step, for schedules.
      dtype: dtype of the thresholds.

    Returns:
      Thresholds of at least 0 (or NaN), one for each block.
    """
    if not isinstance(max_norm, list):
        value = _evaluate(max_norm, count, dtype)
        return [BlockThreshold(value, False) for _ in layout.blocks]
    matched = match_rules(argument, [pattern for pattern, _ in max_norm], layout)
    values = [
        jnp.asarray(math.inf, dtype)
        if value is None
        else _evaluate(value, count, dtype)
        for _, value in max_norm
    ]
    no_limit = np.array([value is None for _, value in max_norm])
    thresholds = []
    for block, rules in zip(layout.blocks, matched, strict=True):
        if len(set(rules)) == 1:
            [rule] = set(rules)
            thresholds.append(BlockThreshold(values[rule], bool(no_limit[rule])))
            continue
        index = np.array(rules, dtype=np.int32).reshape(block.shape)
        value = jnp.stack(values)[index]
        alone = no_limit[index] if no_limit[index].any() else False
        thresholds.append(BlockThreshold(value, alone))
    return thresholds


def match_rules(
    argument: str, patterns: Sequence[re.Pattern[str]], layout: Layout
) -> list[list[int]]:
    """The number of the first rule that matches each component, block by block.

    Raises:
      ValueError: if a component is matched by no rule or, unless a mask hides
        leaves, a rule is the first match of no component.
    """
    matched = []
    missed = []
    used = set()
    for block in layout.blocks:
        rules = []
        for name in block.names():
            for rule, pattern in enumerate(patterns):
                if pattern.fullmatch(name):
                    rules.append(rule)
                    used.add(rule)
                    break
            else:
                missed.append(name)
        matched.append(rules)
    if missed:
        raise ValueError(
            f"{argument}: no rule matches the components:" + list_offenders(missed)
        )
    unused = [p.pattern for rule, p in enumerate(patterns) if rule not in used]
    if unused and layout.blocks and not layout.masked:
        raise ValueError(
            f"{argument}: no component is left for the rules (the first match wins):"
            + list_offenders(unused)
            + "\nThe components are:"
            + list_offenders(layout.names())
        )
    return matched


def _check_number(argument: str, value: Any) -> None:
    if callable(value):
        return
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        raise TypeError(
            f"{argument} must be a number, a jax scalar, a schedule or rules of "
            f"(regular expression, threshold), got {value!r}"
        )
    if jnp.ndim(value) != 0:
        raise ValueError(
            f"{argument} must be a scalar, got an array of shape {jnp.shape(value)}"
        )
    try:
        number = float(value)
    except jax.errors.ConcretizationTypeError:
        return
    if not number >= 0:
        raise ValueError(f"{argument} must be at least 0, got {number}")


def _evaluate(value: Any, count: jax.Array, dtype: Any) -> jax.Array:
    if callable(value):
        value = value(count)
    # A traced value below 0 cannot be refused; NaN passes through.
    return jnp.maximum(jnp.asarray(value, dtype), jnp.zeros((), dtype))
