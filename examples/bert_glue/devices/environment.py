"""The surroundings of a run: versions, hardware, the cache of compiled programs."""

import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

import cwgnc_jax

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# They add up the gradients of embeddings hundreds of times slower than others on a GPU:
# https://github.com/openxla/xla/issues/46225
_SLOW_ON_GPU = ("0.10.2", "0.11.0")
_PACKAGES = ("cwgnc-jax", "jax", "jaxlib", "optax", "flax", "numpy", "tokenizers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        # The project may be run from its folder without having been installed.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def hardware() -> dict[str, Any]:
    """What the program runs on."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
    }


def advice(platform: str | None = None, version: str = jax.__version__) -> str:
    """What makes this program needlessly slow here, in a sentence; empty if nothing.

    Args:
      platform: kind of the devices, ``cpu``, ``gpu`` or ``tpu``; by default JAX's.
      version: of JAX.
    """
    if (platform or jax.default_backend()) == "gpu" and version in _SLOW_ON_GPU:
        return (
            f"jax {version} adds up the gradients of embeddings hundreds of times "
            "slower on a GPU than other releases do: install another, as the extra "
            "cuda13 does"
        )
    return ""


def settings() -> dict[str, Any]:
    """JAX's settings, by environment variable or not, that change a result."""
    names = (
        "jax_default_matmul_precision",
        "jax_enable_x64",
        "jax_threefry_partitionable",
    )
    flags = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
    return {name: getattr(jax.config, name) for name in names} | flags


def commit() -> str | None:
    """The project's git commit, with '+' if files differ from it; None without git."""
    # Without any tag, "describe" gives the commit itself.
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--exclude=*"]
    command += ["--abbrev=40", "--dirty=+"]
    quiet = subprocess.DEVNULL
    try:
        output = subprocess.check_output(command, stderr=quiet, text=True, timeout=20)
        return output.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def code(*folders: pathlib.Path) -> str:
    """Short name of the program's code, which changes with every change of it.

    A commit does not tell: it may be of other files, and changes may not be committed.

    Args:
      *folders: where the code is; by default the examples' package and cwgnc_jax.

    Returns:
      Twelve hexadecimal digits, the same on every machine.
    """
    library = pathlib.Path(cwgnc_jax.__file__).resolve().parent
    digest = hashlib.sha256()
    for folder in folders or (_PACKAGE, library):
        for path in sorted(folder.rglob("*.py")):
            source = path.read_bytes()
            name = path.relative_to(folder).as_posix()
            # With its length no source can look like two.
            digest.update(f"{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:12]


def cache_folder() -> pathlib.Path:
    """Where compiled programs are kept: $CWGNC_CACHE or ~/.cache/cwgnc_jax."""
    if named := os.environ.get("CWGNC_CACHE"):
        return pathlib.Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "cwgnc_jax"


def keep_compiled_programs() -> None:
    """Makes later processes find the programs that this one compiles.

    Nothing happens where the folder cannot be written to.
    """
    folder = cache_folder() / "compiled"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        # Whatever was compiled before has settled that there is no cache.
        compilation_cache.reset_cache()
