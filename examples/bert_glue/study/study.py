"""Many runs: which are missing, doing them group by group, keeping what they give."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax

from bert_glue.devices import environment, memory, mesh, processes
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.files import write_json
from bert_glue.records.resume import Checkpoint, Checkpoints, Note
from bert_glue.records.run_store import Record, RunStore
from bert_glue.study import summaries
from bert_glue.study.best_model import BestModel
from bert_glue.study.configuration import Configuration, runs_of
from bert_glue.study.forecast import Forecast
from bert_glue.study.plan import Plan
from bert_glue.study.programs import Programs, StudyStopped, release
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import GroupResult, train_group
from bert_glue.study.run_record import keep_components, make_records
from bert_glue.study.shards import Shard, share
from bert_glue.study.tracking import GroupTracking, Tracking
from bert_glue.training.seeds import Seed
from bert_glue.training.trainer import Trainer

_WAIT_SECONDS = 2.0
_ROW_SECONDS = 60.0
"""Least time between two lines of a row that is not whole."""


@dataclasses.dataclass(eq=False)
class Study:
    """The runs of several configurations with the same seeds.

    Args:
      configurations: methods on one model and task.
      seeds: seeds of each.
      records: where finished runs are kept.
      parallel_seeds: how many seeds to train side by side; None to choose.
      shard: this process's part of the runs, if others do the rest.
      best_model: is to keep the best run's model.
      component_logs: where to keep what the components of each run do; None to record
        nothing of that. A run is done again if its log is not there.
      axes: sizes of the axes of the mesh that groups of seeds lie on, by name; None
        to choose.
      checkpoint_minutes: least time between two checkpoints of the runs that are
        under way; 0 for none.
      tracking: the trackers that the runs are sent to, with what their components do.
      clock: seconds.

    Raises:
      ValueError: if there is not enough memory, the mesh does not fit, a recipe
        does not fit the model or the examples, or another process that runs this
        program with us has read other files.
    """

    configurations: Sequence[Configuration]
    seeds: Sequence[Seed]
    records: RunStore
    _: dataclasses.KW_ONLY
    parallel_seeds: int | None = None
    shard: Shard | None = None
    best_model: BestModel | None = None
    component_logs: ComponentLogs | None = None
    axes: Mapping[str, int] | None = None
    checkpoint_minutes: float = 0
    tracking: Tracking | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        configurations, minutes = self.configurations, self.checkpoint_minutes
        self._shares = share(configurations, self.seeds, self.shard)
        program = {
            "versions": environment.versions(),
            "code": environment.code(),
            "settings": environment.settings(),
        }
        recording = self.component_logs is not None or self.tracking is not None
        remat = [each.subject.remat for each in configurations]
        axes = dict(self.axes or {})
        options = [self.parallel_seeds, axes, minutes > 0, recording]
        # All processes are to be about to do the same.
        names = [each.name for each in configurations]
        processes.check_same("model, data or settings", names)
        processes.check_same("seeds", [[*self.seeds], self._shares])
        processes.check_same("options", [remat, *options])
        processes.check_same("versions, code or JAX's settings", program)
        for configuration in configurations:
            configuration.check()
            if self.component_logs is not None and configuration.recipe.patience:
                raise ValueError(
                    f"patience is set in the method {configuration.recipe.label}; "
                    "where components are recorded, all runs end together"
                )
        self._programs = {
            configuration.name: Programs(
                configuration,
                len(missing),
                self.parallel_seeds,
                axes=self.axes,
                recording=recording,
            )
            for configuration in configurations
            if (missing := self.missing(configuration))
        }
        hardware = environment.hardware()
        self._surroundings = {
            "versions": program["versions"],
            "hardware": hardware,
            "commit": environment.commit(),
        }
        self._recorded = ["components"] if recording else []
        self._last_row = self.clock()
        self._checkpoints = Checkpoints(
            self.records.folder, minutes, {**program, "hardware": hardware}
        )

    def seeds_of(self, configuration: Configuration) -> Sequence[Seed]:
        """Seeds of a configuration that are this process's to do."""
        return self._shares[configuration.name]

    def missing(self, configuration: Configuration) -> list[Seed]:
        """Those of them whose runs are not done, or whose logs are not kept."""
        done = processes.agree(self._done)
        mine = self.seeds_of(configuration)
        return [seed for seed in mine if configuration.run(seed) not in done]

    def runs_missing(self) -> int:
        """Number of runs that are not recorded."""
        return sum(len(self.missing(each)) for each in self.configurations)

    def plan(self, configuration: Configuration) -> Plan | None:
        """How many of its seeds run side by side; None if all are done."""
        programs = self._programs.get(configuration.name)
        return programs and programs.plan

    def run(self, progress: Progress) -> None:
        """Does all runs that are missing, and waits for those that others do.

        Args:
          progress: where to show how far it is.

        Raises:
          StudyStopped: if there is not enough memory after all, or another process
            that runs this program with us has gone.
        """
        with _stopping_if_others_are_gone():
            write_summary(self.records)
            progress.forecast = Forecast(
                {each: len(self.missing(each)) for each in self.configurations}
            )
            for configuration in self.configurations:
                # Removes checkpoints of no use, also where nothing is missing.
                self._interrupted(configuration, progress.note)
            is_waiting = False
            while True:
                is_left = False
                for configuration in self.configurations:
                    is_left |= self._run_configuration(configuration, progress)
                if not is_left:
                    break
                if not is_waiting:
                    progress.note("waiting for runs that another process is doing")
                is_waiting = True
                time.sleep(_WAIT_SECONDS)
        if not mesh.on_cpu():
            release()

    def _run_configuration(
        self, configuration: Configuration, progress: Progress
    ) -> bool:
        """Does the runs that are free; whether others are left that are not."""
        name = configuration.name
        programs = self._programs.get(name)
        if programs is None:
            return False
        while missing := self.missing(configuration):
            size = programs.settle(progress.note)
            interrupted = self._interrupted(configuration, progress.note)
            seeds = self._claim(configuration, missing, size, interrupted)
            if not seeds:
                # Unless the last of them has just been finished elsewhere.
                return bool(self.missing(configuration))
            placement = programs.placement(len(seeds))
            # Each of these may change the rounding.
            layout = {
                "mesh": placement.name,
                "processes": processes.count(),
                "remat": configuration.subject.remat,
            }
            checkpoint = self._checkpoints.of(
                name, self._recorded, seeds, progress.note, layout=layout
            )
            try:
                # Called from here, so that few frames lie above the optimizer.
                places = placement.round_up(len(seeds))
                trainers = programs.trainers(places, placement=placement)
                self._run_group(configuration, trainers, seeds, progress, checkpoint)
            except jax.errors.JaxRuntimeError as error:
                # Other processes may not have run out of it, and be further.
                if processes.count() > 1 or not memory.is_out_of_memory(error):
                    raise
                # None is recorded; smaller groups do not go on from it.
                if checkpoint is not None:
                    checkpoint.remove()
                programs.halve(len(seeds), progress.note)
            finally:
                self.records.release(map(configuration.run, seeds))
        return False

    def _claim(
        self,
        configuration: Configuration,
        missing: Sequence[Seed],
        size: int,
        interrupted: Sequence[Sequence[Seed]],
    ) -> list[Seed]:
        """Takes runs that nobody is at: of an interrupted group, or at most ``size``.

        Returns:
          The seeds taken; none if all are somebody else's, or done.
        """

        def claim(seed: Seed) -> bool:
            return self.records.claim(configuration.run(seed), self._is_complete)

        for group in interrupted:
            if set(group) <= set(missing):
                # All or none: who gets the first gets the others, too.
                claimed = list(itertools.takewhile(claim, group))
                if len(claimed) == len(group):
                    return claimed
                self.records.release(map(configuration.run, claimed))
        return list(itertools.islice(filter(claim, missing), size))

    def _run_group(
        self,
        configuration: Configuration,
        trainers: Sequence[Trainer],
        seeds: list[Seed],
        progress: Progress,
        checkpoint: Checkpoint | None,
    ) -> None:
        if progress.forecast is not None:
            progress.forecast.start(configuration, trainers[0].group_size)
        with self._tracked(configuration, seeds, progress) as tracking:
            result = train_group(
                trainers,
                seeds,
                configuration.score,
                progress,
                checkpoint=checkpoint,
                tracking=tracking,
            )
            runs = self._keep(configuration, trainers, result)
            if tracking is not None:
                tracking.finish(runs)
        if checkpoint is not None:
            checkpoint.remove()
        write_summary(self.records)
        self._say_row(configuration, progress.note)

    def _tracked(
        self, configuration: Configuration, seeds: list[Seed], progress: Progress
    ) -> contextlib.AbstractContextManager[GroupTracking | None]:
        if self.tracking is None:
            return contextlib.nullcontext()
        return self.tracking.group(configuration, seeds, progress.note)

    def _keep(
        self,
        configuration: Configuration,
        trainers: Sequence[Trainer],
        result: GroupResult,
    ) -> list[Record]:
        """Records a group's runs, and all that is wanted of them."""
        runs = make_records(configuration, trainers, result, self._surroundings)
        # A run that is recorded has all that is wanted of it: its line comes last.
        if self.best_model is not None:
            self.best_model.offer(runs, trainers, result)
        if self.component_logs is not None:
            keep_components(self.component_logs, configuration, runs, trainers, result)
        self.records.append(runs)
        return runs

    def _say_row(self, configuration: Configuration, note: Note) -> None:
        """Says what there is of a row of the table, unless the table comes next."""
        # Each run is one of many where few fit side by side.
        is_due = processes.agree(lambda: self.clock() - self._last_row > _ROW_SECONDS)
        is_whole = not self.missing(configuration)
        if not (is_due or is_whole) or not self.runs_missing():
            return
        self._last_row = self.clock()
        recorded, seeds = self.records.read(), self.seeds_of(configuration)
        runs = runs_of(recorded, [configuration], seeds)
        task, label = configuration.subject.task.name, configuration.recipe.label
        row = summaries.Row(label, tuple(runs))
        note(f"{task}, {label}: {len(runs)} of {len(seeds)} runs: {row.line}")

    def _is_complete(self, run: str) -> bool:
        """Whether all that is wanted of a recorded run is at hand."""
        return self.component_logs is None or self.component_logs.has(run)

    def _done(self) -> set[str]:
        recorded = {record["run"] for record in self.records.read()}
        return set(filter(self._is_complete, recorded))

    def _interrupted(
        self, configuration: Configuration, note: Note
    ) -> list[list[Seed]]:
        """Groups that can go on from a checkpoint."""
        done = processes.agree(self._done)
        return self._checkpoints.interrupted(
            configuration.name,
            self._recorded,
            is_done=lambda seed: configuration.run(seed) in done,
            most=self.parallel_seeds,
            note=note,
        )


def write_summary(records: RunStore) -> None:
    """Writes ``summary.json`` from all runs in a folder."""
    written = None
    # Another process may record runs, and write, after our reading.
    while (runs := records.read()) != written:
        rows = summaries.summarize(runs)
        write_json(records.folder / "summary.json", [row.to_json() for row in rows])
        written = runs


@contextlib.contextmanager
def _stopping_if_others_are_gone() -> Iterator[None]:
    try:
        yield
    except processes.Gone as error:
        raise StudyStopped(str(error)) from error
    except jax.errors.JaxRuntimeError as error:
        if processes.count() == 1:
            raise
        raise StudyStopped(processes.what_happened(error)) from error
