"""Several output directories made one."""

import pathlib
from collections.abc import Sequence

from bert_glue import config, records
from bert_glue.designs import Design
from bert_glue.records import RunRecords


def merge(into: RunRecords, folders: Sequence[pathlib.Path]) -> int:
    """Copies the runs of other output directories, and how they were made.

    The others are only read, so that they may be write-protected, or in use.

    Args:
        into: the records that get the runs.
        folders: the other directories.

    Returns:
        Number of runs that were copied; one that is there already is not.

    Raises:
        RecordsError: if a directory holds no records, or its tables contradict.
    """
    # All are read before anything is written.
    runs = [record for folder in folders for record in records.read_only(folder)]
    configs = [config.read(folder) for folder in folders]
    known = {record["run"] for record in into.read()}
    new = {run["run"]: run for run in reversed(runs) if run["run"] not in known}
    ordered = [run for run in runs if new.get(run["run"]) is run]

    def add(content: config.Config) -> None:
        for other in configs:
            content["commands"] += [
                command
                for command in other["commands"]
                if command not in content["commands"]
            ]
            content["configurations"] |= other["configurations"]
            for number, saved in other["tables"].items():
                design = Design.from_json(number, saved)
                if number in content["tables"]:
                    ours = Design.from_json(number, content["tables"][number])
                    design = ours.join(design)
                content["tables"][number] = design.to_json()

    if folders:
        config.change(into, add)
    if ordered:
        into.append(ordered)
    return len(ordered)
