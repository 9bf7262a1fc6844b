"""What a reader of a table must know, in sentences."""

import collections
from collections.abc import Callable, Iterable, Sequence

from bert_glue.records import failures
from bert_glue.records.designs import ALL
from bert_glue.report import headings, paper, verdicts
from bert_glue.report.render import render
from bert_glue.report.tables import Table
from bert_glue.study.summaries import Row
from cwgnc_jax import stability


def notes(table: Table) -> list[str]:
    """What a reader must know of the rows, each a sentence.

    Args:
      table: the table, with at least one run.

    Returns:
      The sentences; none about what is as in the paper.
    """
    rows = table.cells.values()
    text = render(
        "notes.txt",
        table=table,
        all=ALL,
        differences=_settings_unlike_the_papers(table),
        paper=paper,
        paper_numbers=any(paper.published(row.runs[0]) for row in rows),
        failed=_cells(key for key, row in table.cells.items() if row.always_failed),
        epochs=_labels(table, lambda row: verdicts.epochs(row.runs[0])),
        evaluations=_labels(table, _evaluations),
        hardly_learned=_hardly_learned(table),
        truncation={
            task: row.runs[0].get("truncation")
            for (task, _), row in table.cells.items()
        },
        mixed=[task for task in table.tasks if table.is_mixed(task)],
        facts=headings.facts,
        is_crossed=any(seed.init != seed.data for seed in table.design.seeds),
        shares_of=verdicts.shares,
        share="{:.0%}".format,
    )
    return text.splitlines()


def rules(table: Table) -> str:
    """By which rules a run failed, in a sentence."""
    limits = ", ".join(
        f"{task.upper()} {stability.RELEASED_FAILED_AT[task]:g}"
        for task in table.tasks
        if task in stability.RELEASED_FAILED_AT
    )
    released = f"; (released) if it is at most what its code has: {limits}"
    return (
        f"{failures.RULE} By the paper's footnote (paper) it failed if its score is no "
        "better than that of always giving the commonest answer of the training "
        f"examples, or if it diverged{released if limits else ''}."
    )


def outcome(table: Table) -> str:
    """How many differences are shown, or why there are none to show, in a sentence."""
    several = {label for (_, label), row in table.cells.items() if len(row.runs) > 1}
    reference = table.design.reference
    return render("outcome.txt", table=table, reference=reference, several=several)


def _settings_unlike_the_papers(table: Table) -> list[str]:
    differing = collections.defaultdict(list)
    for key, row in table.cells.items():
        run = row.runs[0]
        for text in (*paper.differences(run), *paper.recipe_differences(run)):
            differing[text].append(key)
    return [f"{text}{_where(table, keys)}" for text, keys in differing.items()]


def _where(table: Table, keys: Sequence[tuple[str, str]]) -> str:
    """Of which columns, or rows, or cells something is true; empty for all."""
    if len(keys) == len(table.cells):
        return ""
    for names in zip(*keys, strict=True):
        if len(keys) == sum(bool({*key} & {*names}) for key in table.cells):
            return f" ({', '.join(dict.fromkeys(names))})"
    return f" ({_cells(keys)})"


def _cells(keys: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{label} on {task}" for task, label in keys)


def _evaluations(row: Row) -> int:
    """How many evaluations the score is the best of."""
    run = row.runs[0]
    return len(run["history"]) if run["keep"] == "best" else 1


def _hardly_learned(table: Table) -> dict[str, int]:
    """How many runs of each cell, where there are any."""
    counts = {
        f"{label} on {task}": sum(map(failures.hardly_learned, row.runs))
        for (task, label), row in table.cells.items()
    }
    return {cell: count for cell, count in counts.items() if count}


def _labels(table: Table, value_of: Callable[[Row], int]) -> dict[int, dict[str, None]]:
    """Which methods have a value, by that value; a label of several tasks once."""
    labels: dict[int, dict[str, None]] = collections.defaultdict(dict)
    for (_, label), row in table.cells.items():
        labels[value_of(row)][label] = None
    return labels
