"""Sizes and settings of a BERT, as Hugging Face writes them."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_new": jax.nn.gelu,
    "gelu_pytorch_tanh": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


_LARGEST = {"num_hidden_layers": 1000, "pad_token_id": 2**31 - 1}
_LARGEST_SIZE = 2**24
"""What is above is a damaged file, to be refused before memory is taken for it."""


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes and settings of a BERT, under the names of Hugging Face's config.json.

    Raises:
      ValueError: if a value is out of range, or the activation or position embedding is
        of a kind that this model does not have.
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

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            # All whole numbers are sizes but one, which is an index.
            least = 0 if name == "pad_token_id" else 1
            most = _LARGEST.get(name, _LARGEST_SIZE)
            if field.type is int and not (
                type(value) is int and least <= value <= most
            ):
                raise ValueError(
                    f"{name} is {value!r:.40}: a whole number from {least} to {most} "
                    "is due"
                )
            if field.type is float and not (
                isinstance(value, int | float) and 0 <= value < math.inf
            ):
                raise ValueError(f"{name} is {value!r:.40}: a number from 0 is due")
            if "dropout" in name and value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} is {value!r}: a probability below 1 is due")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act is {self.hidden_act!r}; known are {sorted(ACTIVATIONS)}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BertConfig":
        """Reads the content of a config.json; keys that BERT does not use are ignored.

        Args:
          values: the decoded JSON object.

        Returns:
          The configuration.

        Raises:
          ValueError: if the file describes another architecture than BERT's.
        """
        kind = values.get("model_type", "bert")
        positions = values.get("position_embedding_type", "absolute")
        if kind != "bert":
            raise ValueError(
                f"model_type {kind!r} is another architecture; supported is 'bert', "
                "that of BERT, MiniLM, TinyBERT and the like"
            )
        if positions != "absolute" or values.get("is_decoder"):
            raise ValueError(
                f"a BERT with {positions!r} position embeddings"
                f"{' as a decoder' if values.get('is_decoder') else ''}; "
                "supported is an encoder with 'absolute' ones"
            )
        fields = {field.name for field in dataclasses.fields(cls)}
        known = {key: values[key] for key in values if key in fields}
        # Padding is not seen, whatever its number; null says that there is none.
        if known.get("pad_token_id", 0) is None:
            del known["pad_token_id"]
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The content of a config.json that Hugging Face's classes read."""
        return {"model_type": "bert", **dataclasses.asdict(self)}

    @property
    def head_dropout(self) -> float:
        """Dropout before the classifier."""
        if self.classifier_dropout is None:
            return self.hidden_dropout_prob
        return self.classifier_dropout
