"""Score and failed runs over a setting: where methods are stable."""

import itertools
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, PercentFormatter

from cwgnc_jax.plotting._drawing import COLORS, DASHES, MARKERS, style_axes
from cwgnc_jax.stability import Curve, StableRange, failed_intervals

# Share of the axis that the label of a value takes, where it is as wide as the figure.
_ROOM = 0.12
# Letters of a line of a method's name, and how wide one is in inches.
_LETTERS, _LETTER = 24, 0.075
# More methods than colours have a panel each, so many in a row.
_COLUMNS = 5
_GREY = "0.6"
# Height of the means beside that of the shares of failed runs.
_HEIGHTS = (2.2, 1.0)


def plot_stability(
    curves: Mapping[str, Curve],
    ranges: Mapping[str, StableRange] | None = None,
    *,
    xlabel: str = "learning rate",
    ylabel: str = "score (%)",
    title: str | None = None,
) -> Figure:
    """Mean score and share of failed runs over the value of a setting.

    Args:
      curves: runs of each method.
      ranges: their stable ranges.
      xlabel: name of the setting.
      ylabel: name of the metric.
      title: of the figure.

    Returns:
      The figure: means with 95% bands (Student's, of the seeds) and shares of failed
      runs with Wilson's 95% intervals. Up to eight methods share axes, the first those
      of the means, the last those of the shares, with a bar for each stable range
      between them; they have colours, markers and dashes of their own, and their names
      stand at the ends of their lines. More have axes of their own each, first for the
      means, then for the shares, with the first method in grey and the stable range
      tinted.

    Raises:
      ValueError: if there are no curves, or a range is of none of them.

    Examples:
      >>> from cwgnc_jax.plotting import plot_stability
      >>> from cwgnc_jax.stability import Curve
      >>> scores = [[60, 62, 61], [64, 66, 62], [20, 66, 0]]
      >>> failed = [[False] * 3, [False] * 3, [True, False, True]]
      >>> figure = plot_stability({"adamw": Curve([1e-5, 1e-4, 1e-3], scores, failed)})
      >>> [axes.get_ylabel() for axes in figure.axes]
      ['score (%)', 'failed runs']
    """
    if not curves:
        raise ValueError("curves must have at least one method, got none")
    if unknown := [*(ranges or {}).keys() - curves.keys()]:
        raise ValueError(f"ranges must be of the curves {[*curves]}, got {unknown}")
    draw = _draw_together if len(curves) <= len(COLORS) else _draw_apart
    figure = draw(curves, ranges or {}, xlabel, ylabel)
    if title is not None:
        figure.suptitle(title, fontsize="large")
    return figure


def _draw_together(
    curves: Mapping[str, Curve],
    ranges: Mapping[str, StableRange],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """All methods on the same axes."""
    names = {name: textwrap.fill(name, _LETTERS) for name in curves}
    longest = max(len(line) for name in names.values() for line in name.split("\n"))
    rows = sum(names[name].count("\n") + 1 for name in ranges)
    size = (5.2 + _LETTER * longest, 5.2 + 0.2 * rows)
    figure = Figure(figsize=size, layout="constrained")
    between = [0.15 * (rows + 0.5)] if ranges else []
    ratios = [_HEIGHTS[0], *between, _HEIGHTS[1]]
    all_axes = figure.subplots(len(ratios), sharex=True, height_ratios=ratios)
    above, below = all_axes[0], all_axes[-1]
    ends, step = {}, _step_aside(curves)
    for number, (name, curve) in enumerate(curves.items()):
        look = _look(number)
        _draw_means(above, curve, look)
        # Beside each other, so that no bar hides another.
        _draw_shares(below, curve, look, step ** (number - (len(curves) - 1) / 2))
        ends[names[name]] = float(curve.means[-1]), look["color"]
    for axes in all_axes:
        style_axes(axes)
    above.set_xscale("log")
    _name_lines(above, ends)
    if ranges:
        shown = {names[name]: found for name, found in ranges.items()}
        _draw_ranges(all_axes[1], shown, {name: ends[name][1] for name in shown})
    _label_values(below, curves, _ROOM)
    above.set_ylabel(ylabel)
    below.set_xlabel(xlabel)
    below.set_ylabel("failed runs")
    return figure


def _draw_apart(
    curves: Mapping[str, Curve],
    ranges: Mapping[str, StableRange],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Each method on axes of its own, beside the first."""
    rows = math.ceil(len(curves) / _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 1 + 2.2 * rows), layout="constrained")
    all_axes = figure.subplots(
        2 * rows, _COLUMNS, sharex=True, height_ratios=_HEIGHTS * rows
    )
    pairs = [*zip(all_axes[::2].flat, all_axes[1::2].flat, strict=True)]
    for axes in itertools.chain.from_iterable(pairs[len(curves) :]):
        axes.remove()
    first, look = next(iter(curves)), _look(0)
    grey: dict[str, Any] = {"color": _GREY, "linewidth": 1.2, "zorder": 1.5}
    for (name, curve), (above, below) in zip(curves.items(), pairs, strict=False):
        above.sharey(pairs[0][0])
        above.plot(curves[first].values, curves[first].means, **grey)
        below.plot(curves[first].values, curves[first].failed_shares, **grey)
        _draw_means(above, curve, look)
        _draw_shares(below, curve, look)
        above.set_title(textwrap.fill(name, _LETTERS), fontsize="small")
        for axes in (above, below):
            style_axes(axes)
            axes.tick_params(labelsize="small", labelleft=False)
    for above, below in pairs[: len(curves) : _COLUMNS]:
        below.set_ylabel("failed", fontsize="small")
        for axes in (above, below):
            axes.tick_params(labelleft=True)
    for _, below in pairs[: len(curves)][-_COLUMNS:]:
        below.set_xlabel(xlabel, fontsize="small")
        below.tick_params(labelbottom=True)
    pairs[0][0].set_xscale("log")
    figure.supylabel(ylabel, fontsize="medium")
    _label_values(pairs[0][0], curves, 3 * _ROOM)
    shown: list[Artist] = [
        Line2D([], [], label="the method", **look),
        Line2D([], [], label=first, **grey),
    ]
    if ranges:
        for name, axes in zip(curves, pairs, strict=False):
            if name in ranges:
                _tint(axes, ranges[name], curves[name].values, look["color"])
        shown.append(Patch(color=look["color"], alpha=0.15, label="its stable range"))
    figure.legend(
        handles=shown, loc="outside lower center", ncols=len(shown), frameon=False
    )
    return figure


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLORS[number],
        "marker": MARKERS[number],
        "linestyle": DASHES[number % len(DASHES)],
        "markersize": 4.5,
        "linewidth": 1.6,
    }


def _draw_means(axes: Axes, curve: Curve, look: Mapping[str, Any]) -> None:
    from scipy import stats

    axes.plot(curve.values, curve.means, **look)
    count = curve.runs
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.nanstd(curve.scores, axis=1) * np.sqrt(count / (count - 1))
        error = stats.t.isf(0.025, count - 1) * deviations / np.sqrt(count)
    # Of a single seed there is no band.
    axes.fill_between(
        curve.values,
        curve.means - error,
        curve.means + error,
        color=look["color"],
        alpha=0.15,
        linewidth=0,
    )


def _draw_shares(
    axes: Axes, curve: Curve, look: Mapping[str, Any], aside: float = 1.0
) -> None:
    shares = curve.failed_shares
    ends = np.transpose([[i.low, i.high] for i in failed_intervals(curve)])
    errors = np.abs(shares - ends)
    axes.errorbar(curve.values * aside, shares, errors, elinewidth=1, capsize=2, **look)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _values(curves: Mapping[str, Curve]) -> np.ndarray:
    return np.unique(np.concatenate([curve.values for curve in curves.values()]))


def _step_aside(curves: Mapping[str, Curve]) -> float:
    """By which factor shares stand apart, no method's beyond half way to the next."""
    values = _values(curves)
    nearest = np.min(values[1:] / values[:-1], initial=np.inf)
    return float(min(1.03, nearest ** (0.5 / len(curves))))


def _label_values(axes: Axes, curves: Mapping[str, Curve], room: float) -> None:
    """Writes the values below the axis, but those for which there is no room."""
    values = _values(curves)
    least, last, shown = room * np.log(values[-1] / values[0]), -np.inf, []
    for value in values.tolist():
        if np.log(value) - last >= least:
            last = np.log(value)
            shown.append(value)
    axes.set_xticks(shown, [f"{value:g}" for value in shown], fontsize="small")
    axes.xaxis.set_minor_locator(NullLocator())
    if len(values) == 1:
        axes.set_xlim(values[0] / 2, values[0] * 2)


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, str]]) -> None:
    """Writes names behind the ends of lines, as far apart as letters are high."""
    low, high = axes.get_ylim()
    line, free = 0.055 * (high - low), -np.inf
    for name, (height, color) in sorted(ends.items(), key=lambda item: item[1][0]):
        half = line * (name.count("\n") + 1) / 2
        place = max(height, free + half)
        free = place + half
        _name(axes, name, place, color)


def _name(axes: Axes, name: str, place: float, color: str) -> None:
    axes.annotate(
        name,
        (1.01, place),
        xycoords=("axes fraction", "data"),
        verticalalignment="center",
        color=color,
        fontsize="small",
        annotation_clip=False,
    )


def _draw_ranges(
    axes: Axes, ranges: Mapping[str, StableRange], colors: Mapping[str, str]
) -> None:
    """Draws stable ranges as bars below each other, open ends as arrows."""
    for place, (name, found) in enumerate(ranges.items()):
        color = colors[name]
        _name(axes, name, place, color)
        if np.isnan(found.best):
            continue
        axes.plot([found.low, found.high], [place] * 2, color=color, linewidth=3)
        for value, is_open, marker in (
            (found.low, found.open_below, "<"),
            (found.high, found.open_above, ">"),
        ):
            axes.plot(value, place, marker if is_open else "|", color=color, ms=6)
    axes.set_ylim(len(ranges) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_ylabel("stable")


def _tint(
    pair: tuple[Axes, Axes], found: StableRange, values: np.ndarray, color: str
) -> None:
    """Tints a stable range, a little beyond the values tried where it is open."""
    if np.isnan(found.best):
        return
    beyond = (values[-1] / values[0]) ** 0.05
    low = found.low / (beyond if found.open_below else 1)
    high = found.high * (beyond if found.open_above else 1)
    for axes in pair:
        limits = axes.get_xlim()
        axes.axvspan(low, high, color=color, alpha=0.15, linewidth=0, zorder=0)
        axes.set_xlim(limits)
