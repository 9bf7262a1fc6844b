"""The paper's figures, drawn from plain arrays, so that records suffice to draw them.

Every function returns a ``matplotlib.figure.Figure`` of its own and leaves pyplot
alone: ``figure.savefig("scores.png", dpi=200)`` writes it. Colours can be told apart by
the colour-blind, and in grey where their order means something.

It needs matplotlib (``pip install cwgnc-jax[plot]``) and is imported by its name alone.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike

try:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError(
        "cwgnc_jax.plotting needs matplotlib: pip install cwgnc-jax[plot]"
    ) from error

from cwgnc_jax._drawing import (
    COLORS,
    DASHES,
    MARKERS,
    MOST_ENTRIES,
    as_array,
    color_bar,
    kind_order,
    legend_below,
    log_axis,
    modules_and_kinds,
    new_figure,
    palette,
    sequence,
    short_name,
    thin,
)


def plot_scores(
    scores: Mapping[str, ArrayLike],
    *,
    ylabel: str = "accuracy (%)",
    majority: float | None = None,
    title: str | None = None,
) -> Figure:
    """Score after each stage of gradual unfreezing, mean and spread of several runs.

    Args:
      scores: scores of each method, shape (stages, runs); or (runs,) for a method
        without stages, such as full fine-tuning, which is drawn across all stages.
      ylabel: name of the metric.
      majority: score of the majority classifier.
      title: of the figure.

    Returns:
      The figure: the mean of the runs with their standard deviation (of all runs,
      not corrected) as error bar or band, and every run as a dot.

    Raises:
      ValueError: if there are no scores or they have another number of axes.

    Examples:
      >>> from cwgnc_jax.plotting import plot_scores
      >>> scores = {"GU": [[60.0, 62.0], [61.0, 64.0]], "full": [70.0, 66.0]}
      >>> figure = plot_scores(scores, majority=52.7)
      >>> figure.axes[0].get_ylabel()
      'accuracy (%)'

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, Figure 1
    """
    values = {
        name: as_array("scores", name, each, (1, 2)) for name, each in scores.items()
    }
    if not values:
        raise ValueError("scores must have at least one method, got none")
    stages = max(len(each) if each.ndim == 2 else 1 for each in values.values())
    figure, [axes] = new_figure(title=title, width=4.2 + 0.22 * stages)
    staged = [name for name, each in values.items() if each.ndim == 2]
    for number, (name, each) in enumerate(values.items()):
        color = COLORS[number % len(COLORS)]
        mean, spread = each.mean(axis=-1), each.std(axis=-1)
        if each.ndim == 1:
            axes.axhspan(mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
            axes.axhline(mean, color=color, ls=(0, (5, 1.5)), label=name)
            continue
        # Methods stand beside each other, so that no bar hides another.
        aside = 0.16 * (staged.index(name) - (len(staged) - 1) / 2)
        places = 1 + np.arange(len(each)) + aside
        axes.plot(
            np.repeat(places, each.shape[1]),
            each.ravel(),
            linestyle="none",
            marker=MARKERS[number % len(MARKERS)],
            markersize=3,
            markeredgewidth=0,
            color=color,
            alpha=0.4,
        )
        axes.errorbar(
            places,
            mean,
            spread,
            color=color,
            marker=MARKERS[number % len(MARKERS)],
            markersize=5.5,
            linewidth=1.6,
            elinewidth=1.2,
            capsize=3,
            label=name,
        )
    if majority is not None:
        axes.axhline(
            majority,
            color="0.45",
            ls=(0, (1, 1.5)),
            lw=1.2,
            label="majority classifier",
        )
    axes.set_xlim(0.5, stages + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axes.set_xlabel("layers trained, from the top")
    axes.set_ylabel(ylabel)
    legend_below(figure, axes, order=list(values))
    return figure


def plot_updates(
    updates: Mapping[str, ArrayLike],
    *,
    beside: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    ylabel: str = "largest RMS difference",
    title: str | None = None,
    first_stage: int = 0,
) -> Figure:
    """How far each layer has moved, at each stage of gradual unfreezing.

    On a logarithmic axis, because a layer that the paper's figures show as nothing
    at all may have moved a hundredth as far as others, or not at all: what is 0
    (frozen) has no point, and layers below all that moved are left out.

    Args:
      updates: movement of each group of components at each stage, shape (stages,),
        from the embeddings up to the head, as :func:`extremes_by_group` gives it for
        values of shape (stages, components): root-mean-square differences, or
        :func:`component_cosine_distance`, from the pretrained parameters or from the
        stage before.
      beside: movement of each group in runs without stages, by the name of the method,
        such as full fine-tuning; a dashed line for each.
      ylabel: what was measured.
      title: of the figure, such as what the parameters are compared with.
      first_stage: number of the first of the stages.

    Returns:
      The figure: a line for each stage, layers along the axis.

    Raises:
      ValueError: if there are no updates, or stages differ in number.

    Examples:
      >>> from cwgnc_jax.plotting import plot_updates
      >>> updates = {"layer 0": [0.0, 1e-4], "layer 1": [2e-4, 3e-4],
      ...            "head": [1e-3, 1e-3]}
      >>> figure = plot_updates(updates, title="compared with the pretrained model")
      >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
      ['0', '1', 'head']

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, Figures 2, 4 and 5
    """
    columns = [as_array("updates", name, each, (1,)) for name, each in updates.items()]
    if not columns or len({each.size for each in columns}) > 1:
        raise ValueError(
            "updates must have as many stages for each group, got "
            f"{[each.size for each in columns]}"
        )
    values = np.stack(columns, axis=1)
    others = {
        name: np.array([np.asarray(each.get(group, 0), float) for group in updates])
        for name, each in (beside or {}).items()
    }
    values, *dashed = (
        np.where(each > 0, each, np.nan) for each in (values, *others.values())
    )
    everything = np.concatenate([values, *(each[None] for each in dashed)])
    moved = np.flatnonzero(~np.isnan(everything).all(axis=0))
    first = moved[0] if moved.size else 0
    labels = [short_name(name) for name in updates][first:]
    figure, [axes] = new_figure(title=title, width=4.0 + 0.2 * len(labels))
    stages = np.arange(first_stage, first_stage + len(values))
    colors = sequence(len(stages))
    few = len(stages) <= MOST_ENTRIES
    for number, (stage, row) in enumerate(zip(stages, values, strict=True)):
        axes.plot(
            np.arange(len(labels)),
            row[first:],
            color=colors(number),
            marker=MARKERS[number] if few else "o",
            markersize=4.5 if few else 3,
            linewidth=1.3,
            label=f"stage {stage}",
        )
    for name, row, dash in zip(others, dashed, ("--", ":", "-."), strict=False):
        axes.plot(
            np.arange(len(labels)),
            row[first:],
            color="black",
            linestyle=dash,
            linewidth=1.3,
            label=name,
        )
    log_axis(axes, everything)
    axes.set_xticks(range(len(labels)), labels)
    if len(labels) > 16:
        axes.tick_params(axis="x", labelsize="small")
    if max(map(len, labels)) > 5:
        axes.tick_params(axis="x", labelrotation=40)
    axes.set_xlabel("layer")
    axes.set_ylabel(ylabel)
    if few:
        legend_below(figure, axes)
    else:
        color_bar(figure, axes, colors, stages, "stage")
        if others:
            legend_below(figure, axes, only=list(others))
    return figure


def plot_gradient_norms(
    norms: Mapping[str, ArrayLike],
    names: Sequence[str],
    *,
    steps: ArrayLike | None = None,
    smooth: int | None = None,
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
      ylabel: what was measured.
      title: of the figure.

    Returns:
      The figure: panels side by side, with one logarithmic axis. A norm of 0 has no
      point.

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
    panels = {name: as_array("norms", name, each, (2,)) for name, each in norms.items()}
    wrong = [each.shape for each in panels.values() if each.shape[1] != len(names)]
    if not panels or wrong:
        raise ValueError(
            f"norms must have a column for each of {len(names)} names, got "
            f"{wrong or 'no runs'}"
        )
    figure, all_axes = new_figure(
        len(panels), title=title, width=2.0 + 3.2 * len(panels), height=4.0
    )
    modules, kinds = modules_and_kinds(names)
    distinct = list(dict.fromkeys(modules))
    module_colors = dict(zip(distinct, palette(len(distinct)), strict=True))
    dashes = {
        kind: DASHES[number % len(DASHES)]
        for number, kind in enumerate(sorted(set(kinds), key=kind_order))
    }
    for axes, (name, each) in zip(all_axes, panels.items(), strict=True):
        places, values = thin(each, steps, smooth)
        for module, kind, column in zip(modules, kinds, values.T, strict=True):
            axes.plot(
                places,
                np.where(column > 0, column, np.nan),
                color=module_colors[module],
                linestyle=dashes[kind],
                linewidth=1.1,
            )
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("step")
    log_axis(all_axes[0], np.concatenate(list(panels.values())))
    all_axes[0].set_ylabel(ylabel)
    entries = [
        Line2D([], [], color=color, linewidth=2.2, label=module)
        for module, color in module_colors.items()
        if module
    ]
    # The kinds have a column of their own, after columns that are filled up.
    rows = max(len(dashes), math.ceil(len(entries) / (2 if len(panels) == 1 else 4)))
    columns = math.ceil(len(entries) / rows)
    blanks = columns * rows - len(entries)
    entries += [Line2D([], [], linestyle="none", label=" ") for _ in range(blanks)]
    entries += [
        Line2D([], [], color="0.3", linestyle=dash, linewidth=1.3, label=kind)
        for kind, dash in dashes.items()
    ]
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=columns + 1,
        frameon=False,
        fontsize="small",
    )
    return figure


def plot_layer_norms(
    norms: ArrayLike | Mapping[str, ArrayLike],
    layers: Sequence[int] | None = None,
    *,
    steps: ArrayLike | None = None,
    smooth: int | None = None,
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
    panels = {name: as_array("norms", name, each, (2,)) for name, each in runs.items()}
    count = next((each.shape[1] for each in panels.values()), 0)
    numbers = np.arange(count) if layers is None else np.asarray(layers)
    wrong = [each.shape for each in panels.values() if each.shape[1] != len(numbers)]
    if not panels or wrong:
        raise ValueError(
            f"norms must have a column for each of {len(numbers)} layers, got "
            + (f"the shape {wrong[0]}" if wrong else "no runs")
        )
    figure, all_axes = new_figure(
        len(panels), title=title, width=2.8 + 3.2 * len(panels)
    )
    colors = sequence(len(numbers))
    for axes, (name, each) in zip(all_axes, panels.items(), strict=True):
        places, values = thin(each, steps, smooth)
        for position, (number, column) in enumerate(
            zip(numbers, values.T, strict=True)
        ):
            axes.plot(
                places,
                np.where(column > 0, column, np.nan),
                color=colors(position),
                linewidth=1.1,
                label=f"layer {number}",
            )
        if name:
            axes.set_title(name, fontsize="medium")
        axes.set_xlabel("step")
    log_axis(all_axes[0], np.concatenate(list(panels.values())))
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
      ValueError: if the shapes do not fit.

    Examples:
      >>> from cwgnc_jax.plotting import plot_clip_rate
      >>> figure = plot_clip_rate({"0.05": [1.0, 0.5], "1": [0.5, 0.0]})
      >>> figure.axes[0].lines[0].get_ydata().tolist()
      [100.0, 50.0]
    """
    figure, [axes] = new_figure(title=title)
    for number, (name, each) in enumerate(rates.items()):
        values = as_array("rates", name, each, (1,))[:, None]
        places, values = thin(values, steps, smooth, average=np.mean)
        axes.plot(
            places,
            100 * values[:, 0],
            color=COLORS[number % len(COLORS)],
            linestyle=DASHES[number // len(COLORS) % len(DASHES)],
            linewidth=1.4,
            label=name,
        )
    axes.set_ylim(-2, 102)
    axes.set_xlabel("step")
    axes.set_ylabel(ylabel)
    legend_below(figure, axes)
    return figure
