"""The end of a script's process."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from bert_glue.devices.processes import Gone, count


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
    except Gone as error:
        print(error, file=sys.stderr)
        code = 1
    except BrokenPipeError:
        # Who reads what is printed, such as head, has had enough. What is still to be
        # printed goes nowhere: Python would complain of that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception:
        if count() == 1:
            raise
        traceback.print_exc()
        code = 1
    if code and count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)
