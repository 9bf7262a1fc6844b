"""Runs a file of tests in a process that has eight devices."""

import os
import pathlib
import subprocess
import sys


def run(name: str, only: str = "") -> None:
    """Fails, with what was printed, if one of the tests in the file does.

    Args:
      name: of a file in this folder.
      only: which of its tests, as pytest's -k takes it; markers are keywords, too.
    """
    tests = pathlib.Path(__file__).with_name(name)
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-k", only, str(tests)]
    run = subprocess.run(
        command,
        env=environment,
        cwd=tests.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
