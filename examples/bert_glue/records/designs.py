"""What a table is made of: methods, tasks, seeds; kept beside the runs."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from bert_glue.records import run_store
from bert_glue.records.files import RecordsError, plain
from bert_glue.records.run_store import Record, normalised_label
from bert_glue.training.seeds import Seed

T = TypeVar("T")

ALL = "runs"
"""The name of a table of whatever runs a folder holds."""


@dataclasses.dataclass(frozen=True)
class Design:
    """The rows and columns of a table, and the runs in each cell.

    Attributes:
      name: '1' or '2' as in the paper, or :data:`ALL`.
      methods: labels of the rows.
      tasks: names of the columns.
      configurations: short name of the configuration of each task and method.
      seeds: seeds of the runs of each cell.
      reference: label of the row that the others are compared with.
    """

    name: str
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    configurations: Mapping[tuple[str, str], str]
    seeds: tuple[Seed, ...]
    reference: str

    @property
    def runs(self) -> int:
        """Number of runs that the table asks for."""
        return len(self.configurations) * len(self.seeds)

    def to_json(self) -> dict[str, Any]:
        """The design for ``config.json``."""
        cells = [(*cell, name) for cell, name in self.configurations.items()]
        saved = {**vars(self), "configurations": cells}
        # It is the key under which the design is kept.
        del saved["name"]
        return plain(saved)

    @classmethod
    def from_json(cls, name: str, saved: Mapping[str, Any]) -> "Design":
        """Reads what :meth:`to_json` made.

        Args:
          name: name of the table.
          saved: its design.

        Returns:
          The design.

        Raises:
          RecordsError: if it is none.
        """
        try:
            cells = saved["configurations"]
            return cls(
                name,
                _union(map(normalised_label, saved["methods"])),
                tuple(saved["tasks"]),
                {(task, normalised_label(label)): run for task, label, run in cells},
                tuple(Seed(init, data) for init, data in saved["seeds"]),
                normalised_label(saved["reference"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RecordsError(
                f"table {name} in config.json is not one of this version"
            ) from None

    def join(self, other: "Design") -> "Design":
        """The table of both, such as of two parts of the runs.

        Args:
          other: a design of the same table.

        Returns:
          All rows, columns and seeds of both; a row that is another by another name
          is left out. The reference is that of the other, or else of this one, that
          is not the usual choice among its rows; if there is none, the usual choice
          among all.

        Raises:
          RecordsError: if a row has other settings in the other.
        """
        for cell, name in other.configurations.items():
            if self.configurations.get(cell, name) != name:
                raise RecordsError(
                    f"table {self.name}: {cell[1]} on {cell[0]} has other settings "
                    "(or another model, or other data) in one directory than in "
                    "another; their runs are no one table"
                )
        # The order of rows is that of the larger table.
        first, second = self, other
        if set(self.methods) <= set(other.methods):
            first, second = other, self
        names = set(first.configurations.values())
        added = {
            cell: name
            for cell, name in second.configurations.items()
            if name not in names
        }
        methods = _union(first.methods, [label for _, label in added])
        named = [
            each.reference
            for each in (other, self)
            if each.reference in {*methods} - {choose_reference(each.methods)}
        ]
        return Design(
            self.name,
            methods,
            _union(first.tasks, second.tasks),
            {**first.configurations, **added},
            _union(self.seeds, other.seeds),
            named[0] if named else choose_reference(methods),
        )

    @classmethod
    def of_records(cls, runs: Iterable[Record]) -> "Design":
        """The table of whatever runs there are.

        Args:
          runs: records, at least one.

        Returns:
          A row for each label; where several configurations of a task have one
          label, a row for each, which names the settings that differ.
        """
        runs = list(runs)
        firsts = {
            of[0]["configuration"]: of[0] for of in run_store.by_configuration(runs)
        }
        labels = {}
        for name, differing in run_store.distinctions(runs).items():
            words = [f"{k.replace('_', ' ')} {v}" for k, v in differing.items()]
            added = f" ({', '.join(words)})" if words else ""
            labels[name] = firsts[name]["label"] + added
        methods = _union(labels.values())
        return cls(
            ALL,
            methods,
            _union(run["task"] for run in runs),
            {(run["task"], labels[name]): name for name, run in firsts.items()},
            _union(Seed(run["init_seed"], run["data_seed"]) for run in runs),
            choose_reference(methods),
        )


def choose_reference(methods: Sequence[str], named: str | None = None) -> str:
    """The row to compare with: the paper's method at the paper's threshold.

    Args:
      methods: labels of the rows.
      named: the one that a user names.

    Returns:
      One of them; the first if the paper's method is not among them.

    Raises:
      ValueError: if what is named is none of them.

    Examples:
      >>> choose_reference(["adamw", "cwgnc:epochs=3", "cwgnc"])
      'cwgnc'
      >>> choose_reference(["cwgnc:max_norm=0.01", "cwgnc:max_norm=0.05"])
      'cwgnc:max_norm=0.05'
    """
    if named is not None:
        if (named := normalised_label(named)) not in methods:
            raise ValueError(
                f"the reference is {named!r}; accepted are {', '.join(methods)}"
            )
        return named
    ours = [label for label in methods if label.startswith("cwgnc")]
    wanted = ("cwgnc", "cwgnc:max_norm=0.05", *ours, *methods)
    return next(label for label in wanted if label in methods)


def _union(*parts: Iterable[T]) -> tuple[T, ...]:
    """What is in any of some sequences, once, in order."""
    return tuple(dict.fromkeys(itertools.chain(*parts)))
