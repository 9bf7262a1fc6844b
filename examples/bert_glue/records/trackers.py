"""Trackers of experiments: where the numbers of runs go while they are trained.

Each is two calls behind one function that starts it. What a tracker raises is dealt
with by who calls it: none ends a run.
"""

import contextlib
import contextvars
import dataclasses
import importlib
import io
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bert_glue.records.files import plain

PROJECT = "cwgnc_jax"
"""Where runs are found in trackers that sort them by projects or experiments."""

FOLDER = "tracking"
"""Folder of what trackers write beside the records, in the output directory."""


class Tracker(Protocol):
    """The place of one run in a tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds values at a step; steps never fall, and may come twice.

        Args:
          values: by names of letters, digits, ``_`` and ``/``.
          step: number of steps that are done.
        """
        ...

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Ends the run.

        Args:
          summary: what came of it; None if it was interrupted.
        """
        ...


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """A run as trackers are to show it.

    Attributes:
      name: its name, which is a file's name, too.
      group: what it belongs to: task and method.
      folder: the output directory.
      settings: all that decides its result, and what else is known before it begins.
    """

    name: str
    group: str
    folder: pathlib.Path
    settings: Mapping[str, Any]


class JsonLines:
    """``tracking/RUN.jsonl``: settings, a line for each step, a summary."""

    def __init__(self, run: TrackedRun) -> None:
        path = run.folder / FOLDER / f"{run.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        # A run that begins anew, or goes on, is written whole.
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115
        self._write({"run": run.name, "settings": run.settings})

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds a line."""
        self._write({"step": step, **values})

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Adds the last line."""
        self._write({"summary": summary})
        self._file.close()

    def _write(self, content: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(plain(content), allow_nan=False) + "\n")
        self._file.flush()


class TensorBoard:
    """``tracking/tensorboard/RUN``, for ``tensorboard --logdir``."""

    def __init__(self, run: TrackedRun) -> None:
        writer = importlib.import_module("tensorboardX").SummaryWriter
        folder = run.folder / FOLDER / "tensorboard" / run.name
        # Events of an earlier process would stand beside the same steps of this one.
        shutil.rmtree(folder, ignore_errors=True)
        # Hyperparameters go to a file of their own, whose name would be the same if it
        # is made in the same second.
        self._writer = writer(logdir=str(folder), filename_suffix=".scalars")
        self._settings = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in run.settings.items()
        }
        self._step = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._step = step

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Adds a row to the table of hyperparameters."""
        if summary is not None:
            # In the folder of the run itself, not in one below named by the time.
            self._writer.add_hparams(
                self._settings, _final(summary), name=".", global_step=self._step
            )
        self._writer.close()


class WandB:
    """Weights & Biases: a run of its own beside others of this process."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = importlib.import_module("wandb").init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            group=run.group,
            dir=str(run.folder),
            config=plain(run.settings),
            reinit="create_new",
            settings={"silent": True, "console": "off"},
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds values."""
        self._run.log(dict(values), step=step)

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Sets the summary; an interrupted run counts as failed there."""
        self._run.summary.update(plain(summary or {}))
        self._run.finish(exit_code=1 if summary is None else 0)


class MLflow:
    """MLflow, at ``$MLFLOW_TRACKING_URI`` or where it stores by default."""

    # What every server accepts: entries of a call, characters of a setting.
    _ENTRIES, _LENGTH = 100, 500

    def __init__(self, run: TrackedRun) -> None:
        mlflow = importlib.import_module("mlflow")
        self._entities = importlib.import_module("mlflow.entities")
        self._client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = mlflow.set_experiment(name).experiment_id
        made = self._client.create_run(
            experiment, run_name=run.name, tags={"group": run.group}
        )
        self._id = made.info.run_id
        self._step = 0
        self._send(
            "params",
            [
                self._entities.Param(key, str(value)[: self._LENGTH])
                for key, value in run.settings.items()
            ],
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds metrics, in one call unless they are many."""
        now, metric = int(1000 * time.time()), self._entities.Metric
        metrics = [metric(name, value, now, step) for name, value in values.items()]
        self._send("metrics", metrics)
        self._step = step

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Ends the run as finished, or as killed."""
        if summary is not None:
            self.log(_final(summary), self._step)
        status = "KILLED" if summary is None else "FINISHED"
        self._client.set_terminated(self._id, status)

    def _send(self, kind: str, entries: list[Any]) -> None:
        for start in range(0, len(entries), self._ENTRIES):
            part = {kind: entries[start : start + self._ENTRIES]}
            self._client.log_batch(self._id, **part)


class Trackio:
    """Trackio: local, or on the hub where ``$TRACKIO_SPACE_ID`` says so."""

    def __init__(self, run: TrackedRun) -> None:
        trackio = importlib.import_module("trackio")
        # It ends the run that it takes for the current one, which is known by its
        # context, and says for each run where it is.
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = contextvars.copy_context().run(
                trackio.init,
                project=PROJECT,
                name=run.name,
                group=run.group,
                config=plain(run.settings),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        self._step = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds values."""
        self._run.log(dict(values), step=step)
        self._step = step

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Adds the summary as values of the last step: it has no place of its own."""
        if summary is not None:
            self.log(_final(summary), self._step)
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()


@dataclasses.dataclass(frozen=True)
class Kind:
    """A tracker that a user can name.

    Attributes:
      start: starts the tracking of a run.
      where: where to look, for a line to the user; FOLDER is the output directory.
      package: the package that it needs, and the project's extra that brings it.
    """

    start: Callable[[TrackedRun], Tracker]
    where: str
    package: str | None = None


KINDS: Mapping[str, Kind] = {
    "tensorboard": Kind(
        TensorBoard,
        f"tensorboard --logdir FOLDER/{FOLDER}/tensorboard",
        "tensorboardX",
    ),
    "wandb": Kind(WandB, f"project {PROJECT}, unless $WANDB_PROJECT is set", "wandb"),
    "mlflow": Kind(
        MLflow, f"experiment {PROJECT}, unless $MLFLOW_EXPERIMENT_NAME is set", "mlflow"
    ),
    "trackio": Kind(Trackio, f'trackio show --project "{PROJECT}"', "trackio"),
    "jsonl": Kind(JsonLines, f"FOLDER/{FOLDER}/*.jsonl"),
}
"""Trackers by the names that users call them."""


def _final(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary, as values."""
    return {
        f"final/{name}": float(value)
        for name, value in summary.items()
        if isinstance(value, bool | int | float)
    }
