"""Tables as text for a terminal, as Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from bert_glue.report import paper, verdicts
from bert_glue.report.tables import COLUMNS, Cell, Table, approach
from bert_glue.study import summaries

BEST = "best of its column; methods of one run, and spreads where all fail, left out"
"""What a star or bold type says."""


def text(table: Table) -> str:
    """The table to print, a block for each task.

    Args:
      table: the table, with at least one run.

    Returns:
      Lines: blocks with a star at the best of each column, what is shown, notes.
    """
    blocks = []
    for task in table.tasks:
        column, best = table.column(task), table.best(task)
        head = ["method", "runs", *COLUMNS, "failed", "failed (released)"]
        published = any(cell.published for cell in column.values())
        head += [f"paper's {name}" for name in COLUMNS] if published else []
        lines = [head]
        for label, cell in column.items():
            line = [label, f"{len(cell.runs)}"]
            line += [
                f"{number}{'*' if label in winners else ' '}"
                for number, winners in zip(cell.texts, best, strict=True)
            ]
            line += [f"{len(cell.row.failed)}", _released(cell)]
            if published:
                line += [f"{number:.1f}" for number in cell.published or ()] or [
                    "-"
                ] * 3
            lines.append(line)
        blocks.append(f"{table.heading(task)}\n{summaries.align(lines)}")
    blocks[0] = f"{table.title}\n{blocks[0]}"
    answers = table.outcome
    if table.verdicts:
        reference = table.design.reference
        lines = [verdicts.HEAD, *verdicts.brief_rows(table.verdicts, reference)]
        answers += f"\n{summaries.align(lines)}\n({verdicts.KEY})"
    names = [
        f"{label} is {paper.APPROACHES[label]}"
        for label in table.methods
        if approach(label) != label
    ]
    notes = [f"* {BEST}.", *table.notes]
    notes += [f"In the paper {', '.join(names)}."] if names else []
    return "\n\n".join([*blocks, answers, "\n".join(notes)])


def markdown(table: Table) -> str:
    """The table in Markdown, with failed runs and comparisons.

    Args:
      table: the table, with at least one run.

    Returns:
      A Markdown document. The best of each column is bold.
    """

    def bold(value: str, is_best: bool) -> str:
        return f"**{value}**" if is_best else value

    tasks = table.tasks
    parts = [f"# {table.title}", *map(_capital, map(table.heading, tasks))]
    parts += [
        _markdown_rows(
            ["method", *(f"{task} {name}" for task in tasks for name in COLUMNS)],
            [
                [
                    _in_markdown(approach(label)),
                    *map("".join, _numbers(table, label, bold)),
                ]
                for label in table.methods
            ],
        ),
        f"Bold: {BEST}.",
        "## Failed runs, and how sure the spread is",
        table.rules,
        _markdown_rows(
            ["method", *(f"{task} {name}" for task in tasks for name in SURENESS)],
            [
                [_in_markdown(label), *_sureness(table, label)]
                for label in table.methods
            ],
        ),
        "## What the differences are worth",
        table.outcome,
        *(
            [
                _markdown_rows(
                    verdicts.HEAD,
                    [
                        [_in_markdown(text) for text in line]
                        for line in verdicts.brief_rows(
                            table.verdicts, table.design.reference
                        )
                    ],
                ),
                f"({verdicts.KEY})",
                "In words:",
                "\n".join(f"- {_in_markdown(str(each))}" for each in table.verdicts),
            ]
            if table.verdicts
            else []
        ),
        *([] if not table.notes else ["## Notes", "\n".join(table.notes)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


SURENESS = (
    "runs",
    "std, 95% interval",
    "failed (majority)",
    "failed (released)",
    "NaN",
)
"""Heads of the table of failed runs."""


def latex(table: Table) -> str:
    """The table as the paper sets it, in LaTeX.

    Args:
      table: the table, with at least one run.

    Returns:
      A fragment for a document that uses the package booktabs.
    """

    def bold(value: str, is_best: bool) -> str:
        return rf"\textbf{{{value}}}" if is_best else value

    tasks = table.tasks
    spans = [rf"\multicolumn{{3}}{{c}}{{{_in_latex(task.upper())}}}" for task in tasks]
    rules = [
        rf"\cmidrule(lr){{{3 * number + 2}-{3 * number + 4}}}"
        for number in range(len(tasks))
    ]
    lines = [
        *(f"% {note}" for note in (*map(table.heading, tasks), *table.notes)),
        rf"% Bold: {BEST}. Needs \usepackage{{booktabs}}.",
        rf"\begin{{tabular}}{{l{'rrr' * len(tasks)}}}",
        r"\toprule",
        " & ".join(["Approach", *spans]) + r" \\",
        "".join(rules),
        " & ".join(["", *COLUMNS * len(tasks)]) + r" \\",
        r"\midrule",
    ]
    for label in table.methods:
        numbers = _numbers(table, label, bold)
        theirs = [text.strip() for _, text in numbers]
        lines.append(" & ".join([_in_latex(label), *(n for n, _ in numbers)]) + r" \\")
        name = approach(label).removeprefix(label).removeprefix(", ")
        # What the paper has goes below, for the table to be as narrow as a page.
        if name or any(theirs):
            small = [
                rf"{{\scriptsize {_in_latex(text)}}}" if text else ""
                for text in (name, *theirs)
            ]
            lines.append(" & ".join(small) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def csv_text(table: Table) -> str:
    """Every number of the table, unrounded: a line for each method and task.

    Args:
      table: the table.

    Returns:
      A CSV file with a header; what is unknown or was not asked is empty. Of the
      comparisons it has those with the reference; :func:`comparisons_csv` has all.
    """
    answers = {
        (each.task, each.method, each.comparison.question): each.comparison
        for each in table.verdicts
        if each.reference == table.design.reference
    }
    lines = []
    for (task, label), cell in table.cells.items():
        summary, row, rate = cell.row.summary, cell.row, cell.failure_rate
        line = [
            *(task, row.settings["metric"], label, row.configuration, len(cell.runs)),
            *(summary.std, summary.std_interval.low, summary.std_interval.high),
            *(summary.mean, summary.max, summary.min),
            *(len(row.failed), rate.low, rate.high, row.failed_released, row.diverged),
            *(row.majority_score, *(cell.published or (None,) * 3)),
            table.design.reference,
        ]
        for question in ("score", "spread"):
            verdict = answers.get((task, label, question))
            line += (
                [None] * 5
                if verdict is None
                else [
                    *(verdict.test, verdict.p_value, verdict.p_adjusted),
                    *(verdict.shown, verdict.seeds_needed()),
                ]
            )
        lines.append(line)
    return _as_csv(CSV_HEAD, lines)


def comparisons_csv(table: Table) -> str:
    """Every comparison of the table, unrounded: a line for each.

    Args:
      table: the table.

    Returns:
      A CSV file with a header. The reference of a line is that of the table, or its
      variant that has as many epochs as the method.
    """
    lines = []
    for each in table.verdicts:
        found = each.comparison
        lines.append(
            [
                *(each.task, each.reference, each.method, found.question),
                *(*found.values, *found.runs, found.test),
                *(found.p_value, found.p_adjusted, found.shown),
                *(found.favours if found.shown else None, found.seeds_needed()),
            ]
        )
    return _as_csv(COMPARISONS_HEAD, lines)


COMPARISONS_HEAD = (
    *("task", "reference", "method", "question", "reference_value", "method_value"),
    *("reference_runs", "method_runs", "test", "p", "p_corrected", "shown", "better"),
    "seeds_needed",
)
"""Columns of the file of comparisons."""


CSV_HEAD = (
    *("task", "metric", "method", "configuration", "runs"),
    *("std", "std_low", "std_high", "mean", "max", "min"),
    *("failed", "failure_rate_low", "failure_rate_high", "failed_released"),
    *("diverged", "majority_score", "paper_std", "paper_mean", "paper_max"),
    "reference",
    *(
        f"{question}_{name}"
        for question in ("score", "spread")
        for name in ("test", "p", "p_corrected", "shown", "seeds_needed")
    ),
)
"""Columns of the CSV file."""


def sureness(cell: Cell) -> tuple[str, ...]:
    """The cells of :data:`SURENESS`.

    Args:
      cell: a method on a task.

    Returns:
      As many texts.
    """
    interval, rate = cell.row.summary.std_interval, cell.failure_rate
    # Too few runs, or all alike but for one, bound no spread from above; what an
    # interval may reach, no scores can, if it is more than half their range.
    widest = 50 if cell.row.settings["metric"] in ("accuracy", "f1") else 100
    known = interval.high <= widest
    return (
        f"{len(cell.runs)}",
        f"{interval.low:.1f} to {interval.high:.1f}" if known else "unknown",
        f"{len(cell.row.failed)} ({rate.low:.0%} to {rate.high:.0%})",
        _released(cell),
        f"{cell.row.diverged}",
    )


def _as_csv(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A CSV file; what is unknown, NaN or infinite, is empty: it knows neither."""

    def known(value: Any) -> Any:
        unknown = isinstance(value, float) and not math.isfinite(value)
        return "" if unknown else value

    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(map(known, line) for line in lines)
    return file.getvalue()


def _released(cell: Cell) -> str:
    failed = cell.row.failed_released
    return "-" if failed is None else f"{failed}"


def _numbers(
    table: Table, label: str, bold: Callable[[str, bool], str]
) -> list[tuple[str, str]]:
    """Std, Mean and Max of a method on each task, and the paper's in brackets."""
    found: list[tuple[str, str]] = []
    for task in table.tasks:
        cell = table.cells.get((task, label))
        if cell is None:
            found += [("-", "")] * 3
            continue
        published = [f" ({number:.1f})" for number in cell.published or ()] or [""] * 3
        found += [
            (bold(number, label in winners), theirs)
            for number, winners, theirs in zip(
                cell.texts, table.best(task), published, strict=True
            )
        ]
    return found


def _sureness(table: Table, label: str) -> list[str]:
    return [
        text
        for task in table.tasks
        for text in (
            sureness(table.cells[task, label])
            if (task, label) in table.cells
            else ("-",) * len(SURENESS)
        )
    ]


def _markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _in_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("_", r"\_")


def _in_latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{each: f"\\{each}" for each in "&%$#_{}"},
    }
    return "".join(special.get(letter, letter) for letter in text)


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
