"""One fine-tuning step of an encoder, beside transformers and PyTorch.

Both do the same: forward pass with dropout, backward pass, each parameter's gradient
clipped on its own, AdamW; float32, on the CPU. They take turns, and so does another
checkout of this project, where one is named.

    python benchmarks/finetune_step.py --torch-python python-with-torch
    python benchmarks/finetune_step.py --model path/to/checkpoint --lengths 32,128
    python benchmarks/finetune_step.py --before ../old
"""

import argparse
import functools
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import jax
import jax.numpy as jnp
import optax
import reporting
from bert_glue.model import checkpoint
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import SequenceClassifier, initial_params, separate
from flax import nnx
from torch_peer import TorchPeer

import cwgnc_jax

MAX_NORM = 0.05

# The sizes of MiniLM-L6-H384.
MINILM = EncoderConfig(
    hidden_size=384,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=1536,
)


class Training:
    """Parameters and optimizer state, and a compiled step for each length.

    Args:
      config: sizes of the model.
      batch: number of examples.
      **options: how the layers are computed, as for an encoder.
    """

    def __init__(self, config: EncoderConfig, batch: int, **options: Any):
        self.config = config
        self.batch = batch
        self.structure, _ = separate(
            nnx.eval_shape(
                lambda: SequenceClassifier(config, 2, rngs=nnx.Rngs(0), **options)
            )
        )
        self.optimizer = cwgnc_jax.cwgnc_adamw(
            2e-5, MAX_NORM, components=cwgnc_jax.stacked("encoder/layers/.*")
        )
        params = jax.jit(functools.partial(initial_params, config, 2))(
            jax.random.key(0)
        )
        self.state = params, self.optimizer.init(params)
        self._step = jax.jit(self._one_step, donate_argnums=0)

    def timer(self, length: int) -> Callable[[], float]:
        """A function that does a step with batches of one length, and times it."""
        inputs = jax.random.randint(
            jax.random.key(1), (self.batch, length), 1000, self.config.vocab_size
        )
        labels = jnp.zeros(self.batch, jnp.int32)

        def timed() -> float:
            start = time.perf_counter()
            self.state = jax.block_until_ready(
                self._step(self.state, inputs, labels, jax.random.key(2))
            )
            return time.perf_counter() - start

        return timed

    def _one_step(self, state: Any, inputs: Any, labels: Any, key: Any) -> Any:
        params, opt_state = state

        def loss(params: Any) -> jax.Array:
            model = nnx.merge(self.structure, params)
            types, mask = jnp.zeros_like(inputs), jnp.ones_like(inputs)
            logits = model(inputs, types, mask, dropout_key=key)
            return optax.softmax_cross_entropy_with_integer_labels(
                logits, labels
            ).mean()

        gradients = jax.grad(loss)(params)
        updates, opt_state = self.optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", help="take the sizes of this checkpoint (default: MiniLM-L6's)"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lengths", default="32,128", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds")
    parser.add_argument("--torch-python", help="a Python that has torch, transformers")
    parser.add_argument(
        "--before", type=pathlib.Path, help="another checkout, for MiniLM's sizes"
    )
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    config = (
        checkpoint.read_config(checkpoint.find(options.model))
        if options.model
        else MINILM
    )
    lengths = [int(length) for length in options.lengths.split(",")]
    training = Training(config, options.batch)
    steps = {f"jax {length}": training.timer(length) for length in lengths}
    settings = {
        "config": config.to_dict(),
        "batch": options.batch,
        "lengths": lengths,
        "max_norm": MAX_NORM,
    }
    peers = []
    if options.torch_python:
        peers.append("torch")
        torch = TorchPeer(options.torch_python, "torch_finetune_step.py", settings)
        for length in lengths:
            steps[f"torch {length}"] = functools.partial(torch.time, str(length))
    if options.before:
        peers.append("before")
        older = TorchPeer(
            sys.executable,
            "older_finetune_step.py",
            settings | {"tree": str(options.before.resolve())},
        )
        for length in lengths:
            steps[f"before {length}"] = functools.partial(older.time, str(length))
    medians = reporting.interleave(steps, options.rounds)
    rows = []
    for length in lengths:
        row = [str(length), f"{1e3 * medians[f'jax {length}']:.0f}"]
        for peer in peers:
            seconds = medians[f"{peer} {length}"]
            ratio = seconds / medians[f"jax {length}"]
            row += [f"{1e3 * seconds:.0f}", f"{ratio:.2f}"]
        rows.append(row)
    header = ["length", "jax, ms"]
    for peer in peers:
        header += [f"{peer}, ms", "x ours"]
    title = f"### A step of batch {options.batch}, {options.rounds} rounds, medians\n"
    report = [reporting.provenance(), "", title]
    reporting.write(
        "\n".join([*report, reporting.markdown_table(header, rows)]), options.output
    )


if __name__ == "__main__":
    main()
