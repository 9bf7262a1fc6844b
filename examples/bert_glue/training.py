"""The training and evaluation of a group of seeds, as compiled programs.

The parameters and the optimizer's state of all seeds of a group have a leading seed
axis. A loop that is compiled once takes any number of steps; the data lie on the
device, and nothing but losses and logits comes back.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from bert_glue import batching
from bert_glue.batching import Batch, Data
from bert_glue.evaluation import Evaluator, Forward, Params, over_seeds
from bert_glue.methods import Recipe
from bert_glue.seeds import epoch_order

Init = Callable[[Params, Key[Array, ""]], Params]


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is trained on what, whatever the method.

    Attributes:
        forward: logits of a batch, float32 of shape (batch, labels), from parameters,
            batch and the key of dropout (None for none).
        init: a seed's initial parameters from the pretrained ones and its key.
        pretrained: the checkpoint's parameters.
        train: examples to learn from, on the device.
        evaluation: examples to be scored on, on the device.
        regression: whether labels are values rather than classes.
    """

    forward: Forward
    init: Init
    pretrained: Params
    train: Data
    evaluation: Data
    regression: bool = False


class TrainState(NamedTuple):
    """State of a group; every array has a leading seed axis.

    Attributes:
        params: the parameters.
        opt_state: the optimizer's state.
        initial: the initial parameters, for methods that look back to them, else None.
    """

    params: Params
    opt_state: optax.OptState
    initial: Params | None


class Trainer:
    """Compiled programs for groups of seeds that are trained by one recipe.

    Args:
        workload: what is trained on what.
        recipe: the method and its settings.
        group_size: number of seeds side by side.
        buckets: lengths that training batches are cut to, increasing.

    Raises:
        ValueError: if the last bucket does not fit the data.

    Attributes:
        evaluate: computes the logits of the evaluation examples.
        steps_per_epoch: batches in an epoch, the last one perhaps not full.
        steps: all steps of a run.
    """

    def __init__(
        self,
        workload: Workload,
        recipe: Recipe,
        group_size: int,
        *,
        buckets: tuple[int, ...],
    ) -> None:
        self.workload = workload
        self.recipe = recipe
        self.group_size = group_size
        self.examples = len(workload.train.lengths)
        self.steps_per_epoch = math.ceil(self.examples / recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        longest, width = int(jnp.max(workload.train.lengths)), workload.train.width
        if not longest <= buckets[-1] <= width:
            raise ValueError(
                f"buckets are {buckets}; the last one must hold the longest example, "
                f"of {longest} tokens, and not exceed the {width} that there are"
            )
        self._buckets = buckets
        self._optimizer = recipe.make_optimizer(self.steps)
        self.evaluate = Evaluator(workload.forward, workload.evaluation)
        self._initialise: Callable[..., Any] = jax.jit(self._init)
        self._order: Callable[..., Any] = jax.jit(
            functools.partial(
                epoch_order, examples=self.examples, batch_size=recipe.batch_size
            )
        )
        self._train: Callable[..., Any] = jax.jit(
            self._train_steps, donate_argnums=(0, 1)
        )

    def compile(self) -> int:
        """Compiles the programs, so that no time of a run goes into that.

        Returns:
            Bytes of device memory that training takes, the data included; 0 where the
            compiler does not say.
        """
        pretrained = self.workload.pretrained
        keys = jax.random.split(jax.random.key(0), self.group_size)
        state = jax.eval_shape(self._initialise, pretrained, keys)
        order = jax.eval_shape(self._order, keys, 0)
        train = jax.jit(self._train_steps, donate_argnums=(0, 1)).lower(
            state, self.new_losses(), keys, order, 0, 0, 0, self.workload.train
        )
        self._train = train.compile()
        self._initialise = jax.jit(self._init).lower(pretrained, keys).compile()
        self._order = jax.jit(self._order).lower(keys, 0).compile()
        self.evaluate.compile(state.params)
        memory = self._train.memory_analysis()
        if memory is None:
            return 0
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.temp_size_in_bytes
        )

    def init(self, keys: Key[Array, "seeds"]) -> TrainState:
        """State of a group before its first step.

        Args:
            keys: keys of the initial parameters, shape (seeds,).

        Returns:
            The state.
        """
        return self._initialise(self.workload.pretrained, keys)

    def order(
        self, keys: Key[Array, "seeds"], epoch: int
    ) -> Int[Array, "seeds steps batch"]:
        """Batches of an epoch, as :func:`seeds.epoch_order` gives them."""
        return self._order(keys, epoch)

    def new_losses(self) -> Float[Array, "seeds steps"]:
        """An empty record of an epoch's losses, for :meth:`train`."""
        return jnp.zeros((self.group_size, self.steps_per_epoch), jnp.float32)

    def train(
        self,
        state: TrainState,
        losses: Float[Array, "seeds steps"],
        keys: Key[Array, "seeds"],
        order: Int[Array, "seeds steps batch"],
        epoch: int,
        start: int,
        stop: int,
    ) -> tuple[TrainState, Float[Array, "seeds steps"]]:
        """Takes some steps of an epoch; the state and the losses given are used up.

        Args:
            state: the group's state.
            losses: losses of the epoch's steps, filled in up to ``start``.
            keys: keys of the noise, shape (seeds,).
            order: the epoch's batches, from :meth:`order`.
            epoch: number of the epoch, from 0.
            start: first step to take, counted within the epoch.
            stop: where to stop, exclusive.

        Returns:
            The new state, and the losses filled in up to ``stop``.
        """
        first = epoch * self.steps_per_epoch
        return self._train(
            state, losses, keys, order, first, start, stop, self.workload.train
        )

    def _init(self, pretrained: Params, keys: Key[Array, "seeds"]) -> TrainState:
        def one(key: Key[Array, ""]) -> TrainState:
            params = self.workload.init(pretrained, key)
            initial = None if self.recipe.transform is None else params
            return TrainState(params, self._optimizer.init(params), initial)

        return jax.vmap(one)(keys)

    def _train_steps(
        self,
        state: TrainState,
        losses: Float[Array, "seeds steps"],
        keys: Key[Array, "seeds"],
        order: Int[Array, "seeds steps batch"],
        first: Int[Array, ""],
        start: Int[Array, ""],
        stop: Int[Array, ""],
        data: Data,
    ) -> tuple[TrainState, Float[Array, "seeds steps"]]:
        # The bounds are arguments: one program serves any stretch of an epoch.
        def body(
            step: Int[Array, ""], carry: tuple[TrainState, Float[Array, "seeds steps"]]
        ) -> tuple[TrainState, Float[Array, "seeds steps"]]:
            state, losses = carry
            indices = order[:, step]
            loss, gradients = self._gradients(state, keys, first + step, indices, data)
            state = over_seeds(self._update, state, gradients)
            return state, losses.at[:, step].set(loss)

        return jax.lax.fori_loop(start, stop, body, (state, losses))

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
                params: Params, initial: Params, key: Key[Array, ""], indices: Array
            ) -> tuple[Array, Params]:
                batch = batching.take_batch(data, indices, length)
                key = jax.random.fold_in(key, step)
                return jax.value_and_grad(self._loss)(params, initial, batch, key)

            return lambda: over_seeds(one, state.params, state.initial, keys, indices)

        # All seeds are cut to one length, so that the choice stays a branch.
        longest = batching.longest(data, indices)
        bucket = jnp.searchsorted(jnp.asarray(self._buckets), longest)
        return jax.lax.switch(bucket, [at_length(length) for length in self._buckets])

    def _loss(
        self, params: Params, initial: Params, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        dropout_key, transform_key = jax.random.split(key)
        if self.recipe.transform is not None:
            params = self.recipe.transform(params, initial, transform_key)
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
        return TrainState(params, opt_state, state.initial)
