"""``config.json``: what someone needs to repeat the runs of a folder."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore

NAME = "config.json"

Config = dict[str, Any]
"""Lists and dicts for JSON: ``commands`` (each with commit, versions and hardware),
``configurations`` by their short names, ``tables`` by their numbers."""


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
    empty: Config = {"commands": [], "configurations": {}, "tables": {}}
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return empty
    except OSError as error:
        raise RecordsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RecordsError(
            f"{path} is not JSON of this project; remove it or use another output "
            "directory"
        )
    return empty | found


def change(records: RunStore, what: Callable[[Config], None]) -> None:
    """Changes the file, so that processes do not lose each other's changes.

    Args:
      records: the output directory.
      what: changes the content that it is given.

    Raises:
      RecordsError: if the file cannot be read or written.
    """
    with records.locked():
        content = read(records.folder)
        what(content)
        records.write_json(NAME, content)
