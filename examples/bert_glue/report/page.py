"""The page: tables, every run, learning curves, comparisons, and what made them."""

from collections.abc import Sequence

from bert_glue.records.manifest import Config
from bert_glue.report import charts, formats, notes, paper, verdicts
from bert_glue.report.render import render
from bert_glue.report.tables import SCORES, Table

Groups = dict[str, list[dict[str, str]]]
"""Lines of a table, each of cells by the names of their columns, by their task."""


def page(tables: Sequence[Table], config: Config) -> str:
    """A page that needs nothing but itself: no network, no script, no other file.

    Args:
      tables: tables with at least one run each.
      config: what made the runs.

    Returns:
      HTML.
    """
    return render(
        "page.html",
        title=" and ".join(table.title for table in tables),
        tables=tables,
        models={run["run"]: run["model"] for table in tables for run in table.runs},
        origins=_origins(config),
        columns=SCORES,
        notes=notes,
        approach=paper.approach,
        best=formats.BEST,
        key=verdicts.KEY,
        dots=charts.dots,
        curves=charts.curves,
        verdict_lines=_verdict_lines,
        sureness_lines=_sureness_lines,
        run_lines=_run_lines,
    )


def _verdict_lines(table: Table) -> Groups:
    groups: Groups = {}
    for line in verdicts.brief_lines(table.verdicts, table.design.reference):
        groups.setdefault(line.pop("task"), []).append(line)
    return groups


def _sureness_lines(table: Table) -> Groups:
    return {
        task: [
            {"method": label} | formats.sureness(row)
            for label, row in table.column(task).items()
        ]
        for task in table.tasks
    }


def _run_lines(table: Table) -> Groups:
    groups: Groups = {}
    for (task, label), row in table.cells.items():
        for run in row.runs:
            failed = "failed" if run["failed"] else ""
            if run["diverged_at"] is not None:
                failed = f"diverged at step {run['diverged_at']:,}"
            groups.setdefault(task, []).append(
                {
                    "method": label,
                    "seed": f"{run['seed']}",
                    "score": f"{run['score']:.2f}",
                    "failed": failed,
                    "steps": f"{run['steps']:,}",
                    "seconds": f"{run['seconds']:,.1f}",
                    "commit": (run["commit"] or "unknown")[:10],
                }
            )
    return groups


def _origins(config: Config) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """Command lines by what they ran on: the name and the text of each fact."""

    def listed(items: dict[str, object] | None) -> str:
        return ", ".join(f"{name} {value}" for name, value in (items or {}).items())

    origins: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for command in config["commands"]:
        facts = (
            ("commit", command.get("commit") or "unknown"),
            ("hardware", listed(command.get("hardware"))),
            ("versions", listed(command.get("versions"))),
        )
        line = f"{command.get('started', '')}  {command.get('command', '')}"
        origins.setdefault(facts, []).append(line)
    return origins
