"""Random clippings inside of shard_map on eight devices; test_clip_fuzz.py runs it."""

import functools

import clip_cases
import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from sharded_clipping import auto, shard_map


def make_devices(seed, shapes):
    """A mesh of eight devices, and at random what of it shards which axis of a leaf."""
    rng = np.random.default_rng([seed, 8])
    sizes = [{"x": 8}, {"x": 2, "y": 4}, {"x": 4, "y": 2}][rng.integers(3)]
    mesh = jax.make_mesh(tuple(sizes.values()), tuple(sizes), **auto(len(sizes)))
    specs = {}
    for path, shape in shapes.items():
        entries: list[tuple[str, ...]] = [()] * len(shape)
        for name in rng.permutation(list(sizes)).tolist():
            axis = int(rng.integers(-1, len(shape)))  # -1: whole over this mesh axis.
            if axis < 0:
                continue
            names = (*entries[axis], name)
            if shape[axis] % np.prod([sizes[name] for name in names]) == 0:
                entries[axis] = names
        specs[path] = P(*(entry or None for entry in entries))
    return clip_cases.Devices(specs, functools.partial(shard_map, mesh=mesh))


def check(seed):
    # All axes but a third of the layers' and rows' are divisible by eight.
    case = clip_cases.make_case(seed, size=4)
    shapes = {path: leaf.shape for path, leaf in case.leaves.items()}
    clip_cases.check(seed, case, make_devices(seed, shapes))


@pytest.mark.parametrize("seed", range(12))
def test_some(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4), ids=lambda block: f"block{block}")
def test_hundreds(block):
    clip_cases.check_many(range(75 * block, 75 * block + 75), check)
