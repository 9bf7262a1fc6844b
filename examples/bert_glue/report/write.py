"""From the records of a folder to its tables and its page."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence

from bert_glue.records import manifest
from bert_glue.records.designs import ALL, Design, choose_reference
from bert_glue.records.files import RecordsError, replace_file
from bert_glue.records.run_store import RunStore, settings_of
from bert_glue.report import curves, formats, page, plots
from bert_glue.report.curves import TaskCurves
from bert_glue.report.tables import CHOSEN, Table, build

PAGE = "index.html"


def read(
    records: RunStore, name: str | None = None, reference: str | None = None
) -> list[Table]:
    """The tables of a folder.

    Args:
      records: the folder.
      name: name of the table that is wanted most, :data:`ALL` for one of all runs.
      reference: label of the method that others are compared with, if not the one
        that was chosen when the runs were made.

    Returns:
      The tables that have runs, in the order of their names; for a folder of which
      no table is known, or if that is wanted, one of all its runs.

    Raises:
      RecordsError: if there are no runs, or none of the table that is wanted.
      ValueError: if the reference is no row of the table that is wanted, or of any.
    """
    runs = records.read()
    known = manifest.read(records.folder)["tables"]
    designs = [Design.from_json(name, known[name]) for name in sorted(known)]
    if runs and (name == ALL or not designs):
        designs.append(Design.of_records(runs))
    wanted = [design for design in designs if name in (None, design.name)]
    if wanted and reference is not None:
        labels = dict.fromkeys(label for design in wanted for label in design.methods)
        reference = choose_reference(list(labels), reference)
        # Another table of the folder may lack that row.
        designs = [
            dataclasses.replace(design, reference=reference)
            if reference in design.methods
            else design
            for design in designs
        ]
    tables = [table for design in designs if (table := build(design, runs)).cells]
    if not any(name in (None, table.design.name) for table in tables):
        of_table = f" of table {name}" if name else ""
        raise RecordsError(f"no runs{of_table} are recorded in {records.folder}")
    return tables


def left_over(records: RunStore, tables: Sequence[Table]) -> str:
    """Says which runs of a folder are in none of its tables.

    Args:
      records: the folder.
      tables: its tables.

    Returns:
      A sentence; empty if there are none.
    """
    shown = {run["run"] for table in tables for run in table.runs}
    labels = collections.Counter(
        f"{settings_of(run)['label']} on {run['task']}"
        for run in records.read()
        if run["run"] not in shown
    )
    if not labels:
        return ""
    of_methods = ", ".join(f"{count} of {label}" for label, count in labels.items())
    return (
        f"{labels.total()} other runs of this directory are in no table: {of_methods}; "
        f"--report-only --table {ALL} shows all"
    )


def write(records: RunStore, tables: Sequence[Table]) -> list[pathlib.Path]:
    """Writes the tables' files and the page, each whole or not at all.

    Args:
      records: the folder.
      tables: tables with at least one run each.

    Returns:
      The files, the page last.

    Raises:
      RecordsError: if one cannot be written.
    """
    content = {}
    for table in tables:
        names = {ALL: "table", CHOSEN: f"table_{CHOSEN}"}
        name = names.get(table.design.name, f"table{table.design.name}")
        for kind in ("md", "tex", "csv"):
            content[f"{name}.{kind}"] = formats.fill(f"table.{kind}", table=table)
        comparisons = formats.fill("comparisons.csv", table=table)
        content[f"{name}_comparisons.csv"] = comparisons
    found = curves.read(records)
    content[PAGE] = page.page(tables, manifest.read(records.folder), found)
    for name, text in content.items():
        replace_file(records.folder / name, text.encode())
    return [records.folder / name for name in content]


def write_curves(records: RunStore, found: Sequence[TaskCurves]) -> list[pathlib.Path]:
    """Writes the curves of a setting as pictures and numbers, and the page.

    Args:
      records: the folder.
      found: curves of each task.

    Returns:
      The files, the page last.

    Raises:
      RecordsError: if one cannot be written.
    """
    design = found[0].design
    paths: list[pathlib.Path] = []
    manifest.change(
        records,
        lambda content: content["curves"].update({design.setting: design.to_json()}),
    )
    known = manifest.read(records.folder)
    # Another setting's curves in the folder keep their files.
    first = next(iter(known["curves"])) == design.setting
    for each in found:
        name = f"curve_{plots.file_name(each.task)}"
        if not first:
            name += f"_{design.setting}"
        content = {
            f"{name}.png": plots.content(each.figure(), "png"),
            f"{name}.svg": each.svg,
            f"{name}.csv": each.csv().encode(),
        }
        for file, data in content.items():
            replace_file(records.folder / file, data)
            paths.append(records.folder / file)
    # The page has all that the folder has; of its tables those that were asked for.
    tables = read(records) if known["tables"] else []
    text = page.page(tables, known, curves.read(records, found))
    replace_file(records.folder / PAGE, text.encode())
    return [*paths, records.folder / PAGE]
