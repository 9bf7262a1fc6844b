"""What a reader of a table must know, in sentences."""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence

from bert_glue.records.designs import ALL
from bert_glue.report import headings, paper, verdicts
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
    return [
        note
        for about in (
            _missing_runs,
            _settings_unlike_the_papers,
            _always_failed,
            _unlike_epochs,
            _best_evaluations,
            _mixed_columns,
            _crossed_seeds,
        )
        for note in about(table)
    ]


def rules(table: Table) -> str:
    """By which rules a run failed, in a sentence."""
    text = (
        "A run failed (majority) if its score is no better than that of always giving "
        "the commonest answer of the training examples, or if its loss became NaN or "
        "infinite"
    )
    limits = [
        f"{task.upper()} {stability.RELEASED_FAILED_AT[task]:g}"
        for task in table.tasks
        if task in stability.RELEASED_FAILED_AT
    ]
    if limits:
        text += "; (released) if it is at most what the paper's code has: "
    return f"{text}{', '.join(limits)}."


def outcome(table: Table) -> str:
    """How many differences are shown, in a sentence."""
    if not table.verdicts:
        return f"There is nothing to compare: {_why_nothing_is_compared(table)}."
    comparisons = [verdict.comparison for verdict in table.verdicts]
    asked = [comparison.question for comparison in comparisons]
    shown = sum(comparison.shown for comparison in comparisons)
    reference = table.design.reference
    variants = dict.fromkeys(verdict.reference for verdict in table.verdicts)
    variants.pop(reference, None)
    matched = f", some with {', '.join(variants)} instead, for equal epochs,"
    return (
        f"Of {len(asked)} comparison{'s' if len(asked) > 1 else ''} with {reference} "
        f"({asked.count('score')} of means, {asked.count('spread') or 'none'} of "
        f"spreads){matched if variants else ''} {shown or 'none'} "
        f"{'is' if shown < 2 else 'are'} shown at the level {comparisons[0].alpha:g}, "
        "corrected together (Holm)."
    )


def _why_nothing_is_compared(table: Table) -> str:
    reference = table.design.reference
    several = {label for (_, label), row in table.cells.items() if len(row.runs) > 1}
    if len(several) < 2:
        return "it takes two methods with two runs each"
    if reference not in several:
        return f"{reference}, the reference, has no two runs yet"
    return (
        f"no other method has two runs with what {reference} was trained and scored on"
    )


def _missing_runs(table: Table) -> Iterator[str]:
    recorded, wanted = len(table.runs), table.design.runs
    # Of whatever runs there are none is missing.
    if recorded < wanted and table.design.number != ALL:
        yield f"{recorded} of {wanted} runs are recorded; the table is of these."


def _settings_unlike_the_papers(table: Table) -> Iterator[str]:
    differing = collections.defaultdict(list)
    for key, row in table.cells.items():
        run = row.runs[0]
        for text in (*paper.differences(run), *paper.recipe_differences(run)):
            differing[text].append(key)
    if differing:
        where = [f"{text}{_where(table, keys)}" for text, keys in differing.items()]
        yield (
            "The setting is not the paper's, so that its numbers are not comparable: "
            f"{'; '.join(where)}."
        )
    if any(paper.published(row.runs[0]) for row in table.cells.values()):
        yield (
            f"In brackets the paper's numbers ({paper.SOURCE}, {paper.RUNS} runs), "
            "where the setting is the same."
        )


def _where(table: Table, keys: Sequence[tuple[str, str]]) -> str:
    """Of which columns, or rows, or cells something is true; empty for all."""
    if len(keys) == len(table.cells):
        return ""
    for names in zip(*keys, strict=True):
        if len(keys) == sum(bool({*key} & {*names}) for key in table.cells):
            return f" ({', '.join(dict.fromkeys(names))})"
    return f" ({_cells(keys)})"


def _always_failed(table: Table) -> Iterator[str]:
    failed = [key for key, row in table.cells.items() if row.always_failed]
    if failed:
        yield (
            f"All runs failed of {_cells(failed)}: a small spread there is no sign of "
            "stability, and is not compared."
        )


def _unlike_epochs(table: Table) -> Iterator[str]:
    epochs = _labels(table, lambda row: verdicts.epochs(row.runs[0]))
    if len(epochs) > 1:
        of_rows = "; ".join(f"{count} of {labels}" for count, labels in epochs.items())
        yield (
            f"Rows differ in their epochs ({of_rows}): what is shown between rows of "
            "unlike numbers may be the epochs' doing."
        )


def _best_evaluations(table: Table) -> Iterator[str]:
    def evaluations(row: Row) -> int:
        run = row.runs[0]
        return len(run["history"]) if run["keep"] == "best" else 1

    for count, labels in _labels(table, evaluations).items():
        if count > 1:
            yield (
                f"The score of {labels} is the best of {count} evaluations on the "
                "examples that are scored, which alone makes it higher."
            )


def _mixed_columns(table: Table) -> Iterator[str]:
    mixed = [task for task in table.tasks if table.is_mixed(task)]
    if mixed:
        yield (
            f"Rows of {', '.join(mixed)} are of several models, or were trained or "
            "scored on different examples; these are not compared, and none is marked "
            "as the best."
        )
    for task in mixed:
        rows = [
            f"{label} ({', '.join((row.runs[0]['model'], *headings.facts(row)))})"
            for label, row in table.column(task).items()
        ]
        yield f"On {task} {'; '.join(rows)}."


def _crossed_seeds(table: Table) -> Iterator[str]:
    if all(seed.init == seed.data for seed in table.design.seeds):
        return
    yield (
        "Initialisation and data order vary apart: runs that share one of the two are "
        "not independent, and tests take them as if they were."
    )
    for key, row in table.cells.items():
        if shares := verdicts.shares(row.runs):
            yield f"{_cells([key])}: {shares}."


def _cells(keys: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{label} on {task}" for task, label in keys)


def _labels(table: Table, value_of: Callable[[Row], int]) -> dict[int, str]:
    """Which methods have a value, by that value; a label of several tasks once."""
    labels: dict[int, dict[str, None]] = collections.defaultdict(dict)
    for (_, label), row in table.cells.items():
        labels[value_of(row)][label] = None
    return {value: ", ".join(names) for value, names in labels.items()}
