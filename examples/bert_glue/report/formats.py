"""Tables as text for a terminal, as Markdown, LaTeX and CSV."""

from bert_glue.data.metrics import METRICS
from bert_glue.report import notes, paper, verdicts
from bert_glue.report.render import render
from bert_glue.report.tables import SCORES, Table
from bert_glue.study.summaries import Row
from cwgnc_jax import stability

BEST = "best of its column; methods of one run, and where all failed, left out"
"""What a star or bold type says."""


def fill(template: str, **values: object) -> str:
    """Fills in a template that shows tables.

    Args:
      template: 'table.txt' (to print: blocks with a star at the best of each column,
        what is shown, notes), 'table.md' and 'table.tex' (the table as the paper sets
        it, for a document that uses the package booktabs), 'table.csv' (every number,
        unrounded: a line for each method and task; what is unknown or was not asked is
        empty; comparisons with the reference alone), 'comparisons.csv' (all of them),
        'page.html'.
      **values: ``table``, with at least one run, and what else the template shows.

    Returns:
      The text.
    """
    return render(
        template,
        columns=SCORES,
        notes=notes,
        paper=paper,
        best=BEST,
        key=verdicts.KEY,
        brief_lines=verdicts.brief_lines,
        task_lines=_task_lines,
        sureness=sureness,
        failure_rate=_failure_rate,
        **values,
    )


def sureness(row: Row) -> dict[str, str]:
    """How sure the spread of a method is, and which of its runs failed.

    Args:
      row: a method on a task.

    Returns:
      Texts by the names of their columns.
    """
    interval, rate = row.summary.std_interval, _failure_rate(row)
    # Too few runs, or all alike but for one, bound no spread from above; what an
    # interval may reach, no scores can, if it is more than half their range.
    widest = 100 if METRICS[row.settings["metric"]].is_correlation else 50
    known = interval.high <= widest
    return {
        "runs": f"{len(row.runs)}",
        "std, 95% interval": (
            f"{interval.low:.1f} to {interval.high:.1f}" if known else "unknown"
        ),
        "failed": f"{row.failed} ({rate.low:.0%} to {rate.high:.0%})",
        **_failed_by_others(row),
        "NaN": f"{row.diverged}",
    }


def _task_lines(table: Table, task: str) -> list[dict[str, str]]:
    column = {label: table.scores(task, label) for label in table.column(task)}
    numbers = [score for scores in column.values() for score in scores.values()]
    lines = []
    for label, scores in column.items():
        row = table.cells[task, label]
        line = {"method": label, "runs": f"{len(row.runs)}"}
        for name, score in scores.items():
            line[name] = f"{score.text}{'*' if score.is_best else ' '}"
        by_others = _failed_by_others(row).items()
        line |= {"failed": f"{row.failed}"} | {k: v for k, v in by_others if v != "-"}
        if any(score.published for score in numbers):
            for name, score in scores.items():
                line[f"paper's {name}"] = score.published or "-"
        lines.append(line)
    return lines


def _failure_rate(row: Row) -> stability.Interval:
    """Wilson's interval of the chance to fail, 0 to 1."""
    return stability.wilson_interval(row.failed, len(row.runs))


def _failed_by_others(row: Row) -> dict[str, str]:
    """How many failed by the rules of the paper, and of its released code."""
    released = "-" if row.failed_released is None else f"{row.failed_released}"
    return {
        "failed (paper)": f"{row.failed_majority}",
        "failed (released)": released,
    }
