"""The figures and the table of the case study, from recorded runs."""

import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.records.component_logs import LoggedMethod, LoggedRun
from bert_glue.report import plots
from bert_glue.study.summaries import METRIC_NAMES, align
from cwgnc_jax import plotting

NAMES = {"gu": "GU", "gu-restart": "GU (restart)", "full": "full fine-tuning"}
"""What the paper calls the methods."""


class Movement(NamedTuple):
    """One of the paper's figures of how far layers moved.

    Attributes:
      figure: its number in the paper.
      measure: what it shows, as :func:`recordings.measure` calls it.
      ylabel: the same in words.
      reference: what the parameters are compared with, in words.
    """

    figure: str
    measure: str
    ylabel: str
    reference: str


_RMSD = "largest RMS difference of a component"
_COSINE = "largest cosine distance of a component"
MOVEMENTS = (
    Movement("2a", "rmsd_from_initial", _RMSD, "the pretrained model"),
    Movement("2b", "rmsd_from_before", _RMSD, "the stage before"),
    Movement("4", "cosine_distance_from_before", _COSINE, "the stage before"),
    Movement("5", "cosine_distance_from_initial", _COSINE, "the pretrained model"),
)


def scores_by_stage(method: LoggedMethod) -> NDArray[np.float64]:
    """Scores in per cent at the end of each stage, shape (stages, runs).

    A method without stages has one, and its score is that of the run.
    """
    if not method.is_staged:
        return np.array([[run.record["score"] for run in method.runs]])
    columns = []
    for run in method.runs:
        # Later evaluations of a stage replace earlier ones.
        last = {each.get("stage", 0): each["score"] for each in run.record["history"]}
        columns.append([last[stage] for stage in sorted(last)])
    return np.array(columns).T


def movement_by_stage(
    method: LoggedMethod, measure: str
) -> dict[str, NDArray[np.float32]]:
    """How far the component that moved farthest in each layer did, after each stage.

    Args:
      method: its runs; those that diverged are left out.
      measure: as :func:`recordings.measure` calls it.

    Returns:
      The mean of the runs for each group, from the embeddings up to the head, shape
      (stages,); nothing if all runs diverged.
    """
    sound = [run.log for run in method.runs if run.record["diverged_at"] is None]
    if not sound:
        return {}
    values = np.stack([recording.after_stages(measure) for recording in sound])
    if measure.startswith("cosine_distance"):
        # What did not move has not turned either: some recordings hold a rest of
        # rounding, 3e-16.
        rmsd = measure.replace("cosine_distance", "rmsd")
        moved = np.stack([recording.after_stages(rmsd) for recording in sound])
        values = np.where(moved == 0, 0, values)
    extremes = cwgnc_jax.extremes_by_group(values, sound[0].groups)
    return {name: np.mean(each, axis=0) for name, each in extremes.items()}


def racing(method: LoggedMethod) -> dict[str, NDArray[np.float64]]:
    """How unequally the components of each run moved.

    Args:
      method: its runs; those that diverged are left out.

    Returns:
      :func:`cwgnc_jax.convergence_racing` of each run, shape (runs,): 'whole run',
      from how far each component came in all, and for GU 'stage by stage', where
      components that take turns race too.
    """

    def of(movement: Callable[[LoggedRun], NDArray[np.float32]]) -> NDArray:
        return np.array(
            [
                float(cwgnc_jax.convergence_racing(movement(run)))
                for run in method.runs
                if run.record["diverged_at"] is None
            ]
        )

    found = {"whole run": of(lambda run: run.log.after_stages("rmsd_from_initial")[-1])}
    if method.settings.get("unfreeze") == "gu":
        found["stage by stage"] = of(
            lambda run: run.log.after_stages("rmsd_from_before")
        )
    return found


def describe(methods: Sequence[LoggedMethod]) -> str:
    """Scores by stage, and how unequally components moved, as tables to print."""
    settings = methods[0].settings
    staged = [method for method in methods if method.is_staged]
    scores = {method.label: scores_by_stage(method) for method in methods}
    stages = max((len(scores[method.label]) for method in staged), default=0)
    lines = [("layers trained", *(name_of(method) for method in methods))]
    for stage in range(stages):
        cells = [
            _mean_and_std(scores[method.label][stage])
            if method.is_staged and stage < len(scores[method.label])
            else ""
            for method in methods
        ]
        lines.append((f"{stage + 1}", *cells))
    unstaged = [method for method in methods if not method.is_staged]
    if unstaged:
        cells = [
            "" if method.is_staged else _mean_and_std(scores[method.label][0])
            for method in methods
        ]
        lines.append(("all at once", *cells))
    lines.append(("updates until then", *(f"{_updates(each)}" for each in methods)))
    numbers = [(name_of(method), racing(method)) for method in methods]
    kinds = ("whole run", "stage by stage")
    raced = [
        ("method", *kinds),
        *(
            (
                name,
                *(
                    _mean_and_std(found[kind], 3) if kind in found else ""
                    for kind in kinds
                ),
            )
            for name, found in numbers
        ),
    ]
    metric = METRIC_NAMES[settings["metric"]]
    return "\n".join(
        [
            f"{metric} in % after each stage, mean ± standard deviation of the runs:",
            align(lines),
            "",
            "convergence racing (0: all components move alike, 1: one alone moves):",
            align(raced),
            "",
        ]
    )


def draw(folder: pathlib.Path, methods: Sequence[LoggedMethod]) -> list[pathlib.Path]:
    """Draws Figures 1, 2a, 2b, 4 and 5 of the paper.

    Args:
      folder: the output directory; the figures go to ``figures`` in it.
      methods: the methods. Figures 2, 4 and 5 are drawn for each that has stages,
        beside the first that has none; 2b and 4 not if stages restart, because a
        stage's start is then the pretrained model.

    Returns:
      The files.
    """
    target = folder / "figures"
    written = [target / "figure_1.png"]
    plots.save(_scores_figure(methods), written[0])
    staged = [method for method in methods if method.is_staged]
    for movement in MOVEMENTS:
        for method in staged:
            restarts = method.settings["unfreeze"] == "restart"
            if restarts and movement.reference != "the pretrained model":
                continue
            figure = _movement_figure(movement, method, methods)
            if figure is not None:
                name = f"figure_{movement.figure}_{file_name(method.label)}.png"
                plots.save(figure, target / name)
                written.append(target / name)
    return written


def name_of(method: LoggedMethod) -> str:
    """What a method is called in figures and tables."""
    return NAMES.get(method.label, method.label)


def file_name(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w.=-]+", "_", label)


def _scores_figure(methods: Sequence[LoggedMethod]) -> Figure:
    settings = methods[0].settings
    scores: dict[str, NDArray[np.float64]] = {}
    for method in methods:
        values = scores_by_stage(method)
        scores[name_of(method)] = values if method.is_staged else values[0]
    metric = METRIC_NAMES[settings["metric"]]
    runs = {len(method.runs) for method in methods}
    many = f"{min(runs)}" if len(runs) == 1 else f"{min(runs)} to {max(runs)}"
    return plotting.plot_scores(
        scores,
        ylabel=f"{metric} (%)",
        majority=settings["majority_score"],
        title=f"{settings['task']}: mean and standard deviation of {many} runs",
    )


def _movement_figure(
    movement: Movement, method: LoggedMethod, methods: Sequence[LoggedMethod]
) -> Figure | None:
    updates = movement_by_stage(method, movement.measure)
    if not updates:
        return None
    beside: dict[str, Mapping[str, float]] = {}
    if movement.reference == "the pretrained model":
        for other in methods:
            moved = (
                {} if other.is_staged else movement_by_stage(other, movement.measure)
            )
            if moved and not beside:
                beside[name_of(other)] = {
                    group: float(values[0]) for group, values in moved.items()
                }
    return plotting.plot_updates(
        updates,
        beside=beside,
        ylabel=movement.ylabel,
        title=f"{name_of(method)}, compared with {movement.reference}",
    )


def _updates(method: LoggedMethod) -> int:
    """Steps behind the last score: of all stages, unless each starts anew."""
    recording = method.runs[0].log
    restarts = method.settings.get("unfreeze") == "restart"
    return len(recording.losses) // (recording.stages if restarts else 1)


def _mean_and_std(values: NDArray[np.float64], digits: int = 1) -> str:
    if not values.size:
        return "-"
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"
