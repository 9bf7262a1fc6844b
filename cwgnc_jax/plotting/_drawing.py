"""What the figures have in common: colours, axes, legends."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import (
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

# Okabe and Ito's colours, with grey for their yellow, which is lost on white.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
    "#8C8C8C",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
# Up to so many stages have a legend entry each; more have a colour bar.
MOST_ENTRIES = 8
_MOST_POINTS = 150
# A few units in the last place of float32.
_ROUNDING = 1e-6


def new_figure(
    panels: int = 1,
    *,
    title: str | None,
    width: float = 6.0,
    height: float = 4.0,
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0].tolist()
    for axes in all_axes:
        style_axes(axes)
    if title is not None:
        figure.suptitle(title, fontsize="large")
    return figure, all_axes


def style_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def as_array(argument: str, name: str, values: ArrayLike, axes: Sequence[int]) -> Any:
    checked = np.asarray(values, np.float64)
    if checked.ndim not in axes or not checked.size:
        raise ValueError(
            f"{argument}: {name!r} must have {' or '.join(map(str, axes))} axes and "
            f"not be empty, got the shape {checked.shape}"
        )
    return checked


def thin(
    values: Any,
    steps: ArrayLike | None,
    smooth: int | None,
    average: Any = np.median,
) -> tuple[Any, Any]:
    """One point for each ``smooth`` steps: the middle step, the average value."""
    numbers = np.arange(1, len(values) + 1) if steps is None else np.asarray(steps)
    if numbers.shape != values.shape[:1]:
        raise ValueError(
            f"steps must be {len(values)} numbers, got the shape {numbers.shape}"
        )
    if smooth is None:
        smooth = math.ceil(len(values) / _MOST_POINTS)
    if smooth < 1:
        raise ValueError(f"smooth must be at least 1, got {smooth}")
    cuts = np.arange(smooth, len(values), smooth)
    return (
        np.array([part.mean() for part in np.split(numbers, cuts)]),
        np.stack([average(part, axis=0) for part in np.split(values, cuts)]),
    )


def step_axis(axes: Axes) -> None:
    """Steps are whole numbers, however few there are."""
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins="auto", min_n_ticks=1))


def log_axis(
    all_axes: Sequence[Axes], values: Any, threshold: float | None = None
) -> None:
    """A logarithmic axis for all, with labels enough, whatever its range."""
    axes = all_axes[0]
    axes.set_yscale("log")
    if threshold is not None and 0 < threshold < math.inf:
        values = np.append(values, threshold)
        for panel in all_axes:
            panel.axhline(threshold, color="black", linestyle=(0, (1, 1)), linewidth=1)
        all_axes[-1].annotate(
            f"threshold {threshold:g}",
            (1, threshold),
            xycoords=("axes fraction", "data"),
            horizontalalignment="right",
            verticalalignment="bottom",
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    seen = values[np.isfinite(values) & (values > 0)]
    if not seen.size:
        return
    low, high = seen.min() / 1.3, seen.max() * 1.3
    axes.set_ylim(low, high)
    if high / low < 50:
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter(
            LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(9, 9))
        )
    else:
        axes.yaxis.set_minor_formatter(NullFormatter())


def without_rounding(panels: Sequence[Any]) -> Any:
    """Which columns are more than the rounding of the others, in any panel.

    The gradient of a key's bias is 0, for softmax does not see it; what is computed for
    it is rounding, and an axis that has room for it has little for anything else. What
    is not finite where others are is none.
    """
    highest = np.max(
        [np.max(np.nan_to_num(series, posinf=0), axis=0) for series in panels], axis=0
    )
    finite = [np.isfinite(series) for series in panels]
    diverged = [np.any(~at & at.any(axis=1, keepdims=True), axis=0) for at in finite]
    return (highest > _ROUNDING * np.max(highest, initial=0)) | np.any(diverged, axis=0)


def short_name(group: str) -> str:
    return "emb." if group == "embeddings" else group.removeprefix("layer ")


def palette(count: int) -> list[Any]:
    if count <= len(COLORS):
        return list(COLORS[:count])
    colors = sequence(count)
    return [colors(number) for number in range(count)]


def sequence(count: int) -> ListedColormap:
    """From dark to light, the lightest still visible on white."""
    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, count)))


def color_bar(
    figure: Figure, axes: Axes, colors: ListedColormap, numbers: Any, label: str
) -> None:
    """A bar of one block for each line; not every block has its number written."""
    positions = np.arange(len(numbers))
    bar = figure.colorbar(
        ScalarMappable(
            BoundaryNorm(np.arange(len(numbers) + 1) - 0.5, len(numbers)), colors
        ),
        ax=axes,
        label=label,
        aspect=30,
        pad=0.02,
    )
    every = -(-len(numbers) // 12)
    shown = positions[::every].tolist()
    bar.set_ticks(shown, labels=[str(numbers[index]) for index in shown])
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)


def legend_label(name: str) -> str:
    """A name as a label: Matplotlib's legends leave out what begins with _."""
    # Behind a character of no width.
    return f"\u200b{name}" if name.startswith("_") else name


def legend_below(
    figure: Figure,
    axes: Axes,
    *,
    order: Sequence[str] = (),
    only: Sequence[str] | None = None,
    columns: int = 4,
) -> None:
    handles, labels = axes.get_legend_handles_labels()
    handle_of = dict(zip(labels, handles, strict=True))
    order = [legend_label(name) for name in order]
    labels = [*order, *(label for label in labels if label not in order)]
    if only is not None:
        labels = [legend_label(name) for name in only]
    # As many columns as the longest label leaves room for, in inches.
    column = 0.55 + 0.068 * max((len(label) for label in labels), default=1)
    columns = min(columns, max(1, int(figure.get_figwidth() / column)))
    figure.legend(
        [handle_of[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=min(columns, max(1, len(labels))),
        frameon=False,
        fontsize="small",
    )


def modules_and_kinds(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is written before and after the last slash, less what all have in common."""
    plain = [name.partition("[")[0] for name in names]
    parts = [name.partition("[")[2].rpartition("]")[0].split(",") for name in names]
    common = 0
    for keys in zip(*(name.split("/")[:-1] for name in plain), strict=False):
        if len(set(keys)) > 1:
            break
        common += 1
    modules, kinds = [], []
    for name, indices in zip(plain, parts, strict=True):
        keys = name.split("/")
        words = [index for index in indices if index and not index.isdecimal()]
        modules.append("/".join(keys[common:-1] + words))
        kinds.append(keys[-1])
    return modules, kinds


def kind_order(kind: str) -> tuple[bool, str]:
    """Biases last: solid lines are for what there is most of."""
    return kind in ("bias", "b", "beta", "offset"), kind
