"""How stable a method is, and what a comparison of two has shown (Tables 1 and 2)."""

from cwgnc_jax.stability._comparisons import (
    Comparison,
    compare_scores,
    compare_spread,
    correct_comparisons,
    fewest_seeds,
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

__all__ = [
    "Comparison",
    "FailedRuns",
    "Interval",
    "RELEASED_FAILED_AT",
    "RunSummary",
    "compare_scores",
    "compare_spread",
    "correct_comparisons",
    "fewest_seeds",
    "has_failed",
    "holm",
    "std_interval",
    "summarize_runs",
    "wilson_interval",
]
