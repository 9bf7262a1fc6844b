"""The Makefile sets itself up, also where a first attempt failed."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).parents[1]
# Without what a make that runs these tests hands on to the ones it starts.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_setup_that_failed_is_begun_anew(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)

    def make(*words):
        return subprocess.run(
            ["make", f"PYTHON={sys.executable}", *words],
            cwd=tmp_path,
            # An index that nobody listens at, as without network.
            env=ENVIRONMENT
            | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert make("setup").returncode != 0
    again = make("--dry-run", "setup").stdout
    # The pip that a virtual environment comes with may not know --group yet.
    upgrade, install = again.index("--upgrade"), again.index("--group test")
    assert upgrade < install


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["gpu-report", "tpu-report"])
def test_a_report_needs_no_installation(target):
    done = subprocess.run(
        ["make", "--dry-run", "PYTHON=some-python", "ARGS=--tiny", target],
        cwd=PROJECT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = done.stdout.splitlines()
    assert line.startswith("some-python benchmarks/gpu_report.py")
    assert line.endswith("--tiny")
    assert ("--accelerator tpu" in line) == (target == "tpu-report")
