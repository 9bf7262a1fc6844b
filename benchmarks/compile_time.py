"""How long the scripts' training programs take to compile, and whether depth matters.

BERT-large at three depths, and BERT-base: batch 16, length 128, float32, component
clipping and AdamW, for the device that is there. The program of a task with three
lengths of batches, as RTE's has, holds the model three times.

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
BUCKETS = ((LENGTH,), (64, 96, LENGTH))


def lower(config: EncoderConfig, buckets: tuple[int, ...]) -> jax.stages.Lowered:
    """Traces a training program.

    Args:
      config: sizes of the model.
      buckets: lengths of batches that it is made for.

    Returns:
      The program, ready to be compiled.
    """
    task = workload(config, dtype="float32")
    return Trainer(task, METHODS["cwgnc"], 1, buckets=buckets).lower()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="compilations of each")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    tracing: dict[tuple[str, int], list[float]] = {}

    def build(name: str, buckets: tuple[int, ...]) -> float:
        jax.clear_caches()
        start = time.perf_counter()
        lowered = lower(CASES[name], buckets)
        seconds = tracing.setdefault((name, len(buckets)), [])
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        lowered.compile()
        return time.perf_counter() - start

    turns = {
        f"{name} {len(buckets)}": functools.partial(build, name, buckets)
        for name in CASES
        for buckets in BUCKETS
    }
    medians = reporting.interleave(turns, options.rounds, warm_up=0)
    header = ["model", "lengths of batches", "tracing, s", "compilation, s"]
    header += ["compilation, x 24 layers"]
    rows = []
    for name in CASES:
        for buckets in BUCKETS:
            number = len(buckets)
            seconds = medians[f"{name} {number}"]
            deep = medians[f"bert-large, 24 layers {number}"]
            row = [name, str(number), f"{statistics.median(tracing[name, number]):.1f}"]
            rows.append([*row, f"{seconds:.1f}", f"{seconds / deep:.2f}"])
    title = f"### Training step, batch 16, float32; medians of {options.rounds}\n"
    table = reporting.markdown_table(header, rows)
    reporting.write(
        "\n".join([reporting.provenance(), "", title, table]), options.output
    )


if __name__ == "__main__":
    main()
