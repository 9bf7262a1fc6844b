"""Runs sharded_clipping.py in a process that has eight devices."""

import eight_devices
import pytest


@pytest.mark.slow
def test_on_eight_devices():
    eight_devices.run("sharded_clipping.py")
