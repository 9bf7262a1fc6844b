"""Gradient norms over time: the figures and what they come to, from recorded runs."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_glue.records.component_logs import LoggedMethod, LoggedRun
from bert_glue.report import plots
from bert_glue.report.unfreezing_figures import file_name, name_of
from bert_glue.study.summaries import align
from cwgnc_jax import plotting

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

    failed = [run for run in method.runs if run.record["failed"]]
    succeeded = [run for run in method.runs if not run.record["failed"]]
    chosen = {}
    if failed:
        run = min(failed, key=score)
        chosen[f"failed run ({run.name})"] = run
    if succeeded:
        run = max(succeeded, key=score)
        chosen[f"successful run ({run.name})"] = run
    return chosen


def describe(methods: Sequence[LoggedMethod]) -> str:
    """What failed, and how large gradients were, as text to print."""
    table = [("method", "outcome", "runs", "largest norm", "norm at the end")]
    notes = []
    for method in methods:
        failed = sum(run.record["failed"] for run in method.runs)
        for outcome, is_failed in (("failed", True), ("successful", False)):
            runs = [run for run in method.runs if run.record["failed"] == is_failed]
            if runs:
                norms = [run.log.at_steps("norms") for run in runs]
                ends = [each[-max(1, len(each) // 10) :] for each in norms]
                largest = [_finite(each).max(initial=0) for each in norms]
                # A run that diverged has none at its end.
                medians = [np.median(end) for end in map(_finite, ends) if end.size]
                table.append(
                    (
                        name_of(method),
                        outcome,
                        f"{len(runs)}",
                        f"{max(largest):.3g}",
                        f"{np.median(medians):.3g}" if medians else "-",
                    )
                )
        if failed == 0:
            notes.append(f"{name_of(method)}: no run failed; its best is drawn alone")
        elif failed == len(method.runs):
            notes.append(f"{name_of(method)}: every run failed; one is drawn alone")
    explanation = (
        "gradient norms of components: the largest of all steps, and the median of the "
        "last tenth"
    )
    return "\n".join([explanation, align(table), *notes, ""])


def draw(
    folder: pathlib.Path, methods: Sequence[LoggedMethod], layer: int | None
) -> list[pathlib.Path]:
    """Draws Figure 3 of the paper, and the plots of its released code.

    Args:
      folder: the output directory; the figures go to ``figures`` in it.
      methods: the methods.
      layer: layer of Figure 3; None for a layer as high up as the paper's.

    Returns:
      The files, and folders of files.

    Raises:
      ValueError: if there is no such layer.
    """
    target = folder / "figures"
    written = []
    for method in methods:
        runs = choose_runs(method)
        names = next(iter(runs.values())).log.groups
        layers = len({name for name in names if name.startswith("layer ")})
        group = f"layer {choose_layer(layer, layers)}"
        path = target / f"figure_3_{file_name(method.label)}.png"
        plots.save(_group_figure(method, runs, group), path)
        written.append(path)
    clipping = [each for each in methods if each.settings["clipping"] == "component"]
    for what in ("components", "parameters") if clipping else ():
        path = target / f"clip_rate_{what}.png"
        plots.save(_clip_rate_figure(clipping, what), path)
        written.append(path)
    for method in methods:
        details = target / f"norms_{file_name(method.label)}"
        runs = choose_runs(method)
        recording = next(iter(runs.values())).log
        for group in dict.fromkeys(recording.groups):
            figure = _group_figure(method, runs, group)
            plots.save(figure, details / f"{file_name(group)}.png")
        for kind, columns in _kinds(recording.names, recording.groups).items():
            figure = plotting.plot_layer_norms(
                {
                    title: run.log.at_steps("norms")[:, columns]
                    for title, run in runs.items()
                },
                [_layer_number(recording.groups[column]) for column in columns],
                ylabel=_YLABEL,
                title=f"{name_of(method)}, {kind}",
            )
            plots.save(figure, details / f"{file_name(kind)}.png")
        written.append(details)
    return written


def _group_figure(
    method: LoggedMethod, runs: Mapping[str, LoggedRun], group: str
) -> Figure:
    """All components of a layer, the head or the embeddings."""
    recording = next(iter(runs.values())).log
    columns = [place for place, each in enumerate(recording.groups) if each == group]
    return plotting.plot_gradient_norms(
        {title: run.log.at_steps("norms")[:, columns] for title, run in runs.items()},
        [recording.names[column] for column in columns],
        ylabel=_YLABEL,
        title=f"{name_of(method)}, {group}",
    )


def _clip_rate_figure(methods: Sequence[LoggedMethod], what: str) -> Figure:
    rates: dict[str, NDArray[np.float32]] = {}
    for method in methods:
        for title, run in choose_runs(method).items():
            rates[f"{name_of(method)}, {title}"] = run.log.clip_rate(
                of_parameters=what == "parameters"
            )
    return plotting.plot_clip_rate(
        dict(list(rates.items())[:_MOST_RATES]),
        smooth=-(-max(map(len, rates.values())) // _RATE_POINTS),
        ylabel=f"{what} clipped (%)",
        title=f"{methods[0].settings['task']}: {what} clipped over time",
    )


def _kinds(names: Sequence[str], groups: Sequence[str]) -> dict[str, list[int]]:
    """Components that are the same but for their layer: their numbers, by layer."""
    found: dict[str, list[int]] = {}
    for place, (name, group) in enumerate(zip(names, groups, strict=True)):
        if group.startswith("layer "):
            kind = "/".join(name.partition("[")[0].split("/")[-2:])
            found.setdefault(kind, []).append(place)
    return found


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[np.isfinite(values)]


def _layer_number(group: str) -> int:
    return int(group.removeprefix("layer "))
