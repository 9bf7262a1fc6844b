"""Thresholds of components: a number, a schedule, or ordered rules over names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cwgnc_jax._numbers import check_number
from cwgnc_jax.components._layout import Layout
from cwgnc_jax.components._paths import compile_rules, list_offenders

Threshold: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number, a jax scalar (which may be traced), or a schedule of the step."""

MaxNorm: TypeAlias = (
    Threshold | Mapping[str, Threshold | None] | Sequence[tuple[str, Threshold | None]]
)
"""A threshold for all components, or ordered rules from names to thresholds."""


class BlockThreshold(NamedTuple):
    """Thresholds of the components of a block.

    Attributes:
      value: the threshold, a scalar or an array of the block's shape; finite, so that
        derivatives are.
      square: its square and a little more, so that rounding never clips what has just
        this norm, nor takes the quotient above 1; positive, and finite unless the
        threshold is infinite.
      below: the scale of a component whose square is at most that: 1, or 0 where the
        threshold is 0, which stops even what is too small to have a square.
      alone: which components are left alone: all, none, or an array of the block's
        shape that says it of each.
    """

    value: jax.Array
    square: jax.Array
    below: jax.Array
    alone: bool | np.ndarray = False

    @classmethod
    def of(cls, value: jax.Array, alone: bool | np.ndarray = False) -> Self:
        """Completes a threshold of at least 0 (or NaN)."""
        info = jnp.finfo(value.dtype)
        margin, smallest, largest = (
            jnp.asarray(x, value.dtype) for x in (1 + 6 * info.eps, info.tiny, info.max)
        )
        finite = jnp.minimum(value, largest)
        square = jnp.clip(jnp.square(finite) * margin, smallest, largest)
        square = jnp.where(jnp.isinf(value), value, square)
        # No scale moves with it: it only says which are clipped.
        square = jax.lax.stop_gradient(square)
        return cls(finite, square, jnp.sign(value), alone)


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
                _check_threshold(f"{argument} of {pattern.pattern!r}", value)
        return rules
    _check_threshold(argument, max_norm)
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
        value = _evaluate(argument, max_norm, count, dtype)
        return [BlockThreshold.of(value)] * len(layout.blocks)
    matched = match_rules(argument, [pattern for pattern, _ in max_norm], layout)
    limits = [
        BlockThreshold.of(jnp.asarray(math.inf, dtype), True)
        if value is None
        else BlockThreshold.of(
            _evaluate(f"{argument} of {pattern.pattern!r}", value, count, dtype)
        )
        for pattern, value in max_norm
    ]
    thresholds = []
    for block, rules in zip(layout.blocks, matched, strict=True):
        if len(set(rules)) == 1:
            thresholds.append(limits[rules[0]])
            continue
        index = np.array(rules, dtype=np.int32).reshape(block.shape)
        values, squares, below, alone = zip(*limits, strict=True)
        thresholds.append(
            BlockThreshold(
                jnp.stack(values)[index],
                jnp.stack(squares)[index],
                jnp.stack(below)[index],
                np.array(alone)[index],
            )
        )
    return thresholds


def stack_thresholds(
    thresholds: Sequence[BlockThreshold], layout: Layout
) -> BlockThreshold:
    """The thresholds of all components, in the order of their names."""
    if all(limit is thresholds[0] for limit in thresholds):
        return thresholds[0] if thresholds else BlockThreshold.of(jnp.zeros(()))
    sizes = [block.size for block in layout.blocks]

    def stack(values: Sequence[Any], library: Any) -> Any:
        return library.concatenate(
            [
                library.broadcast_to(library.ravel(value), size)
                for value, size in zip(values, sizes, strict=True)
            ]
        )

    return BlockThreshold(
        stack([limit.value for limit in thresholds], jnp),
        stack([limit.square for limit in thresholds], jnp),
        stack([limit.below for limit in thresholds], jnp),
        stack([limit.alone for limit in thresholds], np),
    )


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


def _check_threshold(argument: str, value: Any) -> None:
    if callable(value):
        return
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        raise TypeError(
            f"{argument} must be a number, a jax scalar, a schedule or rules of "
            f"(regular expression, threshold), got {value!r}"
        )
    check_number(argument, value)


def _evaluate(argument: str, value: Any, count: jax.Array, dtype: Any) -> jax.Array:
    if callable(value):
        value = value(count)
        if jnp.ndim(value) != 0:
            raise ValueError(
                f"{argument} must return a scalar, got an array of shape "
                f"{jnp.shape(value)}"
            )
    # A traced value below 0 cannot be refused; NaN passes through.
    return jnp.maximum(jnp.asarray(value, dtype), jnp.zeros((), dtype))
