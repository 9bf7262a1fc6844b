"""What is scored on what, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from bert_glue.data import metrics, tasks
from bert_glue.data.examples import MULTI_LABEL, REGRESSION
from bert_glue.report.paper import held_out_part
from bert_glue.study.summaries import Row


def metric_name(run: Mapping[str, Any]) -> str:
    """What scores of a run are, in words; of which class, where they are of one."""
    # Older records do not hold the classes of users' own files.
    task = tasks.find(run["task"])
    classes = run.get("classes") or (task.labels if task else ())
    positive = run.get("positive_class") or (classes[1] if classes else "")
    return metrics.in_words(run["metric"], run.get("problem_type"), positive)


def constant_answer(run: Mapping[str, Any]) -> str:
    """What always answers what is most frequent in training, in words."""
    if REGRESSION in metrics.METRICS[run["metric"]].problems:
        return "mean"
    several = run.get("problem_type") == MULTI_LABEL
    return "commonest set of labels" if several else "majority classifier"


def facts(row: Row) -> tuple[str, str, str]:
    """What is scored, on how many examples, and what constant answers have."""
    run = row.runs[0]
    part = held_out_part(run)
    majority, constant = f"{row.majority_score:.1f}", f"{row.constant_score:.1f}"
    more = f", the best constant answer {constant}" if constant != majority else ""
    return (
        f"{metric_name(run)} in %{f' on {part}' if part else ''}",
        f"{run['train_examples']:,} training examples",
        f"the {constant_answer(run)} has {majority}{more}",
    )


def heading(rows: Sequence[Row]) -> str:
    """What is scored on what, in a line.

    Args:
      rows: rows of one task.

    Returns:
      What all of them have in common of metric, size of the data and scores of
      constant answers.
    """
    shared = [
        of_rows[0] if len(set(of_rows)) == 1 else ""
        for of_rows in zip(*map(facts, rows), strict=True)
    ]
    scored = ", ".join(filter(None, shared[:2]))
    return f"{rows[0].runs[0]['task']}: {'; '.join(filter(None, [scored, shared[2]]))}"
