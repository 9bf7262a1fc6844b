"""Progress bars with loss, score and time left; none where nobody is watching."""

import functools
import sys

from tqdm import tqdm

from bert_glue.devices import processes
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed


class Progress:
    """The bars of a study: its runs, and the steps of those that are under way.

    Args:
      runs: number of runs to do.
      shown: whether to draw; by default only if the error output is a terminal.

    Attributes:
      shown: whether bars are drawn; of several processes, by the first.
    """

    def __init__(self, runs: int, *, shown: bool | None = None) -> None:
        # Known to all processes: what is looked at decides where training stops.
        self.shown = processes.agree(sys.stderr.isatty) if shown is None else shown
        self._speaks = processes.is_first()
        is_drawn = self.shown and self._speaks
        bar = functools.partial(
            tqdm, leave=False, dynamic_ncols=True, disable=not is_drawn
        )
        self._runs = bar(desc="runs", total=runs, unit="run")
        # There is nothing to count before the first step.
        self._steps = bar(
            desc="preparing ...", total=0, unit="step", bar_format="{desc}", position=1
        )
        self._shown_values: dict[str, str] = {}

    def start(self, recipe: Recipe, seeds: list[Seed], steps: int) -> None:
        """A group of seeds begins."""
        names = ", ".join(seed.name for seed in seeds[:6])
        more = ", ..." if len(seeds) > 6 else ""
        many = "seeds" if len(seeds) > 1 else "seed"
        self._shown_values.clear()
        self._steps.bar_format = None
        self._steps.set_description_str(f"{recipe.label}, {many} {names}{more}")
        self._steps.set_postfix_str("")
        self._steps.reset(steps)

    def advance(self, steps: int, **values: float) -> None:
        """Some steps are done.

        Args:
          steps: how many.
          **values: means over the group to show, such as loss or score.
        """
        self._shown_values.update(
            {name: f"{value:.4g}" for name, value in values.items()}
        )
        self._steps.set_postfix(self._shown_values, refresh=False)
        self._steps.update(steps)

    def finish(self, runs: int) -> None:
        """A group of seeds is done."""
        self._runs.update(runs)

    def note(self, text: str) -> None:
        """Prints a line above the bars."""
        if self._speaks:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Removes the bars."""
        self._steps.close()
        self._runs.close()
