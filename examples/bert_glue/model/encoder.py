"""Encoders in Flax NNX: embeddings, layers, and the heads that stand on them.

The layers are stacked: every parameter under ``encoder/layers`` has a leading layer
axis and one scan runs over it, so that compile time and the number of kernels do not
grow with depth. A stack may be cut into several, scanned one after the other
(``stacks=(18, 6)``): gradual unfreezing keeps the lower one frozen that way, and no
backward pass goes through it.

What tells BERT from RoBERTa or Llama is in the configuration; see :mod:`architectures`.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019.
"""

import functools
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

import cwgnc_jax
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.model import checkpoint, positions
from bert_glue.model.architectures import LAYERS
from bert_glue.model.config import ACTIVATIONS, EncoderConfig
from bert_glue.model.dropout import BITS, SAVED, Key, dropout
from bert_glue.model.dropout import fold as _fold

Tokens = Int[Array, "batch length"]
Hidden = Float[Array, "batch length hidden"]

REMAT = {
    "none": None,
    "cheap": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names(SAVED),
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass computes anew rather than keeps (rematerialisation). ``none``
keeps everything; ``cheap`` keeps the products with parameters and the random bits of
dropout, which on a CPU, where writing costs more than computing, takes even less time;
``full`` keeps a layer's input alone."""

ATTENTION = ("own", "xla", "cudnn")
"""What computes attention whose weights are not dropped: this module, or
``jax.nn.dot_product_attention`` by its implementation of that name (``cudnn``, of GPUs,
in bfloat16). Dropped weights, and scores that depend on embeddings of distances, are
this module's in any case."""

# Where an encoder drops out, in the model and in a layer. A key is folded with the
# site, and with the layer, not split: a mask then depends on neither the number of
# sites nor on how the layers are stacked.
_EMBEDDINGS, _LAYERS, _POOLED, _POOLER = range(4)
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


class Relative(NamedTuple):
    """Distances between tokens, for the scores.

    Attributes:
      embeddings: of all distances.
      rows: the row of the distance from each key to each query.
    """

    embeddings: Float[Array, "distances hidden"]
    rows: Int[Array, "length length"]


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
            self.norm = _norm(config, dtype, rngs, width)
        if config.projects:
            bias = config.project_bias
            width = config.hidden_size
            self.project = _linear(config.width, width, config, dtype, rngs, bias)
        # What all layers' scores take from distances.
        if buckets := config.relative_attention_num_buckets:
            self.relative = embed(buckets, config.num_attention_heads)
        if distances := config.relative_positions:
            self.relative = embed(2 * distances, config.hidden_size)
        if config.norms_relative:
            self.relative_norm = _norm(config, dtype, rngs)
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

        def linear(inputs: int, outputs: int, bias: bool) -> nnx.Linear:
            return _linear(inputs, outputs, config, dtype, rngs, bias, flat)

        if config.fused:
            parts = queries + 2 * keys
            self.query_key_value = linear(hidden, parts, config.query_bias)
        else:
            self.query = linear(hidden, queries, config.query_bias)
            self.key = linear(hidden, keys, config.query_bias)
            self.value = linear(hidden, keys, config.query_bias)
        if config.relative_attention and not config.share_att_key:
            if "c2p" in config.pos_att_type:
                self.position_key = linear(hidden, keys, True)
            if "p2c" in config.pos_att_type:
                self.position_query = linear(hidden, queries, True)
        self.attention_output = linear(queries, hidden, config.attention_output_bias)
        self.attention_norm = _norm(config, dtype, rngs)
        if config.gated and config.fused:
            self.gate_intermediate = linear(hidden, 2 * wide, config.mlp_bias)
        else:
            if config.gated:
                self.gate = linear(hidden, wide, config.mlp_bias)
            self.intermediate = linear(hidden, wide, config.mlp_bias)
        self.output = linear(wide, hidden, config.mlp_bias)
        self.output_norm = _norm(config, dtype, rngs)
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


class Encoder(nnx.Module):
    """What the models below have in common: embeddings and encoder.

    Args:
      config: sizes and settings.
      dtype: what the forward pass computes in; parameters are float32.
      stacks: numbers of layers of the stacks that the encoder is cut into, from the
        bottom up; one uncut stack by default.
      remat: what the backward pass computes anew, a key of :data:`REMAT`.
      unroll: layers that are compiled one after the other in a turn of the scan.
      attention: what computes attention without dropout, one of :data:`ATTENTION`.
      dropout_bits: random bits of an entry in the layers, one of
        :data:`dropout.BITS`.
      flat: whether the layers' kernels are multiplied with all tokens of a batch in one
        axis. Their gradients are then one product each for XLA on CPUs, which
        transposes those of two axes and takes twice to four times as long; on TPUs it
        costs copies.
      placement: where parameters and batches lie.
      rngs: random numbers of the initial parameters (normal with the configured
        standard deviation; biases zero).

    Raises:
      ValueError: if the stacks do not sum up, or one of the others is not known.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        dtype: Any = jnp.float32,
        stacks: Sequence[int] | None = None,
        remat: str = "cheap",
        unroll: int = 1,
        attention: str = "own",
        dropout_bits: int = 16,
        flat: bool = False,
        placement: Placement = SINGLE,
        rngs: nnx.Rngs,
    ):
        for name, value, accepted in (
            ("remat", remat, REMAT),
            ("attention", attention, ATTENTION),
            ("dropout_bits", dropout_bits, BITS),
        ):
            if value not in accepted:
                words = ", ".join(map(str, accepted))
                raise ValueError(f"{name} is {value!r}; accepted are {words}")

        def stack(count: int) -> Layer:
            @nnx.split_rngs(splits=count)
            @nnx.vmap(in_axes=0, out_axes=0)
            def create(rngs: nnx.Rngs) -> Layer:
                return Layer(
                    config,
                    dtype=dtype,
                    attention=attention,
                    dropout_bits=dropout_bits,
                    flat=flat,
                    rngs=rngs,
                )

            return create(rngs)

        self.config = config
        self.dtype = dtype
        self.remat = remat
        self.unroll = unroll
        self.placement = placement
        self.embeddings = Embeddings(config, dtype=dtype, rngs=rngs)
        if stacks is None:
            layers = stack(config.stacked_layers)
        elif sum(stacks) != config.stacked_layers or min(stacks) < 1:
            raise ValueError(
                f"stacks {tuple(stacks)} do not cut {config.stacked_layers} layers"
            )
        else:
            layers = nnx.List([stack(count) for count in stacks])
        self.encoder = nnx.Dict(layers=layers)
        if config.pre_norm:
            self.final_norm = _norm(config, dtype, rngs)

    def encode(
        self,
        input_ids: Tokens,
        token_type_ids: Tokens,
        attention_mask: Tokens,
        dropout_key: Key | None = None,
    ) -> Hidden:
        """The last layer's hidden states.

        Args:
          input_ids: token numbers, int32.
          token_type_ids: 0 for the first sentence, 1 for the second; of no effect in a
            model without token types.
          attention_mask: 1 for real tokens, 0 for padding, which is on the right.
          dropout_key: key of the random numbers of dropout; None for no dropout.

        Returns:
          Hidden states in the compute dtype.

        Raises:
          ValueError: if the input is longer than the model has positions.
        """
        if input_ids.shape[1] > self.config.max_length:
            raise ValueError(
                f"input_ids has length {input_ids.shape[1]}; the model has "
                f"{self.config.max_length} positions"
            )
        graphdef, state = nnx.split(self.embeddings)
        embeddings = nnx.merge(graphdef, self.placement.everywhere(state))
        hidden = embeddings(input_ids, token_type_ids, _fold(dropout_key, _EMBEDDINGS))
        context = self._context(embeddings, attention_mask)
        hidden = self._encode_layers(hidden, context, _fold(dropout_key, _LAYERS))
        return self.final_norm(hidden) if self.config.pre_norm else hidden

    def _context(self, embeddings: Embeddings, attention_mask: Tokens) -> Context:
        config, length = self.config, attention_mask.shape[1]

        def sight(kind: str | None, window: int | None) -> Sight:
            mask = positions.visible(
                attention_mask, causal=config.causal, window=window
            )
            if config.relative_attention_num_buckets:
                mask = mask + embeddings.bias(length)
            parameters = config.rotary(kind)
            if parameters is None:
                return Sight(mask, None)
            cos, sin = positions.rotary(parameters, length, config.head_size)
            return Sight(mask, (jnp.asarray(cos), jnp.asarray(sin)))

        sliding = "sliding_attention"
        slides = jnp.array([kind == sliding for kind in config.layer_types])
        sights = [sight("full_attention", None)]
        if sliding in config.layer_types:
            sights.append(sight(sliding, (config.local_attention or 0) // 2))
        relative = embeddings.distances(length) if config.relative_positions else None
        return Context(tuple(sights), slides if len(sights) > 1 else None, relative)

    def _encode_layers(
        self, hidden: Hidden, context: Context, key: Key | None
    ) -> Hidden:
        layers = self.encoder["layers"]
        stacks = [layers] if isinstance(layers, Layer) else layers
        uses = self.config.num_hidden_layers // self.config.stacked_layers
        first = 0
        for stack in stacks:
            graphdef, state = nnx.split(stack)
            if _is_used_once(self.config):
                state = _rounded(state, self.dtype)
            packed, unpack = _pack(state)

            def one(
                hidden: Array,
                layer: tuple[Any, Array, Any],
                graphdef: Any = graphdef,
                unpack: Callable[[Any], Any] = unpack,
            ) -> tuple[Array, None]:
                packed, number, key = layer
                # On several devices each gets the whole layer for its share of the
                # batch; the compiler might rather send activations around.
                packed = self.placement.everywhere(packed)
                hidden = self.placement.examples(hidden)
                module = nnx.merge(graphdef, unpack(packed))
                return module(hidden, context, number, key), None

            if self.remat != "none":
                policy = REMAT[self.remat]
                one = jax.checkpoint(one, policy=policy, prevent_cse=False)

            def several(
                hidden: Array, layer: tuple[Any, Array, Any], one: Any = one
            ) -> tuple[Array, None]:
                # One layer's parameters, used several times in a row.
                packed, *turns = layer
                hidden, _ = jax.lax.scan(
                    lambda hidden, turn: one(hidden, (packed, *turn)), hidden, turns
                )
                return hidden, None

            count: int = packed[0].shape[0]
            numbers = first * uses + jnp.arange(count * uses, dtype=jnp.uint32)
            turns = numbers, _layer_keys(key, numbers)
            step = one
            if uses > 1:
                split = functools.partial(_split_axis, count, uses)
                step, turns = several, jax.tree.map(split, turns)
            hidden, _ = jax.lax.scan(
                step,
                hidden,
                (packed, turns[0], turns[1]),
                unroll=min(self.unroll, count),
            )
            first += count
        return hidden

    def __call__(
        self, *inputs: Tokens, dropout_key: Key | None = None
    ) -> Float[Array, "batch ..."]:
        """Logits in float32; the arguments are those of :meth:`encode`."""
        hidden = self.encode(*inputs, dropout_key=dropout_key)
        return self.predict(hidden, inputs[2], dropout_key)

    def predict(
        self, hidden: Hidden, attention_mask: Tokens, dropout_key: Key | None
    ) -> Array:
        """What a model's head makes of the hidden states: logits in float32."""
        raise NotImplementedError


class SequenceClassifier(Encoder):
    """An encoder with pooler and classifier; with one label, for regression.

    Args:
      config: sizes and settings.
      num_labels: outputs of the classifier; 1 for regression.
      rngs: random numbers of the initial parameters.
      **options: as for :class:`Encoder`.

    Raises:
      ValueError: if ``num_labels`` is below 1, or as :class:`Encoder`.
    """

    def __init__(
        self, config: EncoderConfig, num_labels: int, *, rngs: nnx.Rngs, **options: Any
    ):
        if num_labels < 1:
            raise ValueError(f"num_labels is {num_labels}: at least 1 is due")
        super().__init__(config, rngs=rngs, **options)
        hidden, dtype = config.hidden_size, self.dtype
        if config.pooler_act is not None:
            bias = config.pooler_bias
            self.pooler = _linear(hidden, hidden, config, dtype, rngs, bias)
        if config.pooler_norm:
            self.head = nnx.Dict(norm=_norm(config, dtype, rngs))
        bias = config.classifier_bias
        self.classifier = _linear(hidden, num_labels, config, dtype, rngs, bias)

    @classmethod
    def from_pretrained(
        cls,
        name: str | pathlib.Path,
        num_labels: int,
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> "SequenceClassifier":
        """A model with the parameters of a checkpoint.

        Args:
          name: a folder with config.json and safetensors, or a name on the Hugging Face
            hub; of a family of :data:`architectures.ARCHITECTURES`.
          num_labels: outputs of the classifier; 1 for regression.
          rngs: random numbers of the heads that the checkpoint does not hold, or holds
            for another number of labels.
          **options: as for :class:`Encoder`, but that there is one stack.

        Returns:
          The model.

        Raises:
          CheckpointError: if the checkpoint cannot be found, read or fitted.
        """
        folder = checkpoint.find(name)
        config = checkpoint.read_config(folder)
        structure, shapes = separate(
            nnx.eval_shape(lambda: cls(config, num_labels, rngs=nnx.Rngs(0), **options))
        )
        # The file's tensors are gone before the parameters go to the device.
        loaded = checkpoint.fill(checkpoint.read(folder), shapes)
        draw = functools.partial(initial_heads, config, num_labels, loaded.initialised)
        heads = jax.jit(draw)(rngs.params())
        return nnx.merge(structure, jax.device_put({**loaded.params, **heads}))

    def predict(
        self, hidden: Hidden, attention_mask: Tokens, dropout_key: Key | None
    ) -> Array:
        """Logits (batch, labels) of the classes, from the pooled hidden states."""
        config = self.config

        def drop(pooled: Array, place: str, site: int) -> Array:
            rate, key = config.dropout(place), _fold(dropout_key, site)
            return dropout(pooled[:, None], rate, key)[:, 0]

        pooled = drop(self._pool(hidden, attention_mask), "pooler", _POOLER)
        if config.pooler_act is not None:
            pooled = ACTIVATIONS[config.pooler_act](self.pooler(pooled))
        if config.pooler_norm:
            pooled = self.head["norm"](pooled)
        pooled = drop(pooled, "classifier", _POOLED)
        return self.classifier(pooled).astype(jnp.float32)

    def _pool(
        self, hidden: Hidden, attention_mask: Tokens
    ) -> Float[Array, "batch hidden"]:
        if self.config.pooling == "cls":
            return hidden[:, 0]
        if self.config.pooling == "last":
            last = jnp.sum(attention_mask, axis=1, dtype=jnp.int32) - 1
            return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
        weights = attention_mask[..., None].astype(hidden.dtype)
        return jnp.sum(hidden * weights, axis=1) / jnp.sum(weights, axis=1)


class MaskedLM(Encoder):
    """A BERT that predicts tokens; the output kernel is the word embedding.

    Args:
      config: sizes and settings.
      rngs: random numbers of the initial parameters.
      **options: as for :class:`Encoder`.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, **options: Any):
        super().__init__(config, rngs=rngs, **options)
        hidden = config.hidden_size
        self.transform = _linear(hidden, hidden, config, self.dtype, rngs)
        self.transform_norm = _norm(config, self.dtype, rngs)
        self.decoder = nnx.Dict(bias=nnx.Param(jnp.zeros(config.vocab_size)))

    def predict(
        self, hidden: Hidden, attention_mask: Tokens, dropout_key: Key | None
    ) -> Array:
        """Logits (batch, length, vocabulary), for every token; nothing is dropped."""
        del attention_mask, dropout_key
        hidden = ACTIVATIONS[self.config.hidden_act](self.transform(hidden))
        kernel = self.embeddings.word.embedding[...].astype(hidden.dtype)
        logits = self.transform_norm(hidden) @ kernel.T
        return logits.astype(jnp.float32) + self.decoder["bias"][...]


def separate(model: Encoder) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """Takes a model apart, for functions of its parameters.

    Args:
      model: any model of this module, or an abstract one (``nnx.eval_shape``).

    Returns:
      The model's structure, and its parameters as a nested dict of arrays;
      ``nnx.merge(structure, params)`` puts them together again.
    """
    structure, state = nnx.split(model, nnx.Param)
    return structure, nnx.to_pure_dict(state)


def initial_params(
    config: EncoderConfig, num_labels: int, key: Array
) -> dict[str, Any]:
    """Random parameters of a ``SequenceClassifier``.

    Where a compiled program uses a part of them (a fresh head for each seed), only that
    part is drawn.

    Args:
      config: sizes and settings.
      num_labels: outputs of the classifier; 1 for regression.
      key: key of the random numbers.

    Returns:
      Nested dict of float32 arrays.
    """
    model = SequenceClassifier(config, num_labels, rngs=nnx.Rngs(key))
    return separate(model)[1]


def initial_heads(
    config: EncoderConfig, num_labels: int, names: Sequence[str], key: Array
) -> dict[str, Any]:
    """Random parameters of a ``SequenceClassifier``'s heads.

    Args:
      config: sizes and settings.
      num_labels: outputs of the classifier; 1 for regression.
      names: of the heads: pooler, head, classifier.
      key: key of the random numbers.

    Returns:
      Nested dict of float32 arrays, those of :func:`initial_params` for a model of one
      layer: they must not depend on the depth, nor on how layers are stacked.
    """
    drawn = initial_params(config.with_layers(1), num_labels, key)
    return {name: drawn[name] for name in names}


def round_layers(config: EncoderConfig, dtype: Any, params: Any) -> Any:
    """Parameters with the layers' kernels in the dtype that they are computed in.

    An encoder does so itself, before the scan over the layers rather than in it: the
    gradients of the stack are then kept in that dtype, too, which loses nothing where
    each is that of one product. A training loop may do it once for a whole step.

    Args:
      config: sizes and settings.
      dtype: what the encoder computes in.
      params: nested dict of parameters, or a part of it.

    Returns:
      The parameters; as they were where a kernel is used several times in a pass, whose
      gradients must be summed in float32.
    """
    encoder = params.get("encoder", {})
    if "layers" not in encoder or not _is_used_once(config):
        return params
    layers = _rounded(encoder["layers"], dtype)
    return {**params, "encoder": {**encoder, "layers": layers}}


def _is_used_once(config: EncoderConfig) -> bool:
    """Whether each kernel of a layer makes one product in a pass."""
    repeated = config.num_hidden_layers > config.stacked_layers
    return not (repeated or config.share_att_key)


def layer_components(first_layer: int = 0) -> cwgnc_jax.ComponentMap:
    """The paper's components of an encoder: each matrix and bias of each layer.

    Args:
      first_layer: number of the lowest layer of the stack, which may have been cut.

    Returns:
      The map.
    """
    stacked = cwgnc_jax.stacked(f"{LAYERS}/.*", start=first_layer)

    def components(params: Any) -> Any:
        # Where kernels are fused, each of their parts is a matrix of its own.
        layout = stacked
        paths = [entry.path for entry in cwgnc_jax.leaves_with_paths(params)]
        for name, parts in _FUSED.items():
            pattern = f"{LAYERS}/(.*/)?{name}/.*"
            if any(re.fullmatch(pattern, path) for path in paths):
                layout = cwgnc_jax.fused(pattern, parts, base=layout)
        return layout(params)

    return components


_FUSED = {
    "query_key_value": ("query", "key", "value"),
    "gate_intermediate": ("gate", "intermediate"),
}


def _split_axis(count: int, parts: int, leaf: Array) -> Array:
    return leaf.reshape(count, parts, *leaf.shape[1:])


def _layer_keys(key: Key | None, layers: Int[Array, " layers"]) -> Key | None:
    """Keys of all sites of each layer: one kernel, where a scan runs some in each."""

    def sites(layer: Int[Array, ""]) -> Key | None:
        own, numbers = _fold(key, layer), jnp.arange(_SITES)
        return jax.vmap(lambda site: _fold(own, site))(numbers)

    return None if key is None else jax.vmap(sites)(layers)


def _rounded(layers: Any, dtype: Any) -> Any:
    """Layers whose kernels are in the compute dtype; vectors are no weight."""

    def rounded(path: tuple[Any, ...], leaf: Array) -> Array:
        is_kernel = any("kernel" in str(part) for part in path)
        return leaf.astype(dtype) if is_kernel else leaf

    return jax.tree_util.tree_map_with_path(rounded, layers)


def _pack(state: nnx.State) -> tuple[list[Array], Callable[[list[Array]], nnx.State]]:
    """A stack's vectors side by side, then its matrices, and what takes a layer apart.

    Biases and norms are a thousandth of the parameters and half of the leaves: one by
    one, each would be cut out of its stack by a kernel in every layer and pass, and its
    gradient be written into one by another.
    """
    leaves, structure = jax.tree.flatten(state)
    vectors = [leaf.ndim == 2 for leaf in leaves]
    flat = [leaf for leaf, is_vector in zip(leaves, vectors, strict=True) if is_vector]
    edges = np.cumsum([leaf.shape[1] for leaf in flat])[:-1]

    def unpack(layer: list[Array]) -> nnx.State:
        flat = iter(jnp.split(layer[0], edges))
        matrices = iter(layer[1:])
        parts = [next(flat if is_vector else matrices) for is_vector in vectors]
        return jax.tree.unflatten(structure, parts)

    matrices = [
        leaf for leaf, is_vector in zip(leaves, vectors, strict=True) if not is_vector
    ]
    return [jnp.concatenate(flat, axis=1), *matrices], unpack


def _linear(
    inputs: int,
    outputs: int,
    config: EncoderConfig,
    dtype: Any,
    rngs: nnx.Rngs,
    bias: bool = True,
    flat: bool = False,
) -> nnx.Linear:
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=bias,
        dtype=dtype,
        kernel_init=nnx.initializers.normal(config.initializer_range),
        dot_general=_flat_product if flat else jax.lax.dot_general,
        rngs=rngs,
    )


def _flat_product(inputs: Array, kernel: Array, _: Any, **options: Any) -> Array:
    """``inputs @ kernel``, with all axes of the inputs but the last in one."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    product = jax.lax.dot(rows, kernel, **options)
    return product.reshape(*inputs.shape[:-1], -1)


def _norm(
    config: EncoderConfig, dtype: Any, rngs: nnx.Rngs, width: int | None = None
) -> nnx.LayerNorm | nnx.RMSNorm:
    width, epsilon = width or config.hidden_size, config.layer_norm_eps
    if config.norm == "rms":
        return nnx.RMSNorm(width, epsilon=epsilon, dtype=dtype, rngs=rngs)
    return nnx.LayerNorm(
        width, epsilon=epsilon, use_bias=config.norm_bias, dtype=dtype, rngs=rngs
    )
