"""Scores over a setting, stable ranges, and whether one is wider than another."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from bert_glue.records import manifest, run_store
from bert_glue.records.designs import choose_reference
from bert_glue.records.files import RecordsError, identity, plain
from bert_glue.records.run_store import Record, RunStore, settings_of
from bert_glue.report import plots
from bert_glue.report.headings import metric_name
from bert_glue.report.render import render
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.seeds import Seed
from bert_glue.training.settings import EXAMPLES, written
from cwgnc_jax import stability
from cwgnc_jax.plotting import plot_stability
from cwgnc_jax.stability import Comparison, Curve, RangeComparison, StableRange

MARGIN, MOST_FAILED = 2.0, 0.1
"""How far below a method's best mean a stable one may be, in per cent, and the largest
share of failed runs where a method is stable."""

# More take minutes a look.
_MOST_RESAMPLES = 100_000
# So many comparisons at most are at the head of a page in full.
_FEW = 3
# What else of a configuration follows from the value that is varied.
_FOLLOWING = ("configuration", "label", "steps")
_OF_EXAMPLES = ("train_examples", "data_fingerprint", "majority_score")

# By the label of the method the run of each value and seed.
_Cells: TypeAlias = dict[str, dict[tuple[float, Seed], Record]]


@dataclasses.dataclass(frozen=True)
class CurveDesign:
    """What curves are made of.

    Attributes:
      setting: what is varied: a setting of a recipe, or :data:`EXAMPLES`.
      methods: labels of the methods by what :func:`method_of` makes of their runs.
      seeds: of the runs that count; None for all.
      margin: see :data:`MARGIN`.
      most_failed: see :data:`MOST_FAILED`.
      reference: label of the method that the others are compared with; None for the
        usual choice.
      values: those that count; None for all.
      configurations: names of those that count; None for all. Runs of another number of
        examples do not say whether these are of the same data.
      asked: values with the number of seeds, from 0, that count there, where a study
        with a budget chose them; None for all.
      correction: factor of all p-values, where a study is looked at several times.
      looks: how often it was, if it is.
      other_looks: how often studies of other methods, with a budget, were looked at in
        the same folder; p-values do not allow for that.

    Raises:
      ValueError: if the reference is none of the methods.
    """

    setting: str
    methods: Mapping[str, str]
    seeds: Sequence[Seed] | None = None
    margin: float = MARGIN
    most_failed: float = MOST_FAILED
    reference: str | None = None
    values: Sequence[float] | None = None
    configurations: Sequence[str] | None = None
    asked: Sequence[tuple[float, int]] | None = None
    correction: float = 1.0
    looks: int = 0
    other_looks: int = 0

    def __post_init__(self) -> None:
        if self.reference is not None:
            reference = choose_reference([*self.methods.values()], self.reference)
            object.__setattr__(self, "reference", reference)

    def has(self, run: Record) -> bool:
        """Whether a run counts."""
        value = value_of(run, self.setting)
        if value is None or method_of(run, self.setting) not in self.methods:
            return False
        if self.values is not None and value not in self.values:
            return False
        counted = self.configurations
        if counted is not None and run["configuration"] not in counted:
            return False
        seed = _seed(run)
        if self.asked is not None:
            return seed.init == seed.data < dict(self.asked).get(value, 0)
        return self.seeds is None or seed in self.seeds

    @property
    def words(self) -> str:
        """What is varied, in words."""
        if self.setting == EXAMPLES:
            return "training examples"
        return self.setting.replace("_", " ")

    def to_json(self) -> dict[str, Any]:
        """The design for ``config.json``."""
        return plain(vars(self))

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "CurveDesign":
        """Reads what :meth:`to_json` made.

        Args:
          saved: its design.

        Returns:
          The design.

        Raises:
          RecordsError: if it is none.
        """
        try:
            # What an older version did not write is as if it had not been asked for.
            seeds, asked, values, names = map(
                saved.get, ("seeds", "asked", "values", "configurations")
            )
            tuples = {
                "seeds": seeds and tuple(Seed(init, data) for init, data in seeds),
                "asked": asked and tuple((value, count) for value, count in asked),
                "values": values and tuple(values),
                "configurations": names and tuple(names),
            }
            return cls(**{**saved, **tuples})
        except (KeyError, TypeError, ValueError):
            raise RecordsError(
                "a curve in config.json is not one of this version"
            ) from None

    @classmethod
    def of_records(
        cls, runs: Iterable[Record], setting: str, **limits: Any
    ) -> "CurveDesign":
        """The curves of whatever runs there are, such as those of another script.

        Args:
          runs: records.
          setting: what is varied.
          **limits: other attributes.

        Returns:
          The curves of all methods, which are those that differ in more than that.
        """
        firsts: dict[str, Record] = {}
        for run in runs:
            # What follows from the value must not tell methods apart.
            key, label = method_of(run, setting), without_setting(run["label"], setting)
            rest = {k: v for k, v in run.items() if k not in _varied(setting)}
            firsts.setdefault(key, rest | {"configuration": key, "label": label})
        distinctions = run_store.distinctions(firsts.values())
        labels = {}
        for key, first in firsts.items():
            words = [f"{k.replace('_', ' ')} {v}" for k, v in distinctions[key].items()]
            added = f" ({', '.join(words)})" if words else ""
            labels[key] = first["label"] + added
        return cls(setting, labels, **limits)


def method_of(settings: Mapping[str, Any], setting: str) -> str:
    """Name of what a run has in common with those at other values of a setting.

    Args:
      settings: a record, or a configuration's fields.
      setting: what is varied.

    Returns:
      The name, of task and data as well as of the method.
    """
    varied = _varied(setting)
    common = settings_of(dict(settings))
    return identity({k: v for k, v in common.items() if k not in varied})


def without_setting(label: str, setting: str) -> str:
    """A method's label without the value of a setting.

    Examples:
      >>> without_setting("adamw:learning_rate=0.0001:epochs=3", "learning_rate")
      'adamw:epochs=3'
    """
    name, *settings = label.split(":")
    kept = [word for word in settings if not word.startswith(f"{setting}=")]
    return ":".join([name, *kept])


def value_of(run: Mapping[str, Any], setting: str) -> float | None:
    """The value of what is varied; None if it is none that lies on a curve."""
    if setting == EXAMPLES:
        return float(run["train_examples"])
    value = run.get(setting, SETTINGS[setting].default)
    return float(value) if value and np.isfinite(value) and value > 0 else None


def _seed(run: Record) -> Seed:
    return Seed(run["init_seed"], run["data_seed"])


def _varied(setting: str) -> set[str]:
    if setting == EXAMPLES:
        return {*_FOLLOWING, *_OF_EXAMPLES}
    return {*_FOLLOWING, setting}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a method's curve says beside that of the reference.

    Attributes:
      widths: whether the stable range of one is wider, over the values where both have
        runs of the same seeds; None where that is fewer than two.
      ends: whether that of one begins lower, and whether that of one ends higher; empty
        likewise, and for numbers of examples, of which more do no harm.
      scores: whether its scores differ, at each value where both have seeds enough.
      values: the values compared, where these are not all that there are.
    """

    widths: RangeComparison | None
    ends: Sequence[RangeComparison]
    scores: Mapping[float, Comparison]
    values: Sequence[float] = ()

    def __str__(self) -> str:
        if self.widths is None:
            return "too few values and seeds in common to compare ranges"
        if not self.values:
            return f"{self.widths}"
        return f"over the {len(self.values)} values that both have: {self.widths}"

    @property
    def details(self) -> list[str]:
        """What is shown of ends and at single values, each a sentence."""
        ends = "; ".join(dict.fromkeys(test.verdict for test in self.ends))
        return [ends, self.points] if ends else [self.points]

    @property
    def points(self) -> str:
        """At which values a method is shown to be better, in words."""
        shown = {value: test for value, test in self.scores.items() if test.shown}
        if not shown:
            return "at no value a difference of their scores is shown"
        words = [f"{test.favours} at {written(value)}" for value, test in shown.items()]
        return f"shown to score higher: {', '.join(words)}"


@dataclasses.dataclass(frozen=True)
class TaskCurves:
    """The curves of several methods on a task.

    Attributes:
      task: its name.
      metric: what scores are, in words.
      design: what they are made of.
      curves: of each method, that of the reference first.
      ranges: likewise, of those with two values at least.
      verdicts: of each method but the reference; p-values of widths and scores are
        corrected together (Holm), those of ends on their own, and all for the looks
        that there were.
      apart: methods without a verdict, as their runs are of another model or other data
        than those of the reference, or scored by another metric.
    """

    task: str
    metric: str
    design: CurveDesign
    curves: Mapping[str, Curve]
    ranges: Mapping[str, StableRange]
    verdicts: Mapping[str, Verdict]
    apart: Sequence[str] = ()

    @property
    def rows(self) -> list[list[str]]:
        """A row for each value, the first cell that value, and one of names above."""
        values = sorted({v for curve in self.curves.values() for v in curve.values})
        return [
            [self.design.words, *self.curves],
            *(
                [
                    written(value),
                    *(_cell(curve, value) for curve in self.curves.values()),
                ]
                for value in values
            ),
        ]

    @property
    def sentences(self) -> list[str]:
        """Ranges, and what is shown, each a sentence."""
        lines = [
            f"{name}: {self._of_range(name)}; mean over all values {curve.area:.1f}"
            if name in self.ranges
            else f"{name}: at {written(float(curve.values[0]))} alone"
            for name, curve in self.curves.items()
        ]
        reference = next(iter(self.curves))
        for other, verdict in self.verdicts.items():
            prefix = "" if verdict.widths else f"{other} and {reference}: "
            lines += [f"{prefix}{verdict}", *(f"  {line}" for line in verdict.details)]
        lines += self._of_those_apart
        design = self.design
        if design.correction > 1:
            lines.append(
                f"p-values allow for {_looks(design.looks)} at the results: those of "
                f"the last one are {design.correction:.2g} times as large"
            )
        if design.other_looks:
            lines.append(
                f"p-values do not allow for {_looks(design.other_looks)} at results of "
                "other studies in this folder, which had a budget"
            )
        return lines

    @property
    def conclusions(self) -> list[str]:
        """What is shown of ranges, each a sentence; in few words for many methods."""
        verdicts = [each for each in self.verdicts.values() if each.widths]
        if len(verdicts) <= _FEW:
            return [*map(str, verdicts), *self._of_those_apart]
        reference = next(iter(self.curves))
        lines = [f"{each}" for each in verdicts if each.widths and each.widths.shown]
        widths = [each.widths for each in verdicts if each.widths]
        if rest := [test for test in widths if not test.shown]:
            names = [f"{test.names[1]} ({_span(test, 1)})" for test in rest]
            lines.append(
                f"that the range of {reference} ({_span(rest[0], 0)}) is wider, or "
                f"narrower, is not shown beside {', '.join(names)}"
            )
        shown = [test for each in verdicts for test in each.ends if test.shown]
        for by, verb in (("low", "begin"), ("high", "end")):
            places: dict[str, list[str]] = {"lower": [], "higher": []}
            for test in shown:
                if test.by == by:
                    is_lower = (test.favours == reference) == (by == "high")
                    places["lower" if is_lower else "higher"].append(test.names[1])
            words = [
                f"{verb} {place} than {reference}: {', '.join(names)}"
                for place, names in places.items()
                if names
            ]
            if words:
                lines.append(f"shown to {'; shown to '.join(words)}")
        return [*lines, *self._of_those_apart]

    @property
    def _of_those_apart(self) -> list[str]:
        if not self.apart:
            return []
        return [
            f"not compared with {next(iter(self.curves))}, as they have another model, "
            f"other data or another metric: {', '.join(self.apart)}"
        ]

    def _of_range(self, method: str) -> str:
        found, words = self.ranges[method], f"{self.ranges[method]}"
        # More examples do no harm: there a width says nothing.
        if self.design.setting != EXAMPLES or np.isnan(found.best):
            return words
        return f"works {found.span_of('examples')}"

    def lines(self) -> Iterator[str]:
        """What there is to print: a row for each value, ranges, and what is shown."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        yield f"{self.task}, {self.metric}: mean +- std, failed runs"
        for row in self.rows:
            yield "  ".join(map(str.ljust, row, widths)).rstrip()
        yield from self.sentences

    @property
    def alternative(self) -> str:
        """What the figure shows, for one who does not see it."""
        return (
            f"{self.metric} and share of failed runs on {self.task} over "
            f"{self.design.words}, on a logarithmic axis. {'. '.join(self.sentences)}."
        )

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG."""
        return plots.content(self.figure(), "svg")

    def figure(self) -> Figure:
        """Means with their bands, failed runs and stable ranges over the values."""
        # Classes, which a user names, may be in the names of methods, too.
        plain = plots.plain_text
        return plot_stability(
            {plain(name): curve for name, curve in self.curves.items()},
            {plain(name): found for name, found in self.ranges.items()},
            xlabel=self.design.words,
            ylabel=plain(f"{self.metric} (%)"),
            title=plain(self.task),
        )

    def csv(self) -> str:
        """Every number, a line for each method and value."""
        return render("curve.csv", curves=self, intervals=stability.failed_intervals)


def read(records: RunStore, found: Sequence[TaskCurves] = ()) -> list[TaskCurves]:
    """All curves of a folder of which its ``config.json`` knows.

    Args:
      records: the folder.
      found: those of a setting, if they are made already.

    Returns:
      The curves of each setting and task; a note of ``records`` tells of those whose
      runs cannot be told apart any more.

    Raises:
      RecordsError: if what is known cannot be read.
    """
    saved = manifest.read(records.folder)["curves"].values()
    made = {each.design.setting for each in found}
    designs = [CurveDesign.from_json(x) for x in saved if x["setting"] not in made]
    runs = runs_of_curves(records) if designs else []
    curves = [*found]
    for design in designs:
        try:
            curves += build(runs, design)
        except RecordsError as error:
            records.notes.append(f"no curves over {design.setting}: {error}")
    return curves


def runs_of_curves(records: RunStore) -> list[Record]:
    """The runs of a folder but those of what a curve chose, which are in its table."""
    chosen = manifest.read(records.folder)["chosen"]
    return [run for run in records.read() if run["configuration"] not in chosen]


def build(runs: Iterable[Record], design: CurveDesign) -> list[TaskCurves]:
    """Makes the curves of each task from the records of runs.

    Args:
      runs: the records.
      design: which of them count, and what is asked of them.

    Returns:
      Curves of each task that has runs.

    Raises:
      RecordsError: as :func:`gather`.
    """
    by_task: dict[str, list[Record]] = {}
    for run in filter(design.has, runs):
        by_task.setdefault(run["task"], []).append(run)
    found = []
    for task, of_task in by_task.items():
        metric = " or ".join(dict.fromkeys(map(metric_name, of_task)))
        cells = _gather(of_task, design)
        curves, subjects = _curves(cells), _subjects(cells)
        found.append(judge(task, metric, curves, design, subjects))
    return found


def gather(runs: Iterable[Record], design: CurveDesign) -> dict[str, Curve]:
    """The curves of a task, by the labels of their methods.

    Args:
      runs: records of the task, and perhaps others.
      design: which of them count.

    Returns:
      Curves with the same seeds in their columns; none of a method without runs.

    Raises:
      RecordsError: if there are runs of several data, of as many examples, for one
        point of a curve.
    """
    return _curves(_gather(runs, design))


def judge(
    task: str,
    metric: str,
    curves: Mapping[str, Curve],
    design: CurveDesign,
    subjects: Mapping[str, Mapping[float, Any]] | None = None,
) -> TaskCurves:
    """Finds the stable ranges of some curves, and what is shown of them.

    Args:
      task: name of the task.
      metric: what scores are, in words.
      curves: of each method, all by the same seeds.
      design: what is asked of them.
      subjects: by the method's label, and by the value, what is trained on what, which
        must be equal where two methods are compared; all are alike by default.

    Returns:
      The same with ranges and verdicts.
    """
    wanted = design.reference if design.reference in curves else None
    reference = choose_reference([*curves], wanted)
    curves = {reference: curves[reference], **curves}
    ranges = {
        method: stability.stable_range(
            curve, margin=design.margin, most_failed=design.most_failed
        )
        for method, curve in curves.items()
        if len(curve.values) > 1
    }
    # So many that the least p-value stays far below the level, corrected for them all.
    values = {value for curve in curves.values() for value in curve.values.tolist()}
    subjects = subjects or {}
    ours = subjects.get(reference, {})
    apart = [
        name
        for name, theirs in subjects.items()
        if any(ours[value] != theirs[value] for value in ours.keys() & theirs.keys())
    ]
    others = [name for name in curves if name not in (reference, *apart)]
    comparisons = len(others) * (1 + len(values))
    resamples = math.ceil(100 * design.correction * comparisons)
    resamples = min(max(9999, resamples), _MOST_RESAMPLES)
    verdicts = {
        other: verdict
        for other in others
        if (verdict := _compare((reference, other), curves, ranges, design, resamples))
    }
    verdicts = _correct(verdicts, design.correction)
    return TaskCurves(task, metric, design, curves, ranges, verdicts, apart)


def _gather(runs: Iterable[Record], design: CurveDesign) -> _Cells:
    """The runs by the labels of their methods, which are in order."""
    cells: _Cells = {}
    for run in filter(design.has, runs):
        label = design.methods[method_of(run, design.setting)]
        value = value_of(run, design.setting) or 0.0
        points = cells.setdefault(label, {})
        other = points.setdefault((value, _seed(run)), run)
        if other.get("data_fingerprint") != run.get("data_fingerprint"):
            raise RecordsError(
                f"there are runs of {label} with {written(value)} examples of several "
                "data, which no curve can tell apart; take another --output-dir for "
                "each"
            )
        points[value, _seed(run)] = run
    # The order is that of the methods, not that in which runs ended.
    labels = dict.fromkeys(design.methods.values())
    return {label: cells[label] for label in labels if label in cells}


def _subjects(cells: _Cells) -> dict[str, dict[float, tuple[str | None, ...]]]:
    """By the label of a method, and by the value, what is trained on what."""
    # The fingerprint of the data is that of the metric, too.
    names = ("model_fingerprint", "data_fingerprint")
    return {
        label: {value: tuple(map(run.get, names)) for (value, _), run in of.items()}
        for label, of in cells.items()
    }


def _curves(cells: _Cells) -> dict[str, Curve]:
    seeds = sorted({seed for of in cells.values() for _, seed in of})
    return {label: _curve(of, seeds) for label, of in cells.items()}


def _curve(cells: Mapping[tuple[float, Seed], Record], seeds: Sequence[Seed]) -> Curve:
    values = sorted({value for value, _ in cells})
    scores = np.full((len(values), len(seeds)), np.nan)
    failed = np.zeros(scores.shape, bool)
    for (value, seed), run in cells.items():
        at = values.index(value), seeds.index(seed)
        scores[at], failed[at] = run["score"], run["failed"]
    return Curve(np.array(values), scores, failed)


def _compare(
    names: tuple[str, str],
    curves: Mapping[str, Curve],
    ranges: Mapping[str, StableRange],
    design: CurveDesign,
    resamples: int,
) -> Verdict | None:
    """What two methods' curves say; None if they have no value in common."""
    first, second = (curves[name] for name in names)
    common = np.intersect1d(first.values, second.values)
    if not common.size:
        return None
    one, two = (_at(curve, common) for curve in (first, second))
    both = ~(np.isnan(one.scores) | np.isnan(two.scores))
    compared = common[np.any(both, axis=1)]
    is_all = len(compared) == len(first.values) == len(second.values)
    widths, ends = None, []
    if compared.size > 1:
        compare = functools.partial(
            stability.compare_ranges,
            one,
            two,
            margin=design.margin,
            most_failed=design.most_failed,
            names=names,
            resamples=resamples,
        )
        # Of the same runs they are found already.
        same = is_all and np.array_equal(np.isnan(one.scores), np.isnan(two.scores))
        known = (ranges[names[0]], ranges[names[1]]) if same else None
        if design.setting == EXAMPLES:
            widths = compare(ranges=known, unit="examples")
        else:
            widths = compare(ranges=known)
            ends = [compare(ranges=widths.ranges, by=by) for by in ("low", "high")]
    points = {}
    for value, mine, theirs, here in zip(
        common.tolist(), one.scores, two.scores, both, strict=True
    ):
        if here.sum() > 1:
            points[value] = stability.compare_scores(
                mine[here], theirs[here], names=names, resamples=resamples
            )
    return Verdict(widths, ends, points, () if is_all else compared.tolist())


def _at(curve: Curve, values: np.ndarray) -> Curve:
    here = np.isin(curve.values, values)
    return Curve(curve.values[here], curve.scores[here], curve.failed[here])


def _correct(verdicts: Mapping[str, Verdict], factor: float) -> dict[str, Verdict]:
    """All p-values of a task, those of ends together and all others together."""
    tests, ends = [], []
    for verdict in verdicts.values():
        tests += [verdict.widths] if verdict.widths else []
        tests += verdict.scores.values()
        ends += verdict.ends

    def adjust(some: Sequence[Comparison | RangeComparison]) -> Iterator[float]:
        p_values = [min(1.0, factor * test.p_value) for test in some]
        return iter(stability.holm(p_values).tolist())

    adjusted, of_ends = adjust(tests), adjust(ends)

    def corrected(verdict: Verdict) -> Verdict:
        widths = verdict.widths and dataclasses.replace(
            verdict.widths, p_adjusted=next(adjusted)
        )
        scores = {
            value: dataclasses.replace(
                test, p_adjusted=next(adjusted), comparisons=len(tests)
            )
            for value, test in verdict.scores.items()
        }
        ends = [
            dataclasses.replace(test, p_adjusted=next(of_ends)) for test in verdict.ends
        ]
        return Verdict(widths, ends, scores, verdict.values)

    return {name: corrected(verdict) for name, verdict in verdicts.items()}


def _span(test: RangeComparison, which: int) -> str:
    found = test.ranges[which]
    return f"{found}" if np.isnan(found.best) else found.span_of(test.unit)


def _looks(count: int) -> str:
    return f"{count} look" if count == 1 else f"{count} looks"


def _cell(curve: Curve, value: float) -> str:
    at = np.flatnonzero(curve.values == value)
    if not at.size:
        return "-"
    scores = curve.scores[at[0]]
    count = int(curve.runs[at[0]])
    failed = round(float(curve.failed_shares[at[0]]) * count)
    return f"{np.nanmean(scores):.1f} +- {np.nanstd(scores):.1f}, {failed}/{count}"
