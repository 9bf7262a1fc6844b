"""Many runs in few numbers: the rows of the paper's Table 1."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bert_glue.records.run_store import Record, settings_of
from cwgnc_jax import stability

METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews": "Matthews' correlation",
    "pearson_spearman": "mean of Pearson's and Spearman's correlation",
}
"""How the metrics are called in headings."""


@dataclasses.dataclass(frozen=True)
class Row:
    """All runs of a configuration, and what they come to.

    Attributes:
      configuration: short name of the configuration.
      label: the method, with what was changed about it.
      settings: what all runs have in common.
      scores: score of each run in per cent, by the name of its seed, in order.
      failed: which of these did not beat the majority classifier, or diverged.
      failed_released: number of runs that failed by the threshold of the paper's
        code; None where it has none.
      diverged: number of runs whose loss became NaN or infinite.
      summary: spread, mean, best, worst.
    """

    configuration: str
    label: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    failed: Sequence[str]
    failed_released: int | None
    diverged: int
    summary: stability.RunSummary

    @property
    def majority_score(self) -> float:
        """Score of the majority classifier, in per cent."""
        return self.settings["majority_score"]

    def to_json(self) -> dict[str, Any]:
        """The row for ``summary.json``."""
        interval = self.summary.std_interval
        return {
            "method": self.label,
            "runs": self.summary.runs,
            "std": self.summary.std,
            "std_interval_95": [interval.low, interval.high],
            "mean": self.summary.mean,
            "max": self.summary.max,
            "min": self.summary.min,
            "failed": len(self.failed),
            "failed_released": self.failed_released,
            "diverged": self.diverged,
            "scores": dict(self.scores),
            "configuration": self.configuration,
            "settings": dict(self.settings),
        }


def summarize(records: Iterable[Record]) -> list[Row]:
    """One row for each configuration among the runs.

    Args:
      records: finished runs.

    Returns:
      The rows, in the order of their first runs.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["configuration"], []).append(record)
    return [_summarize_one(name, runs) for name, runs in groups.items()]


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a table to print, scores in per cent.

    Args:
      rows: rows of one task.

    Returns:
      Lines of text, the heading first.
    """
    head = ("method", "runs", "Std", "Mean", "Max", "failed", "failed (released)")
    table: list[tuple[str, ...]] = [head]
    for row in rows:
        summary = row.summary
        released = row.failed_released
        table.append(
            (
                row.label,
                f"{summary.runs}",
                *numbers(summary, 2),
                f"{len(row.failed)}",
                "-" if released is None else f"{released}",
            )
        )
    if all(row.failed_released is None for row in rows):
        table = [line[:-1] for line in table]
    return "\n".join([heading(rows), align(table)])


def numbers(summary: stability.RunSummary, digits: int) -> tuple[str, str, str]:
    """Std, Mean and Max of runs as the paper prints them.

    Args:
      summary: what the runs come to.
      digits: digits after the point.

    Returns:
      The texts; that of the spread of a single run is a dash.
    """
    std, mean, best = (
        f"{number:z.{digits}f}" for number in (summary.std, summary.mean, summary.max)
    )
    return std if summary.runs > 1 else "-", mean, best


def align(table: Sequence[Sequence[str]]) -> str:
    """Cells in columns, the first to the left and the others to the right.

    Args:
      table: lines of equally many cells.

    Returns:
      The lines as text.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        first = cells[0].ljust(widths[0])
        others = [
            cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join([first, *others]))
    return "\n".join(lines)


def held_out_part(settings: Mapping[str, Any]) -> str:
    """Which part of the training set was scored instead; empty for none."""
    share = settings.get("held_out")
    return f"{100 * share:g}% held out of the training set" if share else ""


def heading(rows: Sequence[Row]) -> str:
    """What is scored on what, in a line.

    Args:
      rows: rows of one task.

    Returns:
      What all of them have in common of metric, size of the data and score of the
      majority classifier.
    """
    first, *others = map(facts, rows)
    metric, size, majority = (
        fact if all(each[place] == fact for each in others) else ""
        for place, fact in enumerate(first)
    )
    scored = ", ".join(filter(None, (metric, size)))
    return f"{rows[0].settings['task']}: {'; '.join(filter(None, (scored, majority)))}"


def facts(row: Row) -> tuple[str, str, str]:
    """What is scored, on how many examples, and what the majority classifier has."""
    settings = row.settings
    part = held_out_part(settings)
    return (
        f"{METRIC_NAMES[settings['metric']]} in %{f' on {part}' if part else ''}",
        f"{settings['train_examples']:,} training examples",
        f"the majority classifier has {row.majority_score:.1f}",
    )


def _summarize_one(name: str, runs: list[Record]) -> Row:
    runs = sorted(runs, key=lambda run: (run["init_seed"], run["data_seed"]))
    first = runs[0]
    released = [run["failed_released"] for run in runs]
    settings = settings_of(first)
    return Row(
        configuration=name,
        label=settings["label"],
        settings=settings,
        scores={str(run["seed"]): run["score"] for run in runs},
        failed=[str(run["seed"]) for run in runs if run["failed"]],
        failed_released=None if None in released else sum(released),
        diverged=sum(run["diverged_at"] is not None for run in runs),
        summary=stability.summarize_runs([run["score"] for run in runs]),
    )
