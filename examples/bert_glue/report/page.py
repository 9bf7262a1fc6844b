"""The page: tables, every run, learning curves, comparisons, and what made them."""

import base64
from collections.abc import Sequence

from bert_glue.records.failures import failure
from bert_glue.records.manifest import Config
from bert_glue.report import charts, formats
from bert_glue.report.curves import TaskCurves
from bert_glue.report.headings import metric_name
from bert_glue.report.tables import Table


def page(
    tables: Sequence[Table], config: Config, stability: Sequence[TaskCurves] = ()
) -> str:
    """A page that needs nothing but itself: no network, no script, no other file.

    Args:
      tables: tables with at least one run each.
      config: what made the runs.
      stability: curves over a setting, which come first.

    Returns:
      HTML.
    """
    titles = [f"{found.task} over {found.design.words}" for found in stability]
    titles += [table.title for table in tables]
    return formats.fill(
        "page.html",
        title=" and ".join(titles),
        stability=stability,
        picture=_picture,
        tables=tables,
        models={run["run"]: run["model"] for table in tables for run in table.runs},
        origins=_origins(config),
        metric_name=metric_name,
        dots=charts.dots,
        curves=charts.curves,
        sureness_lines=_sureness_lines,
        run_lines=_run_lines,
    )


def _picture(found: TaskCurves) -> str:
    """The figure as the address of an image that is its own content."""
    return f"data:image/svg+xml;base64,{base64.b64encode(found.svg).decode()}"


def _sureness_lines(table: Table) -> list[dict[str, str]]:
    return [
        {"task": task, "method": label} | formats.sureness(row)
        for (task, label), row in table.cells.items()
    ]


def _run_lines(table: Table) -> list[dict[str, str]]:
    return [
        {
            "task": task,
            "method": label,
            "seed": f"{run['seed']}",
            "score": f"{run['score']:.2f}",
            "failed": failure(run),
            "steps": f"{run['steps']:,}",
            "seconds": f"{run['seconds']:,.1f}",
            "commit": (run["commit"] or "unknown")[:10],
        }
        for (task, label), row in table.cells.items()
        for run in row.runs
    ]


def _origins(config: Config) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """Command lines by what they ran on: the name and the text of each fact."""
    origins: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for command in config["commands"]:
        facts = [("commit", command.get("commit") or "unknown")]
        for name in ("hardware", "versions"):
            items = (command.get(name) or {}).items()
            facts.append((name, ", ".join(f"{key} {value}" for key, value in items)))
        line = f"{command.get('started', '')}  {command.get('command', '')}"
        origins.setdefault(tuple(facts), []).append(line)
    return origins
