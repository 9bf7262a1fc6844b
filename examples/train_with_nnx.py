"""Trains a small Flax NNX transformer whose layers are stacked and scanned.

Shows what a training of your own may need beside the clipping: thresholds by rule over
the names of components, layers of one stack kept apart, ``nnx.Optimizer``, gradients
accumulated by ``optax.MultiSteps``, norms by name in a log, and Orbax checkpoints from
which training goes on as if nothing had happened.

  python train_with_nnx.py --steps 100   half of the training
  python train_with_nnx.py               the other half; all of it in a new --folder

The task needs no data: texts repeat a random word, whose letters are to be foreseen.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from flax import nnx

import cwgnc_jax

LETTERS, WORD, LENGTH = 20, 6, 24
WIDTH, HEADS, LAYERS = 64, 4, 3
BATCH, LOG_EVERY, SAVE_EVERY = 32, 20, 50

# All layers lie in one leaf, with the layer on the first axis; each is to be clipped on
# its own. The first rule that matches a component's name, its index included, decides.
COMPONENTS = cwgnc_jax.stacked("layers/.*")
MAX_NORM = {
    ".*norm.*|letters/.*|places/.*": None,  # left alone
    r"layers/.*\[0\]": 0.1,  # the lowest layer, less tightly than the others
    ".*": 0.05,
}
CLIP = cwgnc_jax.clip_by_component_norm(MAX_NORM, COMPONENTS)
ADAMW = optax.adamw(3e-3, mask=cwgnc_jax.decay_mask)
# The mean gradient of two batches makes a step. Around both: what is clipped is the
# gradient that Adam gets, not a part of it.
TX = optax.MultiSteps(optax.chain(CLIP, ADAMW), 2).gradient_transformation()


class Layer(nnx.Module):
    """Attention and feed-forward, each after a normalisation."""

    def __init__(self, rngs):
        self.attention_norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            HEADS, WIDTH, decode=False, keep_rngs=False, rngs=rngs
        )
        self.wide_norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.wide = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.narrow = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, hidden, mask):
        """Returns hidden states, shape (batch, length, WIDTH)."""
        hidden += self.attention(self.attention_norm(hidden), mask=mask)
        return hidden + self.narrow(nnx.gelu(self.wide(self.wide_norm(hidden))))


class Transformer(nnx.Module):
    """Foresees the next letter at each place of a text."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=LAYERS)
        @nnx.vmap
        def stack(rngs):
            return Layer(rngs)

        self.letters = nnx.Embed(LETTERS, WIDTH, rngs=rngs)
        self.places = nnx.Embed(LENGTH, WIDTH, rngs=rngs)
        self.layers = stack(rngs)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, LETTERS, rngs=rngs)

    def __call__(self, text):
        """Returns logits, shape (batch, length, LETTERS)."""
        hidden = self.letters(text) + self.places(jnp.arange(text.shape[1]))
        mask = nnx.make_causal_mask(text)

        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def through(hidden, layer):
            return layer(hidden, mask)

        return self.head(self.norm(through(hidden, self.layers)))


def make_batch(step):
    """Draws the texts of a step: the same ones whenever the step is taken."""
    key = jax.random.fold_in(jax.random.key(0), step)
    words = jax.random.randint(key, (BATCH, WORD), 0, LETTERS)
    return jnp.tile(words, LENGTH // WORD)


@nnx.jit
def train_step(model, optimizer, text):
    """Updates model and optimizer in place; returns loss and accuracy."""

    def loss_of(model):
        # The first word cannot be foreseen.
        logits, letters = model(text)[:, WORD - 1 : -1], text[:, WORD:]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, letters)
        return losses.mean(), (logits.argmax(-1) == letters).mean()

    (loss, accuracy), gradients = nnx.value_and_grad(loss_of, has_aux=True)(model)
    optimizer.update(model, gradients)
    return loss, accuracy


def main(arguments=None):
    """Trains, from the folder's last checkpoint on if it has one; returns the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200, help="default 200")
    parser.add_argument(
        "--folder", default="runs/train_with_nnx", help="of checkpoints"
    )
    args = parser.parse_args(arguments)
    model = Transformer(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, TX, wrt=nnx.Param)

    folder = pathlib.Path(args.folder).absolute()  # as Orbax wants it
    state = {"model": nnx.state(model), "optimizer": nnx.state(optimizer)}
    with ocp.CheckpointManager(folder / "checkpoints") as manager:
        first = manager.latest_step() or 0
        if first:
            state = manager.restore(first, args=ocp.args.StandardRestore(state))
            nnx.update(model, state["model"])
            nnx.update(optimizer, state["optimizer"])
        for step in range(first + 1, args.steps + 1):
            loss, accuracy = train_step(model, optimizer, make_batch(step))
            if step % LOG_EVERY == 0:
                params = nnx.state(model, nnx.Param)
                clip = cwgnc_jax.component_record(TX, params, optimizer)
                norms = dict(zip(clip.names, clip.norms.tolist(), strict=True))
                line = {"step": step, "loss": float(loss), "norms": norms}
                with (folder / "log.jsonl").open("a") as log:
                    print(json.dumps(line), file=log)
                largest = max(norms, key=norms.__getitem__)
                print(
                    f"step {step}: loss {loss:.3f}, accuracy {accuracy:.0%}, "
                    f"clipped {cwgnc_jax.clip_rate(clip.scales):.0%}, "
                    f"largest norm {norms[largest]:.3f} of {largest}"
                )
            if step % SAVE_EVERY == 0 or step == args.steps:
                state = {"model": nnx.state(model), "optimizer": nnx.state(optimizer)}
                manager.save(step, args=ocp.args.StandardSave(state))
    return model


if __name__ == "__main__":
    main()
