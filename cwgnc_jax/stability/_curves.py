"""In which range of a setting a method is stable; whether another widens or moves it.

A curve has scores of many seeds at each of a grid of values, such as learning rates. A
value is *stable* where few runs fail and their mean is near the method's best. The
stable range goes from the best value down and up to where that ends; between a value
that is stable and one that is not, mean and share of failed runs are taken to be linear
in the logarithm of the value, so that the width does not jump by steps of the grid.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cwgnc_jax._numbers import known_number
from cwgnc_jax.stability._runs import (
    Interval,
    check_share,
    check_whole,
    wilson_interval,
)

Matrix = NDArray[np.float64]
Aspect = Literal["width", "low", "high"]
_MORE = {"width": "is wider", "low": "begins lower", "high": "ends higher"}
_TRIED = " among the values tried"
_ALIKE = {"width": "is as wide", "low": "begins as low", "high": "ends as high"}
# Ends and widths that differ by less are those of the same scores, computed otherwise.
_SAME = 1e-5
# Relative; scores and their means are not as exact.
_ROUNDING = 1e-9


# Compared by identity: comparing arrays would be no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Scores of a method's runs over a grid of values.

    Attributes:
      values: of the setting, increasing and above 0, shape (points,).
      scores: of the runs, shape (points, seeds), in any unit; NaN where a seed was not
        run. A column is one seed.
      failed: which runs failed, of the same shape. One that diverged has a score, too,
        such as that of who always gives the same answer.

    Raises:
      ValueError: if the values do not increase from above 0, the shapes differ, a score
        is infinite, a failed run has none, or a value has no run.
    """

    values: Matrix
    scores: Matrix
    failed: NDArray[np.bool_]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64)
        scores = np.asarray(self.scores, np.float64)
        failed = np.asarray(self.failed, bool)
        if values.ndim != 1 or not values.size or not np.all(np.isfinite(values)):
            raise ValueError(f"values must be a vector of numbers, got {values}")
        if values[0] <= 0 or np.any(np.diff(values) <= 0):
            raise ValueError(
                f"values must increase from above 0, got {values.tolist()}"
            )
        if (
            scores.ndim != 2
            or len(scores) != len(values)
            or failed.shape != scores.shape
        ):
            raise ValueError(
                f"scores and failed must have the shape ({len(values)} points, seeds), "
                f"got {scores.shape} and {failed.shape}"
            )
        if np.any(np.isinf(scores)):
            raise ValueError("scores must be finite, or NaN where there is no run")
        if np.any(failed & np.isnan(scores)):
            raise ValueError(
                "a failed run must have a score: NaN is for runs that were not made"
            )
        if idle := values[np.all(np.isnan(scores), axis=1)].tolist():
            raise ValueError(f"there is no run at the values {idle}")
        for name, array in (("values", values), ("scores", scores), ("failed", failed)):
            object.__setattr__(self, name, array)

    @property
    def runs(self) -> NDArray[np.int64]:
        """Number of runs at each value, shape (points,)."""
        return np.sum(~np.isnan(self.scores), axis=1)

    @property
    def means(self) -> Matrix:
        """Mean score at each value, shape (points,)."""
        return np.nanmean(self.scores, axis=1)

    @property
    def stds(self) -> Matrix:
        """Standard deviation of the scores at each value, dividing by the runs."""
        return np.nanstd(self.scores, axis=1)

    @property
    def failed_shares(self) -> Matrix:
        """Share of failed runs at each value, shape (points,)."""
        return np.sum(self.failed, axis=1) / self.runs

    @property
    def area(self) -> float:
        """Mean of the mean scores over the logarithm of the value."""
        if len(self.values) == 1:
            return float(self.means[0])
        places = np.log(self.values)
        widths = np.diff(places)
        middles = (self.means[1:] + self.means[:-1]) / 2
        return float(np.sum(widths * middles) / np.sum(widths))


@dataclasses.dataclass(frozen=True)
class StableRange:
    """Where a method is stable.

    Attributes:
      low: lowest stable value; NaN if there is none.
      high: highest one.
      best: value of the grid with the best mean among the stable ones; NaN likewise.
      octaves: how often the value doubles from ``low`` to ``high``; 0 if there is none.
      interval: of the octaves, from seeds drawn anew; see :func:`stable_range`.
      open_below: whether the lowest value of the grid is stable, so that the range may
        begin below it.
      open_above: whether the highest one is.
    """

    low: float
    high: float
    best: float
    octaves: float
    interval: Interval
    open_below: bool
    open_above: bool

    def __str__(self) -> str:
        if np.isnan(self.best):
            return "no stable value"
        return f"stable {self.span} ({self.octaves:.2g} octaves; {self.interval})"

    @property
    def span(self) -> str:
        """From where to where, in words; 'nowhere' if no value is stable."""
        if np.isnan(self.best):
            return "nowhere"
        below = "at most " if self.open_below else ""
        above = "at least " if self.open_above else ""
        return f"from {below}{_short(self.low)} to {above}{_short(self.high)}"

    def span_of(self, unit: str) -> str:
        """From where to where, of what: 'from 250 examples on'.

        Args:
          unit: what there is a number of; more of it is taken to do no harm.

        Returns:
          The words; without a unit, or a stable value, those of :attr:`span`.
        """
        if not unit or np.isnan(self.best):
            return self.span
        if self.open_above:
            below = "at most " if self.open_below else ""
            return f"from {below}{_short(self.low)} {unit} on"
        return f"{self.span} {unit}"


@dataclasses.dataclass(frozen=True)
class RangeComparison:
    """Whether a method's stable range is wider than another's, or ends elsewhere.

    Attributes:
      names: names of the two methods.
      ranges: their ranges.
      p_value: chance of widths, or of ends, that differ at least as much, in either
        direction, if each seed's curves were those of either method.
      p_adjusted: the p-value, corrected for the number of looks at the results, and
        of tests made together.
      alpha: accepted chance of a wrong verdict in the whole study.
      unit: what values are numbers of, for the text; empty for bare numbers.
      complete: whether each run has a partner; ranges that were found here are those
        of the runs that have one.
      by: what is compared of the ranges.
    """

    names: tuple[str, str]
    ranges: tuple[StableRange, StableRange]
    p_value: float
    p_adjusted: float
    alpha: float = 0.05
    unit: str = ""
    complete: bool = True
    by: Aspect = "width"

    @property
    def shown(self) -> bool:
        """Whether chance is an unlikely reason for the difference."""
        return self.p_adjusted <= self.alpha

    @property
    def favours(self) -> str | None:
        """The method whose range is wider, begins lower or ends higher, if one's is."""
        first, second = (_measure(found, self.by) for found in self.ranges)
        nothing = _SAME if self.by == "width" else 0.0
        if math.isclose(first, second, rel_tol=_SAME, abs_tol=nothing):
            return None
        if np.isnan(first) or np.isnan(second):
            return None
        is_first = first < second if self.by == "low" else first > second
        return self.names[0 if is_first else 1]

    def __str__(self) -> str:
        words = [
            f"{name} has {found}"
            if np.isnan(found.best)
            else f"{name} works {found.span_of(self.unit)}"
            for name, found in zip(self.names, self.ranges, strict=True)
        ]
        if not self.complete:
            words[0] = f"by the runs that both have, {words[0]}"
        return f"{', '.join(words)}; {self.verdict}"

    @property
    def verdict(self) -> str:
        """What is shown, as the end of a sentence."""
        first, second = (_measure(found, self.by) for found in self.ranges)
        if np.all(np.isnan([found.best for found in self.ranges])):
            return "neither has a range"
        if np.isnan(first) or np.isnan(second):
            return "one has no range"
        if self.favours is None:
            tried = _TRIED if any(map(self._is_open, self.ranges)) else ""
            return f"one {_ALIKE[self.by]} as the other{tried}"
        # The narrower one may go on farther; an end that is open is the farther one.
        other = self.ranges[self.favours == self.names[0]]
        tried = _TRIED if self.by == "width" and self._is_open(other) else ""
        return (
            f"that the range of {self.favours} {_MORE[self.by]}{tried} "
            f"{'is' if self.shown else 'is not'} shown (p = {self.p_adjusted:.2g})"
        )

    def _is_open(self, found: StableRange) -> bool:
        """Whether what is compared of a range may go on beyond the values."""
        above = found.open_above and not self.unit  # More of a unit has no end.
        ends = {"low": found.open_below, "high": above}
        return ends.get(self.by, any(ends.values()))


def stable_range(
    curve: Curve,
    *,
    margin: float,
    most_failed: float = 0.1,
    level: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> StableRange:
    """Where a method is stable: few runs fail, and their mean is near its best.

    Args:
      curve: its runs.
      margin: how far below the method's best mean a mean may be, in the scores' unit;
        above 0. The best is that of values where few enough runs fail.
      most_failed: largest share of failed runs, from 0 to 1.
      level: of the width's interval.
      resamples: how often the seeds are drawn anew for it.
      seed: of the random numbers.

    Returns:
      The range. A method's best mean is the largest of several, so that ranges of few
      seeds are too narrow where means lie near each other, and those of seeds drawn
      anew are narrower still. The interval of the width therefore reaches as far as the
      bootstrap's percentiles or their reflection at the width found, whichever is
      farther (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters
      12 and 13). In simulated studies of six shapes of curves 95% intervals held the
      true width in 93% to 99% with 25 seeds, in 81% to 97% with 12, in 58% to 97% with
      5. Where a value has a single run there is none.

    Raises:
      ValueError: if a number is out of its range.
      TypeError: if one is no number.

    Examples:
      >>> rates = [1e-5, 2e-5, 4e-5, 8e-5]
      >>> scores = [[60, 61], [70, 71], [70, 69], [30, 71]]
      >>> curve = Curve(rates, scores, [[False] * 2] * 3 + [[True, False]])
      >>> found = stable_range(curve, margin=2)
      >>> f"{found.low:.2e} to {found.high:.2e}"
      '1.74e-05 to 4.15e-05'
    """
    check_limits(margin, most_failed)
    check_share("level", level)
    resamples = check_whole("resamples", resamples, at_least=1)
    rng = np.random.default_rng(check_whole("seed", seed))
    here = np.ones((1, curve.scores.shape[1]))
    border = find_borders(curve, *_averages(curve, here), margin, most_failed)
    drawn = rng.multinomial(
        here.size, np.full(here.size, 1 / here.size), size=resamples
    ).astype(np.float64)
    widths = find_borders(curve, *_averages(curve, drawn), margin, most_failed).octaves
    interval = _reaching(widths, float(border.octaves[0]), level)
    if np.min(curve.runs) == 1:
        interval = Interval(float("nan"), float("nan"), level)
    low, high, best = border.low[0], border.high[0], int(border.best[0])
    if best < 0:
        nothing = float("nan")
        return StableRange(nothing, nothing, nothing, 0.0, interval, False, False)
    places = np.log(curve.values)

    def value(place: float) -> float:
        # One of the grid is itself, not what rounding makes of it.
        exact = curve.values[places == place]
        return float(exact[0] if exact.size else np.exp(place))

    return StableRange(
        value(low),
        value(high),
        float(curve.values[best]),
        float(border.octaves[0]),
        interval,
        bool(low <= places[0]),
        bool(high >= places[-1]),
    )


def compare_ranges(
    first: Curve,
    second: Curve,
    *,
    margin: float,
    names: tuple[str, str] = ("first", "second"),
    most_failed: float = 0.1,
    looks: int = 1,
    alpha: float = 0.05,
    resamples: int = 9999,
    seed: int = 0,
    ranges: tuple[StableRange, StableRange] | None = None,
    unit: str = "",
    by: Aspect = "width",
) -> RangeComparison:
    """Whether one of two methods has the wider stable range, or chance will do.

    Or whether its range begins lower, or ends higher: it may move and be no wider.

    A permutation test: for each seed, all of its runs may as well be the other
    method's. Runs without a partner, of the same value and seed, are left out, and so
    are values where none has one.

    Args:
      first: runs of a method.
      second: runs of another, at the same values and by the same seeds, in the same
        columns.
      margin: as for :func:`stable_range`.
      names: names of the methods.
      most_failed: as for :func:`stable_range`.
      looks: how often the study looks at its results; a verdict at any of them is then
        wrong with the chance alpha at most, however the looks depend on each other
        (Bonferroni).
      alpha: accepted chance of a wrong verdict.
      resamples: how many of the exchanges are drawn.
      seed: of the random numbers.
      ranges: both methods' ranges, if they have been found already from the runs that
        are compared; their intervals take more time than the test.
      unit: what values are numbers of, for the text, such as 'examples'.
      by: what is compared: the "width" in octaves, the "low" end or the "high" one.

    Returns:
      The comparison. Alpha is the chance of a wrong verdict of methods that are alike.
      Where ranges differ in one respect the test of another errs more often: of 200
      simulated pairs, one range an octave higher than the other, 17% were called of
      different widths with 12 seeds and 11% with 25; where one ended an octave higher,
      9% and 7% were said to begin elsewhere.

    Raises:
      ValueError: if the values or the numbers of seeds differ, no run has a partner,
        ``by`` is something else, or a number is out of its range.
      TypeError: if one is no number.
    """
    check_limits(margin, most_failed)
    check_share("alpha", alpha)
    if by not in get_args(Aspect):
        raise ValueError(f"by must be one of {get_args(Aspect)}, got {by!r}")
    looks = check_whole("looks", looks, at_least=1)
    resamples = check_whole("resamples", resamples, at_least=1)
    if first.scores.shape != second.scores.shape or np.any(
        first.values != second.values
    ):
        raise ValueError(
            f"the curves must have the same values and seeds, got {first.scores.shape} "
            f"and {second.scores.shape} runs at {first.values.tolist()} and "
            f"{second.values.tolist()}"
        )
    missing = np.isnan(first.scores) | np.isnan(second.scores)
    kept = ~np.all(missing, axis=1)
    if not np.any(kept):
        raise ValueError("no run of one has a partner, of the same value and seed")
    pairs = [
        Curve(
            curve.values[kept],
            np.where(missing, np.nan, curve.scores)[kept],
            (curve.failed & ~missing)[kept],
        )
        for curve in (first, second)
    ]
    rng = np.random.default_rng(check_whole("seed", seed))
    exchanged = rng.integers(0, 2, (resamples, missing.shape[1])).astype(np.float64)
    # The first row is what was seen.
    exchanged = np.concatenate([np.zeros_like(exchanged[:1]), exchanged])
    sides = []
    for own, other in ((pairs[0], pairs[1]), (pairs[1], pairs[0])):
        averages = [
            stayed + taken
            for stayed, taken in zip(
                _sums(own, 1 - exchanged), _sums(other, exchanged), strict=True
            )
        ]
        means, shares = (total / own.runs for total in averages)
        borders = find_borders(own, means, shares, margin, most_failed)
        sides.append(_measure(borders, by))
    # What has no range ends nowhere else.
    difference = np.nan_to_num(np.abs(sides[0] - sides[1]))
    difference[difference < _SAME] = 0
    # Rounding must not break ties with what was seen.
    as_large = np.sum(difference[1:] >= difference[0] * (1 - 1e-9) - 1e-12)
    p_value = float((1 + as_large) / (1 + resamples))
    if ranges is None:
        one, two = (
            stable_range(pair, margin=margin, most_failed=most_failed, seed=seed)
            for pair in pairs
        )
        ranges = one, two
    return RangeComparison(
        names,
        ranges,
        p_value,
        min(1.0, p_value * looks),
        alpha,
        unit,
        complete=bool(np.all(np.isnan(first.scores) == np.isnan(second.scores))),
        by=by,
    )


def failed_intervals(curve: Curve, *, level: float = 0.95) -> Sequence[Interval]:
    """Intervals of the chance to fail at each value of a curve.

    Args:
      curve: its runs.
      level: confidence level.

    Returns:
      Wilson's interval at each value, from 0 to 1.

    Raises:
      ValueError: if the level is not between 0 and 1.
    """
    counts = np.round(curve.failed_shares * curve.runs).astype(int)
    return [
        wilson_interval(int(count), int(runs), level=level)
        for count, runs in zip(counts, curve.runs, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Borders:
    """Logarithms of both ends, and the best point, of several curves.

    Where a curve has no range the ends are NaN and the point is -1.
    """

    low: Matrix
    high: Matrix
    best: NDArray[np.int64]

    @property
    def octaves(self) -> Matrix:
        """Widths of the ranges; 0 where there is none."""
        return np.nan_to_num((self.high - self.low) / np.log(2))


def _measure(found: Any, by: Aspect) -> Any:
    """What is compared of a :class:`StableRange`, or of each of :class:`Borders`."""
    return getattr(found, "octaves" if by == "width" else by)


def _sums(curve: Curve, weights: Matrix) -> tuple[Matrix, Matrix]:
    """Weighted sums over seeds of scores and failures, shape (draws, points)."""
    there = ~np.isnan(curve.scores)
    scores = np.where(there, curve.scores, 0.0)
    return weights @ scores.T, weights @ curve.failed.T.astype(np.float64)


def _averages(curve: Curve, weights: Matrix) -> tuple[Matrix, Matrix]:
    """Weighted means of scores and failures; where no seed was drawn, those of all."""
    counts = weights @ (~np.isnan(curve.scores)).T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means, shares = (total / counts for total in _sums(curve, weights))
    return (
        np.where(counts > 0, means, curve.means),
        np.where(counts > 0, shares, curve.failed_shares),
    )


def find_borders(
    curve: Curve, means: Matrix, shares: Matrix, margin: float, most_failed: float
) -> Borders:
    """Where the stable ranges of several curves end, each a row of the arrays.

    Args:
      curve: has the values.
      means: at each value, shape (curves, points).
      shares: of failed runs, of the same shape.
      margin: as for :func:`stable_range`.
      most_failed: as for :func:`stable_range`.

    Returns:
      Their ends.
    """
    # Rounding must not decide what lies on a limit: 65.9 - 2 is above 63.9.
    few = shares <= most_failed + _ROUNDING
    # Among values where too many runs fail there is no best one.
    ranked = np.where(few, means, -np.inf)
    best = np.argmax(ranked, axis=1)
    highest = np.max(ranked, axis=1, keepdims=True)
    lowest = highest - margin
    stable = few & (means >= lowest - _ROUNDING * (margin + np.abs(highest)))
    rows, places = np.arange(len(means)), np.log(curve.values)

    def end(step: int) -> Matrix:
        at, ended = best.copy(), np.zeros(len(rows), bool)
        found = places[at]
        for _ in range(len(places) - 1):
            following = np.clip(at + step, 0, len(places) - 1)
            is_new = (following != at) & ~ended
            if not np.any(is_new):
                break
            goes_on = is_new & stable[rows, following]
            here, there = (
                (means[rows, index], shares[rows, index]) for index in (at, following)
            )
            part = np.minimum(
                _crossing(here[0] - lowest[:, 0], there[0] - lowest[:, 0]),
                _crossing(most_failed - here[1], most_failed - there[1]),
            )
            border = places[at] + part * (places[following] - places[at])
            found = np.where(
                is_new, np.where(goes_on, places[following], border), found
            )
            ended |= is_new & ~goes_on
            at = np.where(goes_on, following, at)
        return found

    nowhere = ~np.any(few, axis=1)
    low, high = (np.where(nowhere, np.nan, end(step)) for step in (-1, 1))
    return Borders(low, high, np.where(nowhere, -1, best))


def _reaching(widths: Matrix, found: float, level: float) -> Interval:
    """The farther ends of the percentile interval and of its reflection."""
    low, high = np.quantile(widths, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        float(min(low, max(0.0, 2 * found - high))),
        float(max(high, 2 * found - low)),
        level,
    )


def _crossing(here: Matrix, there: Matrix) -> Matrix:
    """How far from here to there what is not negative here becomes so; 1 if never."""
    with np.errstate(invalid="ignore", divide="ignore"):
        part = here / (here - there)
    return np.where(there < 0, np.clip(np.nan_to_num(part), 0, 1), 1.0)


def _short(value: float) -> str:
    """A number with two digits that count: 0.00014, 250, 1e-05."""
    return f"{float(f'{value:.2g}'):g}"


def check_limits(margin: object, most_failed: object) -> None:
    """Raises an error unless both are in their ranges."""
    share = known_number("most_failed", most_failed, "a number from 0 to 1")
    if share is None or not 0 <= share <= 1:
        raise ValueError(f"most_failed must be from 0 to 1, got {most_failed!r}")
    width = known_number("margin", margin, "a number above 0")
    if width is None or not 0 < width < np.inf:
        raise ValueError(f"margin must be a number above 0, got {margin!r}")
