"""BERT in Flax NNX: encoder, masked-language-model head, sequence classifier.

The encoder's layers are stacked: every parameter under ``encoder/layers`` has a leading
layer axis and one scan runs over it, so that compile time and the number of kernels do
not grow with depth. A stack may be cut into several, scanned one after the other
(``stacks=(18, 6)``): gradual unfreezing keeps the lower one frozen that way, and no
backward pass goes through it.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

import cwgnc_jax
from bert_glue.devices.mesh import SINGLE, Placement
from bert_glue.model.config import ACTIVATIONS, BertConfig
from bert_glue.model.dropout import dropout
from bert_glue.model.dropout import fold as _fold

Tokens = Int[Array, "batch length"]
Hidden = Float[Array, "batch length hidden"]
Mask = Float[Array, "batch 1 1 length"]

LAYERS = "encoder/layers"
"""Path of the stacked layers."""

REMAT = {
    "none": None,
    "cheap": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass computes anew rather than keeps (rematerialisation). ``none``
keeps everything; ``cheap`` keeps the products with parameters, which on a CPU, where
writing costs more than computing, takes even less time; ``full`` keeps a layer's input
alone."""

# Where BERT drops out, in the model and in a layer. A key is folded with the site, and
# with the layer, not split: a mask then depends on neither the number of sites nor on
# how the layers are stacked.
_EMBEDDINGS, _LAYERS, _POOLED = range(3)
_ATTENTION, _ATTENTION_OUTPUT, _FEED_FORWARD_OUTPUT = range(3)


class Embeddings(nnx.Module):
    """Sum of word, position and token-type embeddings, normalised."""

    def __init__(self, config: BertConfig, *, dtype: Any, rngs: nnx.Rngs):
        def embed(count: int) -> nnx.Embed:
            return nnx.Embed(
                count,
                config.hidden_size,
                # Rows are gathered in float32 and rounded after: the whole table need
                # not be, and a frequent token's gradients are summed in float32, where
                # bfloat16 would stop at 256 equal ones.
                dtype=jnp.float32,
                embedding_init=nnx.initializers.normal(config.initializer_range),
                rngs=rngs,
            )

        self.word = embed(config.vocab_size)
        self.position = embed(config.max_position_embeddings)
        self.token_type = embed(config.type_vocab_size)
        self.norm = _layer_norm(config, dtype, rngs)
        self.dtype = dtype
        self.rate = config.hidden_dropout_prob

    def __call__(
        self, input_ids: Tokens, token_type_ids: Tokens, key: Array | None
    ) -> Hidden:
        """The embedded tokens; without a key nothing is dropped."""
        positions = jnp.arange(input_ids.shape[1])
        total = (
            self.word(input_ids)
            + self.position(positions)
            + self.token_type(token_type_ids)
        )
        return dropout(self.norm(total.astype(self.dtype)), self.rate, key)


class Layer(nnx.Module):
    """One transformer layer, normalised after each residual sum."""

    def __init__(self, config: BertConfig, *, dtype: Any, rngs: nnx.Rngs):
        hidden, wide = config.hidden_size, config.intermediate_size
        self.query = _linear(hidden, hidden, config, dtype, rngs)
        self.key = _linear(hidden, hidden, config, dtype, rngs)
        self.value = _linear(hidden, hidden, config, dtype, rngs)
        self.attention_output = _linear(hidden, hidden, config, dtype, rngs)
        self.attention_norm = _layer_norm(config, dtype, rngs)
        self.intermediate = _linear(hidden, wide, config, dtype, rngs)
        self.output = _linear(wide, hidden, config, dtype, rngs)
        self.output_norm = _layer_norm(config, dtype, rngs)
        self.heads = config.num_attention_heads
        self.activation = config.hidden_act
        self.rate = config.hidden_dropout_prob
        self.attention_rate = config.attention_probs_dropout_prob

    def __call__(self, hidden: Hidden, mask: Mask, key: Array | None) -> Hidden:
        """The hidden states after the layer; ``mask`` is added to the scores."""
        attended = self._attend(hidden, mask, _fold(key, _ATTENTION))
        attended = self.attention_output(attended)
        attended = dropout(attended, self.rate, _fold(key, _ATTENTION_OUTPUT))
        hidden = self.attention_norm(hidden + attended)
        output = self.output(ACTIVATIONS[self.activation](self.intermediate(hidden)))
        output = dropout(output, self.rate, _fold(key, _FEED_FORWARD_OUTPUT))
        return self.output_norm(hidden + output)

    def _attend(self, hidden: Array, mask: Array, key: Array | None) -> Array:
        batch, length, width = hidden.shape

        def split(projected: Array) -> Array:
            # Heads before positions: each head's scores are one matrix product.
            heads = projected.reshape(batch, length, self.heads, width // self.heads)
            return heads.transpose(0, 2, 1, 3)

        query, keys, value = (
            split(project(hidden)) for project in (self.query, self.key, self.value)
        )
        scores = jnp.einsum("bhqd,bhkd->bhqk", query, keys)
        # In float32: bfloat16 has 8 bits for scores whose differences are exponents.
        scores = scores.astype(jnp.float32) * (width // self.heads) ** -0.5 + mask
        weights = jax.nn.softmax(scores, axis=-1).astype(hidden.dtype)
        weights = dropout(weights, self.attention_rate, key, square=True)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, value)
        return mixed.transpose(0, 2, 1, 3).reshape(batch, length, width)


class Bert(nnx.Module):
    """What the models below have in common: embeddings and encoder.

    Args:
      config: sizes and settings.
      dtype: what the forward pass computes in; parameters are float32.
      stacks: numbers of layers of the stacks that the encoder is cut into, from the
        bottom up; one uncut stack by default.
      remat: what the backward pass computes anew, a key of :data:`REMAT`.
      placement: where parameters and batches lie.
      rngs: random numbers of the initial parameters (normal with the configured
        standard deviation; biases zero).

    Raises:
      ValueError: if the stacks do not sum up, or ``remat`` is not known.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        dtype: Any = jnp.float32,
        stacks: Sequence[int] | None = None,
        remat: str = "cheap",
        placement: Placement = SINGLE,
        rngs: nnx.Rngs,
    ):
        if remat not in REMAT:
            raise ValueError(f"remat is {remat!r}; accepted are {', '.join(REMAT)}")

        def stack(count: int) -> Layer:
            @nnx.split_rngs(splits=count)
            @nnx.vmap(in_axes=0, out_axes=0)
            def create(rngs: nnx.Rngs) -> Layer:
                return Layer(config, dtype=dtype, rngs=rngs)

            return create(rngs)

        self.config = config
        self.dtype = dtype
        self.remat = remat
        self.placement = placement
        self.embeddings = Embeddings(config, dtype=dtype, rngs=rngs)
        if stacks is None:
            layers = stack(config.num_hidden_layers)
        elif sum(stacks) != config.num_hidden_layers or min(stacks) < 1:
            raise ValueError(
                f"stacks {tuple(stacks)} do not cut {config.num_hidden_layers} layers"
            )
        else:
            layers = nnx.List([stack(count) for count in stacks])
        self.encoder = nnx.Dict(layers=layers)

    def encode(
        self,
        input_ids: Tokens,
        token_type_ids: Tokens,
        attention_mask: Tokens,
        dropout_key: Array | None = None,
    ) -> Hidden:
        """The last layer's hidden states.

        Args:
          input_ids: token numbers, int32.
          token_type_ids: 0 for the first sentence, 1 for the second.
          attention_mask: 1 for real tokens, 0 for padding.
          dropout_key: key of the random numbers of dropout; None for no dropout.

        Returns:
          Hidden states in the compute dtype.

        Raises:
          ValueError: if the input is longer than the position embeddings.
        """
        if input_ids.shape[1] > self.config.max_position_embeddings:
            raise ValueError(
                f"input_ids has length {input_ids.shape[1]}; the model has "
                f"{self.config.max_position_embeddings} positions"
            )
        # The lowest finite number, not minus infinity, which makes NaN of a row that is
        # all padding. Added to a score it stays so low that the exponential underflows:
        # padding gets the weight 0 exactly.
        lowest = jnp.finfo(jnp.float32).min
        mask = jnp.where(attention_mask[:, None, None, :] > 0, 0.0, lowest)
        graphdef, state = nnx.split(self.embeddings)
        embeddings = nnx.merge(graphdef, self.placement.everywhere(state))
        hidden = embeddings(input_ids, token_type_ids, _fold(dropout_key, _EMBEDDINGS))
        return self._encode_layers(hidden, mask, _fold(dropout_key, _LAYERS))

    def _encode_layers(self, hidden: Hidden, mask: Mask, key: Array | None) -> Hidden:
        layers = self.encoder["layers"]
        stacks = [layers] if isinstance(layers, Layer) else layers
        first = 0
        for stack in stacks:
            graphdef, state = nnx.split(stack)

            def one(
                hidden: Array, layer: tuple[Any, Array], graphdef: Any = graphdef
            ) -> tuple[Array, None]:
                state, index = layer
                # On several devices each gets the whole layer for its share of the
                # batch; the compiler might rather send activations around.
                state = self.placement.everywhere(state)
                hidden = self.placement.examples(hidden)
                return nnx.merge(graphdef, state)(hidden, mask, _fold(key, index)), None

            if self.remat != "none":
                policy = REMAT[self.remat]
                one = jax.checkpoint(one, policy=policy, prevent_cse=False)
            count = jax.tree.leaves(state)[0].shape[0]
            hidden, _ = jax.lax.scan(
                one, hidden, (state, first + jnp.arange(count, dtype=jnp.uint32))
            )
            first += count
        return hidden

    def __call__(
        self, *inputs: Tokens, dropout_key: Array | None = None
    ) -> Float[Array, "batch ..."]:
        """Logits in float32; the arguments are those of :meth:`encode`."""
        return self.predict(self.encode(*inputs, dropout_key=dropout_key), dropout_key)

    def predict(self, hidden: Hidden, dropout_key: Array | None) -> Array:
        """What a model's head makes of the hidden states: logits in float32."""
        raise NotImplementedError


class BertForSequenceClassification(Bert):
    """BERT with pooler and classifier; with one label, for regression.

    Args:
      config: sizes and settings.
      num_labels: outputs of the classifier; 1 for regression.
      rngs: random numbers of the initial parameters.
      **options: as for :class:`Bert`.

    Raises:
      ValueError: if ``num_labels`` is below 1, or as :class:`Bert`.
    """

    def __init__(
        self, config: BertConfig, num_labels: int, *, rngs: nnx.Rngs, **options: Any
    ):
        if num_labels < 1:
            raise ValueError(f"num_labels is {num_labels}: at least 1 is due")
        super().__init__(config, rngs=rngs, **options)
        hidden = config.hidden_size
        self.pooler = _linear(hidden, hidden, config, self.dtype, rngs)
        self.classifier = _linear(hidden, num_labels, config, self.dtype, rngs)

    def predict(self, hidden: Hidden, dropout_key: Array | None) -> Array:
        """Logits (batch, labels) of the classes, from the first token's state."""
        pooled = jnp.tanh(self.pooler(hidden[:, 0]))
        key = _fold(dropout_key, _POOLED)
        pooled = dropout(pooled[:, None], self.config.head_dropout, key)[:, 0]
        return self.classifier(pooled).astype(jnp.float32)


class BertForMaskedLM(Bert):
    """BERT that predicts tokens; the output kernel is the word embedding.

    Args:
      config: sizes and settings.
      rngs: random numbers of the initial parameters.
      **options: as for :class:`Bert`.
    """

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs, **options: Any):
        super().__init__(config, rngs=rngs, **options)
        hidden = config.hidden_size
        self.transform = _linear(hidden, hidden, config, self.dtype, rngs)
        self.transform_norm = _layer_norm(config, self.dtype, rngs)
        self.decoder = nnx.Dict(bias=nnx.Param(jnp.zeros(config.vocab_size)))

    def predict(self, hidden: Hidden, dropout_key: Array | None) -> Array:
        """Logits (batch, length, vocabulary), for every token; nothing is dropped."""
        del dropout_key
        hidden = ACTIVATIONS[self.config.hidden_act](self.transform(hidden))
        kernel = self.embeddings.word.embedding[...].astype(hidden.dtype)
        logits = self.transform_norm(hidden) @ kernel.T
        return logits.astype(jnp.float32) + self.decoder["bias"][...]


def separate(model: Bert) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """Takes a model apart, for functions of its parameters.

    Args:
      model: any model of this module, or an abstract one (``nnx.eval_shape``).

    Returns:
      The model's structure, and its parameters as a nested dict of arrays;
      ``nnx.merge(structure, params)`` puts them together again.
    """
    structure, state = nnx.split(model, nnx.Param)
    return structure, nnx.to_pure_dict(state)


def initial_params(config: BertConfig, num_labels: int, key: Array) -> dict[str, Any]:
    """Random parameters of a ``BertForSequenceClassification``.

    Where a compiled program uses a part of them (a fresh head for each seed), only that
    part is drawn.

    Args:
      config: sizes and settings.
      num_labels: outputs of the classifier; 1 for regression.
      key: key of the random numbers.

    Returns:
      Nested dict of float32 arrays.
    """
    model = BertForSequenceClassification(config, num_labels, rngs=nnx.Rngs(key))
    return separate(model)[1]


def layer_components(first_layer: int = 0) -> cwgnc_jax.ComponentMap:
    """The paper's components of the example BERT: each matrix and bias of each layer.

    Args:
      first_layer: number of the lowest layer of the stack, which may have been cut.

    Returns:
      The map.
    """
    return cwgnc_jax.stacked(f"{LAYERS}/.*", start=first_layer)


def _linear(
    inputs: int, outputs: int, config: BertConfig, dtype: Any, rngs: nnx.Rngs
) -> nnx.Linear:
    return nnx.Linear(
        inputs,
        outputs,
        dtype=dtype,
        kernel_init=nnx.initializers.normal(config.initializer_range),
        rngs=rngs,
    )


def _layer_norm(config: BertConfig, dtype: Any, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size, epsilon=config.layer_norm_eps, dtype=dtype, rngs=rngs
    )
