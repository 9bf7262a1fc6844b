"""The record of finished runs: ``runs.jsonl``, one line for each.

A run is appended when it has finished, by one write that is on the disk before the
next run starts, so a kill at any moment loses no finished run. Several processes may
work in one folder: they append under a lock, and claim a run before they start it.
"""

import contextlib
import errno
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bert_glue.records import locks
from bert_glue.records.files import (
    UNFINISHED,
    RecordsError,
    plain,
    replace_file,
    sweep,
    sync_folder,
)
from bert_glue.training.recipe import tidy_label

FORMAT = 1
"""Version of the lines' layout."""

RUNS = "runs.jsonl"
FRAGMENTS = "runs.jsonl.truncated"

Record = dict[str, Any]

# What differs between the runs of one configuration.
_OF_A_RUN = frozenset(
    (
        "format",
        "run",
        "seed",
        "init_seed",
        "data_seed",
        "score",
        "failed",
        "failed_released",
        "train_loss",
        "seconds",
        "group_size",
        "history",
        "diverged_at",
        "finished",
        "commit",
        "versions",
        "hardware",
        "model",
    )
)


class RunStore:
    """The finished runs of a folder, and who is doing which run.

    Args:
      folder: the output directory. If it does not exist it is made when the first
        file is written: a command that is refused leaves nothing behind.

    Attributes:
      folder: the same.
      notes: things found in the file that a user should hear of, each a sentence.

    Raises:
      RecordsError: if the folder cannot be made or written to.

    Examples:
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     records = RunStore(folder)
      ...     if records.claim("cola-7"):
      ...         records.append([{"run": "cola-7", "score": 41.5}])
      ...         records.release(["cola-7"])
      ...     [record["score"] for record in records.read()]
      [41.5]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        self.notes: list[str] = []
        if os.path.lexists(self.folder):
            self._make()
            with self._explained("written to"), tempfile.TemporaryFile(dir=self.folder):
                sweep(self.folder.glob(f".*{UNFINISHED}"))
                sweep(self.folder.glob(f"*/.*{UNFINISHED}"))
        else:
            with self._explained("made"):
                parents = self.folder.absolute().parents
                above = next(each for each in parents if each.exists())
                with tempfile.TemporaryFile(dir=above):
                    pass
        self._claims = locks.Claims(self.folder / ".claims")

    @property
    def path(self) -> pathlib.Path:
        """The file with the finished runs."""
        return self.folder / RUNS

    def read(self) -> list[Record]:
        """Finished runs, in the order in which they finished.

        A last line that a kill or a full disk cut short is set aside in a file next
        to it, and a note says so.

        Returns:
          One dict for each run, each with the key 'run'; only the first line if a
          run is there twice.

        Raises:
          RecordsError: if a line is no record, or one of another version.
        """
        if not os.path.lexists(self.folder):
            return []
        with self._locked("read"):
            self._mend()
            return self._read()

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds finished runs: all of them, or none if that fails.

        Args:
          records: one mapping for each run, with a key 'run' that names it. Values
            that JSON can hold; NaN and infinity are written as null.

        Raises:
          RecordsError: if the disk is full or the file cannot be written.
        """
        lines = [
            json.dumps({"format": FORMAT} | plain(record), allow_nan=False) + "\n"
            for record in records
        ]
        data = "".join(lines).encode()
        with self._locked("written to"):
            self._mend()
            new = not self.path.exists()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            file = os.open(self.path, flags, 0o666)
            try:
                size = os.fstat(file).st_size
                try:
                    if os.write(file, data) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file)
                except OSError:
                    os.ftruncate(file, size)
                    raise
            finally:
                os.close(file)
            if new:
                sync_folder(self.folder)

    def claim(
        self, run: str, is_kept: Callable[[str], bool] = lambda run: True
    ) -> bool:
        """Whether this process may do the run: not done, and nobody at it.

        Args:
          run: name of the run.
          is_kept: whether a run that is recorded counts as done.

        Returns:
          True if it is now this process's, until :meth:`release` or its end.
        """
        with self._explained("written to"):
            if not self._claims.take(run):
                return False
        # It may have been finished since this process last looked.
        if any(record["run"] == run for record in self.read()) and is_kept(run):
            self._claims.release(run)
            return False
        return True

    def release(self, runs: Iterable[str]) -> None:
        """Gives runs back, finished or not."""
        for run in runs:
            self._claims.release(run)

    def close(self) -> None:
        """Gives all runs back."""
        self._claims.release_all()

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file of the folder, whole or not at all.

        Args:
          name: the file's name, such as 'summary.json'.
          content: what JSON can hold; NaN and infinity become null.

        Raises:
          RecordsError: if it cannot be written.
        """
        text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
        replace_file(self.folder / name, text.encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from changing the folder's files for a moment."""
        with self._locked("written to"):
            yield

    def _read(self) -> list[Record]:
        return _parse(self.path.read_bytes(), self.path) if self.path.exists() else []

    def _mend(self) -> None:
        """Makes the file end with a whole line."""
        if not self.path.exists():
            return
        with open(self.path, "r+b") as file:
            data = file.read()
            end = data.rfind(b"\n") + 1
            fragment = data[end:]
            if not fragment:
                return
            with contextlib.suppress(ValueError):
                json.loads(fragment)
                # Only the end of the line was lost.
                file.write(b"\n")
                return
            with open(self.folder / FRAGMENTS, "ab") as kept:
                kept.write(fragment + b"\n")
                os.fsync(kept.fileno())
            file.truncate(end)
        self.notes.append(
            f"the last line of {self.path} was cut short (a run that was being written "
            f"when its process was stopped); it is kept in {FRAGMENTS} and that run "
            "counts as not done"
        )

    def _make(self) -> None:
        with self._explained("made"):
            self.folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        self._make()
        with self._explained(what), locks.exclusive(self.folder / ".lock"):
            yield

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordsError(
                f"the output directory {self.folder} cannot be {what}: "
                f"{error.strerror or error}"
            ) from error


def read_only(folder: pathlib.Path) -> list[Record]:
    """Finished runs of a folder in which nothing is changed, not even locks.

    Args:
      folder: an output directory, perhaps one that a process is working in.

    Returns:
      As :meth:`RunStore.read`; a last line that is not whole is passed over.

    Raises:
      RecordsError: if there are no records, or they cannot be read.
    """
    path = folder / RUNS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordsError(f"{path} cannot be read: {error.strerror}") from error
    end = data.rfind(b"\n") + 1
    with contextlib.suppress(ValueError):
        json.loads(data[end:])
        end = len(data)
    return _parse(data[:end], path)


def _parse(data: bytes, path: pathlib.Path) -> list[Record]:
    found: dict[str, Record] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError:
            raise RecordsError(
                f"{where} is not JSON; remove that line or use another output directory"
            ) from None
        _check_record(record, where)
        found.setdefault(record["run"], record)
    return list(found.values())


def _check_record(record: Any, where: str) -> None:
    if not isinstance(record, dict) or "format" not in record:
        raise RecordsError(
            f"{where} is not the record of a run; use another output directory"
        )
    if record["format"] != FORMAT:
        raise RecordsError(
            f"{where} is of version {record['format']} of the record, this is version "
            f"{FORMAT}; use another output directory"
        )
    if not isinstance(record.get("run"), str):
        raise RecordsError(f"{where} does not name its run")


def settings_of(run: Record) -> dict[str, Any]:
    """What a run has in common with the others of its configuration.

    Its label is written as this version does, whichever version recorded it.
    """
    settings = {key: value for key, value in run.items() if key not in _OF_A_RUN}
    return settings | {"label": tidy_label(run["label"])}
