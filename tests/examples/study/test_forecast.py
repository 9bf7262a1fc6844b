"""How long a study takes, by a clock that the test turns."""

import dataclasses
import datetime
import types

import numpy as np
import pytest
from bert_glue.study.configuration import Configuration
from bert_glue.study.forecast import Forecast, duration
from bert_glue.study.progress import Progress
from bert_glue.training.methods import METHODS


@dataclasses.dataclass
class Clock:
    seconds: float = 100.0

    def __call__(self):
        return self.seconds


class Subject(types.SimpleNamespace):
    """One is what it is, as a study's subjects are."""

    __hash__ = object.__hash__


def configuration(method, task="rte", lengths=(20, 40), examples=32, **settings):
    subject = Subject(
        task=types.SimpleNamespace(name=task),
        shapes={},
        train=types.SimpleNamespace(lengths=np.tile(lengths, examples // 2)),
        evaluation=types.SimpleNamespace(lengths=np.array([30] * 12)),
    )
    recipe = METHODS[method].replace(batch_size=8, **settings)
    return Configuration(subject, "tiny", recipe)


def forecast(runs, clock, at="2024-05-03T14:05"):
    now = datetime.datetime.fromisoformat(at)
    return Forecast(runs, clock, lambda: now)


def test_all_runs_from_the_rate_of_some_steps():
    first = configuration("cwgnc", epochs=2)
    # Twice as long texts, and an epoch more.
    second = configuration("adamw", task="cola", lengths=(40, 80), epochs=3)
    clock = Clock()
    made = forecast({first: 4, second: 6}, clock)
    made.start(first, 2)
    assert made.look(1, is_last=False) is None
    clock.seconds += 0.9
    # Too little time to go by.
    assert made.look(2, is_last=False) is None
    clock.seconds += 8.1
    line = made.look(4, is_last=False)
    # Three steps of 8 texts of two runs took 9 s. Of 30 tokens each that is 160 a
    # second; evaluations count a third of 360 tokens.
    work = 4 * 2 * (32 * 30 + 120) + 6 * 3 * (32 * 60 + 120)
    seconds = (work - 4 * 2 * 8 * 30) / 160
    assert seconds == pytest.approx(271.5)
    assert line == ("some 5 minutes for 10 runs of 2 methods on 2 tasks, done at 14:09")
    assert made.is_made
    clock.seconds += 100
    # Said once.
    assert made.look(9, is_last=True) is None


def test_settings_of_a_method_are_no_methods():
    runs = {configuration("adamw", learning_rate=rate): 2 for rate in (1e-5, 2e-5)}
    clock = Clock()
    made = forecast(runs, clock)
    made.start(next(iter(runs)), 2)
    made.look(1, is_last=False)
    clock.seconds += 9
    assert "for 4 runs of 2 settings, done" in made.look(4, is_last=False)


def test_an_evaluation_ends_the_wait():
    clock, only = Clock(), configuration("cwgnc", epochs=1)
    made = forecast({only: 1}, clock)
    made.start(only, 1)
    assert made.look(1, is_last=False) is None
    clock.seconds += 0.3
    # 3 of 4 steps, and an evaluation to come.
    assert made.look(4, is_last=True) == "some 10 seconds for 1 run, done at 14:05"


def test_epochs_without_an_evaluation_take_less():
    def line(**settings):
        clock, only = Clock(), configuration("cwgnc", epochs=5, **settings)
        made = forecast({only: 30}, clock)
        made.start(only, 1)
        made.look(1, is_last=False)
        clock.seconds += 48
        return made.look(3, is_last=False)

    # Two steps of 8 texts of 30 tokens took 48 s: 10 tokens a second. Of 30 times five
    # epochs of 960 and five evaluations of 120, or three, all but 720 are left.
    assert "some 4.5 hours for 30 runs" in line()
    assert "some 4.3 hours for 30 runs" in line(epochs_per_evaluation=2)


def test_each_group_has_its_first_step_alone():
    clock, only = Clock(), configuration("cwgnc", epochs=1)
    made = forecast({only: 2}, clock)
    made.start(only, 1)
    made.look(1, is_last=False)
    made.start(only, 1)
    clock.seconds += 1000
    assert made.look(1, is_last=True) is None
    # An evaluation took time after that look: it is no beginning.
    clock.seconds += 1000
    assert made.look(2, is_last=False) is None
    clock.seconds += 60
    assert "some 2 minutes for 2 runs" in made.look(4, is_last=True)


def test_stages_count():
    staged = configuration("gu", stages=2, epochs=1)
    clock = Clock()
    made = forecast({staged: 1}, clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_glue.study.forecast.make_stages", lambda *_: (0, 1))
        made.start(staged, 1)
        made.look(0, is_last=False)
        clock.seconds += 240
        # 240 tokens, and 2,160 in all: 1,920 are left.
        line = made.look(1, is_last=False)
    assert line == "some 32 minutes for 1 run, done at 14:37"


@pytest.mark.parametrize(
    ("seconds", "end"),
    [
        (3600, "some 60 minutes for 1 run, done at 15:05"),
        (36_000, "some 10 hours for 1 run, done at Saturday 00:05"),
        (10 * 86_400, "some 10 days for 1 run, done at 13 May 14:05"),
    ],
)
def test_days_are_named(seconds, end):
    only = configuration("cwgnc")
    assert forecast({only: 1}, Clock())._line(seconds) == end


def test_nothing_to_do():
    assert forecast({configuration("cwgnc"): 0}, Clock()).is_made


def test_units():
    assert duration(94) == "90 seconds"
    assert duration(95) == "2 minutes"
    assert duration(47 * 3600) == "47 hours"


def test_progress_says_it_once(capsys):
    clock, only = Clock(), configuration("cwgnc", epochs=1)
    progress = Progress(1, shown=False)
    assert not progress.is_awaited
    progress.forecast = forecast({only: 1}, clock)
    progress.forecast.start(only, 1)
    # Nobody watches, but somebody waits for a number.
    assert progress.is_awaited
    progress.foresee(1, is_last=False)
    clock.seconds += 60
    progress.foresee(2, is_last=False)
    progress.foresee(3, is_last=True)
    assert not progress.is_awaited
    progress.close()
    assert capsys.readouterr().out == "some 2 minutes for 1 run, done at 14:07\n"
