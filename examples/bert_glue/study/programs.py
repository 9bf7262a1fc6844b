"""Compiled programs of configurations, and how many runs they train side by side."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from bert_glue.data import batching
from bert_glue.devices import memory, mesh, processes
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.study.configuration import Configuration
from bert_glue.study.plan import (
    Plan,
    as_wanted,
    bytes_per_seed,
    largest_group,
    plan_groups,
)
from bert_glue.training.recipe import Recipe
from bert_glue.training.stages import make_stages
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

# A CPU works on one seed at a time as fast as on several, but for models that are too
# small to keep it busy: below some two million parameters outside the embeddings.
_SMALL_MODEL = 2_000_000
# What the compiler does not count: gaps between the allocator's blocks, the programs
# themselves, results on their way to the host.
_RESERVE = 0.05
# More than any device has.
_ENDLESS = 1 << 62
# Programs that are kept: of several structures, and of the sizes of groups that are
# tried, chosen and left over for the last group. Elsewhere than on a CPU they and their
# data take the devices' memory: there it is one structure's alone.
_MOST_KEPT, _MOST_ON_DEVICES = 16, 4


class StudyStopped(Exception):
    """The runs that are missing cannot be done here; the message says why."""


@dataclasses.dataclass(eq=False)
class Programs:
    """The programs of a configuration, or of some that differ in numbers alone.

    Args:
      configuration: what is trained; any of them.
      seeds: number of runs that are to be done: of seeds, in each configuration.
      wanted: how many of them side by side; None to choose.
      axes: sizes of the mesh's axes that the user has named; None to choose.
      recording: whether to record what the components do.

    Raises:
      ValueError: if there is not enough memory, or the mesh does not fit.

    Attributes:
      plan: how many seeds run side by side, as far as known.
      trainers: given the size of a group, its ``placement`` and the ``recipes`` of its
        runs, what :func:`make_trainers` makes.
    """

    configuration: Configuration
    seeds: int
    wanted: int | None = None
    _: dataclasses.KW_ONLY
    axes: Mapping[str, int] | None = None
    recording: bool = False

    def __post_init__(self) -> None:
        self._subject = self.configuration.subject
        self._recipe = self.configuration.recipe
        self.trainers = functools.partial(
            make_trainers, self.configuration, recording=self.recording
        )
        self.plan = processes.agree(self._plan)
        self._is_settled = self.wanted is not None or mesh.on_cpu()

    def placement(self, seeds: int) -> Placement:
        """Where so many seeds lie on the mesh."""
        part = self._recipe.batch_size // self._recipe.accumulate
        return mesh.choose(self.axes, seeds, part)

    def settle(self, say: Callable[[str], None]) -> int:
        """How many seeds run side by side, found out by compiling where that is due.

        Args:
          say: tells the user what was chosen.

        Returns:
          Their number.

        Raises:
          StudyStopped: if not even one fits.
        """
        if self._is_settled:
            return self.plan.group_size
        self._is_settled = True
        release(self._subject, self._recipe.structure)
        places = self.placement(self.seeds).seeds
        free = processes.agree(lambda: memory.free_bytes_each(jax.local_devices()))
        available = int(free * (1 - _RESERVE))
        subject = self._subject
        on_device = (subject.train, subject.evaluation)
        # On one device the checkpoint's parameters are not in what is free.
        lies_apart = self.placement(self.seeds).name is not None
        fixed = memory.tree_bytes((on_device, subject.pretrained if lies_apart else ()))
        say(f"{self._recipe.label}: compiling, to see how many seeds fit")
        try:
            self.plan = largest_group(
                self._bytes,
                self.seeds,
                available,
                each=bytes_per_seed(subject, self._recipe),
                fixed=fixed,
                places=places,
            )
        except ValueError as error:
            raise StudyStopped(str(error)) from error
        say(f"  seeds side by side: {self.plan.group_size} ({self.plan.reason})")
        return self.plan.group_size

    def halve(self, seeds: int, say: Callable[[str], None]) -> None:
        """Makes groups smaller after one was out of memory.

        Args:
          seeds: number of seeds of that one.
          say: tells the user.

        Raises:
          StudyStopped: if it was the smallest already.
        """
        release()
        name = self._recipe.label
        smallest = min(seeds, self.placement(self.seeds).seeds)
        if seeds <= smallest:
            raise StudyStopped(
                f"{name}: out of memory with the fewest seeds side by side, {seeds}; "
                "a smaller batch size or maximum length, --remat full or a mesh with a "
                "model axis needs less"
            )
        half = max(smallest, seeds // 2)
        say(f"{name}: out of memory with {seeds} seeds side by side; now {half}")
        self.plan = Plan(half, "what is left after running out of memory")

    def _plan(self) -> Plan:
        """How many seeds run side by side, as far as known before compiling.

        On a CPU it is settled, by an estimate; on an accelerator all seeds unless the
        user says otherwise, and the compiled programs tell how many fit.
        """
        # Outside of the branch: a mesh that does not fit is to show at once.
        places = self.placement(self.wanted or self.seeds).seeds
        if mesh.on_cpu():
            return plan_groups(
                self.seeds,
                bytes_per_seed=bytes_per_seed(self._subject, self._recipe),
                bytes_available=memory.free_bytes_each(jax.local_devices()),
                # Cores that are devices have enough to do with one each.
                gain=_is_small(self._subject) and places == 1,
                wanted=self.wanted,
                places=places,
            )
        if self.wanted is not None:
            return as_wanted(self.wanted, self.seeds)
        reason = "at most: the compiled program will tell how many fit"
        return Plan(self.seeds, reason)

    def _bytes(self, group_size: int) -> int:
        """Memory of each device that a group takes."""
        try:
            trainers = self.trainers(group_size, placement=self.placement(group_size))
            # The longest batches take most; for others it is compiled if they come.
            used = max(trainer.compile(trainer.buckets[-1:]) for trainer in trainers)
        except jax.errors.JaxRuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
            return _ENDLESS
        state = trainers[-1].shapes()
        params = memory.tree_bytes((state.params, state.frozen))
        # Beside the training: the best ones; those before the first and the last
        # stage, where components are recorded; those between two stages.
        best, stages = self._recipe.keep == "best", len(trainers) > 1
        beside = (best + 2 * self.recording + stages) * params
        if trainers[0].placement.name:
            # On one device the checkpoint's parameters lay there before.
            beside += memory.tree_bytes(trainers[0].workload.pretrained)
        return beside + used


class _Key(NamedTuple):
    """What decides programs."""

    subject: Subject
    structure: Recipe
    group_size: int
    placement: Placement
    recording: bool


_COMPILED: dict[_Key, tuple[Trainer, ...]] = {}
"""Programs of the last recipes, for others that differ from them in numbers alone."""


def make_trainers(
    configuration: Configuration,
    group_size: int,
    *,
    recipes: Sequence[Recipe] = (),
    recording: bool = False,
    placement: Placement = SINGLE,
) -> tuple[Trainer, ...]:
    """The programs for a group of seeds, one trainer for each stage.

    Configurations whose recipes differ in numbers alone share what is compiled, which
    is done as it is needed.

    Args:
      configuration: what is trained.
      group_size: number of seeds side by side, a multiple of the placement's places.
      recipes: of each run, where they are not all the configuration's.
      recording: whether to record what the components do.
      placement: where it lies; by default on JAX's default device.

    Returns:
      The trainers.
    """
    subject, recipe = configuration.subject, configuration.recipe
    key = _Key(subject, recipe.structure, group_size, placement, recording)
    if key not in _COMPILED:
        release(subject, None if mesh.on_cpu() else recipe.structure)
        while len(_COMPILED) >= (_MOST_KEPT if mesh.on_cpu() else _MOST_ON_DEVICES):
            del _COMPILED[next(iter(_COMPILED))]
        trainers: list[Trainer] = []
        # Groups of other sizes share what lies on the devices.
        workload = next(
            (
                trainers[0].workload
                for other, trainers in _COMPILED.items()
                if other._replace(group_size=group_size) == key
            ),
            None,
        ) or subject.workload(recipe, placement)
        for stage in make_stages(recipe, subject.shapes):
            trainer = Trainer(
                workload,
                recipe,
                group_size,
                buckets=_buckets(subject, recipe, group_size),
                stage=stage,
                recording=recording,
                evaluator=trainers[0].evaluate if trainers else None,
            )
            trainers.append(trainer)
        _COMPILED[key] = tuple(trainers)
    # The last ones used are kept longest.
    _COMPILED[key] = _COMPILED.pop(key)
    recipes = recipes or (recipe,)
    return tuple(trainer.with_recipe(*recipes) for trainer in _COMPILED[key])


def release(subject: Subject | None = None, structure: Recipe | None = None) -> None:
    """Lets go of compiled programs, and of what they hold on the devices.

    Args:
      subject: whose programs are kept; None for nobody's.
      structure: of which recipes these are kept; None for all.
    """
    for key in list(_COMPILED):
        is_of_structure = structure in (None, key.structure)
        if key.subject is not subject or not is_of_structure:
            del _COMPILED[key]


def _buckets(subject: Subject, recipe: Recipe, group_size: int) -> tuple[int, ...]:
    """The lengths that training batches are cut to."""
    lengths, width = np.asarray(subject.train.lengths), subject.train.width
    if recipe.group_by_length:
        return batching.choose_groups(lengths, width)
    needs = batching.sample_needs(lengths, recipe.batch_size * group_size)
    # A small model computes padding faster than a compiler avoids it.
    return batching.choose_buckets(needs, width, most=1 if _is_small(subject) else 3)


def _is_small(subject: Subject) -> bool:
    return memory.count_parameters(subject.pretrained["encoder"]) < _SMALL_MODEL
