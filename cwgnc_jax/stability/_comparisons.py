"""Whether one method is better or steadier than another, or whether chance will do."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cwgnc_jax.stability import _significance
from cwgnc_jax.stability._runs import ROUNDING, as_scores, check_share, check_whole

_TESTS = {
    "paired": "paired permutation test",
    "welch": "Welch's t-test",
    "mann-whitney": "Mann-Whitney test",
    "brown-forsythe": "Brown-Forsythe test",
}

# More are not counted in words: nobody runs so many, and the figure is unsure.
_MANY_SEEDS = 10_000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two methods' runs say about which of them is better, or steadier.

    Its text gives the verdict in words, 'not shown' where it is not shown.

    Attributes:
      question: 'score' (whose mean is higher) or 'spread' (whose standard deviation
        is smaller).
      test: 'paired', 'welch', 'mann-whitney' or 'brown-forsythe'.
      names: names of the two methods.
      values: their means, or their standard deviations (dividing by the number of
        runs), in the unit of the scores.
      runs: their numbers of runs.
      p_value: probability of a difference at least as large as the one seen, in
        either direction, if the methods were alike. 1 where the data cannot tell.
      alpha: largest p-value that counts as shown, that is the accepted chance to
        call something shown that is not so.
      effect: the difference seen in units of its noise, so that the test statistic
        grows as effect * sqrt(seeds); positive if it favours the first method.
      dof: degrees of freedom that each further seed adds to the statistic.
      comparisons: number of comparisons made together.
      p_adjusted: the p-value corrected for that number, see
        :func:`correct_comparisons`; the same as ``p_value`` for one.
      smallest_p: p-value below which the test cannot go with any number of seeds:
        2 / (resamples + 1) for a permutation test, else 0.
    """

    question: Literal["score", "spread"]
    test: str
    names: tuple[str, str]
    values: tuple[float, float]
    runs: tuple[int, int]
    p_value: float
    alpha: float
    effect: float
    dof: float
    comparisons: int
    p_adjusted: float
    smallest_p: float

    @property
    def favours(self) -> str | None:
        """Name of the method with the better value; None for equal values."""
        first, second = self.values
        if first == second:
            return None
        higher_is_better = self.question == "score"
        return self.names[0 if (first > second) == higher_is_better else 1]

    @property
    def shown(self) -> bool:
        """Whether chance is an unlikely reason for the difference.

        The test must also point the way that the printed values do: a test of ranks,
        or of deviations from the median, can disagree with them.
        """
        # Written so that NaN, of scores whose squares overflow, shows nothing.
        if self.favours is None or not self.p_adjusted <= self.alpha:
            return False
        return self.favours == self.names[0 if self.effect > 0 else 1]

    def seeds_needed(self, power: float = 0.8) -> int | None:
        """Number of seeds for each method that would show the difference seen.

        If the true difference is the one seen here, and the noise too, a new study
        with so many seeds shows it with the probability ``power``, by the same test
        and at the level that the first of the corrected comparisons must pass
        (alpha / comparisons), where scores are normal. Up to 13 seeds such studies are
        simulated; beyond, the number is a t-test's. It is a plan and no result: a
        difference that is not shown is uncertain itself, and so is this number.

        Args:
          power: probability of showing the difference.

        Returns:
          The number of seeds; None where no difference was seen, the test has no
          noise to compare it with, the test and the values disagree about its
          direction, or it would take more resamples.

        Raises:
          ValueError: if the power is not between 0 and 1.
        """
        check_share("power", power)
        if self.effect == 0 or self.favours is None or self._noiseless:
            return None
        if self.favours != self.names[0 if self.effect > 0 else 1]:
            return None
        alpha = self.alpha / self.comparisons
        if self._fewest_seeds is None:
            return None
        return _significance.seeds_with_power(
            self.test, self.question, abs(self.effect), self.dof, alpha, power
        )

    def seeds_in_words(self) -> str | None:
        """The number of :meth:`seeds_needed`, to print; None where there is none.

        Returns:
          The number, or that it is over 10,000.
        """
        seeds = self.seeds_needed()
        if seeds is None:
            return None
        return f"{seeds:,}" if seeds <= _MANY_SEEDS else f"over {_MANY_SEEDS:,}"

    def __str__(self) -> str:
        what = {"score": "higher mean", "spread": "smaller std"}[self.question]
        text = f"{what}, {self.names[0]} {self.values[0]:.4g} and {self.names[1]} "
        text += f"{self.values[1]:.4g}: "
        text += f"{self.favours}, shown" if self.shown else "not shown"
        seeds = " and ".join(str(runs) for runs in sorted(set(self.runs)))
        text += f" ({_TESTS[self.test]}, {seeds} seeds, p = {self.p_value:.2g}"
        if self.comparisons > 1:
            text += f", {self.p_adjusted:.2g} among {self.comparisons} comparisons"
        if not self.shown:
            fewest = self._fewest_seeds
            if fewest is None:
                many = (
                    "so many comparisons need" if self.comparisons > 1 else "it needs"
                )
                text += f"; {many} more resamples"
            elif max(self.runs) < fewest:
                text += f"; below {fewest} seeds this test can show nothing"
            if self._noiseless:
                text += "; no noise to compare with"
            if needed := self.seeds_in_words():
                text += f"; {needed} seeds would show such a difference"
        return text + ")"

    @property
    def _fewest_seeds(self) -> int | None:
        """Below so many seeds nothing can be shown; None: it takes more resamples."""
        return _significance.fewest_seeds(
            self.test, self.question, self.alpha / self.comparisons, self.smallest_p
        )

    @property
    def _noiseless(self) -> bool:
        """Whether a difference is seen by a test that needs noise and found none."""
        # With noise these two tests give a p-value of 1 to no difference only.
        needs_noise = self.test in ("welch", "brown-forsythe")
        return needs_noise and self.effect != 0 and self.p_value == 1


def compare_scores(
    first: ArrayLike,
    second: ArrayLike,
    *,
    names: tuple[str, str] = ("first", "second"),
    test: Literal["paired", "welch", "mann-whitney"] = "paired",
    alpha: float = 0.05,
    resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Is one method better than another, seeds considered?

    Rare failures mislead both tests of means, as many studies see none. Where one
    method falls from 70 to 52 in 4% of its runs and a steady one has the same true
    mean (25 runs each, std 1.5 without failures), some 13% of studies show the
    unstable one to be better at alpha = 0.05. Look at failed runs
    (:func:`summarize_runs`) and :func:`compare_spread` beside the means.

    Args:
      first: scores of one method, shape (runs,).
      second: scores of the other, shape (runs,).
      names: names of the two, for the text of the result.
      test: 'paired' where both methods ran with the same seeds, in the same order: a
        permutation test that exchanges the two scores of a seed at random. Its
        null hypothesis is that the two are exchangeable, not just equal in their
        means; for that it is exact, whatever the distribution. It profits when a
        seed is good or bad for both. Scores that differ by less than a millionth of
        themselves, as in float32, are equal.
        'welch' where seeds differ: the t-test of means with unequal spreads.
        'mann-whitney': likewise, but it asks which method's run tends to beat the
        other's, so that how badly a failed run failed does not matter.
      alpha: largest p-value that counts as shown.
      resamples: a permutation test goes through all exchanges where they are not
        more than this, and draws this number at random otherwise. Mann and Whitney's
        is one too where scores tie.
      seed: seed of the drawing; the same arguments give the same result.

    Returns:
      A :class:`Comparison`.

    Raises:
      ValueError: if scores are not vectors of at least 2 finite numbers, their
        numbers differ for the paired test, or an option is not among those above.
      TypeError: if scores are not numbers, names are not two strings, or another
        option is not a number.

    Examples:
      >>> adamw = [61.0, 70.4, 52.7, 71.1, 69.7, 60.8, 73.0, 52.7]
      >>> cwgnc = [70.0, 71.8, 69.3, 72.2, 71.1, 70.4, 72.6, 68.9]
      >>> print(compare_scores(cwgnc, adamw, names=("cwgnc", "adamw")))
      higher mean, cwgnc 70.79 and adamw 63.92: cwgnc, shown (paired permutation test,
      8 seeds, p = 0.016)
      >>> print(compare_scores(cwgnc[:5], adamw[:5], names=("cwgnc", "adamw")))
      higher mean, cwgnc 70.88 and adamw 64.98: not shown (paired permutation test,
      5 seeds, p = 0.062; below 6 seeds this test can show nothing; 13 seeds would
      show such a difference)

    References:
      Ernst, `Permutation Methods: A Basis for Exact Inference
      <https://doi.org/10.1214/088342304000000396>`_, 2004;
      Welch, `The Generalization of "Student's" Problem
      <https://doi.org/10.2307/2332510>`_, 1947;
      Mann & Whitney, `On a Test of Whether one of Two Random Variables is
      Stochastically Larger than the Other
      <https://doi.org/10.1214/aoms/1177730491>`_, 1947
    """
    a, b = _two_samples(first, second, test, ("paired", "welch", "mann-whitney"))
    _check_options(names, alpha, resamples, seed)
    if test == "paired":
        p_value, drawn = _significance.permutation_p_value(a - b, resamples, seed), True
        effect, dof = _significance.one_sample_effect(a - b), 1.0
    elif test == "welch":
        p_value, drawn = _significance.welch_p_value(a, b), False
        effect, dof = _significance.two_sample_effect(a, b)
    else:
        p_value, effect, drawn = _significance.mann_whitney(a, b, resamples, seed)
        dof = math.inf
    return Comparison(
        question="score",
        test=test,
        names=names,
        values=(float(np.mean(a)), float(np.mean(b))),
        runs=(a.size, b.size),
        p_value=p_value,
        alpha=alpha,
        effect=effect,
        dof=dof,
        comparisons=1,
        p_adjusted=p_value,
        smallest_p=_significance.smallest_drawn(resamples) if drawn else 0.0,
    )


def compare_spread(
    first: ArrayLike,
    second: ArrayLike,
    *,
    names: tuple[str, str] = ("first", "second"),
    test: Literal["paired", "brown-forsythe"] = "paired",
    alpha: float = 0.05,
    resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Is one method's spread over seeds smaller than another's?

    Both tests compare how far scores lie from their own method's median: a mean that
    is higher or lower does not matter, and unlike in the F-test of two variances
    scores need not be normal, which with failed runs they are not.

    Neither is exact, as the medians are those of the scores: among 6 to 12 seeds, at a
    level of 5%, methods that are alike were shown to differ in up to 6% of simulated
    studies by the paired test and up to 7% by the other (normal, exponential and
    log-normal scores, or a fifth of the runs failed).

    Args:
      first: scores of one method, shape (runs,).
      second: scores of the other, shape (runs,).
      names: names of the two, for the text of the result.
      test: 'paired' where both methods ran with the same seeds, in the same order: a
        permutation test that exchanges the two distances of a seed at random, with
        which a paired t-test of the distances must agree: p is the larger of theirs.
        'brown-forsythe' where seeds differ: the analysis of variance of the
        distances.
      alpha: largest p-value that counts as shown.
      resamples: the permutation test goes through all exchanges where they are not
        more than this, and draws this number at random otherwise.
      seed: seed of the drawing; the same arguments give the same result.

    Returns:
      A :class:`Comparison`.

    Raises:
      ValueError, TypeError: as :func:`compare_scores`.

    Examples:
      >>> adamw = [61.0, 70.4, 52.7, 71.1, 69.7, 60.8, 73.0, 52.7]
      >>> cwgnc = [70.0, 71.8, 69.3, 72.2, 71.1, 70.4, 72.6, 68.9]
      >>> print(compare_spread(cwgnc, adamw, names=("cwgnc", "adamw")))
      smaller std, cwgnc 1.272 and adamw 7.741: cwgnc, shown (paired permutation test,
      8 seeds, p = 0.0078)

    References:
      Brown & Forsythe, `Robust Tests for the Equality of Variances
      <https://doi.org/10.1080/01621459.1974.10482955>`_, 1974
    """
    a, b = _two_samples(first, second, test, ("paired", "brown-forsythe"))
    _check_options(names, alpha, resamples, seed)
    a_far, b_far = _significance.distances(a), _significance.distances(b)
    if test == "paired":
        p_value = _significance.paired_spread_p_value(b_far - a_far, resamples, seed)
        effect, dof = _significance.one_sample_effect(b_far - a_far), 1.0
    else:
        p_value = _significance.brown_forsythe_p_value(a, b)
        effect, dof = _significance.two_sample_effect(b_far, a_far)[0], 2.0
    return Comparison(
        question="spread",
        test=test,
        names=names,
        values=(float(np.std(a)), float(np.std(b))),
        runs=(a.size, b.size),
        p_value=p_value,
        alpha=alpha,
        effect=effect,
        dof=dof,
        comparisons=1,
        p_adjusted=p_value,
        smallest_p=(
            _significance.smallest_drawn(resamples) if test == "paired" else 0.0
        ),
    )


def correct_comparisons(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Corrects comparisons for their number, by Holm's method.

    Give it all the comparisons of a table together.

    Args:
      comparisons: the comparisons made together.

    Returns:
      The same in the same order, with ``p_adjusted`` and ``comparisons`` set.

    Examples:
      >>> adamw = [61.0, 70.4, 52.7, 71.1, 69.7, 60.8, 73.0, 52.7]
      >>> cwgnc = [70.0, 71.8, 69.3, 72.2, 71.1, 70.4, 72.6, 68.9]
      >>> both = correct_comparisons(
      ...     [compare_scores(cwgnc, adamw), compare_spread(cwgnc, adamw)]
      ... )
      >>> [round(comparison.p_adjusted, 3) for comparison in both]
      [0.016, 0.016]
    """
    adjusted = _significance.holm([comparison.p_value for comparison in comparisons])
    return tuple(
        dataclasses.replace(
            comparison, p_adjusted=float(p_value), comparisons=len(comparisons)
        )
        for comparison, p_value in zip(comparisons, adjusted, strict=True)
    )


def fewest_seeds(comparisons: int = 1, *, alpha: float = 0.05) -> int:
    """Fewest seeds at which the paired test of scores can show a difference at all.

    Of fewer seeds all exchanges are so few that no p-value is small enough, however far
    two methods with the same seeds are apart.

    Args:
      comparisons: how many comparisons are corrected together.
      alpha: largest p-value that counts as shown.

    Returns:
      The number of seeds of each method.

    Raises:
      ValueError: if there is no comparison, or alpha is not between 0 and 1.
      TypeError: if they are not numbers.

    Examples:
      >>> from cwgnc_jax.stability import fewest_seeds
      >>> fewest_seeds(), fewest_seeds(2)
      (6, 7)

    References:
      Holm, `A Simple Sequentially Rejective Multiple Test Procedure
      <https://www.jstor.org/stable/4615733>`_, 1979
    """
    check_share("alpha", alpha)
    alpha /= check_whole("comparisons", comparisons, at_least=1)
    # All exchanges are counted here: no p-value is too small for them.
    fewest = _significance.fewest_seeds("paired", "score", alpha, smallest=0.0)
    assert fewest is not None
    return fewest


def _two_samples(
    first: ArrayLike,
    second: ArrayLike,
    test: str,
    tests: tuple[str, ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a = as_scores("first", first, at_least=2)
    b = as_scores("second", second, at_least=2)
    if test not in tests:
        accepted = ", ".join(map(repr, tests))
        raise ValueError(f"test must be one of {accepted}, got {test!r}")
    if test == "paired" and a.size != b.size:
        raise ValueError(
            "test='paired' needs one score of each method for each seed, got "
            f"{a.size} and {b.size} scores"
        )
    # The same score is the same, in whichever precision it was computed: that of the
    # least one that it equals, so that a neighbour's neighbour is another one.
    values, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    rounded = values.copy()
    for at, value in enumerate(values[1:], 1):
        least = rounded[at - 1]
        rounded[at] = (
            least if np.isclose(value, least, rtol=ROUNDING, atol=0) else value
        )
    a, b = np.split(rounded[places], [a.size])
    return a, b


def _check_options(
    names: object, alpha: object, resamples: object, seed: object
) -> None:
    if not (
        isinstance(names, Sequence)
        and not isinstance(names, str)
        and len(names) == 2
        and all(isinstance(name, str) for name in names)
    ):
        raise TypeError(f"names must be two strings, got {names!r}")
    check_share("alpha", alpha)
    check_whole("resamples", resamples, at_least=1)
    check_whole("seed", seed)
