"""Experiments clip as the library does."""

import os
import pathlib
import subprocess
import sys

import chex
import few_kernels
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cwgnc_jax


@pytest.fixture(scope="module")
def gradients():
    shapes = {f"kernel {i:02}": (8, 16) for i in range(11)}
    shapes |= {"bias": (16,), "number": (), "other": (3, 2, 5), "word": (16,)}
    rng = np.random.default_rng(0)
    return {
        # Some are below the threshold, others far above.
        name: jnp.asarray(rng.normal(0, 10.0 ** -(i % 4), shape), jnp.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("one_vector", [False, True])
@pytest.mark.parametrize("squares", [few_kernels.each, few_kernels.by_shape])
def test_they_clip_as_the_library_does(gradients, squares, one_vector):
    ours = cwgnc_jax.clip_by_component_norm(few_kernels.MAX_NORM)
    theirs = few_kernels.clip(squares, one_vector)
    expected, state = jax.jit(ours.update)(gradients, ours.init(gradients))
    found, (norms, scales) = jax.jit(theirs.update)(gradients, theirs.init(gradients))
    # Sums of up to 128 numbers in another order: some ten units in the last place.
    chex.assert_trees_all_close(found, expected, rtol=2e-6)
    chex.assert_trees_all_close(norms, state.norms, rtol=2e-6)
    chex.assert_trees_all_close(scales, state.scales, rtol=2e-6)


SHARDED = """
import re
import few_kernels, jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("x", None))
leaf = jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=sharding)
for squares in (few_kernels.each, few_kernels.by_shape):
    program = jax.jit(squares).lower([leaf, leaf]).compile().as_text()
    found = re.findall(r" (all-[a-z]+)(?:-start)?[(]", program)
    print(squares.__name__, *sorted(found))
"""


@pytest.mark.slow
def test_why_the_library_does_not(tmp_path):
    # Should this fail, the compiler has learnt to split such a reduction.
    project = pathlib.Path(few_kernels.__file__).parents[1]
    paths = os.pathsep.join([str(project), str(project / "benchmarks")])
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ
        | {
            "PYTHONPATH": paths,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    each, by_shape = done.stdout.splitlines()
    assert each == "each all-reduce"
    assert by_shape == "by_shape all-gather all-gather"
