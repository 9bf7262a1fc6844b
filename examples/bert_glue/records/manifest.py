"""``config.json``: what someone needs to repeat the runs of a folder."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from bert_glue.devices.processes import decided_by_first
from bert_glue.records.files import RecordsError, read_file, write_json
from bert_glue.records.run_store import RunStore

NAME = "config.json"

Config = dict[str, Any]
"""Lists and dicts for JSON: ``commands`` (each with commit, versions and hardware),
``configurations`` by their short names, ``chosen``, names of those that a curve chose
and nobody else asked for, ``tables`` by their names, ``curves`` by what is varied,
``budgets`` by what they are spent on."""


@decided_by_first
def read(folder: pathlib.Path) -> Config:
    """What is known of a folder; nothing if it has no such file.

    Args:
      folder: an output directory.

    Returns:
      The file's content, every part of it there.

    Raises:
      RecordsError: if the file cannot be read.
    """
    path = folder / NAME
    try:
        content = json.loads(read_file(path)) if path.exists() else {}
    except ValueError:
        content = None
    if not isinstance(content, dict) or (content and "commands" not in content):
        raise RecordsError(
            f"{path} is not JSON of this project; remove it or use another output "
            "directory"
        )
    empty = {"commands": [], "configurations": {}, "tables": {}}
    return {**empty, "chosen": [], "curves": {}, "budgets": {}, **content}


@decided_by_first
def change(store: RunStore, make_change: Callable[[Config], None]) -> None:
    """Changes the file, so that processes do not lose each other's changes.

    Args:
      store: the output directory.
      make_change: changes the content that it is given.

    Raises:
      RecordsError: if the file cannot be read or written.
    """
    with store.locked():
        content = read(store.folder)
        make_change(content)
        write_json(store.folder / NAME, content)
