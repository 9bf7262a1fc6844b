"""A training step taken apart without a device: bytes and kernels, by cause.

The scripts' own training program (BERT-large, batch 16, length 128, bfloat16, one seed,
dropout, component clipping and AdamW) is compiled for TPU v5e ahead of time; that needs
the package libtpu beside jax, and counted by :mod:`hlo_counts`. Another checkout may
stand beside it, and settings of the method.

    python benchmarks/step_counts.py --before ../old --output step_counts.md
    python benchmarks/step_counts.py --variants unroll=2 dropout_bits=8 remat=full
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import hlo_counts
import reporting

HERE = pathlib.Path(__file__).resolve().parents[1]

# Runs in the checkout that is counted, with its own modules.
_COMPILE = """
import json, pathlib, sys
tree, folder, shape, settings = sys.argv[1:]
sys.path[:0] = [tree, f"{tree}/examples", f"{tree}/benchmarks"]
import tpu_aot
case = tpu_aot.Case(shape, "cwgnc", 1)
compiled = tpu_aot.make_trainer(case, **json.loads(settings)).lower().compile()
used = tpu_aot.memory.program_bytes(compiled)
pathlib.Path(folder, "memory").write_text(str(used))
pathlib.Path(folder, "hlo").write_text(compiled.as_text())
"""

CAUSES = (
    "AdamW",
    "norms",
    "zeros",
    "rounded weights",
    "embeddings",
    "layers forward",
    "layers backward",
    "between memories",
    "rest",
)


def cause(kernel: hlo_counts.Kernel) -> str:
    """What a kernel is for, one of :data:`CAUSES`."""
    instruction = kernel.instruction
    name = instruction.op_name
    if instruction.opcode in ("copy-start", "slice-start", "dynamic-slice-start"):
        return "between memories"
    if "_take" in name:
        return "embeddings"
    if kernel.times > 1:
        return "layers backward" if "transpose(" in name else "layers forward"
    if instruction.opcode == "broadcast":
        return "zeros"
    if "jvp" in name:
        return "rest"
    if "reduce_sum" in name:
        return "norms"
    if instruction.shape.startswith("(") and name.endswith(
        ("/add", "/convert_element_type")
    ):
        return "AdamW"
    return "rounded weights" if instruction.shape.startswith("bf16[") else "rest"


def compile_step(
    tree: pathlib.Path, shape: str, settings: dict[str, object], folder: pathlib.Path
) -> tuple[str, float]:
    """The optimised program of a checkout, and the bytes of memory that it takes.

    Args:
      tree: the checkout.
      shape: a model of ``tpu_aot.py``.
      settings: of the method.
      folder: where program and memory are written; if they are there, they are read.

    Returns:
      The program's text and the bytes.
    """
    environment = os.environ | {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "JAX_PLATFORMS": "cpu",
    }
    if not (folder / "hlo").exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [str(tree), str(folder), shape, json.dumps(settings)]
        command = [sys.executable, "-c", _COMPILE, *words]
        subprocess.run(command, check=True, env=environment)
    return (folder / "hlo").read_text(), float((folder / "memory").read_text())


def row(label: str, text: str, used: float) -> list[str]:
    """A row of the table."""
    found = list(hlo_counts.kernels(text))
    causes = hlo_counts.by_cause(found, cause)
    moved = [causes.get(name, (0.0, 0))[0] / 1e9 for name in CAUSES]
    copies = causes.get("between memories", (0.0, 0))[1]
    return [
        label,
        f"{sum(moved):.1f}",
        *(f"{each:.1f}" for each in moved),
        str(sum(kernel.times for kernel in found) - copies),
        f"{used / 2**30:.2f}",
    ]


def settings_of(words: str) -> dict[str, object]:
    """Settings from ``unroll=2,dropout_bits=8``."""
    pairs = (pair.split("=") for pair in words.split(",") if pair)
    return {name: int(text) if text.isdigit() else text for name, text in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="bert-large", help="a model of tpu_aot.py")
    parser.add_argument(
        "--before", type=pathlib.Path, help="another checkout of the project"
    )
    parser.add_argument(
        "--variants",
        nargs="*",
        default=(),
        metavar="SETTINGS",
        help="further rows: settings, such as unroll=2,dropout_bits=8",
    )
    parser.add_argument(
        "--programs",
        type=pathlib.Path,
        help="folder to keep compiled programs in, which are then not compiled again",
    )
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    cases = [("before", options.before, "")] if options.before else []
    cases += [(words or "now", HERE, words) for words in ("", *options.variants)]
    header = ["program", "GB a step", *CAUSES, "kernels", "GiB of memory"]
    title = f"### {options.shape}, TPU v5e, batch 16, length 128, bfloat16: GB a step\n"
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        programs = options.programs or pathlib.Path(temporary)
        for label, tree, words in cases:
            settings, folder = settings_of(words), programs / label
            text, used = compile_step(tree, options.shape, settings, folder)
            rows.append(row(label, text, used))
            # A long compilation later on must not lose what is there.
            table = reporting.markdown_table(header, rows)
            reporting.write(
                "\n".join([reporting.provenance(), "", title, table]), options.output
            )


if __name__ == "__main__":
    main()
