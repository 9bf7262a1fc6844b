"""The pace of the scripts' own training programs, and of what bounds it."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bert_glue.data.batching import padding_share
from bert_glue.model.config import EncoderConfig
from bert_glue.training.methods import METHODS
from bert_glue.training.subjects import Subject

KINDS = {"uniform": False, "like length": True}
"""Kinds of batches, and whether the recipe groups examples by length."""

# AdamW reads gradient, parameter and two moments and writes the last three; the norms
# take one more read of the gradient.
PASSES = 8
_TABLE_1 = ("devlin", "adamw", "mixout", "mosbach", "cwgnc")
_RUNS_EACH = 25


class Training:
    """Some seeds of a subject, that take a few steps whenever they are asked to."""

    def __init__(self, subject: Subject, trainer: Any, keys: Any, steps: int):
        self.trainer, self.keys = trainer, keys
        self.state = self.trainer.start(self.keys.init)
        self.log = self.trainer.new_log()
        self.order = self.trainer.order(self.keys.order, 0)
        self.padding = padding_share(
            np.asarray(subject.train.lengths),
            np.asarray(self.order),
            self.trainer.buckets,
        )
        self.steps = min(steps, self.trainer.steps_per_epoch)
        self.place = 0

    def turn(self) -> float:
        """Takes the next steps; their seconds."""
        if self.place + self.steps > self.trainer.steps_per_epoch:
            self.place = 0
        start, self.place = self.place, self.place + self.steps
        began = time.perf_counter()
        self.state, self.log = self.trainer.train(
            self.state, self.log, self.keys.noise, self.order, 0, start, self.place
        )
        jax.block_until_ready(self.log)
        return time.perf_counter() - began


def matrix_rate(dtype: Any, seconds: float = 0.5) -> float:
    """FLOP/s of a large matrix product in a dtype, the best of some."""
    size = 1024 if jax.devices()[0].platform == "cpu" else 8192
    # Not constant: cards run faster on numbers that are all alike.
    left = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a, b: a @ b)
    return _best(lambda: product(left, left), seconds, 2 * size**3)


def copy_rate(seconds: float = 0.5) -> float:
    """Bytes/s that are read and written when a large array is copied."""
    count = 1 << (26 if jax.devices()[0].platform == "cpu" else 29)
    array = jnp.ones(count, jnp.float32)
    copy = jax.jit(lambda a: a + 1)
    return _best(lambda: copy(array), seconds, 2 * 4 * count)


def _best(call: Callable[[], Any], seconds: float, amount: float) -> float:
    jax.block_until_ready(call())
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(call())
        best = min(best, time.perf_counter() - start)
    return amount / best


def flops_per_step(config: EncoderConfig, lengths: np.ndarray, batch: int) -> float:
    """Matrix work of a step on the real tokens alone, forward and backward."""
    hidden, wide = config.hidden_size, config.intermediate_size
    weights = config.num_hidden_layers * (4 * hidden**2 + 2 * hidden * wide)
    # Scores and weighted values: 2 products of (length, length) by the width.
    attention = config.num_hidden_layers * 2 * hidden * np.mean(lengths**2.0)
    forward = 2 * (weights * np.mean(lengths) + attention)
    return float(3 * batch * forward)


def hours_of_table_1(seconds: dict[str, float], examples: dict[str, int]) -> float:
    """Hours of 25 runs of each method on each task, at these seconds a step."""
    total = 0.0
    for task, per_step in seconds.items():
        for name in _TABLE_1:
            recipe = METHODS[name]
            seen = examples[task] * recipe.epochs
            # A step of another batch size takes time in proportion.
            total += per_step * seen / METHODS["cwgnc"].batch_size * _RUNS_EACH
    return total / 3600
