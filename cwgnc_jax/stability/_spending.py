"""Which runs tell most of where methods are stable, and what a look at them costs.

A study with a budget begins with a coarse grid and few seeds, and adds values and seeds
where the ends of the stable ranges are most in doubt. That must not make methods that
are alike look different. The test of widths exchanges, for each seed, all runs of two
methods; it stays exact if the choice of the runs is the same whichever way they are
exchanged. So the choice looks at no method's runs but at those in order: the best run
of each seed and value, whosever it is, the second, and so on. Where methods differ by
more than chance the ordered curves end where the methods' do; where they do not, the
order is chance, and nothing is lost.

What does depend on the methods is when a study ends, if it ends with its verdict. Each
look has a level of its own; together they have that of the study.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cwgnc_jax.stability._curves import Curve, check_limits, find_borders
from cwgnc_jax.stability._runs import check_share, check_whole

Matrix = NDArray[np.float64]

# Of the coarse grid that a study begins with.
_VALUES = 5
# Values no further apart than an octave are near: the more values there are, the more
# often one of a few seeds is low by chance, and seems to end a range.
_NEAR = 2.1
# After which shares of the budget a study is looked at.
_LOOKS = (0.4, 0.6, 0.8, 1.0)
# Draws of what the mean and the failures at a value may be in truth.
_DRAWS = 100
_MOST = (0.1, 0.9)
# That none of four failed does not prove that none does; but at most values nearly all
# runs fail, or hardly any.
_PRIOR = 0.1
# Values that tell this share of what the best one tells get their seeds with it.
_WORTH = 0.5


def next_runs(
    grid: ArrayLike,
    curves: Sequence[Curve],
    runs: int,
    *,
    margin: float,
    most_failed: float = 0.1,
    methods: int = 2,
    seeds: int = 4,
) -> dict[float, int]:
    """Which runs to do next: at which values, by how many seeds.

    First a coarse grid; then the values of the grid halfway between those at which a
    range is known to have ended; then further seeds, where the ends of the ranges
    depend most on what is not known of a value.

    Args:
      grid: values that may be run, increasing and above 0, shape (values,).
      curves: what was run, a curve for each method, all at the same values and by the
        same seeds; empty at the beginning.
      runs: how many runs are left of the budget, of all methods together.
      margin: as for :func:`stable_range`.
      most_failed: as for :func:`stable_range`.
      methods: number of methods, where there are no curves yet.
      seeds: how many each value begins with, and gets at a time.

    Returns:
      How many seeds some values are to have in all, of every method; of those that
      they have already they keep the first. Empty if the budget does not suffice for
      one more of each method, or nothing is in doubt.

    Raises:
      ValueError: if the values do not increase from above 0, the curves do not have the
        same values and seeds, or no seed in common, or a number is out of its range.
      TypeError: if one is no number.

    Examples:
      >>> grid = [1e-5, 2e-5, 4e-5, 8e-5, 1.6e-4, 3.2e-4, 6.4e-4]
      >>> next_runs(grid, [], 100, margin=2, seeds=3)
      {1e-05: 3, 4e-05: 3, 8e-05: 3, 0.00016: 3, 0.00064: 3}
      >>> scores = [[60, 61, 62], [61, 63, 62], [60, 63, 61], [58, 59, 57], [20, 1, 15]]
      >>> failed = np.array(scores) < 30
      >>> done = Curve([1e-5, 4e-5, 8e-5, 1.6e-4, 6.4e-4], scores, failed)
      >>> next_runs(grid, [done, done], 100, margin=6, seeds=3)
      {0.00032: 3}
    """
    places = np.asarray(grid, np.float64)
    if (
        places.ndim != 1
        or not places.size
        or not np.all(np.diff(places, prepend=0) > 0)
        or not np.isfinite(places[-1])
    ):
        raise ValueError(
            f"grid must be finite and increase from above 0, got {places.tolist()}"
        )
    runs, seeds = check_whole("runs", runs), check_whole("seeds", seeds, at_least=1)
    check_limits(margin, most_failed)
    if not curves:
        methods = check_whole("methods", methods, at_least=1)
        count = min(_VALUES, len(places))
        coarse = places[np.round(np.linspace(0, len(places) - 1, count)).astype(int)]
        return _within(dict.fromkeys(coarse.tolist(), seeds), {}, runs // methods)
    ordered = _in_order(curves)
    values = ordered[0].values
    done = dict(zip(values.tolist(), ordered[0].runs.tolist(), strict=True))
    left = runs // len(curves)
    halfway = {
        value
        for curve in ordered
        for value in _halfway(places, curve, margin, most_failed)
    }
    if halfway:
        wanted = dict.fromkeys(sorted(halfway), min(seeds, max(done.values())))
        return _within(wanted, done, left)
    gains = np.sum(
        [_gains(curve, margin, most_failed, seeds) for curve in ordered], axis=0
    )
    if not np.max(gains) > 0:
        return {}
    # The most telling first: the budget may end with them.
    order: list[int] = np.argsort(-gains, kind="stable").tolist()
    worth = [at for at in order if gains[at] >= _WORTH * gains[order[0]]]
    wanted = {float(values[at]): done[float(values[at])] + seeds for at in worth}
    return _within(wanted, done, left)


class Look(NamedTuple):
    """A look at the results of a study that is under way.

    Attributes:
      share: how much of the budget was spent then, from 0 to 1.
      level: p-values up to it are shown.
    """

    share: float
    level: float


def next_look(
    share: float, looks: Sequence[Look] = (), *, alpha: float = 0.05
) -> Look | None:
    """Whether it is time to look at the results, and at which level.

    Until a share of the budget is spent, looks may spend its third power of alpha: few
    data seldom show a thing, and the last look keeps most of it. A verdict at any look
    is wrong with the chance alpha at most, however the looks depend on each other.

    Args:
      share: how much of the budget is spent, from 0 to 1; 1 for the last look.
      looks: those that there were.
      alpha: accepted chance of a wrong verdict in the whole study.

    Returns:
      The look, where 40%, 60%, 80% or all of the budget are spent for the first time,
      and something of alpha is left.

    Raises:
      ValueError: if a number is out of its range.

    Examples:
      >>> first = next_look(0.5)
      >>> first
      Look(share=0.5, level=0.00625)
      >>> next_look(0.55, [first])
      >>> next_look(1.0, [first])
      Look(share=1.0, level=0.043750000000000004)

    References:
      Kim & DeMets, `Design and Analysis of Group Sequential Tests Based on the Type I
      Error Spending Rate Function <https://doi.org/10.1093/biomet/74.1.149>`_, 1987;
      here the sum of the levels is what bounds the error, whatever the looks'
      correlation.
    """
    check_share("alpha", alpha)
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie from 0 to 1, got {share}")
    last = looks[-1].share if looks else 0.0
    left = alpha * share**3 - math.fsum(look.level for look in looks)
    is_due = any(last < due <= share for due in _LOOKS)
    return Look(share, left) if is_due and left > 0 else None


def _in_order(curves: Sequence[Curve]) -> list[Curve]:
    """The worst run of each value and seed as a curve, the second, to the best.

    Whichever way a seed's runs are exchanged between methods, these are the same.
    """
    first, *others = curves
    if any(
        other.scores.shape != first.scores.shape or np.any(other.values != first.values)
        for other in others
    ):
        raise ValueError("curves must have the same values and seeds")
    scores = np.array([curve.scores for curve in curves])
    failed = np.array([curve.failed for curve in curves])
    # A seed that one method lacks counts for none.
    lacking = np.any(np.isnan(scores), axis=0)
    # A run that failed is worse than one that did not, whatever its score.
    order = np.lexsort((scores, ~failed), axis=0)
    scores, failed = (np.take_along_axis(each, order, 0) for each in (scores, failed))
    scores[:, lacking], failed[:, lacking] = np.nan, False
    there = ~np.all(lacking, axis=1)
    if not np.any(there):
        raise ValueError("curves must have a seed in common at one of the values")
    return [
        Curve(first.values[there], some[there], bad[there])
        for some, bad in zip(scores, failed, strict=True)
    ]


def _halfway(
    places: Matrix, curve: Curve, margin: float, most_failed: float
) -> list[float]:
    """Values of the grid halfway between one in the range and the next, not in it."""
    ends = find_borders(
        curve, curve.means[None], curve.failed_shares[None], margin, most_failed
    )
    if ends.best[0] < 0:
        # Nothing is stable so far: beside the values where most runs go well.
        at = int(np.argmin(curve.failed_shares))
        pairs = [(at - 1, at), (at, at + 1)]
    else:
        low, high = np.exp(ends.low[0]), np.exp(ends.high[0])
        outside = np.searchsorted(curve.values, low * (1 - 1e-9)) - 1
        above = int(np.searchsorted(curve.values, high * (1 + 1e-9)))
        pairs = [(int(outside), int(outside) + 1), (above - 1, above)]
    found = []
    for lower, upper in pairs:
        if lower < 0 or upper >= len(curve.values):
            continue
        if curve.values[upper] <= _NEAR * curve.values[lower]:
            continue
        between = places[
            (places > curve.values[lower] * (1 + 1e-9))
            & (places < curve.values[upper] * (1 - 1e-9))
        ]
        if between.size:
            found.append(float(between[(between.size - 1) // 2]))
    return found


def _gains(curve: Curve, margin: float, most_failed: float, seeds: int) -> Matrix:
    """By how much further seeds at each value make the width surer.

    At each value alone mean and share of failures are drawn as they may be in truth;
    how far most of the widths then lie apart, in octaves, falls with the seeds.
    """
    count = curve.runs
    rng = np.random.default_rng(0)
    deviations = curve.stds * np.sqrt(count / np.maximum(count - 1, 1))
    # Of a few seeds some are alike by chance.
    deviations = np.maximum(deviations, np.median(deviations))
    failures = curve.failed_shares * count
    points = len(count)
    # For each value a block of rows, in which its own column alone varies.
    means, shares = (
        np.tile(each, (points, _DRAWS, 1))
        for each in (curve.means, curve.failed_shares)
    )
    for at, error in enumerate(deviations / np.sqrt(count)):
        means[at, :, at] += error * rng.standard_normal(_DRAWS)
        shares[at, :, at] = rng.beta(
            failures[at] + _PRIOR, count[at] - failures[at] + _PRIOR, _DRAWS
        )
    rows = (-1, points)
    widths = find_borders(
        curve, means.reshape(rows), shares.reshape(rows), margin, most_failed
    ).octaves
    # What hardly ever happens, such as that a sound value is not, would outweigh all
    # else in a variance.
    low, high = np.quantile(widths.reshape(points, _DRAWS), _MOST, axis=1)
    return (high - low) ** 2 * seeds / (count + seeds)


def _within(
    wanted: dict[float, int], done: dict[float, int], most: int
) -> dict[float, int]:
    """What a number of runs of each method suffices for, the first values first."""
    missing = {value: seeds - done.get(value, 0) for value, seeds in wanted.items()}
    if sum(missing.values()) <= most:
        return dict(sorted(wanted.items()))
    each, kept = most // len(wanted), [*wanted]
    if not each:
        each, kept = 1, kept[:most]
    return dict(
        sorted(
            (value, done.get(value, 0) + min(each, missing[value])) for value in kept
        )
    )
