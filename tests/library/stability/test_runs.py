"""Summaries of runs against hand-computed and published values, and by simulation."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cwgnc_jax.stability._runs import (
    RELEASED_FAILED_AT,
    has_failed,
    std_interval,
    summarize_runs,
    wilson_interval,
)

SCORES = [52.7, 70.0, 71.0, 69.0, 70.3, 52.7]


def test_summary_by_hand():
    summary = summarize_runs([2, 4, 4, 4, 5, 5, 7, 9])
    # The textbook's example: mean 5, squared deviations sum to 32.
    assert (summary.runs, summary.mean, summary.std) == (8, 5.0, 2.0)
    assert (summary.max, summary.min) == (9.0, 2.0)
    assert summary.failed is None
    assert summary.failed_released is None
    sample = summarize_runs([2, 4, 4, 4, 5, 5, 7, 9], ddof=1)
    assert sample.std == pytest.approx(math.sqrt(32 / 7), rel=1e-15)


def test_failed_runs_by_both_rules():
    # On MRPC a collapsed run has the majority's F1, above the released threshold.
    scores = [81.2, 81.2, 89.0, 74.0, 90.1]
    summary = summarize_runs(
        scores, majority=81.2, failed_at=RELEASED_FAILED_AT["mrpc"]
    )
    assert summary.failed is not None
    assert summary.failed_released is not None
    assert (summary.failed.count, summary.failed.runs) == (3, 5)
    assert (summary.failed_released.count, summary.failed_released.runs) == (1, 5)
    assert summary.failed.limit == 81.2
    assert summary.failed_released.limit == 75.0


def test_a_score_equal_to_the_majority_fails_however_rounded():
    majority = 100 * 146 / 277
    scores = [float(np.float32(majority)), majority, 100 * 147 / 277]
    failed = summarize_runs(scores, majority=majority).failed
    assert failed is not None
    assert failed.count == 2


@pytest.mark.parametrize(
    ("score", "limit", "expected"),
    [
        (52.0, 52.7, True),
        (52.7, 52.7, True),
        (float(np.float32(52.7)), 52.7, True),
        (52.8, 52.7, False),
        (0.0, 0.0, True),
        (1e-9, 0.0, False),
        # It is no better than a constant answer.
        (float("nan"), 52.7, True),
    ],
)
def test_has_failed(score, limit, expected):
    assert has_failed(score, limit) is expected


def test_cola_fails_at_zero_and_below():
    failed = summarize_runs([0.0, -2.1, 0.1, 60.0], majority=0.0).failed
    assert failed is not None
    assert failed.count == 2


def test_text_names_what_was_measured():
    text = str(summarize_runs(SCORES, majority=52.7, failed_at=53.0))
    assert text.startswith("6 runs; std 8.")
    assert "majority rule: 2 of 6 failed (scores <= 52.7; 95% interval" in text
    assert "released rule: 2 of 6 failed (scores <= 53;" in text
    assert str(summarize_runs([50.0])).startswith(
        "1 run; std 0 (95% interval unknown); mean 50"
    )
    assert str(wilson_interval(0, 25, level=0.999)).startswith("99.9% interval 0 to")
    text = str(summarize_runs(SCORES, majority=52.7, level=0.995))
    assert text.count("99.5% interval") == 2


def test_same_seed_same_result_and_results_are_frozen():
    scores = np.random.default_rng(0).normal(size=12)
    summary = summarize_runs(scores, seed=3)
    assert summary == summarize_runs(scores, seed=3)
    assert summary.std_interval != summarize_runs(scores, seed=4).std_interval
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.std = 0.0  # pyright: ignore


# Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
@pytest.mark.parametrize(
    ("count", "runs", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published_values(count, runs, low, high):
    interval = wilson_interval(count, runs)
    # Published to four decimals.
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(runs=st.integers(1, 500), share=st.fractions(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_inverts_the_score_test(runs, share, level):
    count = int(share * runs)
    interval = wilson_interval(count, runs, level=level)
    z = stats.norm.ppf((1 + level) / 2)
    assert 0 <= interval.low <= count / runs <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            # At an end the score statistic is just z: the definition. Rounding is
            # relative to the terms of the difference.
            gap, width = runs * end - count, z * math.sqrt(runs * end * (1 - end))
            assert abs(gap) == pytest.approx(width, rel=1e-6, abs=1e-9 * runs)


# True deviations: e^1/2 (e - 1)^1/2 of the exponential of standard normal numbers.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "true", "documented"),
    [
        ("standard_normal", 1.0, {6: 0.98, 10: 0.94, 25: 0.93, 50: 0.93}),
        ("exponential", 1.0, {6: 0.92, 10: 0.84, 25: 0.89, 50: 0.90}),
        (
            "lognormal",
            math.sqrt(math.e * (math.e - 1)),
            {6: 0.85, 10: 0.79, 25: 0.80, 50: 0.82},
        ),
    ],
)
def test_std_interval_covers_skewed_scores_as_documented(kind, true, documented):
    rng = np.random.default_rng(10)
    for runs, expected in documented.items():
        hits = 0
        for study in range(400):
            scores = getattr(rng, kind)(size=runs)
            interval = std_interval(scores, resamples=499, seed=study)
            hits += interval.low <= true <= interval.high
        # Four binomial standard errors of 400 studies, and as many of the 1,000 ones.
        error = math.sqrt(expected * (1 - expected))
        assert abs(hits / 400 - expected) < 4 * error / 20 + 4 * error / math.sqrt(1000)


@pytest.mark.parametrize("runs", [10, 25])
def test_std_interval_covers_as_often_as_it_says(runs):
    rng = np.random.default_rng(7)
    studies, true, hits = 400, 2.0, 0
    for study in range(studies):
        interval = std_interval(rng.normal(70.0, true, runs), resamples=999, seed=study)
        hits += interval.low <= true <= interval.high
    # Four binomial standard errors of 0.95 at 400 studies are 0.044.
    assert abs(hits / studies - 0.95) < 0.044


def test_std_interval_of_runs_that_sometimes_fail():
    rng = np.random.default_rng(8)
    # One run in four collapses from 70 to 52: the spread is far from normal.
    true = math.sqrt(1.5**2 + 18.0**2 * 0.25 * 0.75)
    hits = 0
    for study in range(400):
        failed = rng.random(25) < 0.25
        scores = np.where(failed, 52.0, rng.normal(70.0, 1.5, 25))
        interval = std_interval(scores, resamples=999, seed=study)
        hits += interval.low <= true <= interval.high
    # The interval is only approximate here: better than 0.85 in any case.
    assert hits / 400 > 0.85


def test_std_interval_reckons_without_rare_failures_as_documented():
    rng = np.random.default_rng(9)
    chance = 0.04
    true = math.sqrt((1 - chance) * 1.5**2 + 18.0**2 * chance * (1 - chance))
    studies, hits, unseen, unseen_hits = 400, 0, 0, 0
    for study in range(studies):
        failed = rng.random(25) < chance
        scores = np.where(failed, 52.0, rng.normal(70.0, 1.5, 25))
        interval = std_interval(scores, resamples=999, seed=study)
        hit = interval.low <= true <= interval.high
        hits += hit
        unseen += not failed.any()
        unseen_hits += hit and not failed.any()
    # Documented as 61%; four binomial standard errors at 400 studies are 9.8%.
    assert abs(hits / studies - 0.61) < 0.098
    # Without a failure among 25 runs (36% of studies) hardly any interval holds it.
    assert unseen > 100
    assert unseen_hits / unseen < 0.1


@settings(deadline=None, max_examples=30)
@given(
    scores=st.lists(st.floats(-100, 100), min_size=5, max_size=25, unique=True),
    factor=st.sampled_from([1e-6, 0.25, 3.0, 1e8]),
    shift=st.sampled_from([0.0, 50.0]),
)
def test_std_interval_scales_with_the_scores_and_ignores_shifts(scores, factor, shift):
    values = np.array(scores)
    # Scores closer together than rounding after the shift are no longer the same.
    if np.ptp(values) < 1e-3:
        return
    plain = std_interval(values, resamples=199)
    scaled = std_interval(factor * (values + shift), resamples=199)
    for one, other in ((plain.low, scaled.low), (plain.high, scaled.high)):
        # Shifts cost digits, and pivots of nearly two-valued resamples amplify it.
        if math.isfinite(one) and 1e-3 < one < 1e3:
            assert other == pytest.approx(factor * one, rel=1e-3)


@pytest.mark.parametrize(
    "scores", [[1.0], [1.0, 2.0, 3.0], [70.1] * 9, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]
)
def test_std_interval_is_unknown_where_resampling_cannot_tell(scores):
    interval = std_interval(scores)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert str(interval) == "95% interval unknown"


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0, 0.0, 5.0], [1.0, 2.0, 2.0, 9.0]])
def test_std_interval_of_few_values_warns_of_nothing_and_holds_the_spread(scores):
    interval = std_interval(scores)
    assert 0 <= interval.low <= np.std(scores) <= interval.high


def test_wider_level_wider_interval():
    narrow, wide = (std_interval(SCORES, level=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: summarize_runs([]), "scores must be a vector of at least 1 number"),
        (lambda: summarize_runs([1.0], ddof=1), "vector of at least 2 numbers"),
        (lambda: summarize_runs([[1.0, 2.0]]), r"got shape \(1, 2\)"),
        (
            lambda: summarize_runs([1.0, math.nan, math.inf]),
            r"finite, got \[nan, inf\] at the indices \[1, 2\]; give a run that div",
        ),
        (lambda: summarize_runs([1.0, 2.0], level=95), "level must lie strictly"),
        (lambda: std_interval([1.0, 2.0], level=0.0), "level must lie strictly"),
        (
            lambda: std_interval([1.0, 2.0], resamples=0),
            "resamples must be a whole number of at least 1, got 0",
        ),
        (lambda: std_interval([1.0], seed=0.5), "seed must be a whole number"),  # pyright: ignore
        (lambda: wilson_interval(2.5, 5), "count must be a whole number"),  # pyright: ignore
        (lambda: wilson_interval(-1, 5), "count must be a whole number of at least 0"),
        (lambda: summarize_runs([1.0], ddof=-1), "ddof must be a whole number of at"),
        (lambda: summarize_runs([1.0], majority=math.nan), "majority must be a score"),
        (
            lambda: summarize_runs([1.0], failed_at=math.nan),
            "failed_at must be a score",
        ),
        (lambda: has_failed(50.0, math.nan), "limit must be a score, got nan"),
        (lambda: wilson_interval(3, 2), "got count 3 of 2 runs"),
        (lambda: wilson_interval(0, 0), "got count 0 of 0 runs"),
        (lambda: wilson_interval(1, 2, level=1.0), "level must lie strictly"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: summarize_runs(["a", "b"]),
            r"scores must be a vector of numbers, got",
        ),
        (lambda: summarize_runs([1.0], majority="52.7"), "majority must be a score"),
        (lambda: summarize_runs([1.0], level=None), "level must be a number from 0"),
        (lambda: wilson_interval("1", 5), "count must be a whole number, got '1'"),
        (lambda: std_interval([1.0], seed="x"), "seed must be a whole number, got 'x'"),
    ],
)
def test_what_is_no_number(call, message):
    with pytest.raises(TypeError, match=message):
        call()
