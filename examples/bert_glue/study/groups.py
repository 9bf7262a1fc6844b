"""Groups of seeds: how many run side by side, where, and their compiled programs."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from bert_glue.data import batching
from bert_glue.devices import memory, mesh, processes
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.study.configuration import Configuration
from bert_glue.study.plan import Plan, bytes_per_seed, largest_group, plan_groups
from bert_glue.training.stages import make_stages
from bert_glue.training.state import Workload
from bert_glue.training.trainer import Trainer

# A CPU works on one seed at a time as fast as on several, but for models that are too
# small to keep it busy: below some two million parameters outside the embeddings.
_SMALL_MODEL = 2_000_000
# What the compiler does not count: gaps between the allocator's blocks, the programs
# themselves, results on their way to the host.
_RESERVE = 0.05


class StudyStopped(Exception):
    """The runs that are missing cannot be done here; the message says why."""


class Groups:
    """The groups of one configuration.

    Args:
      configuration: what is trained.
      seeds: number of seeds that are to be done.
      wanted: how many of them side by side; None to choose.
      axes: sizes of the mesh's axes that the user has named; None to choose.
      recording: whether to record norms and scales of the gradients' components.
      copies: copies of the parameters that are kept beside the training.

    Raises:
      ValueError: if there is not enough memory, or the mesh does not fit.

    Attributes:
      plan: how many seeds run side by side, as far as known.
    """

    def __init__(
        self,
        configuration: Configuration,
        seeds: int,
        wanted: int | None = None,
        *,
        axes: Mapping[str, int] | None = None,
        recording: bool = False,
        copies: int = 0,
    ) -> None:
        self._configuration = configuration
        self._seeds = seeds
        self._axes = axes
        self._recording = recording
        self._copies = copies + (configuration.recipe.keep == "best")
        self._trainers: dict[int, tuple[Trainer, ...]] = {}
        self._workloads: dict[str | None, Workload] = {}
        places = self.placement(seeds if wanted is None else wanted).seeds
        self.plan = processes.agree(
            lambda: plan(configuration, seeds, wanted, places=places)
        )
        self._is_settled = wanted is not None or mesh.on_cpu()

    def settle(self, say: Callable[[str], None]) -> int:
        """How many seeds run side by side, found out by compiling where that is due.

        Args:
          say: tells the user what was chosen.

        Returns:
          Their number.

        Raises:
          StudyStopped: if not even one fits.
        """
        if not self._is_settled:
            self._is_settled = True
            self._settle_by_compiling(say)
        return self.plan.group_size

    def trainers(self, seeds: int) -> tuple[Trainer, ...]:
        """Compiled programs for so many seeds, one trainer for each stage.

        Args:
          seeds: number of seeds; the group may have places for more.

        Returns:
          The trainers.
        """
        placement = self.placement(seeds)
        size = placement.round_up(seeds)
        if size not in self._trainers:
            self._trainers[size] = make_trainers(
                self._configuration,
                size,
                recording=self._recording,
                placement=placement,
                workload=self._workload(placement),
            )
        return self._trainers[size]

    def placement(self, seeds: int) -> Placement:
        """Where seeds lie.

        Args:
          seeds: how many.

        Returns:
          Their places on the mesh.
        """
        return mesh.choose(self._axes, seeds, self._configuration.recipe.batch_size)

    def halve(self, seeds: int, say: Callable[[str], None]) -> None:
        """Makes groups smaller after one was out of memory.

        Args:
          seeds: number of seeds of that one.
          say: tells the user.

        Raises:
          StudyStopped: if it was the smallest already.
        """
        self.close()
        name = self._configuration.recipe.label
        smallest = min(seeds, self.placement(self._seeds).seeds)
        if seeds <= smallest:
            raise StudyStopped(
                f"{name}: out of memory with the fewest seeds side by side, {seeds}; "
                "a smaller batch size or maximum length, --remat full or a mesh with a "
                "model axis needs less"
            )
        half = max(smallest, seeds // 2)
        say(f"{name}: out of memory with {seeds} seeds side by side; now {half}")
        self.plan = Plan(half, "what is left after running out of memory")

    def close(self) -> None:
        """Lets go of programs, and of what they hold on the devices."""
        self._trainers.clear()
        self._workloads.clear()

    def _workload(self, placement: Placement) -> Workload:
        if placement.name not in self._workloads:
            subject = self._configuration.subject
            recipe = self._configuration.recipe
            self._workloads[placement.name] = subject.workload(recipe, placement)
        return self._workloads[placement.name]

    def _settle_by_compiling(self, say: Callable[[str], None]) -> None:
        places = self.placement(self._seeds).seeds
        free = processes.agree(lambda: memory.free_bytes_each(jax.local_devices()))
        available = int(free * (1 - _RESERVE))
        estimate = _estimate(self._configuration) * -(-self._seeds // places)
        say(f"{self._configuration.recipe.label}: compiling, to see how many seeds fit")
        try:
            self.plan = largest_group(
                self._bytes,
                self._seeds,
                available,
                places=places,
                all_first=estimate <= available,
            )
        except ValueError as error:
            raise StudyStopped(str(error)) from error
        # The programs of the others are not needed.
        chosen = self.plan.group_size
        self._trainers = {chosen: self._trainers[chosen]}
        say(f"  seeds side by side: {chosen} ({self.plan.reason})")

    def _bytes(self, size: int) -> int:
        """Memory of each device that a group takes."""
        try:
            trainers = self.trainers(size)
        except jax.errors.JaxRuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
            return 1 << 62
        state = trainers[-1].shapes()
        params = memory.tree_bytes((state.params, state.frozen))
        several_stages = len(trainers) > 1
        beside = (self._copies + several_stages) * params
        placement = trainers[0].placement
        if placement.name:
            # On one device the checkpoint's parameters lay there before.
            beside += memory.tree_bytes(self._workload(placement).pretrained)
        return beside + max(trainer.bytes_used for trainer in trainers)


def plan(
    configuration: Configuration,
    seeds: int,
    wanted: int | None,
    *,
    places: int = 1,
) -> Plan:
    """Chooses how many seeds of a configuration run side by side.

    Args:
      configuration: what they run.
      seeds: number of seeds.
      wanted: what the user asks for; None to choose.
      places: devices, or sets of them, that seeds are dealt to.

    Returns:
      The plan. On a CPU it is settled, by an estimate; on an accelerator all seeds
      unless the user says otherwise, and the compiled programs tell how many fit.

    Raises:
      ValueError: if there is not enough memory.
    """
    if not mesh.on_cpu():
        if wanted is not None:
            return Plan(min(wanted, seeds), "as asked for")
        return Plan(seeds, "at most: the compiled program will tell how many fit")
    encoder = memory.count_parameters(configuration.subject.pretrained["encoder"])
    return plan_groups(
        seeds,
        bytes_per_seed=_estimate(configuration),
        bytes_shared=0,
        bytes_available=memory.free_bytes_each(jax.local_devices()),
        gain=encoder < _SMALL_MODEL,
        wanted=wanted,
        places=places,
    )


def make_trainers(
    configuration: Configuration,
    group_size: int,
    *,
    recording: bool = False,
    placement: Placement = SINGLE,
    workload: Workload | None = None,
) -> tuple[Trainer, ...]:
    """Compiles the programs for a group of seeds, one trainer for each stage.

    Args:
      configuration: what is trained.
      group_size: number of seeds side by side.
      recording: whether to record norms and scales of the gradients' components.
      placement: where the group lies.
      workload: the configuration's workload, if it lies there already.

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
    if workload is None:
        workload = subject.workload(recipe, placement)
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
            placement=placement,
        )
        trainer.compile()
        trainers.append(trainer)
    return tuple(trainers)


def _estimate(configuration: Configuration) -> int:
    """Bytes that the training of one seed takes, about."""
    subject = configuration.subject
    return bytes_per_seed(
        subject.config,
        memory.count_parameters(subject.pretrained),
        configuration.recipe,
        int(np.max(subject.train.lengths)),
        subject.dtype,
    )
