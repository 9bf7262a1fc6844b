"""Pictures of runs, drawn without a window."""

import io
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bert_glue.records.files import replace_file
from bert_glue.study.summaries import METRIC_NAMES, Row, held_out_part

# Okabe and Ito's colours, which the colour-blind tell apart.
_SOUND, _FAILED, _MEAN = "#0072B2", "#D55E00", "#000000"


def plot_runs(rows: Sequence[Row]) -> Figure:
    """Every run as a dot, a column for each method.

    Args:
      rows: rows of one task.

    Returns:
      The figure: dots, a bar at each method's mean, a line at the score of the
      majority classifier; runs that failed are crosses.
    """
    # A label has a line for each setting, the longest of which must find room.
    labels = [row.label.replace(":", "\n") for row in rows]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    size = (1.8 + max(1.4, 0.1 * longest) * len(rows), 4.2)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colors = {"run": _SOUND, "failed run": _FAILED}
    for column, row in enumerate(rows):
        scores = np.array(list(row.scores.values()))
        failed = np.array([seed in row.failed for seed in row.scores])
        places = column + _spread(scores)
        for (label, color), chosen, marker in zip(
            colors.items(), (~failed, failed), ("o", "X"), strict=True
        ):
            axes.scatter(
                places[chosen],
                scores[chosen],
                s=34,
                c=color,
                marker=marker,
                alpha=0.75,
                linewidths=0,
                label=label if chosen.any() else None,
            )
        axes.hlines(
            row.summary.mean,
            column - 0.3,
            column + 0.3,
            colors=_MEAN,
            linewidth=1.8,
            label="mean",
        )
    axes.axhline(
        rows[0].majority_score,
        color="0.5",
        linestyle="--",
        linewidth=1,
        label="majority classifier",
    )
    axes.set_xticks(
        range(len(rows)),
        [
            f"{label}\nstd {row.summary.std:.2f}"
            for label, row in zip(labels, rows, strict=True)
        ],
    )
    axes.set_xlim(-0.6, len(rows) - 0.4)
    settings = rows[0].settings
    axes.set_ylabel(textwrap.fill(f"{METRIC_NAMES[settings['metric']]} (%)", 34))
    title = f"{settings['task']}: every run of each method"
    if part := held_out_part(settings):
        title += f", on {part}"
    # Some eight letters of a title to the inch.
    axes.set_title(textwrap.fill(title, int(8 * size[0])))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    # Each label once, however many methods have it.
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(
        list(unique.values()),
        list(unique),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize="small",
    )
    return figure


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG.

    Args:
      figure: the figure.
      path: the file; its folder is made where it is missing.

    Raises:
      RecordsError: if it cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    replace_file(path, picture.getvalue())


def _spread(scores: np.ndarray) -> np.ndarray:
    """Moves dots aside so that equal scores do not hide each other."""
    offsets = np.zeros(len(scores))
    near = max(float(np.ptp(scores)), 1.0) / 40
    placed: list[tuple[float, float]] = []
    for index in np.argsort(scores, kind="stable"):
        score = float(scores[index])
        taken = [x for x, y in placed if abs(y - score) < near]
        # To the right and the left in turn: 0, 1, -1, 2, -2 ...
        step = 0
        while any(abs(_offset(step) - x) < 0.025 for x in taken):
            step += 1
        placed.append((_offset(step), score))
        offsets[index] = np.clip(_offset(step), -0.4, 0.4)
    return offsets


def _offset(step: int) -> float:
    return 0.05 * ((step + 1) // 2) * (1 if step % 2 else -1)
