"""Versions, the card, and what the project would use but is not installed."""

import argparse
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import subprocess
import tomllib

import report_runner
import reporting

_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch")
_SHOWN += ("transformers", "tokenizers", "triton", "jax-cuda13-plugin", "libtpu")
_SHOWN += ("nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cuda-cupti")
_VARIABLES = ("XLA_FLAGS", "JAX_", "CUDA_", "TPU_", "LIBTPU")
_NVIDIA = "name,driver_version,memory.total,memory.used,clocks.max.sm,power.limit"


def version(package: str) -> str:
    """Version of an installed package, or that it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def absent() -> list[str]:
    """Packages that examples and tests can use, and that are not installed."""
    project = tomllib.loads((report_runner.PROJECT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"]]
    for extra in ("plot", "examples"):
        wanted += project["project"]["optional-dependencies"][extra]
    wanted += project["dependency-groups"]["test"]
    names = [re.split(r"[\[<>=!~; ]", each)[0] for each in wanted]
    return [
        name for name in names if name != "cwgnc-jax" and version(name) == "missing"
    ]


def devices() -> list[str]:
    """What JAX sees, or why it sees nothing."""
    try:
        import jax

        return [f"{each.device_kind} ({each.platform})" for each in jax.devices()]
    except Exception as error:
        # The rest of the report says what fails for it; here the cause is wanted.
        return [f"none: {type(error).__name__}: {error}"]


def card() -> str:
    """What the card's own tool says of it; empty where there is none."""
    command = ["nvidia-smi", f"--query-gpu={_NVIDIA}", "--format=csv"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def page(found: list[str]) -> str:
    """The report, with the devices that were found."""
    rows = [["Python", platform.python_version()]]
    rows += [[package, version(package)] for package in _SHOWN]
    rows += [["devices", "; ".join(found)], ["processor cores", str(os.cpu_count())]]
    rows += [
        [name, f"`{value}`"]
        for name, value in sorted(os.environ.items())
        if name.startswith(_VARIABLES)
    ]
    lines = [
        f"Commit {reporting.commit()}",
        "",
        reporting.markdown_table(["", "version"], rows),
        "",
        f"Not installed of what examples and tests use: {', '.join(absent()) or '-'}.",
    ]
    if shown := card():
        lines += ["", "```", shown, "```"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    # First without what may hang or fail.
    reporting.write(page(["not asked yet"]), options.output)
    reporting.write(page(devices()), options.output)


if __name__ == "__main__":
    main()
