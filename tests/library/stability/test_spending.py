"""Which runs come next: what the choice does not depend on, and what it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwgnc_jax.stability import Curve, Look, next_look, next_runs

GRID = np.geomspace(1e-5, 1.28e-3, 8).tolist()


def drawn(seed, methods=2, seeds=8, values=GRID, highs=(8e-5, 3e-4, 8e-5)):
    rng = np.random.default_rng(seed)
    found = []
    for high in highs[:methods]:
        above = np.maximum(0, np.log2(values) - np.log2(high))
        scores = 50 - 6 * above[:, None] + rng.normal(0, 1.5, (len(values), seeds))
        found.append(Curve(values, scores, scores < 35))
    return found


def test_a_coarse_grid_comes_first():
    fine = np.geomspace(1e-5, 1e-3, 33)
    first = next_runs(fine, [], 1000, margin=2)
    assert [*first] == fine[[0, 8, 16, 24, 32]].tolist()
    assert {*first.values()} == {4}
    assert [*next_runs([1, 2, 3], [], 1000, margin=2)] == [1, 2, 3]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 3))
def test_whose_runs_they_are_does_not_matter(seed, methods):
    """The condition under which the test of widths is exact."""
    curves = drawn(seed, methods)
    rng = np.random.default_rng(seed)
    # Each seed's runs go to the methods in an order of their own.
    orders = rng.permuted(np.tile(np.arange(methods), (8, 1)), axis=1)
    exchanged = []
    for method in range(methods):
        scores, failed = np.empty((8, 8)), np.empty((8, 8), bool)
        for column in range(8):
            source = curves[orders[column, method]]
            scores[:, column] = source.scores[:, column]
            failed[:, column] = source.failed[:, column]
        exchanged.append(Curve(GRID, scores, failed))
    one, two = (next_runs(GRID, each, 100, margin=2) for each in (curves, exchanged))
    assert one == two
    assert one


def test_values_halfway_before_seeds():
    coarse = drawn(0, values=GRID[::2] + GRID[-1:])
    found = next_runs(GRID, coarse, 1000, margin=6)
    # Fewer than an octave is left between no two values where a range ends.
    assert found
    assert {*found} <= {*GRID[1::2]}
    assert {*found.values()} == {4}


def test_seeds_go_where_ranges_end():
    found = next_runs(GRID, drawn(0, seeds=12), 1000, margin=6)
    assert {*found.values()} == {16}
    # One method ends at 1.6e-4, an octave above where its mean begins to fall by the
    # margin in an octave, the other at 6e-4.
    assert {*found} <= {*GRID[3:]}
    fewer = next_runs(GRID, drawn(0, seeds=12), 1000, margin=6, seeds=2)
    assert {*fewer.values()} == {14}


def test_a_budget_is_kept():
    curves = drawn(1)
    wanted = next_runs(GRID, curves, 1000, margin=2)
    for runs in range(12):
        some = next_runs(GRID, curves, runs, margin=2)
        more = sum(seeds - 8 for seeds in some.values())
        assert 2 * more <= runs
        assert {*some} <= {*wanted}
        assert bool(some) == (runs >= 2)
    assert next_runs(GRID, [], 9, margin=2, methods=2) == dict.fromkeys(
        [GRID[at] for at in (0, 2, 4, 5)], 1
    )


def test_what_is_known_needs_no_runs():
    # One value, at which nothing can end.
    curve = Curve([1.0], [[50.0, 51.0]], [[False, False]])
    assert next_runs([1.0], [curve, curve], 100, margin=2) == {}


def test_nothing_stable_is_looked_for_where_most_runs_go_well():
    values = [1e-5, 1e-4, 1e-3]
    failed = [[True] * 4, [True, True, False, False], [True] * 4]
    curve = Curve(values, np.where(failed, 0.0, 50.0), failed)
    found = next_runs(np.geomspace(1e-5, 1e-3, 9), [curve, curve], 100, margin=2)
    assert 1e-5 < min(found) < 1e-4 < max(found) < 1e-3


def test_looks_spend_the_level():
    looks: list[Look] = []
    for step in range(21):
        if look := next_look(step / 20, looks):
            looks.append(look)
    assert [look.share for look in looks] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert sum(look.level for look in looks) == pytest.approx(0.05)
    assert next_look(1.0, looks) is None
    # A jump over several is one look.
    assert next_look(0.9) == Look(0.9, pytest.approx(0.05 * 0.9**3))


def apart():
    """Two curves without a common seed."""
    half = np.where(np.arange(4) < 2, 1.0, np.nan)
    none = np.zeros((len(GRID), 4), bool)
    return [
        Curve(GRID, np.tile(scores, (len(GRID), 1)), none)
        for scores in (half, half[::-1])
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": [1.0, 1.0]}, "grid must be finite and increase from above 0"),
        ({"grid": [0.0, 1.0]}, "grid must be finite and increase from above 0"),
        ({"grid": [1.0, np.inf]}, "grid must be finite and increase from above 0"),
        ({"runs": -1}, "runs must be a whole number"),
        ({"seeds": 0}, "seeds must be a whole number"),
        ({"methods": 0}, "methods must be a whole number"),
        ({"most_failed": 1.5}, "most_failed must be from 0 to 1"),
        ({"margin": 0.0}, "margin must be a number above 0"),
        ({"curves": [drawn(0)[0], drawn(0, seeds=9)[0]]}, "the same values and seeds"),
        ({"curves": apart()}, "must have a seed in common"),
    ],
)
def test_numbers_out_of_range(changes, message):
    sound = {"grid": GRID, "curves": [], "runs": 9, "margin": 2.0}
    with pytest.raises(ValueError, match=message):
        next_runs(**sound | changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"share": 1.1}, "share must lie"), ({"share": 1, "alpha": 1}, "alpha must lie")],
)
def test_looks_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        next_look(**arguments)
