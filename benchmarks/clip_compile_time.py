"""How long the clippings themselves take to compile, by their number of leaves.

Leaves of one shape, as those of layers one by one are: whether loops over them can be
shared is what makes the difference.

    python benchmarks/clip_compile_time.py --output clip_compile_time.md

Processor time of tracing and compiling an update, turn by turn; no cache of compiled
programs is used.
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
import reporting

import cwgnc_jax
from cwgnc_jax import contrib

METHODS: dict[str, Callable[[int], optax.GradientTransformation]] = {
    "one threshold": lambda _: cwgnc_jax.clip_by_component_norm(0.05),
    "as many rules as leaves": lambda leaves: cwgnc_jax.clip_by_component_norm(
        [(f"leaf {i:03}", 0.01 * (i + 1)) for i in range(leaves)]
    ),
    "AdaGC": lambda _: contrib.adagc(),
    "AGC": lambda _: contrib.adaptive_clip_by_component_norm(),
    "global norm": lambda _: cwgnc_jax.clip_by_component_norm(
        0.05, cwgnc_jax.whole_tree
    ),
}


def build(method: str, leaves: int) -> float:
    """Seconds of processor time that an update takes to be traced and compiled."""
    jax.clear_caches()
    leaf = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    params = {f"leaf {i:03}": leaf for i in range(leaves)}
    tx = METHODS[method](leaves)
    state = jax.eval_shape(tx.init, params)
    start = time.process_time()
    jax.jit(tx.update).lower(params, state, params).compile()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="compilations of each")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    numbers = (100, 200, 400)
    turns = {
        f"{method} {leaves}": functools.partial(build, method, leaves)
        for leaves in numbers
        for method in METHODS
    }
    medians = reporting.interleave(turns, options.rounds, warm_up=0)
    rows = [
        [method, *(f"{medians[f'{method} {leaves}']:.1f}" for leaves in numbers)]
        for method in METHODS
    ]
    header = ["method", *(f"{leaves} leaves" for leaves in numbers)]
    title = f"### Processor time in seconds, medians of {options.rounds}\n"
    table = reporting.markdown_table(header, rows)
    reporting.write(
        "\n".join([reporting.provenance(), "", title, table]), options.output
    )


if __name__ == "__main__":
    main()
