"""Thresholds of components: a number, a schedule, or ordered rules over names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cwgnc_jax._numbers import check_number, known_number
from cwgnc_jax.components._layout import Layout
from cwgnc_jax.components._norms import widest_dtype
from cwgnc_jax.components._paths import (
    compile_rules,
    list_offenders,
    match_rules,
    may_match,
)

Threshold: TypeAlias = jax.typing.ArrayLike | optax.Schedule
"""A number, a jax scalar (which may be traced), or a schedule of the step."""

MaxNorm: TypeAlias = (
    Threshold | Mapping[str, Threshold | None] | Sequence[tuple[str, Threshold | None]]
)
"""A threshold for all components, or ordered rules from names to thresholds."""


class Limit(NamedTuple):
    """Thresholds of the components of a block, ready to be compared with squares.

    Attributes:
      value: the threshold, a scalar or an array of the block's shape; finite, so that
        derivatives are.
      square: its square and a little more; positive, and infinite where it overflows:
        such a threshold is as good as infinite.
      inside: the scale of a component whose square is at most that: 1, but less where
        the threshold is too small to have a square.
      fixed: which components have the scale ``inside`` whatever their norms: none, an
        array of the block's shape, or True if the block is not even to be looked at.
    """

    value: jax.Array
    square: jax.Array
    inside: jax.Array
    fixed: bool | np.ndarray | jax.Array = False

    @classmethod
    def of(cls, value: jax.Array, fixed: bool = False) -> Self:
        """Completes a threshold of at least 0 (or NaN)."""
        info = jnp.finfo(value.dtype)
        # The square is off by half a unit in the last place, the sum of squares by some
        # more, and value / sqrt(square) by one: with a margin of 6 units neither is a
        # component clipped that has just this norm, nor is a scale above 1.
        margin, smallest, root, largest = (
            jnp.asarray(x, value.dtype)
            # A power of 2, whose root is exact.
            for x in (1 + 6 * info.eps, info.tiny, math.sqrt(info.tiny), info.max)
        )
        # The slope of 1 / sqrt(inf) is 0, and that of inf / sqrt(x) is not: their
        # product would be NaN in derivatives of what is never clipped.
        finite = jnp.minimum(value, largest)
        # The square of 1e20 is infinite in float32: norms so large cannot be told
        # apart, and none is clipped. That of 1e-20 is 0, and so is that of a norm of
        # 1e-20: what is too small to be measured is taken for the smallest norm that
        # can be, which stops it at a threshold of 0. Nor can 0 / 0 be.
        square = jnp.maximum(jnp.square(finite) * margin, smallest)
        # No scale moves with it: it only says which are clipped.
        square = jax.lax.stop_gradient(square)
        inside = jnp.minimum(value / root, jnp.ones_like(value))
        return cls(finite, square, inside, fixed)


class Rule(NamedTuple):
    """A threshold, and the names of the components that it is for.

    Attributes:
      pattern: expression for their whole names; None for all components.
      threshold: None to leave them alone.
    """

    pattern: re.Pattern[str] | None
    threshold: Threshold | None

    @property
    def argument(self) -> str:
        """What the threshold is called in messages."""
        return "max_norm" + (f" of {self.pattern.pattern!r}" if self.pattern else "")


def read_max_norm(max_norm: MaxNorm) -> list[Rule]:
    """Checks what can be known of the thresholds before there is a tree."""
    if isinstance(max_norm, Mapping | Sequence) and not isinstance(max_norm, str):
        rules = [Rule(*pair) for pair in compile_rules("max_norm", max_norm)]
    else:
        threshold: Any = max_norm  # A str, too: it is refused below.
        rules = [Rule(None, threshold)]
    for rule in rules:
        alone = rule.pattern is not None and rule.threshold is None
        # A class, such as float, can be called with a step, and is no schedule.
        schedule = callable(rule.threshold) and not isinstance(rule.threshold, type)
        if not (alone or schedule):
            check_number(
                rule.argument,
                rule.threshold,
                accepted="a number, a jax scalar, a schedule or rules of "
                "(regular expression, threshold)",
            )
    return rules


def match_thresholds(rules: Sequence[Rule], layout: Layout) -> list[list[int]]:
    """The number of the rule of each component, block by block.

    Raises:
      ValueError: if a component is matched by no rule, or a rule is the first match of
        no component and for none that a mask hides.
    """
    patterns = [rule.pattern for rule in rules if rule.pattern is not None]
    if not patterns:  # One threshold for all, whatever they are called.
        return [[0]] * len(layout.blocks)
    numbered = iter(
        match_rules(
            "max_norm",
            patterns,
            layout.names(),
            hidden=layout.hidden(),
            kinds=("component", "components"),
        )
    )
    return [[next(numbered) for _ in range(block.size)] for block in layout.blocks]


def check_rules(rules: Sequence[Rule], layout: Layout, whole: Layout) -> None:
    """Refuses rules for no component, where what masks hide is known.

    Args:
      rules: what :func:`read_max_norm` returned.
      layout: the components that the clipping sees.
      whole: those of all parameters, of which a split may hide some all the same.

    Raises:
      ValueError: if a rule matches no component of either.
    """
    names = dict.fromkeys((*layout.names(), *whole.names()))
    patterns = [rule.pattern for rule in rules if rule.pattern is not None]
    unused = [
        pattern.pattern
        for pattern in patterns
        if not any(map(pattern.fullmatch, names))
        and not may_match(pattern, whole.hidden())
    ]
    if unused:
        raise ValueError(
            "max_norm: no component, nor one that a mask hides, is left for the rules:"
            + list_offenders(unused)
            + "\nThe components are:"
            + list_offenders(names)
        )


def limits_at(
    rules: Sequence[Rule], layout: Layout, count: jax.Array, dtypes: Sequence[Any]
) -> tuple[list[Limit], Limit]:
    """The thresholds at a step, of every block and of all components together.

    Args:
      rules: what :func:`read_max_norm` returned.
      layout: the components.
      count: the step, for schedules.
      dtypes: dtype of each block's squares, and so of its thresholds: what is too
        small or too large to have a square depends on it.

    Returns:
      Limits of at least 0 (or NaN), one for each block, and those of all components,
      in the order of their names.
    """
    numbers = match_thresholds(rules, layout)
    values, fixed = zip(*(_evaluate(rule, count) for rule in rules), strict=True)
    widths = list(dict.fromkeys(dtypes))
    if len(rules) == 1 or not widths:
        # A scalar, which is the same in all kernels.
        only = {
            dtype: Limit.of(at_least_zero(values[0], dtype), fixed[0])
            for dtype in widths
        }
        limits = [only[dtype] for dtype in dtypes]
        return limits, stack_limits(limits, layout)
    # A table of all rules in each dtype, from which all components take their rows at
    # once.
    tables = [Limit.of(_at_least_zeros(values, dtype)) for dtype in widths]
    widest = widest_dtype(widths)
    table = jnp.concatenate(
        [
            jnp.stack([column.astype(widest) for column in limit[:3]], axis=1)
            for limit in tables
        ]
    )
    is_fixed = np.tile(fixed, len(widths))
    first = {dtype: i * len(rules) for i, dtype in enumerate(widths)}
    rows = [
        np.add(np.asarray(own, np.int64), first[dtype]).reshape(block.shape)
        for own, dtype, block in zip(numbers, dtypes, layout.blocks, strict=True)
    ]

    def of_rows(own: np.ndarray) -> Limit:
        return Limit(*jnp.moveaxis(table[own], -1, 0), fixed=is_fixed[own])

    # Behind a barrier, through which the compiler does not look: a leaf's kernel is
    # called with its row instead of containing it, and compiled once for all rules.
    of_rule = [
        Limit(*row, fixed=alone)
        for row, alone in zip(
            jax.lax.optimization_barrier(list(table)), is_fixed.tolist(), strict=True
        )
    ]
    limits = [
        of_rule[own.flat[0]] if len(set(own.flat)) == 1 else of_rows(own)
        for own in rows
    ]
    return limits, of_rows(np.concatenate([own.ravel() for own in rows]))


def at_least_zero(value: jax.typing.ArrayLike, dtype: Any) -> jax.Array:
    """Numbers as an array; below 0, where only a traced one can be, it acts as 0."""
    if isinstance(value, int | float | np.ndarray):
        # Which casting makes of it, too, but with a warning.
        value = np.where(value > float(jnp.finfo(dtype).max), math.inf, value)
    return jnp.maximum(jnp.asarray(value, dtype), jnp.zeros((), dtype))


def stack_limits(limits: Sequence[Limit], layout: Layout) -> Limit:
    """The limits of all components, in the order of their names."""
    if not limits:
        return Limit.of(jnp.zeros(()))
    first = limits[0]
    # The very same objects, which is what one threshold, or one rule, gave each block.
    # One scalar for all components stays one, rather than a vector to be read.
    if first.value.ndim == 0 and all(limit is first for limit in limits):
        return first
    sizes = [block.size for block in layout.blocks]
    widest = widest_dtype(limit.value.dtype for limit in limits)

    def stack(values: Sequence[Any], library: Any) -> Any:
        return library.concatenate(
            [
                library.broadcast_to(library.ravel(value), (size,))
                for value, size in zip(values, sizes, strict=True)
            ]
        )

    *numbers, fixed = zip(*limits, strict=True)
    values, squares, inside = (
        [number.astype(widest) for number in of_blocks] for of_blocks in numbers
    )
    # What is fixed is known while tracing: numpy's, and so no operation.
    return Limit(
        stack(values, jnp), stack(squares, jnp), stack(inside, jnp), stack(fixed, np)
    )


def _evaluate(rule: Rule, count: jax.Array) -> tuple[Any, bool]:
    """The threshold of a rule at a step, and whether it lets everything pass."""
    value = rule.threshold
    if value is None:
        return math.inf, True
    scheduled = callable(value)
    if scheduled:
        value = value(count)
    name = f"what {rule.argument} returns" if scheduled else rule.argument
    number = known_number(name, value)
    # NaN passes through: it shows.
    return value if number is None else number, number == math.inf and not scheduled


def _at_least_zeros(values: Sequence[Any], dtype: Any) -> jax.Array:
    """Several numbers in one array, likewise."""
    if all(isinstance(value, float) for value in values):
        return at_least_zero(np.array(values), dtype)
    return jnp.stack([at_least_zero(value, dtype) for value in values])
