"""PyTorch in a process and environment of its own, that does one step when asked."""

import json
import pathlib
import subprocess
from typing import Any


class TorchPeer:
    """A worker script that waits for its turn.

    The script reads a JSON value from its first line of input, prints a JSON list of
    its version and its variants, and then answers each line, the name of a variant,
    with the seconds that one step of it took.

    Args:
      python: A Python that has what the script imports.
      script: File name of the script, beside this one.
      settings: What the script reads first.

    Attributes:
      version: Version of PyTorch.
      names: Names of the variants.

    Raises:
      RuntimeError: If the script ends early.
    """

    def __init__(self, python: str, script: str, settings: Any):
        self._process = subprocess.Popen(
            [python, str(pathlib.Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version, self.names = json.loads(self._ask(json.dumps(settings)))

    def time(self, name: str) -> float:
        """Seconds of one step of the named variant."""
        return float(self._ask(name))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} ended without an answer")
        return answer
