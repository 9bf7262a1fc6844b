"""The page: tables, every run, learning curves, comparisons, and what made them."""

import html
import pathlib
from collections.abc import Mapping, Sequence

from bert_glue.records.manifest import Config
from bert_glue.report import charts, verdicts
from bert_glue.report.formats import BEST, SURENESS, sureness
from bert_glue.report.tables import COLUMNS, Table, approach
from bert_glue.study.summaries import METRIC_NAMES


def page(tables: Sequence[Table], config: Config) -> str:
    """A page that needs nothing but itself: no network, no script, no other file.

    Args:
      tables: tables with at least one run each.
      config: what made the runs.

    Returns:
      HTML.
    """
    style = (pathlib.Path(__file__).parent / "page.css").read_text()
    title = " and ".join(table.title for table in tables)
    runs = {
        run["run"]
        for table in tables
        for cell in table.cells.values()
        for run in cell.runs
    }
    models = {
        run["model"]
        for table in tables
        for cell in table.cells.values()
        for run in cell.runs
    }
    lead = f"{len(runs):,} runs of {', '.join(sorted(models))}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_text(title)}: fine-tuning over many seeds</title>",
            f"<style>\n{style}</style>",
            "<main>",
            f"<header><h1>{_text(title)}: fine-tuning over many seeds</h1>"
            f"<p>{_text(lead)}. Scores are in per cent.</p></header>",
            *(_section(table) for table in tables),
            _origin(config),
            "</main>",
            "</html>",
            "",
        ]
    )


def _section(table: Table) -> str:
    parts = [f"<h2>{_text(table.title)}</h2>"]
    parts += [f'<p class="note">{_text(note)}</p>' for note in table.notes]
    parts += [
        _numbers(table),
        f"<p><small>Bold: {BEST}.</small></p>",
        "<h3>What the differences are worth</h3>",
        f"<p>{_text(table.outcome)}</p>",
        _verdicts(table),
        "<h3>Every run</h3>",
        '<p class="key"><span class="k run">run</span> '
        '<span class="k failed">failed run</span> '
        '<span class="k mean">mean</span> <span class="k band">mean ± std</span> '
        '<span class="k majority">majority classifier</span></p>',
    ]
    for task in table.tasks:
        metric = next(iter(table.column(task).values())).row.settings["metric"]
        parts.append(
            f"<figure><figcaption>{_text(table.heading(task))}</figcaption>"
            f"{charts.dots(table.column(task), f'{METRIC_NAMES[metric]} (%)')}</figure>"
        )
    parts += [
        "<h3>Failed runs, and how sure the spread is</h3>",
        f"<p>{_text(table.rules)} In brackets the 95% interval of the chance to fail "
        "(Wilson); that of the standard deviation is a bootstrap's.</p>",
        _sureness(table),
        "<h3>Learning curves</h3>",
    ]
    for task in table.tasks:
        column = table.column(task)
        metric = METRIC_NAMES[next(iter(column.values())).row.settings["metric"]]
        parts += [
            f"<h4>{_text(task)}: {_text(metric)} (%)</h4>",
            charts.curves(column, "score", metric),
            f"<details><summary>training loss on {_text(task)}</summary>",
            f"{charts.curves(column, 'train_loss', 'training loss')}</details>",
        ]
    parts.append(_runs(table))
    return f"<section>{''.join(parts)}</section>"


def _numbers(table: Table) -> str:
    tasks = table.tasks
    head = "".join(f'<th colspan="3" scope="colgroup">{_text(task)}' for task in tasks)
    names = "".join(f'<th scope="col">{name}' for _ in tasks for name in COLUMNS)
    best = {task: table.best(task) for task in tasks}
    rows = []
    for label in table.methods:
        cells = []
        for task in tasks:
            cell = table.cells.get((task, label))
            if cell is None:
                cells.append("<td>-" * 3)
                continue
            published = cell.published or (None,) * 3
            for value, winners, theirs in zip(
                cell.texts, best[task], published, strict=True
            ):
                value = f"<b>{value}</b>" if label in winners else value
                value += "" if theirs is None else f" <small>({theirs:.1f})</small>"
                cells.append(f"<td>{value}")
        # Where the paper calls it otherwise.
        name = approach(label).removeprefix(label).removeprefix(", ")
        name = f"<br><small>{_text(name)}</small>" if name else ""
        rows.append(f'<tr><th scope="row">{_label(label)}{name}{"".join(cells)}')
    return _scrolled(
        f'<table class="main"><thead><tr><td>{head}<tr><th scope="col">method{names}'
        f"<tbody>{''.join(rows)}</table>"
    )


def _verdicts(table: Table) -> str:
    if not table.verdicts:
        return ""
    items = "".join(
        f'<li class="{"shown" if verdict.comparison.shown else "not"}">'
        f"{_text(str(verdict))}"
        for verdict in table.verdicts
    )
    rows: dict[str, list[tuple[str, ...]]] = {}
    for task, *line in verdicts.brief_rows(table.verdicts, table.design.reference):
        rows.setdefault(task, []).append(tuple(line))
    return (
        _grouped("words", verdicts.HEAD[1:], rows)
        + f"<p><small>{_text(verdicts.KEY)}.</small></p>"
        + "<details><summary>each in words</summary>"
        f'<ul class="verdicts">{items}</ul></details>'
    )


def _sureness(table: Table) -> str:
    rows = {
        task: [(label, *sureness(cell)) for label, cell in table.column(task).items()]
        for task in table.tasks
    }
    return _grouped("sure", ("method", *SURENESS), rows)


def _runs(table: Table) -> str:
    rows: dict[str, list[tuple[str, ...]]] = {}
    for (task, label), cell in table.cells.items():
        for run in cell.runs:
            failed = "failed" if run["failed"] else ""
            if run["diverged_at"] is not None:
                failed = f"diverged at step {run['diverged_at']:,}"
            numbers = (f"{run['steps']:,}", f"{run['seconds']:,.1f}")
            commit = (run["commit"] or "unknown")[:10]
            rows.setdefault(task, []).append(
                (
                    label,
                    f"{run['seed']}",
                    f"{run['score']:.2f}",
                    failed,
                    *numbers,
                    commit,
                )
            )
    names = ("method", "seed", "score", "failed", "steps", "seconds", "commit")
    count = sum(map(len, rows.values()))
    return (
        f"<details><summary>all {count} runs in a list</summary>"
        f"{_grouped('runs', names, rows)}</details>"
    )


def _origin(config: Config) -> str:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for each in config["commands"]:
        surroundings = (
            _listed(each.get("hardware") or {}),
            _listed(each.get("versions") or {}),
            each.get("commit") or "unknown",
        )
        line = f"{each.get('started', '')}  {each.get('command', '')}"
        groups.setdefault(surroundings, []).append(line)
    parts = []
    for (hardware, versions, commit), lines in groups.items():
        parts.append(
            f"<pre>{_text(chr(10).join(lines))}</pre><dl>"
            f"<dt>commit<dd>{_text(commit)}<dt>hardware<dd>{_text(hardware)}"
            f"<dt>versions<dd>{_text(versions)}</dl>"
        )
    if not parts:
        parts.append("<p>The directory has no config.json that would say so.</p>")
    return f"<section><h2>What made them</h2>{''.join(parts)}</section>"


def _grouped(
    kind: str, head: Sequence[str], groups: Mapping[str, Sequence[Sequence[str]]]
) -> str:
    """A table whose rows are grouped by task."""
    names = "".join(f'<th scope="col">{name}' for name in head)
    bodies = []
    for task, rows in groups.items():
        lines = [f'<tr><th colspan="{len(head)}" scope="rowgroup">{_text(task)}']
        for first, *others in rows:
            cells = "".join(f"<td>{_text(cell)}" for cell in others)
            lines.append(f'<tr><th scope="row">{_label(first)}{cells}')
        bodies.append(f"<tbody>{''.join(lines)}")
    return _scrolled(
        f'<table class="{kind}"><thead><tr>{names}{"".join(bodies)}</table>'
    )


def _listed(items: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items())


def _scrolled(table: str) -> str:
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _label(label: str) -> str:
    """A method's name, which may be broken before each of its settings."""
    return _text(label).replace(":", ":<wbr>")


def _text(text: object) -> str:
    return html.escape(str(text))
