"""Checkpoints inside a run, so that a long one goes on where it was interrupted.

``checkpoints/CONFIGURATION-KEY/STEP`` holds a group of seeds after an evaluation: its
arrays as Orbax writes them, and ``group.json`` with all else. It appears whole or not
at all, replaces the one before, and is removed when the runs are recorded. Only who has
claimed all runs of a group touches its checkpoint. Of several processes that run one
program the first alone reads and writes, and decides for all.
"""

import contextlib
import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bert_glue.devices import processes
from bert_glue.records import array_files, run_store
from bert_glue.records.files import identity
from bert_glue.training.seeds import Seed

FOLDER = "checkpoints"
FORMAT = 1
"""Version of the checkpoints' layout."""

_FACTS = "group.json"
_ARRAYS = "arrays"
_UNFINISHED = ".new-"
_REMOVED = ".removed-"
_TRIES, _PAUSE_SECONDS = 20, 0.05

Note = Callable[[str], None]


class Checkpoint:
    """The checkpoint of a group of seeds.

    Args:
      folder: its folder; made when it is first saved.
      about: the group, and what its result depends on beside the group: a checkpoint
        of anything else is not used. Values that JSON can hold.
      minutes: least time between two savings.
      note: tells the user something, in a line.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        about: Mapping[str, Any],
        minutes: float,
        note: Note = lambda text: None,
    ) -> None:
        self.folder = folder
        self._about = json.loads(json.dumps({"format": FORMAT, **about}))
        self._seconds = 60 * minutes
        self._note = note
        self._saved = time.monotonic()

    def could_use(self, about: Mapping[str, Any]) -> bool:
        """Whether what is saved about a group may be of this one.

        Args:
          about: what was saved; where the group lay does not count.

        Returns:
          Whether all else is the same.
        """
        return {**about, "layout": None} == {**self._about, "layout": None}

    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return processes.agree(lambda: time.monotonic() - self._saved > self._seconds)

    def save(
        self, step: int, facts: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        """Saves where the group is, instead of what was saved before.

        A run does not end for want of a checkpoint: if it cannot be saved, the one
        before stays and a note says why.

        Args:
          step: number of steps that are done.
          facts: what :meth:`load` is to give back; values that JSON can hold.
          arrays: likewise; pytrees of arrays by name. Of several processes what the
            first gives is saved, NumPy's arrays, and all must come here.
        """
        processes.agree(lambda: self._save(step, facts, arrays))

    def _save(
        self, step: int, facts: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        self._saved = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch = pathlib.Path(
                tempfile.mkdtemp(dir=self.folder, prefix=_UNFINISHED)
            )
            leaves = jax.tree.leaves(arrays)
            array_files.write(scratch / _ARRAYS, leaves)
            content = {
                "about": self._about,
                "step": step,
                "leaves": len(leaves),
                "files": _sizes(scratch / _ARRAYS),
                "facts": facts,
            }
            (scratch / _FACTS).write_text(json.dumps(content))
            self._put_in_place(scratch, step)
        # Orbax passes on the errors of TensorStore, which are of many kinds.
        except Exception as error:
            self._note(f"no checkpoint at step {step:,}: {_first_line(error)}")
            self._clear(keep=self._steps())
        else:
            self._clear(keep=[step])
        self._saved = time.monotonic()

    def _put_in_place(self, scratch: pathlib.Path, step: int) -> None:
        """Makes a folder that is written the checkpoint of a step."""
        place = self.folder / f"{step}"
        # What is there could not be used, and renaming replaces no full folder.
        with contextlib.suppress(FileNotFoundError):
            place.rename(scratch.with_name(f"{_REMOVED}{scratch.name}"))
        scratch.rename(place)

    def load(
        self, template: Callable[[Mapping[str, Any]], Any]
    ) -> tuple[dict[str, Any], Any] | None:
        """What was saved last and can be read.

        Args:
          template: given the facts, a pytree like the arrays, of shapes or, where
            shapes are not known, of anything.

        Returns:
          The facts, and the arrays as NumPy has them; None if there is nothing to go
          on from. Several processes, all of which must come here, get the same.
        """
        leaves = None

        def find() -> dict[str, Any] | None:
            nonlocal leaves
            facts, leaves = self._newest(template)
            return facts

        facts = processes.agree(find)
        leaves = processes.arrays_from_first(leaves)
        if facts is None or leaves is None:
            return None
        structure = jax.tree.structure(template(facts))
        return facts, jax.tree.unflatten(structure, leaves)

    def _newest(
        self, template: Callable[[Mapping[str, Any]], Any]
    ) -> tuple[dict[str, Any], list[np.ndarray]] | tuple[None, None]:
        """Facts and arrays of the last one that can be read."""
        for step in self._steps():
            folder = self.folder / f"{step}"
            try:
                saved = json.loads((folder / _FACTS).read_text())
                if saved["about"] != self._about:
                    differing = _differing(saved["about"], self._about)
                    self._note(f"{folder} is not used: it was saved with {differing}")
                    continue
                if _sizes(folder / _ARRAYS) != saved["files"]:
                    raise ValueError("files are missing or cut short")
                wanted = jax.tree.leaves(template(saved["facts"]))
                leaves = array_files.read(folder / _ARRAYS, saved["leaves"])
                _check_shapes(leaves, wanted)
            # Whatever is wrong with what a kill or a full disk left: it is not used.
            except Exception as error:
                self._note(
                    f"{folder} is damaged and is not used ({_first_line(error)})"
                )
                continue
            self._note(f"going on from {folder}")
            return saved["facts"], leaves
        return None, None

    def remove(self) -> None:
        """Removes all that was saved: at once, and not file by file."""
        gone = self.folder.with_name(f"{_REMOVED}{self.folder.name}")
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.rename(gone)
        _sweep(self.folder.parent)

    def _steps(self) -> list[int]:
        """Steps at which something was saved, the last one first."""
        with contextlib.suppress(OSError):
            names = [path.name for path in self.folder.iterdir()]
            return sorted(map(int, filter(str.isdecimal, names)), reverse=True)
        return []

    def _clear(self, keep: Iterable[int]) -> None:
        kept = {f"{step}" for step in keep}
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name not in kept:
                    _remove(path)


class Checkpoints:
    """The checkpoints of an output directory.

    Args:
      folder: the output directory.
      minutes: least time between two checkpoints of a group; 0 for none at all.
      surroundings: versions, hardware and the like. A result that is the same to the
        last bit needs the same.
    """

    def __init__(
        self, folder: pathlib.Path, minutes: float, surroundings: Mapping[str, Any]
    ) -> None:
        self._folder = folder / FOLDER
        self._minutes = minutes
        self._surroundings = surroundings
        self._left_alone: set[pathlib.Path] = set()

    def of(
        self,
        configuration: str,
        recorded: Sequence[str],
        seeds: Sequence[Seed],
        note: Note = lambda text: None,
        *,
        layout: Mapping[str, Any] | None = None,
    ) -> Checkpoint | None:
        """The checkpoint of a group, whether it has been saved or not.

        Args:
          configuration: short name of the configuration.
          recorded: what is recorded of the runs beside their scores.
          seeds: the group.
          note: tells the user something, in a line.
          layout: where the group lies, and what else a last bit depends on.

        Returns:
          The checkpoint; None if there are to be none.
        """
        if not self._minutes:
            return None
        group = {"recorded": recorded, "seeds": [list(seed) for seed in seeds]}
        about = {"configuration": configuration, **group, **self._surroundings}
        about["layout"] = layout
        folder = self._folder / f"{configuration}-{identity(group)}"
        return Checkpoint(folder, about, self._minutes, note)

    def interrupted(
        self,
        configuration: str,
        recorded: Sequence[str],
        *,
        is_done: Callable[[Seed], bool],
        most: int | None = None,
        note: Note = lambda text: None,
    ) -> Iterator[list[Seed]]:
        """Groups that can go on from a checkpoint, unless somebody is at them.

        Checkpoints of no use any more are removed: of a group that is done, or that
        cannot form again as some of its runs were done otherwise.

        Args:
          configuration: short name of their configuration.
          recorded: what is recorded of their runs beside their scores.
          is_done: whether a run is recorded.
          most: seeds side by side at most; None for any number.
          note: tells the user something, in a line.

        Yields:
          Their seeds.
        """
        _sweep(self._folder)
        for folder in sorted(self._folder.glob(f"{configuration}-*")):
            saved = _about(folder)
            seeds = [Seed(*each) for each in saved.get("seeds", ())]
            checkpoint = self.of(configuration, recorded, seeds, note)
            if checkpoint is None or checkpoint.folder != folder:
                continue
            done = sum(map(is_done, seeds))
            names = ", ".join(seed.name for seed in seeds)
            if done:
                checkpoint.remove()
                if done < len(seeds):
                    note(f"removed the checkpoint of seeds {names}: {done} are done")
            elif not checkpoint.could_use(saved):
                # Nor may it say how many seeds fit side by side; if just these come
                # together again, its loading tells why it is of no use.
                continue
            elif most is None or len(seeds) <= most:
                yield seeds
            elif folder not in self._left_alone:
                self._left_alone.add(folder)
                note(
                    f"the checkpoint of seeds {names} is not used: it needs "
                    f"{len(seeds)} parallel seeds, not {most}"
                )


def _remove(path: pathlib.Path) -> None:
    """Deletes a folder into which Orbax's threads, after an error, may still write."""
    for _ in range(_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(_PAUSE_SECONDS)


def _sweep(folder: pathlib.Path) -> None:
    """Deletes what has been removed, and folders if nothing else is in them.

    What a kill left that came in the middle of a saving is deleted once nobody can be
    at it any more.
    """
    for path in folder.glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in run_store.sweep(folder.glob(f"*/{_UNFINISHED}*")):
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _about(folder: pathlib.Path) -> dict[str, Any]:
    """The group that a folder is the checkpoint of; empty if it is damaged."""
    for path in folder.glob(f"*/{_FACTS}"):
        # It may also be just being replaced.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            return dict(json.loads(path.read_text())["about"])
    return {}


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    """Bytes of all files in a folder. Orbax finds damage, too, but with much noise."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _check_shapes(leaves: list[np.ndarray], wanted: list[Any]) -> None:
    if len(leaves) != len(wanted):
        raise ValueError(f"it has {len(leaves)} arrays, not {len(wanted)}")
    for found, like in zip(leaves, wanted, strict=True):
        shape, dtype = getattr(like, "shape", None), getattr(like, "dtype", None)
        if shape is not None and (found.shape, found.dtype) != (shape, dtype):
            raise ValueError(
                f"it has {found.dtype}{list(found.shape)} for {dtype}{list(shape)}"
            )


def _differing(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Names of what differs."""
    names = []
    for name in sorted(saved.keys() | wanted.keys()):
        ours, theirs = wanted.get(name), saved.get(name)
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names.append(_differing(theirs, ours))
        else:
            names.append(f"{name} {theirs} instead of {ours}")
    return ", ".join(names)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
