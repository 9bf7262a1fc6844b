"""Seconds of a training step by number of seeds and kind of batches, and of candidates.

Random tokens in the lengths of a real task, with dropout, component clipping and AdamW.
A candidate is a setting that only a measurement can judge: those that the project has
are found, and each is measured alone, then all that made steps faster together. PyTorch
takes turns with one and four seeds where a Python that has it is named.

    python benchmarks/throughput.py --cases seeds --torch-python python3
    python benchmarks/throughput.py --cases candidates --tiny

Each row is written when it is there; a case that fails, or does not fit, says so in its
row. What is not begun when the time is up is left out.
"""

import argparse
import dataclasses
import gc
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import candidates
import jax
import numpy as np
import random_task
import reporting
import training_speed
from bert_glue.devices import environment, memory
from bert_glue.training.seeds import Seed, seed_keys
from bert_glue.training.subjects import DTYPES, Subject
from candidates import RECIPE, Case
from torch_turns import WAYS, Peers
from training_speed import Training

# Gradients beside the parameters and Adam's moments.
_COPIES = 4


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a case's steps took.

    Attributes:
      per_step: median seconds a step and seed.
      compiling: seconds until the first steps were done.
      padding: share of computed tokens that are none.
      floor: seconds a step and seed of the computed tokens' matrix products and of the
        optimizer's traffic, at the rates that were measured.
      real_floor: the same for the real tokens.
      peers: median seconds a step of each peer that took turns.
    """

    per_step: float
    compiling: float
    padding: float
    floor: float
    real_floor: float
    peers: Mapping[str, float]


class Bench:
    """Measures cases on one device.

    Args:
      options: of the command line.
      peers: names of PyTorch's ways, and those that are ready of them by kind of batch.
    """

    def __init__(self, options: argparse.Namespace, peers: Peers):
        self.options, self.peers = options, peers
        self.rates = (
            training_speed.matrix_rate(DTYPES[options.dtype]),
            training_speed.copy_rate(),
        )
        self._subjects: dict[tuple[str, str], Subject] = {}

    def subject(self, case: Case) -> Subject:
        """The case's model and examples; another shape's are let go."""
        key = case.shape, case.task
        if key not in self._subjects:
            self._subjects.clear()
            made = random_task.subject(*key, self.options.dtype)
            self._subjects[key] = made
        return self._subjects[key]

    def measure(self, case: Case) -> Measured:
        """Compiles and times a case's training.

        Raises:
          Absent: if the project does not have one of its settings.
          MemoryError: if its parameters alone do not fit.
        """
        subject = self.subject(case)
        check_memory(subject, case.seeds)
        trainer, subject = candidates.make_trainer(case, subject)
        keys = seed_keys([Seed(seed, seed) for seed in range(case.seeds)])
        began = time.perf_counter()
        trainer.compile()
        training = Training(subject, trainer, keys, self.options.steps)
        training.turn()
        compiling = time.perf_counter() - began
        turns: dict[str, Callable[[], float]] = {"ours": training.turn}
        turns |= self.peers.turns(case)
        medians = reporting.interleave(turns, self.options.rounds, warm_up=1)
        ours = medians.pop("ours")
        lengths = np.asarray(subject.train.lengths)
        return Measured(
            ours / training.steps / case.seeds,
            compiling,
            training.padding,
            self._floor(subject, computed_lengths(lengths, training)),
            self._floor(subject, lengths),
            self.peers.keep(case, medians),
        )

    def _floor(self, subject: Subject, lengths: np.ndarray) -> float:
        matrix, copy = self.rates
        parameters = memory.count_parameters(subject.shapes)
        flops = training_speed.flops_per_step(
            subject.config, lengths, RECIPE.batch_size
        )
        return flops / matrix + 4 * training_speed.PASSES * parameters / copy


def computed_lengths(lengths: np.ndarray, training: Training) -> np.ndarray:
    """Lengths that the batches of an epoch are cut to."""
    order = np.asarray(training.order)
    longest = np.where(order >= 0, lengths[np.maximum(order, 0)], 0).max(axis=(0, 2))
    cut = np.asarray(training.trainer.buckets)
    return cut[np.searchsorted(cut, longest)]


def check_memory(subject: Subject, seeds: int) -> None:
    """Finds out before compiling that a group is too large.

    Raises:
      MemoryError: if parameters, moments and gradients exceed the device's memory.
    """
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    needed = 4 * _COPIES * memory.count_parameters(subject.shapes) * seeds
    if limit is not None and needed > limit:
        raise MemoryError(f"does not fit: {needed / 1e9:.0f} of {limit / 1e9:.0f} GB")


class Table:
    """The rows so far, written anew with each.

    Args:
      options: of the command line.
      rates: FLOP/s of a large product, bytes/s of a copy.
    """

    HEADER = ("model, lengths", "seeds", "batches", "setting", "ms a step and seed")
    HEADER += ("of the roofline, computed tokens", "real tokens", "padding")
    HEADER += ("until the first steps, s", "x PyTorch", "x PyTorch compiled")

    def __init__(self, options: argparse.Namespace, rates: tuple[float, float]):
        self.options, self.rows = options, list[list[str]]()
        title = options.title or options.cases
        self.lines = [
            f"## {title}",
            "",
            reporting.provenance(),
            "",
            f"{options.dtype}, batch {RECIPE.batch_size}; {options.rounds} rounds of "
            f"{options.steps} steps, medians; {rates[0] / 1e9:,.0f} GFLOP/s and "
            f"{rates[1] / 1e9:,.0f} GB/s measured.",
            "",
        ]
        self.notes: list[str] = []

    def add(self, case: Case, result: Measured | str) -> None:
        """Adds a row: of what was measured, or of why it was not."""
        row = [f"{case.shape}, {case.task}", str(case.seeds), case.kind, case.name]
        if isinstance(result, str):
            row += [result, *[""] * 6]
        else:
            row += [
                f"{1e3 * result.per_step:.2f}",
                f"{100 * result.floor / result.per_step:.0f}%",
                f"{100 * result.real_floor / result.per_step:.0f}%",
                f"{result.padding:.0%}",
                f"{result.compiling:.0f}",
            ]
            for way in WAYS:
                peer = result.peers.get(way)
                row.append(f"{peer / result.per_step:.2f}" if peer else "")
            self._figures(case, row)
        self.rows.append(row)
        self.write()

    def add_peer(self, way: str, kind: str, seconds: float) -> None:
        """Adds a row of PyTorch's own."""
        row = [way, "1", kind, "", f"{1e3 * seconds:.2f}", *[""] * 6]
        self.rows.append(row)
        reporting.figure(f"{way}, {kind} batches: ms a step", row[4])

    def _figures(self, case: Case, row: list[str]) -> None:
        label = f"{case.shape}, {case.task}, {case.seeds} seeds, {case.kind} batches"
        label += f", {self.options.title or case.name}"
        for column in ("ms a step and seed", *self.HEADER[5:6], *self.HEADER[-2:]):
            if value := row[self.HEADER.index(column)]:
                reporting.figure(f"{label}: {column}", value)

    def write(self) -> None:
        """Writes what there is."""
        table = reporting.markdown_table(list(self.HEADER), self.rows)
        text = "\n".join([*self.lines, table, *self.notes])
        if self.options.output is not None:
            self.options.output.write_text(text + "\n")


def measure_all(
    cases: Iterator[Case], bench: Bench, table: Table, deadline: float
) -> dict[Case, float]:
    """Measures cases as long as there is time; seconds a step and seed of each."""
    found, longest = {}, 0.0
    for case in cases:
        began = time.monotonic()
        if began + longest > deadline:
            table.notes += ["", f"No time left for: {case.name}, {case.seeds} seeds."]
            table.write()
            break
        try:
            result = bench.measure(case)
            found[case] = result.per_step
        except Exception as error:
            # One that does not run is a result, too, and no reason to stop.
            said = " ".join(str(error).split())
            result = f"{type(error).__name__}: {said}"[:160].replace("|", "/")
        table.add(case, result)
        print(table.rows[-1], flush=True)
        jax.clear_caches()
        gc.collect()
        longest = max(longest, time.monotonic() - began)
    return found


def of_seeds(shape: str, small: str) -> list[Case]:
    """Numbers of seeds and kinds of batches, what matters most first."""
    cases = [
        Case(4, shape=shape),
        Case(1, shape=shape),
        Case(4, "like length", shape),
        Case(8, shape=shape),
        Case(25, shape=small, task="cola"),
        Case(25, "like length", small, "cola"),
        Case(25, shape=shape),
        Case(4, shape=shape, task="mrpc"),
        Case(4, shape=shape, task="cola"),
        Case(1, "like length", shape),
    ]
    if shape == "tiny":
        # Each length is a program to compile, which takes longer than to run it.
        few = (cases[0], cases[2], cases[4], *cases[7:9])
        return [dataclasses.replace(case, one_length=True) for case in few]
    return cases


def hours(found: Mapping[Case, float]) -> str:
    """Hours of Table 1, where all of its tasks were measured; else empty."""
    seconds = {
        case.task: per_step
        for case, per_step in found.items()
        if case.seeds == 4 and case.kind == "uniform" and not case.settings
    }
    if set(seconds) != set(random_task.TASK_LENGTHS):
        return ""
    examples = {task: random_task.TASK_LENGTHS[task].examples for task in seconds}
    return f"{training_speed.hours_of_table_1(seconds, examples):,.1f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cases", choices=["seeds", "candidates", "plain"], default="seeds")
    add("--title", help="of the table, and what sets its figures apart")
    add("--dtype", choices=DTYPES, default="bfloat16")
    add("--steps", type=int, default=8, help="steps of a turn")
    add("--rounds", type=int, default=5, help="timed turns of each")
    add("--seconds", type=float, default=600.0, help="begin nothing later")
    add("--torch-python", help="a Python that has torch and transformers")
    add("--tiny", action="store_true", help="a tiny model and few steps")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.tiny:
        options.steps, options.rounds = 2, 1
    return options


def main() -> None:
    options = parse()
    deadline = time.monotonic() + options.seconds
    # What was compiled for another part, or for the same case before, is not again.
    environment.keep_compiled_programs()
    shape, small = ("tiny", "tiny") if options.tiny else ("bert-large", "minilm")
    base = Case(4, shape=shape, one_length=True)
    subject = None
    if options.torch_python and options.cases == "seeds":
        subject = random_task.subject(shape, "rte", options.dtype)
    bench = Bench(options, Peers(options, subject))
    table = Table(options, bench.rates)

    def measure(cases: Iterator[Case]) -> dict[Case, float]:
        return measure_all(cases, bench, table, deadline)

    if options.cases == "seeds":
        found = measure(iter(of_seeds(shape, small)))
        if total := hours(found):
            reporting.figure("Table 1's 375 runs of BERT-large, hours", total)
    elif options.cases == "plain":
        measure(iter([base]))
    else:
        found = measure(iter([base, *candidates.variants(base, few=options.tiny)]))
        if base in found and (best := candidates.together(base, found)) is not None:
            measure(iter([best]))
        # Once more, to see whether the machine is as it was.
        measure(iter([base]))
    table.notes += [f"\n{note}" for note in bench.peers.finish(deadline)]
    for (way, kind), seconds in bench.peers.seconds.items():
        table.add_peer(way, kind, seconds)
    table.write()


if __name__ == "__main__":
    main()
