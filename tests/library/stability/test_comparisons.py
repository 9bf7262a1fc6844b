"""Comparisons of methods against exhaustive and SciPy's tests, and by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cwgnc_jax.stability._comparisons import (
    compare_scores,
    compare_spread,
    correct_comparisons,
    fewest_seeds,
)
from cwgnc_jax.stability._significance import (
    holm,
    seeds_of_t_test,
    seeds_with_power,
    simulated_power,
)

STEADY = [70.0, 71.8, 69.3, 72.2, 71.1, 70.4, 72.6, 68.9]
SHAKY = [61.0, 70.4, 52.7, 71.1, 69.7, 60.8, 73.0, 52.7]
NAMES = ("cwgnc", "adamw")


def all_exchanges_p_value(differences):
    """Two-sided p-value of the mean, from all signs: twice the smaller tail."""
    seen = np.mean(differences)
    means = [
        np.mean(np.array(signs) * differences)
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    # Equal means are equal, however they were summed.
    slack = 1e-12 * np.max(np.abs(differences))
    above = np.mean([mean >= seen - slack for mean in means])
    below = np.mean([mean <= seen + slack for mean in means])
    return min(1.0, 2 * min(above, below))


def test_paired_scores_against_all_exchanges():
    result = compare_scores(STEADY, SHAKY, names=NAMES)
    expected = all_exchanges_p_value(np.subtract(STEADY, SHAKY))
    assert result.p_value == pytest.approx(expected, rel=1e-12)
    assert result.values == (np.mean(STEADY), np.mean(SHAKY))
    assert result.runs == (8, 8)
    assert result.favours == "cwgnc"
    assert result.shown


def test_paired_spread_against_all_exchanges():
    result = compare_spread(STEADY, SHAKY, names=NAMES)
    # Medians by hand: (70.4 + 71.1) / 2 and (61.0 + 69.7) / 2.
    far_steady = np.abs(np.array(STEADY) - 70.75)
    far_shaky = np.abs(np.array(SHAKY) - 65.35)
    exchanges = all_exchanges_p_value(far_shaky - far_steady)
    expected = max(exchanges, stats.ttest_rel(far_shaky, far_steady).pvalue)
    assert result.p_value == pytest.approx(expected, rel=1e-12)
    assert result.values == (np.std(STEADY), np.std(SHAKY))
    assert result.favours == "cwgnc"
    assert result.shown


@pytest.mark.parametrize("compare", [compare_scores, compare_spread])
def test_what_differs_by_rounding_is_equal(compare):
    scores = np.array([146, 150, 139, 152, 147, 160, 144, 149]) / 277 * 100
    in_float32 = scores.astype(np.float32)
    assert np.any(in_float32 != scores)
    result = compare(in_float32, scores)
    assert result.p_value == 1
    assert not result.shown
    # As others differ, these decide.
    other = scores + np.where(np.arange(8) == 0, 1.0, 0.0)
    assert compare_scores(in_float32, other).p_value == 1


def test_what_lies_densely_is_not_all_equal():
    scores = np.linspace(1000, 1000.01, 12)  # Neighbours are closer than rounding.
    result = compare_scores(scores + 0.002, scores)
    assert result.values == pytest.approx((1000.007, 1000.005), rel=1e-6)
    assert result.p_value < 0.01
    spread = compare_spread(0.5 + 4e-7 * np.arange(8), 0.5 + 1e-3 * np.arange(8))
    assert spread.values[0] == pytest.approx(9.2e-7, rel=0.2)


def test_rounding_is_no_noise_whatever_the_test():
    score = 146 / 277 * 100
    for test in ("welch", "mann-whitney"):
        result = compare_scores([np.float32(score)] * 5, [score] * 5, test=test)
        assert result.p_value == 1
        assert not result.shown
    result = compare_scores([0.3, 0.1 + 0.2, 0.3], [0.5] * 3, test="welch")
    assert result.p_value == 1
    assert not result.shown
    # A score that differs by more is another.
    result = compare_scores([1.0, 2.0], [1.0 + 5e-6, 2.0], test="mann-whitney")
    assert result.favours == "second"


def test_nothing_is_shown_by_squares_that_overflow():
    with np.errstate(all="ignore"):
        result = compare_spread(
            [70, 71, 72, 1e160], [70, 71, 70, 69.0], test="brown-forsythe"
        )
    assert np.isnan(result.p_value)
    assert not result.shown


def test_unpaired_tests_are_scipys():
    # Without ties, where SciPy's ranks are exact.
    others = np.array(SHAKY[:6]) + 0.05
    welch = compare_scores(STEADY, others, test="welch")
    expected = stats.ttest_ind(STEADY, others, equal_var=False).pvalue
    assert welch.p_value == pytest.approx(expected, rel=1e-12)

    ranks = compare_scores(STEADY, others, test="mann-whitney")
    expected = stats.mannwhitneyu(STEADY, others, alternative="two-sided").pvalue
    assert ranks.p_value == pytest.approx(expected, rel=1e-12)

    spread = compare_spread(STEADY, others, test="brown-forsythe")
    expected = stats.levene(STEADY, others, center="median").pvalue
    assert spread.p_value == pytest.approx(expected, rel=1e-12)
    assert spread.runs == (8, 6)


def test_mann_whitney_with_ties_goes_through_all_orders():
    first, second = [52.7, 52.7, 70.0, 71.0], [52.7, 71.0, 72.0, 72.0, 73.0]
    both = np.array(first + second)
    beats = np.sign(both[:, None] - both)
    # The sum of wins less losses, for each way to pick the first method's four runs.
    wins = []
    for chosen in itertools.combinations(range(9), 4):
        others = [i for i in range(9) if i not in chosen]
        wins.append(beats[np.ix_(chosen, others)].sum())
    seen = beats[:4, 4:].sum()
    tail = min(np.mean(np.array(wins) <= seen), np.mean(np.array(wins) >= seen))
    result = compare_scores(first, second, test="mann-whitney")
    assert result.p_value == pytest.approx(2 * tail, rel=1e-12)


def test_brown_forsythe_by_hand():
    # Distances from the medians 2 and 4: (1, 0, 1) and (3, 0, 3); means 2/3 and 2.
    # Between: 3 (2/3)^2 2 = 8/3 with 1 degree; within: 2/3 + 6 = 20/3 with 4.
    # F = (8/3) / (20/12) = 1.6.
    result = compare_spread([1, 2, 3], [1, 4, 7], test="brown-forsythe")
    assert result.p_value == pytest.approx(stats.f.sf(1.6, 1, 4), rel=1e-12)


@pytest.mark.parametrize("compare", [compare_scores, compare_spread])
def test_exchanging_the_methods_exchanges_the_verdict(compare):
    one = compare(STEADY, SHAKY, names=NAMES)
    other = compare(SHAKY, STEADY, names=NAMES[::-1])
    assert one.p_value == pytest.approx(other.p_value, rel=1e-12)
    assert one.effect == pytest.approx(-other.effect, rel=1e-12)
    assert one.favours == other.favours == "cwgnc"
    assert one.shown
    assert other.shown


def test_a_higher_mean_is_no_smaller_spread():
    shifted = np.array(STEADY) + 5
    result = compare_spread(shifted, STEADY)
    # Deviations agree but for rounding, so nothing favours either.
    assert result.p_value > 0.2
    assert not result.shown


def test_keeping_pairs_sees_what_unpaired_tests_miss():
    rng = np.random.default_rng(0)
    seeds = rng.normal(65, 6, 25)
    better = seeds + 1.0 + rng.normal(0, 0.5, 25)
    assert compare_scores(better, seeds).shown
    assert not compare_scores(better, seeds, test="welch").shown


@pytest.mark.parametrize(
    ("compare", "test"),
    [
        (compare_scores, "paired"),
        (compare_scores, "welch"),
        (compare_scores, "mann-whitney"),
        (compare_spread, "paired"),
        (compare_spread, "brown-forsythe"),
    ],
)
@pytest.mark.parametrize("failing", [0.0, 0.2])
def test_alike_methods_are_told_apart_as_rarely_as_alpha(compare, test, failing):
    rng = np.random.default_rng(11)
    studies, false = 600, 0
    for study in range(studies):
        # A common part for the seed, as shared data orders and heads have.
        common = rng.normal(0, 1, 25) if test == "paired" else np.zeros(25)
        first, second = (
            np.where(
                rng.random(25) < failing,
                rng.normal(52, 0.5, 25),
                common + rng.normal(70, 1.5, 25),
            )
            for _ in range(2)
        )
        result = compare(first, second, test=test, resamples=199, seed=study)
        false += result.p_value <= 0.05
    # At most 0.05 and four binomial standard errors (0.009 each) for 600 studies;
    # the tests may be conservative (ranks, distances of which one is always 0).
    assert false / studies < 0.05 + 4 * 0.009
    if failing == 0:
        assert false / studies > 0.05 - 4 * 0.009


# Scores of methods that are alike, some of them skewed.
KINDS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "log-normal": lambda rng, shape: np.exp(rng.normal(size=shape)),
    "mirrored": lambda rng, shape: -np.exp(rng.normal(size=shape)),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "failing": lambda rng, shape: np.where(
        rng.random(shape) < 0.2, rng.normal(52, 0.5, shape), rng.normal(70, 1.5, shape)
    ),
    "failing alike": lambda rng, shape: np.where(
        rng.random(shape) < 0.2, 52.7, rng.normal(70, 1.5, shape)
    ),
}


def shares_shown(first, second, alpha=0.05):
    """Shares of studies in which all exchanges show either as larger, by each way."""
    count = first.shape[-1]
    signs = np.array(list(itertools.product([1, -1], repeat=count)), float)
    shown = np.zeros((len(first), 2), bool)
    for rows in np.array_split(np.arange(len(first)), max(1, len(signs) // 64)):
        differences = first[rows] - second[rows]
        sums = differences @ signs.T
        seen = differences.sum(-1, keepdims=True)
        # Equal sums are equal, however they were added up.
        slack = 1e-9 * np.abs(differences).max(-1, keepdims=True)
        shown[rows, 0] = 2 * np.mean(sums >= seen - slack, axis=1) <= alpha
        shown[rows, 1] = 2 * np.mean(sums <= seen + slack, axis=1) <= alpha
    return shown.mean(0)


def far(scores):
    return np.abs(scores - np.median(scores, axis=-1, keepdims=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [6, 7, 8, 9, 10, 11, 12])
def test_alike_methods_have_other_spreads_as_rarely_as_documented(kind, count):
    rng = np.random.default_rng(count)
    first, second = KINDS[kind](rng, (2, 4000, count))
    agree = stats.ttest_rel(far(first), far(second), axis=-1).pvalue <= 0.05
    shown = shares_shown(far(first)[agree], far(second)[agree]).sum() * np.mean(agree)
    # Documented as 6%; three binomial standard errors of 4,000 studies are 1.1%.
    # Exchanges alone showed 8% of 8, 10 and 12 log-normal scores.
    assert shown < 0.06 + 0.011
    unpaired = [
        stats.levene(a, b, center="median").pvalue <= 0.05
        for a, b in zip(first[:1000], second[:1000], strict=True)
    ]
    # Documented as 7%; three standard errors of 1,000 studies are 2.4%.
    assert np.mean(unpaired) < 0.07 + 0.024


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [6, 7, 10])
def test_alike_methods_have_other_means_as_rarely_as_alpha(kind, count):
    first, second = KINDS[kind](np.random.default_rng(count), (2, 4000, count))
    # An exact test: three binomial standard errors of 4,000 studies are 1%.
    assert shares_shown(first, second).sum() < 0.05 + 0.01
    for test in ("welch", "mann-whitney"):
        p_values = [
            compare_scores(a, b, test=test, resamples=199).p_value
            for a, b in zip(first[:400], second[:400], strict=True)
        ]
        # Three standard errors of 400 studies are 3.3%; both are rather conservative.
        assert np.mean(np.array(p_values) <= 0.05) < 0.05 + 0.033


def test_power_of_six_pairs_by_hand():
    # Six pairs show a difference if all have one sign, and that has the probability
    # 0.933^6 for differences of 1.5 standard deviations; that of a t-test is above 0.8.
    by_hand = stats.norm.cdf(1.5) ** 6
    found = simulated_power("paired", "score", 1.5, 0.05, 6)
    # Four binomial standard errors of 2,000 studies.
    assert abs(found - by_hand) < 4 * math.sqrt(by_hand * (1 - by_hand) / 2000)
    assert seeds_with_power("paired", "score", 1.5, 1.0, 0.05, 0.8) > 6


@pytest.mark.parametrize("effect", [1.0, 1.2, 1.5, 2.5, 6.0])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_few_pairs_have_the_power_that_was_asked_for(effect, alpha):
    seeds = seeds_with_power("paired", "score", effect, 1.0, alpha, 0.8)
    if seeds > 13:  # Not simulated: a t-test's number.
        assert seeds == max(14, seeds_of_t_test(effect, 1.0, alpha, 0.8))
        return
    rng = np.random.default_rng(1)
    zeros = np.zeros((1000, 1))

    def power(seeds):
        differences = effect + rng.normal(size=(1000, seeds))
        return shares_shown(differences, zeros, alpha)[0]

    # Four binomial standard errors of 1,000 studies here, and as many of 2,000 there.
    assert power(seeds) > 0.8 - 0.05 - 0.036
    fewest = math.ceil(math.log2(2 / alpha))
    assert seeds >= fewest
    if seeds > fewest:
        assert power(seeds - 1) < 0.8 + 0.05 + 0.036


@pytest.mark.slow
@pytest.mark.parametrize("scale", [3.0, 6.0])
@pytest.mark.parametrize("test", ["paired", "brown-forsythe"])
def test_few_seeds_show_a_spread_as_often_as_planned(test, scale):
    rng = np.random.default_rng(6)
    large = compare_spread(
        rng.normal(size=100_000),
        rng.normal(0, scale, 100_000),
        test=test,
        resamples=39,
    )
    seeds = large.seeds_needed()
    assert seeds is not None
    shown = [
        compare_spread(
            rng.normal(size=seeds), rng.normal(0, scale, seeds), test=test
        ).shown
        for _ in range(400)
    ]
    # Four binomial standard errors of 400 studies, and of the 2,000 simulated ones; one
    # seed is up to 8% of power.
    assert 0.8 - 0.08 - 0.036 < np.mean(shown) < 0.8 + 0.08 + 0.036 + 0.08


@pytest.mark.parametrize("test", ["paired", "welch"])
def test_rare_failures_mislead_means_as_often_as_documented(test):
    rng = np.random.default_rng(13)
    studies, favoured = 600, []
    for study in range(studies):
        failed = rng.random(25) < 0.04
        shaky = np.where(failed, 52.0, rng.normal(70, 1.5, 25))
        steady = rng.normal(70 - 0.04 * 18, 1.5, 25)
        result = compare_scores(shaky, steady, test=test, resamples=199, seed=study)
        if result.shown:
            favoured.append(result.favours)
    # Documented as 13%; four binomial standard errors are 5.5%.
    assert abs(favoured.count("first") / studies - 0.13) < 0.055
    # The other way round hardly ever.
    assert favoured.count("second") / studies < 0.01


@pytest.mark.medium
@pytest.mark.parametrize(
    ("compare", "test", "shift", "scale"),
    [
        (compare_scores, "paired", 0.8, 1.0),
        (compare_scores, "welch", 0.8, 1.0),
        (compare_scores, "mann-whitney", 0.8, 1.0),
        (compare_spread, "paired", 0.0, 1.8),
        (compare_spread, "brown-forsythe", 0.0, 1.8),
    ],
)
def test_seeds_needed_show_the_difference(compare, test, shift, scale):
    rng = np.random.default_rng(5)
    # The effect is taken from a study so large that it is the true one.
    large = compare(
        rng.normal(shift, 1, 100_000),
        rng.normal(0, scale, 100_000),
        test=test,
        resamples=39,
    )
    seeds = large.seeds_needed(0.8)
    studies, shown = 400, 0
    for study in range(studies):
        shown += compare(
            rng.normal(shift, 1, seeds),
            rng.normal(0, scale, seeds),
            test=test,
            resamples=199,
            seed=study,
        ).shown
    # Four binomial standard errors are 0.08; the rest is for what the t-test's power
    # is not: distances are skewed, ranks and 199 exchanges lose a little.
    assert 0.8 - 0.12 < shown / studies < 0.8 + 0.12


@pytest.mark.parametrize(
    ("effect", "expected"),
    # Textbook table for one-sample t-tests, two-sided 0.05, power 0.8:
    # d = 0.2, 0.5, 0.8 need 199, 34 and 15 (as G*Power has it).
    [(0.2, 199), (0.5, 34), (0.8, 15)],
)
def test_seeds_of_a_paired_t_test_published(effect, expected):
    assert seeds_of_t_test(effect, 1.0, 0.05, 0.8) == expected


@pytest.mark.parametrize(
    # Two samples of equal spread: d / sqrt(2) in these units; Cohen's table of
    # seeds in each group at power 0.8: 394, 64, 26 (393, 64, 26 in Cohen, 1988).
    ("cohens_d", "expected"),
    [(0.2, 394), (0.5, 64), (0.8, 26)],
)
def test_seeds_of_a_two_sample_t_test_published(cohens_d, expected):
    assert seeds_of_t_test(cohens_d / math.sqrt(2), 2.0, 0.05, 0.8) == expected


def test_seeds_of_tiny_and_huge_effects():
    # (1.95996 + 0.84162)^2 = 7.8489 standard errors.
    assert seeds_of_t_test(1e-3, 1.0, 0.05, 0.8) == pytest.approx(7.8489e6, rel=1e-4)
    assert seeds_of_t_test(math.inf, 1.0, 0.05, 0.8) == 2


def test_few_seeds_can_show_nothing_and_the_text_says_so():
    result = compare_scores([5, 6, 7, 8, 9.5], [1, 1, 1, 1, 1], names=NAMES)
    # The best that 5 pairs can do is 2 / 2^5.
    assert result.p_value == pytest.approx(0.0625, rel=1e-12)
    assert not result.shown
    assert "not shown" in str(result)
    assert "below 6 seeds this test can show nothing" in str(result)
    assert result.seeds_needed() == 6
    (alone, *_) = correct_comparisons([result] * 10)
    # 2 / 2^9 is the first below 0.005.
    assert alone.seeds_needed() == 9


def test_text_of_what_is_shown_and_what_is_not():
    shown = str(compare_spread(STEADY, SHAKY, names=NAMES))
    assert shown == (
        "smaller std, cwgnc 1.272 and adamw 7.741: cwgnc, shown "
        "(paired permutation test, 8 seeds, p = 0.0078)"
    )
    other = str(compare_spread(SHAKY, STEADY, names=NAMES[::-1]))
    assert "adamw 7.741 and cwgnc 1.272: cwgnc, shown" in other
    unclear = compare_scores(STEADY[:7], STEADY[1:], names=NAMES, test="welch")
    assert not unclear.shown
    assert ": not shown (Welch's t-test, 7 seeds, p = " in str(unclear)
    assert "seeds would show such a difference" in str(unclear)


@pytest.mark.parametrize(
    ("compare", "test"),
    [
        (compare_scores, "paired"),
        (compare_scores, "welch"),
        (compare_scores, "mann-whitney"),
        (compare_spread, "paired"),
        (compare_spread, "brown-forsythe"),
    ],
)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0.1] * 7, [0.1] * 7),
        ([70.1] * 7, STEADY[:7]),
        (STEADY[:7], [70.1] * 7),
        (STEADY[:7], STEADY[:7]),
        ([70.1, 70.1], [70.1, 70.1]),
    ],
)
def test_scores_without_noise_neither_warn_nor_prove_too_much(
    compare, test, first, second
):
    result = compare(first, second, test=test)
    assert 0 < result.p_value <= 1
    assert isinstance(str(result), str)
    if first == second:
        assert result.p_value == 1
        assert result.favours is None
        assert result.seeds_needed() is None
        assert not result.shown


@pytest.mark.parametrize(
    ("compare", "test", "first", "second"),
    [
        (compare_scores, "welch", [60.0] * 25, [50.0] * 25),
        (compare_spread, "brown-forsythe", [60.0, 62.0] * 12, [50.0, 60.0] * 12),
        # Distances from the medians that differ by rounding alone.
        (compare_spread, "brown-forsythe", [0.1, 0.3] * 12, [70.1, 70.3] * 12),
    ],
)
@pytest.mark.parametrize("exchanged", [False, True])
def test_no_seeds_are_promised_without_noise(compare, test, first, second, exchanged):
    pair = (second, first) if exchanged else (first, second)
    result = compare(*pair, test=test)
    assert result.p_value == 1
    assert not result.shown
    assert result.seeds_needed() is None
    text = str(result)
    assert text.endswith("seeds, p = 1; no noise to compare with)")


def test_ranks_of_two_constants_that_differ():
    # SciPy's normal approximation, which ties lead to, would call this 0.047.
    result = compare_scores([60.0] * 3, [50.0] * 3, test="mann-whitney")
    assert result.favours == "first"
    assert not result.shown
    # Of 3 and 3 ranks the best p is 2 / 20; more runs do show the difference.
    more = result.seeds_needed()
    assert more is not None
    assert compare_scores([60.0] * more, [50.0] * more, test="mann-whitney").shown


def test_not_shown_where_ranks_and_means_disagree():
    # Most runs of the first are better, but its failures pull the mean down.
    first = [71.0 + 0.01 * i for i in range(20)] + [0.0] * 5
    second = [70.0 + 0.01 * i for i in range(25)]
    result = compare_scores(first, second, test="mann-whitney")
    assert result.p_value < 0.05
    assert result.favours == "second"
    assert not result.shown
    assert result.seeds_needed() is None
    assert "not shown" in str(result)


@pytest.mark.parametrize("test", ["paired", "mann-whitney"])
def test_no_seeds_are_promised_that_take_more_resamples(test):
    rng = np.random.default_rng(0)
    # Of each method a few runs are alike, as failed ones are.
    second = np.round(rng.normal(60, 2, 30))
    first = second + np.round(rng.normal(2, 2, 30))
    many = [compare_scores(first, second, test=test, resamples=999)] * 60
    # 2 / 1000 at best, of which 60 make more than 0.05.
    result = correct_comparisons(many)[0]
    assert not result.shown
    assert result.seeds_needed() is None
    assert str(result).endswith("so many comparisons need more resamples)")
    alone = compare_scores(first + 9, second, test=test, resamples=30)
    assert str(alone).endswith("; it needs more resamples)")
    assert correct_comparisons(many[:2])[0].shown
    more = [compare_scores(first, second, test=test, resamples=9999)] * 60
    assert correct_comparisons(more)[0].seeds_needed() is not None


def test_seeds_past_all_reach_are_not_counted_in_words():
    scores = np.array([60.0, 61.0, 59.0, 62.0, 58.0, 60.5])
    shifts = np.array([1.0, -1.0, 2.0, -2.0, 3.0, -2.99])
    result = compare_scores(scores + shifts, scores)
    needed = result.seeds_needed()
    assert needed is not None
    assert needed > 1_000_000
    assert str(result).endswith("; over 10,000 seeds would show such a difference)")


def test_drawn_exchanges_are_near_all_exchanges_and_repeatable():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.5, 1, 12), rng.normal(0, 1, 12)
    exact = compare_scores(first, second, resamples=4096).p_value
    drawn = compare_scores(first, second, resamples=2000, seed=1)
    assert drawn == compare_scores(first, second, resamples=2000, seed=1)
    # Two-sided: twice a tail; four binomial standard errors of it.
    error = 2 * math.sqrt(exact / 2 * (1 - exact / 2) / 2000)
    assert abs(drawn.p_value - exact) < 4 * error + 2 / 2001


def test_holm_by_hand():
    # Sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.06 after the maximum.
    np.testing.assert_allclose(
        holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06], rtol=1e-15
    )
    np.testing.assert_array_equal(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)
    for wrong in ([0.1, np.nan], [[0.1]], [0.1, 1.5]):
        with pytest.raises(ValueError, match="p_values must lie between 0 and 1, in a"):
            holm(wrong)
    assert holm([0.3]).tolist() == [0.3]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_the_plain_value_and_bonferroni(p_values):
    adjusted = holm(p_values)
    plain = np.array(p_values)
    assert np.all(adjusted >= plain)
    assert np.all(adjusted <= np.minimum(plain * max(1, len(p_values)), 1))
    # The order is kept, ties aside.
    order = np.argsort(plain, kind="stable")
    assert np.all(np.diff(adjusted[order]) >= 0)


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(2)
    any_shown = np.mean([np.any(holm(rng.random(10)) <= 0.05) for _ in range(2000)])
    # Independent and all null: 1 - (1 - 0.005)^10 = 0.0489; four standard errors.
    assert abs(any_shown - 0.0489) < 4 * 0.0048


def test_correction_reaches_the_verdict_and_the_text():
    alone = compare_spread(STEADY, SHAKY, names=NAMES)
    others = [compare_scores(STEADY, STEADY)] * 9
    corrected = correct_comparisons([alone, *others])
    assert alone.shown
    assert corrected[0].p_value == alone.p_value
    assert corrected[0].p_adjusted == pytest.approx(10 * alone.p_value, rel=1e-12)
    assert not corrected[0].shown
    assert "not shown" in str(corrected[0])
    assert "0.078 among 10 comparisons" in str(corrected[0])
    assert correct_comparisons([]) == ()
    needed, more = alone.seeds_needed(), corrected[0].seeds_needed()
    assert needed is not None
    assert more is not None
    assert more > needed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: compare_scores([1, 2, 3], [1, 2]),
            "needs one score of each method for each seed, got 3 and 2 scores",
        ),
        (lambda: compare_scores([1.0], [1.0]), "first must be a vector of at least 2"),
        (lambda: compare_spread([1, 2], [1, math.nan]), "second must be finite"),
        (
            lambda: compare_scores([1, 2], [1, 2], test="brown-forsythe"),  # pyright: ignore
            "test must be one of 'paired', 'welch', 'mann-whitney', got 'brown",
        ),
        (
            lambda: compare_spread([1, 2], [1, 2], test="welch"),  # pyright: ignore
            "test must be one of 'paired', 'brown-forsythe', got 'welch'",
        ),
        (lambda: compare_scores([1, 2], [1, 2], alpha=5), "alpha must lie strictly"),
        (lambda: holm([0.5, 1.5]), "p_values must lie between 0 and 1"),
        (
            lambda: compare_scores([1, 2], [3, 5]).seeds_needed(1.0),
            "power must lie strictly between 0 and 1, got 1.0",
        ),
        (
            lambda: compare_scores([1, 2], [3, 5], resamples=0),
            "resamples must be a whole number of at least 1, got 0",
        ),
        (
            lambda: compare_spread([1, 2], [3, 5], resamples=99.5),  # pyright: ignore
            "resamples must be a whole number of at least 1, got 99.5",
        ),
        (
            lambda: compare_scores([1, 2], [3, 5], seed=-1),
            "seed must be a whole number of at least 0, got -1",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("compare", [compare_scores, compare_spread])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": "x"}, "seed must be a whole number, got 'x'"),
        ({"resamples": None}, "resamples must be a whole number, got None"),
        ({"alpha": "0.05"}, "alpha must be a number from 0 to 1, got '0.05'"),
        ({"names": 1}, "names must be two strings, got 1"),
        ({"names": "ab"}, "names must be two strings, got 'ab'"),
        ({"names": ("a", "b", "c")}, "names must be two strings"),
    ],
)
def test_what_is_no_option(compare, options, message):
    with pytest.raises(TypeError, match=message):
        compare([1, 2, 3], [3, 5, 4], **options)


def test_what_are_no_scores():
    with pytest.raises(TypeError, match="first must be a vector of numbers, got 'abc'"):
        compare_scores("abc", [1, 2])
    with pytest.raises(TypeError, match="second must be a vector of numbers"):
        compare_spread([1, 2], [[1], [1, 2]])


@pytest.mark.parametrize("comparisons", [1, 2, 18, 100])
def test_fewest_seeds_are_those_whose_exchanges_suffice(comparisons):
    # Of 2^n exchanges of n pairs the two furthest apart are as far as these.
    expected = next(n for n in range(99) if 2 / 2**n <= 0.05 / comparisons)
    assert fewest_seeds(comparisons) == expected
