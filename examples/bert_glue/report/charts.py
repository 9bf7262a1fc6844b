"""Figures as HTML and SVG that fit any width, and any colour scheme of the page.

Along the width everything is placed in per cent, so that a figure needs no script to be
narrow; colours are the page's.
"""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from bert_glue.records.run_store import Record
from bert_glue.report.tables import Cell

_ROW, _DOT = 46, 4.5
_STEP = 5.0


def dots(column: dict[str, Cell], unit: str) -> str:
    """Every run as a dot, a line for each method.

    Args:
      column: the cells of a task by the label of their method.
      unit: what the scores are, for the axis.

    Returns:
      HTML. A dot's title names its run; failed runs are crosses; a band shows one
      standard deviation about the mean, a dashed line the majority classifier.
    """
    rows = [cell.row for cell in column.values()]
    scores = [score for row in rows for score in row.scores.values()]
    majorities = [row.majority_score for row in rows]
    scale = Scale.over([*scores, *majorities], at_least=1.0)
    lines = []
    for label, cell in column.items():
        row, summary = cell.row, cell.row.summary
        marks = [
            *(_upright(scale.share(tick), "grid") for tick in scale.ticks),
            _upright(scale.share(row.majority_score), "majority"),
            _band(scale, summary.mean - summary.std, summary.mean + summary.std),
            _upright(scale.share(summary.mean), "mean"),
        ]
        marks += [
            _run(scale.share(run["score"]), height, run, label)
            for run, height in zip(cell.runs, _heights(cell, scale), strict=True)
        ]
        std, mean, _ = cell.texts
        words = (
            f"{label}: mean {mean}, standard deviation {std}, "
            f"{len(row.failed)} of {len(cell.runs)} runs failed"
        )
        lines.append(
            f'<div class="name">{_breakable(label)}</div>'
            f'<svg class="strip" height="{_ROW}" role="img" '
            f'aria-label="{html.escape(words)}">{"".join(marks)}</svg>'
        )
    axis = "".join(
        f'<span style="left:{scale.share(tick):.2f}%">{tick:g}</span>'
        for tick in scale.ticks
    )
    return (
        f'<div class="dots">{"".join(lines)}<div></div><div class="axis">{axis}</div>'
        f'<div></div><div class="unit">{html.escape(unit)}</div></div>'
    )


def curves(column: dict[str, Cell], value: str, unit: str) -> str:
    """What each run's evaluations found, a small figure for each method.

    Args:
      column: the cells of a task by the label of their method.
      value: what to draw of the history, such as 'score'.
      unit: what it is, for the axis.

    Returns:
      HTML. A line's title names its run; those of failed runs are dashed. A line
      ends where a value is not finite.
    """
    points = {
        label: [(run, _points(run, value)) for run in cell.runs]
        for label, cell in column.items()
    }
    found = [y for runs in points.values() for _, line in runs for _, y in line]
    if not found:
        return ""
    # Scores are in per cent.
    scale = Scale.over(found, at_least=1.0 if value == "score" else 1e-6)
    figures = []
    for label, runs in points.items():
        end = max((x for _, line in runs for x, _ in line), default=1.0)
        paths = [
            f'<path class="curve{" failed" if run["failed"] else ""}" '
            f'd="{_path(line, end, scale)}"><title>{_words(run, label)}</title></path>'
            for run, line in runs
            if line
        ]
        ticks = "".join(
            f'<span style="top:{100 - scale.share(tick):.2f}%">{tick:g}</span>'
            for tick in scale.ticks
        )
        grid = "".join(
            f'<path class="grid" d="M0 {100 - scale.share(tick):.2f}H100"/>'
            for tick in scale.ticks
        )
        epochs = f"{end:g} epoch{'' if end == 1 else 's'}"
        figures.append(
            f'<figure class="small"><figcaption>{_breakable(label)}</figcaption>'
            f'<div class="plot"><div class="upright">{ticks}</div>'
            f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
            f'aria-label="{html.escape(f"{unit} over epochs, {label}")}">'
            f"{grid}{''.join(paths)}</svg></div>"
            f'<div class="ends"><span>0</span><span>{epochs}</span></div></figure>'
        )
    return f'<div class="grid">{"".join(figures)}</div>'


class Scale:
    """Values along an axis.

    Args:
      low: value at its start.
      high: value at its end.
      ticks: round values between them.
    """

    def __init__(self, low: float, high: float, ticks: Sequence[float]) -> None:
        self._low, self._high = low, high
        self.ticks = ticks

    @classmethod
    def over(cls, values: Iterable[float], at_least: float = 1e-6) -> "Scale":
        """An axis with room for some values, and four to eight ticks.

        Args:
          values: finite numbers, at least one.
          at_least: smallest difference between the ends.

        Returns:
          The scale.

        Examples:
          >>> Scale.over([0.0, 41.5]).ticks
          [0.0, 10.0, 20.0, 30.0, 40.0]
        """
        values = list(values)
        low, high = min(values), max(values)
        # A spread of rounding alone is drawn as none.
        width = max(high - low, 1e-3 * max(abs(low), abs(high)), at_least)
        low, high = low - 0.06 * width, low + 1.06 * width
        step = 10.0 ** math.floor(math.log10(width))
        step = next(
            step * factor
            for factor in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10)
            if width / (step * factor) <= 6
        )
        first, last = math.ceil(low / step), math.floor(high / step)
        return cls(low, high, [round(n * step, 10) for n in range(first, last + 1)])

    def share(self, value: float) -> float:
        """Where a value lies along the axis, in per cent."""
        return 100 * (value - self._low) / (self._high - self._low)


def _heights(cell: Cell, scale: Scale) -> list[float]:
    """How far each dot moves from the middle, so that all of them are seen."""
    places = [scale.share(run["score"]) for run in cell.runs]
    found = [0.0] * len(places)
    group: list[int] = []
    groups = [group]
    for index in sorted(range(len(places)), key=places.__getitem__):
        # Two per cent: about a dot's width where a figure is widest.
        if group and places[index] - places[group[0]] > 1.5:
            group = []
            groups.append(group)
        group.append(index)
    for group in groups:
        room = _ROW - 2 * _DOT - 2
        step = min(_STEP, room / max(1, len(group) - 1))
        for number, index in enumerate(group):
            found[index] = (number - (len(group) - 1) / 2) * step
    return found


def _run(share: float, height: float, run: Record, label: str) -> str:
    title = f"<title>{_words(run, label)}</title>"
    y = _ROW / 2 + height
    if run["failed"]:
        # A path has no place in per cent, the picture around it has.
        return (
            f'<svg class="run failed" x="{share:.2f}%" y="{y:.1f}" overflow="visible">'
            f'<path d="M-4-4L4 4M-4 4L4-4">{title}</path></svg>'
        )
    place = f'cx="{share:.2f}%" cy="{y:.1f}" r="{_DOT}"'
    return f'<circle class="run" {place}>{title}</circle>'


def _breakable(label: str) -> str:
    """A label that may go on in another line after each setting, but not in 1e-5."""
    return html.escape(label).replace(":", ":<wbr>").replace("-", "-&#8288;")


def _words(run: Record, label: str) -> str:
    text = f"{label}, seed {run['seed']}: {run['score']:.2f}"
    if run["diverged_at"] is not None:
        text += f", diverged at step {run['diverged_at']:,}"
    elif run["failed"]:
        text += ", failed"
    return html.escape(text)


def _upright(share: float, kind: str) -> str:
    x = f'x1="{share:.2f}%" x2="{share:.2f}%"'
    return f'<line class="{kind}" {x} y1="0" y2="{_ROW}"/>'


def _band(scale: Scale, low: float, high: float) -> str:
    start, end = max(0.0, scale.share(low)), min(100.0, scale.share(high))
    return (
        f'<rect class="band" x="{start:.2f}%" width="{end - start:.2f}%" y="5" '
        f'height="{_ROW - 10}"/>'
    )


def _points(run: Record, value: str) -> list[tuple[float, float]]:
    points = []
    for evaluation in run["history"]:
        found: Any = evaluation.get(value)
        if found is None or not math.isfinite(found):
            break
        points.append((evaluation["epoch"], found))
    return points


def _path(line: list[tuple[float, float]], end: float, scale: Scale) -> str:
    points = [f"{100 * x / end:.2f} {100 - scale.share(y):.2f}" for x, y in line]
    # A line of no length with round ends is a dot, however the picture is stretched.
    return f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}h0"
