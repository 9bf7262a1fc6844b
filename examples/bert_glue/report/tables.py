"""The paper's tables from the records of runs."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from bert_glue.records.designs import ALL, Design
from bert_glue.records.run_store import Record
from bert_glue.report import paper, verdicts
from bert_glue.report.paper import Published
from bert_glue.report.verdicts import Verdict
from bert_glue.study import summaries
from bert_glue.study.summaries import Row
from bert_glue.training.seeds import Seed
from cwgnc_jax import stability

COLUMNS = ("Std", "Mean", "Max")
"""The numbers of a cell, as the paper names them."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A method on a task.

    Attributes:
      row: what the runs come to.
      runs: the runs, in the order of their seeds.
      published: the paper's numbers, if they are of the same setting.
    """

    row: Row
    runs: tuple[Record, ...]
    published: Published | None

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Std, Mean and Max, in per cent."""
        return self.row.summary.std, self.row.summary.mean, self.row.summary.max

    @property
    def texts(self) -> tuple[str, str, str]:
        """The same to print; a single run has no spread."""
        return summaries.numbers(self.row.summary, 1)

    @property
    def always_failed(self) -> bool:
        """Whether there are several runs, and all failed (majority classifier)."""
        return verdicts.always_failed(self.runs)

    @property
    def failure_rate(self) -> stability.Interval:
        """Wilson's interval of the chance to fail (majority classifier), 0 to 1."""
        return stability.wilson_interval(len(self.row.failed), len(self.runs))


@dataclasses.dataclass(frozen=True)
class Table:
    """One of the paper's tables, or whatever runs there are.

    Attributes:
      design: rows, columns and seeds that it is to have.
      cells: what there is of it, by task and label of the method.
      verdicts: what the differences from the reference are worth.
    """

    design: Design
    cells: Mapping[tuple[str, str], Cell]
    verdicts: Sequence[Verdict]

    @property
    def title(self) -> str:
        """Its name."""
        if self.design.number == ALL:
            return "Runs"
        return f"Table {self.design.number}"

    @property
    def tasks(self) -> list[str]:
        """The tasks of which there are runs."""
        return [
            task
            for task in self.design.tasks
            if any(task == key[0] for key in self.cells)
        ]

    @property
    def methods(self) -> list[str]:
        """The methods of which there are runs."""
        return [
            label
            for label in self.design.methods
            if any(label == key[1] for key in self.cells)
        ]

    def column(self, task: str) -> dict[str, Cell]:
        """The cells of a task by the label of their method, in order.

        Args:
          task: one of the tasks.

        Returns:
          The cells of which there are runs.
        """
        return {
            label: self.cells[task, label]
            for label in self.methods
            if (task, label) in self.cells
        }

    def best(self, task: str) -> tuple[frozenset[str], ...]:
        """Which methods are the best of a task, for each of :data:`COLUMNS`.

        Args:
          task: one of the tasks.

        Returns:
          Labels of those whose printed number nobody beats. A method of a single run
          does not count unless there is no other; its spread, and that of one that
          always fails, never do. None, if methods were not scored on the same.
        """
        column = self.column(task)
        if self._is_mixed(task):
            return (frozenset(),) * len(COLUMNS)
        several = {k: cell for k, cell in column.items() if len(cell.runs) > 1}
        working = {k: cell for k, cell in several.items() if not cell.always_failed}
        entered = (working, several or column, several or column)
        found = []
        for place, (choose, cells) in enumerate(
            zip((min, max, max), entered, strict=True)
        ):
            printed = {
                label: round(cell.numbers[place], 1) for label, cell in cells.items()
            }
            best = choose(printed.values(), default=None)
            found.append(
                frozenset(label for label, value in printed.items() if value == best)
            )
        return tuple(found)

    def heading(self, task: str) -> str:
        """What a column shows, in a line.

        Args:
          task: one of the tasks.

        Returns:
          Task, and what all rows have in common of metric, size of the data and
          score of the majority classifier.
        """
        return summaries.heading([cell.row for cell in self.column(task).values()])

    @property
    def notes(self) -> list[str]:
        """What a reader must know, each a sentence."""
        found = []
        recorded = sum(len(cell.runs) for cell in self.cells.values())
        # Of whatever runs there are none is missing.
        if recorded < self.design.runs and self.design.number != ALL:
            found.append(
                f"{recorded} of {self.design.runs} runs are recorded; the table is of "
                "these."
            )
        differing: dict[str, list[tuple[str, str]]] = {}
        for key, cell in self.cells.items():
            run = cell.runs[0]
            for text in (*paper.differences(run), *paper.recipe_differences(run)):
                differing.setdefault(text, []).append(key)
        if differing:
            where = [f"{text}{self._where(keys)}" for text, keys in differing.items()]
            found.append(
                "The setting is not the paper's, so that its numbers are not "
                f"comparable: {'; '.join(where)}."
            )
        if any(cell.published for cell in self.cells.values()):
            found.append(
                f"In brackets the paper's numbers ({paper.SOURCE}, {paper.RUNS} runs), "
                "where the setting is the same."
            )
        failed = [
            f"{label} on {task}"
            for (task, label), cell in self.cells.items()
            if cell.always_failed
        ]
        if failed:
            found.append(
                f"All runs failed of {', '.join(failed)}: a small spread there is no "
                "sign of stability, and is not compared."
            )
        found += self._unlike()
        if any(seed.init != seed.data for seed in self.design.seeds):
            found.append(
                "Initialisation and data order vary apart: runs that share one of the "
                "two are not independent, and tests take them as if they were."
            )
            found += [
                f"{label} on {task}: {shares}."
                for (task, label), cell in self.cells.items()
                if (shares := verdicts.shares(cell.runs))
            ]
        return found

    def _unlike(self) -> list[str]:
        """What rows of one column do not have in common, apart from the method."""
        found = []
        # Dicts for ordered sets: a label may stand in several columns.
        epochs: dict[int, dict[str, None]] = {}
        kept: dict[int, dict[str, None]] = {}
        for (_, label), cell in self.cells.items():
            run = cell.runs[0]
            epochs.setdefault(verdicts.epochs(run), {})[label] = None
            if run["keep"] == "best":
                kept.setdefault(len(run["history"]), {})[label] = None
        if len(epochs) > 1:
            text = "; ".join(
                f"{number} of {', '.join(labels)}" for number, labels in epochs.items()
            )
            found.append(
                f"Rows differ in their epochs ({text}): what is shown between rows of "
                "unlike numbers may be the epochs' doing."
            )
        found += [
            f"The score of {', '.join(labels)} is the best of {number} evaluations on "
            "the examples that are scored, which alone makes it higher."
            for number, labels in kept.items()
            if number > 1
        ]
        mixed = [task for task in self.tasks if self._is_mixed(task)]
        if mixed:
            found.append(
                f"Rows of {', '.join(mixed)} are of several models, or were trained or "
                "scored on different examples; these are not compared, and none is "
                "marked as the best."
            )
            for task in mixed:
                each = [
                    f"{label} ({', '.join((run['model'], *summaries.facts(cell.row)))})"
                    for label, cell in self.column(task).items()
                    for run in cell.runs[:1]
                ]
                found.append(f"On {task} {'; '.join(each)}.")
        return found

    def _is_mixed(self, task: str) -> bool:
        """Whether methods were not trained and scored on the same."""
        subjects = {verdicts.subject(cell.runs) for cell in self.column(task).values()}
        return len(subjects) > 1

    def _why_not(self) -> str:
        """Why there is no comparison."""
        reference = self.design.reference
        several = {key for key, cell in self.cells.items() if len(cell.runs) > 1}
        if len({label for _, label in several}) < 2:
            return "it takes two methods with two runs each"
        if reference not in {label for _, label in several}:
            return f"{reference}, the reference, has no two runs yet"
        return (
            f"no other method has two runs with what {reference} was trained and "
            "scored on"
        )

    def _where(self, keys: Sequence[tuple[str, str]]) -> str:
        """Of which columns, or rows, or cells something is true; empty for all."""
        if len(keys) == len(self.cells):
            return ""
        for place in (0, 1):
            names = dict.fromkeys(key[place] for key in keys)
            if len(keys) == sum(key[place] in names for key in self.cells):
                return f" ({', '.join(names)})"
        return f" ({', '.join(f'{label} on {task}' for task, label in keys)})"

    @property
    def rules(self) -> str:
        """By which rules a run failed, in a sentence."""
        text = (
            "A run failed (majority) if its score is no better than that of always "
            "giving the commonest answer of the training examples, or if its loss "
            "became NaN or infinite"
        )
        limits = [
            f"{task.upper()} {stability.RELEASED_FAILED_AT[task]:g}"
            for task in self.tasks
            if task in stability.RELEASED_FAILED_AT
        ]
        if limits:
            text += (
                f"; (released) if it is at most what the paper's code has: "
                f"{', '.join(limits)}"
            )
        return text + "."

    @property
    def outcome(self) -> str:
        """How many differences are shown, in a sentence."""
        if not self.verdicts:
            return f"There is nothing to compare: {self._why_not()}."
        shown = [each for each in self.verdicts if each.comparison.shown]
        asked = [each.comparison.question for each in self.verdicts]
        count = len(asked)
        variants = dict.fromkeys(
            each.reference
            for each in self.verdicts
            if each.reference != self.design.reference
        )
        matched = (
            f", some with {', '.join(variants)} instead, for equal epochs,"
            if variants
            else ""
        )
        return (
            f"Of {count} comparison{'s' if count > 1 else ''} with "
            f"{self.design.reference} ({asked.count('score')} of means, "
            f"{asked.count('spread') or 'none'} of spreads){matched} "
            f"{len(shown) or 'none'} "
            f"{'is' if len(shown) < 2 else 'are'} shown at the level "
            f"{self.verdicts[0].comparison.alpha:g}, corrected together (Holm)."
        )


def build(design: Design, records: Iterable[Record]) -> Table:
    """Makes a table.

    Args:
      design: its rows, columns and seeds.
      records: finished runs, of this table and of others.

    Returns:
      The table of those runs that belong to it.
    """
    by_configuration: dict[str, list[Record]] = {}
    seeds = set(design.seeds)
    for run in records:
        if Seed(run["init_seed"], run["data_seed"]) in seeds:
            by_configuration.setdefault(run["configuration"], []).append(run)
    cells = {}
    for task in design.tasks:
        for label in design.methods:
            name = design.configurations.get((task, label))
            runs = by_configuration.get(name or "")
            if not runs:
                continue
            runs.sort(key=lambda run: (run["init_seed"], run["data_seed"]))
            row = dataclasses.replace(summaries.summarize(runs)[0], label=label)
            cells[task, label] = Cell(row, tuple(runs), paper.published(runs[0]))
    return Table(
        design,
        cells,
        verdicts.compare(
            {key: cell.runs for key, cell in cells.items()}, design.reference
        ),
    )


def approach(label: str) -> str:
    """A row's label with the paper's name for it, where it has one.

    Args:
      label: label of a row.

    Returns:
      What to print.

    Examples:
      >>> approach("mixout"), approach("adamw:epochs=5")
      ('mixout, Lee et al. (2019)', 'adamw:epochs=5')
    """
    name = paper.APPROACHES.get(label)
    return f"{label}, {name}" if name and name.lower() != label else label
