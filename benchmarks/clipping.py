"""What clipping costs: AdamW bare, by component, by global norm, by block RMS.

All variants take turns in one process on the same parameters, moments and gradients,
PyTorch's (in a process and environment of its own, ``--torch-python``) among them.

    python benchmarks/clipping.py
    python benchmarks/clipping.py --shape bert-large --torch-python python-with-torch
    python benchmarks/clipping.py --compile-leaves 400
"""

import argparse
import concurrent.futures
import functools
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import bert_shapes
import few_kernels
import jax
import jax.numpy as jnp
import optax
import reporting
from few_kernels import MAX_NORM, Variant
from torch_peer import TorchPeer

import cwgnc_jax

ADAMW = optax.adamw(1e-5, weight_decay=0.01)


def variants(stacked: bool) -> dict[str, Variant]:
    """The ways to clip that are compared, by name."""
    components = cwgnc_jax.stacked("encoder/layers/.*") if stacked else None
    by_component = cwgnc_jax.clip_by_component_norm(MAX_NORM, components)
    return {
        "bare": Variant(None),
        "component": Variant(by_component),
        "component, not recorded": Variant(by_component, records=False),
        "global norm": Variant(optax.clip_by_global_norm(1.0)),
        "block RMS": Variant(optax.clip_by_block_rms(MAX_NORM)),
    }


def step(variant: Variant, gradients: Any, params: Any, adam: Any, clip: Any) -> Any:
    """One step of training after the backward pass."""
    if variant.clip is not None:
        gradients, new_clip = variant.clip.update(gradients, clip, params)
        clip = new_clip if variant.records else clip
    updates, adam = ADAMW.update(gradients, adam, params)
    return optax.apply_updates(params, updates), adam, clip


def clip_state(variant: Variant, params: Any) -> Any:
    """The clipping's state at the start."""
    return () if variant.clip is None else variant.clip.init(params)


class Jax:
    """Parameters and moments that the compiled steps of all variants pass on."""

    def __init__(self, shapes: Any, ways: dict[str, Variant], steps: int):
        self.steps = steps
        keys = jax.random.split(jax.random.key(0))
        self.gradients = bert_shapes.random_like(shapes, keys[0], 1e-3)
        self.params = bert_shapes.random_like(shapes, keys[1], 0.02)
        self.adam = ADAMW.init(self.params)
        self.clips = {name: clip_state(way, self.params) for name, way in ways.items()}
        lowered = [
            jax.jit(functools.partial(step, way), donate_argnums=(1, 2, 3)).lower(
                self.gradients, self.params, self.adam, self.clips[name]
            )
            for name, way in ways.items()
        ]
        # Side by side: with hundreds of leaves each takes long.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            compiled = pool.map(jax.stages.Lowered.compile, lowered)
            self.compiled = dict(zip(ways, compiled, strict=True))

    def bytes_moved(self, name: str) -> float:
        """Bytes that a step of the named variant reads and writes, by the compiler."""
        cost = self.compiled[name].cost_analysis() or {}
        return cost.get("bytes accessed", float("nan"))

    def time(self, name: str) -> float:
        """Seconds of a step of the named variant, of some that follow each other."""
        compiled, gradients = self.compiled[name], self.gradients
        state = self.params, self.adam, self.clips[name]
        start = time.perf_counter()
        for _ in range(self.steps):
            state = compiled(gradients, *state)
        jax.block_until_ready(state)
        elapsed = time.perf_counter() - start
        self.params, self.adam, self.clips[name] = state
        return elapsed / self.steps


def copy_seconds(size: int, steps: int) -> Callable[[], float]:
    """A step that reads and writes ``size`` bytes once: the machine's bandwidth."""
    array = jnp.zeros(size // 4, jnp.float32)
    add = jax.jit(lambda array: array + 1, donate_argnums=0)

    def timed() -> float:
        nonlocal array
        start = time.perf_counter()
        for _ in range(steps):
            array = add(array)
        jax.block_until_ready(array)
        return (time.perf_counter() - start) / steps

    return timed


def measure(name: str, stacked: bool, options: argparse.Namespace) -> str:
    """Times every variant on one shape and returns the table."""
    steps, rounds = options.steps, options.rounds
    shapes = bert_shapes.parameters(bert_shapes.SHAPES[name], stacked)
    ways = variants(stacked)
    if options.experiments:
        ways = few_kernels.variants(ways)
    runner = Jax(shapes, ways, steps)
    size = bert_shapes.size_in_bytes(shapes)
    turns: dict[str, Callable[[], float]] = {
        f"jax: {way}": functools.partial(runner.time, way) for way in ways
    }
    moved = {f"jax: {way}": runner.bytes_moved(way) for way in ways}
    copy = "jax: read and write one array of this size"
    turns[copy], moved[copy] = copy_seconds(size, steps), 2.0 * size
    if options.torch_python and not stacked:
        sizes = [leaf.shape for leaf in jax.tree.leaves(shapes)]
        settings = {"shapes": sizes, "steps": steps}
        torch = TorchPeer(options.torch_python, "torch_clipping.py", settings)
        for way in torch.names:
            turns[f"torch {torch.version}: {way}"] = functools.partial(torch.time, way)
    medians = reporting.interleave(turns, rounds)
    bare = medians["jax: bare"]
    rows = []
    for turn, seconds in medians.items():
        row = [turn, f"{1e3 * seconds:.2f}", f"{seconds / bare:.2f}"]
        if turn in moved:
            share = moved[turn] / seconds / (moved[copy] / medians[copy])
            row += [f"{moved[turn] / 1e9:.3g}", f"{100 * share:.0f}%"]
        rows.append(row + [""] * (5 - len(row)))
    layers = "stacked" if stacked else "one by one"
    _say_figures(layers, medians)
    title = f"### {name}, layers {layers}: {size / 4e6:.0f} M float32 parameters\n\n"
    header = ["step", "ms", "x bare", "GB read and written", "of the copy's rate"]
    return title + reporting.markdown_table(header, rows)


def _say_figures(layers: str, medians: Mapping[str, float]) -> None:
    """The figures of a table that a summary needs."""
    ours = medians["jax: component"]
    peers = {"the bare step": medians["jax: bare"]}
    for turn, seconds in medians.items():
        if turn.startswith("torch") and turn.endswith(": bare"):
            peers["PyTorch's fused step"] = seconds
    for peer, seconds in peers.items():
        name = f"clipping by component, layers {layers}: x {peer}"
        reporting.figure(name, f"{ours / seconds:.2f}")


def measure_compilation(count: int, repeats: int) -> str:
    """Times the compilation of every variant for ``count`` separate leaves.

    Tracing and lowering are part of it. Processor time is shown beside the clock's:
    other programs on the machine lengthen it less.
    """
    shapes = bert_shapes.many_leaves(count)
    adam = jax.eval_shape(ADAMW.init, shapes)
    ways = variants(stacked=False)

    processor: dict[str, list[float]] = {name: [] for name in ways}

    def compile_once(name: str, way: Variant) -> float:
        clip = jax.eval_shape(functools.partial(clip_state, way), shapes)
        start, processor_start = time.perf_counter(), time.process_time()
        jax.jit(functools.partial(step, way)).lower(
            shapes, shapes, adam, clip
        ).compile()
        processor[name].append(time.process_time() - processor_start)
        return time.perf_counter() - start

    steps = {
        name: functools.partial(compile_once, name, way) for name, way in ways.items()
    }
    medians = reporting.interleave(steps, repeats, warm_up=1)
    used = {name: statistics.median(found[1:]) for name, found in processor.items()}
    rows = [
        [
            name,
            f"{seconds:.2f}",
            f"{seconds / medians['global norm']:.2f}",
            f"{used[name]:.2f}",
            f"{used[name] / used['bare']:.2f}",
            f"{used[name] / used['global norm']:.2f}",
        ]
        for name, seconds in medians.items()
    ]
    header = ["compilation", "s", "x global norm"]
    header += ["processor s", "x bare", "x global norm"]
    return f"### {count} leaves\n\n" + reporting.markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", choices=bert_shapes.SHAPES, default="bert-base", help="which BERT"
    )
    parser.add_argument(
        "--layers", choices=["stacked", "separate", "both"], default="both"
    )
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds")
    parser.add_argument(
        "--steps",
        type=int,
        default=1,
        help="steps that follow each other in a round; on a GPU 20, so that what is "
        "timed is not the launching of one",
    )
    parser.add_argument(
        "--experiments",
        action="store_true",
        help="ways to launch fewer kernels for separate leaves",
    )
    parser.add_argument("--torch-python", help="a Python that has PyTorch")
    parser.add_argument(
        "--compile-leaves", type=int, help="time the compilation of so many leaves"
    )
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    origin = reporting.provenance()
    if options.compile_leaves:
        tables = [measure_compilation(options.compile_leaves, options.rounds)]
    else:
        tables = [
            measure(options.shape, stacked, options)
            for stacked in (True, False)
            if options.layers in ("both", "stacked" if stacked else "separate")
        ]
    reporting.write("\n\n".join([origin, *tables]), options.output)


if __name__ == "__main__":
    main()
