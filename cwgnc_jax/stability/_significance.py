"""The tests behind a comparison: p-values, effects, numbers of seeds.

Each p-value is two-sided, and 1 where the data cannot tell (no noise to compare with):
an infinite effect then says nothing of how many seeds would do.
Each effect is such that the test statistic is about ``effect * sqrt(seeds)``.
"""

import inspect
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cwgnc_jax.stability._runs import as_scores

Vector = NDArray[np.float64]


def permutation_p_value(differences: Vector, resamples: int, seed: int) -> float:
    """Mean of paired differences, against exchanging the two of each pair."""
    if not np.any(differences):
        return 1.0
    # Of one sample SciPy flips the signs.
    return _permutation_test((differences,), "samples", resamples, seed)


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

    distances = [np.abs(x - np.median(x)) for x in (a, b)]
    # Equal but for rounding: within groups there is nothing to compare with.
    if all(np.ptp(x) <= 1e-12 * np.max(x) for x in distances):
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
    values = as_scores("p_values", p_values, at_least=0)
    if np.any((values < 0) | (values > 1)):
        raise ValueError(f"p_values must lie between 0 and 1, got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    stepped = np.arange(values.size, 0, -1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def smallest_drawn(resamples: int) -> float:
    """Smallest p-value, of two sides, that so many random exchanges can give."""
    return 2 / (resamples + 1)


def fewest_seeds(test: str, alpha: float, smallest: float) -> int | None:
    """Smallest number of seeds for each method at which p can reach alpha at all.

    Args:
      test: the test.
      alpha: what p must reach.
      smallest: p-value below which the test does not go with any number of seeds.

    Returns:
      The number; None if there is none.
    """
    if smallest > alpha:
        return None
    seeds = 2
    while _smallest_p_value(test, seeds) > alpha:
        seeds += 1
    return seeds


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


def _smallest_p_value(test: str, seeds: int) -> float:
    if test == "paired":
        return 2 / 2**seeds
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
