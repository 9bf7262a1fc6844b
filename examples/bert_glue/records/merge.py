"""Several output directories made one."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from bert_glue.records import manifest, run_store
from bert_glue.records.designs import Design
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import Record, RunStore


def merge(into: RunStore, folders: Sequence[pathlib.Path]) -> int:
    """Copies the runs of other output directories, and how they were made.

    The others are only read, so that they may be write-protected, or in use.

    Args:
      into: the store that gets the runs.
      folders: the other directories.

    Returns:
      Number of runs that were copied; one that is there already is not. A note of
      ``into`` tells of those whose scores disagree.

    Raises:
      RecordsError: if a directory holds no records, its tables contradict, or curves
        with a budget were looked at on their own in several.
    """
    # All are read before anything is written.
    runs = [record for folder in folders for record in _runs_of(folder)]
    configs = [manifest.read(folder) for folder in folders]
    known = {record["run"]: record for record in into.read()}
    new, disagreeing = [], set()
    for run in runs:
        first = known.setdefault(run["run"], run)
        if first is run:
            new.append(run)
        elif first["score"] != run["score"]:
            disagreeing.add(run["run"])
    manifest.change(into, lambda content: _add(content, configs))
    if new:
        into.append(new)
    if disagreeing:
        into.notes.append(
            f"{len(disagreeing)} of the runs to merge, such as {min(disagreeing)}, are "
            "recorded more than once with other scores (of another machine or version, "
            "perhaps); the first record counts"
        )
    return len(new)


def _runs_of(folder: pathlib.Path) -> list[Record]:
    if (folder / manifest.NAME).is_file() and not (folder / run_store.RUNS).exists():
        return []  # A shard that had nothing to do.
    return run_store.read_only(folder)


def _add(content: manifest.Config, others: Sequence[manifest.Config]) -> None:
    """Adds to a folder's ``config.json`` what is in those of others."""
    commands, tables = content["commands"], content["tables"]
    for other in others:
        commands += [entry for entry in other["commands"] if entry not in commands]
        content["configurations"] |= other["configurations"]
        content["chosen"] = [*dict.fromkeys(content["chosen"] + other["chosen"])]
        for name, saved in other["tables"].items():
            design = Design.from_json(name, saved)
            if name in tables:
                design = Design.from_json(name, tables[name]).join(design)
            tables[name] = design.to_json()
        # Ours stay first: files of the first one have no setting in their names.
        for setting, curve in other["curves"].items():
            content["curves"].setdefault(setting, curve)
        for key, theirs in other["budgets"].items():
            ours = content["budgets"].setdefault(key, theirs)
            # Of two copies of a study one may have gone on.
            first, last = sorted((ours, theirs), key=_progress)
            if last["looks"][: len(first["looks"])] != first["looks"]:
                raise RecordsError(
                    "the same curves had a budget of their own in several of the "
                    "directories, whose looks at results cannot be joined; merge these "
                    "apart"
                )
            content["budgets"][key] = last


def _progress(budget: Mapping[str, Any]) -> tuple[float, ...]:
    """How far a study with a budget is, to be compared."""
    seeds = sum(count for _, count in budget["seeds"])
    shown = budget.get("shown", False)
    return len(budget["looks"]), shown, seeds, budget["seconds"]
