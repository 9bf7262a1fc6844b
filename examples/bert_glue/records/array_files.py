"""Arrays in a folder, as Orbax writes them: in parallel, compressed, with checksums."""

import contextlib
import logging
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bert_glue.devices import processes


def write(folder: pathlib.Path, arrays: Sequence[Any]) -> None:
    """Writes arrays; of several processes the one that calls this does it alone.

    Args:
      folder: made anew.
      arrays: NumPy's or JAX's; of several processes NumPy's.

    Raises:
      Exception: of many kinds, as TensorStore has them.
    """
    # Imported here, as most runs are too short for a checkpoint.
    import orbax.checkpoint as ocp

    # Orbax asks for more than the largest array; beyond that, what is on its way from
    # device to disk would only take memory.
    largest = max(each.nbytes for each in arrays)
    handler = ocp.PyTreeCheckpointHandler(
        save_device_host_concurrent_gb=1 + math.ceil(largest / 1e9), **_alone(ocp)
    )
    with _quiet(), ocp.Checkpointer(handler, **_alone(ocp)) as checkpointer:
        checkpointer.save(folder.absolute(), args=ocp.args.PyTreeSave(_named(arrays)))


def read(folder: pathlib.Path, count: int) -> list[np.ndarray]:
    """Reads arrays; of several processes the one that calls this does it alone.

    Args:
      folder: where :func:`write` wrote them.
      count: how many.

    Returns:
      The arrays, in their order.

    Raises:
      Exception: of many kinds, if they are damaged.
    """
    import orbax.checkpoint as ocp

    as_numpy = _named([ocp.RestoreArgs(restore_type=np.ndarray)] * count)
    handler = ocp.PyTreeCheckpointHandler(**_alone(ocp))
    with _quiet(), ocp.Checkpointer(handler, **_alone(ocp)) as checkpointer:
        found = checkpointer.restore(
            folder.absolute(), args=ocp.args.PyTreeRestore(restore_args=as_numpy)
        )
    return [found[name] for name in as_numpy]


def _alone(ocp: Any) -> dict[str, Any]:
    """Arguments by which Orbax does not wait for other processes."""
    if processes.count() == 1:
        return {}
    options = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="first"
    )
    return {"multiprocessing_options": options}


def _named(values: Sequence[Any]) -> dict[str, Any]:
    return {f"{number:05}": value for number, value in enumerate(values)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax from logging an error that the user is told of in one line."""
    logger = logging.getLogger("absl")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled
