"""How much memory training takes, and how much there is."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

_CGROUP = pathlib.Path("/sys/fs/cgroup")
_OWN_CGROUPS = pathlib.Path("/proc/self/cgroup")
_MAPS = pathlib.Path("/proc/self/maps")
_MOST_MAPS = pathlib.Path("/proc/sys/vm/max_map_count")


def free_bytes(device: Any) -> int:
    """Memory that this process may still take.

    Args:
      device: the device whose memory it is.

    Returns:
      Bytes: of the accelerator, or for a CPU of the machine or of the container that
      the process runs in, whichever is less.
    """
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    free = psutil.virtual_memory().available
    for folder in _cgroups():
        limit = _read_number(folder, "memory.max", "memory.limit_in_bytes")
        used = _read_number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None and used is not None:
            free = min(free, limit - used + _file_cache(folder))
    return max(0, int(free))


def program_bytes(compiled: jax.stages.Compiled) -> int:
    """Memory of each device that a compiled program takes while it runs.

    Args:
      compiled: the program.

    Returns:
      Bytes of arguments, results and temporaries; 0 where the compiler does not say.
    """
    used = compiled.memory_analysis()
    if used is None:
        return 0
    return (
        used.argument_size_in_bytes
        + used.output_size_in_bytes
        - used.alias_size_in_bytes
        + used.temp_size_in_bytes
    )


def count_maps() -> int:
    """How many mappings of memory this process has; a CPU's program takes a thousand.

    Returns:
      Their number; 0 where the system does not say.
    """
    try:
        return _MAPS.read_bytes().count(b"\n")
    except OSError:
        return 0


def maps_are_short() -> bool:
    """Whether half of the mappings are taken that Linux lets a process have.

    Without any left XLA's compiler for CPUs fails, and takes the process with it.
    """
    try:
        most = int(_MOST_MAPS.read_text())
    except (OSError, ValueError):
        return False
    return count_maps() > most // 2


def tree_bytes(tree: object) -> int:
    """Bytes that arrays, or what their shapes stand for, take on each device."""

    def of(leaf: Any) -> int:
        shape = leaf.shape
        if getattr(leaf, "sharding", None) is not None:
            shape = leaf.sharding.shard_shape(shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(map(of, jax.tree.leaves(tree)))


def free_bytes_each(devices: Sequence[Any]) -> int:
    """Memory that each of some devices may still take.

    Args:
      devices: jax devices of this process. Those of a CPU share one memory.

    Returns:
      Bytes, of the device that has least.
    """
    shared = len(devices) if devices[0].platform == "cpu" else 1
    return min(map(free_bytes, devices)) // shared


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the compiler, ran out of memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


def count_parameters(tree: object) -> int:
    """Number of numbers in a pytree of arrays."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _cgroups() -> list[pathlib.Path]:
    """Folders of the control groups whose limits of memory this process is under."""
    roots = {"": _CGROUP, "memory": _CGROUP / "memory"}
    folders = [*roots.values()]
    # Lines such as 0::/slurm/job_7 (version 2) and 4:memory:/slurm/job_7 (version 1).
    for line in _read(_OWN_CGROUPS).splitlines():
        _, kind, path = line.split(":", 2)
        if kind in roots:
            own = pathlib.PurePath(path.strip("/"))
            folders += [roots[kind] / group for group in (own, *own.parents)]
    return list(dict.fromkeys(folders))


def _file_cache(folder: pathlib.Path) -> int:
    """Bytes that count as used in a container, but are free for whoever needs them."""
    lines = _read(folder / "memory.stat").splitlines()
    stats = dict(line.split() for line in lines)
    return int(stats.get("total_inactive_file", stats.get("inactive_file", 0)))


def _read_number(folder: pathlib.Path, *names: str) -> int | None:
    texts = (_read(folder / name).strip() for name in names)
    return next((int(text) for text in texts if text.isdecimal()), None)


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
