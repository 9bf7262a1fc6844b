"""Stable ranges: by hand, by their properties, and by simulated studies."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwgnc_jax.stability import (
    Curve,
    compare_ranges,
    failed_intervals,
    stable_range,
    wilson_interval,
)

RATES = np.geomspace(1e-5, 1.28e-3, 8)  # an octave apart


def curve_of(means, shares, seeds=10, values=RATES):
    """Runs without noise: the first ones fail."""
    scores = np.repeat(np.asarray(means, float)[:, None], seeds, axis=1)
    counts = np.round(np.asarray(shares) * seeds)
    return Curve(values, scores, np.arange(seeds) < counts[:, None])


def test_ends_lie_between_values_where_mean_or_failures_cross():
    #                   margin is crossed at half of the step below, failures at a third
    curve = curve_of([40, 66, 70, 71, 70, 70, 30, 10], [0, 0, 0, 0, 0, 0.3, 1, 1])
    found = stable_range(curve, margin=3)
    # From 70 to 66 the mean falls to 68 = 71 - 3 in the middle; from a share of 0 to
    # one of 0.3 the tenth is a third of the step.
    assert found.low == pytest.approx(RATES[1] * 2**0.5)
    assert found.high == pytest.approx(RATES[4] * 2 ** (1 / 3))
    assert found.best == RATES[3]
    assert found.octaves == pytest.approx(np.log2(found.high / found.low))
    assert not found.open_below
    assert not found.open_above
    assert str(found).startswith("stable from 2.8e-05 to 0.0002 (2.8 octaves; 95% int")


def test_values_of_the_grid_are_themselves():
    counts = [50, 100, 250, 500, 1000]
    failed = [[True] * 4, [True] * 4, [True, False] * 2, [False] * 4, [False] * 4]
    curve = Curve(counts, [[0] * 4, [0] * 4, [1] * 4, [5] * 4, [5] * 4], failed)
    found = stable_range(curve, margin=0.5)
    ends = stable_range(Curve(counts[:4], curve.scores[:4], failed[:4]), margin=9)
    assert (found.best, found.high, ends.high) == (500, 1000, 500)


def test_a_hole_ends_the_range():
    curve = curve_of([70, 70, 70, 20, 70, 71, 70, 20], [0] * 8)
    found = stable_range(curve, margin=2)
    assert RATES[3] < found.low < RATES[4]
    assert RATES[6] < found.high < RATES[7]


def test_the_best_is_sought_where_few_runs_fail():
    curve = curve_of([70, 70, 99, 20, 20, 20, 20, 20], [0, 0, 0.5, 1, 1, 1, 1, 1])
    found = stable_range(curve, margin=2)
    assert found.best == RATES[0]
    assert found.open_below
    assert str(found).startswith("stable from at most 1e-05 to")


def test_nothing_is_stable():
    found = stable_range(curve_of([50] * 8, [0.4] * 8), margin=2)
    assert np.isnan(found.low)
    assert found.octaves == 0
    assert str(found) == "no stable value"
    assert found.span == found.span_of("examples") == "nowhere"


def test_seeds_that_were_not_run_do_not_count():
    curve = curve_of([70, 70, 60, 20, 20, 20, 20, 20], [0] * 8)
    scores = curve.scores.copy()
    scores[2, 5:], scores[3, 1:] = np.nan, np.nan
    fewer = Curve(curve.values, scores, curve.failed)
    assert fewer.runs.tolist() == [10, 10, 5, 1, 10, 10, 10, 10]
    one, two = (stable_range(each, margin=2) for each in (curve, fewer))
    assert (one.low, one.high) == (two.low, two.high)
    np.testing.assert_array_equal(fewer.failed_shares, 0)


def test_area_is_the_mean_over_the_logarithm():
    curve = curve_of([10, 20, 40], [0, 0, 0], values=[1.0, 2.0, 8.0])
    # A step of one octave at 15, one of two at 30.
    assert curve.area == pytest.approx((15 + 2 * 30) / 3)
    assert curve_of([7], [0], values=[1.0]).area == 7


def test_failures_have_wilsons_intervals():
    curve = curve_of([1, 1, 1], [0, 0.2, 1], values=[1, 2, 3])
    expected = [wilson_interval(count, 10) for count in (0, 2, 10)]
    assert failed_intervals(curve) == expected


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.5, 2), st.floats(-50, 50))
def test_units_and_scales_do_not_matter(seed, factor, shift):
    curve = noisy(np.random.default_rng(seed), high=1e-4)
    moved = Curve(3 * curve.values, factor * curve.scores + shift, curve.failed)
    one = stable_range(curve, margin=2, resamples=9)
    two = stable_range(moved, margin=2 * factor, resamples=9)
    assert two.octaves == pytest.approx(one.octaves, abs=1e-6)
    if one.octaves:
        assert two.low == pytest.approx(3 * one.low)


def test_the_order_of_methods_and_seeds_does_not_matter():
    rng = np.random.default_rng(3)
    one, two = noisy(rng, high=2e-4), noisy(rng, high=8e-5)
    forth = compare_ranges(one, two, margin=2, names=("a", "b"))
    back = compare_ranges(two, one, margin=2, names=("b", "a"))
    # Of 999 exchanges, drawn anew.
    assert forth.p_value == pytest.approx(back.p_value, abs=0.01)
    assert {str(found) for found in forth.ranges} == {
        str(found) for found in back.ranges
    }


def test_the_sentence_says_what_is_shown():
    rng = np.random.default_rng(0)
    wide, narrow = noisy(rng, high=4e-4), noisy(rng, high=6e-5)
    found = compare_ranges(wide, narrow, margin=2, names=("cwgnc", "adamw"))
    assert found.shown
    low, high = found.ranges[0].low, found.ranges[0].high
    assert str(found).startswith(
        f"cwgnc works from {low:.2g} to {high:.2g}, adamw works"
    )
    assert str(found).endswith(
        f"that the range of cwgnc is wider is shown (p = {found.p_value:.2g})"
    )
    # The narrower one may begin anywhere below, and so be the wider one.
    flat = curve_of([70, 70, 70, 20, 20, 20, 20, 20], [0] * 8)
    longer = curve_of([70, 70, 70, 70, 70, 20, 20, 20], [0] * 8)
    cut = str(compare_ranges(longer, flat, margin=2, names=("cwgnc", "adamw")))
    assert "cwgnc works from at most 1e-05 to" in cut
    assert "that the range of cwgnc is wider among the values tried is shown" in cut
    # If it is the wider one that does, it is all the wider.
    inner = curve_of([20, 70, 70, 20, 20, 20, 20, 20], [0] * 8)
    closed = str(compare_ranges(longer, inner, margin=2, names=("cwgnc", "adamw")))
    assert "that the range of cwgnc is wider is shown" in closed
    same = compare_ranges(wide, wide, margin=2)
    assert same.p_value == 1
    assert str(same).endswith("; one is as wide as the other")
    # A run less, whose partner is then left out as well: the sentence says so.
    scores = wide.scores.copy()
    scores[0, 0] = np.nan
    fewer = Curve(wide.values, scores, wide.failed)
    assert compare_ranges(fewer, fewer, margin=2).complete
    partial = compare_ranges(fewer, narrow, margin=2, names=("cwgnc", "adamw"))
    assert str(partial).startswith("by the runs that both have, cwgnc works from ")


def test_a_range_that_moves_is_not_taken_for_a_wider_one():
    rng = np.random.default_rng(0)
    higher, lower = (noisy(rng, low=low, high=4 * low) for low in (8e-5, 2e-5))
    names = ("cwgnc", "adamw")
    widths, low, high = (
        compare_ranges(higher, lower, margin=2, names=names, by=by)
        for by in ("width", "low", "high")
    )
    assert not widths.shown
    assert low.shown
    assert high.shown
    assert widths.ranges == low.ranges == high.ranges
    assert (low.favours, high.favours) == ("adamw", "cwgnc")
    for found, words in ((low, "adamw begins lower"), (high, "cwgnc ends higher")):
        p_value = f"{found.p_value:.2g}"
        assert found.verdict == f"that the range of {words} is shown (p = {p_value})"
        assert str(found).endswith(f"; {found.verdict}")
        back = compare_ranges(
            lower, higher, margin=2, names=names[::-1], by=found.by
        ).verdict
        assert back == found.verdict


def test_ends_that_are_alike_or_nowhere():
    nowhere = curve_of([70] * 8, [1] * 8)
    some = curve_of([20, 70, 70, 20, 20, 20, 20, 20], [0] * 8)
    for by, alike in (("low", "begins as low"), ("high", "ends as high")):
        for pair in ((nowhere, some), (some, nowhere)):
            found = compare_ranges(*pair, margin=2, by=by)
            assert found.p_value == 1
            assert found.verdict == "one has no range"
            assert found.favours is None
        none = compare_ranges(nowhere, nowhere, margin=2, by=by)
        assert none.verdict == "neither has a range"
        same = compare_ranges(some, some, margin=2, by=by)
        assert same.p_value == 1
        assert same.verdict == f"one {alike} as the other"
        assert same.favours is None
    # Both may go on beyond the values.
    below = curve_of([70, 70, 20, 20, 20, 20, 20, 20], [0] * 8)
    for by, tried in (("low", " among the values tried"), ("high", "")):
        found = compare_ranges(below, below, margin=2, by=by)
        assert found.verdict.endswith(f"as the other{tried}")


@pytest.mark.parametrize("by", ["width", "low", "high"])
def test_ranges_that_differ_by_rounding_are_alike(by):
    rng = np.random.default_rng(0)
    means = np.array([50, 60, 69.5, 70, 69, 62, 40, 20])
    scores = means[:, None] + rng.normal(0, 1, (8, 12))
    one, two = (
        Curve(RATES, of, np.zeros(of.shape, bool))
        for of in (scores, scores.astype(np.float32))
    )
    found = compare_ranges(one, two, margin=2, by=by)
    assert found.ranges[0].low != found.ranges[1].low
    assert found.p_value == 1
    assert found.verdict.startswith("one ")


def test_numbers_of_something_have_no_upper_end():
    counts = [50, 100, 250, 500, 1000]
    one = curve_of([40, 60, 69, 70, 70], [0] * 5, values=counts)
    two = curve_of([60, 70, 70, 70, 40], [0] * 5, values=counts)
    found = stable_range(one, margin=2)
    # 68 = 70 - 2 lies at eight ninths of the step from 60 to 69.
    assert found.low == pytest.approx(100 * 2.5 ** (8 / 9))
    assert found.span == "from 230 to at least 1000"
    assert found.span_of("examples") == "from 230 examples on"
    narrow = stable_range(two, margin=2)
    assert narrow.span_of("examples") == "from 87 to 520 examples"
    said = str(compare_ranges(one, two, margin=2, unit="examples"))
    assert said.startswith("first works from 230 examples on, second works from 87 to")


def test_ranges_that_are_known_are_not_sought_again():
    rng = np.random.default_rng(0)
    pair = noisy(rng, high=4e-4), noisy(rng, high=6e-5)
    known = tuple(stable_range(curve, margin=2, resamples=9) for curve in pair)
    again, anew = (
        compare_ranges(*pair, margin=2, ranges=some) for some in (known, None)
    )
    assert again.ranges is known
    assert again.p_value == anew.p_value
    assert [found.octaves for found in anew.ranges] == [
        found.octaves for found in known
    ]


def test_more_looks_ask_for_more():
    rng = np.random.default_rng(0)
    pair = noisy(rng, high=4e-4), noisy(rng, high=6e-5)
    once, often = (compare_ranges(*pair, margin=2, looks=n) for n in (1, 5))
    assert often.p_adjusted == pytest.approx(min(1, 5 * once.p_value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [1, 1, 2]}, "must increase from above 0"),
        ({"values": [0, 1, 2]}, "must increase from above 0"),
        ({"values": [1, 2]}, r"shape \(2 points, seeds\), got \(3, 2\)"),
        ({"failed": [[True]] * 3}, r"got \(3, 2\) and \(3, 1\)"),
        ({"scores": [[1, np.inf]] * 3}, "must be finite"),
        (
            {"scores": [[1, np.nan]] * 3, "failed": [[False, True]] * 3},
            "a failed run must have a score",
        ),
        ({"scores": [[1, 2], [np.nan] * 2, [3, 4]]}, r"no run at the values \[2.0\]"),
    ],
)
def test_curves_that_are_none(changes, message):
    sound = {"values": [1, 2, 3], "scores": [[1, 2]] * 3, "failed": [[False] * 2] * 3}
    with pytest.raises(ValueError, match=message):
        Curve(**sound | changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0}, "margin must be a number above 0"),
        ({"margin": float("nan")}, "margin must be a number above 0"),
        ({"margin": 1, "most_failed": 1.5}, "most_failed must be from 0 to 1"),
        ({"margin": 1, "most_failed": float("nan")}, "most_failed must be from 0"),
        ({"margin": 1, "resamples": 0}, "resamples must be a whole number"),
        ({"margin": 1, "seed": -1}, "seed must be a whole number"),
    ],
)
def test_numbers_out_of_range(options, message):
    curve = curve_of([1] * 8, [0] * 8)
    with pytest.raises(ValueError, match=message):
        stable_range(curve, **options)
    with pytest.raises(ValueError, match=message):
        compare_ranges(curve, curve, **options)


def test_limits_are_numbers_of_any_kind():
    curve = curve_of([1] * 8, [0] * 8)
    expected = stable_range(curve, margin=2.0)
    assert stable_range(curve, margin=jnp.float32(2)) == expected
    assert curve == curve
    assert len({curve, curve}) == 1
    for wrong in (True, "2"):
        with pytest.raises(TypeError, match="margin must be a number above 0, got"):
            stable_range(curve, margin=wrong)


def test_what_ranges_are_compared_by():
    curve = curve_of([1] * 8, [0] * 8)
    with pytest.raises(ValueError, match=r"by must be one of .*, got 'area'"):
        compare_ranges(curve, curve, margin=1, by="area")


@pytest.mark.parametrize("scale", [1.0, 0.01, 100.0])
def test_rounding_does_not_decide_what_lies_on_a_limit(scale):
    # 65.9 - 2 is above 63.9, 65 - 2 is 63.
    for best in (65.9, 65.0, 70.3):
        scores = scale * np.array([best - 2, best, best - 2, best - 1.4, best - 2])
        curve = curve_of(scores, [0.1] * 5, values=[1, 2, 4, 8, 16])
        found = stable_range(curve, margin=scale * 2)
        assert (found.low, found.high) == (1, 16)
        assert found.open_below
        assert found.open_above


def test_no_run_may_fail_or_any():
    curve = curve_of([70] * 8, [0, 0, 0.1, 0, 0, 0, 0.1, 1], seeds=10)
    none = stable_range(curve, margin=2, most_failed=0)
    assert (none.low, none.high) == (RATES[0], RATES[1])
    assert stable_range(curve, margin=np.int64(2), most_failed=1).high == RATES[-1]


def test_a_single_seed_has_no_interval():
    found = stable_range(curve_of([60, 66, 20], [0] * 3, 1, RATES[:3]), margin=6)
    assert str(found.interval) == "95% interval unknown"
    # Nor one where a value has no second one.
    scores = [[60, np.nan], [70, 71], [69.5, np.nan], [40, np.nan]]
    found = stable_range(Curve([1, 2, 4, 8], scores, [[0, 0]] * 4), margin=2)
    assert str(found.interval) == "95% interval unknown"


# Means in truth, standard deviations of scores, chances to fail.
SHAPES = {
    "plateau": ([42, 50, 50, 50, 42, 34], 3, [0] * 6),
    "peak": ([42, 46, 50, 46, 42, 34], 3, [0] * 6),
    "slope": ([46, 49, 50, 49.5, 46, 30], 3, [0] * 6),
    "noisy": ([46, 49, 50, 49.5, 46, 30], 6, [0] * 6),
    "failing": ([49, 50, 50, 50, 44, 30], 1.5, [0, 0, 0, 0.04, 0.5, 1]),
    "as on entailment": ([62.5, 64.7, 66.2, 64, 57.4, 54], 2, [0] * 6),
}


@pytest.mark.medium
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_hold_the_true_width(shape):
    means, deviation, chances = map(np.asarray, SHAPES[shape])
    values, studies, seeds = RATES[:6], 200, 25
    truth = curve_of(means, chances, seeds=100, values=values)
    octaves = stable_range(truth, margin=2).octaves
    rng, held = np.random.default_rng(0), 0
    for _ in range(studies):
        scores = means[:, None] + rng.normal(0, deviation, (6, seeds))
        failed = rng.random(scores.shape) < chances[:, None]
        found = stable_range(Curve(values, scores, failed), margin=2, resamples=399)
        held += found.interval.low <= octaves <= found.interval.high
    # The bootstrap's percentiles alone have 47% of the first.
    assert held >= 0.9 * studies


def test_values_without_partners_are_left_out():
    one = curve_of([60, 70, 70, 69, 20], [0] * 5, values=RATES[:5])
    two = curve_of([60, 70, 70, 60, 20], [0] * 5, values=RATES[:5])
    scores = two.scores.copy()
    scores[0] = np.nan
    scores[0, 0] = 60
    ours = one.scores.copy()
    ours[0, 0] = np.nan
    found = compare_ranges(
        Curve(one.values, ours, one.failed),
        Curve(two.values, scores, two.failed),
        margin=3,
    )
    rest = [Curve(c.values[1:], c.scores[1:], c.failed[1:]) for c in (one, two)]
    assert found.p_value == compare_ranges(*rest, margin=3).p_value
    assert not found.complete
    assert "by the runs that both have" in str(found)
    ours[:, 1:] = np.nan
    ours[1:, 0] = 60
    scores[1:, 0] = np.nan
    lone = Curve(one.values[1:], ours[1:], one.failed[1:])
    with pytest.raises(ValueError, match="no run of one has a partner"):
        compare_ranges(
            lone, Curve(two.values[1:], scores[1:], two.failed[1:]), margin=3
        )


def test_curves_that_cannot_be_compared():
    curve = curve_of([1] * 8, [0] * 8)
    for other in (curve_of([1] * 8, [0] * 8, seeds=9), curve_of([1], [0], values=[1])):
        with pytest.raises(ValueError, match="the same values and seeds"):
            compare_ranges(curve, other, margin=1)


def noisy(rng, high, seeds=25, low=2e-5):
    """A method that learns from one rate to another, with noise as on CoLA.

    Means fall by 8 an octave outside; failing runs are 20 lower; seeds and runs have
    standard deviations of 2 and 3.
    """
    places = np.log2(RATES)
    outside = np.maximum(0, places - np.log2(high)) + np.maximum(
        0, np.log2(low) - places
    )
    scores = 50 - 8 * outside[:, None] + rng.normal(0, 3, (len(RATES), seeds))
    scores += rng.normal(0, 2, seeds)
    chance = 1 / (1 + np.exp(-3 * (places - np.log2(high) - 1)))
    failed = rng.random(scores.shape) < chance[:, None]
    return Curve(RATES, scores - 20 * failed, failed)


def shown_share(highs, studies, seeds=25, **options):
    shown = 0
    for study in range(studies):
        rng = np.random.default_rng([study, seeds])
        pair = [noisy(rng, high, seeds) for high in highs]
        options = {"margin": 2, "resamples": 199, **options}
        shown += compare_ranges(*pair, seed=study, **options).shown
    return shown / studies


@pytest.mark.slow
@pytest.mark.parametrize("by", ["width", "low", "high"])
@pytest.mark.parametrize("seeds", [6, 25])
def test_equal_methods_are_called_different_in_one_of_twenty(seeds, by):
    """Of 500 studies 5% are 25, and 36 or more have a chance of 2%."""
    assert shown_share((8e-5, 8e-5), 500, seeds, by=by) <= 0.07


@pytest.mark.slow
def test_a_range_twice_as_wide_is_mostly_shown():
    """Two octaves against four, by 25 seeds."""
    assert shown_share((3.2e-4, 8e-5), 200) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [12, 25])
def test_a_range_an_octave_higher_is_mostly_shown(seeds):
    """From 4e-5 to 1.6e-4 beside 2e-5 to 8e-5; and one that only ends higher."""
    kinds = [("moved", by) for by in ("width", "low", "high")] + [("longer", "low")]
    shown = dict.fromkeys(kinds, 0)
    for study in range(200):
        rng = np.random.default_rng([study, 2])
        first, moved, longer = (
            noisy(rng, high, seeds, low)
            for low, high in ((2e-5, 8e-5), (4e-5, 1.6e-4), (2e-5, 1.6e-4))
        )
        for kind, by in shown:
            second = moved if kind == "moved" else longer
            found = compare_ranges(first, second, margin=2, resamples=199, by=by)
            shown[kind, by] += found.shown
    assert shown["moved", "low"] >= 160
    assert shown["moved", "high"] >= 160
    # The test is exact for methods that are alike, as these are not.
    assert shown["moved", "width"] <= 40
    assert shown["longer", "low"] <= 30


@pytest.mark.slow
def test_looking_several_times_keeps_the_rate():
    """Four looks, at 6, 12, 18 and 25 seeds, that end with the first verdict."""
    shown = 0
    for study in range(500):
        rng = np.random.default_rng([study, 1])
        pair = [noisy(rng, 8e-5) for _ in range(2)]
        for seeds in (6, 12, 18, 25):
            so_far = [
                Curve(c.values, c.scores[:, :seeds], c.failed[:, :seeds]) for c in pair
            ]
            found = compare_ranges(*so_far, margin=2, looks=4, resamples=199)
            if found.shown:
                shown += 1
                break
    assert shown / 500 <= 0.07
