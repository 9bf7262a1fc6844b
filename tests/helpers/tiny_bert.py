"""A BERT of a few thousand parameters with a vocabulary of a few words, in a folder."""

import pathlib
from typing import Any

import jax
import numpy as np
from bert_glue.data import load
from bert_glue.model import checkpoint
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import SequenceClassifier
from bert_glue.training import subjects
from bert_glue.training.subjects import Subject
from flax import nnx

_WORDS = "the a cat dog bird sees hears likes runs sleeps small big red old never"
WORDS = (*_WORDS.split(" "), "young", "often")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

CONFIG = EncoderConfig(
    vocab_size=len(WORDS) + len(SPECIAL),
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,
)


def parameters(config: EncoderConfig = CONFIG) -> dict[str, Any]:
    """Random parameters of embeddings and encoder."""
    shapes = jax.eval_shape(
        lambda: nnx.to_pure_dict(
            nnx.state(SequenceClassifier(config, 2, rngs=nnx.Rngs(0)), nnx.Param)
        )
    )
    rng = np.random.default_rng(7)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        name = path[-1].key
        if name in ("bias", "scale"):
            return np.full(leaf.shape, name == "scale", np.float32)
        return rng.normal(0, 0.02, leaf.shape).astype(np.float32)

    drawn = jax.tree_util.tree_map_with_path(draw, shapes)
    return {name: drawn[name] for name in ("embeddings", "encoder")}


def save(folder: pathlib.Path, config: EncoderConfig = CONFIG) -> pathlib.Path:
    """Writes the model, with neither pooler nor classifier."""
    checkpoint.save(folder, config, parameters(config))
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n")
    return folder


def sentences(count: int, seed: int) -> list[tuple[str, int]]:
    """Sentences of 2 to 18 words, labelled by a cat among their first two."""
    import random

    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.choice(WORDS) for _ in range(draw.choice((2, 3, 4, 5, 9, 18)))]
        if draw.random() < 0.5:
            words[draw.randrange(2)] = "cat"
        rows.append((" ".join(words), int("cat" in words[:2])))
    return rows


def write_tsv(path: pathlib.Path, count: int, seed: int, labels: bool = True) -> str:
    """Writes a TSV file of such sentences; gives back its path as text."""
    rows = sentences(count, seed)
    lines = ["sentence\tlabel" if labels else "sentence"]
    lines += [f"{text}\t{label}" if labels else text for text, label in rows]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def prepare(
    folder: pathlib.Path, train: int, dev: int, config: EncoderConfig = CONFIG
) -> Subject:
    """The model in a folder, and so many sentences to train on and to score."""
    data = load.load_files(
        write_tsv(folder / "train.tsv", train, seed=0),
        write_tsv(folder / "dev.tsv", dev, seed=1),
    )
    return subjects.prepare(data, save(folder / "model", config))
