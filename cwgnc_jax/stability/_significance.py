"""The tests behind a comparison: p-values, effects, numbers of seeds.

Each p-value is two-sided, and 1 where the data cannot tell (no noise to compare with):
an infinite effect then says nothing of how many seeds would do.
Each effect is such that the test statistic is about ``effect * sqrt(seeds)``.
"""

import functools
import inspect
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def permutation_p_value(differences: Vector, resamples: int, seed: int) -> float:
    """Mean of paired differences, against exchanging the two of each pair."""
    if not np.any(differences):
        return 1.0
    # Of one sample SciPy flips the signs.
    return _permutation_test((differences,), "samples", resamples, seed)


def paired_spread_p_value(differences: Vector, resamples: int, seed: int) -> float:
    """Mean of paired differences of distances from medians.

    The medians are those of the scores, so that the distances are not exchangeable: of
    6 to 12 skewed scores exchanges show 7% to 8% at a level of 5%. A paired t-test errs
    elsewhere, so both are to agree: the larger p-value is theirs together.
    """
    exchanges = permutation_p_value(differences, resamples, seed)
    return max(exchanges, float(_t_test_p_value(differences)))


def _t_test_p_value(differences: Vector) -> Vector:
    """P-value of a paired t-test along the last axis."""
    from scipy import stats

    count = differences.shape[-1]
    mean = np.mean(differences, axis=-1)
    error = np.std(differences, axis=-1, ddof=1) / math.sqrt(count)
    # Without noise the exchanges alone decide.
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * stats.t.sf(np.nan_to_num(np.abs(mean) / error), count - 1)


def welch_p_value(a: Vector, b: Vector) -> float:
    """Difference of two means with unequal variances."""
    from scipy import stats

    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return 1.0
    result: Any = stats.ttest_ind_from_stats(
        *(np.mean(a), np.std(a, ddof=1), a.size),
        *(np.mean(b), np.std(b, ddof=1), b.size),
        equal_var=False,
    )
    return float(result.pvalue)


def mann_whitney(
    a: Vector, b: Vector, resamples: int, seed: int
) -> tuple[float, float, bool]:
    """Does a run of one tend to beat a run of the other?

    Returns:
      P-value, effect, and whether it is a permutation test.
    """
    from scipy import stats

    both = np.concatenate([a, b])
    if np.ptp(both) == 0:
        return 1.0, 0.0, False
    result: Any = stats.mannwhitneyu(a, b, alternative="two-sided")
    p_value = float(result.pvalue)
    tied = np.unique(both).size < both.size
    if tied:
        # SciPy knows the exact distribution without ties alone; failed runs often tie.
        groups = np.split(stats.rankdata(both), [a.size])
        p_value = _permutation_test(tuple(groups), "independent", resamples, seed)
    beats = float(result.statistic) / (a.size * b.size)
    # Noether (1987), doi 10.1080/01621459.1987.10478478: for a group,
    # seeds = (z / (beats - 1/2))^2 / 6.
    return p_value, math.sqrt(6) * (beats - 0.5), tied


def brown_forsythe_p_value(a: Vector, b: Vector) -> float:
    """Analysis of variance of the distances from each group's median."""
    from scipy import stats

    # Equal but for rounding: within groups there is nothing to compare with.
    if all(np.ptp(x) <= 1e-12 * np.max(x) for x in map(distances, (a, b))):
        return 1.0
    return float(stats.levene(a, b, center="median").pvalue)


def one_sample_effect(differences: Vector) -> float:
    """Mean over standard deviation; infinite without noise."""
    return _ratio(float(np.mean(differences)), float(np.std(differences, ddof=1)))


def two_sample_effect(a: Vector, b: Vector) -> tuple[float, float]:
    """Effect of a difference of means, and degrees of freedom for each seed more."""
    variances = np.array([np.var(a, ddof=1), np.var(b, ddof=1)])
    effect = _ratio(float(np.mean(a) - np.mean(b)), math.sqrt(np.sum(variances)))
    if not np.any(variances):
        return effect, 1.0
    # Welch and Satterthwaite's, for groups of one size n, over n - 1.
    variances = variances / np.max(variances)
    return effect, float(np.sum(variances) ** 2 / np.sum(variances**2))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Corrects p-values for the number of tests made together.

    Of twenty comparisons between methods that are alike one comes out 'significant'
    at 0.05 on average. Compared with 0.05 after Holm's correction, the chance that
    any at all comes out wrongly is 0.05, whichever way the tests depend on each
    other. It is never weaker than Bonferroni's.

    Args:
      p_values: p-values of the tests, shape (tests,).

    Returns:
      Corrected p-values in the order given, shape (tests,), at most 1.

    Raises:
      ValueError: if they are not a vector of numbers from 0 to 1.

    Examples:
      >>> holm([0.01, 0.04, 0.03, 0.005]).tolist()
      [0.03, 0.06, 0.06, 0.02]

    References:
      Holm, `A Simple Sequentially Rejective Multiple Test Procedure
      <https://www.jstor.org/stable/4615733>`_, 1979
    """
    values = np.asarray(p_values, np.float64)
    # Written so that NaN, which compares with nothing, is refused.
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(
            f"p_values must lie between 0 and 1, in a vector, got {values.tolist()}"
        )
    order = np.argsort(values, kind="stable")
    stepped = np.arange(values.size, 0, -1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def smallest_drawn(resamples: int) -> float:
    """Smallest p-value, of two sides, that so many random exchanges can give."""
    return 2 / (resamples + 1)


def distances(scores: Vector) -> Vector:
    """How far scores lie from their median, along the last axis."""
    return np.abs(scores - np.median(scores, axis=-1, keepdims=True))


def fewest_seeds(test: str, question: str, alpha: float, smallest: float) -> int | None:
    """Smallest number of seeds for each method at which p can reach alpha at all.

    Args:
      test: the test.
      question: 'score' or 'spread'.
      alpha: what p must reach.
      smallest: p-value below which the test does not go with any number of seeds.

    Returns:
      The number; None if there is none.
    """
    if smallest > alpha:
        return None
    seeds = 2
    while _smallest_p_value(test, question, seeds) > alpha:
        seeds += 1
    return seeds


def seeds_with_power(
    test: str, question: str, effect: float, dof: float, alpha: float, power: float
) -> int:
    """Seeds for each method with which a test shows a difference, if scores are normal.

    A t-test tells the number, but not where seeds are few: exchanges and ranks have few
    p-values then, of which the next below alpha may be half of it, and distances from a
    median are not normal. Such studies are simulated.

    Args:
      test: the test.
      question: 'score' or 'spread'.
      effect: the true difference, positive, in units of its noise.
      dof: degrees of freedom that each further seed adds to the statistic.
      alpha: what p must reach.
      power: probability of showing the difference.

    Returns:
      The number, at least that at which p can reach alpha.
    """
    fewest = fewest_seeds(test, question, alpha, 0.0) or 2
    if math.isinf(effect):
        return fewest
    by_t_test = max(fewest, seeds_of_t_test(effect, dof, alpha, power))
    if test == "welch" or by_t_test > _MOST_SIMULATED:
        return by_t_test
    for seeds in range(fewest, _MOST_SIMULATED + 1):
        if simulated_power(test, question, effect, alpha, seeds) >= power:
            return seeds
    return max(by_t_test, _MOST_SIMULATED + 1)


# Enough for the power to be within 0.02 (two standard errors).
_STUDIES = 2000
_MOST_SIMULATED = 13


@functools.lru_cache(maxsize=1024)
def simulated_power(
    test: str, question: str, effect: float, alpha: float, seeds: int
) -> float:
    """Share of simulated studies of normal scores in which a test shows an effect.

    Args:
      test: 'paired', 'mann-whitney' or 'brown-forsythe'.
      question: 'score' or 'spread'.
      effect: the true difference, positive, in units of its noise.
      alpha: what p must reach.
      seeds: number of seeds of each method.

    Returns:
      The share of studies that show the difference, and its direction.
    """
    from scipy import stats

    better, worse = np.random.default_rng(0).standard_normal((2, _STUDIES, seeds))
    if question == "spread":
        worse = worse * _ratio_of_deviations(effect)
    if test == "mann-whitney":
        # Finite: 1 is that of runs that never lose.
        beats = min(0.5 + effect / math.sqrt(6), 1 - 1e-9)
        better = better + math.sqrt(2) * stats.norm.ppf(beats)
        ranks: Any = stats.mannwhitneyu(better, worse, alternative="greater", axis=-1)
        return float(np.mean(2 * ranks.pvalue <= alpha))
    if test == "brown-forsythe":
        t_test: Any = stats.ttest_ind(
            distances(worse), distances(better), alternative="greater", axis=-1
        )
        return float(np.mean(2 * t_test.pvalue <= alpha))
    if question == "score":
        return float(np.mean(2 * _share_of_exchanges(better + effect) <= alpha))
    differences = distances(worse) - distances(better)
    shown = 2 * _share_of_exchanges(differences) <= alpha
    return float(np.mean(shown & (_t_test_p_value(differences) <= alpha)))


def _share_of_exchanges(differences: Vector) -> Vector:
    """Share of all exchanges, of each study, with a sum as large as that seen."""
    shares = []
    # To exchange some pairs takes twice their sum away: counted are sums of at most 0.
    for some in np.array_split(differences, max(1, _STUDIES // 200)):
        sums = np.zeros((len(some), 1))
        for pair in range(some.shape[-1]):
            sums = np.concatenate([sums, sums + some[:, [pair]]], axis=1)
        shares.append(np.mean(sums <= 1e-12, axis=1))
    return np.concatenate(shares)


def _ratio_of_deviations(effect: float) -> float:
    """Ratio of two standard deviations with an effect on distances from the medians."""
    # Of normal scores with the deviations 1 and r, distances have the means m and m r,
    # m = sqrt(2 / pi), and the variances 1 - m^2 and (1 - m^2) r^2. So the effect is
    # m / sqrt(1 - m^2) * (r - 1) / sqrt(1 + r^2): at most 1.32, which few seeds exceed.
    mean = math.sqrt(2 / math.pi)
    share = min(effect * math.sqrt(1 - mean**2) / mean, 0.98)
    rest = 1 - share**2
    return (1 + math.sqrt(1 - rest**2)) / rest


def seeds_of_t_test(effect: float, dof: float, alpha: float, power: float) -> int:
    """Seeds for each method at which a two-sided t-test has the power wanted."""
    from scipy import stats

    if math.isinf(effect):
        return 2
    quantiles = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))
    by_normal = (max(quantiles, 0) / effect) ** 2
    # The t-distribution asks for some two seeds more, which here do not matter.
    if by_normal > 10_000 or math.isinf(dof):
        return max(2, math.ceil(by_normal))
    seeds = max(2, math.floor(by_normal))
    while _power_of_t_test(effect, dof, alpha, seeds) < power:
        seeds += 1
    return seeds


def _power_of_t_test(effect: float, dof: float, alpha: float, seeds: int) -> float:
    from scipy import stats

    freedom = dof * (seeds - 1)
    critical = stats.t.isf(alpha / 2, freedom)
    # A significant result in the wrong direction is none.
    # The value is right where some versions of SciPy warn.
    with np.errstate(all="ignore"):
        return float(stats.nct.sf(critical, freedom, effect * math.sqrt(seeds)))


def _smallest_p_value(test: str, question: str, seeds: int) -> float:
    if test == "paired":
        # The distance of a median that is a score is 0: one pair speaks for the other.
        zero = question == "spread" and seeds % 2 == 1
        return (4 if zero else 2) / 2**seeds
    if test == "mann-whitney":
        return 2 / math.comb(2 * seeds, seeds)
    # With two scores the distances from their median are equal.
    return 1.0 if test == "brown-forsythe" and seeds < 3 else 0.0


def _ratio(mean: float, deviation: float) -> float:
    # Noise within rounding is none.
    if deviation <= 1e-12 * abs(mean):
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / deviation


def _permutation_test(
    groups: tuple[Vector, ...], kind: str, resamples: int, seed: int
) -> float:
    """Mean of the first group, over permutations of a kind that SciPy names."""
    from scipy import stats

    # SciPy renamed the argument in 1.15.
    parameters = inspect.signature(stats.permutation_test).parameters
    random: dict[str, Any] = {
        "rng" if "rng" in parameters else "random_state": np.random.default_rng(seed)
    }
    # Older versions overflow in counting the permutations of a thousand runs.
    with np.errstate(over="ignore"):
        result = stats.permutation_test(
            groups,
            lambda first, *_, axis: np.mean(first, axis=axis),
            permutation_type=kind,
            vectorized=True,
            n_resamples=resamples,
            **random,
        )
    return float(result.pvalue)
