"""What trackers are sent of the runs of a group, while it is trained."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.devices import processes
from bert_glue.model.components import layer_components
from bert_glue.records import trackers
from bert_glue.records.run_store import Record
from bert_glue.records.trackers import TrackedRun, Tracker
from bert_glue.study.configuration import Configuration, Run
from bert_glue.training.group_state import GroupState
from bert_glue.training.segments import Segment, cut_run
from bert_glue.training.trainer import Trainer, TrainLog

_SUMMARY = ("score", "train_loss", "failed", "diverged_at", "steps", "seconds")

Note = Callable[[str], None]


@dataclasses.dataclass(eq=False)
class Tracking:
    """The trackers of a study; of several processes, of the first.

    A tracker that fails is told nothing more, and no run ends for it.

    Args:
      kinds: their names among :data:`trackers.KINDS`.
      folder: the output directory.
      every: number of steps between two entries.
    """

    kinds: Sequence[str]
    folder: pathlib.Path
    every: int = 10

    def __post_init__(self) -> None:
        self._alive = [*self.kinds] if processes.is_first() else []

    @contextlib.contextmanager
    def group(self, group: Sequence[Run], note: Note) -> Iterator["GroupTracking"]:
        """Tracks a group of runs.

        Args:
          group: the runs.
          note: tells the user something, in a line.

        Yields:
          What is to be told of the runs; interrupted is what is not finished in the
          end.
        """
        runs = [self._about(run) for run in group]
        started = [self._start(run, note) for run in runs]

        def send(row: int, method: str, *arguments: Any) -> None:
            for kind, tracker in started[row].items():
                self._try(kind, note, lambda t=tracker: getattr(t, method)(*arguments))

        tracking = GroupTracking(group[0].configuration, len(runs), self.every, send)
        try:
            yield tracking
        finally:
            tracking.finish([None] * len(runs))

    def _about(self, run: Run) -> TrackedRun:
        configuration, seed = run
        task, label = configuration.subject.task.name, configuration.recipe.label
        seeds = {"seed": seed.name, "init_seed": seed.init, "data_seed": seed.data}
        fields = configuration.fields | seeds
        return TrackedRun(run.name, f"{task} {label}", self.folder, fields)

    def _start(self, run: TrackedRun, note: Note) -> dict[str, Tracker]:
        started = {}
        for kind in self.kinds:
            start = trackers.KINDS[kind].start
            if tracker := self._try(kind, note, lambda start=start: start(run)):
                started[kind] = tracker
        return started

    def _try(self, kind: str, note: Note, call: Callable[[], Any]) -> Any:
        if kind not in self._alive:
            return None
        try:
            return call()
        # Some end the process where they are not set up.
        except (Exception, SystemExit) as error:
            self._alive.remove(kind)
            package = trackers.KINDS[kind].package
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            if isinstance(error, ModuleNotFoundError) and error.name == package:
                why = f"it needs {package}: pip install 'cwgnc-jax[{kind}]'"
            note(f"note: tracking by {kind} ends, the runs go on ({why})")
            return None


class GroupTracking:
    """What is told of the runs of a group.

    Of the steps since the entry before, and at most ``every``: the mean of the losses
    ('loss'), of the norms of the gradient of all that is trained and of each layer
    ('grad_norm/all', 'grad_norm/layer_3' ...) and, where components are clipped, the
    share that was ('clip_rate/all' ...). Of evaluations: 'score' and 'epoch'.

    Args:
      configuration: of the runs.
      size: their number.
      every: steps between two entries.
      send: calls a method of the trackers of a run, given its row, the method's name
        and its arguments.
    """

    def __init__(
        self,
        configuration: Configuration,
        size: int,
        every: int,
        send: Callable[..., None],
    ) -> None:
        shapes, components = configuration.subject.shapes, layer_components()
        names = cwgnc_jax.component_names(shapes, components)
        groups = cwgnc_jax.component_groups(shapes, components)
        self._layer = {
            name: group.replace(" ", "_")
            for name, group in zip(names, groups, strict=True)
        }
        self._clips = configuration.recipe.clips_components
        self._size, self._every, self._send = size, every, send
        # Of the steps that no entry has had, by name, of shape (runs, steps).
        self._pending: dict[str, NDArray[np.float64]] = {}
        self._is_finished = False

    def after(self, segment: Segment, trainer: Trainer, group: GroupState) -> None:
        """Tells of the steps of a segment that are just done.

        Args:
          segment: the steps.
          trainer: of its stage.
          group: the group after them.
        """
        log = _cut(group.log, segment.start, segment.stop - segment.start)
        self._take(segment, trainer, group, trainer.placement.fetch(log))

    def evaluated(self, segment: Segment, group: GroupState) -> None:
        """Tells of the evaluation that followed a segment.

        Args:
          segment: the steps before it.
          group: the group after it.
        """
        for row in range(self._size):
            for entry in group.history[row]:
                if entry["step"] == segment.done:
                    values = {name: float(entry[name]) for name in ("score", "epoch")}
                    self._send(row, "log", values, segment.done)

    def resume(self, trainers: Sequence[Trainer], group: GroupState) -> None:
        """Tells of all that an earlier process did, from the first step.

        Args:
          trainers: of all stages.
          group: the group as its checkpoint has it.
        """
        segments = [s for s in cut_run(trainers, finely=False) if s.done <= group.done]
        parts = {name: [rows] for name, rows in group.joined().items()}
        last = segments[-1]
        if not last.ends_epoch:
            trainer = trainers[last.stage]
            log = trainer.placement.fetch(_cut(group.log, 0, last.stop))
            names = ["losses", f"norms/{last.stage}", f"scales/{last.stage}"]
            for name, rows in zip(names, log, strict=True):
                parts.setdefault(name, []).append(rows)
        arrays: dict[str, Any] = {
            name: np.concatenate(rows, axis=1) for name, rows in parts.items()
        }
        before = [0] * len(trainers)
        for segment in segments:
            length = segment.stop - segment.start
            start, of_stage = segment.done - length, before[segment.stage]
            before[segment.stage] += length
            log = TrainLog(
                arrays["losses"][:, start : segment.done],
                *(
                    arrays[f"{name}/{segment.stage}"][:, of_stage : of_stage + length]
                    for name in ("norms", "scales")
                ),
            )
            self._take(segment, trainers[segment.stage], group, log)
            if segment.is_evaluation:
                self.evaluated(segment, group)

    def finish(self, records: Sequence[Record | None]) -> None:
        """Ends the runs, unless they are ended.

        Args:
          records: those of the runs; None for what was interrupted.
        """
        if self._is_finished:
            return
        self._is_finished = True
        for row, record in enumerate(records):
            summary = record and {name: record[name] for name in _SUMMARY}
            self._send(row, "finish", summary)

    def _take(
        self, segment: Segment, trainer: Trainer, group: GroupState, log: TrainLog
    ) -> None:
        for name, rows in self._by_layer(trainer, log).items():
            held = self._pending.get(name, rows[:, :0])
            self._pending[name] = np.concatenate([held, rows], axis=1)
        start = segment.done - self._pending["loss"].shape[1]
        ends = [*range(start - start % self._every, segment.done + 1, self._every)][1:]
        # What is trained in the next stage has other layers.
        if segment.ends_stage and segment.done not in ends:
            ends.append(segment.done)
        for end in ends:
            self._enter(end, end - start, group)
            start = end
        if segment.ends_stage:
            self._pending.clear()

    def _enter(self, step: int, length: int, group: GroupState) -> None:
        """Sends an entry of the first steps that are pending."""
        means = {
            name: rows[:, :length].mean(axis=1) for name, rows in self._pending.items()
        }
        for row in range(self._size):
            history = group.history[row]
            # What a run does past its end, as others beside it go on, is no result.
            if not (group.stopped[row] and step > history[-1]["step"]):
                values = {name: float(mean[row]) for name, mean in means.items()}
                self._send(row, "log", values, step)
        self._pending = {name: rows[:, length:] for name, rows in self._pending.items()}

    def _by_layer(
        self, trainer: Trainer, log: TrainLog
    ) -> Mapping[str, NDArray[np.float64]]:
        values = {"loss": np.asarray(log.losses, np.float64)[: self._size]}
        if log.norms is None or log.scales is None:
            return values
        squares = np.square(np.asarray(log.norms, np.float64))[: self._size]
        clipped = (np.asarray(log.scales) < 1)[: self._size]
        layers = np.array([self._layer[name] for name in trainer.component_names])
        for layer in ("all", *dict.fromkeys(layers.tolist())):
            is_in = (layers == layer) | (layer == "all")
            values[f"grad_norm/{layer}"] = np.sqrt(squares[..., is_in].sum(axis=-1))
            if self._clips:
                values[f"clip_rate/{layer}"] = clipped[..., is_in].mean(axis=-1)
        return values


@functools.partial(jax.jit, static_argnums=2)
def _cut(log: TrainLog, start: int, length: int) -> TrainLog:
    """Some steps of an epoch's log, whose number alone is compiled."""
    return jax.tree.map(
        lambda rows: jax.lax.dynamic_slice_in_dim(rows, start, length, axis=1), log
    )
