"""Runs sharded_training.py in a process that has eight devices."""

import os
import subprocess
import sys

import eight_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import two_processes
from bert_glue.devices import mesh


@pytest.mark.slow
def test_on_eight_devices():
    eight_devices.run("sharded_training.py")


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


@pytest.mark.medium
def test_surroundings_that_tell_nothing():
    # In a process of its own, as JAX takes no such call once a device is in use.
    code = "from bert_glue.devices import processes; processes.connect()"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "the processes cannot find each other (coordinator_address" in run.stderr
    assert "or --distributed alone where a TPU slice, SLURM" in run.stderr


def test_rows_are_gathered_to_the_last_bit():
    odd = np.array([[-0.0, 1e-40, np.inf], [0.0, -1e-45, 1.5]], np.float32)
    odd.view(np.uint32)[1, 2] = 0x7FC0BEEF  # NaN with a message
    arrays = [
        odd,
        odd.astype(jnp.bfloat16),
        np.array([[True, False], [False, True]]),
        np.array([2**31 - 1, -(2**31)], np.int32),
    ]
    take = jax.jit(mesh._row_of_bits)
    for number in range(2):
        for array in arrays:
            found = np.asarray(take(jnp.asarray(array), number)).view(array.dtype)
            assert found.shape == array[number].shape
            assert found.tobytes() == array[number].tobytes()


@pytest.mark.slow
def test_the_first_of_two_processes_gets_all_rows(tmp_path):
    code = """
    import numpy as np
    from bert_glue.devices import mesh
    placement = mesh.choose({"seed": 2}, 2, 4)
    tree = {
        "a": np.array([[-0.0, 1e-45], [np.nan, 2]], np.float32),
        "b": np.array([True, False]),
    }
    laid = placement.rows(tree)
    found = placement.gather(laid)
    if index == 0:
        answer = {name: found[name].tobytes() == tree[name].tobytes() for name in tree}
    else:
        answer = {name: found[name] is laid[name] for name in tree}
    answer["whole"] = placement.fetch(laid)["b"].tolist()
    """
    answers = two_processes.run(code, tmp_path, tmp_path)
    assert answers == [{"a": True, "b": True, "whole": [True, False]}] * 2
