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
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue import processes
from bert_glue.evaluation import Params
from bert_glue.recipe import layer_components
from bert_glue.records import Record, RecordsError, replace_file
from bert_glue.runs import Group
from bert_glue.study import Configuration
from bert_glue.training import Trainer

FOLDER = "recordings"
FORMAT = 1
"""Version of the files' layout."""

# Norms are kept to the 11 bits of mantissa that float16 has, in the range of float32:
# finer than a line on paper, and compressed to some 60% of float32's size. Scales are
# rounded down, so that what was clipped stays below 1.
_MANTISSA_BITS = 11

_MEASURES = {
    "rmsd": cwgnc_jax.component_rmsd,
    "cosine_distance": cwgnc_jax.component_cosine_distance,
}


@dataclasses.dataclass(frozen=True)
class Recording:
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


class Recordings:
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

    def keep(
        self,
        configuration: Configuration,
        runs: Sequence[Record],
        trainers: Sequence[Trainer],
        group: Group,
    ) -> None:
        """Writes the recordings of finished runs, each whole or not at all.

        Of several processes the first writes; all must come here.

        Args:
            configuration: their configuration.
            runs: their records.
            trainers: what trained them, recording.
            group: what became of them.

        Raises:
            RecordsError: if they cannot be written.
        """
        processes.agree(lambda: self._keep(configuration, runs, trainers, group))

    def _keep(
        self,
        configuration: Configuration,
        runs: Sequence[Record],
        trainers: Sequence[Trainer],
        group: Group,
    ) -> None:
        shapes, components = configuration.subject.shapes, layer_components()
        names = cwgnc_jax.component_names(shapes, components)
        number_of = {name: number for number, name in enumerate(names)}
        common: dict[str, Any] = {
            "format": np.int64(FORMAT),
            "names": np.array(names),
            "groups": np.array(cwgnc_jax.component_groups(shapes, components)),
            "sizes": cwgnc_jax.component_sizes(shapes, components),
        }
        for stage, trainer in enumerate(trainers):
            trained = [number_of[name] for name in trainer.component_names]
            common[f"trained/{stage}"] = np.array(trained, np.int64)
        for position, run in enumerate(runs):
            arrays = common | {
                f"recorded/{name}": _shorten(name, values[position])
                for name, values in group.recorded.items()
            }
            content = io.BytesIO()
            np.savez_compressed(content, allow_pickle=False, **arrays)
            replace_file(self.path(run["run"]), content.getvalue())

    def load(self, run: str) -> Recording:
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
        return Recording(
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


@jax.jit
@jax.vmap
def measure(now: Params, initial: Params, before: Params) -> dict[str, jax.Array]:
    """How far each component of each seed has moved.

    Args:
        now: parameters, with a leading seed axis, as all arguments.
        initial: what they were before the run.
        before: what they were before the stage.

    Returns:
        Root-mean-square difference and cosine distance from either, float32 of shape
        (seeds, components): 'rmsd_from_initial', 'cosine_distance_from_before' ...
    """
    return {
        f"{name}_from_{reference}": distance(now, params, layer_components())
        for name, distance in _MEASURES.items()
        for reference, params in (("initial", initial), ("before", before))
    }


def _shorten(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Norms and scales to fewer bits of mantissa, which compress better."""
    if not name.startswith(("norms/", "scales/")):
        return values
    mantissa, exponent = np.frexp(values)
    scaled = np.ldexp(mantissa, _MANTISSA_BITS)
    whole = np.floor(scaled) if name.startswith("scales/") else np.round(scaled)
    return np.ldexp(whole, exponent - _MANTISSA_BITS).astype(values.dtype)
