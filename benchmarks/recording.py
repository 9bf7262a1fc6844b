"""What it costs to record the gradient norms of all components at every step.

The scripts' own training programs take turns, one that records and one that does not,
on the same batches. Where a method clips by component the norms are in the optimizer's
state already; where it does not they are taken from the gradient. Beside the seconds on
the clock stand those of all processor cores, which other programs on the machine
disturb less: bounds are on these.

    python benchmarks/recording.py
    python benchmarks/recording.py --task cola --data-dir GLUE --model MINILM
"""

import argparse
import pathlib
import statistics
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import jax
import reporting
from bert_glue.study.configuration import Configuration
from bert_glue.study.programs import make_trainers
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed, seed_keys
from bert_glue.training.subjects import Subject
from finetune import SHAPES, load_subject

_BOUND = 1.02


class Training:
    """A seed of a subject, that takes a few steps whenever it is asked to."""

    def __init__(self, subject: Subject, method: str, recording: bool, steps: int):
        configuration = Configuration(subject, "benchmark", METHODS[method])
        [self.trainer] = make_trainers(configuration, 1, recording=recording)
        self.trainer.compile()
        self.keys = seed_keys([Seed(0, 0)])
        self.state = self.trainer.start(self.keys.init)
        self.log = self.trainer.new_log()
        self.order = self.trainer.order(self.keys.order, 0)
        self.steps = min(steps, self.trainer.steps_per_epoch)
        self.turns = 0

    def turn(self) -> tuple[float, float]:
        """Takes the next steps; seconds on the clock and of all cores."""
        start = self.turns * self.steps
        self.turns += 1
        if start + 2 * self.steps > self.trainer.steps_per_epoch:
            self.turns = 0
        clock, cores = time.perf_counter(), time.process_time()
        self.state, self.log = self.trainer.train(
            self.state,
            self.log,
            self.keys.noise,
            self.order,
            0,
            start,
            start + self.steps,
        )
        jax.block_until_ready((self.state, self.log))
        return time.perf_counter() - clock, time.process_time() - cores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=["embedded", *SHAPES], default="minilm")
    parser.add_argument("--task", default="acceptability", help="whose lengths")
    parser.add_argument("--data-dir", type=pathlib.Path, help="folder with GLUE")
    parser.add_argument("--model", help="take the tokenizer of this checkpoint")
    accepted = reporting.one_stage(METHODS)
    parser.add_argument(
        "--methods", nargs="+", default=["adamw", "cwgnc"], choices=accepted
    )
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=25, help="timed rounds")
    parser.add_argument("--output", type=pathlib.Path, help="Markdown file to write")
    parser.set_defaults(dtype="float32")
    options = parser.parse_args()
    subject = load_subject(options, options.task)
    rows = []
    for method in options.methods:
        trainings = {
            recording: Training(subject, method, recording, options.steps)
            for recording in (False, True)
        }
        seconds: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for number in range(2 + options.rounds):
            # Who is first changes, so that neither always finds a warmer cache.
            for recording in sorted(trainings, reverse=bool(number % 2)):
                taken = trainings[recording].turn()
                if number >= 2:
                    seconds[recording].append(taken)
        ratios = []
        for kind in (0, 1):
            pairs = zip(seconds[True], seconds[False], strict=True)
            ratios.append([with_[kind] / without[kind] for with_, without in pairs])
        clock, cores = (statistics.median(each) for each in ratios)
        plain = statistics.median(taken[0] for taken in seconds[False])
        rows.append(
            [
                method,
                f"{len(trainings[True].trainer.component_names)}",
                f"{1e3 * plain / trainings[False].steps:.0f}",
                f"{clock:.3f}",
                f"{cores:.3f}",
                "yes" if cores < _BOUND else "no",
            ]
        )
    header = ["method", "components", "a step without, ms", "with / without"]
    header += ["the same in seconds of cores", f"below {_BOUND}"]
    lengths = subject.train.lengths
    title = (
        f"### Recording norms and scales, {options.shape}, batch 16, up to "
        f"{int(lengths.max())} tokens, medians of {options.rounds} pairs\n"
    )
    report = [reporting.provenance(), "", title]
    reporting.write(
        "\n".join([*report, reporting.markdown_table(header, rows)]), options.output
    )


if __name__ == "__main__":
    main()
