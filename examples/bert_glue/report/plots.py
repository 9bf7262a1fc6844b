"""Pictures of runs, drawn without a window."""

import io
import itertools
import pathlib
import re
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_glue.records.files import replace_file
from bert_glue.report.headings import metric_name
from bert_glue.report.paper import held_out_part
from bert_glue.report.swarm import offsets
from bert_glue.study.summaries import Row

# Okabe and Ito's colours, which the colour-blind tell apart.
_SOUND, _FAILED, _MEAN = "#0072B2", "#D55E00", "#000000"
# A dot is as wide as this share of the axis is high, and of a column wide.
_HEIGHT, _WIDTH = 1 / 40, 0.05


def plot_runs(rows: Sequence[Row]) -> Figure:
    """Every run as a dot, a column for each method.

    Args:
      rows: rows of one task.

    Returns:
      The figure: dots, a bar at each method's mean, a line at the score of the best
      constant answer; runs that failed are crosses.
    """
    # A label has a line for each setting, the longest of which must find room.
    lines = [row.label.split(":") for row in rows]
    labels = [plain_text("\n".join(of_label)) for of_label in lines]
    longest = max(map(len, itertools.chain.from_iterable(lines)))
    size = (1.8 + max(1.4, 0.1 * longest) * len(rows), 4.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    scores = [run["score"] for row in rows for run in row.runs]
    constant = rows[0].constant_score
    near = _HEIGHT * max(np.ptp([*scores, constant]), 1.0)
    for column, row in enumerate(rows):
        _draw_column(axes, column, row, near)
    axes.axhline(constant, color="0.5", ls="--", lw=1, label="best constant answer")
    stds = [f"std {row.summary.std:.2f}" for row in rows]
    axes.set_xticks(range(len(rows)), map("\n".join, zip(labels, stds, strict=True)))
    axes.set_xlim(-0.6, len(rows) - 0.4)
    run = rows[0].runs[0]
    axes.set_ylabel(plain_text(textwrap.fill(f"{metric_name(run)} (%)", 34)))
    title = f"{run['task']}: every run of each method"
    if part := held_out_part(run):
        title += f", on {part}"
    # Some eight letters of a title to the inch.
    axes.set_title(plain_text(textwrap.fill(title, int(8 * size[0]))))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    # Each label once, however many methods have it.
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(
        unique.values(),
        unique,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize="small",
    )
    return figure


def save(figure: Figure, path: pathlib.Path) -> pathlib.Path:
    """Writes a figure as PNG or SVG.

    Args:
      figure: the figure.
      path: the file, named .png or .svg; its folder is made where it is missing.

    Returns:
      The file.

    Raises:
      RecordsError: if it cannot be written.
    """
    replace_file(path, content(figure, path.suffix.removeprefix(".")))
    return path


def content(figure: Figure, kind: str) -> bytes:
    """A figure as the content of a file, the same for equal figures.

    Args:
      figure: the figure.
      kind: 'png' or 'svg'.

    Returns:
      The content.
    """
    picture = io.BytesIO()
    # No date, no version, and in SVG no random names.
    said = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "cwgnc"}):
        figure.savefig(picture, format=kind, dpi=150, metadata=said)
    return picture.getvalue()


def plain_text(words: str) -> str:
    """Words that are no mathematics, as Matplotlib takes what is between dollars."""
    return words.replace("$", r"\$")


def file_name(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w.=-]+", "_", label)


def _draw_column(axes: Axes, column: int, row: Row, near: float) -> None:
    scores = np.array([run["score"] for run in row.runs])
    has_failed = np.array([run["failed"] for run in row.runs])
    places = column + np.array(offsets(list(scores), near=near, step=_WIDTH, room=0.4))
    for label, which, color, marker in (
        ("run", ~has_failed, _SOUND, "o"),
        ("failed run", has_failed, _FAILED, "X"),
    ):
        if which.any():
            dots = {"color": color, "alpha": 0.75, "ms": 6, "mew": 0, "label": label}
            axes.plot(places[which], scores[which], marker, **dots)
    mean, ends = row.summary.mean, (column - 0.3, column + 0.3)
    axes.hlines(mean, *ends, colors=_MEAN, linewidth=1.8, label="mean")
