"""How many kernels each way to clip launches, layers one by one.

Counted in the compiled program of AdamW with clipping before it: each instruction that
runs by itself. On a TPU, whose program is compiled ahead of time where the package
libtpu is, copies in the background are left out, and scalars are counted apart, as the
scalar unit sees to them.

    python benchmarks/clipping_kernels.py --layers 4
    python benchmarks/clipping_kernels.py --layers 4 --tpu
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import dataclasses
import pathlib
import re

import bert_shapes
import clipping
import clipping_tpu
import few_kernels
import jax
import reporting
from jax.experimental import topologies

# What no kernel is launched for: names of what is there, and copies ahead of their use.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_BACKGROUND = re.compile(r"(slice|copy|async)-(start|update|done)")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (.*?)\s([a-z][a-z0-9-]*)\(")
_SCALAR = re.compile(r"[a-z0-9]+\[\]")


def kernels(program: str) -> tuple[int, int]:
    """Kernels of a compiled program's main computation, and operations on scalars."""
    entry = program[program.index("\nENTRY") :].splitlines()[2:]
    large = small = 0
    for line in entry:
        if line.startswith("}"):
            break
        found = _INSTRUCTION.match(line)
        if found is None or found[2] in _FREE or _BACKGROUND.fullmatch(found[2]):
            continue
        # A fusion whose result is one number may have read a whole leaf.
        if _SCALAR.match(found[1]) and found[2] not in ("fusion", "reduce"):
            small += 1
        else:
            large += 1
    return large, small


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=bert_shapes.SHAPES, default="bert-large")
    parser.add_argument("--layers", type=int, help="fewer than the shape's own")
    parser.add_argument("--tpu", action="store_true", help="for TPU v5e, ahead of time")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    shape = bert_shapes.SHAPES[options.shape]
    if options.layers is not None:
        shape = dataclasses.replace(shape, layers=options.layers)
    shapes = bert_shapes.parameters(shape, stacked=False)
    devices = jax.devices()[:1]
    if options.tpu:
        described = topologies.get_topology_desc(
            platform="tpu", topology_name="v5e:2x2"
        )
        devices = described.devices[:1]
    library = clipping.variants(stacked=False)
    ways = {**library, **few_kernels.variants(library)}
    rows = []
    for name, way in ways.items():
        compiled, seconds = clipping_tpu.compile_step(way, shapes, devices)
        large, small = kernels(compiled.as_text())
        rows.append(
            [
                name,
                str(large),
                str(small),
                f"{compiled.memory_analysis().temp_size_in_bytes / 1e6:.1f}",
                f"{compiled.cost_analysis()['bytes accessed'] / 1e9:.2f}",
                f"{seconds:.1f}",
            ]
        )
    count = len(jax.tree.leaves(shapes))
    where = "TPU v5e, never run" if options.tpu else "CPU"
    title = f"### {options.shape}, {shape.layers} layers one by one: {count} leaves, "
    header = ["step", "kernels", "on scalars", "temporaries, MB", "GB moved"]
    header += ["compilation, s"]
    table = reporting.markdown_table(header, rows)
    lines = [reporting.provenance(), "", title + where, "", table]
    reporting.write("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
