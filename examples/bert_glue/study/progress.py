"""Progress bars with loss, score and time left; a line now and then in a log."""

import functools
import io
import sys
import threading
import weakref
from collections.abc import Callable

from tqdm import tqdm

from bert_glue.devices import processes
from bert_glue.devices.terminal import printable
from bert_glue.study.forecast import Forecast
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed

_SECONDS = 30.0
"""Where no bars are drawn, a line says how far it is this often."""
_LINE = "{desc}: {n} of {total} steps, {elapsed} gone, {remaining} left{postfix}"


class Progress:
    """The bars of a study: its runs, and the steps of those that are under way.

    Args:
      runs: number of runs to do.
      shown: whether to draw; by default only if the error output is a terminal.

    Attributes:
      shown: whether bars are drawn; of several processes, by the first.
      forecast: what says how long it will take, if anything does.
    """

    forecast: Forecast | None = None

    def __init__(self, runs: int, *, shown: bool | None = None) -> None:
        # Known to all processes: what is looked at decides where training stops.
        self.shown = processes.agree(sys.stderr.isatty) if shown is None else shown
        self._speaks = processes.is_first()
        bar = functools.partial(
            tqdm,
            leave=False,
            dynamic_ncols=True,
            disable=not self._speaks,
            # What is not drawn is counted all the same.
            file=sys.stderr if self.shown else io.StringIO(),
        )
        self._runs = bar(
            desc="runs",
            total=runs,
            unit="run",
            bar_format=None if self.shown else "{n} of {total} runs done",
        )
        # There is nothing to count before the first step.
        self._steps = bar(
            desc="preparing ...", total=0, unit="step", bar_format="{desc}", position=1
        )
        self._shown_values: dict[str, str] = {}
        self._closed = threading.Event()
        if self._speaks and not self.shown:
            # It does not keep alive what nobody closes.
            bars = weakref.ref(self._steps), weakref.ref(self._runs)
            threading.Thread(
                target=_say_now_and_then, args=(self._closed, *bars), daemon=True
            ).start()

    def start(
        self, recipe: Recipe, seeds: list[Seed], steps: int, settings: int = 1
    ) -> None:
        """A group of seeds begins, of one or several settings side by side."""
        each = [*dict.fromkeys(seed.name for seed in seeds)]
        names = ", ".join(each[:6])
        more = ", ..." if len(each) > 6 else ""
        if settings > 1:
            more += f" of it and {settings - 1} more"
        many = "seeds" if len(each) > 1 else "seed"
        self._shown_values.clear()
        self._steps.bar_format = None if self.shown else _LINE
        self._steps.set_description_str(f"{recipe.label}, {many} {names}{more}")
        self._steps.set_postfix_str("")
        self._steps.reset(steps)

    @property
    def is_awaited(self) -> bool:
        """Whether to wait for steps and look at them, which costs a stop."""
        return self.shown or not (self.forecast is None or self.forecast.is_made)

    def reach(self, done: int, **values: float) -> None:
        """Some steps of the group are done.

        Args:
          done: how many so far.
          **values: means over the group to show, such as loss or score.
        """
        self._shown_values.update(
            {name: f"{value:.4g}" for name, value in values.items()}
        )
        self._steps.set_postfix(self._shown_values, refresh=False)
        self._steps.update(done - self._steps.n)

    def foresee(self, done: int, *, is_last: bool) -> None:
        """Says how long all runs will take, once that is known.

        Args:
          done: steps of the group that the devices have done.
          is_last: whether other work than steps comes next.
        """
        forecast = self.forecast
        if forecast is None or forecast.is_made:
            return
        # Processes that run one program wait for its steps together, or not at all.
        line = processes.agree(lambda: forecast.look(done, is_last=is_last))
        if line is not None:
            forecast.is_made = True
            self.note(line)

    def finish(self, runs: int) -> None:
        """A group of seeds is done."""
        self._runs.update(runs)

    def expect(self, runs: int) -> None:
        """There are more runs to do."""
        self._runs.total = (self._runs.total or 0) + runs
        self._runs.refresh()

    def note(self, text: str) -> None:
        """Prints a line above the bars."""
        if self._speaks:
            tqdm.write(printable(text), file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Removes the bars."""
        self._closed.set()
        self._steps.close()
        self._runs.close()


def _say_now_and_then(
    closed: threading.Event,
    steps: Callable[[], tqdm | None],
    runs: Callable[[], tqdm | None],
) -> None:
    while not closed.wait(_SECONDS):
        if (of_steps := steps()) is None or (of_runs := runs()) is None:
            return
        print(f"{of_steps}; {of_runs}", file=sys.stderr, flush=True)
        del of_steps, of_runs
