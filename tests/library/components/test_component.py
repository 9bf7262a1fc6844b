"""What names a component."""

import numpy as np
import pytest

from cwgnc_jax import Component, Split


@pytest.mark.parametrize("axes", [np.int64(0), [np.int32(0)], np.arange(1), 0])
def test_axes_are_numbers_of_any_kind(axes):
    assert Component("a", axes) == Component("a", (0,))
    assert type(Component("a", axes).axes[0]) is int


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Component("a", axes=True), "axes must be an int or several, got True"),
        (lambda: Component("a", axes=[False]), "axes must be an int or several"),
        (lambda: Component("a", split=(-1, ("b",))), "split must be a Split or None"),  # pyright: ignore
        (
            lambda: Split(-1, {"a": 1.5, "b": 2.5}),
            "size of 'a' must be an int, got 1.5",
        ),  # pyright: ignore
        (lambda: Split(-1, (2, 2)), "parts must be names, or pairs .* got 2"),
        (lambda: Split(-1, [("a", 1, 2)]), "names, or pairs of name and size, got"),
    ],
)
def test_what_is_no_component_or_split(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_sizes_are_ints_of_any_kind():
    assert Split(0, {"a": np.int64(2), "b": 3}).parts == (("a", 2), ("b", 3))
    assert Split(0, Split(0, ("a", "b")).parts) == Split(0, ["a", "b"])
