"""Pretrains the small BERT that comes with the examples, by masked-language modelling.

The text is what `bert_glue.data.generated.corpus` makes: grammatical sentences and
pairs of them, without labels, none of which is in a development set of the generated
tasks. The folder that is written has the Hugging Face layout. The one in
`bert_glue/model/embedded` came from this script with its default options.

    python examples/pretrain_embedded.py --output my_model
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bert_glue.data import generated, tokenization
from bert_glue.data.english.vocabulary import vocabulary
from bert_glue.data.examples import Examples
from bert_glue.model import checkpoint
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import MaskedLM, separate
from flax import nnx
from jaxtyping import Array

EMBEDDED = pathlib.Path(__file__).parent / "bert_glue" / "model" / "embedded"
PIECES = vocabulary()
PADDING, MASK = PIECES.index("[PAD]"), PIECES.index("[MASK]")
ORDINARY = MASK + 1  # special pieces come first; they are neither masked nor drawn
STEPS_PER_CALL = 20

log = logging.getLogger("pretrain_embedded")


class Batch(NamedTuple):
    """Some examples, int32: pieces and token types of shape (batch, length)."""

    pieces: Array | np.ndarray
    types: Array | np.ndarray


def write_tokenizer(folder: pathlib.Path) -> None:
    """Writes a lower-casing WordPiece tokenizer of the grammar's vocabulary.

    Args:
      folder: where tokenizer.json, vocab.txt and tokenizer_config.json go.
    """
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    settings |= {"model_max_length": 128}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def encode_corpus(seed: int, size: int, folder: pathlib.Path) -> list[Batch]:
    """Makes the text and sorts it by length.

    Args:
      seed: of the text.
      size: number of examples, each one sentence or two.
      folder: holds the tokenizer.

    Returns:
      For each padded length (a multiple of 8) the examples that fit it.
    """
    texts = list(itertools.islice(generated.corpus(seed), size))
    encoded = tokenization.encode(
        Examples(texts, None), tokenization.load_tokenizer(folder), max_length=128
    ).data
    padded = -(-encoded.lengths // 8) * 8
    buckets = []
    for length in sorted(set(padded.tolist())):
        chosen = padded == length
        pieces = encoded.input_ids[chosen, :length].astype(np.int16)
        types = encoded.token_type_ids[chosen, :length].astype(np.int8)
        buckets.append(Batch(pieces, types))
    return buckets


def corrupt(key: Array, pieces: Array, share: float) -> tuple[Array, Array]:
    """Hides pieces: of those chosen 60% are masked, 25% replaced, 15% left.

    BERT replaces and leaves 10% each, and draws replacements from the vocabulary. Here
    they are more, and are drawn from the batch, so that 'is' often stands for 'are':
    what a small model is to learn is to notice a word that does not fit.

    Args:
      key: of the random choices.
      pieces: int32 of shape (batch, length).
      share: probability that a piece is chosen.

    Returns:
      The corrupted pieces, and whether each is to be predicted.
    """
    choose, fate, draw = jax.random.split(key, 3)
    chosen = jax.random.uniform(choose, pieces.shape) < share
    chosen &= pieces >= ORDINARY
    fates = jax.random.uniform(fate, pieces.shape)
    positions = jax.random.randint(draw, pieces.shape, 0, pieces.size)
    drawn = pieces.ravel()[positions]
    drawn = jnp.where(drawn >= ORDINARY, drawn, MASK)
    hidden = jnp.where(fates < 0.6, MASK, jnp.where(fates < 0.85, drawn, pieces))
    return jnp.where(chosen, hidden, pieces), chosen


def masked_loss(
    params: Any, structure: nnx.GraphDef, batch: Batch, key: Array, share: float
) -> Array:
    """Mean cross-entropy of the hidden pieces, in nats."""
    pieces, types = (jnp.asarray(part, jnp.int32) for part in batch)
    inputs, chosen = corrupt(key, pieces, share)
    model = nnx.merge(structure, params)
    logits = model(inputs, types, (pieces != PADDING).astype(jnp.int32))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, pieces)
    return jnp.sum(losses * chosen) / jnp.maximum(jnp.sum(chosen), 1)


def batches(
    rng: np.random.Generator, buckets: list[Batch], batch_size: int, calls: int
) -> Iterator[Batch]:
    """Draws the batches of one call each, all of one length; an epoch at a time."""
    queues: list[list[np.ndarray]] = [[] for _ in buckets]
    sizes = np.asarray([len(bucket.pieces) for bucket in buckets], np.float64)
    taken = batch_size * STEPS_PER_CALL
    for _ in range(calls):
        index = int(rng.choice(len(buckets), p=sizes / sizes.sum()))
        bucket, queue = buckets[index], queues[index]
        if not queue:
            order = rng.permutation(max(len(bucket.pieces), taken)) % len(bucket.pieces)
            queue += np.split(order[: len(order) // taken * taken], len(order) // taken)
        chosen = queue.pop().reshape(STEPS_PER_CALL, batch_size)
        yield Batch(bucket.pieces[chosen], bucket.types[chosen])


def pretrain(options: argparse.Namespace) -> None:
    """Trains the model and writes its folder."""
    folder = pathlib.Path(options.output)
    write_tokenizer(folder)
    log.info("making %d examples of text", options.examples)
    buckets = encode_corpus(options.seed, options.examples, folder)

    config = EncoderConfig(
        vocab_size=len(PIECES),
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=4 * options.hidden_size,
        max_position_embeddings=128,
        initializer_range=options.initializer_range,
    )
    model = MaskedLM(config, rngs=nnx.Rngs(options.seed))
    structure, params = separate(model)
    calls = -(-options.steps // STEPS_PER_CALL)
    steps = calls * STEPS_PER_CALL
    rate = optax.warmup_cosine_decay_schedule(
        0.0, options.learning_rate, steps // 20, steps, 0.02 * options.learning_rate
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, b2=0.98, weight_decay=0.01),
    )
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def train(params: Any, state: Any, many: Batch, key: Array) -> Any:
        def step(carry: Any, inputs: Any) -> Any:
            params, state = carry
            batch, key = inputs
            loss, gradients = jax.value_and_grad(masked_loss)(
                params, structure, batch, key, options.mask_share
            )
            updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), loss

        keys = jax.random.split(key, STEPS_PER_CALL)
        (params, state), losses = jax.lax.scan(step, (params, state), (many, keys))
        return params, state, losses.mean()

    key = jax.random.key(options.seed)
    rng = np.random.default_rng(options.seed)
    start, losses = time.perf_counter(), []
    drawn = batches(rng, buckets, options.batch_size, calls)
    for call, many in enumerate(drawn, 1):
        params, state, loss = train(params, state, many, jax.random.fold_in(key, call))
        losses.append(loss)
        done = call * STEPS_PER_CALL
        if call % 25 == 0 or call == calls:
            mean = float(np.mean(losses[-25:]))
            seconds = time.perf_counter() - start
            log.info("step %d of %d: loss %.3f, %.0f s", done, steps, mean, seconds)
        if options.save_every and done % options.save_every < STEPS_PER_CALL:
            checkpoint.save(folder, config, params, dtype=np.float16)
    checkpoint.save(folder, config, params, dtype=np.float16)
    log.info("wrote %s", folder)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Pretrain the small BERT of the examples on generated text.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument(
        "--examples", type=int, default=200_000, help="size of the text"
    )
    parser.add_argument("--steps", type=int, default=14_000, help="updates")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="its peak")
    parser.add_argument("--mask-share", type=float, default=0.2, help="pieces hidden")
    parser.add_argument("--hidden-size", type=int, default=128)
    # BERT's 0.02 at width 768, scaled by the root of the ratio of widths.
    parser.add_argument("--initializer-range", type=float, default=0.05)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument(
        "--save-every", type=int, default=0, help="steps; 0: at the end"
    )
    parser.add_argument("--seed", type=int, default=0, help="of text and parameters")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("jax").setLevel(logging.WARNING)
    pretrain(parse())
