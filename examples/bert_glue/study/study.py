"""Many runs: which are missing, doing them group by group, keeping what they give."""

import contextlib
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bert_glue.devices import environment, memory, processes
from bert_glue.records.files import write_json
from bert_glue.records.resume import Checkpoint, Checkpoints
from bert_glue.records.run_store import Record, RunStore
from bert_glue.study import summaries
from bert_glue.study.configuration import Configuration
from bert_glue.study.groups import Groups, StudyStopped
from bert_glue.study.plan import Plan
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import Group, Measure, Outcome, train_group
from bert_glue.training.seeds import Seed
from bert_glue.training.stages import make_stages
from bert_glue.training.trainer import Trainer

_WAIT_SECONDS = 2.0


OnGroup = Callable[[Configuration, list[Record], Sequence[Trainer], Group], None]
"""Is shown finished runs, before they are recorded: their records, what trained them,
and what became of them."""

MakeMeasure = Callable[[Configuration], Measure]
"""Makes what measures the parameters after each stage."""


class Study:
    """The runs of several configurations with the same seeds.

    Args:
      configurations: methods on one model and task.
      seeds: seeds of each.
      records: where finished runs are kept.
      parallel_seeds: how many seeds to train side by side; None to choose.
      on_group: is shown finished runs.
      seeds_of: seeds of a configuration that are this process's to do, if others do
        the rest; all by default.
      recording: whether norms and scales of the gradients' components are recorded.
      make_measure: what to measure of the parameters after each stage.
      is_kept: whether what is wanted of a recorded run is at hand; a run is done
        again if it is not. By default its record is all that is wanted.
      axes: sizes of the axes of the mesh that groups of seeds lie on, by name; None
        to choose.
      checkpoint_minutes: least time between two checkpoints of the runs that are
        under way; 0 for none.

    Raises:
      ValueError: if there is not enough memory, the mesh does not fit, a recipe has
        more stages than the model layers, or another process that runs this
        program with us has read other files.
    """

    def __init__(
        self,
        configurations: Sequence[Configuration],
        seeds: Sequence[Seed],
        records: RunStore,
        *,
        parallel_seeds: int | None = None,
        on_group: OnGroup | None = None,
        seeds_of: Callable[[Configuration], Sequence[Seed]] | None = None,
        recording: bool = False,
        make_measure: MakeMeasure | None = None,
        is_kept: Callable[[str], bool] = lambda run: True,
        axes: Mapping[str, int] | None = None,
        checkpoint_minutes: float = 0,
    ) -> None:
        self.configurations = configurations
        self.seeds = seeds
        self.seeds_of = seeds_of or (lambda configuration: seeds)
        self.records = records
        self._parallel_seeds = parallel_seeds
        program = {
            "versions": environment.versions(),
            "code": environment.code(),
            "settings": environment.settings(),
        }
        options = [
            *(parallel_seeds, dict(axes or {}), checkpoint_minutes > 0),
            *(recording, make_measure is None),
        ]
        self._check_processes(program, options)
        self._on_group = on_group
        self._make_measure = make_measure
        self._is_kept = is_kept
        for configuration in configurations:
            # More stages than the model has layers are to show at once.
            make_stages(configuration.recipe, configuration.subject.shapes)
        self._groups = {
            configuration.name: Groups(
                configuration,
                len(missing),
                parallel_seeds,
                axes=axes,
                recording=recording,
                copies=0 if make_measure is None else 2,
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
        beside = {"norms": recording, "measures": make_measure is not None}
        self._recorded = [name for name, is_recorded in beside.items() if is_recorded]
        self._checkpoints = Checkpoints(
            records.folder, checkpoint_minutes, {**program, "hardware": hardware}
        )

    def missing(self, configuration: Configuration) -> list[Seed]:
        """Seeds whose runs are this process's to do, and not done or not kept."""
        done = processes.agree(self._done)
        mine = self.seeds_of(configuration)
        return [seed for seed in mine if configuration.run(seed) not in done]

    def runs_missing(self) -> int:
        """Number of runs that are not recorded."""
        return sum(len(self.missing(each)) for each in self.configurations)

    def plan(self, configuration: Configuration) -> Plan | None:
        """How many of its seeds run side by side; None if all are done."""
        groups = self._groups.get(configuration.name)
        return None if groups is None else groups.plan

    def run(self, progress: Progress) -> None:
        """Does all runs that are missing, and waits for those that others do.

        Args:
          progress: where to show how far it is.

        Raises:
          StudyStopped: if there is not enough memory after all, or another process
            that runs this program with us has gone.
        """
        try:
            self._run(progress)
        except processes.Gone as error:
            raise StudyStopped(str(error)) from error
        except jax.errors.JaxRuntimeError as error:
            if processes.count() == 1:
                raise
            raise StudyStopped(processes.what_happened(error)) from error

    def _check_processes(
        self, program: Mapping[str, Any], options: Sequence[Any]
    ) -> None:
        """Makes sure that all processes are about to do the same."""
        names = [each.name for each in self.configurations]
        processes.check_same("model, data or settings", names)
        processes.check_same(
            "seeds",
            [[*self.seeds], *map(list, map(self.seeds_of, self.configurations))],
        )
        remat = [each.subject.remat for each in self.configurations]
        processes.check_same("options", [remat, *options])
        processes.check_same("versions, code or JAX's settings", program)

    def _run(self, progress: Progress) -> None:
        self.write_summary()
        for configuration in self.configurations:
            self._interrupted(configuration, progress)
        waiting = False
        while True:
            busy = False
            for configuration in self.configurations:
                busy |= self._run_configuration(configuration, progress)
            if not busy:
                return
            if not waiting:
                progress.note("waiting for runs that another process is doing")
                waiting = True
            time.sleep(_WAIT_SECONDS)

    def rows(self) -> list[summaries.Row]:
        """Summaries of these configurations, and of no other in the folder."""
        wanted = {configuration.name: None for configuration in self.configurations}
        seeds = {(seed.init, seed.data) for seed in self.seeds}
        rows = summaries.summarize(
            record
            for record in self.records.read()
            if record["configuration"] in wanted
            and (record["init_seed"], record["data_seed"]) in seeds
        )
        order = list(wanted)
        return sorted(rows, key=lambda row: order.index(row.configuration))

    def write_summary(self) -> None:
        """Writes ``summary.json`` from all runs in the folder."""
        written = None
        # Another process may record runs, and write, after our reading.
        while (runs := self.records.read()) != written:
            rows = summaries.summarize(runs)
            summary = [row.to_json() for row in rows]
            write_json(self.records.folder / "summary.json", summary)
            written = runs

    def _done(self) -> set[str]:
        """Runs that are recorded, with all that is wanted of them."""
        recorded = {record["run"] for record in self.records.read()}
        return {run for run in recorded if self._is_kept(run)}

    def _run_configuration(
        self, configuration: Configuration, progress: Progress
    ) -> bool:
        """Does the runs that are free; whether others are left that are not."""
        groups = self._groups.get(configuration.name)
        if groups is None:
            return False
        with contextlib.closing(groups):
            while missing := self.missing(configuration):
                size = groups.settle(progress.note)
                claimed = self._claim(configuration, missing, size, progress)
                if not claimed:
                    # Unless the last of them has just been finished elsewhere.
                    return bool(self.missing(configuration))
                try:
                    fitted = self._try_group(configuration, groups, claimed, progress)
                finally:
                    self.records.release(map(configuration.run, claimed))
                if not fitted:
                    groups.halve(len(claimed), progress.note)
        return False

    def _claim(
        self,
        configuration: Configuration,
        missing: Sequence[Seed],
        size: int,
        progress: Progress,
    ) -> list[Seed]:
        """Takes runs that nobody is at, a group that was interrupted first."""
        for seeds in self._interrupted(configuration, progress):
            if set(seeds) <= set(missing):
                # All or none: who gets the first gets the others, too.
                claimed = self._take(configuration, seeds, len(seeds), whole=True)
                if len(claimed) == len(seeds):
                    return claimed
                self.records.release(map(configuration.run, claimed))
        return self._take(configuration, missing, size)

    def _take(
        self,
        configuration: Configuration,
        seeds: Sequence[Seed],
        size: int,
        *,
        whole: bool = False,
    ) -> list[Seed]:
        claimed: list[Seed] = []
        for seed in seeds:
            if len(claimed) == size:
                break
            if self.records.claim(configuration.run(seed), self._is_kept):
                claimed.append(seed)
            elif whole:
                break
        return claimed

    def _interrupted(
        self, configuration: Configuration, progress: Progress
    ) -> list[list[Seed]]:
        def find() -> list[list[Seed]]:
            done = self._done()
            found = self._checkpoints.interrupted(
                configuration.name,
                self._recorded,
                is_done=lambda seed: configuration.run(seed) in done,
                most=self._parallel_seeds,
                note=progress.note,
            )
            return list(found)

        return processes.agree(find)

    def _try_group(
        self,
        configuration: Configuration,
        groups: Groups,
        seeds: list[Seed],
        progress: Progress,
    ) -> bool:
        """Does some runs; False, and none is recorded, if they do not fit in memory."""
        checkpoint = self._checkpoints.of(
            configuration.name,
            self._recorded,
            seeds,
            progress.note,
            # Each of these may change the rounding.
            layout={
                "mesh": groups.placement(len(seeds)).name,
                "processes": processes.count(),
                "remat": configuration.subject.remat,
            },
        )
        try:
            trainers = groups.trainers(len(seeds))
            self._run_group(configuration, trainers, seeds, progress, checkpoint)
        except jax.errors.JaxRuntimeError as error:
            # Other processes may not have run out of it, and be further.
            if processes.count() > 1 or not memory.is_out_of_memory(error):
                raise
            if checkpoint is not None:
                checkpoint.remove()
            return False
        return True

    def _run_group(
        self,
        configuration: Configuration,
        trainers: Sequence[Trainer],
        seeds: list[Seed],
        progress: Progress,
        checkpoint: Checkpoint | None,
    ) -> None:
        measure = None
        if self._make_measure is not None:
            measure = self._make_measure(configuration)
        group = train_group(
            trainers,
            seeds,
            configuration.score,
            progress,
            measure=measure,
            checkpoint=checkpoint,
        )
        records = [
            self._record(configuration, trainers, group, outcome)
            for outcome in group.outcomes
        ]
        if self._on_group is not None:
            self._on_group(configuration, records, trainers, group)
        self.records.append(records)
        if checkpoint is not None:
            checkpoint.remove()
        self.write_summary()

    def _record(
        self,
        configuration: Configuration,
        trainers: Sequence[Trainer],
        group: Group,
        outcome: Outcome,
    ) -> Record:
        seed, score = outcome.seed, outcome.score
        task = configuration.subject.task
        diverged = outcome.diverged_at is not None
        released = task.failed_below
        mesh = trainers[0].placement.name
        hardware = self._surroundings["hardware"] | ({"mesh": mesh} if mesh else {})
        return {
            "run": configuration.run(seed),
            "configuration": configuration.name,
            **configuration.fields,
            "seed": seed.init if seed.init == seed.data else seed.name,
            "init_seed": seed.init,
            "data_seed": seed.data,
            "score": score,
            "failed": diverged or _at_most(score, configuration.subject.majority_score),
            "failed_released": None if released is None else _at_most(score, released),
            "train_loss": outcome.train_loss,
            "steps": sum(trainer.steps for trainer in trainers),
            "seconds": group.seconds / len(group.outcomes),
            "group_size": len(group.outcomes),
            "diverged_at": outcome.diverged_at,
            "history": outcome.history,
            "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
            **self._surroundings,
            "hardware": hardware,
        }


def _at_most(score: float, limit: float) -> bool:
    # Equal to the limit is not better, however it was rounded on its way.
    return bool(score <= limit or np.isclose(score, limit, rtol=1e-6, atol=0))
