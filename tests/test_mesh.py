"""Runs sharded_training.py in a process that has eight devices."""

import os
import pathlib
import subprocess
import sys

import pytest
from bert_glue import mesh


def test_on_eight_devices():
    tests = pathlib.Path(__file__).with_name("sharded_training.py")
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    run = subprocess.run(
        command,
        env=environment,
        cwd=tests.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "text",
    ["", "seed", "seed=0", "seed=x", "seeds=2", "data=2,data=2", "seed=2;data=1"],
)
def test_what_is_no_mesh(text):
    with pytest.raises(ValueError, match="accepted are sizes of the axes seed, data"):
        mesh.parse_mesh(text)


def test_a_single_device_needs_no_mesh():
    # Programs then say nothing of places: they are those of a process without meshes.
    assert mesh.choose(None, 25, 16) is mesh.SINGLE
    assert mesh.choose({"seed": 1, "data": 1}, 25, 16) is mesh.SINGLE
    tree = {"kernel": 1}
    assert mesh.SINGLE.state(tree) is tree
