"""The end of a script's process."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn


def run_script(main: Callable[[], int]) -> NoReturn:
    """Runs a script's main function and ends the process.

    A process that fails ends at once: in the ordinary way it would first wait for the
    others, who wait for it.

    Args:
      main: returns the exit code.
    """
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        # Who reads what is printed, such as head, has had enough. What is still to be
        # printed goes nowhere: Python would complain of that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception:
        if not _has_others():
            raise
        traceback.print_exc()
        code = 1
    if code and _has_others():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


def _has_others() -> bool:
    """Whether other processes run the program with this one."""
    # Before JAX is imported, which takes long, there can be none.
    processes = sys.modules.get("bert_glue.devices.processes")
    return processes is not None and processes.count() > 1
