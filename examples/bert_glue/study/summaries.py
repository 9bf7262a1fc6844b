"""Many runs in few numbers: the rows of the paper's Table 1."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from bert_glue.records.run_store import Record, by_configuration, settings_of
from cwgnc_jax import stability


@dataclasses.dataclass(frozen=True)
class Row:
    """All runs of a configuration, and what they come to.

    Attributes:
      label: the method, with what was changed about it.
      runs: the runs, in the order of their seeds, at least one.
    """

    label: str
    runs: tuple[Record, ...]

    @functools.cached_property
    def summary(self) -> stability.RunSummary:
        """Spread, mean, best, worst of the scores in per cent."""
        return _summarize(tuple(run["score"] for run in self.runs))

    @property
    def configuration(self) -> str:
        """Short name of the configuration."""
        return self.runs[0]["configuration"]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What all runs have in common."""
        return settings_of(self.runs[0])

    @property
    def majority_score(self) -> float:
        """Score of the majority classifier, in per cent."""
        return self.runs[0]["majority_score"]

    @property
    def constant_score(self) -> float:
        """Score of the best constant answer to the scored examples, in per cent."""
        return self.runs[0]["constant_score"]

    @property
    def failed(self) -> int:
        """How many runs failed, by :data:`failures.RULE`."""
        return sum(run["failed"] for run in self.runs)

    @property
    def failed_majority(self) -> int:
        """How many did not beat the majority classifier, or diverged."""
        return sum(run["failed_majority"] for run in self.runs)

    @property
    def always_failed(self) -> bool:
        """Whether there are several runs, and all failed."""
        return 1 < len(self.runs) == self.failed

    @property
    def failed_released(self) -> int | None:
        """How many failed by the threshold of the paper's code, where it has one."""
        released = [run["failed_released"] for run in self.runs]
        return None if None in released else sum(released)

    @property
    def diverged(self) -> int:
        """How many runs had a loss that became NaN or infinite."""
        return sum(run["diverged_at"] is not None for run in self.runs)

    @property
    def line(self) -> str:
        """What there is so far, for the time before the table is whole."""
        scores = self.summary
        std = f"std {scores.std:z.1f}, " if len(self.runs) > 1 else ""
        return (
            f"{std}mean {scores.mean:z.1f}, max {scores.max:z.1f}, failed {self.failed}"
        )

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
            "failed": self.failed,
            "failed_majority": self.failed_majority,
            "failed_released": self.failed_released,
            "diverged": self.diverged,
            "scores": {str(run["seed"]): run["score"] for run in self.runs},
            "configuration": self.configuration,
            "settings": self.settings,
        }


@functools.lru_cache(maxsize=4096)
def _summarize(scores: tuple[float, ...]) -> stability.RunSummary:
    # After each run all rows of a folder are written, of which it changed one.
    return stability.summarize_runs(scores)


def summarize(records: Iterable[Record]) -> list[Row]:
    """One row for each configuration among the runs.

    Args:
      records: finished runs.

    Returns:
      The rows, in the order of their first runs.
    """
    groups = by_configuration(records)
    return [Row(runs[0]["label"], tuple(runs)) for runs in groups]
