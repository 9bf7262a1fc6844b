"""Several processes that run one program together, each with devices of its own.

All of them run the same script on the same files, and hold their share of the seeds and
batches on their devices. What depends on more than that (which runs are done, who is
at which) the first one decides and the others are told; it alone writes records and
shows progress. If one of them dies, the others end, and the same command, started
again, does what is missing.
"""

import functools
import itertools
import pickle
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

HEARTBEAT_SECONDS = 30
"""A process that is silent for so long is dead, and all others end. JAX's own 100
seconds would be paid for by every other host."""

P = ParamSpec("P")
T = TypeVar("T")

# So many bytes at most are sent at once: they take the devices' memory twice.
_PIECE = 1 << 26
# Whether the first process is finding an answer: the others do not hear of its parts.
_is_deciding = False
# Meshes whose connections are open.
_opened: set[Mesh] = set()


def connect(
    coordinator: str | None = None, number: int | None = None, index: int | None = None
) -> None:
    """Joins the other processes of this program; comes before any use of a device.

    Args:
      coordinator: address and port of the first process, which the others can reach.
      number: number of processes.
      index: which one this is, from 0. What is None JAX takes from the surroundings:
        a TPU slice, SLURM, Open MPI, Kubernetes.

    Raises:
      ValueError: if the surroundings do not tell, or the others cannot be reached.
    """
    # JAX would wait for somebody to ask whether SIGTERM came, and go on meanwhile.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator,
            num_processes=number,
            process_id=index,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the processes cannot find each other ({reason}); accepted are "
            "--coordinator HOST:PORT, --num-processes N and --process-id I together, "
            "or --distributed alone where a TPU slice, SLURM, Open MPI or Kubernetes "
            "says the same"
        ) from error
    _broadcast(b"")  # So that what agree sends finds its connections open.


class Gone(Exception):
    """Another process does not answer; the message says what the user can do."""


def count() -> int:
    """Number of processes that run this program together."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes and talks."""
    return count() == 1 or jax.process_index() == 0


def agree(decide: Callable[[], T]) -> T:
    """Lets the first process decide for all; all of them must come here.

    Args:
      decide: finds the answer; called in the first process alone.

    Returns:
      The answer, in every process.

    Raises:
      Exception: whatever the first process raised, in every process.
      Gone: if another process does not answer.
    """
    global _is_deciding
    if count() == 1 or _is_deciding:
        return decide()
    answer, error = None, None
    if is_first():
        _is_deciding = True
        try:
            answer = decide()
        except Exception as raised:
            error = raised
        finally:
            _is_deciding = False
        _broadcast(pickle.dumps((answer, error)))
    else:
        answer, error = pickle.loads(_broadcast(b""))
    if error is not None:
        raise error
    return answer  # pyright: ignore[reportReturnType]


def decided_by_first(function: Callable[P, T]) -> Callable[P, T]:
    """Makes a function one that the first process runs, and all get its answer.

    Args:
      function: called in the first process alone; all of them must come there.

    Returns:
      The function, which raises as :func:`agree` does.
    """

    @functools.wraps(function)
    def agreed(*args: P.args, **kwargs: P.kwargs) -> T:
        return agree(lambda: function(*args, **kwargs))

    return agreed


def what_happened(error: BaseException) -> str:
    """What to tell the user when a program of several processes has failed.

    Args:
      error: of JAX.

    Returns:
      A sentence.
    """
    reason = str(error).strip().splitlines()[0]
    if "RESOURCE_EXHAUSTED" in reason:
        advice = "fewer --parallel-seeds or --remat full need less memory"
    else:
        advice = "another process has probably gone: see what it says"
    return (
        f"process {jax.process_index()} of {count()} cannot go on: {advice}. Finished "
        f"runs are recorded; start the same command everywhere again. ({reason})"
    )


def open_connections(mesh: Mesh | None) -> None:
    """Connects the processes along the axes of a mesh, before a program needs it.

    JAX does so when a group of devices first computes together, and on CPUs gives up
    after half a minute, for which one process may well compile longer than another.
    For a sum over an open connection it waits as long as the other process lives.

    Args:
      mesh: devices of all processes, which all of them must call this with; None, or
        one whose connections are open, for nothing to do.

    Raises:
      Gone: if another process does not answer.
    """
    if count() == 1 or mesh is None or mesh in _opened:
        return
    _opened.add(mesh)
    axes = tuple(axis for axis, size in mesh.shape.items() if size > 1)
    groups = itertools.chain.from_iterable(
        itertools.combinations(axes, size) for size in range(1, len(axes) + 1)
    )
    lying = NamedSharding(mesh, PartitionSpec(axes))
    ones = jax.make_array_from_callback(
        (mesh.size,), lying, lambda at: np.ones(1, np.float32)
    )
    sums = []
    for group in groups:
        add = functools.partial(jax.lax.psum, axis_name=group)
        along = PartitionSpec(tuple(axis for axis in axes if axis not in group))
        add_all = jax.shard_map(add, mesh=mesh, in_specs=lying.spec, out_specs=along)
        sums.append(jax.jit(add_all).lower(ones).compile())
    _broadcast(b"")  # Waits for the last of them to be here.
    try:
        for add_all in sums:
            jax.block_until_ready(add_all(ones))
    except (ValueError, RuntimeError) as error:
        raise Gone(what_happened(error)) from error


def check_same(what: str, value: Any) -> None:
    """Makes sure that all processes have read the same.

    Args:
      what: what it is, for the message.
      value: anything that can be compared.

    Raises:
      ValueError: in the processes where it differs from the first one's.
    """
    if agree(lambda: value) != value:
        raise ValueError(
            f"{what} of process {jax.process_index()} of {count()} differ from those "
            "of the first; all must be started with the same command on the same files"
        )


def _broadcast(content: bytes) -> bytes:
    """The first process's bytes, for all; what the others give is not used.

    JAX adds up what the processes have, zeros but for one of them. Of bytes nothing is
    lost in that; float32 would lose the sign of zeros, and the smallest numbers.
    """
    size = int.from_bytes(_send(np.frombuffer(len(content).to_bytes(8), np.uint8)))
    received = bytearray()
    for start in range(0, size, _PIECE):
        piece = np.frombuffer(content[start : start + _PIECE], np.uint8)
        length = min(_PIECE, size - start)
        # Few sizes, so that few programs are compiled.
        padded = np.zeros(1 << max(length - 1, 1023).bit_length(), np.uint8)
        padded[: len(piece)] = piece
        received += _send(padded)[:length]
    return bytes(received)


def _send(array: NDArray[np.uint8]) -> bytes:
    """The first process's bytes, as many in all."""
    try:
        return np.asarray(multihost_utils.broadcast_one_to_all(array)).tobytes()
    # Of a broken connection JAX tells now by this error, now by that one.
    except (ValueError, RuntimeError) as error:
        raise Gone(what_happened(error)) from error
