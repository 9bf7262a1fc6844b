"""The training and evaluation of a group of seeds, as compiled programs.

The parameters and the optimizer's state of all seeds of a group have a leading seed
axis. A loop that is compiled once takes any number of steps; the data lie on the
devices, and nothing but losses, norms and logits comes back.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

import cwgnc_jax
from bert_glue.data import batching
from bert_glue.data.batching import Batch, Data
from bert_glue.devices import memory
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.model.bert import layer_components
from bert_glue.training.evaluation import Evaluator, over_seeds
from bert_glue.training.norms import watch_component_norms
from bert_glue.training.order import epoch_order
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed, SeedKeys, root_key, seed_keys
from bert_glue.training.stages import Stage
from bert_glue.training.state import Params, TrainLog, TrainState, Workload


class Trainer:
    """Compiled programs for groups of seeds in a stage of training by one recipe.

    Args:
      workload: what is trained on what.
      recipe: the method and its settings.
      group_size: number of seeds side by side.
      buckets: lengths that training batches are cut to, increasing. Where the recipe
        groups by length, examples of one bucket make up a batch.
      stage: what is trained; by default everything, in a single stage.
      recording: whether to log norms and scales of the gradient's components. Where
        the optimizer does not clip by component they are taken before it.
      evaluator: the compiled evaluation of another stage's trainer, to share.
      placement: where the group lies, and the workload with it.

    Raises:
      ValueError: if the last bucket does not fit the data.

    Attributes:
      evaluate: computes the logits of the evaluation examples.
      buckets: lengths that training batches are cut to.
      steps_per_epoch: batches in an epoch, the last one perhaps not full.
      steps: all steps of the stage.
      component_names: what the log's norms are of; empty if it has none.
      bytes_used: what :meth:`compile` returned; 0 before.
    """

    def __init__(
        self,
        workload: Workload,
        recipe: Recipe,
        group_size: int,
        *,
        buckets: tuple[int, ...],
        stage: Stage | None = None,
        recording: bool = False,
        evaluator: Evaluator | None = None,
        placement: Placement = SINGLE,
    ) -> None:
        self.workload = workload
        self.recipe = recipe
        self.group_size = group_size
        self.placement = placement
        self.stage = Stage() if stage is None else stage
        self.examples = len(workload.train.lengths)
        self.steps_per_epoch = math.ceil(self.examples / recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        longest, width = int(jnp.max(workload.train.lengths)), workload.train.width
        if not longest <= buckets[-1] <= width:
            raise ValueError(
                f"buckets are {buckets}; the last one must hold the longest example, "
                f"of {longest} tokens, and not exceed the {width} that there are"
            )
        self.buckets = buckets
        self._transform = recipe.make_transform()
        # An optimizer that goes on from stage to stage has one schedule for all.
        stages = self.stage.count if recipe.carry_optimizer else 1
        self._optimizer = recipe.make_optimizer(
            stages * self.steps, self.stage.first_layer
        )
        self.component_names: tuple[str, ...] = ()
        self.bytes_used = 0
        if recording:
            self._record_norms()
        self.evaluate = evaluator or Evaluator(
            workload.forward, workload.evaluation, placement=placement
        )
        self._start: Callable[..., Any] = jax.jit(self._start_stage)
        groups = None
        if recipe.group_by_length:
            groups = np.searchsorted(buckets, np.asarray(workload.train.lengths))
        self._order: Callable[..., Any] = jax.jit(
            functools.partial(
                epoch_order,
                examples=self.examples,
                batch_size=recipe.batch_size,
                groups=groups,
            )
        )
        self._train: Callable[..., Any] = jax.jit(
            self._train_steps, donate_argnums=(0, 1)
        )
        self._whole: Callable[..., Any] = jax.jit(
            lambda params, frozen: placement.state(
                over_seeds(self.stage.join, params, frozen)
            )
        )
        self._new_log: Callable[[], TrainLog] = jax.jit(self._make_log)

    def compile(self) -> int:
        """Compiles the programs, so that no time of a run goes into that.

        Returns:
          Bytes of each device's memory that training and evaluation take, the data
          included; 0 where the compiler does not say.
        """
        place, pretrained = self.placement, self.workload.pretrained
        keys, state = self._key_shapes(), self.shapes()
        self._train = self.lower().compile()
        if self.stage.number == 0:
            start = jax.jit(self._start_stage).lower(pretrained, keys, None, None)
            self._start = start.compile()
        self._order = jax.jit(self._order).lower(keys, 0).compile()
        params = place.state(jax.eval_shape(self._whole, state.params, state.frozen))
        # While it evaluates, the rest of the state is there as well.
        rest = max(0, memory.tree_bytes(state) - memory.tree_bytes(params))
        evaluation = self.evaluate.compile(params)
        self.bytes_used = max(memory.program_bytes(self._train), evaluation + rest)
        return self.bytes_used

    def lower(self) -> jax.stages.Lowered:
        """The training program, ready to be compiled for the placement's devices.

        These need not be there: compiled for a description of them (``jax.experimental.
        topologies``), the program tells its memory and its communication.
        """
        place, keys = self.placement, self._key_shapes()
        log = place.rows(jax.eval_shape(self._make_log))
        order = place.rows(jax.eval_shape(self._order, keys, 0))
        data = place.everywhere(jax.eval_shape(lambda: self.workload.train))
        program = jax.jit(self._train_steps, donate_argnums=(0, 1))
        return program.lower(self.shapes(), log, keys, order, 0, 0, 0, data)

    def shapes(self) -> TrainState:
        """Shapes of a state, and where its arrays lie."""
        pretrained, keys = self.workload.pretrained, self._key_shapes()
        state = jax.eval_shape(self._start_stage, pretrained, keys, None, None)
        return self.placement.state(state)

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
        """All parameters, trained or not, with their leading seed axis."""
        if self.stage.groups is None:
            return state.params
        return self._whole(state.params, state.frozen)

    def order(
        self, keys: Key[Array, "seeds"], epoch: int
    ) -> Int[Array, "seeds steps batch"]:
        """Batches of an epoch, as :func:`seeds.epoch_order` gives them."""
        return self._order(keys, epoch)

    def keys(self, seeds: Sequence[Seed]) -> SeedKeys:
        """Keys of a group; places that are left over do what the first seed does."""
        padded = [*seeds, *[seeds[0]] * (self.group_size - len(seeds))]
        return self.placement.rows(seed_keys(padded))

    def new_log(self) -> TrainLog:
        """An empty log of an epoch, for :meth:`train`."""
        return self._new_log()

    def train(
        self,
        state: TrainState,
        log: TrainLog,
        keys: Key[Array, "seeds"],
        order: Int[Array, "seeds steps batch"],
        epoch: int,
        start: int,
        stop: int,
    ) -> tuple[TrainState, TrainLog]:
        """Takes some steps of an epoch; the state and the log given are used up.

        Args:
          state: the group's state.
          log: log of the epoch's steps, filled in up to ``start``.
          keys: keys of the noise, shape (seeds,).
          order: the epoch's batches, from :meth:`order`.
          epoch: number of the epoch, from 0, that the noise depends on.
          start: first step to take, counted within the epoch.
          stop: where to stop, exclusive.

        Returns:
          The new state, and the log filled in up to ``stop``.
        """
        first = epoch * self.steps_per_epoch
        return self._train(
            state, log, keys, order, first, start, stop, self.workload.train
        )

    def _key_shapes(self) -> Any:
        keys = jax.eval_shape(lambda: jax.random.split(root_key(0), self.group_size))
        return self.placement.rows(keys)

    def _make_log(self) -> TrainLog:
        shape = (self.group_size, self.steps_per_epoch)
        norms = scales = None
        if self.component_names:
            norms, scales = (
                jnp.full((*shape, len(self.component_names)), value, jnp.float32)
                for value in (0, 1)
            )
        log = TrainLog(jnp.zeros(shape, jnp.float32), norms, scales)
        return self.placement.rows(log)

    def _record_norms(self) -> None:
        components = layer_components(self.stage.first_layer)
        shapes = jax.eval_shape(
            lambda key: (
                self.stage.split(
                    self.workload.init(self.workload.pretrained, key)
                ).trainable
            ),
            root_key(0),
        )
        try:
            cwgnc_jax.get_clip_state(jax.eval_shape(self._optimizer.init, shapes))
        except ValueError:
            self._optimizer = optax.chain(
                watch_component_norms(components), self._optimizer
            )
        self.component_names = cwgnc_jax.component_names(shapes, components)

    def _start_stage(
        self,
        pretrained: Params,
        keys: Key[Array, "seeds"],
        params: Params | None,
        opt_state: optax.OptState | None,
    ) -> TrainState:
        def one(key: Key[Array, ""], params: Params, opt_state: Any) -> TrainState:
            initial = self.workload.init(pretrained, key)
            now, frozen = self.stage.split(initial if params is None else params)
            before = None if self._transform is None else self.stage.split(initial)[0]
            if opt_state is None:
                opt_state = self._optimizer.init(now)
            else:
                opt_state = cwgnc_jax.carry_opt_state(self._optimizer, now, opt_state)
            return TrainState(now, opt_state, before, frozen)

        return self.placement.state(jax.vmap(one)(keys, params, opt_state))

    def _train_steps(
        self,
        state: TrainState,
        log: TrainLog,
        keys: Key[Array, "seeds"],
        order: Int[Array, "seeds steps batch"],
        first: Int[Array, ""],
        start: Int[Array, ""],
        stop: Int[Array, ""],
        data: Data,
    ) -> tuple[TrainState, TrainLog]:
        # The bounds are arguments: one program serves any stretch of an epoch.
        def body(
            step: Int[Array, ""], carry: tuple[TrainState, TrainLog]
        ) -> tuple[TrainState, TrainLog]:
            state, log = carry
            indices = self.placement.batches(order[:, step])
            loss, gradients = self._gradients(state, keys, first + step, indices, data)
            gradients = self.placement.state(gradients)
            state = self.placement.state(over_seeds(self._update, state, gradients))
            entry = TrainLog(loss, None, None)
            if self.component_names:
                clip = cwgnc_jax.get_clip_state(state.opt_state)
                entry = TrainLog(loss, clip.norms, clip.scales)
            log = jax.tree.map(
                lambda rows, row: rows.at[:, step].set(row.astype(rows.dtype)),
                log,
                entry,
            )
            return state, self.placement.rows(log)

        state, log = jax.lax.fori_loop(start, stop, body, (state, log))
        return self.placement.state(state), self.placement.rows(log)

    def _gradients(
        self,
        state: TrainState,
        keys: Key[Array, "seeds"],
        step: Int[Array, ""],
        indices: Int[Array, "seeds batch"],
        data: Data,
    ) -> tuple[Float[Array, " seeds"], Params]:
        def at_length(length: int) -> Callable[[], tuple[Array, Params]]:
            def one(
                state: TrainState, key: Key[Array, ""], indices: Array
            ) -> tuple[Array, Params]:
                batch = batching.take_batch(data, indices, length)
                key = jax.random.fold_in(key, step)
                return jax.value_and_grad(self._loss)(state.params, state, batch, key)

            seen = state._replace(opt_state=None)
            return lambda: over_seeds(one, seen, keys, indices)

        # All seeds are cut to one length, so that the choice stays a branch.
        longest = batching.longest(data, indices)
        bucket = jnp.searchsorted(jnp.asarray(self.buckets), longest)
        return jax.lax.switch(bucket, [at_length(length) for length in self.buckets])

    def _loss(
        self, params: Params, state: TrainState, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        dropout_key, transform_key = jax.random.split(key)
        if self._transform is not None:
            params = self._transform(params, state.initial, transform_key)
        params = self.stage.join_cut(params, state.frozen)
        logits = self.workload.forward(params, batch, dropout_key)
        if self.workload.regression:
            each = jnp.square(logits[:, 0] - batch.labels)
        else:
            each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.sum(each * batch.weights) / jnp.sum(batch.weights)

    def _update(self, state: TrainState, gradients: Params) -> TrainState:
        updates, opt_state = self._optimizer.update(
            gradients, state.opt_state, state.params
        )
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, opt_state=opt_state)
