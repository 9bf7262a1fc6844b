"""Many runs: which are missing, doing them group by group, keeping what they give."""

import dataclasses
import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bert_glue import batching, environment, memory, metrics, summaries
from bert_glue.progress import Progress
from bert_glue.recipe import Recipe
from bert_glue.records import Record, RunRecords, identity
from bert_glue.runs import Group, Measure, Outcome, train_group
from bert_glue.seeds import Plan, Seed, plan_groups
from bert_glue.stages import make_stages
from bert_glue.training import Trainer
from bert_glue.workload import Subject

# A CPU works on one seed at a time as fast as on several, but for models that are too
# small to keep it busy: below some two million parameters outside the embeddings.
_SMALL_MODEL = 2_000_000
_WAIT_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Everything that decides a run's result but its seed.

    Attributes:
        subject: model and task.
        model: what the user called the model.
        recipe: the method and its settings.
    """

    subject: Subject
    model: str
    recipe: Recipe

    @property
    def fields(self) -> dict[str, Any]:
        """What is recorded of the configuration."""
        return self._deciding() | {
            "label": self.recipe.label,
            "model": self.model,
            "train_examples": len(self.subject.train.lengths),
            "eval_examples": len(self.subject.evaluation.lengths),
            "majority_score": self.subject.majority_score,
        }

    @property
    def name(self) -> str:
        """Short name, which changes with everything that decides a result."""
        return identity(self._deciding())

    def run(self, seed: Seed) -> str:
        """Name of a run of this configuration."""
        return f"{self.subject.task.name}-{self.recipe.name}-{self.name}-{seed.name}"

    def score(self, logits: np.ndarray) -> float:
        """Score in per cent of the evaluation examples' logits."""
        subject = self.subject
        return metrics.score(
            subject.task.metric,
            subject.predictions(logits),
            np.asarray(subject.evaluation.labels),
        )

    def _deciding(self) -> dict[str, Any]:
        subject = self.subject
        return {
            "task": subject.task.name,
            "metric": subject.task.metric,
            "method": self.recipe.name,
            **self.recipe.settings(),
            "max_length": subject.max_length,
            "dtype": subject.dtype,
            "model_fingerprint": subject.model_fingerprint,
            "data_fingerprint": subject.data_fingerprint,
        }


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

    Raises:
        ValueError: if there is not enough memory.
    """

    def __init__(
        self,
        configurations: Sequence[Configuration],
        seeds: Sequence[Seed],
        records: RunRecords,
        *,
        parallel_seeds: int | None = None,
        on_group: OnGroup | None = None,
        seeds_of: Callable[[Configuration], Sequence[Seed]] | None = None,
        recording: bool = False,
        make_measure: MakeMeasure | None = None,
        is_kept: Callable[[str], bool] = lambda run: True,
    ) -> None:
        self.configurations = configurations
        self.seeds = seeds
        self.seeds_of = seeds_of or (lambda configuration: seeds)
        self.records = records
        self._on_group = on_group
        self._recording = recording
        self._make_measure = make_measure
        self._is_kept = is_kept
        self._plans = {
            configuration.name: plan(configuration, len(missing), parallel_seeds)
            for configuration in configurations
            if (missing := self.missing(configuration))
        }
        self._surroundings = {
            "versions": environment.versions(),
            "hardware": environment.hardware(),
            "commit": environment.commit(),
        }

    def missing(self, configuration: Configuration) -> list[Seed]:
        """Seeds whose runs are this process's to do, and not done or not kept."""
        done = {
            record["run"]
            for record in self.records.read()
            if self._is_kept(record["run"])
        }
        mine = self.seeds_of(configuration)
        return [seed for seed in mine if configuration.run(seed) not in done]

    def runs_missing(self) -> int:
        """Number of runs that are not recorded."""
        return sum(len(self.missing(each)) for each in self.configurations)

    def plan(self, configuration: Configuration) -> Plan | None:
        """How many of its seeds run side by side; None if all are done."""
        return self._plans.get(configuration.name)

    def run(self, progress: Progress) -> None:
        """Does all runs that are missing, and waits for those that others do.

        Args:
            progress: where to show how far it is.
        """
        self.write_summary()
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
        rows = summaries.summarize(self.records.read())
        self.records.write_json("summary.json", [row.to_json() for row in rows])

    def _run_configuration(
        self, configuration: Configuration, progress: Progress
    ) -> bool:
        """Does the runs that are free; whether others are left that are not."""
        plan = self._plans.get(configuration.name)
        if plan is None:
            return False
        trainers: dict[int, tuple[Trainer, ...]] = {}
        while missing := self.missing(configuration):
            claimed: list[Seed] = []
            for seed in missing:
                if len(claimed) == plan.group_size:
                    break
                if self.records.claim(configuration.run(seed), self._is_kept):
                    claimed.append(seed)
            if not claimed:
                # Unless the last of them has just been finished elsewhere.
                return bool(self.missing(configuration))
            try:
                if len(claimed) not in trainers:
                    trainers[len(claimed)] = make_trainers(
                        configuration, len(claimed), recording=self._recording
                    )
                self._run_group(
                    configuration, trainers[len(claimed)], claimed, progress
                )
            finally:
                self.records.release(map(configuration.run, claimed))
        return False

    def _run_group(
        self,
        configuration: Configuration,
        trainers: Sequence[Trainer],
        seeds: list[Seed],
        progress: Progress,
    ) -> None:
        measure = None
        if self._make_measure is not None:
            measure = self._make_measure(configuration)
        group = train_group(
            trainers, seeds, configuration.score, progress, measure=measure
        )
        steps = sum(trainer.steps for trainer in trainers)
        records = [
            self._record(configuration, steps, group, outcome)
            for outcome in group.outcomes
        ]
        if self._on_group is not None:
            self._on_group(configuration, records, trainers, group)
        self.records.append(records)
        self.write_summary()

    def _record(
        self,
        configuration: Configuration,
        steps: int,
        group: Group,
        outcome: Outcome,
    ) -> Record:
        seed, score = outcome.seed, outcome.score
        task = configuration.subject.task
        diverged = outcome.diverged_at is not None
        released = task.failed_below
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
            "steps": steps,
            "seconds": group.seconds / len(group.outcomes),
            "group_size": len(group.outcomes),
            "diverged_at": outcome.diverged_at,
            "history": outcome.history,
            "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
            **self._surroundings,
        }


def plan(configuration: Configuration, seeds: int, wanted: int | None) -> Plan:
    """Chooses how many seeds of a configuration run side by side.

    Args:
        configuration: what they run.
        seeds: number of seeds.
        wanted: what the user asks for; None to choose.

    Returns:
        The plan.

    Raises:
        ValueError: if there is not enough memory.
    """
    subject, recipe = configuration.subject, configuration.recipe
    parameters = memory.count_parameters(subject.pretrained)
    encoder = memory.count_parameters(subject.pretrained["encoder"])
    on_cpu = environment.hardware()["platform"] == "cpu"
    return plan_groups(
        seeds,
        bytes_per_seed=memory.bytes_per_seed(
            subject.config,
            parameters,
            recipe,
            int(np.max(subject.train.lengths)),
            subject.dtype,
        ),
        bytes_shared=0,
        bytes_available=memory.free_bytes(),
        gain=not on_cpu or encoder < _SMALL_MODEL,
        wanted=wanted,
    )


def make_trainers(
    configuration: Configuration, group_size: int, *, recording: bool = False
) -> tuple[Trainer, ...]:
    """Compiles the programs for a group of seeds, one trainer for each stage.

    Args:
        configuration: what is trained.
        group_size: number of seeds side by side.
        recording: whether to record norms and scales of the gradients' components.

    Returns:
        The trainers.
    """
    subject, recipe = configuration.subject, configuration.recipe
    lengths = np.asarray(subject.train.lengths)
    encoder = memory.count_parameters(subject.pretrained["encoder"])
    if recipe.group_by_length:
        buckets = batching.choose_groups(lengths, subject.train.width)
    else:
        buckets = batching.choose_buckets(
            batching.sample_needs(lengths, recipe.batch_size * group_size),
            subject.train.width,
            # A small model computes padding faster than a compiler avoids it.
            most=1 if encoder < _SMALL_MODEL else 3,
        )
    workload = subject.workload(recipe)
    trainers: list[Trainer] = []
    for stage in make_stages(recipe, subject.shapes):
        trainer = Trainer(
            workload,
            recipe,
            group_size,
            buckets=buckets,
            stage=stage,
            recording=recording,
            evaluator=trainers[0].evaluate if trainers else None,
        )
        trainer.compile()
        trainers.append(trainer)
    return tuple(trainers)


def _at_most(score: float, limit: float) -> bool:
    # Equal to the limit is not better, however it was rounded on its way.
    return bool(score <= limit or np.isclose(score, limit, rtol=1e-6, atol=0))
