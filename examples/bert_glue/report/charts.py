"""Figures as HTML and SVG that fit any width, and any colour scheme of the page.

Along the width everything is placed in per cent, so that a figure needs no script to be
narrow; colours are the page's.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from bert_glue.records.failures import failure
from bert_glue.records.run_store import Record
from bert_glue.report import headings
from bert_glue.report.render import render
from bert_glue.report.swarm import offsets
from bert_glue.report.tables import score_texts
from bert_glue.study.summaries import Row

# Height of a method's strip and radius of a dot, in pixels.
_HEIGHT, _RADIUS = 46, 4.5


def dots(column: Mapping[str, Row]) -> str:
    """Every run as a dot, a line for each method.

    Args:
      column: rows of a task by the label of their method.

    Returns:
      HTML. A dot's title names its run; failed runs are crosses; a band shows one
      standard deviation about the mean, a dashed line the best constant answer.
    """
    rows = list(column.values())
    scores = [run["score"] for row in rows for run in row.runs]
    scale = Scale.over([*scores, *(row.constant_score for row in rows)], at_least=1.0)
    return render(
        "dots.html",
        column=column,
        scale=scale,
        texts=score_texts,
        dots=_dots,
        height=_HEIGHT,
        radius=_RADIUS,
        words=_words,
        unit=f"{headings.metric_name(rows[0].runs[0])} (%)",
    )


def curves(column: Mapping[str, Row], value: str, unit: str) -> str:
    """What the evaluations of each run came to, a small figure for each method.

    Args:
      column: rows of a task by the label of their method.
      value: what to draw of the history, such as 'score'.
      unit: what it is, for the axis.

    Returns:
      HTML. A line's title names its run; those of failed runs are dashed. A line
      ends where a value is not finite.
    """
    lines = {
        label: [(run, line) for run in row.runs if (line := _points(run, value))]
        for label, row in column.items()
    }
    values = [y for of_row in lines.values() for _, line in of_row for _, y in line]
    if not values:
        return ""
    # Scores are in per cent.
    scale = Scale.over(values, at_least=1.0 if value == "score" else 1e-6)
    figures = {}
    for label, of_row in lines.items():
        epochs = max((x for _, line in of_row for x, _ in line), default=1.0)
        paths = [(run, _path(line, epochs, scale)) for run, line in of_row]
        figures[label] = {"epochs": epochs, "paths": paths}
    return render("curves.html", figures=figures, scale=scale, unit=unit, words=_words)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values along an axis.

    Attributes:
      low: value at its start.
      high: value at its end.
      ticks: round values between them.
    """

    low: float
    high: float
    ticks: Sequence[float]

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
        ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return cls(low, high, [float(tick) for tick in ticks if low <= tick <= high])

    def share(self, value: float) -> float:
        """Where a value lies along the axis, in per cent."""
        return 100 * (value - self.low) / (self.high - self.low)

    def down(self, value: float) -> str:
        """Where a value lies from the top of an upright axis, in per cent."""
        return f"{100 - self.share(value):.2f}"


def _dots(row: Row, scale: Scale) -> list[tuple[Record, float]]:
    """The runs, and how far from the top of the strip each is."""
    aside = offsets(
        [scale.share(run["score"]) for run in row.runs],
        # About a dot's width in per cent where a figure is widest.
        near=1.5,
        step=5.0,
        room=_HEIGHT / 2 - _RADIUS - 1,
    )
    return [(run, _HEIGHT / 2 + y) for run, y in zip(row.runs, aside, strict=True)]


def _words(run: Record, label: str) -> str:
    words = f"{label}, seed {run['seed']}: {run['score']:.2f}"
    return ", ".join(filter(None, [words, failure(run)]))


def _points(run: Record, value: str) -> list[tuple[float, float]]:
    points = []
    for evaluation in run["history"]:
        y = evaluation.get(value)
        if y is None or not math.isfinite(y):
            break
        points.append((evaluation["epoch"], y))
    return points


def _path(line: list[tuple[float, float]], end: float, scale: Scale) -> str:
    points = [f"{100 * x / end:.2f} {scale.down(y)}" for x, y in line]
    # A line of no length with round ends is a dot, however the picture is stretched.
    return f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}h0"
