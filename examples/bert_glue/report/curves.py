"""Scores over a setting, stable ranges, and whether one is wider than another."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from bert_glue.records.run_store import Record
from bert_glue.report.headings import metric_name
from bert_glue.report.render import render
from bert_glue.training.seeds import Seed
from bert_glue.training.settings import written
from cwgnc_jax import stability
from cwgnc_jax.stability import Comparison, Curve, RangeComparison, StableRange


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a method's curve says beside that of the reference.

    Attributes:
      widths: whether the stable range of one is wider.
      scores: whether its scores differ, at each value where both have seeds enough.
    """

    widths: RangeComparison
    scores: Mapping[float, Comparison]


@dataclasses.dataclass(frozen=True)
class TaskCurves:
    """The curves of several methods on a task.

    Attributes:
      task: its name.
      metric: what scores are, in words.
      setting: name of the setting.
      curves: of each method.
      ranges: likewise.
      verdicts: of each method but the first, which is the reference, all p-values
        corrected together (Holm).
    """

    task: str
    metric: str
    setting: str
    curves: Mapping[str, Curve]
    ranges: Mapping[str, StableRange]
    verdicts: Mapping[str, Verdict]

    def lines(self) -> Iterator[str]:
        """What there is to print: a row for each value, ranges, and what is shown."""
        names = [*self.curves]
        head = [self.setting.replace("_", " "), *names]
        values = sorted({v for curve in self.curves.values() for v in curve.values})
        rows = [
            [written(value), *(_cell(self.curves[name], value) for name in names)]
            for value in values
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        yield f"{self.task}, {self.metric}: mean +- std, failed runs"
        for row in (head, *rows):
            cells = map(str.ljust, row, widths)
            yield "  ".join(cells).rstrip()
        for name, found in self.ranges.items():
            yield f"{name}: {found}; mean over all values {self.curves[name].area:.1f}"
        for verdict in self.verdicts.values():
            yield f"{verdict.widths}"
            yield f"  {_points_in_words(verdict)}"

    def csv(self) -> str:
        """Every number, a line for each method and value."""
        return render("curve.csv", curves=self, intervals=stability.failed_intervals)


def build(
    runs: Iterable[Record],
    points: Mapping[str, tuple[str, float]],
    seeds: Sequence[Seed],
    *,
    setting: str,
    margin: float,
    most_failed: float,
) -> list[TaskCurves]:
    """Makes the curves of each task from the records of runs.

    Args:
      runs: the records.
      points: name of a configuration -> its method and its value of the setting.
      seeds: which runs of a configuration count.
      setting: name of the setting.
      margin: how far below a method's best mean a stable one may be.
      most_failed: largest share of failed runs where a method is stable.

    Returns:
      Curves of each task that has runs.
    """
    by_task: dict[str, list[Record]] = {}
    for run in runs:
        if run["configuration"] in points:
            by_task.setdefault(run["task"], []).append(run)
    return [
        _build_task(task, of_task, points, seeds, setting, margin, most_failed)
        for task, of_task in by_task.items()
    ]


def _build_task(
    task: str,
    runs: Sequence[Record],
    points: Mapping[str, tuple[str, float]],
    seeds: Sequence[Seed],
    setting: str,
    margin: float,
    most_failed: float,
) -> TaskCurves:
    columns = {seed: at for at, seed in enumerate(seeds)}
    values = sorted({points[run["configuration"]][1] for run in runs})
    rows = {value: at for at, value in enumerate(values)}
    scores: dict[str, np.ndarray] = {}
    failed: dict[str, np.ndarray] = {}
    for run in runs:
        method, value = points[run["configuration"]]
        seed = Seed(run["init_seed"], run["data_seed"])
        if seed not in columns:
            continue
        empty = np.full((len(values), len(seeds)), np.nan)
        cell = rows[value], columns[seed]
        scores.setdefault(method, empty)[cell] = run["score"]
        failed.setdefault(method, np.zeros(empty.shape, bool))[cell] = run["failed"]
    curves = {}
    for method in scores:
        there = ~np.all(np.isnan(scores[method]), axis=1)
        curves[method] = Curve(
            np.asarray(values)[there], scores[method][there], failed[method][there]
        )
    ranges = {
        method: stability.stable_range(curve, margin=margin, most_failed=most_failed)
        for method, curve in curves.items()
    }
    reference, *others = curves
    verdicts = {
        other: _compare(reference, other, curves, margin, most_failed)
        for other in others
        if np.array_equal(curves[other].values, curves[reference].values)
    }
    return TaskCurves(
        task, metric_name(runs[0]), setting, curves, ranges, _correct(verdicts)
    )


def _compare(
    reference: str,
    other: str,
    curves: Mapping[str, Curve],
    margin: float,
    most_failed: float,
) -> Verdict:
    names = (reference, other)
    first, second = (curves[name] for name in names)
    widths = stability.compare_ranges(
        first, second, margin=margin, most_failed=most_failed, names=names
    )
    points = {}
    for value, mine, theirs in zip(
        first.values.tolist(), first.scores, second.scores, strict=True
    ):
        both = ~(np.isnan(mine) | np.isnan(theirs))
        if both.sum() > 1:
            points[value] = stability.compare_scores(
                mine[both], theirs[both], names=names
            )
    return Verdict(widths, points)


def _correct(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """All p-values of a task, corrected together."""
    tests = [
        test
        for verdict in verdicts.values()
        for test in (verdict.widths, *verdict.scores.values())
    ]
    adjusted = iter(stability.holm([test.p_adjusted for test in tests]).tolist())

    def corrected(verdict: Verdict) -> Verdict:
        widths = dataclasses.replace(verdict.widths, p_adjusted=next(adjusted))
        scores = {
            value: dataclasses.replace(
                test, p_adjusted=next(adjusted), comparisons=len(tests)
            )
            for value, test in verdict.scores.items()
        }
        return Verdict(widths, scores)

    return {name: corrected(verdict) for name, verdict in verdicts.items()}


def _points_in_words(verdict: Verdict) -> str:
    """At which values a method is shown to be better."""
    shown = {value: test for value, test in verdict.scores.items() if test.shown}
    if not shown:
        return "at no value a difference of their scores is shown"
    words = [f"{test.favours} at {written(value)}" for value, test in shown.items()]
    return f"shown to score higher: {', '.join(words)}"


def _cell(curve: Curve, value: float) -> str:
    at = np.flatnonzero(curve.values == value)
    if not at.size:
        return "-"
    scores = curve.scores[at[0]]
    count = int(curve.runs[at[0]])
    failed = round(float(curve.failed_shares[at[0]]) * count)
    return f"{np.nanmean(scores):.1f} +- {np.nanstd(scores):.1f}, {failed}/{count}"
