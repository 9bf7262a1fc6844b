"""Sizes and settings of an encoder, as Hugging Face writes them."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from bert_glue.model import positions
from bert_glue.model.architectures import ARCHITECTURES, Architecture

ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_new": jax.nn.gelu,
    "gelu_pytorch_tanh": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


_LEAST = {
    "pad_token_id": 0,
    "type_vocab_size": 0,
    "first_position": 0,
    "max_relative_positions": -1,
    "position_buckets": -1,
}
_LARGEST = {"num_hidden_layers": 1000, "pad_token_id": 2**31 - 1}
_LARGEST_SIZE = 2**24
"""What is above is a damaged file, to be refused before memory is taken for it."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes and settings of an encoder.

    They have the names of BERT's config.json, and the values of a BERT-base by default.
    What follows ``pad_token_id`` tells other families from BERT; the table of
    :mod:`architectures` says which of them a family fixes, and which its config.json
    has.

    Attributes:
      model_type: the family, a key of :data:`architectures.ARCHITECTURES`.
      embedding_size: width of the embeddings; None for that of the hidden states.
      always_projects: whether embeddings are projected even to the same width.
      projects_first: whether they are normalised after the projection.
      project_bias: whether the projection has a bias.
      norms_embeddings: whether embeddings are normalised.
      position_biased_input: whether positions have embeddings.
      first_position: number of the first one.
      counts_from_padding: whether that is the one after the padding token's number.
      num_hidden_groups: layers that have parameters of their own, each used several
        times in a row; None if all have.
      num_key_value_heads: heads of keys and values; None for as many as of queries.
      head_dim: width of a head; None for the heads' share of the hidden states.
      fused: whether one kernel makes query, key and value, and another the gate and
        what it lets through.
      query_bias: whether queries, keys and values have a bias.
      attention_output_bias: whether the attention's output has one.
      mlp_bias: whether the feed-forward part has some.
      gated: whether the feed-forward part has a gate.
      pre_norm: whether a layer's parts normalise what comes in, not the residual sum.
      norms_first_input: whether the first attention does so.
      norm: ``layer`` for LayerNorm, ``rms`` for RMSNorm.
      norm_bias: whether normalisations have a bias.
      causal: whether a token sees those before it alone.
      rope_parameters: of rotary positions: ``rope_type``, ``rope_theta`` and so on,
        or for each of the layer types; None if positions are not rotary.
      layer_types: for each layer ``full_attention`` or ``sliding_attention``.
      local_attention: width of the window of sliding attention.
      relative_attention_num_buckets: buckets of distances, each with a bias on the
        scores; 0 for none.
      relative_attention: whether scores depend on embeddings of distances.
      max_relative_positions: largest distance; below 1 for the number of positions.
      position_buckets: buckets of distances; below 1 for each distance its own.
      pos_att_type: which scores do: ``c2p``, query and distance; ``p2c``, key and
        distance.
      share_att_key: whether distances are projected as tokens are.
      norm_rel_ebd: ``layer_norm`` if embeddings of distances are normalised.
      pooling: what a classifier sees: ``cls``, the first token; ``last``, the last
        one; ``mean``, the mean of all.
      pooler_act: activation after the layer before the classifier; None for no layer.
      pooler_bias: whether that layer has a bias.
      pooler_norm: whether its output is normalised.
      pooler_dropout: rate before it.
      classifier_bias: whether the classifier has a bias.
      embedding_dropout: rate after the embeddings.
      mlp_dropout: rate inside of the feed-forward part.

    Raises:
      ValueError: if a value is out of range, or of a kind that the encoder does not
        have.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    initializer_range: float = 0.02
    pad_token_id: int = 0
    model_type: str = "bert"
    embedding_size: int | None = None
    always_projects: bool = False
    projects_first: bool = False
    project_bias: bool = True
    norms_embeddings: bool = True
    position_biased_input: bool = True
    first_position: int = 0
    counts_from_padding: bool = False
    num_hidden_groups: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    fused: bool = False
    query_bias: bool = True
    attention_output_bias: bool = True
    mlp_bias: bool = True
    gated: bool = False
    pre_norm: bool = False
    norms_first_input: bool = True
    norm: str = "layer"
    norm_bias: bool = True
    causal: bool = False
    rope_parameters: FrozenDict | None = None
    layer_types: tuple[str, ...] = ()
    local_attention: int | None = None
    relative_attention_num_buckets: int | None = None
    relative_attention: bool = False
    max_relative_positions: int = -1
    position_buckets: int = -1
    pos_att_type: tuple[str, ...] = ()
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    pooling: str = "cls"
    pooler_act: str | None = "tanh"
    pooler_bias: bool = True
    pooler_norm: bool = False
    pooler_dropout: float = 0.0
    classifier_bias: bool = True
    embedding_dropout: float = 0.0
    mlp_dropout: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, field.type, getattr(self, field.name))
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.num_attention_heads % self.key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is no multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.num_hidden_layers % self.stacked_layers:
            raise ValueError(
                f"num_hidden_layers {self.num_hidden_layers} is no multiple of "
                f"num_hidden_groups {self.num_hidden_groups}"
            )
        if self.layer_types and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types has {len(self.layer_types)} entries for "
                f"{self.num_hidden_layers} layers"
            )
        for name in ("hidden_act", "pooler_act"):
            value = getattr(self, name)
            if value is not None and value not in ACTIVATIONS:
                raise ValueError(
                    f"{name} is {value!r}; known are {sorted(ACTIVATIONS)}"
                )
        for kind in set(self.layer_types) or {None}:
            positions.check_rotary(self.rotary(kind))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderConfig":
        """Reads the content of a config.json; keys of no use here are ignored.

        Args:
          values: the decoded JSON object, with all of a family's keys that transformers
            fills in.

        Returns:
          The configuration.

        Raises:
          ValueError: if the file describes an architecture that the encoder is not.
        """
        kind = values.get("model_type", "bert")
        if kind not in ARCHITECTURES:
            raise ValueError(
                f"model_type {kind!r} is another architecture; supported are "
                f"{', '.join(ARCHITECTURES)}"
            )
        family = ARCHITECTURES[kind]
        for key, accepted in family.refused.items():
            value = values.get(key, accepted)
            if value != accepted and (value or accepted):
                raise ValueError(
                    f"{key} is {value!r} in a model of type {kind!r}; supported is "
                    f"{accepted!r}"
                )
        known = {
            name: _frozen(values[key])
            for name, key in family.keys.items()
            # null says that the default holds, or that there is none.
            if values.get(key) is not None
        }
        if "pad_token_id" not in known and family.fixed.get("causal"):
            # Padding is not seen, but transformers takes the last token that is none.
            end = values.get("eos_token_id")
            known["pad_token_id"] = (end[0] if isinstance(end, list) else end) or 0
        return cls(model_type=kind, **{**family.fixed, **known})

    def to_dict(self) -> dict[str, Any]:
        """The content of a config.json that Hugging Face's classes read."""
        values: dict[str, Any] = {"model_type": self.model_type}
        for name, key in self.architecture.keys.items():
            value = _thawed(getattr(self, name))
            # Files of BERT have a null there; elsewhere transformers expects none.
            if value not in (None, []) or name == "classifier_dropout":
                values[key] = value
        return values

    def with_dropout(self, rate: float) -> "EncoderConfig":
        """The configuration with one rate of dropout in all places that have some."""
        names = set(self.architecture.dropout.values())
        return dataclasses.replace(self, **dict.fromkeys(names, rate))

    def with_layers(self, count: int) -> "EncoderConfig":
        """The configuration with so few layers, the lowest ones."""
        groups = self.num_hidden_groups and 1
        return dataclasses.replace(
            self,
            num_hidden_layers=count,
            num_hidden_groups=groups,
            layer_types=self.layer_types[:count],
        )

    def dropout(self, place: str) -> float:
        """Rate of dropout in a place, a key of the family's table; 0 for none."""
        setting = self.architecture.dropout.get(place)
        if setting is None:
            return 0.0
        rate = getattr(self, setting)
        return self.hidden_dropout_prob if rate is None else rate

    @property
    def architecture(self) -> Architecture:
        """The family's entry in the table."""
        return ARCHITECTURES[self.model_type]

    def rotary(self, layer_type: str | None) -> Mapping[str, Any] | None:
        """What rotary positions are made of, in layers of a type; None for none."""
        if self.rope_parameters is None or layer_type is None:
            return self.rope_parameters
        return self.rope_parameters.get(layer_type, self.rope_parameters)

    @property
    def width(self) -> int:
        """Width of the embeddings."""
        return self.embedding_size or self.hidden_size

    @property
    def projects(self) -> bool:
        """Whether embeddings are projected to the width of the hidden states."""
        return self.always_projects or self.width != self.hidden_size

    @property
    def position_offset(self) -> int:
        """Number of the first position."""
        return (
            self.pad_token_id + 1 if self.counts_from_padding else self.first_position
        )

    @property
    def max_length(self) -> int:
        """Most tokens of an example."""
        return self.max_position_embeddings - self.position_offset

    @property
    def stacked_layers(self) -> int:
        """Layers that have parameters of their own."""
        return self.num_hidden_groups or self.num_hidden_layers

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def relative_positions(self) -> int:
        """Largest distance, or bucket of distances, with an embedding; 0 for none."""
        if not self.relative_attention:
            return 0
        if self.position_buckets > 0:
            return self.position_buckets
        return self.farthest

    @property
    def farthest(self) -> int:
        """Largest distance that is told from farther ones."""
        given = self.max_relative_positions
        return given if given > 0 else self.max_position_embeddings

    @property
    def norms_relative(self) -> bool:
        """Whether embeddings of distances are normalised."""
        return self.relative_attention and "layer_norm" in self.norm_rel_ebd


def _check(name: str, kind: Any, value: Any) -> None:
    """Refuses a value that is of another kind than the field, or out of range."""
    if value is None and kind in (int | None, float | None, str | None):
        return
    least = _LEAST.get(name, 1)
    most = _LARGEST.get(name, _LARGEST_SIZE)
    if kind in (int, int | None) and not (
        type(value) is int and least <= value <= most
    ):
        raise ValueError(
            f"{name} is {value!r:.40}: a whole number from {least} to {most} is due"
        )
    if kind in (float, float | None) and not (
        isinstance(value, int | float) and 0 <= value < math.inf
    ):
        raise ValueError(f"{name} is {value!r:.40}: a number from 0 is due")
    if "dropout" in name and value is not None and not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}: a probability below 1 is due")


def _frozen(value: Any) -> Any:
    """A decoded JSON value that can be hashed, as static parts of a module must be."""
    if isinstance(value, Mapping):
        return FrozenDict({key: _frozen(entry) for key, entry in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _thawed(value: Any) -> Any:
    """The value that :func:`_frozen` was given."""
    if isinstance(value, Mapping):
        return {key: _thawed(entry) for key, entry in value.items()}
    return [_thawed(entry) for entry in value] if isinstance(value, tuple) else value
