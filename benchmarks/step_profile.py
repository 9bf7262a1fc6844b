"""Where the time of a training step goes, from JAX's profiler.

Random tokens, dropout, component clipping and AdamW, all batches of one length. Beside
the causes stand the kernels that take longest, with the operation that they come from.

    python benchmarks/step_profile.py --seeds 4
    python benchmarks/step_profile.py --tiny
"""

import argparse
import collections
import functools
import pathlib
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import candidates
import jax
import random_task
import reporting
import trace_causes
from bert_glue.devices import environment
from bert_glue.training.seeds import Seed, seed_keys
from bert_glue.training.subjects import DTYPES

_MOST_KERNELS = 50


def profile(
    case: candidates.Case, dtype: str, steps: int
) -> tuple[list[trace_causes.Kernel], tuple[float, float], float]:
    """Compiles a case's training, and traces some of its steps.

    Args:
      case: what is trained.
      dtype: what is computed in.
      steps: number of steps that are traced.

    Returns:
      The kernels; microseconds in which any ran, and of all; seconds of as many steps
      that are not traced.
    """
    subject = random_task.subject(case.shape, case.task, dtype)
    trainer, _ = candidates.make_trainer(case, subject)
    compiled = trainer.lower().compile()
    keys = seed_keys([Seed(seed, seed) for seed in range(case.seeds)])
    order = trainer.order(keys.order, 0)
    take = functools.partial(
        compiled,
        numbers=trainer.placement.rows(trainer.numbers),
        data=trainer.workload.train,
    )
    carry = trainer.start(keys.init), trainer.new_log()

    def run() -> None:
        nonlocal carry
        carry = take(*carry, keys.noise, order, 0, 0, steps)
        jax.block_until_ready(carry)

    run()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        trace = trace_causes.read_trace(pathlib.Path(folder))
    events = trace_causes.kernels(trace)
    if not events:
        raise RuntimeError(f"a trace of {len(trace)} events, and none of a kernel")
    program = trace_causes.read_program(compiled.as_text() or "")
    return trace_causes.by_kernel(events, program), trace_causes.busy(events), seconds


def report(
    title: str,
    kernels: list[trace_causes.Kernel],
    busy: tuple[float, float],
    seconds: float,
    steps: int,
) -> str:
    """Tables of causes and of kernels."""
    times = collections.defaultdict[str, float](float)
    runs = collections.Counter[str]()
    for kernel in kernels:
        times[kernel.cause] += kernel.microseconds
        runs[kernel.cause] += kernel.runs
    ran, span = busy

    def row(name: str, microseconds: float, number: str = "") -> list[str]:
        share = f"{100 * microseconds / span:.1f}%" if span else ""
        return [name, f"{microseconds / steps / 1e3:.3f}", share, number]

    rows = [
        row(name, times[name], f"{runs[name] / steps:.0f}")
        for name in trace_causes.CAUSES
        if runs[name]
    ]
    total = f"{sum(runs.values()) / steps:.0f}"
    rows += [row("idle between kernels", span - ran), row("all", span, total)]
    rows.append(row("a step that is not traced", 1e6 * seconds))
    for name, milliseconds, _, _ in rows:
        reporting.figure(f"step, {title}: {name}, ms", milliseconds)
    longest = [
        [
            f"`{kernel.name}`",
            kernel.cause,
            f"{kernel.microseconds / steps:.1f}",
            f"{kernel.runs / steps:.0f}",
            f"`{kernel.source[-90:]}`" if kernel.source else "",
        ]
        for kernel in kernels[:_MOST_KERNELS]
    ]
    header = ["kernel", "cause", "microseconds a step", "runs a step", "from"]
    return "\n".join(
        [
            f"## {title}",
            "",
            reporting.markdown_table(["cause", "ms a step", "share", "kernels"], rows),
            "",
            "Where kernels run at the same time, causes add up to more than all.",
            "",
            reporting.markdown_table(header, longest),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shape", choices=random_task.SHAPES, default="bert-large")
    add("--seeds", default="4", help="numbers of seeds side by side")
    add("--dtype", choices=DTYPES, default="bfloat16")
    add("--steps", type=int, default=4, help="steps that are traced")
    add("--seconds", type=float, default=600.0, help="begin nothing later")
    add("--tiny", action="store_true", help="a tiny model")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    shape = "tiny" if options.tiny else options.shape
    environment.keep_compiled_programs()
    began, texts, took = time.monotonic(), [reporting.provenance()], 0.0
    numbers = "2" if options.tiny else options.seeds
    for seeds in map(int, numbers.split(",")):
        start = time.monotonic()
        if start - began + took > options.seconds:
            texts.append(f"No time left for {seeds} seeds.")
            break
        case = candidates.Case(seeds, shape=shape, one_length=True)
        found = profile(case, options.dtype, options.steps)
        title = f"{shape}, {seeds} seeds side by side, {options.dtype}"
        texts.append(report(title, *found, options.steps))
        # What is there is kept, whatever becomes of the next.
        reporting.write("\n\n".join(texts), options.output)
        jax.clear_caches()
        took = time.monotonic() - start


if __name__ == "__main__":
    main()
