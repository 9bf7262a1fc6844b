"""When a run failed, of whatever version its record is."""

from collections.abc import Mapping
from typing import Any

from bert_glue.data.examples import MULTI_LABEL
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.training.journal import kept_evaluation
from cwgnc_jax.stability import has_failed

RULE = (
    "A run failed if it diverged, gives every example one answer, scores no better "
    "than the best constant answer, or has learnt nothing: after more than one epoch "
    "its training loss is not below that of the best constant answer."
)
"""The rule, for whoever reads a table."""

_HARDLY = 0.98


def failure(run: Mapping[str, Any]) -> str:
    """Why a run failed.

    Args:
      run: its record.

    Returns:
      The first reason of :data:`RULE` in words; empty if it did not fail.
    """
    if run["diverged_at"] is not None:
        return f"diverged at step {run['diverged_at']:,}"
    counts = list((run.get("predicted") or {}).values())
    # Of several labels an example each is then given to all examples or to none.
    is_multi_label = run.get("problem_type") == MULTI_LABEL
    examples = run["eval_examples"] if is_multi_label else sum(counts)
    if counts and set(counts) <= {0, examples}:
        return "gives every example one answer"
    if has_failed(run["score"], run["constant_score"]):
        return "no better than a constant answer"
    # The loss of a first epoch is also that of its first steps.
    if _loss_left(run) >= 1 and kept_evaluation(run)["epoch"] > 1:
        return "learnt nothing"
    return ""


def hardly_learned(run: Mapping[str, Any]) -> bool:
    """Whether a run's training loss has hardly moved, which need not be a failure.

    Args:
      run: its record.

    Returns:
      True if it was above 98% of the best constant answer's, in the steps before the
      evaluation that counts; False where that is not recorded.
    """
    return run["diverged_at"] is None and _loss_left(run) > _HARDLY


def recount(run: dict[str, Any]) -> None:
    """Says by today's rule whether a run failed, as far as its record allows it.

    Records of earlier versions know the answer that is commonest in training, and not
    the one that scores best: of two classes it is the one or the other.

    Args:
      run: its record, to which ``failed_majority`` and ``constant_score`` are added
        where they are missing. What is no whole record is left alone.
    """
    if not {"failed", "majority_score", "metric"} <= run.keys():
        return
    run.setdefault("failed_majority", run["failed"])
    best = run["majority_score"]
    task = TASKS.get(run["task"]) or GENERATED.get(run["task"])
    if run["metric"] == "accuracy" and task and task.num_labels == 2:
        best = max(best, 100 - best)
    run.setdefault("constant_score", best)
    run["failed"] = bool(failure(run))


def _loss_left(run: Mapping[str, Any]) -> float:
    """Training loss as a share of the best constant answer's; 0 if it is not known."""
    if not run.get("constant_loss") or not run["history"]:
        return 0.0
    return kept_evaluation(run)["train_loss"] / run["constant_loss"]
