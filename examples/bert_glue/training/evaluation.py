"""Logits of all examples of a split, for a group of seeds, as a compiled program."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Key
from numpy.typing import NDArray

from bert_glue.data import batching
from bert_glue.data.batching import Batch, Data
from bert_glue.devices.mesh import SEED, SINGLE, Placement
from bert_glue.model.dropout import DropoutKey
from bert_glue.training.program import Program

Params = Any
Tree = TypeVar("Tree")
Forward = Callable[
    [Params, Batch, Key[Array, ""] | DropoutKey | None], Float[Array, "batch labels"]
]
"""Logits of a batch from parameters, batch and the key of dropout (None for none)."""

_BATCH_SIZE = 32


@dataclasses.dataclass(eq=False, repr=False)
class Evaluator:
    """Computes logits; dropout is off.

    The order of the examples does not matter here, so that batches are made of
    examples of like length.

    Args:
      forward: the model.
      data: the examples.
      placement: where parameters and data lie.
    """

    forward: Forward
    data: Data
    placement: Placement = SINGLE

    def __post_init__(self) -> None:
        self._batches = sort_batches(self.data, _BATCH_SIZE, self.placement.parts)
        self._logits = Program(self._evaluate)

    def compile(self, params: Params) -> int:
        """Compiles the program, unless that was done for parameters of these shapes.

        Args:
          params: parameters or their shapes, with a leading seed axis.

        Returns:
          Bytes of each device's memory that it takes; 0 where the compiler does not
          say.
        """
        return self._logits.compile(params, self.data)

    def __call__(self, params: Params) -> NDArray[np.float32]:
        """Computes logits.

        Args:
          params: parameters, with a leading seed axis.

        Returns:
          Logits of shape (seeds, examples, labels), in the order of the data.
        """
        if self._logits.compiled is None:
            self.compile(params)
        return self.placement.fetch(self._logits(params, self.data))

    def _evaluate(
        self, params: Params, data: Data
    ) -> Float[Array, "seeds examples labels"]:
        logits = []
        for length, indices in self._batches.by_length:

            def score(indices: Array, length: int = length) -> Array:
                indices = self.placement.examples(indices)
                batch = batching.take_batch(data, indices, length)
                return over_seeds(
                    lambda batch, seed: self.forward(seed, batch, None),
                    params,
                    common=[batch],
                    placement=self.placement,
                )

            batches = jax.lax.map(score, jnp.asarray(indices))
            # (batches, seeds, batch, labels) to (seeds, examples, labels)
            batches = jnp.moveaxis(batches, 0, 1)
            logits.append(batches.reshape(len(batches), -1, batches.shape[-1]))
        return jnp.concatenate(logits, axis=1)[:, self._batches.positions]


class SortedBatches(NamedTuple):
    """Batches of examples of like length.

    Attributes:
      by_length: for each bucket its length, and the indices of the examples of its
        batches, int32 of shape (batches, batch), -1 for none.
      positions: where each example is among all of these, shape (examples,).
    """

    by_length: list[tuple[int, NDArray[np.int32]]]
    positions: NDArray[np.int64]


def sort_batches(data: Data, batch_size: int, parts: int = 1) -> SortedBatches:
    """Batches for a pass whose order does not matter.

    Args:
      data: the examples.
      batch_size: examples in a batch.
      parts: number of equal parts that a batch must have.

    Returns:
      The batches; all examples are in one.
    """
    lengths = np.asarray(data.lengths)
    batch_size = -(-min(batch_size, len(lengths)) // parts) * parts
    order = np.argsort(lengths, kind="stable").astype(np.int32)
    # What fills up the first batch costs least there, among the short ones.
    filler = np.full(-len(order) % batch_size, -1, np.int32)
    order = np.concatenate([filler, order])
    batches = order.reshape(-1, batch_size)
    needs = lengths[batches[:, -1]]
    buckets = batching.choose_buckets(needs, data.width)
    bucket_of = np.searchsorted(buckets, needs)
    by_length = [(n, batches[bucket_of == at]) for at, n in enumerate(buckets)]
    positions = np.empty(len(lengths), np.int64)
    real = np.flatnonzero(order >= 0)
    positions[order[real]] = real
    return SortedBatches(by_length, positions)


def over_seeds(
    function: Callable[..., Tree],
    *arguments: Any,
    common: Sequence[Any] = (),
    placement: Placement = SINGLE,
) -> Tree:
    """Maps over the leading seed axis of all arguments; one seed pays no vmap.

    Args:
      function: what to do for one seed.
      *arguments: pytrees of arrays, each with a leading seed axis.
      common: the function's first arguments, without that axis: all seeds have them.
      placement: where they lie. Where no seed lies on several devices, each device
        runs a program of its own seeds.

    Returns:
      The function's results, stacked on a leading seed axis.
    """
    if placement.has_whole_seeds:

        def own(common: Sequence[Any], arguments: Sequence[Any]) -> Tree:
            return over_seeds(function, *arguments, common=common)

        seeds = PartitionSpec(SEED)
        run = jax.shard_map(
            own,
            mesh=placement.mesh,
            in_specs=(PartitionSpec(), seeds),
            out_specs=seeds,
            check_vma=False,
        )
        return run(common, arguments)
    if jax.tree.leaves(arguments)[0].shape[0] > 1:
        return jax.vmap(functools.partial(function, *common))(*arguments)
    result = function(*common, *jax.tree.map(lambda leaf: leaf[0], arguments))
    return jax.tree.map(lambda leaf: leaf[None], result)
