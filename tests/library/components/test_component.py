"""What names a component."""

import numpy as np
import pytest

from cwgnc_jax import Component


@pytest.mark.parametrize("axes", [np.int64(0), [np.int32(0)], np.arange(1), 0])
def test_axes_are_numbers_of_any_kind(axes):
    assert Component("a", axes) == Component("a", (0,))
    assert type(Component("a", axes).axes[0]) is int
