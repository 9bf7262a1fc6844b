"""Options about devices that the scripts share: the mesh, processes, memory."""

import argparse

from bert_glue.cli import values
from bert_glue.devices import mesh, processes
from bert_glue.model.bert import REMAT


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Where the seeds are trained, and what their memory is spent on.

    Args:
      parser: gets the options.
    """
    group = parser.add_argument_group("devices")
    group.add_argument(
        "--mesh",
        type=values.checked(mesh.parse_mesh),
        metavar="AXES",
        help="how the devices are used, such as seed=4,data=2: places for seeds, parts "
        "of each batch, and (model) parts of each batch and of the parameters and "
        "moments as well, for a model too large for one device. By default as many "
        "seeds side by side as there are, batches shared by the devices left over",
    )
    group.add_argument(
        "--remat",
        choices=tuple(REMAT),
        default="cheap",
        help="what the backward pass computes anew to save memory: what is cheap (the "
        "default), none, or full: every layer",
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="this is one of several processes that do the same runs together, each on "
        "devices of its own; JAX finds the others by what a TPU slice, SLURM, Open MPI "
        "or Kubernetes says. (Without it processes with one output directory share "
        "the runs between them)",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="the same without such surroundings: where the first process is to be "
        "reached",
    )
    group.add_argument(
        "--num-processes", type=int, metavar="N", help="number of processes"
    )
    group.add_argument(
        "--process-id", type=int, metavar="I", help="number of this one, from 0"
    )


def connect(options: argparse.Namespace) -> None:
    """Joins the other processes, if there are any; before any use of a device.

    Args:
      options: with those of :func:`add_device_options`.

    Raises:
      ValueError: if options do not go together, or the others cannot be reached.
    """
    by_hand = (options.coordinator, options.num_processes, options.process_id)
    if options.distributed or by_hand != (None, None, None):
        if not options.distributed and None in by_hand:
            raise ValueError(
                "--coordinator, --num-processes and --process-id belong together"
            )
        _, number, index = by_hand
        if number is not None and index is not None and not 0 <= index < number:
            raise ValueError(
                f"--process-id is {index}; accepted is 0 to {number - 1}, as "
                f"--num-processes is {number}"
            )
        processes.connect(*by_hand)
