"""Schedules against the formulas in exact fractions, at corners and between."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwgnc_jax.contrib._schedules import (
    bert_linear_decay_schedule,
    warmup_linear_decay_schedule,
)

BOTH = [warmup_linear_decay_schedule, bert_linear_decay_schedule]


def smooth(step: int, warmup: int, total: int) -> Fraction:
    if step < warmup:
        return Fraction(step, warmup)
    if step >= total:
        return Fraction(0)
    return Fraction(total - step, total - warmup)


def jumping(step: int, warmup: int, total: int) -> Fraction:
    if step < warmup:
        return Fraction(step, warmup)
    return max(Fraction(0), 1 - Fraction(step, total))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (1, 0.1),
        (9, 0.9),
        (10, 1.0),
        (11, 89 / 90),
        (55, 0.5),
        (99, 1 / 90),
        (100, 0.0),
        (1000, 0.0),
    ],
)
def test_smooth_corners(step, expected):
    schedule = warmup_linear_decay_schedule(1.0, 10, 100)
    # 1 - count / steps is formed in float32: an absolute error of some 2^-24.
    np.testing.assert_allclose(schedule(step), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (9, 0.9),
        (10, 0.9),
        (11, 0.89),
        (55, 0.45),
        (99, 0.01),
        (100, 0.0),
        (1000, 0.0),
    ],
)
def test_the_original_jumps_at_the_end_of_warmup(step, expected):
    schedule = bert_linear_decay_schedule(1.0, 10, 100)
    np.testing.assert_allclose(schedule(step), expected, rtol=0, atol=2e-7)


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(1, 100_000),
    warmup_share=st.fractions(0, 1),
    share=st.fractions(0, 2),
)
def test_formulas(total, warmup_share, share):
    warmup, step = int(warmup_share * total), int(share * total)
    for factory, formula in zip(BOTH, (smooth, jumping), strict=True):
        value = float(factory(2e-5, warmup, total)(step))
        expected = 2e-5 * float(formula(step, warmup, total))
        # Absolute, relative to the peak: see test_smooth_corners.
        assert abs(value - expected) <= 2e-5 * 3e-7


@pytest.mark.parametrize("factory", BOTH)
def test_no_warmup_starts_at_the_peak(factory):
    schedule = factory(0.5, 0, 4)
    values = [float(schedule(step)) for step in range(6)]
    assert values == [0.5, 0.375, 0.25, 0.125, 0.0, 0.0]


@pytest.mark.parametrize("factory", BOTH)
def test_warmup_to_the_very_end_ends_at_zero(factory):
    schedule = factory(1.0, 4, 4)
    assert [float(schedule(step)) for step in range(6)] == [0, 0.25, 0.5, 0.75, 0, 0]


@pytest.mark.parametrize("factory", BOTH)
def test_one_step_in_all(factory):
    assert float(factory(1.0, 0, 1)(0)) == 1.0
    assert float(factory(1.0, 0, 1)(1)) == 0.0


@pytest.mark.parametrize("factory", BOTH)
def test_same_under_jit_vmap_and_in_an_optimizer(factory):
    schedule = factory(1.0, 3, 10)
    one_by_one = np.array([schedule(step) for step in range(12)])
    steps = jnp.arange(12)
    for values in (jax.jit(schedule)(steps), jax.vmap(schedule)(steps)):
        # jit may turn the division by a constant into a product: one rounding.
        np.testing.assert_allclose(values, one_by_one, rtol=0, atol=2e-7)

    tx = optax.scale_by_learning_rate(schedule)
    state = tx.init({"w": jnp.ones(())})
    seen = []
    for _ in range(12):
        updates, state = tx.update({"w": jnp.ones(())}, state)
        seen.append(-float(updates["w"]))
    np.testing.assert_allclose(seen, one_by_one, rtol=0, atol=2e-7)


@pytest.mark.parametrize("factory", BOTH)
@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (3, 10), (10, 10), (0, 1)])
def test_numbers_may_be_traced(factory, warmup, total):
    @jax.jit
    def traced(peak, warmup, total):
        return factory(peak, warmup, total)(jnp.arange(12))

    schedule = factory(0.5, warmup, total)
    # One rounding, where a division by a constant may be a product.
    np.testing.assert_allclose(
        traced(0.5, warmup, total), schedule(jnp.arange(12)), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("factory", BOTH)
@pytest.mark.parametrize(
    ("warmup", "total", "message"),
    [
        (0, 0, "total_steps must be at least 1, got 0"),
        (-1, 5, r"warmup_steps must lie between 0 and total_steps \(5\), got -1"),
        (6, 5, r"warmup_steps must lie between 0 and total_steps \(5\), got 6"),
        (0.1, 5, "warmup_steps must be a whole number of steps, not a share, got 0.1"),
        (0, 5.5, "total_steps must be a whole number of steps, not a share, got 5.5"),
        (float("nan"), 5, "warmup_steps must be a whole number of steps"),
    ],
)
def test_impossible_steps_are_refused(factory, warmup, total, message):
    with pytest.raises(ValueError, match=message):
        factory(1.0, warmup, total)


@pytest.mark.parametrize("factory", BOTH)
def test_what_are_no_steps(factory):
    with pytest.raises(TypeError, match=r"warmup_steps must be .* got '1'"):
        factory(1.0, "1", 5)
    # A whole number that a division made into a float is one still.
    assert factory(1.0, 2.0, 4.0)(1) == factory(1.0, 2, 4)(1)
