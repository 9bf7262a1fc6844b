"""Batches on the device: lengths to pad to, and gathering by index.

Padding costs as much as real tokens, and the lengths of a task's examples differ, so a
batch is cut to one of a few lengths (buckets) that the program is compiled for. Which
bucket it is has no part in the result: a token's dropout mask depends on its position
alone, and padding gets no attention.
"""

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

MULTIPLE = 8
"""Buckets of random batches are multiples of so many tokens."""

GROUPED_MULTIPLE, MOST_GROUPS = 2, 8
"""Where batches are of like length, buckets are finer and more: padding is then below
10% of the tokens that are computed, on each of RTE, MRPC and CoLA."""

AnyArray = Array | np.ndarray


class Data(NamedTuple):
    """The examples of a split, tokenised: arrays of JAX, or of NumPy at first.

    Attributes:
      input_ids: tokens, padded at the end, int32 of shape (examples, length).
      token_type_ids: 0 or 1 for the first or second text, int32, of that shape.
      lengths: number of real tokens, int32 of shape (examples,).
      labels: class, int32, or value, float32, of shape (examples,).
    """

    input_ids: Int[AnyArray, "examples length"]
    token_type_ids: Int[AnyArray, "examples length"]
    lengths: Int[AnyArray, " examples"]
    labels: Int[AnyArray, " examples"] | Float[AnyArray, " examples"]

    @property
    def width(self) -> int:
        """Number of tokens that all examples are padded to."""
        return self.input_ids.shape[1]


class Batch(NamedTuple):
    """Some examples, cut to a length.

    Attributes:
      input_ids: int32 of shape (batch, length).
      token_type_ids: int32 of shape (batch, length).
      attention_mask: 1 for real tokens, int32 of shape (batch, length).
      labels: of shape (batch,).
      weights: 1 for examples, 0 for those that only fill up the batch; float32 of
        shape (batch,).
    """

    input_ids: Int[Array, "batch length"]
    token_type_ids: Int[Array, "batch length"]
    attention_mask: Int[Array, "batch length"]
    labels: Array
    weights: Float[Array, " batch"]


def take_batch(data: Data, indices: Int[Array, " batch"], length: int) -> Batch:
    """Gathers a batch.

    Args:
      data: the examples.
      indices: which of them, int32 of shape (batch,); -1 for none.
      length: number of tokens to keep of each.

    Returns:
      The batch. Where the index is -1 it repeats the first example, with weight 0.
    """
    rows = jnp.maximum(indices, 0)
    positions = jnp.arange(length, dtype=jnp.int32)
    mask = positions[None, :] < data.lengths[rows][:, None]
    return Batch(
        jnp.asarray(data.input_ids)[rows, :length],
        jnp.asarray(data.token_type_ids)[rows, :length],
        mask.astype(jnp.int32),
        data.labels[rows],
        (indices >= 0).astype(jnp.float32),
    )


def longest_of_steps(
    lengths: NDArray[np.integer], order: NDArray[np.integer]
) -> NDArray[np.integer]:
    """Largest number of tokens among the examples of each step, in all seeds.

    All seeds are cut to one length: one program then serves them all, side by side.

    Args:
      lengths: numbers of tokens of the examples, shape (examples,).
      order: batches, shape (seeds, steps, batch), -1 for no example.

    Returns:
      Of shape (steps,).

    Examples:
      >>> longest_of_steps(np.array([3, 4, 8]), np.array([[[0, 1], [2, -1]]]))
      array([4, 8])
    """
    real = np.where(order >= 0, lengths[np.maximum(order, 0)], 0)
    return real.max(axis=(0, 2))


def round_up(length: int, limit: int, multiple: int = MULTIPLE) -> int:
    """The next bucket, but no longer than the limit."""
    return min(limit, math.ceil(max(length, 1) / multiple) * multiple)


def choose_buckets(
    needed: Sequence[int] | NDArray[np.integer],
    limit: int,
    *,
    most: int = 3,
    saving: float = 0.05,
    multiple: int = MULTIPLE,
) -> tuple[int, ...]:
    """The lengths to compile for, so that little padding is computed.

    Args:
      needed: lengths that batches need, as many as make a fair sample.
      limit: length of the padded data; the largest need is never above it.
      most: largest number of buckets.
      saving: share of the computed tokens that a further bucket must save, to be
        worth its compilation.
      multiple: buckets are multiples of it.

    Returns:
      Buckets in increasing order; the last fits every batch.

    Examples:
      >>> choose_buckets([9, 12, 15, 16, 14, 61], limit=128)
      (16, 64)
      >>> choose_buckets([9, 12, 15, 16, 14, 61], limit=128, most=1)
      (64,)
    """
    rounded = [round_up(int(length), limit, multiple) for length in needed]
    candidates, counts = np.unique(rounded, return_counts=True)
    sizes, fits = candidates.tolist(), np.cumsum(counts).tolist()
    # For each candidate the fewest tokens, and the buckets, of all batches that fit it:
    # with one bucket, and below with one more each time.
    best = {i: (size * fits[i], (size,)) for i, size in enumerate(sizes)}
    tokens, chosen = best[len(sizes) - 1]
    for count in range(1, min(most, len(sizes))):
        best = {
            i: min(
                (
                    (below + sizes[i] * (fits[i] - fits[j]), (*buckets, sizes[i]))
                    for j, (below, buckets) in best.items()
                    if j < i
                ),
                key=operator.itemgetter(0),
            )
            for i in range(count, len(sizes))
        }
        fewer, buckets = best[len(sizes) - 1]
        if fewer <= (1 - saving) * tokens:
            tokens, chosen = fewer, buckets
    return chosen


def sample_needs(lengths: NDArray[np.integer], rows: int) -> NDArray[np.integer]:
    """Lengths that random batches need: the longest of ``rows`` examples.

    Args:
      lengths: numbers of tokens of the examples.
      rows: examples that are computed together, in all seeds of a group.

    Returns:
      Lengths, shape (2000,), the longest of all examples among them.
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(lengths), size=(2000, min(rows, len(lengths))))
    needs = lengths[drawn].max(axis=1)
    needs[-1] = lengths.max()
    return needs


def choose_groups(lengths: NDArray[np.integer], limit: int) -> tuple[int, ...]:
    """The lengths to compile for where batches are of examples of like length.

    Args:
      lengths: numbers of tokens of the examples, shape (examples,).
      limit: length of the padded data.

    Returns:
      Buckets in increasing order; examples of one bucket make up a batch.
    """
    return choose_buckets(
        lengths, limit, most=MOST_GROUPS, saving=0.02, multiple=GROUPED_MULTIPLE
    )


def padding_share(
    lengths: NDArray[np.integer],
    order: NDArray[np.integer],
    buckets: Sequence[int],
) -> float:
    """Share of the tokens of some batches that are computed for nothing.

    Args:
      lengths: numbers of tokens of the examples, shape (examples,).
      order: batches, shape (seeds, steps, batch), -1 for no example; all seeds of a
        step are cut to one length.
      buckets: the lengths that batches are cut to, increasing.

    Returns:
      The share, from 0 to 1.

    Examples:
      >>> order = np.array([[[0, 1], [2, -1]]])
      >>> padding_share(np.array([3, 4, 8]), order, buckets=(4, 8))
      0.375
    """
    real = lengths[order[order >= 0]]
    needs = longest_of_steps(lengths, order)
    cut = np.asarray(buckets)[np.searchsorted(buckets, needs)]
    seeds, _, batch = order.shape
    return float(1 - real.sum() / (cut.sum() * seeds * batch))
