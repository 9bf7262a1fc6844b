"""Records that several processes of one program share: the first keeps them."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bert_glue.devices.processes import agree, count, is_first
from bert_glue.records.run_records import Record, RunRecords


def open_records(folder: str | os.PathLike[str]) -> RunRecords:
    """Records that the first process keeps.

    Args:
      folder: the output directory; only the first process must be able to write to
        it.

    Returns:
      The records. In the other processes they are those of the first, and other
      files of the folder go to one that is removed in the end.

    Raises:
      RecordsError: if the first process cannot use the folder.
    """
    return RunRecords(folder) if count() == 1 else _Told(folder)


class _Told(RunRecords):
    """The first process's records: others are told what it reads."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._scratch = None
        agree(lambda: RunRecords.__init__(self, folder))
        if not is_first():
            self._scratch = tempfile.TemporaryDirectory(prefix="cwgnc-")
            self.folder = pathlib.Path(self._scratch.name)
            self.notes = []

    def read(self) -> list[Record]:
        return agree(lambda: RunRecords.read(self))

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        agree(lambda: RunRecords.append(self, records))

    def claim(
        self, run: str, is_kept: Callable[[str], bool] = lambda run: True
    ) -> bool:
        return agree(lambda: RunRecords.claim(self, run, is_kept))

    def release(self, runs: Iterable[str]) -> None:
        if is_first():
            RunRecords.release(self, runs)

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
        elif is_first():
            RunRecords.close(self)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with RunRecords.locked(self) if is_first() else contextlib.nullcontext():
            yield
