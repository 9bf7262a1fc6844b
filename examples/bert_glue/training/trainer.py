"""The training and evaluation of a group of seeds, as compiled programs.

The parameters and the optimizer's state of all seeds of a group have a leading seed
axis. A loop that is compiled once, for each length that batches are cut to, takes any
number of steps; the data lie on the devices, and nothing but losses, norms and logits
comes back.
"""

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.data import batching
from bert_glue.data.batching import Batch, Data
from bert_glue.data.examples import SINGLE_LABEL
from bert_glue.devices import memory
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.model.components import layer_components
from bert_glue.model.dropout import DropoutKey
from bert_glue.training.evaluation import Evaluator, Forward, Params, over_seeds
from bert_glue.training.losses import Loss
from bert_glue.training.program import Program
from bert_glue.training.recipe import Numbers, Recipe
from bert_glue.training.seeds import Seed, SeedKeys, epoch_order, root_key, seed_keys
from bert_glue.training.stages import Stage

Init = Callable[[Params, Key[Array, ""]], Params]
"""A seed's initial parameters from the pretrained ones and its key."""


# Compared by identity: comparing arrays would be no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """What is trained on what, whatever the method.

    Attributes:
      forward: logits of a batch, float32 of shape (batch, labels), from parameters,
        batch and the key of dropout (None for none).
      init: a seed's initial parameters from the pretrained ones and its key.
      pretrained: the checkpoint's parameters.
      train: examples to learn from, on the device.
      evaluation: examples to be scored on, on the device.
      placement: where all of it lies, and what is trained is to lie.
      loss: of each example, from logits and labels.
      rounded: the parameters as the forward pass computes with them, some in another
        dtype. They are rounded once a step, and so are gradients kept.
    """

    forward: Forward
    init: Init
    pretrained: Params
    train: Data
    evaluation: Data
    placement: Placement = SINGLE
    loss: Loss = dataclasses.field(default_factory=lambda: Loss(SINGLE_LABEL))
    rounded: Callable[[Params], Params] = lambda params: params


class TrainState(NamedTuple):
    """State of a group in a stage; every array has a leading seed axis.

    Attributes:
      params: the parameters that are differentiated.
      opt_state: the optimizer's state.
      initial: what they were before the run, for methods that look back to that,
        else None.
      frozen: the other parameters; None if there are none.
    """

    params: Params
    opt_state: optax.OptState
    initial: Params | None
    frozen: Params | None


class TrainLog(NamedTuple):
    """What is written down at each step of an epoch.

    Attributes:
      losses: float32 of shape (seeds, steps).
      norms: norms of the gradient's components before clipping, float32 of shape
        (seeds, steps, components); None if they are not recorded.
      scales: factors of the components, of the same shape; None likewise.
    """

    losses: Float[Array, "seeds steps"]
    norms: Float[Array, "seeds steps components"] | None = None
    scales: Float[Array, "seeds steps components"] | None = None


Gradients = tuple[Float[Array, "..."], Params]
"""Losses of some seeds or of one, and their gradients."""
Carry = tuple[TrainState, TrainLog]
"""What goes from step to step."""


@dataclasses.dataclass(eq=False, repr=False)
class Trainer:
    """Compiled programs for groups of seeds in a stage of training by one recipe.

    Each is compiled when it is first needed, or before by :meth:`compile`. The recipe's
    numbers are arguments of the programs, with a leading seed axis: :meth:`with_recipe`
    trains by other ones without compiling anew.

    Args:
      workload: what is trained on what, and where.
      recipe: the method and its settings.
      group_size: number of seeds side by side.
      buckets: lengths that training batches are cut to, increasing. Where the recipe
        groups by length, examples of one bucket make up a batch.
      stage: what is trained; by default everything, in a single stage.
      recording: whether to log norms and scales of the gradient's components. Where
        the optimizer does not clip by component they are taken before it.
      evaluator: the compiled evaluation of another stage's trainer, to share.

    Raises:
      ValueError: if the last bucket does not fit the data.

    Attributes:
      recipes: of the runs of a group; one alone is all runs'.
      placement: where the group lies.
      evaluate: computes the logits of the evaluation examples.
      order: given the keys of the order and the number of an epoch, its batches, as
        :func:`seeds.epoch_order` gives them.
      new_log: makes an empty log of an epoch.
      steps_per_epoch: batches in an epoch, the last one perhaps not full.
      steps: all steps of the stage.
      epochs: those that it takes, the last one perhaps not whole.
      epochs_before: number of the stage's first epoch, by which the order of the
        examples and the noise are drawn. A stage that restarts is a run of its own,
        from 0.
      component_names: what the log's norms are of; empty if it has none.
      bytes_used: what :meth:`compile` returned; 0 before.
    """

    workload: Workload
    recipe: Recipe
    group_size: int
    _: dataclasses.KW_ONLY
    buckets: tuple[int, ...]
    stage: Stage = dataclasses.field(default_factory=Stage)
    recording: bool = False
    evaluator: Evaluator | None = None

    def __post_init__(self) -> None:
        workload, recipe, buckets = self.workload, self.recipe, self.buckets
        lengths, width = np.asarray(workload.train.lengths), workload.train.width
        longest = int(lengths.max())
        if not longest <= buckets[-1] <= width:
            raise ValueError(
                f"buckets are {buckets}; the last one must hold the longest example, "
                f"of {longest} tokens, and not exceed the {width} that there are"
            )
        self.placement = workload.placement
        self._over_seeds = functools.partial(over_seeds, placement=self.placement)
        examples = len(workload.train.lengths)
        self.steps_per_epoch = math.ceil(examples / recipe.batch_size)
        self.bytes_used = 0
        self.component_names: tuple[str, ...] = ()
        if self.recording:
            shapes = jax.eval_shape(workload.init, workload.pretrained, root_key(0))
            self.component_names = self.stage.component_names(shapes)
        # The optimizer may clip by the global norm, which is a component as well.
        recorded = self.recording and not recipe.clips_components
        self._recorded_by = "record" if recorded else None

        bucket_of = None
        if recipe.group_by_length:
            bucket_of = np.searchsorted(buckets, lengths)
        self.order = Program(
            functools.partial(
                epoch_order,
                examples=examples,
                batch_size=recipe.batch_size,
                buckets=bucket_of,
            )
        )
        self.new_log = Program(self._empty_log)
        self.evaluate = self.evaluator or Evaluator(
            workload.forward, workload.evaluation, placement=self.placement
        )
        self._start = Program(self._start_stage)
        # State and log are given up: twice either would not fit beside the gradients.
        self._train = {
            length: Program(
                functools.partial(self._train_steps, length), donate_argnums=(0, 1)
            )
            for length in buckets
        }
        self._needs: tuple[Array | None, NDArray[np.integer]] = None, np.empty(0, int)
        self._join = Program(self._join_seeds)
        numbers = self._set_recipes(recipe)
        # States are alike whatever the numbers: this optimizer makes the first ones.
        optimizer = recipe.make_optimizer(numbers, self.stage.first_layer)
        self._first_optimizer = self._wrap(optimizer)
        self._looks_back = recipe.make_transform(numbers) is not None

    def with_recipe(self, recipe: Recipe, *others: Recipe) -> "Trainer":
        """A trainer by other recipes that shares the compiled programs.

        Args:
          recipe: of the same structure: it differs in numbers alone.
          *others: where runs of several recipes lie side by side, that of the second
            run, the third and so on. They take as many steps, and are evaluated alike.
            What is left over does as the first run.

        Returns:
          The trainer.

        Raises:
          ValueError: if one is of another structure, or they cannot lie side by side.
        """
        if recipe.structure != self.recipe.structure:
            raise ValueError(
                f"the recipe {recipe.label} is of another structure than "
                f"{self.recipe.label}: their programs differ"
            )
        for other in others:
            if other.lockstep != recipe.lockstep:
                raise ValueError(
                    f"the recipes {recipe.label} and {other.label} cannot lie side by "
                    "side: they differ in more than numbers"
                )
        trainer = copy.copy(self)
        trainer._set_recipes(recipe, *others)
        return trainer

    def _set_recipes(self, recipe: Recipe, *others: Recipe) -> Numbers:
        """Takes over recipes' numbers, and returns the first one's as Python's."""
        self.recipe, self.recipes = recipe, (recipe, *others)
        self.steps = recipe.steps(self.steps_per_epoch)
        self.epochs = math.ceil(self.steps / self.steps_per_epoch)
        before = 0 if self.stage.restarts else self.stage.index
        self.epochs_before = before * self.epochs
        stages = self.stage.count
        of_each = [each.numbers(self.steps, stages) for each in (recipe, *others)]
        first = of_each[0]
        of_each += [first] * (self.group_size - len(of_each))
        self.numbers = Numbers(
            *(
                jnp.asarray(values, jnp.result_type(type(values[0])))
                for values in zip(*of_each, strict=True)
            )
        )
        return first

    def train(
        self,
        state: TrainState,
        log: TrainLog,
        keys: Key[Array, "seeds"],
        order: Int[Array, "seeds steps batch"],
        *bounds: int,
    ) -> Carry:
        """Takes some steps of an epoch.

        Args:
          state: of the group; it is used up.
          log: of the epoch, filled in up to the first step; it is used up.
          keys: of the noise, shape (seeds,).
          order: the epoch's batches, from ``order``.
          *bounds: number of the epoch, the first step and the one to stop before,
            counted within the epoch.

        Returns:
          The new state, and the log filled in up to there.
        """
        # Arguments of the program: constants would be compiled into it.
        named = {
            "numbers": self.placement.rows(self.numbers),
            "data": self.workload.train,
        }
        epoch, start, stop = bounds
        for length, first, last in self._of_one_length(order, start, stop):
            program = self._train[length]
            if program.compiled is None:
                self._compile_steps(length)
            state, log = program(state, log, keys, order, epoch, first, last, **named)
        return state, log

    def compile(self, lengths: Sequence[int] | None = None) -> int:
        """Compiles the programs, so that no time of a run goes into that.

        Args:
          lengths: of batches, some of ``buckets``; None for all of them. Programs for
            others are compiled as they are needed.

        Returns:
          Bytes of each device's memory that training and evaluation take, the data
          included; 0 where the compiler does not say.
        """
        keys, state = self._key_shapes(), self.shapes()
        lengths = self.buckets if lengths is None else lengths
        training = max(map(self._compile_steps, lengths))
        if self.stage.index == 0:
            self._start.compile(self.workload.pretrained, keys, None, None)
        self.order.compile(keys, 0)
        params = self.placement.state(self._join.shapes(state.params, state.frozen))
        # While it evaluates, the rest of the state is there as well.
        rest = max(0, memory.tree_bytes(state) - memory.tree_bytes(params))
        self.bytes_used = max(training, self.evaluate.compile(params) + rest)
        return self.bytes_used

    def _compile_steps(self, length: int) -> int:
        arguments, named = self._train_shapes()
        return self._train[length].compile(*arguments, **named)

    def lower(self) -> jax.stages.Lowered:
        """The training program, ready to be compiled for the placement's devices.

        These need not be there: compiled for a description of them (``jax.experimental.
        topologies``), the program tells its memory and its communication.

        Returns:
          That of the longest batches.
        """
        arguments, named = self._train_shapes()
        return self._train[self.buckets[-1]].lower(*arguments, **named)

    def _of_one_length(
        self, order: Int[Array, "seeds steps batch"], start: int, stop: int
    ) -> Iterator[tuple[int, int, int]]:
        """Steps that follow each other and are cut to one length: it, first, last."""
        if len(self.buckets) == 1:
            yield self.buckets[0], start, stop
            return
        if self._needs[0] is not order:
            lengths = np.asarray(self.workload.train.lengths)
            needs = batching.longest_of_steps(lengths, self.placement.fetch(order))
            self._needs = order, needs
        buckets = np.searchsorted(self.buckets, self._needs[1][start:stop])
        ends = [*(np.flatnonzero(np.diff(buckets)) + 1), stop - start]
        for first, last in itertools.pairwise([0, *ends]):
            yield self.buckets[buckets[first]], start + first, start + int(last)

    def shapes(self) -> TrainState:
        """Shapes of a state, and where its arrays lie."""
        pretrained, keys = self.workload.pretrained, self._key_shapes()
        return self.placement.state(self._start.shapes(pretrained, keys, None, None))

    def keys(self, seeds: Sequence[Seed]) -> SeedKeys:
        """Keys of a group; places that are left over do what the first seed does."""
        padded = [*seeds, *[seeds[0]] * (self.group_size - len(seeds))]
        return self.placement.rows(seed_keys(padded))

    def start(
        self,
        keys: Key[Array, "seeds"],
        params: Params | None = None,
        opt_state: optax.OptState | None = None,
    ) -> TrainState:
        """State of a group before the stage's first step.

        Args:
          keys: keys of the initial parameters, shape (seeds,).
          params: all parameters after the stage before; by default the initial ones.
          opt_state: the optimizer's state after it, to go on with; by default it
            starts anew.

        Returns:
          The state.
        """
        return self._start(self.workload.pretrained, keys, params, opt_state)

    def whole(self, state: TrainState) -> Params:
        """All parameters, trained or not, with their leading seed axis.

        Where the stage trains everything they are the state's own, which the next step
        uses up.
        """
        if not self.stage.takes_apart:
            return state.params
        return self._join(state.params, state.frozen)

    def _key_shapes(self) -> Key[Array, "seeds"]:
        keys = jax.eval_shape(lambda: jax.random.split(root_key(0), self.group_size))
        return self.placement.rows(keys)

    def _train_shapes(self) -> tuple[tuple[object, ...], dict[str, Any]]:
        placement, keys = self.placement, self._key_shapes()
        log, order = placement.rows((self.new_log.shapes(), self.order.shapes(keys, 0)))
        data = placement.everywhere(jax.eval_shape(lambda: self.workload.train))
        numbers = placement.rows(jax.eval_shape(lambda: self.numbers))
        named = {"numbers": numbers, "data": data}
        return (self.shapes(), log, keys, order, 0, 0, 0), named

    def _wrap(
        self, optimizer: optax.GradientTransformation
    ) -> optax.GradientTransformation:
        """A recipe's optimizer for the stage, with a record of the norms if due."""
        if self._recorded_by is not None:
            # A clipping that leaves all components alone: it records norms only.
            components = layer_components(self.stage.first_layer)
            record = cwgnc_jax.clip_by_component_norm([(".*", None)], components)
            optimizer = optax.named_chain(
                (self._recorded_by, record), ("optimizer", optimizer)
            )
        return self.stage.freeze(optimizer)

    def _empty_log(self) -> TrainLog:
        def zeros(*shape: int) -> Array:
            return jnp.zeros((self.group_size, self.steps_per_epoch, *shape), "float32")

        log = TrainLog(zeros())
        if count := len(self.component_names):
            log = log._replace(norms=zeros(count), scales=zeros(count))
        return self.placement.rows(log)

    def _join_seeds(self, params: Params, frozen: Params) -> Params:
        return self.placement.state(self._over_seeds(self.stage.join, params, frozen))

    def _start_stage(
        self,
        pretrained: Params,
        keys: Key[Array, "seeds"],
        params: Params | None,
        opt_state: optax.OptState | None,
    ) -> TrainState:
        def start(
            key: Key[Array, ""], params: Params | None, opt_state: optax.OptState | None
        ) -> TrainState:
            initial = self.workload.init(pretrained, key)
            trainable, frozen = self.stage.split(initial if params is None else params)
            reference = (
                self.stage.split(initial).trainable if self._looks_back else None
            )
            optimizer = self._first_optimizer
            if opt_state is None:
                opt_state = optimizer.init(trainable)
            else:
                opt_state = cwgnc_jax.carry_opt_state(optimizer, trainable, opt_state)
            return TrainState(trainable, opt_state, reference, frozen)

        return self.placement.state(jax.vmap(start)(keys, params, opt_state))

    def _train_steps(
        self,
        length: int,
        state: TrainState,
        log: TrainLog,
        keys: Key[Array, "seeds"],
        order: Int[Array, "seeds steps batch"],
        epoch: Int[Array, ""] | int,
        start: Int[Array, ""] | int,
        stop: Int[Array, ""] | int,
        numbers: Numbers,
        data: Data,
    ) -> Carry:
        def step(
            at: Int[Array, ""], carry: tuple[TrainState, TrainLog, Params]
        ) -> tuple[TrainState, TrainLog, Params]:
            def write(rows: Array, row: Array) -> Array:
                return rows.at[:, at].set(row.astype(rows.dtype))

            state, log, low = carry
            rows = self.placement.batches(order[:, at])
            number = epoch * self.steps_per_epoch + at
            gradient = functools.partial(self._gradient, length)
            # The moments are no business of the loss.
            seen = state._replace(
                params=_with_rounded(state.params, low), opt_state=None
            )
            losses, gradients = self._over_seeds(
                gradient, seen, keys, rows, numbers, common=[data, number]
            )
            gradients = jax.tree.map(
                lambda gradient, leaf: gradient.astype(leaf.dtype),
                gradients,
                state.params,
            )
            gradients = self.placement.state(gradients)
            state = self._over_seeds(self._update, state, gradients, keys, numbers)
            state = self.placement.state(state)
            entry = TrainLog(losses)
            if self.component_names:
                clip = cwgnc_jax.get_clip_state(state.opt_state, self._recorded_by)
                entry = TrainLog(losses, clip.norms, clip.scales)
            log = self.placement.rows(jax.tree.map(write, log, entry))
            return state, log, self._rounded(state.params)

        # The bounds are arguments: one program serves any segment of an epoch. What is
        # rounded is carried, so that the update writes it and no other pass must.
        carry = state, log, self._rounded(state.params)
        state, log, _ = jax.lax.fori_loop(start, stop, step, carry)
        return self.placement.state(state), self.placement.rows(log)

    def _rounded(self, params: Params) -> Params:
        """The leaves that the forward pass rounds, rounded; None for the others."""
        if self._looks_back:
            # They are mixed with the initial ones first.
            return jax.tree.map(lambda leaf: None, params)
        return jax.tree.map(
            lambda leaf, low: None if low.dtype == leaf.dtype else low,
            params,
            self.workload.rounded(params),
        )

    def _gradient(
        self,
        length: int,
        data: Data,
        step: Int[Array, ""],
        state: TrainState,
        key: Key[Array, ""],
        rows: Int[Array, " batch"],
        numbers: Numbers,
    ) -> Gradients:
        """Of one seed: the mean loss of a batch's examples, and its gradient."""
        dropout_key, transform_key = jax.random.split(jax.random.fold_in(key, step))
        examples, parts = jnp.sum(rows >= 0), self.recipe.accumulate

        def of_part(rows: Int[Array, " part"], key: Key[Array, ""]) -> Gradients:
            batch = batching.take_batch(data, rows, length)
            # Weights of the whole batch sum up to 1, so that the parts' losses do to
            # the mean. What only fills up the last batch has the weight 0.
            batch = batch._replace(weights=batch.weights / examples)
            return jax.value_and_grad(self._loss)(
                state.params, state, batch, key, transform_key, numbers
            )

        if parts == 1:
            return of_part(rows, dropout_key)
        # Every n-th example: on several devices each has its share of every part.
        rows = rows.reshape(-1, parts).T

        def add(part: Int[Array, ""], sums: Gradients) -> Gradients:
            own = of_part(rows[part], jax.random.fold_in(dropout_key, part))
            return jax.tree.map(jnp.add, sums, own)

        shapes = jax.eval_shape(of_part, rows[0], dropout_key)
        # Summed up in float32 at least, whatever a part's are kept in.
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(
                leaf.shape, jnp.promote_types(leaf.dtype, "float32")
            ),
            shapes,
        )
        return jax.lax.fori_loop(0, parts, add, zeros)

    def _loss(
        self,
        params: Params,
        state: TrainState,
        batch: Batch,
        key: Key[Array, ""],
        transform_key: Key[Array, ""],
        numbers: Numbers,
    ) -> Float[Array, ""]:
        dropout_key = key
        if self.recipe.dropout:
            dropout_key = DropoutKey(key, jnp.asarray(numbers.dropout))
        if transform := self.recipe.make_transform(numbers):
            assert state.initial is not None  # kept wherever there is a transform
            params = transform(params, state.initial, transform_key)
        params = self.stage.join(params, state.frozen, whole=False)
        logits = self.workload.forward(params, batch, dropout_key)
        loss = self.workload.loss
        if self.recipe.label_smoothing:
            loss = dataclasses.replace(loss, label_smoothing=numbers.label_smoothing)
        losses = loss(logits, batch.labels)
        return jnp.sum(losses * batch.weights)

    def _update(
        self,
        state: TrainState,
        gradients: Params,
        key: Key[Array, ""],
        numbers: Numbers,
    ) -> TrainState:
        optimizer = self._wrap(
            self.recipe.make_optimizer(numbers, self.stage.first_layer)
        )
        extra = {}
        if self.recipe.child_tuning < 1:
            # No step, whose number the loss folds in, is that high; it counts its own.
            extra["key"] = jax.random.fold_in(
                key, np.uint32(2**32 - 1 - self.stage.index)
            )
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, state.params, **extra
        )
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, opt_state=opt_state)


def _with_rounded(params: Params, rounded: Params) -> Params:
    """The parameters with those in place that are rounded."""
    return jax.tree.map(lambda leaf, low: leaf if low is None else low, params, rounded)
