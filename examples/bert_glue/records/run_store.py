"""The store of finished runs: ``runs.jsonl``, one line for each.

A run is appended when it has finished, by one write that is on the disk before the
next run starts, so a kill at any moment loses no finished run. Several processes may
work in one folder: they append under a lock, and claim a run before they start it. Of
several that run one program together the first alone touches the folder; what it reads
and decides the others hear.
"""

import contextlib
import errno
import itertools
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bert_glue.devices.processes import decided_by_first, is_first
from bert_glue.records import locks
from bert_glue.records.failures import recount
from bert_glue.records.files import (
    UNFINISHED,
    RecordsError,
    explained,
    plain,
    read_file,
    sweep,
    sync_folder,
)
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.settings import written

FORMAT = 1
"""Version of the lines' layout."""

RUNS = "runs.jsonl"
FRAGMENTS = "runs.jsonl.truncated"

Record = dict[str, Any]
"""What is known of a finished run: the line of it, with its label normalised, and
counted as failed by today's rule."""

# The recipe's settings are what runs of one configuration have in common, and these;
# what else differs between two versions' records tells no configurations apart.
_COMMON = (
    "configuration",
    "task",
    "metric",
    "positive_class",
    "method",
    "label",
    "max_length",
    "dtype",
    "model_fingerprint",
    "data_fingerprint",
    "held_out",
    "train_examples",
    "eval_examples",
    "majority_score",
    "steps",
)


class RunStore:
    """The finished runs of a folder, and who is doing which run.

    Of several processes that run one program all must call its methods together.

    Args:
      folder: the output directory. If it does not exist it is made when the first
        file is written: a command that is refused leaves nothing behind. Of several
        processes only the first must be able to write to it.

    Attributes:
      folder: the same; in all processes but the first one that is removed in the end.
      notes: things found in the file that a user should hear of, each a sentence.

    Raises:
      RecordsError: if the folder cannot be made or written to.

    Examples:
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     store = RunStore(folder)
      ...     if store.claim("cola-7"):
      ...         store.append([{"run": "cola-7", "score": 41.5}])
      ...         store.release(["cola-7"])
      ...     [record["score"] for record in store.read()]
      [41.5]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        self.notes: list[str] = []
        self._claims = locks.Claims(self.folder / ".claims")
        self._scratch = None
        self._content, self._records = b"", {}
        self._check()
        if not is_first():
            self._scratch = tempfile.TemporaryDirectory(prefix="cwgnc-")
            self.folder = pathlib.Path(self._scratch.name)

    @property
    def path(self) -> pathlib.Path:
        """The file with the finished runs."""
        return self.folder / RUNS

    @decided_by_first
    def read(self) -> list[Record]:
        """Finished runs, in the order in which they finished.

        A last line that a kill or a full disk cut short is set aside in a file next
        to it, and a note says so.

        Returns:
          One dict for each run, each with the key 'run'; only the first line if a
          run is there twice. What lies inside of a value is not to be changed: the
          next reading has the same.

        Raises:
          RecordsError: if a line is no record, or one of another version.
        """
        if not os.path.lexists(self.folder):
            return []
        with self.locked("read"):
            content = self._mend()
        # Lines are only ever added, and a study reads them several times a run.
        if not content.startswith(self._content):
            self._content, self._records = b"", {}
        first = 1 + self._content.count(b"\n")
        added = _parse(content[len(self._content) :], self.path, first)
        # In the order of their first lines, which count.
        self._records = {**self._records, **added, **self._records}
        self._content = content
        return [*map(dict, self._records.values())]

    @decided_by_first
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
        with self.locked():
            self._mend()
            with open(self.path, "ab", buffering=0) as file:
                size = file.tell()
                try:
                    if os.write(file.fileno(), data) < len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file)
                except OSError:
                    file.truncate(size)
                    raise
            sync_folder(self.folder)

    @decided_by_first
    def claim(
        self, run: str, is_kept: Callable[[str], bool] = lambda run: True
    ) -> bool:
        """Whether this process may do the run: not done, and nobody at it.

        Args:
          run: name of the run.
          is_kept: whether a run that is recorded counts as done.

        Returns:
          True if it is now this process's, until :meth:`release` or its end.

        Raises:
          RecordsError: if the folder cannot be written to.
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
        if self._scratch is not None:
            self._scratch.cleanup()
        else:
            self._claims.release_all()

    @contextlib.contextmanager
    def locked(self, verb: str = "written to") -> Iterator[None]:
        """Keeps other processes from changing the folder's files for a moment.

        Args:
          verb: what cannot be done if the lock cannot be had.

        Yields:
          Nothing.

        Raises:
          RecordsError: if the folder cannot be used.
        """
        with self._explained("made"):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._explained(verb), locks.exclusive(self.folder / ".lock"):
            yield

    @decided_by_first
    def _check(self) -> None:
        """Makes sure that the folder can be used, and tidies it up."""
        folder = self.folder.absolute()
        above = next(
            path for path in (folder, *folder.parents) if os.path.lexists(path)
        )
        verb = "written to" if folder.is_dir() else "made"
        with self._explained(verb), tempfile.TemporaryFile(dir=above):
            sweep(folder.glob(f".*{UNFINISHED}"))
            sweep(folder.glob(f"*/.*{UNFINISHED}"))

    def _mend(self) -> bytes:
        """Makes the file end with a whole line, and returns all of it."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole, fragment = _split(content)
        if fragment:
            with open(self.folder / FRAGMENTS, "ab") as aside:
                aside.write(fragment + b"\n")
                os.fsync(aside)
            os.truncate(self.path, len(whole))
            self.notes.append(
                f"the last line of {self.path} was cut short (a run that was being "
                f"written when its process was stopped); it is kept in {FRAGMENTS} and "
                "that run counts as not done"
            )
        elif whole and not whole.endswith(b"\n"):
            with open(self.path, "ab") as file:
                file.write(b"\n")
            whole += b"\n"
        return whole

    def _explained(self, verb: str) -> contextlib.AbstractContextManager[None]:
        return explained(f"the output directory {self.folder}", verb)


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
    return [*_parse(_split(read_file(path))[0], path).values()]


def by_configuration(runs: Iterable[Record]) -> list[list[Record]]:
    """The runs of each configuration, in the order of their seeds."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(run["configuration"], []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: (run["init_seed"], run["data_seed"]))
    return [*groups.values()]


def settings_of(run: Record) -> dict[str, Any]:
    """What a run has in common with the others of its configuration."""
    return {k: value for k, value in run.items() if k in _COMMON or k in SETTINGS}


def distinctions(runs: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """What tells configurations apart that have one label on one task.

    Args:
      runs: records.

    Returns:
      By the name of each configuration those of its settings that are not the same in
      all of its namesakes, in the order in which they appear; namesakes stand together.
    """
    by_label: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for settings in map(settings_of, runs):
        namesakes = by_label.setdefault((settings["task"], settings["label"]), {})
        namesakes.setdefault(settings.pop("configuration"), settings)
    distinct = {}
    for namesakes in by_label.values():
        first, *others = namesakes.values()
        differing = [
            key
            for key in dict.fromkeys(itertools.chain(first, *others))
            if any(other.get(key) != first.get(key) for other in others)
        ]
        for name, settings in namesakes.items():
            distinct[name] = {
                key: settings[key] for key in differing if key in settings
            }
    return distinct


def normalised_label(label: str) -> str:
    """A method's label with each number written as short as can be.

    Older versions recorded what Python makes of a number, and a user may write it so.

    Args:
      label: as it was recorded, or is given by the user.

    Returns:
      The label as this version makes it.

    Examples:
      >>> normalised_label("cwgnc:max_norm=100000.0:epochs=3:bias_correction=False")
      'cwgnc:max_norm=100000:epochs=3:bias_correction=false'
      >>> normalised_label("my run: a=1.0")
      'my run: a=1.0'
    """
    method, *settings = label.split(":")
    for position, setting in enumerate(settings):
        name, _, value = setting.partition("=")
        if not name.isidentifier() or value.isdecimal():
            continue
        if value in ("True", "False", "None"):
            settings[position] = f"{name}={value.lower()}"
        with contextlib.suppress(ValueError):
            settings[position] = f"{name}={written(float(value))}"
    return ":".join([method, *settings])


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what is left of one that was cut short."""
    end = content.rfind(b"\n") + 1
    # If only the end of the last line was lost, nothing was.
    with contextlib.suppress(ValueError):
        json.loads(content[end:])
        end = len(content)
    return content[:end], content[end:]


def _parse(content: bytes, path: pathlib.Path, first: int = 1) -> dict[str, Record]:
    """Records by the names of their runs, from lines that begin with the ``first``."""
    records: dict[str, Record] = {}
    for number, line in enumerate(content.splitlines(), start=first):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError:
            raise RecordsError(
                f"{where} is not JSON; remove that line or use another output directory"
            ) from None
        _check_record(record, where)
        if "label" in record:
            record["label"] = normalised_label(record["label"])
        recount(record)
        records.setdefault(record["run"], record)
    return records


def _check_record(record: Any, where: str) -> None:
    if not isinstance(record, dict) or "format" not in record:
        problem = "is not the record of a run"
    elif (version := record["format"]) != FORMAT:
        problem = f"is of version {version} of the record, this is version {FORMAT}"
    elif not isinstance(record.get("run"), str):
        problem = "does not name its run"
    else:
        return
    raise RecordsError(f"{where} {problem}; use another output directory")
