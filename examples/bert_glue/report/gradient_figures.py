"""Gradient norms over time: the figures and what they come to, from recorded runs."""

import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_glue.records.component_logs import ComponentLog, LoggedMethod, LoggedRun
from bert_glue.report import plots
from bert_glue.report.plots import file_name
from bert_glue.report.render import aligned
from bert_glue.report.unfreezing_figures import name_of
from cwgnc_jax import plotting

_LAYER = "layer "
"""How groups of components that are layers are called, before their number."""

_YLABEL = "gradient norm before clipping"
# So many runs at most are in a picture of clip rates.
_MOST_RATES = 8
# The rate of a single step jumps; each point is the mean of some steps.
_RATE_POINTS = 60


def choose_layer(wanted: int | None, layers: int) -> int:
    """Number of the layer to show, from 0.

    Args:
      wanted: what the user asks for; None for a layer as high up as the paper's,
        which is the 22nd of 24.
      layers: how many there are.

    Returns:
      The number.

    Raises:
      ValueError: if there is no such layer.

    Examples:
      >>> [choose_layer(None, layers) for layers in (24, 12, 6, 3, 1)]
      [21, 10, 4, 1, 0]
    """
    if wanted is None:
        return max(0, layers * 22 // 24 - 1)
    if not 0 <= wanted < layers:
        raise ValueError(
            f"there is no layer {wanted}; the model's are 0 to {layers - 1}, from the "
            "bottom"
        )
    return wanted


def choose_runs(method: LoggedMethod) -> dict[str, LoggedRun]:
    """The failed run with the worst score, and the successful one with the best.

    Args:
      method: its runs.

    Returns:
      The runs by what to call them; one alone if all failed or none did.
    """

    def score(run: LoggedRun) -> tuple[bool, float]:
        return run.record["diverged_at"] is None, run.record["score"]

    chosen = {}
    for outcome, runs in _by_outcome(method).items():
        if runs:
            run = (min if outcome == "failed" else max)(runs, key=score)
            chosen[f"{outcome} run ({run.name})"] = run
    return chosen


def describe(methods: Sequence[LoggedMethod]) -> str:
    """What failed, and how large gradients were, as text to print."""
    lines, notes = [], []
    alone = {
        "failed": "no run failed; its best is drawn alone",
        "successful": "every run failed; one is drawn alone",
    }
    for method in methods:
        name = name_of(method)
        for outcome, runs in _by_outcome(method).items():
            if runs:
                line = {"method": name, "outcome": outcome, "runs": f"{len(runs)}"}
                lines.append(line | _largest_and_last(runs))
            else:
                notes.append(f"{name}: {alone[outcome]}")
    return (
        "gradient norms of components: the largest of all steps, and the median of the "
        "last tenth\n" + "\n".join([aligned(lines), *notes, ""])
    )


def draw(
    folder: pathlib.Path, methods: Sequence[LoggedMethod], layer: int | None
) -> list[pathlib.Path]:
    """Draws Figure 3 of the paper, and the plots of its released code.

    Args:
      folder: the output directory; the figures go to ``figures`` in it.
      methods: the methods, of one model.
      layer: layer of Figure 3; None for a layer as high up as the paper's.

    Returns:
      The files, and folders of files.

    Raises:
      ValueError: if there is no such layer.
    """
    target = folder / "figures"
    groups = methods[0].runs[0].log.groups
    layers = sum(group.startswith(_LAYER) for group in {*groups})
    title = f"{_LAYER}{choose_layer(layer, layers)}"
    figures = {f"figure_3_{file_name(m.label)}": _figure(m, title) for m in methods}
    _share_axes(list(figures.values()))
    clipping = [m for m in methods if m.settings["clipping"] == "component"]
    for what in ("components", "parameters") if clipping else ():
        figures[f"clip_rate_{what}"] = _clip_rate_figure(clipping, what)
    written = [
        plots.save(figure, target / f"{name}.png") for name, figure in figures.items()
    ]
    for method in methods:
        details = target / f"norms_{file_name(method.label)}"
        for title in _columns(method.runs[0].log):
            figure = _figure(method, title)
            plots.save(figure, details / f"{file_name(title)}.png")
        written.append(details)
    return written


def _by_outcome(method: LoggedMethod) -> dict[str, list[LoggedRun]]:
    return {
        outcome: [run for run in method.runs if run.record["failed"] == failed]
        for outcome, failed in (("failed", True), ("successful", False))
    }


def _largest_and_last(runs: Sequence[LoggedRun]) -> dict[str, str]:
    norms = [run.log.at_steps("norms") for run in runs]
    largest = max(_finite(of_run).max(initial=0) for of_run in norms)
    ends = [_finite(of_run[-max(1, len(of_run) // 10) :]) for of_run in norms]
    # A run that diverged has none at its end.
    medians = [np.median(end) for end in ends if end.size]
    return {
        "largest norm": f"{largest:.3g}",
        "norm at the end": f"{np.median(medians):.3g}" if medians else "-",
    }


def _figure(method: LoggedMethod, title: str) -> Figure:
    """The components of a layer, the head, or one kind of parameter, over the steps."""
    log = method.runs[0].log
    columns = _columns(log)[title]
    norms = {
        name: run.log.at_steps("norms")[:, columns]
        for name, run in choose_runs(method).items()
    }
    plot: Callable[..., Figure] = plotting.plot_gradient_norms
    labels: list[Any] = [log.names[n] for n in columns]
    if title not in log.groups:
        plot = plotting.plot_layer_norms
        labels = [int(log.groups[n].removeprefix(_LAYER)) for n in columns]
    is_clipped = method.settings["clipping"] == "component"
    return plot(
        norms,
        labels,
        threshold=method.settings["max_norm"] if is_clipped else None,
        ylabel=_YLABEL,
        title=f"{name_of(method)}, {title}",
    )


def _share_axes(figures: Sequence[Figure]) -> None:
    """One scale for all, so that methods can be compared by eye."""
    for name in ("xlim", "ylim"):
        limits = np.array([getattr(f.axes[0], f"get_{name}")() for f in figures])
        for axes in itertools.chain(*(figure.axes for figure in figures)):
            getattr(axes, f"set_{name}")(limits[:, 0].min(), limits[:, 1].max())


def _clip_rate_figure(methods: Sequence[LoggedMethod], what: str) -> Figure:
    rates = {
        f"{name_of(method)}, {title}": run.log.clip_rate(
            of_parameters=what == "parameters"
        )
        for method in methods
        for title, run in choose_runs(method).items()
    }
    return plotting.plot_clip_rate(
        dict(list(rates.items())[:_MOST_RATES]),
        smooth=-(-max(map(len, rates.values())) // _RATE_POINTS),
        ylabel=f"{what} clipped (%)",
        title=f"{methods[0].settings['task']}: {what} clipped over time",
    )


def _columns(log: ComponentLog) -> dict[str, list[int]]:
    """Numbers of the components of each group, and of each kind of a layer's."""
    columns: dict[str, list[int]] = {}
    for column, (name, group) in enumerate(zip(log.names, log.groups, strict=True)):
        titles = [group]
        if group.startswith(_LAYER):
            titles.append("/".join(name.partition("[")[0].split("/")[-2:]))
        for title in titles:
            columns.setdefault(title, []).append(column)
    return columns


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[np.isfinite(values)]
