"""A run cut into segments."""

import itertools
import types

import pytest
from bert_glue.training.segments import cut_epoch, cut_run


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


def test_the_last_epoch_may_be_cut_short():
    recipe = types.SimpleNamespace(evaluations_per_epoch=2, epochs_per_evaluation=1)
    trainer = types.SimpleNamespace(
        steps_per_epoch=10, steps=17, epochs=2, recipe=recipe
    )
    segments = list(cut_run([trainer, trainer], finely=False))
    first = segments[: len(segments) // 2]
    assert [(part.epoch, part.start, part.stop) for part in first] == [
        (0, 0, 5),
        (0, 5, 10),
        (1, 0, 5),
        (1, 5, 7),
    ]
    assert all(part.is_evaluation for part in first)
    assert [part.ends_epoch for part in first] == [False, True, False, True]
    assert [part.ends_stage for part in first] == [False, False, False, True]
    assert [part.done for part in segments] == [5, 10, 15, 17, 22, 27, 32, 34]


@pytest.mark.parametrize("finely", [False, True])
def test_an_epoch_that_begins_with_a_step_alone(finely):
    recipe = types.SimpleNamespace(evaluations_per_epoch=1, epochs_per_evaluation=1)
    trainer = types.SimpleNamespace(
        steps_per_epoch=60, steps=120, epochs=2, recipe=recipe
    )
    segments = list(cut_run([trainer], finely=finely, first=0))
    spans = [(part.epoch, part.start, part.stop) for part in segments]
    # The first step alone, and from then on a twentieth of the epoch.
    assert spans[:3] == [(0, 0, 1), (0, 1, 3), (0, 3, 6)]
    assert spans[20] == (0, 57, 60)
    assert spans[21:] == (
        [(1, at, at + 3) for at in range(0, 60, 3)] if finely else [(1, 0, 60)]
    )
    assert [part.done for part in segments if part.is_evaluation] == [60, 120]
    # It may go on from an evaluation.
    recipe.evaluations_per_epoch = 2
    spans = [part[1:4] for part in cut_run([trainer], finely=False, first=90)]
    assert spans[:2] == [(0, 0, 30), (0, 30, 60)]
    assert spans[11:15] == [(1, 27, 30), (1, 30, 31), (1, 31, 33), (1, 33, 36)]
    trainer.steps_per_epoch = trainer.steps = trainer.epochs = 1
    (only,) = cut_run([trainer], finely=finely, first=0)
    assert (only.start, only.stop, only.is_evaluation) == (0, 1, True)


@pytest.mark.parametrize("finely", [False, True])
def test_short_epochs_need_no_evaluation_each(finely):
    recipe = types.SimpleNamespace(evaluations_per_epoch=1, epochs_per_evaluation=3)
    trainer = types.SimpleNamespace(
        steps_per_epoch=4, steps=31, epochs=8, recipe=recipe
    )
    segments = list(cut_run([trainer, trainer], finely=finely))
    assert segments[-1].done == 62
    # After each third epoch, and at the end of a stage, cut short as it is.
    evaluated = [part.done for part in segments if part.is_evaluation]
    assert evaluated == [12, 24, 31, 43, 55, 62]
    assert sum(part.ends_epoch for part in segments) == 16
