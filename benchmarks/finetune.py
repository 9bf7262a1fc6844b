r"""How fast fine-tuning is: real tokens a second, for one seed and for many at once.

The scripts' own training programs run on a task's own lengths, with dropout, component
clipping and AdamW; uniformly random batches, and batches of examples of like length.
transformers and PyTorch take turns with them where a Python that has them is named,
padding each batch to its own longest example (run eagerly, not compiled; with bfloat16
under autocast, where residual sums and LayerNorms stay float32). Padding is the share
of our computed tokens that are none. The share of the roofline compares with the time
that the real tokens' matrix products would take at the rate of a large one, and the
optimizer's reads and writes at the rate of a copy, both measured here.

    python benchmarks/finetune.py --torch-python python-with-torch
    python benchmarks/finetune.py --shape minilm --model MINILM --task rte,mrpc,cola \
        --data-dir GLUE --seeds 1,4 --dtype bfloat16
"""

import argparse
import dataclasses
import functools
import math
import pathlib
import statistics
import sys
import tempfile
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import jax
import numpy as np
import reporting
from bert_glue.cli import choices
from bert_glue.data import load
from bert_glue.devices import environment, memory
from bert_glue.model.encoder import initial_params
from bert_glue.study.configuration import Configuration
from bert_glue.study.programs import make_trainers
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed, seed_keys
from bert_glue.training.subjects import Subject
from random_task import SHAPES
from torch_peer import TorchPeer
from training_speed import (
    KINDS,
    PASSES,
    Training,
    copy_rate,
    flops_per_step,
    hours_of_table_1,
    matrix_rate,
)


def load_subject(options: argparse.Namespace, task: str) -> Subject:
    """The task's tokens, and a model of the shape with random weights."""
    data = (
        load.load_task(task, options.data_dir)
        if options.data_dir
        else load.load_task(task)
    )
    folder = options.model or choices.embedded_model()
    subject = subjects.prepare(data, folder, dtype=options.dtype)
    if options.shape == "embedded":
        return subject
    config = dataclasses.replace(
        SHAPES[options.shape], vocab_size=subject.config.vocab_size
    )
    params = jax.jit(functools.partial(initial_params, config, 2))(jax.random.key(0))
    pretrained = {name: params[name] for name in ("embeddings", "encoder")}
    return dataclasses.replace(
        subject, config=config, pretrained=pretrained, fresh=("pooler", "classifier")
    )


def prepare(subject: Subject, seeds: int, grouped: bool) -> tuple[Any, Any]:
    """A trainer of a task's seeds from 0 on, and their keys."""
    recipe = METHODS["cwgnc"].replace(group_by_length=grouped)
    [trainer] = make_trainers(Configuration(subject, "benchmark", recipe), seeds)
    trainer.compile()
    return trainer, seed_keys([Seed(seed, seed) for seed in range(seeds)])


def measure(
    options: argparse.Namespace, task: str, rates: tuple[float, float]
) -> tuple[list[list[str]], float, int]:
    """Rows for a task, its best seconds a step and seed, and how many examples.

    Each number of seeds takes turns with PyTorch on its own, so that the states of one
    alone need room.
    """
    subject = load_subject(options, task)
    lengths = np.asarray(subject.train.lengths)
    batch = METHODS["cwgnc"].batch_size
    kinds = {kind: KINDS[kind] for kind in options.batches}
    parameters = memory.count_parameters(subject.shapes)
    matrix, copy = rates
    floor = (
        flops_per_step(subject.config, lengths, batch) / matrix
        + 4 * PASSES * parameters / copy
    )

    def row(name: str, kind: str, per_step: float, padding: str) -> list[str]:
        share = f"{100 * floor / per_step:.0f}%"
        return [task, name, kind, *_figures(per_step, batch, lengths), padding, share]

    rows, best = [], math.inf
    peer: dict[str, list[float]] = {kind: [] for kind in kinds}
    torch = None
    for seeds in options.seeds:
        prepared = {kind: prepare(subject, seeds, kinds[kind]) for kind in kinds}
        if options.torch_python and torch is None:
            torch = _start_torch(options, subject, prepared)
        ours, theirs, padding = _take_turns(options, subject, seeds, prepared, torch)
        for kind, per_step in ours.items():
            if kind == options.batches[0]:
                best = min(best, per_step)
            rows.append(row(str(seeds), kind, per_step, f"{padding[kind]:.0%}"))
            rows[-1] += [f"{each / per_step:.2f}" for each in theirs.values()]
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
        for kind, per_step in theirs.items():
            peer[kind].append(per_step)
    if torch is not None:
        for kind, found in peer.items():
            per_step = statistics.median(found)
            rows.append(row(f"1, PyTorch {torch.version}", kind, per_step, ""))
            rows[-1] += [""] * len(kinds)
    return rows, best, len(lengths)


def _take_turns(
    options: argparse.Namespace,
    subject: Subject,
    seeds: int,
    prepared: dict[str, tuple[Any, Any]],
    torch: TorchPeer | None,
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Seconds a step and seed of ours, of PyTorch's, and our padding, by batches."""
    trainings = {
        kind: Training(subject, *found, options.steps)
        for kind, found in prepared.items()
    }
    turns = {kind: training.turn for kind, training in trainings.items()}
    if torch is not None:
        for kind in trainings:
            turns[f"torch {kind}"] = functools.partial(torch.time, kind)
    medians = reporting.interleave(turns, options.rounds)
    ours = {
        kind: medians[kind] / training.steps / seeds
        for kind, training in trainings.items()
    }
    theirs = {
        kind: medians[f"torch {kind}"] / options.steps
        for kind in trainings
        if torch is not None
    }
    return ours, theirs, {kind: each.padding for kind, each in trainings.items()}


def _start_torch(
    options: argparse.Namespace, subject: Subject, prepared: dict[str, tuple[Any, Any]]
) -> TorchPeer:
    """PyTorch with the same examples, in the orders of our first seed."""
    orders = {}
    for kind, (trainer, keys) in prepared.items():
        orders[f"order {kind}"] = np.asarray(trainer.order(keys.order, 0))[0]
    # A batch that is not full would have to be cut.
    orders = {name: order[(order >= 0).all(axis=1)] for name, order in orders.items()}
    examples = jax.tree.map(np.asarray, subject.train)._asdict()
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data.npz"
        np.savez(data, **examples, **orders)
        settings = {
            "config": subject.config.to_dict(),
            "num_labels": subject.task.num_labels,
            "data": str(data),
            "variants": list(prepared),
            "steps": options.steps,
            "dtype": options.dtype,
        }
        return TorchPeer(options.torch_python, "torch_finetune.py", settings)


def _figures(per_step: float, batch: int, lengths: np.ndarray) -> list[str]:
    rate = batch / per_step
    return [
        f"{1e3 * per_step:.1f}",
        f"{rate:.1f}",
        f"{rate * lengths.mean():,.0f}",
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shape", choices=["embedded", *SHAPES], default="embedded")
    add("--model", type=pathlib.Path, help="checkpoint whose tokenizer is used")
    add("--task", default="entailment", help="tasks, separated by commas")
    add("--data-dir", type=pathlib.Path, help="folder with GLUE's files")
    add("--seeds", default="1,4", help="numbers of seeds side by side")
    add("--batches", nargs="+", choices=KINDS, default=[*KINDS], help="one, for memory")
    add("--dtype", choices=["float32", "bfloat16"], default="float32")
    add("--steps", type=int, default=8, help="steps of a turn")
    add("--rounds", type=int, default=9, help="timed turns of each")
    add("--torch-python", help="a Python that has torch and transformers")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    options.seeds = [int(number) for number in options.seeds.split(",")]
    return options


def main() -> None:
    options = parse()
    origin = reporting.provenance()
    environment.keep_compiled_programs()
    rates = matrix_rate(subjects.DTYPES[options.dtype]), copy_rate()
    rows, seconds, examples = [], {}, {}
    for task in options.task.split(","):
        of_task, seconds[task], examples[task] = measure(options, task, rates)
        rows += of_task
    header = ["task", "seeds at once", "batches", "ms a step and seed"]
    header += ["examples/s", "real tokens/s", "padding", "share of roofline"]
    if options.torch_python:
        header += [f"x PyTorch, {kind}" for kind in options.batches]
    title = (
        f"### {options.shape}, {options.dtype}, batch 16; {options.rounds} rounds of "
        f"{options.steps} steps, medians; {rates[0] / 1e9:,.0f} GFLOP/s and "
        f"{rates[1] / 1e9:,.0f} GB/s measured\n"
    )
    lines = [origin, "", title, reporting.markdown_table(header, rows)]
    if set(seconds) == {"rte", "mrpc", "cola"}:
        hours = hours_of_table_1(seconds, examples)
        lines += [
            "",
            f"All of Table 1 (375 runs), {options.batches[0]} batches: {hours:,.1f} "
            "hours.",
        ]
    reporting.write("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
