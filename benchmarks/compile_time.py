"""How long the scripts' training programs take to compile, and whether depth matters.

BERT-large at three depths, and BERT-base: batch 16, length 128, float32, component
clipping and AdamW, for the device that is there. A task with three lengths of batches,
as RTE has, takes a program for each.

    python benchmarks/compile_time.py --output compile_time.md

Depths take turns, each program traced and compiled anew; no cache of compiled programs
is used.
"""

import argparse
import dataclasses
import functools
import pathlib
import statistics
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import jax
import reporting
from abstract_training import LENGTH, workload
from bert_glue.model.config import EncoderConfig
from bert_glue.training.methods import METHODS
from bert_glue.training.trainer import Trainer
from finetune import SHAPES

LARGE = SHAPES["bert-large"]
CASES = {
    "bert-large, 6 layers": dataclasses.replace(LARGE, num_hidden_layers=6),
    "bert-large, 12 layers": dataclasses.replace(LARGE, num_hidden_layers=12),
    "bert-large, 24 layers": LARGE,
    "bert-base, 12 layers": SHAPES["bert-base"],
}


def lower(config: EncoderConfig) -> jax.stages.Lowered:
    """Traces a training program.

    Args:
      config: sizes of the model.

    Returns:
      The program, ready to be compiled.
    """
    task = workload(config, dtype="float32")
    return Trainer(task, METHODS["cwgnc"], 1, buckets=(LENGTH,)).lower()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="compilations of each")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    tracing: dict[str, list[float]] = {name: [] for name in CASES}

    def build(name: str) -> float:
        jax.clear_caches()
        start = time.perf_counter()
        lowered = lower(CASES[name])
        tracing[name].append(time.perf_counter() - start)
        start = time.perf_counter()
        lowered.compile()
        return time.perf_counter() - start

    turns = {name: functools.partial(build, name) for name in CASES}
    medians = reporting.interleave(turns, options.rounds, warm_up=0)
    header = ["model", "tracing, s", "compilation, s", "compilation, x 24 layers"]
    deep = medians["bert-large, 24 layers"]
    rows = [
        [
            *(name, f"{statistics.median(tracing[name]):.1f}"),
            *(f"{seconds:.1f}", f"{seconds / deep:.2f}"),
        ]
        for name, seconds in medians.items()
    ]
    title = f"### Training step, batch 16, float32; medians of {options.rounds}\n"
    table = reporting.markdown_table(header, rows)
    reporting.write(
        "\n".join([reporting.provenance(), "", title, table]), options.output
    )


if __name__ == "__main__":
    main()
