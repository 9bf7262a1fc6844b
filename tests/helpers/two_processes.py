"""Runs a piece of code in two processes that run one program together."""

import json
import os
import socket
import subprocess
import sys
import textwrap

_PREAMBLE = """
import json, pathlib, sys
import jax
from bert_glue.devices import processes
index = int(sys.argv[2])
processes.connect(sys.argv[1], 2, index)
folder = pathlib.Path(sys.argv[3 + index])
answer = {}
"""


def run(code, first, other):
    """What the code has put into ``answer``, in the first process and in the other.

    ``folder`` is ``first`` in the first process, and ``other`` in the other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = _PREAMBLE + textwrap.dedent(code) + "\nprint('\\n' + json.dumps(answer))"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_PLATFORMS": "cpu",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, address, str(index), first, other],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    errors = "\n".join(errors for _, errors in outputs)
    assert [process.returncode for process in started] == [0, 0], errors
    return [json.loads(printed.splitlines()[-1]) for printed, _ in outputs]
