"""Checkpoints inside a run, so that a long one goes on where it was interrupted.

``checkpoints/CONFIGURATION-KEY/STEP`` holds a group of runs after an evaluation, where
the configuration is the first one's: its arrays and, written last, ``group.json`` with
all else and the checksums of both. A folder without it is of no use, and one with it is
whole. It takes the place of the one before, and goes when the runs are recorded. Only
who has claimed all runs of a group touches its checkpoint. Of several processes that
run one program the first alone reads and writes, and decides for all.

Orbax would write arrays in parallel, but calls a checkpoint whole before checksums of
its files could be there, and where a disk is full or a file is damaged its threads go
on, and complain, after it has given up.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bert_glue.devices import processes
from bert_glue.records.files import RecordsError, identity, replace_file, sweep
from bert_glue.training.seeds import Seed

FOLDER = "checkpoints"
FORMAT = 4
"""Version of the checkpoints' layout."""

_GROUP = "group.json"
_ARRAYS = "arrays.npz"
_REMOVED = ".removed-"

Note = Callable[[str], None]
Member = tuple[str, Seed]
"""A run of a group: short name of its configuration, and its seed."""


@dataclasses.dataclass
class Checkpoint:
    """The checkpoint of a group of runs.

    Attributes:
      folder: its folder; made when it is first saved.
      about: the group, and what its result depends on beside the group, as JSON has
        it: a checkpoint of anything else is not used.
      minutes: least time between two savings.
      note: tells the user something, in a line.
    """

    folder: pathlib.Path
    about: dict[str, Any]
    minutes: float
    note: Note
    _saved: float = dataclasses.field(default_factory=time.monotonic)

    @processes.decided_by_first
    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved > 60 * self.minutes

    @processes.decided_by_first
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
        folder = self.folder / f"{step}"
        # What is there could not be used, or is what a kill left.
        shutil.rmtree(folder, ignore_errors=True)
        kept = self._steps()
        try:
            folder.mkdir(parents=True)
            with open(folder / _ARRAYS, "xb") as file:
                # One by one: they are not all in memory at once.
                np.savez(file, *jax.tree.leaves(arrays), allow_pickle=False)
                file.flush()
                os.fsync(file)
            saved = {"about": self.about, "arrays": _digest(folder), "facts": facts}
            saved["checksum"] = _checksum(saved)
            replace_file(folder / _GROUP, json.dumps(saved).encode())
            kept = [step]
        except (OSError, RecordsError) as error:
            self.note(f"no checkpoint at step {step:,}: {_first_line(error)}")
        for path in self.folder.glob("*"):
            if path.name not in map(str, kept):
                shutil.rmtree(path, ignore_errors=True)
        self._saved = time.monotonic()

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
        newest = self._newest(template) if processes.is_first() else None
        facts = processes.agree(lambda: newest and newest[0])
        if facts is None:
            return None
        structure = jax.tree.structure(template(facts))
        # One by one, as what is sent takes a few times its memory on the way.
        leaves = [
            processes.agree(lambda index=index: newest and newest[1][index])
            for index in range(structure.num_leaves)
        ]
        return facts, jax.tree.unflatten(structure, leaves)

    def _newest(
        self, template: Callable[[Mapping[str, Any]], Any]
    ) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """Facts and arrays of the last one that can be read."""
        for step in self._steps():
            folder = self.folder / f"{step}"
            try:
                saved = _read(folder / _GROUP)
                if saved["about"] != self.about:
                    differing = _differing(saved["about"], self.about)
                    self.note(f"{folder} is not used: it was saved with {differing}")
                    continue
                if _digest(folder) != saved["arrays"]:
                    raise ValueError(f"{_ARRAYS} was cut short or changed")
                with np.load(folder / _ARRAYS, allow_pickle=False) as file:
                    leaves = [*file.values()]
                _check_shapes(leaves, jax.tree.leaves(template(saved["facts"])))
            # Whatever is wrong with it: a damaged one is not used.
            except Exception as error:
                reason = _first_line(error)
                self.note(f"{folder} is damaged and is not used ({reason})")
            else:
                self.note(f"going on from {folder}")
                return saved["facts"], leaves
        return None

    def remove(self) -> None:
        """Removes all that was saved: at once, and not file by file."""
        gone = self.folder.with_name(f"{_REMOVED}{self.folder.name}")
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.rename(gone)
        _sweep(self.folder.parent)

    def _steps(self) -> list[int]:
        """Steps at which something was saved, the last one first."""
        names = (path.parent.name for path in self.folder.glob(f"*/{_GROUP}"))
        return sorted(map(int, filter(str.isdecimal, names)), reverse=True)


@dataclasses.dataclass
class Checkpoints:
    """The checkpoints of an output directory.

    Args:
      folder: the output directory.
      minutes: least time between two checkpoints of a group; 0 for none at all.
      surroundings: versions, hardware and the like. A result that is the same to the
        last bit needs the same.
    """

    folder: pathlib.Path
    minutes: float
    surroundings: Mapping[str, Any]
    _said: set[str] = dataclasses.field(default_factory=set)

    def of(
        self,
        runs: Sequence[Member],
        recorded: Sequence[str],
        note: Note = lambda text: None,
        *,
        layout: Mapping[str, Any] | None = None,
    ) -> Checkpoint | None:
        """The checkpoint of a group, whether it has been saved or not.

        Args:
          runs: the group.
          recorded: what is recorded of the runs beside their scores.
          note: tells the user something, in a line.
          layout: where the group lies, and what else a last bit depends on.

        Returns:
          The checkpoint; None if there are to be none.
        """
        if not self.minutes:
            return None
        group = {"recorded": recorded, "runs": [[name, *seed] for name, seed in runs]}
        about = {"format": FORMAT, **group, **self.surroundings, "layout": layout}
        folder = self.folder / FOLDER / f"{runs[0][0]}-{identity(group)}"
        about = json.loads(json.dumps(about))
        return Checkpoint(folder, about, self.minutes, note)

    @processes.decided_by_first
    def interrupted(
        self,
        configurations: Collection[str],
        recorded: Sequence[str],
        *,
        is_done: Callable[[str, Seed], bool],
        most: int | None = None,
        note: Note = lambda text: None,
    ) -> list[list[Member]]:
        """Groups that can go on from a checkpoint, unless somebody is at them.

        Checkpoints of no use any more are removed: of a group that is done, or that
        cannot form again as some of its runs were done otherwise.

        Args:
          configurations: short names of those whose runs may be in one group.
          recorded: what is recorded of their runs beside their scores.
          is_done: whether a run is recorded.
          most: runs side by side at most; None for any number.
          note: tells the user something, in a line.

        Returns:
          The runs of each.
        """
        groups = []
        _sweep(self.folder / FOLDER)
        for folder in sorted((self.folder / FOLDER).glob("[!.]*-*")):
            if folder.name.rpartition("-")[0] not in configurations:
                continue
            try:
                about = _about(folder)
            except (OSError, ValueError) as error:
                self._say_once(f"{folder} is damaged and is not used ({error})", note)
                continue
            runs = [(name, Seed(*seed)) for name, *seed in about.get("runs", ())]
            checkpoint = self.of(runs, recorded, note) if runs else None
            if checkpoint is None or checkpoint.folder != folder:
                continue
            if not {name for name, _ in runs} <= set(configurations):
                continue
            done = sum(itertools.starmap(is_done, runs))
            names = _names(runs)
            if done:
                checkpoint.remove()
                if done < len(runs):
                    note(f"removed the checkpoint of {names}: {done} are done")
            elif {**about, "layout": None} != checkpoint.about:
                # Where the group lay does not count, but all else does. Nor may it say
                # how many seeds fit side by side; if just these come together again,
                # its loading tells why it is of no use.
                continue
            elif most is None or len(runs) <= most:
                groups.append(runs)
            else:
                self._say_once(
                    f"the checkpoint of {names} is not used: it needs "
                    f"{len(runs)} parallel seeds, not {most}",
                    note,
                )
        return groups

    def _say_once(self, text: str, note: Note) -> None:
        if text not in self._said:
            self._said.add(text)
            note(text)


def _names(runs: Sequence[Member]) -> str:
    """What the user knows runs by."""
    settings = len({name for name, _ in runs})
    names = ", ".join(dict.fromkeys(seed.name for _, seed in runs))
    return f"seeds {names}" + (f" of {settings} settings" if settings > 1 else "")


def _sweep(folder: pathlib.Path) -> None:
    """Deletes what has been removed, and folders if nothing else is in them.

    What a kill left that came in the middle of a saving is deleted once nobody can be
    at it any more.
    """
    for path in folder.glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)
    unfinished = [p for p in folder.glob("*/*") if not (p / _GROUP).exists()]
    sweep(unfinished)
    for path in {*(path.parent for path in unfinished), folder}:
        with contextlib.suppress(OSError):
            path.rmdir()


def _about(folder: pathlib.Path) -> dict[str, Any]:
    """The group that a folder is the checkpoint of; empty if nothing is there.

    Raises:
      ValueError, OSError: if all that is there is damaged.
    """
    damage = None
    for path in folder.glob(f"*/{_GROUP}"):
        try:
            return _read(path)["about"]
        except FileNotFoundError:
            pass  # It is just being replaced.
        except (OSError, ValueError) as error:
            damage = error
    if damage is not None:
        raise damage
    return {}


def _read(path: pathlib.Path) -> dict[str, Any]:
    content = path.read_bytes()
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        saved = json.loads(content)
        if saved.pop("checksum") == _checksum(saved):
            return saved
    raise ValueError(f"{path.name} was cut short or changed")


def _checksum(saved: Mapping[str, Any]) -> str:
    # What was read is written as it was: floats are, to the last bit, and NaN is.
    return hashlib.blake2b(json.dumps(saved).encode()).hexdigest()


def _digest(folder: pathlib.Path) -> str:
    """Checksum of a checkpoint's arrays."""
    with open(folder / _ARRAYS, "rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()


def _check_shapes(leaves: list[np.ndarray], wanted: list[Any]) -> None:
    if len(leaves) != len(wanted):
        raise ValueError(f"it has {len(leaves)} arrays, not {len(wanted)}")
    for leaf, like in zip(leaves, wanted, strict=True):
        shape, dtype = getattr(like, "shape", None), getattr(like, "dtype", None)
        if shape is not None and (leaf.shape, leaf.dtype) != (shape, dtype):
            raise ValueError(
                f"it has {leaf.dtype}{list(leaf.shape)} for {dtype}{list(shape)}"
            )


def _differing(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Names of what differs."""
    names = []
    for name in sorted(saved.keys() | wanted.keys()):
        ours, theirs = wanted.get(name), saved.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names.append(_differing(theirs, ours))
        elif ours != theirs:
            names.append(f"{name} {theirs} instead of {ours}")
    return ", ".join(filter(None, names))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
