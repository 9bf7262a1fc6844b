"""Files that are written whole or not at all, and names for what they hold."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

UNFINISHED = ".new"
"""End of the hidden names of what is being written: files, folders."""

_WRITING_SECONDS = 600.0


class RecordsError(Exception):
    """The folder cannot be used; the message says why and what to do."""


@contextlib.contextmanager
def explained(what: object, verb: str) -> Iterator[None]:
    """Says in a sentence what the system refuses to do while the block runs.

    Args:
      what: subject of the sentence, such as a path.
      verb: what cannot be done: 'read', 'written'.

    Yields:
      Nothing.

    Raises:
      RecordsError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RecordsError(f"{what} cannot be {verb}: {reason}") from error


def identity(fields: Mapping[str, Any]) -> str:
    """Short name of whatever the fields describe, such as a configuration.

    Args:
      fields: values that JSON can hold. Their order does not matter; whether a
        number is written 1 or 1.0 does not either.

    Returns:
      Twelve hexadecimal digits: the same for equal fields, on every machine.

    Examples:
      >>> identity({"task": "cola", "epochs": 3})
      'aaceb1db2360'
      >>> identity({"epochs": 3.0, "task": "cola"})
      'aaceb1db2360'
    """
    text = json.dumps(plain(fields), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_file(path: pathlib.Path) -> bytes:
    """Reads a file.

    Args:
      path: the file.

    Returns:
      Its content.

    Raises:
      RecordsError: if it cannot be read.
    """
    with explained(path, "read"):
        return path.read_bytes()


def replace_file(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that at any moment it is the old one or the new one, whole.

    Args:
      path: the file; its folder is made where it is missing.
      content: what is to be in it.

    Raises:
      RecordsError: if it cannot be written.
    """
    with explained(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unlike one of tempfile's it is read like its neighbours.
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
        try:
            with open(unfinished, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file)
            os.replace(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all.

    Args:
      path: the file.
      content: what JSON can hold; NaN and infinity become null.

    Raises:
      RecordsError: if it cannot be written.
    """
    text = json.dumps(plain(content), indent=2, allow_nan=False)
    replace_file(path, f"{text}\n".encode())


def sweep(paths: Iterable[pathlib.Path]) -> None:
    """Removes what processes left that were killed while they wrote it.

    Args:
      paths: files and folders that were not finished. Others may be writing one at
        this moment, but nobody stops for ten minutes in between.
    """
    for path in paths:
        with contextlib.suppress(OSError):
            times = [each.stat().st_mtime for each in (path, *path.rglob("*"))]
            if time.time() - max(times) > _WRITING_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def plain(value: Any) -> Any:
    """The value as JSON has it: finite numbers, no NumPy types, 3.0 written as 3."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    number = float(value)
    if not math.isfinite(number):
        return None
    # From 2**53 on not every whole number is a float.
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def sync_folder(folder: pathlib.Path) -> None:
    """Makes the names of new files survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
