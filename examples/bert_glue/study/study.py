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
from bert_glue.study.configuration import Configuration, Run, families, runs_of
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
      parallel_seeds: how many runs to train side by side; None to choose. On a CPU
        these are of one configuration then, and else of all that differ in numbers
        alone.
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
        # On one CPU device, where the axis gains little, settings lie beside each other
        # only if the user says how many runs do.
        alone = mesh.on_cpu() and jax.device_count() == 1
        apart = alone and self.parallel_seeds is None
        self._families = families(configurations, apart=apart)
        self._programs = {
            family[0].name: Programs(
                family[0],
                len(missing),
                self.parallel_seeds,
                axes=self.axes,
                recording=recording,
            )
            for family in self._families
            if (missing := self._missing(family))
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
        return [run.seed for run in self._missing([configuration])]

    def _missing(self, family: Sequence[Configuration]) -> list[Run]:
        done = processes.agree(self._done)
        mine = [Run(each, seed) for each in family for seed in self.seeds_of(each)]
        return [run for run in mine if run.name not in done]

    def runs_missing(self) -> int:
        """Number of runs that are not recorded."""
        return len(self._missing(self.configurations))

    def plan(self, configuration: Configuration) -> Plan | None:
        """How many runs lie side by side, those of other settings among them.

        None if all are done.
        """
        family = next(each for each in self._families if configuration in each)
        programs = self._programs.get(family[0].name)
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
            for family in self._families:
                # Removes checkpoints of no use, also where nothing is missing.
                self._interrupted(family, progress.note)
            is_waiting = False
            while True:
                is_left = False
                for family in self._families:
                    is_left |= self._run_family(family, progress)
                if not is_left:
                    break
                if not is_waiting:
                    progress.note("waiting for runs that another process is doing")
                is_waiting = True
                time.sleep(_WAIT_SECONDS)
        if not mesh.on_cpu():
            release()

    def _run_family(self, family: Sequence[Configuration], progress: Progress) -> bool:
        """Does the runs that are free; whether others are left that are not."""
        programs = self._programs.get(family[0].name)
        if programs is None:
            return False
        while missing := self._missing(family):
            size = programs.settle(progress.note)
            interrupted = self._interrupted(family, progress.note)
            runs = self._claim(missing, size, interrupted)
            if not runs:
                # Unless the last of them has just been finished elsewhere.
                return bool(self._missing(family))
            placement = programs.placement(len(runs))
            processes.open_connections(placement.mesh)
            # Each of these may change the rounding.
            layout = {
                "mesh": placement.name,
                "processes": processes.count(),
                "remat": family[0].subject.remat,
            }
            checkpoint = self._checkpoints.of(
                [(run.configuration.name, run.seed) for run in runs],
                self._recorded,
                progress.note,
                layout=layout,
            )
            try:
                # Called from here, so that few frames lie above the optimizer.
                trainers = programs.trainers(
                    placement.round_up(len(runs)),
                    recipes=[run.configuration.recipe for run in runs],
                    placement=placement,
                )
                self._run_group(trainers, runs, progress, checkpoint)
            except jax.errors.JaxRuntimeError as error:
                # Other processes may not have run out of it, and be further.
                if processes.count() > 1 or not memory.is_out_of_memory(error):
                    raise
                # None is recorded; smaller groups do not go on from it.
                if checkpoint is not None:
                    checkpoint.remove()
                programs.halve(len(runs), progress.note)
            finally:
                self.records.release(run.name for run in runs)
        return False

    def _claim(
        self, missing: Sequence[Run], size: int, interrupted: Sequence[Sequence[Run]]
    ) -> list[Run]:
        """Takes runs that nobody is at: of an interrupted group, or at most ``size``.

        Returns:
          The runs taken; none if all are somebody else's, or done.
        """

        def claim(run: Run) -> bool:
            return self.records.claim(run.name, self._is_complete)

        names = {run.name for run in missing}
        for group in interrupted:
            if {run.name for run in group} <= names:
                # All or none: who gets the first gets the others, too.
                claimed = list(itertools.takewhile(claim, group))
                if len(claimed) == len(group):
                    return claimed
                self.records.release(run.name for run in claimed)
        return list(itertools.islice(filter(claim, missing), size))

    def _run_group(
        self,
        trainers: Sequence[Trainer],
        group: Sequence[Run],
        progress: Progress,
        checkpoint: Checkpoint | None,
    ) -> None:
        configuration, seeds = group[0].configuration, [run.seed for run in group]
        if progress.forecast is not None:
            progress.forecast.start(configuration, trainers[0].group_size)
        with self._tracked(group, progress.note) as tracking:
            result = train_group(
                trainers,
                seeds,
                configuration.score,
                progress,
                checkpoint=checkpoint,
                tracking=tracking,
            )
            runs = self._keep(group, trainers, result)
            if tracking is not None:
                tracking.finish(runs)
        if checkpoint is not None:
            checkpoint.remove()
        write_summary(self.records)
        for each in dict.fromkeys(run.configuration for run in group):
            self._say_row(each, progress.note)

    def _tracked(
        self, group: Sequence[Run], note: Note
    ) -> contextlib.AbstractContextManager[GroupTracking | None]:
        if self.tracking is None:
            return contextlib.nullcontext()
        return self.tracking.group(group, note)

    def _keep(
        self, group: Sequence[Run], trainers: Sequence[Trainer], result: GroupResult
    ) -> list[Record]:
        """Records a group's runs, and all that is wanted of them."""
        configurations = [run.configuration for run in group]
        runs = make_records(configurations, trainers, result, self._surroundings)
        # A run that is recorded has all that is wanted of it: its line comes last.
        if self.best_model is not None:
            self.best_model.offer(runs, trainers, result)
        if self.component_logs is not None:
            keep_components(
                self.component_logs, configurations[0], runs, trainers, result
            )
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
        self, family: Sequence[Configuration], note: Note
    ) -> list[list[Run]]:
        """Groups that can go on from a checkpoint."""
        done = processes.agree(self._done)
        by_name = {each.name: each for each in family}
        groups = self._checkpoints.interrupted(
            [*by_name],
            self._recorded,
            is_done=lambda name, seed: by_name[name].run(seed) in done,
            most=self.parallel_seeds,
            note=note,
        )
        return [[Run(by_name[name], seed) for name, seed in group] for group in groups]


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
