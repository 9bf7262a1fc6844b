"""A budget of runs or minutes, spent where it tells most of the curves of methods."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_glue.records.files import RecordsError
from cwgnc_jax.stability import Curve, Look, next_look, next_runs

# More than any budget buys: how many runs a time suffices for is not known before one.
_MANY = 1_000_000


@dataclasses.dataclass
class Spending:
    """How far a study with a budget is.

    Attributes:
      seeds: how many seeds each value is to have in all, of every method.
      looks: at the results.
      seconds: that runs have taken.
      runs: that were done in that time.
      shown: whether the last look has shown all that was asked, which ends the study.
    """

    seeds: dict[float, int] = dataclasses.field(default_factory=dict)
    looks: list[Look] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0
    shown: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the last look was made: nothing is left of the chance to err."""
        return self.shown or bool(self.looks and self.looks[-1].share >= 1)

    def to_json(self) -> dict[str, Any]:
        """For ``config.json``."""
        # Keys of JSON are no numbers.
        return vars(self) | {"seeds": [*self.seeds.items()]}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Spending":
        """Reads what :meth:`to_json` made.

        Args:
          saved: the study.

        Returns:
          The same.

        Raises:
          RecordsError: if it is none.
        """
        try:
            looks = [Look(*look) for look in saved["looks"]]
            return cls(**{**saved, "seeds": dict(saved["seeds"]), "looks": looks})
        except (KeyError, TypeError, ValueError):
            raise RecordsError(
                "a budget in config.json is not one of this version"
            ) from None


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a study may take in all, those parts of it that were done before included.

    Attributes:
      runs: number of runs of all methods together.
      minutes: time of the runs; one of the two is None.
    """

    runs: int | None = None
    minutes: float | None = None

    @property
    def words(self) -> str:
        """What there is, in words."""
        if self.minutes is None:
            return f"at most {self.runs:,} runs in all"
        return f"{self.minutes:g} minutes of runs in all, and what those begun take"

    def left(self, spending: Spending, methods: int) -> int:
        """How many runs are left."""
        if self.minutes is None:
            return max(0, (self.runs or 0) - methods * sum(spending.seeds.values()))
        if not spending.runs:
            return _MANY
        each = spending.seconds / spending.runs
        return max(0, int((60 * self.minutes - spending.seconds) / each))

    def share(self, spending: Spending, methods: int) -> float:
        """How much is spent, from 0 to 1."""
        if self.minutes is None:
            spent = methods * sum(spending.seeds.values()) / (self.runs or 1)
        else:
            spent = spending.seconds / (60 * self.minutes)
        return min(1.0, spent)


def spend(
    budget: Budget,
    spending: Spending,
    grid: Sequence[float],
    methods: int,
    *,
    margin: float,
    most_failed: float,
    do: Callable[[Spending], tuple[int, float]],
    curves: Callable[[Spending], Sequence[Curve]],
    is_shown: Callable[[Look], bool],
    save: Callable[[Spending], object],
) -> Spending:
    """Spends a budget, or what is left of it.

    What to do next follows from the runs that were asked for, all of which are done
    before: stopped at any moment, the study goes on as if it had not been.

    Args:
      budget: what there is.
      spending: how far it is; a new one at the beginning.
      grid: values that may be run.
      methods: number of methods.
      margin: how far below a method's best mean a stable one may be.
      most_failed: largest share of failed runs where a method is stable.
      do: does those runs asked for that are not done; returns their number, and the
        seconds that they took.
      curves: of the runs asked for, one for each method.
      is_shown: whether all that is asked is shown at this look.
      save: keeps how far it is.

    Returns:
      How far it is in the end.
    """
    while not spending.is_over:
        done, seconds = do(spending)
        spending.runs += done
        spending.seconds += seconds
        more = next_runs(
            grid,
            curves(spending) if spending.seeds else [],
            budget.left(spending, methods),
            margin=margin,
            most_failed=most_failed,
            methods=methods,
        )
        share = budget.share(spending, methods) if more else 1.0
        if spending.seeds and (look := next_look(share, spending.looks)):
            # Before anybody hears of it: what was looked at is spent.
            spending.looks.append(look)
            save(spending)
            spending.shown = is_shown(look)
        elif not more:
            break
        if not spending.is_over:
            spending.seeds |= more
        save(spending)
    return spending
