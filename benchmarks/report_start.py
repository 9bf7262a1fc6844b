"""How long it takes from the start of a process to the first step of training.

Two processes in turn train a group of seeds: the first finds no compiled programs, the
second those of the first.

    python benchmarks/report_start.py
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

_BEGAN = time.perf_counter()

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import reporting

_LABELS = {
    "imports": "imports",
    "devices": "devices found",
    "subject": "model and examples on the device",
    "compiled": "training and evaluation compiled",
    "steps": "first steps",
}


def child(shape: str, seeds: int) -> dict[str, float]:
    """Trains a group for a few steps; seconds of each stage of the start."""
    last = _BEGAN
    seconds: dict[str, float] = {}

    def ended(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage] = now - last
        last = now

    import candidates
    import jax
    import random_task
    from bert_glue.devices import environment
    from bert_glue.training.seeds import Seed, seed_keys

    ended("imports")
    environment.keep_compiled_programs()
    jax.block_until_ready(jax.numpy.zeros(()))
    ended("devices")
    dtype = "float32"
    subject = random_task.subject(shape, "cola", dtype)
    jax.block_until_ready(subject.pretrained)
    ended("subject")
    case = candidates.Case(seeds, shape=shape, task="cola")
    trainer, _ = candidates.make_trainer(case, subject)
    trainer.compile()
    ended("compiled")
    keys = seed_keys([Seed(seed, seed) for seed in range(seeds)])
    order = trainer.order(keys.order, 0)
    state, log = trainer.start(keys.init), trainer.new_log()
    done = trainer.train(state, log, keys.noise, order, 0, 0, 2)
    jax.block_until_ready(done)
    ended("steps")
    return seconds


def measure(shape: str, seeds: int, cache: str) -> dict[str, float]:
    """Seconds of each stage in a new process, and of all of it."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--child", shape, "--seeds", str(seeds)],
        env=os.environ | {"CWGNC_CACHE": cache},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = json.loads(done.stdout.splitlines()[-1])
    return seconds | {"all": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--child", metavar="SHAPE", help=argparse.SUPPRESS)
    add("--seeds", type=int, default=25)
    add("--tiny", action="store_true", help="a tiny model, two seeds")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.seeds)))
        return
    shape, seeds = ("tiny", 2) if options.tiny else ("minilm", options.seeds)
    title = f"## {shape}, {seeds} seeds side by side\n"
    lines = [title, reporting.provenance(), ""]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("nothing compiled yet", "compiled before"):
            found[name] = measure(shape, seeds, cache)
            reporting.figure(f"start, {name}, s", f"{found[name]['all']:.1f}")
            rows = [
                [label, *(f"{column[stage]:.1f}" for column in found.values())]
                for stage, label in (_LABELS | {"all": "all"}).items()
            ]
            table = reporting.markdown_table(["seconds", *found], rows)
            reporting.write("\n".join([*lines, table]), options.output)


if __name__ == "__main__":
    main()
