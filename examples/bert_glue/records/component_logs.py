"""What the components of each run did: files beside the records, to draw figures from.

``recordings/RUN.npz`` holds the norms and scales of the gradients at every step, and
how far the parameters had moved after every stage. It is on the disk before the run's
line is: where there is a line there is a recording, unless somebody removed it.
"""

import dataclasses
import io
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.devices import processes
from bert_glue.records.files import RecordsError, replace_file
from bert_glue.records.run_store import Record, settings_of

FOLDER = "recordings"
FORMAT = 1
"""Version of the files' layout."""

# Norms are kept to the 11 bits of mantissa that float16 has, in the range of float32:
# finer than a line on paper, and compressed to some 60% of float32's size. Scales are
# rounded down, so that what was clipped stays below 1.
_MANTISSA_BITS = 11


@dataclasses.dataclass(frozen=True)
class ComponentLog:
    """What was recorded of a run.

    Attributes:
      names: names of all components.
      groups: the group of each, from :func:`cwgnc_jax.component_groups`.
      sizes: how many parameters each has, int64 of shape (components,).
      trained: for each stage, numbers of the components that it trained.
      arrays: the arrays of :class:`runs.Group`, those of this run.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: NDArray[np.int64]
    trained: tuple[NDArray[np.int64], ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.trained)

    @property
    def losses(self) -> NDArray[np.float32]:
        """Losses of all steps, shape (steps,)."""
        return self.arrays["losses"]

    def at_steps(self, name: str) -> NDArray[np.float32]:
        """Norms or scales at all steps.

        Args:
          name: 'norms' or 'scales'.

        Returns:
          The values, shape (steps, components), NaN where a component was frozen.
        """
        parts = []
        for stage, trained in enumerate(self.trained):
            values = self.arrays[f"{name}/{stage}"]
            part = np.full((len(values), len(self.names)), np.nan, np.float32)
            part[:, trained] = values
            parts.append(part)
        return np.concatenate(parts)

    def after_stages(self, name: str) -> NDArray[np.float32]:
        """What was measured after each stage.

        Args:
          name: as :func:`measure` calls it.

        Returns:
          The values, shape (stages, components).
        """
        return np.stack(
            [self.arrays[f"{name}/{stage}"] for stage in range(self.stages)]
        )

    def clip_rate(self, *, of_parameters: bool = False) -> NDArray[np.float32]:
        """Share of what was trained that each step clipped.

        Args:
          of_parameters: whether to count parameters rather than components.

        Returns:
          The shares, from 0 to 1, shape (steps,).
        """
        return np.concatenate(
            [
                np.asarray(
                    cwgnc_jax.clip_rate(
                        self.arrays[f"scales/{stage}"],
                        self.sizes[trained] if of_parameters else None,
                    )
                )
                for stage, trained in enumerate(self.trained)
            ]
        )


class ComponentLogs:
    """The recordings of an output directory; of several processes, of the first.

    Args:
      folder: the output directory.

    Attributes:
      folder: where the recordings are, in it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / FOLDER

    def path(self, run: str) -> pathlib.Path:
        """The file of a run."""
        return self.folder / f"{run}.npz"

    def has(self, run: str) -> bool:
        """Whether a run's recording is there."""
        return self.path(run).is_file()

    def write(self, run: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes the recording of a finished run, whole or not at all.

        Args:
          run: its name.
          arrays: what :meth:`load` reads, by name; norms and scales of the gradients
            are shortened to what a figure shows.

        Raises:
          RecordsError: if it cannot be written.
        """
        content = io.BytesIO()
        shortened = {name: _shorten(name, values) for name, values in arrays.items()}
        np.savez_compressed(
            content, allow_pickle=False, **{"format": np.int64(FORMAT), **shortened}
        )
        replace_file(self.path(run), content.getvalue())

    def load(self, run: str) -> ComponentLog:
        """Reads the recording of a run.

        Args:
          run: its name.

        Returns:
          The recording.

        Raises:
          RecordsError: if there is none, or it cannot be read.
        """
        path = self.path(run)
        try:
            content = io.BytesIO(path.read_bytes())
        except OSError as error:
            raise RecordsError(f"{path} cannot be read: {error.strerror}") from error
        try:
            with np.load(content, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            found = {}
        if found.get("format") != FORMAT:
            raise RecordsError(
                f"{path} is no recording of this version; remove it, and the command "
                "that made it does its run again"
            )
        stages = sum(name.startswith("trained/") for name in found)
        return ComponentLog(
            names=tuple(found["names"].tolist()),
            groups=tuple(found["groups"].tolist()),
            sizes=found["sizes"],
            trained=tuple(found[f"trained/{stage}"] for stage in range(stages)),
            arrays={
                name.removeprefix("recorded/"): values
                for name, values in found.items()
                if name.startswith("recorded/")
            },
        )

    def copy_from(self, folders: Sequence[pathlib.Path]) -> None:
        """Copies the recordings of other output directories that are not here.

        Args:
          folders: the other output directories, of the first process if there are
            several; all must come here.

        Raises:
          RecordsError: if one cannot be read or written.
        """
        processes.agree(lambda: self._copy_from(folders))

    def _copy_from(self, folders: Sequence[pathlib.Path]) -> None:
        for folder in folders:
            for path in sorted((folder / FOLDER).glob("*.npz")):
                if self.has(path.stem):
                    continue
                try:
                    content = path.read_bytes()
                except OSError as error:
                    raise RecordsError(
                        f"{path} cannot be copied: {error.strerror}"
                    ) from error
                replace_file(self.path(path.stem), content)


def _shorten(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Norms and scales to fewer bits of mantissa, which compress better."""
    if not name.startswith(("recorded/norms/", "recorded/scales/")):
        return values
    mantissa, exponent = np.frexp(values)
    scaled = np.ldexp(mantissa, _MANTISSA_BITS)
    whole = (
        np.floor(scaled) if name.startswith("recorded/scales/") else np.round(scaled)
    )
    return np.ldexp(whole, exponent - _MANTISSA_BITS).astype(values.dtype)


class LoggedRun(NamedTuple):
    """A finished run.

    Attributes:
      record: its line among the records.
      recording: what its components did.
    """

    record: Record
    log: ComponentLog

    @property
    def name(self) -> str:
        """What to call it in a figure."""
        score = self.record["score"]
        text = "diverged" if self.record["diverged_at"] else f"{score:.1f}"
        return f"seed {self.record['seed']}, {text}"


class LoggedMethod(NamedTuple):
    """The finished runs of one configuration.

    Attributes:
      label: what to call it; no two in a figure are called the same.
      settings: what its runs have in common.
      runs: its runs, by seed.
    """

    label: str
    settings: dict[str, Any]
    runs: tuple[LoggedRun, ...]

    @property
    def is_staged(self) -> bool:
        """Whether layers are unfrozen in stages."""
        return self.settings.get("unfreeze") is not None


def gather(
    runs: Iterable[Record], load: Callable[[str], ComponentLog]
) -> list[LoggedMethod]:
    """Puts runs and what was recorded of them together, method by method.

    Args:
      runs: records of runs of one model and task.
      load: reads the recording of a run.

    Returns:
      The methods, in the order of their first runs. Where two have the same label,
      what differs between them is added to it.
    """
    found: dict[str, list[Record]] = {}
    for record in runs:
        found.setdefault(record["configuration"], []).append(record)
    settings = [settings_of(records[0]) for records in found.values()]
    return [
        LoggedMethod(
            _distinct(each, settings),
            each,
            tuple(
                LoggedRun(record, load(record["run"]))
                for record in sorted(
                    records, key=lambda run: (run["init_seed"], run["data_seed"])
                )
            ),
        )
        for each, records in zip(settings, found.values(), strict=True)
    ]


def _distinct(settings: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """The label, and what distinguishes the method from others of that label."""
    label = settings["label"]
    namesakes = [each for each in others if each["label"] == label]
    keys = sorted({key for each in namesakes for key in each} - {"configuration"})
    differing = [
        f"{key}={settings.get(key)}"
        for key in keys
        if any(each.get(key) != settings.get(key) for each in namesakes)
    ]
    return ":".join([label, *differing])
