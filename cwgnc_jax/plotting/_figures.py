"""Scores by stage, and how far layers moved: Figures 1, 2, 4 and 5."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cwgnc_jax.plotting._drawing import (
    COLORS,
    MARKERS,
    MOST_ENTRIES,
    as_array,
    color_bar,
    legend_below,
    legend_label,
    log_axis,
    new_figure,
    sequence,
    short_name,
)


def plot_scores(
    scores: Mapping[str, ArrayLike],
    *,
    ylabel: str = "accuracy (%)",
    majority: float | None = None,
    constant: str = "majority classifier",
    title: str | None = None,
) -> Figure:
    """Score after each stage of gradual unfreezing, mean and spread of several runs.

    Args:
      scores: scores of each method, shape (stages, runs); or (runs,) for a method
        without stages, such as full fine-tuning, which is drawn across all stages.
      ylabel: name of the metric.
      majority: score of the majority classifier, or of another constant answer.
      constant: what the legend calls that.
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
        name: as_array("scores", name, series, (1, 2))
        for name, series in scores.items()
    }
    if not values:
        raise ValueError("scores must have at least one method, got none")
    stages = max(len(series) if series.ndim == 2 else 1 for series in values.values())
    figure, [axes] = new_figure(title=title, width=4.2 + 0.22 * stages)
    staged = [name for name, series in values.items() if series.ndim == 2]
    for number, (name, series) in enumerate(values.items()):
        color = COLORS[number % len(COLORS)]
        mean, spread = series.mean(axis=-1), series.std(axis=-1)
        if series.ndim == 1:
            axes.axhspan(mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
            axes.axhline(mean, color=color, ls=(0, (5, 1.5)), label=legend_label(name))
            continue
        # Methods stand beside each other, so that no bar hides another.
        step = min(0.16, 0.8 / len(staged))
        aside = step * (staged.index(name) - (len(staged) - 1) / 2)
        positions = 1 + np.arange(len(series)) + aside
        # Where colours are used again, they have other markers.
        marker = MARKERS[(number + number // len(COLORS)) % len(MARKERS)]
        axes.plot(
            np.repeat(positions, series.shape[1]),
            series.ravel(),
            linestyle="none",
            marker=marker,
            markersize=3,
            markeredgewidth=0,
            color=color,
            alpha=0.4,
        )
        axes.errorbar(
            positions,
            mean,
            spread,
            color=color,
            marker=marker,
            markersize=5.5,
            linewidth=1.6,
            elinewidth=1.2,
            capsize=3,
            label=legend_label(name),
        )
    if majority is not None:
        axes.axhline(
            majority,
            color="0.45",
            ls=(0, (1, 1.5)),
            lw=1.2,
            label=constant,
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
    columns = [
        as_array("updates", name, series, (1,)) for name, series in updates.items()
    ]
    if not columns or len({series.size for series in columns}) > 1:
        raise ValueError(
            "updates must have as many stages for each group, got "
            f"{[each.size for each in columns]}"
        )
    values = np.stack(columns, axis=1)
    others = {
        name: np.array([np.asarray(series.get(group, 0), float) for group in updates])
        for name, series in (beside or {}).items()
    }
    values, *dashed = (
        np.where(series > 0, series, np.nan) for series in (values, *others.values())
    )
    everything = np.concatenate([values, *(series[None] for series in dashed)])
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
    for number, (name, row) in enumerate(zip(others, dashed, strict=True)):
        axes.plot(
            np.arange(len(labels)),
            row[first:],
            # As many as three dashes, then once more in lighter greys.
            color=("black", "0.45", "0.7")[number // 3 % 3],
            linestyle=("--", ":", "-.")[number % 3],
            linewidth=1.3,
            label=legend_label(name),
        )
    log_axis([axes], everything)
    axes.set_xticks(range(len(labels)), labels)
    if len(labels) > 16:
        axes.tick_params(axis="x", labelsize="small")
    if max(map(len, labels)) > 5:
        axes.tick_params(axis="x", labelrotation=40)
    axes.set_xlabel("layer, from the bottom up")
    axes.set_ylabel(ylabel)
    if few:
        legend_below(figure, axes)
    else:
        color_bar(figure, axes, colors, stages, "stage")
        if others:
            legend_below(figure, axes, only=list(others))
    return figure
