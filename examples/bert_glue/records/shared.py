"""Records that several processes of one program share: the first keeps them."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bert_glue.devices.processes import agree, count, is_first
from bert_glue.records.run_store import Record, RunStore


def open_records(folder: str | os.PathLike[str]) -> RunStore:
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
    return RunStore(folder) if count() == 1 else _Told(folder)


class _Told(RunStore):
    """The first process's records: others are told what it reads."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._scratch = None
        agree(lambda: RunStore.__init__(self, folder))
        if not is_first():
            self._scratch = tempfile.TemporaryDirectory(prefix="cwgnc-")
            self.folder = pathlib.Path(self._scratch.name)
            self.notes = []

    def read(self) -> list[Record]:
        return agree(lambda: RunStore.read(self))

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        agree(lambda: RunStore.append(self, records))

    def claim(
        self, run: str, is_kept: Callable[[str], bool] = lambda run: True
    ) -> bool:
        return agree(lambda: RunStore.claim(self, run, is_kept))

    def release(self, runs: Iterable[str]) -> None:
        if is_first():
            RunStore.release(self, runs)

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
        elif is_first():
            RunStore.close(self)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with RunStore.locked(self) if is_first() else contextlib.nullcontext():
            yield
