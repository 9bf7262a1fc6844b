"""Random trees, maps, thresholds and dtypes against NumPy in double precision."""

import clip_cases
import eight_devices
import pytest


def check(seed):
    clip_cases.check(seed, clip_cases.make_case(seed))


@pytest.mark.parametrize("seed", range(22))
def test_some(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_a_thousand(block):
    clip_cases.check_many(range(50 * block, 50 * block + 50), check)


@pytest.mark.slow
def test_some_on_eight_devices():
    eight_devices.run("sharded_fuzz.py", "not slow")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_hundreds_on_eight_devices(block):
    eight_devices.run("sharded_fuzz.py", f"slow and block{block}")
