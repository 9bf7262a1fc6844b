"""A transformer layer: attention and a feed-forward part."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from bert_glue.model import positions
from bert_glue.model.config import ACTIVATIONS, EncoderConfig
from bert_glue.model.dropout import Key, dropout, fold
from bert_glue.model.embeddings import Relative
from bert_glue.model.modules import Hidden, linear, norm

ATTENTION = ("own", "xla", "cudnn")
"""What computes attention whose weights are not dropped: this module, or
``jax.nn.dot_product_attention`` by its implementation of that name (``cudnn``, of GPUs,
in bfloat16). Dropped weights, and scores that depend on embeddings of distances, are
this module's in any case."""

# Where a layer drops out. A key is folded with the layer's number and the site's, not
# split: a mask then depends on neither the number of sites nor on how the layers are
# stacked.
_ATTENTION, _ATTENTION_OUTPUT, _FEED_FORWARD_OUTPUT, _FEED_FORWARD, _RELATIVE = range(5)
_SITES = 5


class Sight(NamedTuple):
    """What the tokens of a batch see of each other, in layers of one type.

    Attributes:
      mask: is added to the scores of queries and keys.
      rotary: cosines and sines of the positions' angles; None if they are not turned.
    """

    mask: Float[Array, "batch #heads #length length"]
    rotary: positions.Rotary | None


class Context(NamedTuple):
    """What layers need beside hidden states.

    Attributes:
      sights: of layers with full attention, and of those with sliding attention if
        there are such.
      slides: for each layer whether it is one of the second; None if none is.
      relative: None if scores do not depend on embeddings of distances.
    """

    sights: tuple[Sight, ...]
    slides: Array | None
    relative: Relative | None

    def sight(self, layer: Int[Array, ""]) -> Sight:
        """That of a layer."""
        if self.slides is None:
            return self.sights[0]
        slides = self.slides[layer]
        return jax.tree.map(
            lambda full, sliding: jnp.where(slides, sliding, full), *self.sights
        )


class Layer(nnx.Module):
    """One transformer layer: attention and a feed-forward part, each with a residual.

    They are normalised after the residual sum, or before it what comes in.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        dtype: Any,
        attention: str,
        dropout_bits: int,
        flat: bool,
        rngs: nnx.Rngs,
    ):
        hidden, wide = config.hidden_size, config.intermediate_size
        queries = config.num_attention_heads * config.head_size
        keys = config.key_value_heads * config.head_size

        def product(inputs: int, outputs: int, bias: bool) -> nnx.Linear:
            return linear(inputs, outputs, config, dtype, rngs, bias, flat)

        if config.fused:
            parts = queries + 2 * keys
            self.query_key_value = product(hidden, parts, config.query_bias)
        else:
            self.query = product(hidden, queries, config.query_bias)
            self.key = product(hidden, keys, config.query_bias)
            self.value = product(hidden, keys, config.query_bias)
        if config.relative_attention and not config.share_att_key:
            if "c2p" in config.pos_att_type:
                self.position_key = product(hidden, keys, True)
            if "p2c" in config.pos_att_type:
                self.position_query = product(hidden, queries, True)
        self.attention_output = product(queries, hidden, config.attention_output_bias)
        self.attention_norm = norm(config, dtype, rngs)
        if config.gated and config.fused:
            self.gate_intermediate = product(hidden, 2 * wide, config.mlp_bias)
        else:
            if config.gated:
                self.gate = product(hidden, wide, config.mlp_bias)
            self.intermediate = product(hidden, wide, config.mlp_bias)
        self.output = product(wide, hidden, config.mlp_bias)
        self.output_norm = norm(config, dtype, rngs)
        self.config = config
        self.attention = attention
        self.dropout_bits = dropout_bits

    def __call__(
        self,
        hidden: Hidden,
        context: Context,
        layer: Int[Array, ""],
        key: Key | None,
    ) -> Hidden:
        """The hidden states after the layer.

        Args:
          hidden: those before it.
          context: what tokens see of each other.
          layer: number of the layer.
          key: keys of the random numbers of dropout, one for each site; None for none.
        """
        if not self.config.pre_norm:
            attended = self._attend(hidden, context, layer, key)
            hidden = self.attention_norm(hidden + attended)
            return self.output_norm(hidden + self._feed_forward(hidden, key))
        normed = self.attention_norm(hidden)
        if not self.config.norms_first_input:
            # In one scan all layers have a normalisation; that of the first is not
            # used, and so has no gradient.
            normed = jnp.where(layer == 0, hidden, normed)
        hidden = hidden + self._attend(normed, context, layer, key)
        return hidden + self._feed_forward(self.output_norm(hidden), key)

    def _feed_forward(self, hidden: Hidden, key: Key | None) -> Hidden:
        config = self.config
        activate = ACTIVATIONS[config.hidden_act]
        if not config.gated:
            inner = activate(self.intermediate(hidden))
        elif config.fused:
            gate, passed = jnp.split(self.gate_intermediate(hidden), 2, axis=-1)
            inner = activate(gate) * passed
        else:
            inner = activate(self.gate(hidden)) * self.intermediate(hidden)
        inner = self._drop(inner, "intermediate", key, _FEED_FORWARD)
        return self._drop(self.output(inner), "output", key, _FEED_FORWARD_OUTPUT)

    def _drop(
        self,
        inputs: Array,
        place: str,
        key: Key | None,
        site: int,
        square: bool = False,
    ) -> Array:
        key = jax.tree.map(lambda keys: keys[site], key)
        rate, bits = self.config.dropout(place), self.dropout_bits
        return dropout(inputs, rate, key, square=square, bits=bits)

    def _attend(
        self, hidden: Hidden, context: Context, layer: Array, key: Key | None
    ) -> Hidden:
        config = self.config
        sight = context.sight(layer)
        query, keys, value = map(self._split, self._project(hidden))
        if sight.rotary is not None:
            query = positions.turn(query, sight.rotary)
            keys = positions.turn(keys, sight.rotary)
        if config.key_value_heads != config.num_attention_heads:
            # Each head of keys and values serves several of queries.
            uses = config.num_attention_heads // config.key_value_heads
            keys, value = (jnp.repeat(part, uses, axis=1) for part in (keys, value))
        mixed = self._mix(query, keys, value, sight, context.relative, key)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(*hidden.shape[:2], -1)
        return self._drop(
            self.attention_output(mixed), "attention_output", key, _ATTENTION_OUTPUT
        )

    def _mix(
        self,
        query: Array,
        keys: Array,
        value: Array,
        sight: Sight,
        relative: Relative | None,
        key: Key | None,
    ) -> Float[Array, "batch heads length size"]:
        """Values, weighted by how queries and keys of each head agree."""
        dropped = key is not None and self.config.dropout("attention") > 0
        if self.attention != "own" and relative is None and not dropped:
            length = query.shape[2]
            mask = jnp.broadcast_to(sight.mask, (*sight.mask.shape[:2], length, length))
            implementation: Any = self.attention
            mixed = jax.nn.dot_product_attention(
                query.transpose(0, 2, 1, 3),
                keys.transpose(0, 2, 1, 3),
                value.transpose(0, 2, 1, 3),
                mask.astype(query.dtype),
                implementation=implementation,
            )
            return mixed.transpose(0, 2, 1, 3)
        scores = jnp.einsum("bhqd,bhkd->bhqk", query, keys)
        terms = 1
        if relative is not None:
            terms += len(self.config.pos_att_type)
            scores = scores + self._distant(query, keys, relative, key)
        # In float32: bfloat16 has 8 bits for scores whose differences are exponents.
        scale = (self.config.head_size * terms) ** -0.5
        scores = scores.astype(jnp.float32) * scale + sight.mask
        weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
        weights = self._drop(weights, "attention", key, _ATTENTION, square=True)
        return jnp.einsum("bhqk,bhkd->bhqd", weights, value)

    def _project(self, hidden: Hidden) -> Sequence[Array]:
        """Queries, keys and values of all heads side by side."""
        if self.config.fused:
            return jnp.split(self.query_key_value(hidden), 3, axis=-1)
        return self.query(hidden), self.key(hidden), self.value(hidden)

    def _split(self, projected: Float[Array, "batch length features"]) -> Array:
        # Heads before positions: each head's scores are one matrix product.
        heads = projected.reshape(*projected.shape[:2], -1, self.config.head_size)
        return heads.transpose(0, 2, 1, 3)

    def _distant(
        self, query: Array, keys: Array, relative: Relative, key: Key | None
    ) -> Float[Array, "batch heads length length"]:
        """What distances add to the scores: to a query's, and to a key's."""
        table = self._drop(relative.embeddings[None], "relative", key, _RELATIVE)
        shared = self.config.share_att_key
        added = jnp.zeros((), query.dtype)

        def at(scores: Array, rows: Array) -> Array:
            rows = jnp.broadcast_to(rows, (*scores.shape[:3], rows.shape[-1]))
            return jnp.take_along_axis(scores, rows, axis=-1)

        if "c2p" in self.config.pos_att_type:
            project = self.key if shared else self.position_key
            distances = self._split(project(table))[0]
            scores = jnp.einsum("bhqd,hrd->bhqr", query, distances)
            added = added + at(scores, relative.rows)
        if "p2c" in self.config.pos_att_type:
            project = self.query if shared else self.position_query
            distances = self._split(project(table))[0]
            scores = jnp.einsum("bhkd,hrd->bhkr", keys, distances)
            # Of each key the distances to all queries; then keys go last.
            added = added + at(scores, relative.rows.T).swapaxes(2, 3)
        return added


def layer_keys(key: Key | None, layers: Int[Array, " layers"]) -> Key | None:
    """Keys of all sites of each layer: one kernel, where a scan runs some in each."""

    def sites(layer: Int[Array, ""]) -> Key | None:
        own, numbers = fold(key, layer), jnp.arange(_SITES)
        return jax.vmap(lambda site: fold(own, site))(numbers)

    return None if key is None else jax.vmap(sites)(layers)
