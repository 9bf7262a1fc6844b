"""How often a curve's verdict is right: simulated studies of two methods.

    python benchmarks/spending.py --studies 500 --output docs/spending.png

Each study spends 400 runs, as many as 25 seeds of two methods at eight learning rates
are: either on all of these alike, or by what chooses runs for ``stability_curve.py
--runs 400``, with its looks. Drawn is how often the range of one is shown to be wider,
over how much wider it is; where it is not, that is the share of wrong verdicts.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from bert_glue.report import curves as reporting_curves
from bert_glue.report.curves import MARGIN, MOST_FAILED, CurveDesign, TaskCurves
from bert_glue.study.spending import Budget, Spending, spend
from matplotlib.figure import Figure

from cwgnc_jax.stability import (
    Curve,
    Interval,
    Look,
    StableRange,
    compare_ranges,
    wilson_interval,
)

GRID = [1e-5 * 2**octave for octave in range(8)]
RUNS, SEEDS = 400, 25
# The first method works from 2e-5 to 8e-5; the second may work further up.
LOW, HIGH = 2e-5, 8e-5
WIDER = (0.0, 1.0, 2.0)
NAMES = ("cwgnc", "adamw")
_MOST_SEEDS = 200
_METHODS = len(NAMES)
_FEW = 999
# Where the test is asked for its p-value alone.
_NONE = StableRange(1.0, 1.0, 1.0, 0.0, Interval(0.0, 0.0, 0.95), False, False)
_NO_RANGES = (_NONE, _NONE)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a simulated study.

    Attributes:
      shown: whether one range is shown to be wider.
      runs: that it took.
    """

    shown: bool
    runs: int


def draw_runs(
    rng: np.random.Generator, high: float, seeds: int = _MOST_SEEDS
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and failures of a method that learns up to some rate, as on CoLA.

    Means fall by 8 an octave outside; failing runs are 20 lower, and half of the runs
    fail an octave above; seeds and runs have standard deviations of 2 and 3.

    Args:
      rng: of the random numbers.
      high: the rate.
      seeds: number of runs at each value.

    Returns:
      Scores and which runs failed, both of shape (values, seeds).
    """
    places = np.log2(GRID)
    outside = np.maximum(0, places - np.log2(high)) + np.maximum(
        0, np.log2(LOW) - places
    )
    scores = 50 - 8 * outside[:, None] + rng.normal(0, 3, (len(GRID), seeds))
    scores += rng.normal(0, 2, seeds)
    chance = 1 / (1 + np.exp(-3 * (places - np.log2(high) - 1)))
    failed = rng.random(scores.shape) < chance[:, None]
    return scores - 20 * failed, failed


def judge(curves: Sequence[Curve], correction: float = 1.0) -> TaskCurves:
    """What the script would say of the curves.

    Args:
      curves: of both methods.
      correction: of p-values.

    Returns:
      Ranges and verdicts.
    """
    design = CurveDesign("learning_rate", {}, correction=correction)
    by_name: dict[str, Curve] = dict(zip(NAMES, curves, strict=True))
    return reporting_curves.judge("simulated", "score", by_name, design)


def is_wider(curves: Sequence[Curve], level: float) -> bool:
    """Whether the script says at a look that one range is wider.

    Args:
      curves: of both methods.
      level: of the look.

    Returns:
      Whether it is shown, among all that is tested.
    """
    # Among other tests its p-value is no smaller: mostly a few exchanges decide, which
    # err by five standard deviations once in a million studies.
    quick = compare_ranges(*curves, margin=MARGIN, ranges=_NO_RANGES, resamples=_FEW)
    if quick.p_value > level + 5 * (level / _FEW) ** 0.5:
        return False
    widths = judge(curves, 0.05 / level).verdicts[NAMES[1]].widths
    return widths is not None and widths.shown


def study(
    number: int,
    wider: float,
    *,
    is_shown: Callable[[Sequence[Curve], float], bool] = is_wider,
) -> Outcome:
    """One study that chooses its runs.

    Args:
      number: of the study, the seed of its random numbers.
      wider: by how many octaves the second range is.
      is_shown: the verdict on both curves at a level.

    Returns:
      What came of it.
    """
    rng = np.random.default_rng([number, 1])
    drawn = [draw_runs(rng, high) for high in (HIGH, HIGH * 2**wider)]

    def curves(spending: Spending) -> list[Curve]:
        values = sorted(spending.seeds)
        at = [GRID.index(value) for value in values]
        counts = np.array([spending.seeds[value] for value in values])
        done = np.arange(max(counts)) < counts[:, None]
        found = []
        for scores, failed in drawn:
            here = at, slice(done.shape[1])
            known = np.where(done, scores[here], np.nan)
            found.append(Curve(np.array(values), known, done & failed[here]))
        return found

    def look(look: Look) -> bool:
        return is_shown(curves(spending), look.level)

    spending = Spending()
    spend(
        Budget(runs=RUNS),
        spending,
        GRID,
        _METHODS,
        margin=MARGIN,
        most_failed=MOST_FAILED,
        do=lambda spending: (0, 0.0),
        curves=curves,
        is_shown=look,
        save=lambda spending: None,
    )
    return Outcome(spending.shown, _METHODS * sum(spending.seeds.values()))


def whole_grid(number: int, wider: float) -> Outcome:
    """One study by all seeds at all values, as :func:`study`."""
    rng = np.random.default_rng([number, 1])
    drawn = [draw_runs(rng, high, SEEDS) for high in (HIGH, HIGH * 2**wider)]
    curves = [Curve(np.array(GRID), scores, failed) for scores, failed in drawn]
    return Outcome(is_wider(curves, 0.05), RUNS)


def draw(shown: dict[str, list[tuple[float, int, int]]]) -> Figure:
    """Draws how often the wider range is shown.

    Args:
      shown: for each way to spend octaves, how many studies show it, and of how many.

    Returns:
      The figure.
    """
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (name, points), color, mark in zip(
        shown.items(), ("#0072B2", "#D55E00"), ("o-", "s--"), strict=True
    ):
        places = [octaves for octaves, _, _ in points]
        values = np.array([count / studies for _, count, studies in points])
        ends = [wilson_interval(count, studies) for _, count, studies in points]
        error = np.abs(values - np.transpose([[end.low, end.high] for end in ends]))
        axes.errorbar(places, values, error, fmt=mark, color=color, capsize=2)
        axes.plot([], [], mark, color=color, label=name)
    axes.axhline(0.05, color="0.5", linewidth=1, linestyle=":")
    axes.text(WIDER[-1], 0.06, "5%", color="0.4", ha="right", va="bottom")
    axes.set_xlabel("by how many octaves one of two ranges is wider (the other: 2)")
    axes.set_ylabel("share of studies\nthat show it")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Simulates, prints a table and draws the figure."""
    import reporting

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--studies",
        type=int,
        default=500,
        help="of equal methods; of others two fifths as many",
    )
    parser.add_argument("--output", type=pathlib.Path, help="figure to write")
    options = parser.parse_args()
    ways = {"runs chosen, four looks": study, "25 seeds at each value": whole_grid}
    shown: dict[str, list[tuple[float, int, int]]] = {name: [] for name in ways}
    print(
        f"| octaves wider | studies | {' | '.join(f'{w}: shown, runs' for w in ways)} |"
    )
    print(f"| --: | --: |{' --: |' * len(ways)}")
    for wider in WIDER:
        studies = options.studies if wider == 0 else options.studies * 2 // 5
        cells = [f"{wider:g}", f"{studies}"]
        for name, simulate in ways.items():
            outcomes = [simulate(number, wider) for number in range(studies)]
            count = sum(outcome.shown for outcome in outcomes)
            shown[name].append((wider, count, studies))
            runs = np.mean([outcome.runs for outcome in outcomes])
            cells.append(f"{count / studies:.1%}, {runs:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    print(reporting.provenance())
    if options.output:
        draw(shown).savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
