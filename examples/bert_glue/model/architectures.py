"""What tells one family of encoders from another, as a table.

A family says under which names its config.json holds the settings of
:class:`config.EncoderConfig`, which of these it fixes, and which tensor of a file is
which parameter. One encoder reads them all; a new family is an entry here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

LAYERS = "encoder/layers"
"""Path of the stacked layers."""

_SHARED_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "layer_norm_eps",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "initializer_range",
    "pad_token_id",
)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A family of encoders.

    Attributes:
      model_type: its name in config.json.
      classifier: transformers' class of its classifier of sequences.
      prefix: what the names of an encoder's tensors begin with in a classifier's file.
      keys: settings of :class:`config.EncoderConfig` that config.json holds -> the
        names that they have there.
      modules: module of our model -> module of the file, without the prefix for one of
        the encoder; a star stands for a layer's number.
      heads: likewise, of what stands above the encoder and may be missing.
      fixed: settings that are the same in all models of the family.
      refused: settings of config.json that the encoder has no part for -> the only
        value that is accepted.
      spare: beginnings of names of tensors that a file may hold in vain.
      dropout: place of a dropout -> the setting that is its rate; where none stands
        nothing is dropped.
      special_tokens: how many of them the tokenizer adds to a pair of sentences; None
        if that differs.
    """

    model_type: str
    classifier: str
    prefix: str
    keys: Mapping[str, str]
    modules: Mapping[str, str]
    heads: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    refused: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    spare: tuple[str, ...] = ()
    dropout: Mapping[str, str] = dataclasses.field(default_factory=dict)
    special_tokens: int | None = 3


def _keys(*own: str, without: tuple[str, ...] = (), **renamed: str) -> dict[str, str]:
    """Names in config.json: the shared ones, and the family's own or other ones."""
    names = [name for name in (*_SHARED_KEYS, *own) if name not in without]
    return {name: renamed.get(name, name) for name in [*names, *renamed]}


_POST_NORM = {
    "embeddings/word": "embeddings.word_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/token_type": "embeddings.token_type_embeddings",
    "embeddings/norm": "embeddings.LayerNorm",
    f"{LAYERS}/query": "encoder.layer.*.attention.self.query",
    f"{LAYERS}/key": "encoder.layer.*.attention.self.key",
    f"{LAYERS}/value": "encoder.layer.*.attention.self.value",
    f"{LAYERS}/attention_output": "encoder.layer.*.attention.output.dense",
    f"{LAYERS}/attention_norm": "encoder.layer.*.attention.output.LayerNorm",
    f"{LAYERS}/intermediate": "encoder.layer.*.intermediate.dense",
    f"{LAYERS}/output": "encoder.layer.*.output.dense",
    f"{LAYERS}/output_norm": "encoder.layer.*.output.LayerNorm",
}
_BERT = Architecture(
    "bert",
    "BertForSequenceClassification",
    "bert",
    _keys(),
    _POST_NORM,
    {
        "pooler": "bert.pooler.dense",
        "classifier": "classifier",
        "transform": "cls.predictions.transform.dense",
        "transform_norm": "cls.predictions.transform.LayerNorm",
        "decoder": "cls.predictions",
    },
    refused={"position_embedding_type": "absolute", "is_decoder": False},
    spare=("bert.embeddings.position_ids", "bert.pooler.", "classifier.", "cls."),
    dropout={
        "embeddings": "hidden_dropout_prob",
        "attention": "attention_probs_dropout_prob",
        "attention_output": "hidden_dropout_prob",
        "output": "hidden_dropout_prob",
        "classifier": "classifier_dropout",
    },
)
# A dense layer and a classifier of their own, with dropout before each.
_TWO_LAYERS = {"pooler": "classifier.dense", "classifier": "classifier.out_proj"}
_DROPOUT_BEFORE_EACH = {**_BERT.dropout, "pooler": "classifier_dropout"}

_ROBERTA = Architecture(
    "roberta",
    "RobertaForSequenceClassification",
    "roberta",
    _keys(),
    _POST_NORM,
    _TWO_LAYERS,
    # Positions are counted from the one after the padding token's number.
    fixed={"counts_from_padding": True},
    refused=_BERT.refused,
    spare=(
        "roberta.embeddings.position_ids",
        "roberta.pooler.",
        "pooler.",
        "classifier.",
        "lm_head.",
    ),
    dropout=_DROPOUT_BEFORE_EACH,
    special_tokens=4,
)
_ELECTRA = Architecture(
    "electra",
    "ElectraForSequenceClassification",
    "electra",
    _keys("embedding_size"),
    {**_POST_NORM, "embeddings/project": "embeddings_project"},
    _TWO_LAYERS,
    fixed={"pooler_act": "gelu"},
    refused=_BERT.refused,
    spare=(
        "electra.embeddings.position_ids",
        "classifier.",
        "discriminator_predictions.",
        "generator_",
    ),
    dropout=_DROPOUT_BEFORE_EACH,
)
_MPNET = Architecture(
    "mpnet",
    "MPNetForSequenceClassification",
    "mpnet",
    _keys(
        "relative_attention_num_buckets",
        without=("type_vocab_size", "classifier_dropout"),
    ),
    {
        **{path: module for path, module in _POST_NORM.items() if "type" not in path},
        "embeddings/relative": "encoder.relative_attention_bias",
        f"{LAYERS}/query": "encoder.layer.*.attention.attn.q",
        f"{LAYERS}/key": "encoder.layer.*.attention.attn.k",
        f"{LAYERS}/value": "encoder.layer.*.attention.attn.v",
        f"{LAYERS}/attention_output": "encoder.layer.*.attention.attn.o",
        f"{LAYERS}/attention_norm": "encoder.layer.*.attention.LayerNorm",
    },
    _TWO_LAYERS,
    # It takes 1 for the number of the padding token, whatever it is.
    fixed={"type_vocab_size": 0, "first_position": 2},
    spare=(
        "mpnet.embeddings.position_ids",
        "mpnet.pooler.",
        "pooler.",
        "classifier.",
        "lm_head.",
    ),
    dropout=_DROPOUT_BEFORE_EACH,
    special_tokens=4,
)
_DISTILBERT = Architecture(
    "distilbert",
    "DistilBertForSequenceClassification",
    "distilbert",
    _keys(
        without=("type_vocab_size", "layer_norm_eps"),
        hidden_size="dim",
        num_hidden_layers="n_layers",
        num_attention_heads="n_heads",
        intermediate_size="hidden_dim",
        hidden_act="activation",
        hidden_dropout_prob="dropout",
        attention_probs_dropout_prob="attention_dropout",
        classifier_dropout="seq_classif_dropout",
    ),
    {
        "embeddings/word": "embeddings.word_embeddings",
        "embeddings/position": "embeddings.position_embeddings",
        "embeddings/norm": "embeddings.LayerNorm",
        f"{LAYERS}/query": "transformer.layer.*.attention.q_lin",
        f"{LAYERS}/key": "transformer.layer.*.attention.k_lin",
        f"{LAYERS}/value": "transformer.layer.*.attention.v_lin",
        f"{LAYERS}/attention_output": "transformer.layer.*.attention.out_lin",
        f"{LAYERS}/attention_norm": "transformer.layer.*.sa_layer_norm",
        f"{LAYERS}/intermediate": "transformer.layer.*.ffn.lin1",
        f"{LAYERS}/output": "transformer.layer.*.ffn.lin2",
        f"{LAYERS}/output_norm": "transformer.layer.*.output_layer_norm",
    },
    {"pooler": "pre_classifier", "classifier": "classifier"},
    fixed={"type_vocab_size": 0, "layer_norm_eps": 1e-12, "pooler_act": "relu"},
    spare=(
        "distilbert.embeddings.position_ids",
        "pre_classifier.",
        "classifier.",
        "vocab_",
    ),
    dropout={
        name: setting
        for name, setting in _BERT.dropout.items()
        if name != "attention_output"
    },
)
_ALBERT_LAYER = "encoder.albert_layer_groups.*.albert_layers.0"
_ALBERT = Architecture(
    "albert",
    "AlbertForSequenceClassification",
    "albert",
    _keys(
        "embedding_size",
        "num_hidden_groups",
        classifier_dropout="classifier_dropout_prob",
    ),
    {
        "embeddings/word": "embeddings.word_embeddings",
        "embeddings/position": "embeddings.position_embeddings",
        "embeddings/token_type": "embeddings.token_type_embeddings",
        "embeddings/norm": "embeddings.LayerNorm",
        "embeddings/project": "encoder.embedding_hidden_mapping_in",
        f"{LAYERS}/query": f"{_ALBERT_LAYER}.attention.query",
        f"{LAYERS}/key": f"{_ALBERT_LAYER}.attention.key",
        f"{LAYERS}/value": f"{_ALBERT_LAYER}.attention.value",
        f"{LAYERS}/attention_output": f"{_ALBERT_LAYER}.attention.dense",
        f"{LAYERS}/attention_norm": f"{_ALBERT_LAYER}.attention.LayerNorm",
        f"{LAYERS}/intermediate": f"{_ALBERT_LAYER}.ffn",
        f"{LAYERS}/output": f"{_ALBERT_LAYER}.ffn_output",
        f"{LAYERS}/output_norm": f"{_ALBERT_LAYER}.full_layer_layer_norm",
    },
    {"pooler": "albert.pooler", "classifier": "classifier"},
    fixed={"always_projects": True},
    refused={"position_embedding_type": "absolute", "inner_group_num": 1},
    spare=(
        "albert.embeddings.position_ids",
        "albert.pooler.",
        "classifier.",
        "predictions.",
        "sop_classifier.",
    ),
    dropout={
        name: setting for name, setting in _BERT.dropout.items() if name != "output"
    },
)
_DEBERTA = Architecture(
    "deberta-v2",
    "DebertaV2ForSequenceClassification",
    "deberta",
    _keys(
        "embedding_size",
        "relative_attention",
        "position_biased_input",
        "max_relative_positions",
        "position_buckets",
        "pos_att_type",
        "share_att_key",
        "norm_rel_ebd",
        "pooler_dropout",
        classifier_dropout="cls_dropout",
        pooler_act="pooler_hidden_act",
    ),
    {
        **_POST_NORM,
        "embeddings/project": "embeddings.embed_proj",
        "embeddings/relative": "encoder.rel_embeddings",
        "embeddings/relative_norm": "encoder.LayerNorm",
        f"{LAYERS}/query": "encoder.layer.*.attention.self.query_proj",
        f"{LAYERS}/key": "encoder.layer.*.attention.self.key_proj",
        f"{LAYERS}/value": "encoder.layer.*.attention.self.value_proj",
        f"{LAYERS}/position_key": "encoder.layer.*.attention.self.pos_key_proj",
        f"{LAYERS}/position_query": "encoder.layer.*.attention.self.pos_query_proj",
    },
    {"pooler": "pooler.dense", "classifier": "classifier"},
    fixed={"projects_first": True, "project_bias": False},
    refused={"conv_kernel_size": 0},
    spare=(
        "deberta.embeddings.position_ids",
        "deberta.embeddings.position_embeddings.",
        "pooler.",
        "classifier.",
        "cls.",
        "lm_predictions.",
        "mask_predictions.",
    ),
    dropout={
        **_BERT.dropout,
        "relative": "hidden_dropout_prob",
        "pooler": "pooler_dropout",
    },
)
_PRE_NORM = {"pre_norm": True, "position_biased_input": False, "type_vocab_size": 0}
_MODERNBERT = Architecture(
    "modernbert",
    "ModernBertForSequenceClassification",
    "model",
    _keys(
        "layer_types",
        "rope_parameters",
        "local_attention",
        "norm_bias",
        "mlp_bias",
        "embedding_dropout",
        "mlp_dropout",
        without=("type_vocab_size", "hidden_dropout_prob"),
        hidden_act="hidden_activation",
        layer_norm_eps="norm_eps",
        attention_probs_dropout_prob="attention_dropout",
        query_bias="attention_bias",
        attention_output_bias="attention_bias",
        pooling="classifier_pooling",
        pooler_act="classifier_activation",
        pooler_bias="classifier_bias",
    ),
    {
        "embeddings/word": "embeddings.tok_embeddings",
        "embeddings/norm": "embeddings.norm",
        f"{LAYERS}/query_key_value": "layers.*.attn.Wqkv",
        f"{LAYERS}/attention_output": "layers.*.attn.Wo",
        f"{LAYERS}/attention_norm": "layers.*.attn_norm",
        f"{LAYERS}/gate_intermediate": "layers.*.mlp.Wi",
        f"{LAYERS}/output": "layers.*.mlp.Wo",
        f"{LAYERS}/output_norm": "layers.*.mlp_norm",
        "final_norm": "final_norm",
    },
    {"pooler": "head.dense", "head/norm": "head.norm", "classifier": "classifier"},
    fixed={
        **_PRE_NORM,
        "fused": True,
        "gated": True,
        "norms_first_input": False,
        "pooler_norm": True,
    },
    spare=("head.", "classifier.", "decoder."),
    dropout={
        "embeddings": "embedding_dropout",
        "attention": "attention_probs_dropout_prob",
        "attention_output": "attention_probs_dropout_prob",
        "intermediate": "mlp_dropout",
        "classifier": "classifier_dropout",
    },
)
_LLAMA = Architecture(
    "llama",
    "LlamaForSequenceClassification",
    "model",
    _keys(
        "num_key_value_heads",
        "head_dim",
        "rope_parameters",
        "mlp_bias",
        without=("type_vocab_size", "hidden_dropout_prob", "classifier_dropout"),
        layer_norm_eps="rms_norm_eps",
        attention_probs_dropout_prob="attention_dropout",
        query_bias="attention_bias",
        attention_output_bias="attention_bias",
    ),
    {
        "embeddings/word": "embed_tokens",
        f"{LAYERS}/query": "layers.*.self_attn.q_proj",
        f"{LAYERS}/key": "layers.*.self_attn.k_proj",
        f"{LAYERS}/value": "layers.*.self_attn.v_proj",
        f"{LAYERS}/attention_output": "layers.*.self_attn.o_proj",
        f"{LAYERS}/attention_norm": "layers.*.input_layernorm",
        f"{LAYERS}/gate": "layers.*.mlp.gate_proj",
        f"{LAYERS}/intermediate": "layers.*.mlp.up_proj",
        f"{LAYERS}/output": "layers.*.mlp.down_proj",
        f"{LAYERS}/output_norm": "layers.*.post_attention_layernorm",
        "final_norm": "norm",
    },
    {"classifier": "score"},
    fixed={
        **_PRE_NORM,
        "causal": True,
        "gated": True,
        "norm": "rms",
        "norms_embeddings": False,
        "pooling": "last",
        "pooler_act": None,
        "classifier_bias": False,
        "classifier_dropout": 0.0,
    },
    spare=("score.", "lm_head."),
    dropout={"attention": "attention_probs_dropout_prob"},
    special_tokens=None,
)
_QWEN2 = dataclasses.replace(
    _LLAMA,
    model_type="qwen2",
    classifier="Qwen2ForSequenceClassification",
    keys=_keys(
        "num_key_value_heads",
        "rope_parameters",
        without=("type_vocab_size", "hidden_dropout_prob", "classifier_dropout"),
        layer_norm_eps="rms_norm_eps",
        attention_probs_dropout_prob="attention_dropout",
    ),
    fixed={
        **_LLAMA.fixed,
        "query_bias": True,
        "attention_output_bias": False,
        "mlp_bias": False,
    },
    refused={"use_sliding_window": False},
)

ARCHITECTURES: Mapping[str, Architecture] = {
    family.model_type: family
    for family in (
        _BERT,
        _ROBERTA,
        dataclasses.replace(
            _ROBERTA,
            model_type="xlm-roberta",
            classifier="XLMRobertaForSequenceClassification",
        ),
        dataclasses.replace(
            _ROBERTA,
            model_type="camembert",
            classifier="CamembertForSequenceClassification",
        ),
        _DISTILBERT,
        _ELECTRA,
        _MPNET,
        _ALBERT,
        _DEBERTA,
        _MODERNBERT,
        _LLAMA,
        _QWEN2,
    )
}
"""All families, by the ``model_type`` of config.json."""
