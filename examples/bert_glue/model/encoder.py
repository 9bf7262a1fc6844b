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
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.model import checkpoint, positions
from bert_glue.model.config import ACTIVATIONS, EncoderConfig
from bert_glue.model.dropout import BITS, SAVED, Key, dropout, fold
from bert_glue.model.embeddings import Embeddings
from bert_glue.model.layer import ATTENTION, Context, Layer, Sight, layer_keys
from bert_glue.model.modules import Hidden, Tokens, linear, norm
from bert_glue.model.stack import is_used_once, pack, rounded_kernels

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

# Where a model drops out outside of its layers; see :mod:`layer`.
_EMBEDDINGS, _LAYERS, _POOLED, _POOLER = range(4)


class Encoder(nnx.Module):
    """What the models below have in common: embeddings and encoder.

    Args:
      config: sizes and settings.
      dtype: what the forward pass computes in; parameters are float32.
      stacks: numbers of layers of the stacks that the encoder is cut into, from the
        bottom up; one uncut stack by default.
      remat: what the backward pass computes anew, a key of :data:`REMAT`.
      unroll: layers that are compiled one after the other in a turn of the scan.
      attention: what computes attention without dropout, one of
        :data:`layer.ATTENTION`.
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
            self.final_norm = norm(config, dtype, rngs)

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
        hidden = embeddings(input_ids, token_type_ids, fold(dropout_key, _EMBEDDINGS))
        context = self._context(embeddings, attention_mask)
        hidden = self._encode_layers(hidden, context, fold(dropout_key, _LAYERS))
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
            if is_used_once(self.config):
                state = rounded_kernels(state, self.dtype)
            packed, unpack = pack(state)

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
            turns = numbers, layer_keys(key, numbers)
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
            self.pooler = linear(hidden, hidden, config, dtype, rngs, bias)
        if config.pooler_norm:
            self.head = nnx.Dict(norm=norm(config, dtype, rngs))
        bias = config.classifier_bias
        self.classifier = linear(hidden, num_labels, config, dtype, rngs, bias)

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
            rate, key = config.dropout(place), fold(dropout_key, site)
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
        self.transform = linear(hidden, hidden, config, self.dtype, rngs)
        self.transform_norm = norm(config, self.dtype, rngs)
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


def _split_axis(count: int, parts: int, leaf: Array) -> Array:
    return leaf.reshape(count, parts, *leaf.shape[1:])
