"""How stable a method is, and what a comparison of two has shown (Tables 1 and 2)."""

from cwgnc_jax.stability._comparisons import (
    Comparison,
    compare_scores,
    compare_spread,
    correct_comparisons,
    fewest_seeds,
)
from cwgnc_jax.stability._curves import (
    Curve,
    RangeComparison,
    StableRange,
    compare_ranges,
    failed_intervals,
    stable_range,
)
from cwgnc_jax.stability._runs import (
    RELEASED_FAILED_AT,
    FailedRuns,
    Interval,
    RunSummary,
    has_failed,
    std_interval,
    summarize_runs,
    wilson_interval,
)
from cwgnc_jax.stability._significance import holm
from cwgnc_jax.stability._spending import Look, next_look, next_runs

__all__ = [
    "Comparison",
    "Curve",
    "FailedRuns",
    "Interval",
    "Look",
    "RELEASED_FAILED_AT",
    "RangeComparison",
    "RunSummary",
    "StableRange",
    "compare_ranges",
    "compare_scores",
    "compare_spread",
    "correct_comparisons",
    "failed_intervals",
    "fewest_seeds",
    "has_failed",
    "holm",
    "next_look",
    "next_runs",
    "stable_range",
    "std_interval",
    "summarize_runs",
    "wilson_interval",
]
