"""Tables as text for a terminal, as Markdown, LaTeX and CSV."""

from collections.abc import Mapping, Sequence

from bert_glue.report import headings, notes, paper, verdicts
from bert_glue.report.render import aligned, render
from bert_glue.report.tables import SCORES, Table, score_texts
from bert_glue.study.summaries import Row
from cwgnc_jax import stability

BEST = "best of its column; methods of one run, and spreads where all fail, left out"
"""What a star or bold type says."""


def rows_text(rows: Sequence[Row]) -> str:
    """Rows as a table to print, scores in per cent.

    Args:
      rows: rows of one task.

    Returns:
      Lines of text, the heading first.
    """
    lines = [_line(row, score_texts(row.summary, digits=2)) for row in rows]
    if all(row.failed_released is None for row in rows):
        for line in lines:
            del line["failed (released)"]
    return f"{headings.heading(rows)}\n{aligned(lines)}"


def text(table: Table) -> str:
    """The table to print, a block for each task.

    Args:
      table: the table, with at least one run.

    Returns:
      Lines: blocks with a star at the best of each column, what is shown, notes.
    """
    lines = {task: _task_lines(table, task) for task in table.tasks}
    return fill("table.txt", table=table, lines=lines)


def markdown(table: Table) -> str:
    """The table in Markdown, with failed runs and comparisons.

    Args:
      table: the table, with at least one run.

    Returns:
      A Markdown document. The best of each column is bold.
    """
    return fill("table.md", table=table, sureness=sureness)


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
    widest = 50 if row.settings["metric"] in ("accuracy", "f1") else 100
    known = interval.high <= widest
    return {
        "runs": f"{len(row.runs)}",
        "std, 95% interval": (
            f"{interval.low:.1f} to {interval.high:.1f}" if known else "unknown"
        ),
        "failed (majority)": f"{row.failed} ({rate.low:.0%} to {rate.high:.0%})",
        "failed (released)": _released(row),
        "NaN": f"{row.diverged}",
    }


def latex(table: Table) -> str:
    """The table as the paper sets it, in LaTeX.

    Args:
      table: the table, with at least one run.

    Returns:
      A fragment for a document that uses the package booktabs.
    """
    return fill("table.tex", table=table)


def fill(template: str, **values: object) -> str:
    """Fills in a template that shows tables.

    Args:
      template: its name.
      **values: what it is to know of the tables themselves.

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
        **values,
    )


def csv_text(table: Table) -> str:
    """Every number of the table, unrounded: a line for each method and task.

    Args:
      table: the table, with at least one run.

    Returns:
      A CSV file with a header; what is unknown or was not asked is empty. Of the
      comparisons it has those with the reference; :func:`comparisons_csv` has all.
    """
    return fill("table.csv", table=table, failure_rate=_failure_rate)


def comparisons_csv(table: Table) -> str:
    """Every comparison of the table, unrounded: a line for each.

    Args:
      table: the table.

    Returns:
      A CSV file with a header. The reference of a line is that of the table, or its
      variant that has as many epochs as the method.
    """
    return fill("comparisons.csv", table=table)


def _line(row: Row, scores: Mapping[str, str]) -> dict[str, str]:
    return {
        "method": row.label,
        "runs": f"{len(row.runs)}",
        **scores,
        "failed": f"{row.failed}",
        "failed (released)": _released(row),
    }


def _task_lines(table: Table, task: str) -> list[dict[str, str]]:
    column = {label: table.scores(task, label) for label in table.column(task)}
    lines = []
    for label, scores in column.items():
        texts = {
            name: f"{score.text}{'*' if score.is_best else ' '}"
            for name, score in scores.items()
        }
        lines.append(_line(table.cells[task, label], texts))
    if any(score.published for scores in column.values() for score in scores.values()):
        for line, scores in zip(lines, column.values(), strict=True):
            for name, score in scores.items():
                line[f"paper's {name}"] = score.published or "-"
    return lines


def _failure_rate(row: Row) -> stability.Interval:
    """Wilson's interval of the chance to fail (majority classifier), 0 to 1."""
    return stability.wilson_interval(row.failed, len(row.runs))


def _released(row: Row) -> str:
    return "-" if row.failed_released is None else f"{row.failed_released}"
