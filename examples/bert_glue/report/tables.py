"""The paper's tables from the records of runs."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from bert_glue.records.designs import ALL, Design
from bert_glue.records.run_store import Record
from bert_glue.report import headings, paper, verdicts
from bert_glue.report.paper import Published
from bert_glue.report.verdicts import Verdict
from bert_glue.study import summaries
from bert_glue.study.summaries import Row
from bert_glue.training.seeds import Seed
from cwgnc_jax import stability

SCORES = {"Std": "std", "Mean": "mean", "Max": "max"}
"""What a table has of each method and task: the paper's names, and attributes."""

CHOSEN = "chosen"
"""Name of the table of settings that were chosen on other examples."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A number of a table.

    Attributes:
      text: the number in per cent; a dash where there is none.
      published: the paper's, if it is of the same setting; empty if not.
      is_best: whether no other method's is better.
    """

    text: str = "-"
    published: str = ""
    is_best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """One of the paper's tables, or whatever runs there are.

    Attributes:
      design: rows, columns and seeds that it is to have.
      cells: what there is of it, by task and label of the method, in their order.
      verdicts: what the differences from the reference are worth.
    """

    design: Design
    cells: Mapping[tuple[str, str], Row]
    verdicts: Sequence[Verdict]

    @property
    def title(self) -> str:
        """Its name."""
        names = {ALL: "Runs", CHOSEN: "Chosen settings"}
        return names.get(self.design.name, f"Table {self.design.name}")

    @property
    def tasks(self) -> list[str]:
        """The tasks of which there are runs."""
        return list(dict.fromkeys(task for task, _ in self.cells))

    @property
    def methods(self) -> list[str]:
        """The methods of which there are runs."""
        present = {label for _, label in self.cells}
        return [label for label in self.design.methods if label in present]

    @property
    def runs(self) -> list[Record]:
        """All runs."""
        return [run for row in self.cells.values() for run in row.runs]

    def column(self, task: str) -> dict[str, Row]:
        """What there is of a task, by the label of the method, in order."""
        cells = self.cells.items()
        return {label: row for (of_task, label), row in cells if of_task == task}

    def is_mixed(self, task: str) -> bool:
        """Whether methods were not trained and scored on the same."""
        subjects = {verdicts.subject(row.runs) for row in self.column(task).values()}
        return len(subjects) > 1

    def best(self, task: str) -> dict[str, set[str]]:
        """Which methods are the best of a task, for each of :data:`SCORES`.

        Args:
          task: one of the tasks.

        Returns:
          Labels of those whose printed number nobody beats. A method of a single run
          does not count unless there is no other, its spread never does, and nothing
          of a method whose runs all failed. None, if there is one method alone, or
          methods were not scored on the same.
        """
        column = self.column(task)
        if self.is_mixed(task) or len(column) < 2:
            return {name: set() for name in SCORES}
        sound = {k: row for k, row in column.items() if row.failed < len(row.runs)}
        several = {k: row for k, row in sound.items() if len(row.runs) > 1}
        winners = {}
        for name, attribute in SCORES.items():
            choose, rows = (min, several) if name == "Std" else (max, several or sound)
            printed = {
                label: round(getattr(row.summary, attribute), 1)
                for label, row in rows.items()
            }
            best = choose(printed.values(), default=None)
            winners[name] = {label for label, value in printed.items() if value == best}
        return winners

    @property
    def has_best(self) -> bool:
        """Whether any method is the best of anything."""
        return any(any(self.best(task).values()) for task in self.tasks)

    def scores(self, task: str, label: str) -> dict[str, Score]:
        """What a method has on a task, for each of :data:`SCORES`.

        Args:
          task: one of the tasks.
          label: label of the method.

        Returns:
          The numbers; dashes if there are no runs.
        """
        if (task, label) not in self.cells:
            return dict.fromkeys(SCORES, Score())
        row = self.cells[task, label]
        texts = score_texts(row.summary)
        published = paper.published(row.runs[0])
        theirs = score_texts(published) if published else {}
        best = self.best(task)
        return {
            name: Score(text, theirs.get(name, ""), label in best[name])
            for name, text in texts.items()
        }

    def row_scores(self, label: str) -> list[Score]:
        """What a method has on all tasks, the scores of one after those of another."""
        return [
            score for task in self.tasks for score in self.scores(task, label).values()
        ]

    def heading(self, task: str) -> str:
        """Task, and what all rows have in common of its metric and its data."""
        return headings.heading([*self.column(task).values()])


def build(design: Design, records: Iterable[Record]) -> Table:
    """Makes a table.

    Args:
      design: its rows, columns and seeds.
      records: finished runs, of this table and of others.

    Returns:
      The table of those runs that belong to it.
    """
    seeds, names = set(design.seeds), set(design.configurations.values())
    rows = {
        row.configuration: row
        for row in summaries.summarize(
            run
            for run in records
            if Seed(run["init_seed"], run["data_seed"]) in seeds
            and run["configuration"] in names
        )
    }
    cells = {
        (task, label): dataclasses.replace(rows[name], label=label)
        for task in design.tasks
        for label in design.methods
        if (name := design.configurations.get((task, label))) in rows
    }
    runs = {key: row.runs for key, row in cells.items()}
    return Table(design, cells, verdicts.compare(runs, design.reference))


def score_texts(
    scores: stability.RunSummary | Published,
) -> dict[str, str]:
    """Std, Mean and Max as the paper prints them.

    Args:
      scores: what runs come to.

    Returns:
      The texts; that of the spread of a single run is a dash.
    """
    texts = {
        name: f"{getattr(scores, attribute):z.1f}" for name, attribute in SCORES.items()
    }
    return texts if scores.runs > 1 else texts | {"Std": "-"}
