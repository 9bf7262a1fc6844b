"""Saves a model and its logits, for PyTorch to compare.

    python tests/data/save_bert_logits.py MODEL FOLDER
    python tests/data/record_bert_oracles.py --check FOLDER  # where PyTorch is

MODEL is a checkpoint's folder, fine-tuned (``finetune_glue.py --save-model`` writes
one) or not; heads that it lacks are drawn at random. FOLDER gets the checkpoint as this
project writes it and, as ``expected_logits.npz``, a batch of random tokens with what
the model makes of it.
"""

import argparse
import pathlib
import sys

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples"))

from bert_glue.model import checkpoint
from bert_glue.model.encoder import SequenceClassifier, separate
from flax import nnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    read = checkpoint.read(options.model)
    own_head = read.tensors.get("classifier.bias")
    labels = 3 if own_head is None else len(own_head)
    structure, initial = separate(
        SequenceClassifier(read.config, labels, rngs=nnx.Rngs(0))
    )
    loaded = checkpoint.fill(read, initial)
    params = jax.device_get(loaded.params)
    rng = np.random.default_rng(1)
    for head in loaded.initialised:
        # Larger than at initialisation, so that logits differ visibly.
        params[head] = jax.tree.map(
            lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), params[head]
        )
    inputs = batch(read.config)
    model = nnx.merge(structure, params)
    logits = np.asarray(model(*inputs.values()))
    checkpoint.save(options.folder, read.config, params, tokenizer_from=read.folder)
    np.savez(options.folder / "expected_logits.npz", **inputs, logits=logits)
    drawn = ", ".join(loaded.initialised) or "nothing"
    print(f"{options.folder}: {logits.size} logits; drawn at random: {drawn}")


def batch(config: checkpoint.EncoderConfig, rows: int = 8) -> dict[str, np.ndarray]:
    """Random tokens of two sentences, padded to different lengths."""
    rng = np.random.default_rng(2)
    length = min(48, config.max_position_embeddings)
    lengths = rng.integers(2, length + 1, (rows, 1))
    places = np.arange(length)
    second = (places >= lengths // 2) & (places < lengths)
    return {
        "input_ids": np.where(
            places < lengths,
            rng.integers(0, config.vocab_size, (rows, length)),
            config.pad_token_id,
        ).astype(np.int32),
        "token_type_ids": (second & (config.type_vocab_size > 1)).astype(np.int32),
        "attention_mask": (places < lengths).astype(np.int32),
    }


if __name__ == "__main__":
    main()
