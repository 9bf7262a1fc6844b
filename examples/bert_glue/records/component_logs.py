"""What the components of each run did: files beside the records, to draw figures from.

``recordings/RUN.npz`` holds the norms and scales of the gradients at every step, and
how far the parameters had moved after every stage. It is on the disk before the run's
line is: where there is a line there is a log, unless somebody removed it.
"""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.devices.processes import decided_by_first
from bert_glue.records import run_store
from bert_glue.records.files import RecordsError, read_file, replace_file
from bert_glue.records.run_store import Record

FOLDER = "recordings"
FORMAT = 1
"""Version of the files' layout."""

# Norms are kept to the 11 bits of mantissa that float16 has, in the range of float32:
# finer than a line on paper, and compressed to some 60% of float32's size. Scales are
# rounded down, so that what was clipped stays below 1.
_MANTISSA_BITS = 11


@dataclasses.dataclass(frozen=True)
class ComponentLog:
    """What the components of a run did.

    Attributes:
      names: names of all components.
      groups: the group of each, from :func:`cwgnc_jax.component_groups`.
      sizes: how many parameters each has, int64 of shape (components,).
      trained: for each stage, numbers of the components that it trained.
      arrays: the run's arrays by name: 'losses' of all steps; for each stage
        'norms/STAGE' and 'scales/STAGE' of shape (steps, trained components), and
        'NAME/STAGE' for what was measured after it.
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
          name: of the measure, such as 'rmsd_from_initial'.

        Returns:
          The values, shape (stages, components).
        """
        return np.stack([self.arrays[f"{name}/{n}"] for n in range(self.stages)])

    def clip_rate(self, *, of_parameters: bool = False) -> NDArray[np.float32]:
        """Share of what was trained that each step clipped.

        Args:
          of_parameters: whether to count parameters rather than components.

        Returns:
          The shares, from 0 to 1, shape (steps,).
        """
        rates = []
        for stage, trained in enumerate(self.trained):
            sizes = self.sizes[trained] if of_parameters else None
            scales = self.arrays[f"scales/{stage}"]
            rates.append(np.asarray(cwgnc_jax.clip_rate(scales, sizes)))
        return np.concatenate(rates)


class ComponentLogs:
    """The logs of an output directory; of several processes, of the first.

    Args:
      folder: the output directory.

    Attributes:
      folder: where the logs are, in it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / FOLDER

    def path(self, run: str) -> pathlib.Path:
        """The file of a run."""
        return self.folder / f"{run}.npz"

    def has(self, run: str) -> bool:
        """Whether a run's log is there."""
        return self.path(run).is_file()

    @decided_by_first
    def write(self, run: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes the log of a finished run, whole or not at all.

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
        """Reads the log of a run.

        Args:
          run: its name.

        Returns:
          The log.

        Raises:
          RecordsError: if there is none, or it cannot be read.
        """
        path = self.path(run)
        content = io.BytesIO(read_file(path))
        try:
            with np.load(content, allow_pickle=False) as file:
                arrays = dict(file)
        except Exception:  # Of damaged bytes NumPy may raise any error.
            arrays = {}
        if arrays.get("format") != FORMAT:
            raise RecordsError(
                f"{path} is no recording of this version; remove it, and the command "
                "that made it does its run again"
            )
        stages = sum(name.startswith("trained/") for name in arrays)
        prefix = "recorded/"
        return ComponentLog(
            tuple(arrays["names"].tolist()),
            tuple(arrays["groups"].tolist()),
            arrays["sizes"],
            tuple(arrays[f"trained/{stage}"] for stage in range(stages)),
            {k.removeprefix(prefix): v for k, v in arrays.items() if prefix in k},
        )

    @decided_by_first
    def copy_from(self, folders: Sequence[pathlib.Path]) -> None:
        """Copies the logs of other output directories that are not here.

        Args:
          folders: the other output directories, of the first process if there are
            several; all must come here.

        Raises:
          RecordsError: if one cannot be read or written.
        """
        for folder in folders:
            for path in sorted((folder / FOLDER).glob("*.npz")):
                if not self.has(path.stem):
                    replace_file(self.path(path.stem), read_file(path))


def _shorten(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Norms and scales to fewer bits of mantissa, which compress better."""
    is_scale = name.startswith("recorded/scales/")
    if not is_scale and not name.startswith("recorded/norms/"):
        return values
    mantissa, exponent = np.frexp(values)
    shifted = np.ldexp(mantissa, _MANTISSA_BITS)
    whole = np.floor(shifted) if is_scale else np.round(shifted)
    return np.ldexp(whole, exponent - _MANTISSA_BITS).astype(values.dtype)


@dataclasses.dataclass(frozen=True)
class LoggedRun:
    """A finished run.

    Attributes:
      record: its line among the records.
      log: what its components did.
    """

    record: Record
    log: ComponentLog

    @property
    def name(self) -> str:
        """What to call it in a figure."""
        diverged = self.record["diverged_at"]
        score = "diverged" if diverged else f"{self.record['score']:.1f}"
        return f"seed {self.record['seed']}, {score}"


@dataclasses.dataclass(frozen=True)
class LoggedMethod:
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
    """Puts runs and the logs of their components together, method by method.

    Args:
      runs: records of runs of one model and task.
      load: reads the log of a run.

    Returns:
      The methods, in the order of their first runs. Where two have the same label,
      what differs between them is added to it.
    """
    runs = list(runs)
    distinct = run_store.distinctions(runs)
    methods = []
    for records in run_store.by_configuration(runs):
        settings = run_store.settings_of(records[0])
        differing = distinct[settings["configuration"]]
        words = [f"{key}={value}" for key, value in differing.items()]
        logged = tuple(LoggedRun(record, load(record["run"])) for record in records)
        label = ":".join([settings["label"], *words])
        methods.append(LoggedMethod(label, settings, logged))
    return methods
