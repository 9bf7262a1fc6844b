"""A run cut into segments."""

import itertools

import pytest
from bert_glue.training.segments import cut_epoch


@pytest.mark.parametrize(
    ("steps", "evaluations", "longest"),
    [(13, 1, None), (13, 3, 2), (2, 5, None), (1, 1, 1), (100, 7, 9)],
)
def test_segments_cover_an_epoch(steps, evaluations, longest):
    cut = list(cut_epoch(steps, evaluations, longest))
    assert cut[0][0] == 0
    assert cut[-1][1:] == (steps, True)
    assert all(first[1] == second[0] for first, second in itertools.pairwise(cut))
    assert all(0 < stop - start <= (longest or steps) for start, stop, _ in cut)
    assert sum(is_evaluation for *_, is_evaluation in cut) == min(evaluations, steps)
