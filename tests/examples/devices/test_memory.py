"""How much memory training takes, and how much there is."""

import types

import jax
import jax.numpy as jnp
import psutil
import pytest
from bert_glue.devices import memory, mesh


@pytest.mark.parametrize(
    ("folder", "files", "free"),
    [
        # Version 2 of control groups, at the root and in groups within groups.
        ("", ("max", "1000", "current", "900", "stat", "inactive_file 250"), 350),
        ("", ("max", "1000", "current", "900", "stat", "anon 900"), 100),
        ("", ("max", "max", "current", "900", "stat", "inactive_file 250"), 5000),
        ("slurm", ("max", "1000", "current", "900"), 100),
        ("slurm/job_7", ("max", "1000", "current", "900"), 100),
        ("slurm/job_8", ("max", "1000", "current", "900"), 5000),
        # Version 1.
        (
            "memory",
            (
                *("limit_in_bytes", "1000", "usage_in_bytes", "900"),
                *("stat", "inactive_file 0\ntotal_inactive_file 250"),
            ),
            350,
        ),
        ("memory/pod", ("limit_in_bytes", "1000", "usage_in_bytes", "900"), 100),
        ("", (), 5000),
    ],
)
def test_memory_that_control_groups_leave(tmp_path, monkeypatch, folder, files, free):
    own = tmp_path / "own"
    own.write_text("9:cpu,cpuacct:/other\n4:memory:/pod\n0::/slurm/job_7\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_OWN_CGROUPS", own)
    machine = types.SimpleNamespace(available=5000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, text in zip(files[::2], files[1::2], strict=True):
        (tmp_path / folder / f"memory.{name}").write_text(text + "\n")
    assert memory.free_bytes(types.SimpleNamespace(platform="cpu")) == free


def test_memory_of_an_accelerator_is_its_own():
    stats = {"bytes_limit": 1000, "bytes_in_use": 300}
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    assert memory.free_bytes(device) == 700
    other = {"bytes_limit": 500}
    devices = [device, types.SimpleNamespace(platform="gpu", memory_stats=other.copy)]
    assert memory.free_bytes_each(devices) == 500


def test_devices_of_a_cpu_share_its_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    devices = [types.SimpleNamespace(platform="cpu")] * 4
    assert memory.free_bytes_each(devices) == 250


def test_bytes_of_a_tree_are_those_of_each_device():
    tree = {"a": jnp.zeros((3, 4), jnp.bfloat16), "b": jnp.zeros(5, jnp.int32)}
    assert memory.tree_bytes(tree) == 3 * 4 * 2 + 5 * 4
    assert memory.count_parameters(tree) == 17
    sharding = jax.sharding.NamedSharding(
        jax.sharding.AbstractMesh((2, 1, 1), mesh.AXES),
        jax.sharding.PartitionSpec("seed"),
    )
    shape = jax.ShapeDtypeStruct((4, 3), jnp.float32, sharding=sharding)
    assert memory.tree_bytes(shape) == 2 * 3 * 4


def test_bytes_of_a_program():
    shape = jax.ShapeDtypeStruct((1000,), jnp.float32)
    compiled = jax.jit(lambda x: x + 1).lower(shape).compile()
    assert 2 * 4000 <= memory.program_bytes(compiled) < 3 * 4000
    silent = types.SimpleNamespace(memory_analysis=lambda: None)
    assert memory.program_bytes(silent) == 0


@pytest.mark.parametrize(
    ("message", "expected"),
    [("RESOURCE_EXHAUSTED: Out of memory", True), ("INTERNAL: no", False)],
)
def test_errors_of_memory(message, expected):
    error = jax.errors.JaxRuntimeError(message)
    assert memory.is_out_of_memory(error) == expected
