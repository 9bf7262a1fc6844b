"""The figures and the table of the case study, from recorded runs."""

import pathlib
from collections.abc import Sequence
from itertools import compress, zip_longest

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.records.component_logs import ComponentLog, LoggedMethod
from bert_glue.report import plots
from bert_glue.report.headings import constant_answer, metric_name
from bert_glue.report.render import aligned
from cwgnc_jax import plotting

NAMES = {"gu": "GU", "gu-restart": "GU (restart)", "full": "full fine-tuning"}
"""What the paper calls the methods."""

_MEASURES = {
    "rmsd": "largest RMS difference of a component",
    "cosine_distance": "largest cosine distance of a component",
}
_STARTS = {"initial": "the pretrained model", "before": "the stage before"}
# The paper's figures of how far layers moved: by which measure, and from where.
_MOVEMENTS = {
    "2a": ("rmsd", "initial"),
    "2b": ("rmsd", "before"),
    "4": ("cosine_distance", "before"),
    "5": ("cosine_distance", "initial"),
}


def scores_by_stage(method: LoggedMethod) -> NDArray[np.float64]:
    """Scores in per cent at the end of each stage, shape (stages, runs).

    A method without stages has one, and its score is that of the run.
    """
    if not method.is_staged:
        return np.array([[run.record["score"] for run in method.runs]])
    columns = []
    for run in method.runs:
        # Later evaluations of a stage replace earlier ones.
        last = {part.get("stage", 0): part["score"] for part in run.record["history"]}
        columns.append([last[stage] for stage in sorted(last)])
    return np.array(columns).T


def movement_by_stage(
    method: LoggedMethod, measure: str
) -> dict[str, NDArray[np.float32]]:
    """How far the component that moved farthest in each layer did, after each stage.

    Args:
      method: its runs; those that diverged are left out.
      measure: as :func:`measure` calls it. Of a cosine distance components are left
        out that were zeros.

    Returns:
      The mean of the runs for each group, from the embeddings up to the head, shape
      (stages,); nothing if all runs diverged.
    """
    logs = _sound(method)
    if not logs:
        return {}
    values = np.stack([log.after_stages(measure) for log in logs])
    if measure.startswith("cosine_distance"):
        # What did not move has not turned either: some logs hold a rest of rounding,
        # 3e-16.
        rmsd = measure.replace("cosine_distance", "rmsd")
        moved = np.stack([log.after_stages(rmsd) for log in logs])
        values = np.where(moved == 0, 0, values)
        # They would hide all that has turned.
        values[..., [logs[0].names.index(name) for name in zeros_at_first(method)]] = 0
    extremes = cwgnc_jax.extremes_by_group(values, logs[0].groups)
    return {name: np.mean(values, axis=0) for name, values in extremes.items()}


def zeros_at_first(method: LoggedMethod) -> list[str]:
    """Components that had no direction to turn from, such as new biases."""
    turned = [
        log.after_stages("cosine_distance_from_initial") for log in _sound(method)
    ]
    # Between zeros and anything else the distance is 1; nothing turns so by itself.
    has_none = np.any(np.stack(turned) == 1, axis=(0, 1))
    return list(compress(method.runs[0].log.names, has_none))


def racing(method: LoggedMethod) -> dict[str, NDArray[np.float64]]:
    """How unequally the components of each run moved.

    Args:
      method: its runs; those that diverged are left out.

    Returns:
      :func:`cwgnc_jax.convergence_racing` of each run, shape (runs,): 'whole run',
      from how far each component came in all, and for GU 'stage by stage', where
      components that take turns race too.
    """
    logs = _sound(method)
    moved = {"whole run": [log.after_stages("rmsd_from_initial")[-1] for log in logs]}
    if method.settings.get("unfreeze") == "gu":
        moved["stage by stage"] = [log.after_stages("rmsd_from_before") for log in logs]
    return {
        kind: np.array([float(cwgnc_jax.convergence_racing(run)) for run in runs])
        for kind, runs in moved.items()
    }


def describe(methods: Sequence[LoggedMethod]) -> str:
    """Scores by stage, and how unequally components moved, as tables to print."""
    metric = metric_name(methods[0].runs[0].record)
    raced = [
        {"method": name_of(method)}
        | {kind: _mean_and_std(values, 3) for kind, values in racing(method).items()}
        for method in methods
    ]
    return (
        f"{metric} in % after each stage, in which as many layers are trained, mean ± "
        "standard deviation of the runs:\n"
        f"{aligned(_score_lines(methods))}\n\n"
        "convergence racing (0: all components move alike, 1: one alone moves):\n"
        f"{aligned(raced)}\n"
    )


def draw(folder: pathlib.Path, methods: Sequence[LoggedMethod]) -> list[pathlib.Path]:
    """Draws Figures 1, 2a, 2b, 4 and 5 of the paper, stages counted from 1.

    Args:
      folder: the output directory; the figures go to ``figures`` in it.
      methods: the methods. Figures 2, 4 and 5 are drawn for each that has stages,
        beside the first that has none; 2b and 4 not if stages restart, because a
        stage's start is then the pretrained model.

    Returns:
      The files.
    """
    target = folder / "figures"
    written = [plots.save(_scores_figure(methods), target / "figure_1.png")]
    for figure_name, (measure, start) in _MOVEMENTS.items():
        for method in methods:
            restarts = method.settings.get("unfreeze") == "restart"
            if not method.is_staged or (restarts and start == "before"):
                continue
            if updates := movement_by_stage(method, f"{measure}_from_{start}"):
                title = f"{name_of(method)}, compared with {_STARTS[start]}"
                if measure != "rmsd" and (zeros := zeros_at_first(method)):
                    title += f"\nwithout what was zeros at first: {', '.join(zeros)}"
                figure = plotting.plot_updates(
                    updates,
                    beside=_beside(methods, measure) if start == "initial" else {},
                    ylabel=_MEASURES[measure],
                    title=title,
                    first_stage=1,
                )
                name = f"figure_{figure_name}_{plots.file_name(method.label)}.png"
                written.append(plots.save(figure, target / name))
    return written


def name_of(method: LoggedMethod) -> str:
    """What a method is called in figures and tables."""
    return NAMES.get(method.label, method.label)


def _score_lines(methods: Sequence[LoggedMethod]) -> list[dict[str, str]]:
    """Scores after each stage by the name of the method, a line for each stage."""
    scores = [(m, [_mean_and_std(of) for of in scores_by_stage(m)]) for m in methods]
    by_stage = [of if m.is_staged else [] for m, of in scores]
    at_once = ["" if m.is_staged else of[0] for m, of in scores]
    lines = [
        (f"{stage}", *cells)
        for stage, cells in enumerate(zip_longest(*by_stage, fillvalue=""), start=1)
    ]
    if any(at_once):
        lines.append(("all at once", *at_once))
    lines.append(("updates until then", *(f"{_updates(m)}" for m in methods)))
    names = ["stage", *map(name_of, methods)]
    return [dict(zip(names, line, strict=True)) for line in lines]


def _scores_figure(methods: Sequence[LoggedMethod]) -> Figure:
    run = methods[0].runs[0].record
    scores = {
        name_of(m): of if m.is_staged else of[0]
        for m, of in zip(methods, map(scores_by_stage, methods), strict=True)
    }
    runs = [len(method.runs) for method in methods]
    many = " to ".join(map(str, sorted({min(runs), max(runs)})))
    title = f"{run['task']}: mean and standard deviation of {many} runs"
    return plotting.plot_scores(
        scores,
        ylabel=plots.plain_text(f"{metric_name(run)} (%)"),
        majority=run["majority_score"],
        constant=constant_answer(run),
        title=plots.plain_text(title),
    )


def _beside(
    methods: Sequence[LoggedMethod], measure: str
) -> dict[str, dict[str, float]]:
    """The first method without stages, unless its runs diverged: how far it moved."""
    for method in methods:
        if method.is_staged:
            continue
        if moved := movement_by_stage(method, f"{measure}_from_initial"):
            last = {group: float(values[0]) for group, values in moved.items()}
            return {name_of(method): last}
    return {}


def _sound(method: LoggedMethod) -> list[ComponentLog]:
    return [run.log for run in method.runs if run.record["diverged_at"] is None]


def _updates(method: LoggedMethod) -> int:
    """Steps behind the last score: of all stages, unless each starts anew."""
    log = method.runs[0].log
    restarts = method.settings.get("unfreeze") == "restart"
    return len(log.losses) // (log.stages if restarts else 1)


def _mean_and_std(values: NDArray[np.float64], digits: int = 1) -> str:
    if not values.size:
        return "-"
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"
