"""What the differences between the rows of a table are worth."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bert_glue.records.run_store import Record
from bert_glue.report.render import render
from bert_glue.training.seeds import Seed
from cwgnc_jax import stability


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A method and the reference on one task: one of two questions.

    Attributes:
      task: the task.
      method: label of the method that is compared with the reference.
      reference: label of the reference, or of the variant of its method that has as
        many epochs as the other.
      comparison: the answer, corrected for all that were asked together.
    """

    task: str
    method: str
    reference: str
    comparison: stability.Comparison

    def __str__(self) -> str:
        """What was compared, which way it points, and whether that is shown."""
        fewest = stability.fewest_seeds(self.comparison.comparisons)
        return render("verdict.txt", verdict=self, fewest=fewest).strip()

    @property
    def better(self) -> str | None:
        """The method that is shown to be better, if one is."""
        return self.comparison.favours if self.comparison.shown else None

    @property
    def brief(self) -> str:
        """The answer, corrected p-value and, if need be, seeds, for a table."""
        comparison = self.comparison
        p_value = f"p = {comparison.p_adjusted:.2g}"
        if self.better is not None:
            return f"{self.better} ({p_value})"
        seeds = comparison.seeds_in_words()
        if seeds is None:
            return f"not shown ({p_value})"
        return f"not shown ({p_value}; {seeds} seeds)"


KEY = (
    "p is corrected for the number of comparisons; the seeds are how many would show "
    "such a difference, with a probability of 80%, if it is as large as it was seen"
)
"""What a reader of :func:`brief_lines` must know."""


def brief_lines(verdicts: Sequence[Verdict], reference: str) -> list[dict[str, str]]:
    """The verdicts in short, a line for each task and pair of methods.

    Args:
      verdicts: as :func:`compare` returns them.
      reference: the reference, which is not named in each line.

    Returns:
      The cells of each line: 'task', 'method', 'higher mean' and 'smaller std'.
    """
    columns = {"score": "higher mean", "spread": "smaller std"}
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for verdict in verdicts:
        pair = verdict.method
        if verdict.reference != reference:
            pair += f" / {verdict.reference}"
        line = lines.setdefault(
            (verdict.task, pair),
            {"task": verdict.task, "method": pair}
            | dict.fromkeys(columns.values(), "not asked"),
        )
        line[columns[verdict.comparison.question]] = verdict.brief
    return list(lines.values())


def subject(runs: Sequence[Record]) -> tuple[str, str]:
    """Fingerprints of the model and the data of a configuration's runs.

    Args:
      runs: finished runs of a configuration, at least one.

    Returns:
      Those of all of them; only runs with the same are compared.
    """
    return runs[0]["model_fingerprint"], runs[0]["data_fingerprint"]


def compare(
    runs: Mapping[tuple[str, str], Sequence[Record]], reference: str
) -> tuple[Verdict, ...]:
    """Compares every method with one of them: is a mean higher, a spread smaller.

    Where one method has all the seeds that the other has, the seeds that both have are
    compared pair by pair; otherwise Welch's test and Brown and Forsythe's take all
    runs as they are. All answers are corrected together for their number.

    A method of which the reference has not the number of epochs is compared with the
    variant of the reference's method that has it, too, if there is one. Runs of
    another model or on other data are not compared.

    Args:
      runs: finished runs by task and label of the method.
      reference: label of the method that the others are compared with.

    Returns:
      Two verdicts for each pair of methods on a task of which two runs each are
      there, mean first; one, of the mean, where all runs of either failed, as no
      method is steadier than one that always fails.
    """
    asked = []
    # Enough that the smallest p-value that exchanges can give, 2 / (resamples + 1), is
    # far below what the first of so many corrected comparisons must pass.
    resamples = max(9999, 1000 * len(runs))
    for task, ours_of, method in pairs(runs, reference):
        ours, theirs = runs[task, ours_of], runs[task, method]
        first, second, paired = _samples(ours, theirs)
        if min(len(first), len(second)) < 2:
            continue
        questions: dict[str, Callable[..., stability.Comparison]] = {
            "welch": stability.compare_scores
        }
        if not any(all(run["failed"] for run in of) for of in (ours, theirs)):
            questions["brown-forsythe"] = stability.compare_spread
        for unpaired, question in questions.items():
            comparison = question(
                first,
                second,
                names=(ours_of, method),
                test="paired" if paired else unpaired,
                resamples=resamples,
            )
            asked.append(Verdict(task, method, ours_of, comparison))
    corrected = stability.correct_comparisons([verdict.comparison for verdict in asked])
    return tuple(
        dataclasses.replace(verdict, comparison=comparison)
        for verdict, comparison in zip(asked, corrected, strict=True)
    )


def shares(runs: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """Splits the variance of crossed seeds, as an analysis of variance does.

    Scores dealt to the grid at random give each part its share of the degrees of
    freedom, on average over all orders, whatever their distribution.

    Args:
      runs: finished runs of a configuration.

    Returns:
      By where it comes from each share of the variance, and what it would be by
      chance if neither seed by itself did anything; each sum to 1. Nothing, unless the
      runs are all pairs of at least two init seeds and two data seeds, with scores
      that differ.
    """
    scores = _by_seed(runs)
    inits, datas = (sorted(set(seeds)) for seeds in zip(*scores, strict=True))
    grid = np.array([[scores.get(Seed(i, d), np.nan) for d in datas] for i in inits])
    total = np.var(grid)
    # NaN where a pair is missing.
    if min(grid.shape) < 2 or not total > 0:
        return {}
    init, data = (float(np.var(grid.mean(axis=axis)) / total) for axis in (1, 0))
    of_init, of_data = ((seeds - 1) / (grid.size - 1) for seeds in grid.shape)
    return {
        "between initialisations": (init, of_init),
        "between data orders": (data, of_data),
        "in their pairing": (max(0.0, 1 - init - data), 1 - of_init - of_data),
    }


def epochs(run: Record) -> int:
    """How many epochs the model that was scored has been trained for, in all.

    Args:
      run: a finished run, or what will be recorded of its configuration.

    Returns:
      The number. Settings give that of a stage: what unfreezes layers goes on from
      the stage before, unless it restarts. Or they give a number of steps.
    """
    unfreeze, max_steps = run.get("unfreeze"), run.get("max_steps")
    if run.get("history") and (unfreeze == "gu" or (max_steps and not unfreeze)):
        return round(run["history"][-1]["epoch"])
    return run["epochs"]


def pairs(
    runs: Mapping[tuple[str, str], Sequence[Record]], reference: str
) -> list[tuple[str, str, str]]:
    """What is compared of some runs, or of what will be recorded of them.

    Args:
      runs: records of one or more runs by task and label of the method.
      reference: label of the method that the others are compared with.

    Returns:
      Task, the reference or its variant, and the other method.
    """
    pairs = []
    tasks = list(dict.fromkeys(task for task, _ in runs))
    for (task, ours_of), ours in runs.items():
        main = runs.get((task, reference))
        if not main or ours[0]["method"] != main[0]["method"]:
            continue
        for (of_task, method), theirs in runs.items():
            if of_task != task or method == ours_of or subject(ours) != subject(theirs):
                continue
            matched = (
                theirs[0]["method"] != ours[0]["method"]
                and epochs(theirs[0]) == epochs(ours[0]) != epochs(main[0])
                and theirs[0]["learning_rate"] == ours[0]["learning_rate"]
            )
            if ours_of == reference or matched:
                pairs.append((task, ours_of, method))
    # Task by task, those with the reference itself first.
    return sorted(pairs, key=lambda pair: (tasks.index(pair[0]), pair[1] != reference))


def _samples(
    ours: Sequence[Record], theirs: Sequence[Record]
) -> tuple[list[float], list[float], bool]:
    """Scores of two methods; of the same seeds in the same order where they pair."""
    first, second = _by_seed(ours), _by_seed(theirs)
    common = [seed for seed in first if seed in second]
    if common and len(common) == min(len(first), len(second)):
        return [first[seed] for seed in common], [second[seed] for seed in common], True
    return list(first.values()), list(second.values()), False


def _by_seed(runs: Sequence[Record]) -> dict[Seed, float]:
    return {Seed(run["init_seed"], run["data_seed"]): run["score"] for run in runs}
