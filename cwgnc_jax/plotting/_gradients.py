"""Gradients over time: norms by component and by layer, and how much is clipped."""

import math
from collections.abc import Mapping, Sequence
from itertools import compress

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cwgnc_jax.plotting._drawing import (
    COLORS,
    DASHES,
    as_array,
    color_bar,
    kind_order,
    legend_below,
    legend_label,
    log_axis,
    modules_and_kinds,
    new_figure,
    palette,
    sequence,
    step_axis,
    thin,
    without_rounding,
)


def plot_gradient_norms(
    norms: Mapping[str, ArrayLike],
    names: Sequence[str],
    *,
    steps: ArrayLike | None = None,
    smooth: int | None = None,
    threshold: float | None = None,
    ylabel: str = "gradient norm",
    title: str | None = None,
) -> Figure:
    """Gradient norm of each component over the steps: a failed run beside another.

    Colours stand for modules, dashes for the kind of parameter (kernel, bias), so that
    the legend needs an entry for each of these alone.

    Args:
      norms: norms of each run, by the title of its panel, shape (steps, components).
      names: names of the components, such as those of one layer. What all have in
        common, and the index of the layer, is not shown.
      steps: numbers of the steps, shape (steps,); by default counted from 1.
      smooth: number of steps whose median is drawn as one point; by default as many
        as leave some 150 points.
      threshold: norm above which a component is clipped, to be drawn as well.
      ylabel: what was measured.
      title: of the figure.

    Returns:
      The figure: panels side by side, with one logarithmic axis. A norm of 0 has no
      point. A component whose norms are all below a millionth of the largest, which
      is rounding, has no line, and the figure says so.

    Raises:
      ValueError: if there are no norms, or their shapes do not fit names and steps.

    Examples:
      >>> import numpy as np
      >>> from cwgnc_jax.plotting import plot_gradient_norms
      >>> names = [f"layers/{n}[21]" for n in ("query/bias", "query/kernel")]
      >>> runs = {"failed run": np.ones((9, 2)), "successful run": np.ones((9, 2))}
      >>> figure = plot_gradient_norms(runs, names)
      >>> [axes.get_title() for axes in figure.axes]
      ['failed run', 'successful run']

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, Figure 3
    """
    panels = {
        name: as_array("norms", name, series, (2,)) for name, series in norms.items()
    }
    wrong = [
        series.shape for series in panels.values() if series.shape[1] != len(names)
    ]
    if not panels or wrong:
        raise ValueError(
            f"norms must have a column for each of {len(names)} names, got "
            f"{wrong or 'no runs'}"
        )
    figure, all_axes = new_figure(
        len(panels), title=title, width=2.0 + 3.2 * len(panels), height=4.0
    )
    modules, kinds = modules_and_kinds(names)
    shown = without_rounding(list(panels.values()))
    distinct = list(dict.fromkeys(modules))
    module_colors = dict(zip(distinct, palette(len(distinct)), strict=True))
    dashes = {
        kind: DASHES[number % len(DASHES)]
        for number, kind in enumerate(sorted(set(kinds), key=kind_order))
    }
    for axes, (name, series) in zip(all_axes, panels.items(), strict=True):
        thinned_steps, values = thin(series, steps, smooth)
        for module, kind, column in compress(
            zip(modules, kinds, values.T, strict=True), shown
        ):
            axes.plot(
                thinned_steps,
                np.where(column > 0, column, np.nan),
                color=module_colors[module],
                linestyle=dashes[kind],
                linewidth=1.1,
            )
        axes.set_title(name, fontsize="medium")
        step_axis(axes)
    log_axis(
        all_axes,
        np.concatenate([series[:, shown] for series in panels.values()]),
        threshold,
    )
    all_axes[0].set_ylabel(ylabel)
    hidden = [f"{modules[index]} {kinds[index]}" for index in np.flatnonzero(~shown)]
    entries = [
        Line2D([], [], color=color, linewidth=2.2, label=legend_label(module))
        for module, color in module_colors.items()
        if module
    ]
    # The kinds have a column of their own, after columns that are filled up.
    rows = max(len(dashes), math.ceil(len(entries) / (2 if len(panels) == 1 else 4)))
    columns = math.ceil(len(entries) / rows)
    blanks = columns * rows - len(entries)
    entries += [Line2D([], [], linestyle="none", label=" ") for _ in range(blanks)]
    entries += [
        Line2D(
            [], [], color="0.3", linestyle=dash, linewidth=1.3, label=legend_label(kind)
        )
        for kind, dash in dashes.items()
    ]
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=columns + 1,
        frameon=False,
        fontsize="small",
        title=f"not drawn, being rounding: {', '.join(hidden)}" if hidden else None,
        title_fontsize="small",
    )
    return figure


def plot_layer_norms(
    norms: ArrayLike | Mapping[str, ArrayLike],
    layers: Sequence[int] | None = None,
    *,
    steps: ArrayLike | None = None,
    smooth: int | None = None,
    threshold: float | None = None,
    ylabel: str = "gradient norm",
    title: str | None = None,
) -> Figure:
    """Gradient norm of one kind of parameter over the steps, a line for each layer.

    Args:
      norms: norms, shape (steps, layers); of several runs by the titles of their
        panels.
      layers: numbers of the layers; by default counted from 0.
      steps: numbers of the steps, shape (steps,); by default counted from 1.
      smooth: number of steps whose median is drawn as one point; by default as many
        as leave some 150 points.
      threshold: norm above which a component is clipped, to be drawn as well.
      ylabel: what was measured.
      title: of the figure, such as the kind of parameter.

    Returns:
      The figure, with a colour bar for the layers. A norm of 0 has no point.

    Raises:
      ValueError: if the shape does not fit layers and steps.

    Examples:
      >>> import numpy as np
      >>> from cwgnc_jax.plotting import plot_layer_norms
      >>> figure = plot_layer_norms(np.ones((9, 24)), title="query/kernel")
      >>> len(figure.axes[0].lines)
      24
    """
    runs = norms if isinstance(norms, Mapping) else {"": norms}
    panels = {
        name: as_array("norms", name, series, (2,)) for name, series in runs.items()
    }
    count = next((series.shape[1] for series in panels.values()), 0)
    numbers = np.arange(count) if layers is None else np.asarray(layers)
    wrong = [
        series.shape for series in panels.values() if series.shape[1] != len(numbers)
    ]
    if not panels or wrong:
        raise ValueError(
            f"norms must have a column for each of {len(numbers)} layers, got "
            + (f"the shape {wrong[0]}" if wrong else "no runs")
        )
    figure, all_axes = new_figure(
        len(panels), title=title, width=2.8 + 3.2 * len(panels)
    )
    colors = sequence(len(numbers))
    for axes, (name, series) in zip(all_axes, panels.items(), strict=True):
        thinned_steps, values = thin(series, steps, smooth)
        for position, (number, column) in enumerate(
            zip(numbers, values.T, strict=True)
        ):
            axes.plot(
                thinned_steps,
                np.where(column > 0, column, np.nan),
                color=colors(position),
                linewidth=1.1,
                label=f"layer {number}",
            )
        if name:
            axes.set_title(name, fontsize="medium")
        step_axis(axes)
    log_axis(all_axes, np.concatenate(list(panels.values())), threshold)
    all_axes[0].set_ylabel(ylabel)
    color_bar(figure, all_axes[-1], colors, numbers, "layer")
    return figure


def plot_clip_rate(
    rates: Mapping[str, ArrayLike],
    *,
    steps: ArrayLike | None = None,
    smooth: int | None = None,
    ylabel: str = "components clipped (%)",
    title: str | None = None,
) -> Figure:
    """Share of the components, or of the parameters, that each step clipped.

    Args:
      rates: shares from 0 to 1 of each run, shape (steps,), from :func:`clip_rate`;
        of up to eight runs.
      steps: numbers of the steps, shape (steps,); by default counted from 1.
      smooth: number of steps whose mean is drawn as one point; by default as many as
        leave some 150 points.
      ylabel: what was measured.
      title: of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if there are no rates, or the shapes do not fit.

    Examples:
      >>> from cwgnc_jax.plotting import plot_clip_rate
      >>> figure = plot_clip_rate({"0.05": [1.0, 0.5], "1": [0.5, 0.0]})
      >>> figure.axes[0].lines[0].get_ydata().tolist()
      [100.0, 50.0]
    """
    if not rates:
        raise ValueError("rates must have at least one run, got none")
    figure, [axes] = new_figure(title=title)
    for number, (name, series) in enumerate(rates.items()):
        values = as_array("rates", name, series, (1,))[:, None]
        thinned_steps, values = thin(values, steps, smooth, average=np.mean)
        axes.plot(
            thinned_steps,
            100 * values[:, 0],
            color=COLORS[number % len(COLORS)],
            linestyle=DASHES[number // len(COLORS) % len(DASHES)],
            linewidth=1.4,
            label=legend_label(name),
        )
    axes.set_ylim(-2, 102)
    step_axis(axes)
    axes.set_ylabel(ylabel)
    legend_below(figure, axes)
    return figure
