"""What settings that differ in numbers alone cost: compilations and seconds of sweeps.

Two sweeps of the embedded model on one task, each a command of the examples in a
process of its own: Table 2 (seven thresholds), and eight learning rates of one method.
With another checkout, such as one of an older commit, both take turns, sweep by sweep:

    python benchmarks/sweep.py --against OLD --output results/sweep.md

Compilations are those of training programs, as JAX's monitoring tells them; no cache of
compiled programs on the disk is used. Seconds are those of the whole command, its start
and the report included.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import reporting

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"

_RATES = ("1e-4", "1.5e-4", "2e-4", "3e-4", "5e-4", "7e-4", "1e-3", "1.5e-3")
SWEEPS = {
    "Table 2, 7 thresholds": ("reproduce_tables.py", "--table", "2"),
    "8 learning rates": (
        *("finetune_glue.py", "--method"),
        ",".join(f"cwgnc:learning_rate={rate}" for rate in _RATES),
    ),
}

# Runs a script, and writes what was compiled meanwhile into the file named first.
_COUNTING = """
import json, runpy, sys
import jax
seconds = {"train": [], "all": []}
def listen(event, duration, **about):
    if event.endswith("backend_compile_duration"):
        name = about.get("fun_name", "")
        for kind in ("all", "train") if "train_steps" in name else ("all",):
            seconds[kind].append(duration)
jax.monitoring.register_event_duration_secs_listener(listen)
target, *sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    with open(target, "w") as file:
        json.dump(seconds, file)
"""


class Run(NamedTuple):
    """What a sweep took.

    Attributes:
      seconds: of the whole command.
      compilations: training programs that were compiled.
      compiling: seconds of all compilations.
    """

    seconds: float
    compilations: int
    compiling: float


def sweep(examples: pathlib.Path, command: tuple[str, ...], options: list[str]) -> Run:
    """Runs a command of the examples in a process of its own.

    Args:
      examples: folder of the scripts.
      command: script and arguments.
      options: more arguments.

    Returns:
      What it took.
    """
    script, *arguments = command
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "compiled.json"
        paths = [str(examples.parent), str(examples)]
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-c", _COUNTING, target, examples / script),
                *(*arguments, *options, "--no-compilation-cache"),
                *("--output-dir", pathlib.Path(folder) / "runs"),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            # Not from a folder of ours, which Python would look into first.
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds = time.perf_counter() - began
        compiled = json.loads(target.read_text())
    return Run(seconds, len(compiled["train"]), sum(compiled["all"]))


def parse() -> argparse.Namespace:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--against", type=pathlib.Path, help="another checkout, to take turns with")
    add("--rounds", type=int, default=1, help="runs of each sweep")
    add("--seeds", type=int, default=5, help="seeds of each setting")
    add("--tiny", action="store_true", help="few examples and an epoch, to try it out")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    return parser.parse_args()


def main() -> None:
    """Runs the sweeps and writes the table."""
    options = parse()
    origin = reporting.provenance()
    more = ["--task", "acceptability", "--seeds", str(options.seeds)]
    if options.tiny:
        more += ["--max-train-examples", "64", "--epochs", "1"]
    checkouts = {"this": EXAMPLES}
    if options.against is not None:
        checkouts["the other"] = options.against.resolve() / "examples"
    rows = []
    for name, command in SWEEPS.items():
        runs: dict[str, list[Run]] = {checkout: [] for checkout in checkouts}
        for round_index in range(options.rounds):
            # In turns, so that a load from outside falls on both.
            order = list(checkouts) if round_index % 2 else list(checkouts)[::-1]
            for checkout in order:
                runs[checkout].append(sweep(checkouts[checkout], command, more))
                print(name, checkout, runs[checkout][-1], file=sys.stderr, flush=True)
        medians = {
            checkout: Run(*map(statistics.median, zip(*each, strict=True)))
            for checkout, each in runs.items()
        }
        for checkout, each in medians.items():
            rows.append(
                [
                    *(name, checkout, f"{each.compilations:g}"),
                    *(f"{each.compiling:.0f}", f"{each.seconds:.0f}"),
                    f"{medians['this'].seconds / each.seconds:.2f}",
                ]
            )
    header = ["sweep", "checkout", "training programs compiled", "s compiling"]
    header += ["s in all", "this one, x"]
    lines = [
        *("# Sweeps over numbers", "", origin, ""),
        reporting.markdown_table(header, rows),
    ]
    if options.against is not None:
        commit = subprocess.run(
            ["git", "-C", options.against, "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        lines += ["", f"The other checkout is commit {commit or 'unknown'}."]
    reporting.write("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
