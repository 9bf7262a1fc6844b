"""Records what transformers and PyTorch compute, for the tests of all families.

    python tests/data/record_encoder_oracles.py [FAMILY ...]

Needs torch and transformers, in an environment of their own. Tiny models are written to
``tests/data/encoders/NAME`` as Hugging Face checkpoints, with ``expected.npz`` beside
them: inputs, hidden states, logits, loss, gradients. Buckets of distances, of MPNet
and DeBERTa-v2, go to ``tests/data/distance_buckets.npz``.
"""

import argparse
import pathlib
import shutil

import numpy as np
import torch
import transformers
from record_bert_oracles import write

DATA = pathlib.Path(__file__).parent

SIZES = {
    "vocab_size": 31,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "max_position_embeddings": 48,
}
DECODER = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}

# Name of the case -> classes of transformers, settings beside the sizes.
CASES = {
    "roberta": ("Roberta", {"type_vocab_size": 1}),
    "roberta_regression": ("Roberta", {"num_labels": 1, "pad_token_id": 3}),
    "xlm_roberta": ("XLMRoberta", {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "camembert": ("Camembert", {"type_vocab_size": 1, "num_labels": 3}),
    "distilbert": ("DistilBert", {}),
    "distilbert_relu": ("DistilBert", {"activation": "relu", "num_labels": 3}),
    "electra_factorised": ("Electra", {"embedding_size": 6}),
    "electra": ("Electra", {"embedding_size": 12, "num_labels": 3}),
    "mpnet": ("MPNet", {}),
    "mpnet_three_labels": (
        "MPNet",
        {"num_labels": 3, "num_attention_heads": 3},
    ),
    "albert_one_group": ("Albert", {"embedding_size": 6}),
    "albert_two_groups": (
        "Albert",
        {"embedding_size": 12, "num_hidden_groups": 2, "num_hidden_layers": 4},
    ),
    "deberta_v2": ("DebertaV2", {**DEBERTA, "type_vocab_size": 2}),
    "deberta_v3": (
        "DebertaV2",
        {
            **DEBERTA,
            "position_biased_input": False,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        },
    ),
    "deberta_v2_c2p_factorised": (
        "DebertaV2",
        {
            "relative_attention": True,
            "pos_att_type": ["c2p"],
            "max_relative_positions": 9,
            "embedding_size": 6,
            "num_labels": 3,
        },
    ),
    "deberta_v2_absolute": ("DebertaV2", {"relative_attention": False}),
    "modernbert": ("ModernBert", {**DECODER, "local_attention": 8}),
    "modernbert_mean_with_biases": (
        "ModernBert",
        {
            **DECODER,
            "local_attention": 4,
            "num_hidden_layers": 4,
            "classifier_pooling": "mean",
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "num_labels": 3,
        },
    ),
    "llama": ("Llama", {**DECODER, "num_key_value_heads": 1}),
    "llama_31_with_biases": (
        "Llama",
        {
            **DECODER,
            "num_key_value_heads": 2,
            "num_attention_heads": 4,
            "head_dim": 4,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": LLAMA3,
            "num_labels": 3,
        },
    ),
    "qwen2": ("Qwen2", {**DECODER, "num_key_value_heads": 1}),
    "qwen2_regression": (
        "Qwen2",
        {
            **DECODER,
            "hidden_size": 16,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_labels": 1,
        },
    ),
}
DISTILBERT = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    for name in parser.parse_args().names or CASES:
        kind, settings = CASES[name]
        record(DATA / "encoders" / name, [*CASES].index(name), kind, settings)
    record_buckets(DATA / "distance_buckets.npz")


def record(folder: pathlib.Path, seed: int, kind: str, settings: dict) -> None:
    """Writes a tiny model, its inputs, hidden states, logits, loss and gradients."""
    torch.manual_seed(seed)
    sizes = {**SIZES, **settings}
    if kind == "DistilBert":
        sizes = {DISTILBERT.get(key, key): value for key, value in sizes.items()}
    if kind == "ModernBert":
        sizes |= {"cls_token_id": 1, "sep_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    make = getattr(transformers, f"{kind}ForSequenceClassification")
    model = make._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        # Larger than at initialisation, so that every part leaves its mark.
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch, length = 4, 37
    tokens = torch.randint(4, config.vocab_size, (batch, length))
    mask = torch.ones(batch, length, dtype=torch.long)
    for row, padding in enumerate((0, 1, 12, length - 1)):
        mask[row, length - padding :] = 0
    tokens = torch.where(mask > 0, tokens, config.pad_token_id)
    inputs = {"input_ids": tokens, "attention_mask": mask}
    types = getattr(config, "type_vocab_size", 0)
    if types:
        inputs["token_type_ids"] = torch.randint(0, types, (batch, length))
    labels = (
        torch.randn(batch)
        if config.num_labels == 1
        else torch.randint(0, config.num_labels, (batch,))
    )
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, model, inputs, labels)


def record_buckets(path: pathlib.Path) -> None:
    """Writes the buckets of all distances of up to 511 tokens, from key to query."""
    from transformers.models.deberta_v2 import modeling_deberta_v2
    from transformers.models.mpnet import modeling_mpnet

    distance = torch.arange(-511, 512)
    of_key = modeling_mpnet.MPNetEncoder.relative_position_bucket
    np.savez_compressed(
        path,
        distance=distance.numpy(),
        mpnet=of_key(-distance, num_buckets=32).numpy(),
        deberta=modeling_deberta_v2.make_log_bucket_position(distance, 256, 512)
        .long()
        .numpy(),
    )


if __name__ == "__main__":
    main()
