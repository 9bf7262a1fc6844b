"""Arrays in a folder, as Orbax writes them: in parallel and compressed."""

import contextlib
import logging
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_glue.devices import processes

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


def write(folder: pathlib.Path, arrays: Sequence[Any]) -> None:
    """Writes arrays; of several processes the one that calls this does it alone.

    Args:
      folder: made anew, in a folder that is there.
      arrays: NumPy's or JAX's; of several processes NumPy's.

    Raises:
      Exception: of many kinds, as TensorStore has them.
    """
    # Imported here, as most runs are too short for a checkpoint.
    import orbax.checkpoint as ocp

    # Orbax asks for more than the largest array; beyond that, what is on its way from
    # device to disk would only take memory.
    gigabytes = 1 + math.ceil(max(array.nbytes for array in arrays) / 1e9)
    with _checkpointer(save_device_host_concurrent_gb=gigabytes) as checkpointer:
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
    args = ocp.args.PyTreeRestore(restore_args=as_numpy)
    with _checkpointer() as checkpointer:
        arrays = checkpointer.restore(folder.absolute(), args=args)
    return [arrays[name] for name in as_numpy]


@contextlib.contextmanager
def _checkpointer(**options: Any) -> "Iterator[ocp.Checkpointer]":
    """Orbax's, which waits for no other process and logs no error.

    What went wrong it raises as well, and the user is told of it in one line.
    """
    import orbax.checkpoint as ocp

    alone = {}
    if processes.count() > 1:
        alone["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix="first"
        )
    logger = logging.getLogger("absl")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        handler = ocp.PyTreeCheckpointHandler(**options, **alone)
        with ocp.Checkpointer(handler, **alone) as checkpointer:
            yield checkpointer
    finally:
        logger.disabled = was_disabled


def _named(values: Sequence[Any]) -> dict[str, Any]:
    return {f"{number:05}": value for number, value in enumerate(values)}
