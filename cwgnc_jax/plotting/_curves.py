"""Score and failed runs over a setting: where methods are stable."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from cwgnc_jax.plotting._drawing import COLORS, DASHES, MARKERS
from cwgnc_jax.stability import Curve, StableRange, failed_intervals

# Share of the axis that the label of a value takes.
_ROOM = 0.12


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
      ranges: their stable ranges, drawn as bars below the curves.
      xlabel: name of the setting.
      ylabel: name of the metric.
      title: of the figure.

    Returns:
      The figure: above, the means with 95% bands (Student's, of the seeds); below, the
      shares with Wilson's 95% intervals. Methods have colours, markers and dashes of
      their own, and their names stand at the ends of their lines.

    Raises:
      ValueError: if there are no curves.

    Examples:
      >>> from cwgnc_jax.plotting import plot_stability
      >>> from cwgnc_jax.stability import Curve
      >>> scores = [[60, 62, 61], [64, 66, 62], [20, 66, 0]]
      >>> failed = [[False] * 3, [False] * 3, [True, False, True]]
      >>> figure = plot_stability({"adamw": Curve([1e-5, 1e-4, 1e-3], scores, failed)})
      >>> [axes.get_ylabel() for axes in figure.axes]
      ['score (%)', 'failed runs']
    """
    from scipy import stats

    if not curves:
        raise ValueError("curves must have at least one method, got none")
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    above, below = figure.subplots(
        2, sharex=True, gridspec_kw={"height_ratios": (2.2, 1)}
    )
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xscale("log")
    ends = {}
    for number, (name, curve) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        line = {
            "color": color,
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": DASHES[number % len(DASHES)],
            "markersize": 4.5,
            "linewidth": 1.6,
        }
        above.plot(curve.values, curve.means, **line)
        count = curve.runs
        with np.errstate(invalid="ignore", divide="ignore"):
            deviations = np.nanstd(curve.scores, axis=1) * np.sqrt(count / (count - 1))
            error = stats.t.isf(0.025, count - 1) * deviations / np.sqrt(count)
        error = np.nan_to_num(error)
        above.fill_between(
            curve.values,
            curve.means - error,
            curve.means + error,
            color=color,
            alpha=0.15,
            linewidth=0,
        )
        shares = curve.failed_shares
        intervals = failed_intervals(curve)
        # Beside each other, so that no bar hides another.
        aside = 1.03 ** (number - (len(curves) - 1) / 2)
        below.errorbar(
            curve.values * aside,
            shares,
            np.abs(shares - np.transpose([[i.low, i.high] for i in intervals])),
            elinewidth=1,
            capsize=2,
            **line,
        )
        ends[name] = float(curve.means[-1]), color
    _name_lines(above, ends)
    _draw_ranges(above, ranges or {}, [*curves])
    _label_values(below, curves)
    below.set_xlabel(xlabel)
    below.set_ylabel("failed runs")
    below.set_ylim(-0.03, 1.03)
    below.yaxis.set_major_formatter(PercentFormatter(1))
    above.set_ylabel(ylabel)
    if title is not None:
        figure.suptitle(title, fontsize="large")
    return figure


def _label_values(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Writes the values below the axis, but those for which there is no room."""
    values = np.unique(np.concatenate([curve.values for curve in curves.values()]))
    least, last, shown = _ROOM * np.log(values[-1] / values[0]), -np.inf, []
    for value in values.tolist():
        if np.log(value) - last >= least:
            last = np.log(value)
            shown.append(value)
    axes.set_xticks(shown, [f"{value:g}" for value in shown], fontsize="small")
    axes.xaxis.set_minor_locator(NullLocator())


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, str]]) -> None:
    """Writes names behind the ends of lines, as far apart as letters are high."""
    low, high = axes.get_ylim()
    least, place = 0.055 * (high - low), -np.inf
    for name, (height, color) in sorted(ends.items(), key=lambda item: item[1][0]):
        place = max(height, place + least)
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
    axes: Axes, ranges: Mapping[str, StableRange], names: list[str]
) -> None:
    """Draws stable ranges as bars below everything else, open ends as arrows."""
    low, high = axes.get_ylim()
    step = 0.045 * (high - low)
    for row, (name, found) in enumerate(ranges.items(), 1):
        if np.isnan(found.best):
            continue
        color, place = COLORS[names.index(name) % len(COLORS)], low - row * step
        axes.plot([found.low, found.high], [place] * 2, color=color, linewidth=3)
        for value, is_open, marker in (
            (found.low, found.open_below, "<"),
            (found.high, found.open_above, ">"),
        ):
            axes.plot(value, place, marker if is_open else "|", color=color, ms=6)
    axes.set_ylim(low - (len(ranges) + 1) * step, high)
