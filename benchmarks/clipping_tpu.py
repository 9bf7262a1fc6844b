"""What clipping costs on a TPU, from programs compiled ahead of time, without a TPU.

Needs the package libtpu beside jax. For BERT-large shapes, each way to clip before
AdamW is compiled for TPU v5e, and the compiled program is asked for the bytes that it
moves, its fusions, its temporaries and, sharded over eight chips, its all-reduces.

    python benchmarks/clipping_tpu.py
    python benchmarks/clipping_tpu.py --layers separate --shape bert-base
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import functools
import pathlib
import re
import time
from typing import Any

import bert_shapes
import clipping
import jax
import numpy as np
import reporting
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding


def shard(shapes: Any, devices: list[Any]) -> Any:
    """Spreads each leaf's first divisible axis over the devices, first axis last."""
    if len(devices) == 1:
        sharding = SingleDeviceSharding(devices[0])
        return _with_sharding(shapes, lambda leaf: sharding)
    mesh = Mesh(np.asarray(devices), ("devices",))

    def spread(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [
            axis
            for axis in reversed(range(len(leaf.shape)))
            if leaf.shape[axis] % len(devices) == 0
        ]
        spec: list[str | None] = [None] * len(leaf.shape)
        if axes and leaf.size >= 1 << 16:
            spec[axes[0]] = "devices"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return _with_sharding(shapes, spread)


def _with_sharding(shapes: Any, choose: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=choose(leaf)
        ),
        shapes,
    )


def compile_step(way: clipping.Variant, shapes: Any, devices: list[Any]) -> Any:
    """Compiles AdamW with one way to clip, and says how many seconds that took."""
    params = shard(shapes, devices)
    adam = shard(jax.eval_shape(clipping.ADAMW.init, shapes), devices)
    start_clip = functools.partial(clipping.clip_state, way)
    clip = shard(jax.eval_shape(start_clip, shapes), devices)
    start = time.perf_counter()
    compiled = (
        jax.jit(functools.partial(clipping.step, way), donate_argnums=(1, 2, 3))
        .lower(params, params, adam, clip)
        .compile()
    )
    return compiled, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=bert_shapes.SHAPES, default="bert-large")
    parser.add_argument("--layers", choices=["stacked", "separate"], default="stacked")
    parser.add_argument("--topology", default="v5e:2x4", help="where to shard")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    stacked = options.layers == "stacked"
    shapes = bert_shapes.parameters(bert_shapes.SHAPES[options.shape], stacked)
    size = bert_shapes.size_in_bytes(shapes)
    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=options.topology
    ).devices
    ways = clipping.variants(stacked)
    moved: dict[str, float] = {}
    rows = []
    for name in ("bare", "component", "global norm"):
        single, seconds = compile_step(ways[name], shapes, devices[:1])
        sharded, _ = compile_step(ways[name], shapes, devices)
        moved[name] = single.cost_analysis()["bytes accessed"]
        rows.append(
            [
                name,
                f"{moved[name] / 1e9:.2f}",
                f"{moved[name] / (moved['bare'] + (name != 'bare') * size):.3f}",
                f"{single.memory_analysis().temp_size_in_bytes / 1e6:.1f}",
                str(len(re.findall(r" fusion\(", single.as_text()))),
                str(len(re.findall(r" all-reduce(-start)?\(", sharded.as_text()))),
                f"{seconds:.1f}",
            ]
        )
    title = (
        f"### {options.shape}, layers {options.layers}, TPU v5e: "
        f"{size / 1e9:.2f} GB of gradients\n"
    )
    header = [
        "step",
        "GB moved",
        "x (bare + one read of the gradients)",
        "temporaries, MB",
        "fusions",
        f"all-reduces on {options.topology}",
        "compilation, s",
    ]
    table = reporting.markdown_table(header, rows)
    reporting.write(
        "\n".join([reporting.provenance(), "", title, table]), options.output
    )


if __name__ == "__main__":
    main()
