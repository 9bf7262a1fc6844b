"""A budget: what is left of it, where it ends, and going on after a kill."""

import copy
import json

import numpy as np
import pytest
from bert_glue.records.files import RecordsError
from bert_glue.study.spending import Budget, Spending, spend

from benchmarks import spending as simulation
from cwgnc_jax.stability import Curve, Look

GRID = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]


class Killed(Exception):
    pass


class Study:
    """Two methods, one of which works further up, whose runs take 2 s each."""

    def __init__(self, dies_at=None):
        rng = np.random.default_rng(0)
        self.scores = [
            np.where(np.array(GRID)[:, None] <= end, 50, 20)
            + rng.normal(0, 3, (len(GRID), 100))
            for end in (4, 16)
        ]
        self.done: set = set()
        self.saved: dict = Spending().to_json()
        self.looked: list = []
        self.dies_at = dies_at

    def do(self, spending):
        count = 0
        for value, seeds in spending.seeds.items():
            for run in ((value, seed) for seed in range(seeds)):
                if run not in self.done:
                    if self.dies_at == len(self.done):
                        self.dies_at = None
                        raise Killed
                    self.done.add(run)
                    count += 2
        return count, 2.0 * count

    def curves(self, spending):
        values = sorted(spending.seeds)
        most = max(spending.seeds.values())
        found = []
        for scores in self.scores:
            here = np.full((len(values), most), np.nan)
            for row, value in enumerate(values):
                seeds = spending.seeds[value]
                here[row, :seeds] = scores[GRID.index(value), :seeds]
            found.append(Curve(np.array(values), here, here < 35))
        return found

    def look(self, look):
        self.looked.append(look)
        return False

    def save(self, spending):
        self.saved = json.loads(json.dumps(copy.deepcopy(spending.to_json())))

    def spend(self, budget, **changes):
        arguments = {
            "margin": 4.0,
            "most_failed": 0.1,
            "do": self.do,
            "curves": self.curves,
            "is_shown": self.look,
            "save": self.save,
        }
        spending = Spending.from_json(self.saved)
        return spend(budget, spending, GRID, 2, **arguments | changes)


def test_runs_are_counted_and_go_where_ranges_end():
    study = Study()
    spending = study.spend(Budget(runs=200))
    assert 2 * len(study.done) == 2 * sum(spending.seeds.values()) <= 200
    assert 2 * len(study.done) > 190
    assert [
        look.share >= due for look, due in zip(study.looked, (0.4, 0.6), strict=False)
    ]
    assert study.looked[-1].share == 1
    assert sum(look.level for look in study.looked) == pytest.approx(0.05)
    # The first ends between 4 and 8, the other between 16 and 32.
    most = sorted(spending.seeds, key=lambda value: -spending.seeds[value])
    assert {4.0, 16.0} < {*most[:4]}
    assert spending.is_over
    before = spending.seeds.copy()
    assert study.spend(Budget(runs=400)).seeds == before


@pytest.mark.parametrize("dies_at", [0, 7, 30, 61, 99])
def test_killed_at_any_moment_it_goes_on_where_it_was(dies_at):
    whole, broken = Study(), Study(dies_at)
    budget = Budget(runs=200)
    whole.spend(budget)
    with pytest.raises(Killed):
        broken.spend(budget)
    broken.spend(budget)
    assert broken.done == whole.done
    assert broken.looked == whole.looked


def test_it_ends_where_all_is_shown():
    study = Study()
    spending = study.spend(Budget(runs=400), is_shown=lambda look: True)
    assert spending.shown
    assert [look.share >= 0.4 for look in spending.looks] == [True]
    assert 2 * len(study.done) < 300
    done = study.done.copy()
    assert study.spend(Budget(runs=400)).shown
    assert study.done == done


def test_minutes_are_what_runs_have_taken():
    study = Study()
    spending = study.spend(Budget(minutes=5))
    # 300 s of runs that take 2 s each, but for the round that ends it.
    assert 260 <= spending.seconds <= 300
    assert spending.seconds == 2 * 2 * len(study.done)
    assert spending.looks[-1].share == 1


def test_a_budget_that_buys_nothing():
    study = Study()
    assert study.spend(Budget(runs=1)).seeds == {}
    assert study.looked == []


def test_what_is_kept_is_read_again():
    spending = Spending({1.0: 3, 2.0: 4}, [Look(0.5, 0.01)], 3.5, 14)
    assert Spending.from_json(json.loads(json.dumps(spending.to_json()))) == spending
    with pytest.raises(RecordsError, match="a budget in config"):
        Spending.from_json({"seeds": 3})


@pytest.mark.slow
def test_equal_methods_are_called_different_in_one_of_twenty_studies():
    """Of 500 studies that choose their runs 5% are 25; 36 have a chance of 2%."""
    outcomes = [simulation.study(number, 0.0) for number in range(500)]
    assert sum(outcome.shown for outcome in outcomes) <= 35
    assert all(outcome.runs <= simulation.RUNS for outcome in outcomes)


@pytest.mark.slow
def test_a_range_twice_as_wide_is_mostly_shown_for_the_runs_of_25_seeds():
    """Two octaves against four, by the whole verdict; the runs are 400 at most."""
    outcomes = [simulation.study(number, 2.0) for number in range(100)]
    assert sum(outcome.shown for outcome in outcomes) >= 80
