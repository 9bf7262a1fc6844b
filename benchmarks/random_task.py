"""A task of random tokens that is as long as a real one, and a model to learn it.

Speed depends on the lengths of a task's examples, not on its words: so that it can be
measured where there are neither data nor checkpoint, the lengths are drawn from those
of the real examples, by their quantiles.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bert_glue.data.batching import Data
from bert_glue.data.tasks import TASKS
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import initial_params
from bert_glue.training.subjects import Subject

SHAPES = {
    "tiny": EncoderConfig(
        vocab_size=500,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    ),
    "minilm": EncoderConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    ),
    "bert-base": EncoderConfig(),
    "bert-large": EncoderConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    ),
}
"""Sizes of models."""


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Tokens of a task's training examples, cut to 128, by BERT's uncased vocabulary.

    Attributes:
      examples: their number.
      quantiles: of their lengths, from the least to the largest in equal steps.
    """

    examples: int
    quantiles: tuple[int, ...]

    def draw(self, examples: int | None = None) -> np.ndarray:
        """Lengths of so many examples, int32, in random order."""
        count = examples or self.examples
        shares = np.linspace(0, 1, len(self.quantiles))
        drawn = np.interp(np.linspace(0, 1, count), shares, self.quantiles)
        return np.random.default_rng(0).permutation(drawn.round().astype(np.int32))


def _lengths(examples: int, quantiles: str) -> Lengths:
    return Lengths(examples, tuple(map(int, quantiles.split())))


# In steps of a twentieth.
TASK_LENGTHS = {
    "rte": _lengths(
        2490,
        "13 29 33 37 40 43 45 47 50 53 56 59 62 67 72 85 103 120 128 128 128",
    ),
    "mrpc": _lengths(
        3668,
        "19 32 36 39 41 44 45 47 50 51 53 55 57 59 61 62 64 67 70 74 103",
    ),
    "cola": _lengths(
        8551,
        "4 6 7 8 8 9 9 9 10 10 10 11 11 12 12 13 14 15 17 20 47",
    ),
}


def data(
    task: str, vocabulary: int, examples: int | None = None, shorter: int = 1
) -> Data:
    """Random tokens and labels.

    Args:
      task: whose lengths they have.
      vocabulary: number of tokens.
      examples: how many; as many as the task has by default.
      shorter: how many times shorter than the task's they are.

    Returns:
      The examples, on the device.
    """
    lengths = -(-TASK_LENGTHS[task].draw(examples) // shorter)
    rng = np.random.default_rng(1)
    shape = len(lengths), int(lengths.max())
    tokens = rng.integers(1, vocabulary, shape, dtype=np.int32)
    second = np.arange(shape[1]) >= lengths[:, None] // 2
    labels = rng.integers(2, size=len(lengths), dtype=np.int32)
    return Data(*map(jnp.asarray, (tokens, second.astype(np.int32), lengths, labels)))


def subject(shape: str, task: str, dtype: str, **settings: Any) -> Subject:
    """A model with random weights, and random examples of a task's lengths.

    Args:
      shape: a key of :data:`SHAPES`.
      task: a key of :data:`TASK_LENGTHS`.
      dtype: what is computed in.
      **settings: other fields of the subject.

    Returns:
      The subject.
    """
    config = SHAPES[shape]
    small = (128, 4) if shape == "tiny" else ()
    train = data(task, config.vocab_size, *small)
    params = jax.jit(functools.partial(initial_params, config, 2))(jax.random.key(0))
    given: dict[str, Any] = {
        "task": TASKS[task],
        "config": config,
        "folder": pathlib.Path(),
        "pretrained": {name: params[name] for name in ("embeddings", "encoder")},
        "fresh": ("pooler", "classifier"),
        "train": train,
        "evaluation": jax.tree.map(lambda leaf: leaf[:16], train),
        "max_length": train.width,
        "dtype": dtype,
        "majority_score": 50.0,
        "constant_score": 50.0,
        "model_fingerprint": "",
        "data_fingerprint": "",
    }
    return Subject(**given | settings)
