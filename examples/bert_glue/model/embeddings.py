"""Embeddings of tokens, of their positions and types, and of distances."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bert_glue.model import positions
from bert_glue.model.config import EncoderConfig
from bert_glue.model.dropout import Key, dropout
from bert_glue.model.modules import Hidden, Tokens, linear, norm


class Relative(NamedTuple):
    """Distances between tokens, for the scores.

    Attributes:
      embeddings: of all distances.
      rows: the row of the distance from each key to each query.
    """

    embeddings: Float[Array, "distances hidden"]
    rows: Int[Array, "length length"]


class Embeddings(nnx.Module):
    """Sum of word, position and token-type embeddings, normalised."""

    def __init__(self, config: EncoderConfig, *, dtype: Any, rngs: nnx.Rngs):
        def embed(count: int, width: int = config.width) -> nnx.Embed:
            return nnx.Embed(
                count,
                width,
                # Rows are gathered in float32 and rounded after: the whole table need
                # not be, and a frequent token's gradients are summed in float32, where
                # bfloat16 would stop at 256 equal ones.
                dtype=jnp.float32,
                embedding_init=nnx.initializers.normal(config.initializer_range),
                rngs=rngs,
            )

        self.word = embed(config.vocab_size)
        if config.position_biased_input:
            self.position = embed(config.max_position_embeddings)
        if config.type_vocab_size:
            self.token_type = embed(config.type_vocab_size)
        if config.norms_embeddings:
            width = config.hidden_size if config.projects_first else config.width
            self.norm = norm(config, dtype, rngs, width)
        if config.projects:
            bias = config.project_bias
            width = config.hidden_size
            self.project = linear(config.width, width, config, dtype, rngs, bias)
        # What all layers' scores take from distances.
        if buckets := config.relative_attention_num_buckets:
            self.relative = embed(buckets, config.num_attention_heads)
        if distances := config.relative_positions:
            self.relative = embed(2 * distances, config.hidden_size)
        if config.norms_relative:
            self.relative_norm = norm(config, dtype, rngs)
        self.config = config
        self.dtype = dtype

    def __call__(
        self, input_ids: Tokens, token_type_ids: Tokens, key: Key | None
    ) -> Hidden:
        """The embedded tokens; without a key nothing is dropped."""
        config = self.config
        total = self.word(input_ids)
        if config.position_biased_input:
            numbers = jnp.arange(input_ids.shape[1]) + config.position_offset
            total = total + self.position(numbers)
        if config.type_vocab_size:
            total = total + self.token_type(token_type_ids)
        hidden = total.astype(self.dtype)
        if config.projects_first and config.projects:
            hidden = self.project(hidden)
        if config.norms_embeddings:
            hidden = self.norm(hidden)
        if config.projects_first or not config.projects:
            return dropout(hidden, config.dropout("embeddings"), key)
        return self.project(dropout(hidden, config.dropout("embeddings"), key))

    def bias(self, length: int) -> Float[Array, "1 heads length length"]:
        """What is added to the scores for the distances between tokens."""
        buckets = self.config.relative_attention_num_buckets or 0
        rows = jnp.asarray(positions.bias_buckets(length, buckets))
        bias = self.relative(rows)
        return bias.transpose(2, 0, 1)[None]

    def distances(self, length: int) -> Relative:
        """Embeddings of the distances between tokens."""
        config = self.config
        table = self.relative.embedding[...].astype(self.dtype)
        if config.norms_relative:
            table = self.relative_norm(table)
        rows = positions.distance_rows(
            length, config.relative_positions, config.position_buckets, config.farthest
        )
        return Relative(table, jnp.asarray(rows))
