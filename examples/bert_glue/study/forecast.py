"""How long a study will take, from the rate of its first steps."""

import dataclasses
import datetime
import math
from collections.abc import Callable, Mapping

import numpy as np

from bert_glue.study.configuration import Configuration
from bert_glue.training.program import clock
from bert_glue.training.stages import make_stages

_SECONDS = 3.0
"""Steps that took less say little of those to come."""


@dataclasses.dataclass(eq=False)
class Forecast:
    """The time that all runs of a study take, known once some steps are done.

    Work is counted in tokens to train on, without padding; those that are evaluated
    count a third, as nothing goes backwards there. Compiling other programs than the
    first, and what other processes do, is not foreseen.

    Args:
      runs: how many of each configuration are to be done.
      clock: seconds.
      now: the time of day.

    Attributes:
      is_made: whether it was; then nobody has to wait for steps to look at the clock.
    """

    runs: Mapping[Configuration, int]
    clock: Callable[[], float] = clock
    now: Callable[[], datetime.datetime] = datetime.datetime.now

    def __post_init__(self) -> None:
        self.is_made = not sum(self.runs.values())
        self._first: tuple[float, int] | None = None
        self._per_step = 0.0

    def start(self, configuration: Configuration, seeds: int) -> None:
        """A group begins.

        Args:
          configuration: what is trained.
          seeds: how many side by side.
        """
        self._first = None
        lengths = np.asarray(configuration.subject.train.lengths)
        batch = configuration.recipe.batch_size * float(lengths.mean())
        self._per_step = batch * seeds

    def look(self, done: int, *, is_last: bool) -> str | None:
        """Takes the time after some steps, once the devices have done them.

        Args:
          done: steps of the group so far.
          is_last: whether other work than steps comes next.

        Returns:
          A line for the user, at the first time that one can be said.
        """
        seconds = self.clock()
        if self._first is None:
            # The first steps also make what is made once; an evaluation is no step.
            self._first = None if is_last else (seconds, done)
            return None
        taken, steps = seconds - self._first[0], done - self._first[1]
        if self.is_made or not (is_last or taken >= _SECONDS):
            return None
        self.is_made = True
        work = sum(count * _work(each) for each, count in self.runs.items())
        left = max(0.0, work - done * self._per_step)
        return self._line(taken / (steps * self._per_step) * left)

    def _line(self, seconds: float) -> str:
        runs = sum(self.runs.values())
        of = [each for each, count in self.runs.items() if count]
        settings = len({each.recipe.label for each in of})
        methods = len({each.recipe.name for each in of})
        kind = "settings" if settings > methods else "methods"
        tasks = len({each.subject.task.name for each in of})
        what = _many(runs, "run") + (f" of {settings} {kind}" if settings > 1 else "")
        what += f" on {tasks} tasks" if tasks > 1 else ""
        now = self.now()
        end = now + datetime.timedelta(seconds=seconds)
        days = (end.date() - now.date()).days
        day = f"{end:%A} " if 0 < days < 7 else f"{end:%d %B} " if days else ""
        return f"some {duration(seconds)} for {what}, done at {day}{end:%H:%M}"


def duration(seconds: float) -> str:
    """A time in one unit, to some two digits.

    Examples:
      >>> [duration(seconds) for seconds in (0.1, 42, 100, 5000, 9000, 400_000)]
      ['10 seconds', '40 seconds', '2 minutes', '83 minutes', '2.5 hours', '4.6 days']
    """
    if seconds < 95:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:.2g} hours" if hours < 48 else f"{hours / 24:.2g} days"


def _work(configuration: Configuration) -> float:
    """Tokens of one run."""
    subject, recipe = configuration.subject, configuration.recipe
    lengths = np.asarray(subject.train.lengths)
    whole = math.ceil(len(lengths) / recipe.batch_size)
    steps = recipe.steps(whole)
    evaluated = math.ceil(steps / (whole * recipe.epochs_per_evaluation))
    evaluations = evaluated * recipe.evaluations_per_epoch
    scored = float(np.sum(np.asarray(subject.evaluation.lengths)))
    stages = len(make_stages(recipe, subject.shapes))
    trained = steps * recipe.batch_size * float(lengths.mean())
    return stages * (trained + evaluations * scored / 3)


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' if count != 1 else ''}"
