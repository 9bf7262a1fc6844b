"""Dots do not hide each other, and stay near their line."""

import itertools

from bert_glue.report.swarm import offsets
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(0, 100), max_size=40))
def test_dots_that_are_near_are_apart_in_the_other_direction(positions):
    near, step, room = 1.5, 5.0, 17.5
    aside = offsets(positions, near, step, room)
    assert len(aside) == len(positions)
    assert all(abs(each) <= room * (1 + 1e-12) for each in aside)
    dots = list(zip(positions, aside, strict=True))
    # Together they may be closer than a dot is wide, but never in one place.
    closest = room / 20
    for (x, y), (other_x, other_y) in itertools.combinations(dots, 2):
        assert abs(x - other_x) >= near or abs(y - other_y) >= closest * (1 - 1e-12)


def test_dots_with_room_stay_on_the_line():
    assert offsets([3.0, 1.0, 5.0], near=1.5, step=5.0, room=17.5) == [0, 0, 0]
    assert offsets([], near=1.5, step=5.0, room=17.5) == []
