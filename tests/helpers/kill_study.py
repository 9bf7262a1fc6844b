"""Kills a study again and again, and compares what it ends with to an undisturbed one.

    python tests/helpers/kill_study.py --script gradient_norms --kills 10 --processes 2

The study is of a tiny model: checkpoints inside the runs, recordings beside the records
and several stages where the script has them. Kills are SIGKILL and SIGTERM in turn, at
random moments after the start; so they hit imports, compilation, training, the writing
of checkpoints, recordings and records, and whatever else takes time. Of two processes
one is hit, and the other killed a few seconds later if it has not ended by itself.

The sources must not change meanwhile: another program rounds otherwise.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

PROJECT = pathlib.Path(__file__).resolve().parents[2]
# What differs from one execution of the same run to the next.
_OF_THE_EXECUTION = ("seconds", "finished", "commit")

if __name__ == "__main__":
    sys.path += [str(PROJECT / name) for name in ("examples", "tests/helpers")]


def environment(cache: pathlib.Path) -> dict[str, str]:
    """Environment of a script: programs are compiled once for all processes."""
    paths = os.pathsep.join([str(PROJECT), *sys.path])
    return os.environ | {"PYTHONPATH": paths, "CWGNC_CACHE": str(cache)}


def start(
    command: Sequence[str], env: dict[str, str], processes: int = 1
) -> list[subprocess.Popen[str]]:
    """Starts a command, in so many processes that run one program together."""
    together: list[list[str]] = [[]]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = ["--coordinator", f"127.0.0.1:{port}", "--num-processes"]
        together = [
            [*common, str(processes), "--process-id", str(i)] for i in range(processes)
        ]
    return [
        subprocess.Popen(
            [*command, *more],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for more in together
    ]


def finish(processes: Sequence[subprocess.Popen[str]]) -> str:
    """What the first printed, once all have ended well."""
    printed = [process.communicate() for process in processes]
    # Of all: the first to end badly is not always the first of them.
    errors = "\n".join(errors for _, errors in printed)
    assert not any(process.returncode for process in processes), errors
    return printed[0][0]


def kill(
    processes: Sequence[subprocess.Popen[str]],
    after: float,
    sent: signal.Signals = signal.SIGKILL,
    hit: int = 0,
) -> bool:
    """Kills one of the processes after so many seconds; whether it still ran."""
    try:
        processes[hit].communicate(timeout=after)
    except subprocess.TimeoutExpired:
        processes[hit].send_signal(sent)
        for process in processes:
            try:
                process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                # The others may wait for it to start, for minutes.
                process.kill()
                process.communicate()
        return True
    finish(processes)
    return False


def runs_of(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The runs of an output directory by name, without what differs anyway.

    Raises:
      AssertionError: if a run is there twice, or a line is no record.
    """
    path = folder / "runs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    runs = [json.loads(line) for line in lines]
    found = {run["run"]: run for run in runs}
    assert len(found) == len(runs), "a run is recorded twice"
    for run in runs:
        for name in _OF_THE_EXECUTION:
            run.pop(name)
    return found


def differences(folder: pathlib.Path, expected: pathlib.Path) -> list[str]:
    """What is not the same in two output directories, to the last bit."""
    import numpy as np

    found, wanted = runs_of(folder), runs_of(expected)
    differing = [
        f"{run}: {'lost' if run not in found else 'new'}"
        for run in found.keys() ^ wanted.keys()
    ]
    for run in found.keys() & wanted.keys():
        names = [name for name in wanted[run] if found[run][name] != wanted[run][name]]
        differing += [f"{run}: {name}" for name in names]
    recorded = {path.name for path in expected.glob("recordings/*.npz")}
    if {path.name for path in folder.glob("recordings/*.npz")} != recorded:
        differing.append("names of recordings")
    for name in sorted(recorded):
        with (
            np.load(folder / "recordings" / name) as one,
            np.load(expected / "recordings" / name) as other,
        ):
            differing += [
                f"{name}: {array}"
                for array in other.files
                if array not in one.files
                or not np.array_equal(
                    one[array], other[array], equal_nan=array[0] == "r"
                )
            ]
    left = {path.name for path in folder.iterdir()} & {"checkpoints", ".claims"}
    return differing + [f"{name} is left" for name in sorted(left)]


METHODS = {
    "finetune_glue": "cwgnc:keep=best:evaluations_per_epoch=3,adamw",
    "reproduce_tables": "cwgnc,mosbach:epochs=12",
    "gradual_unfreezing": "gu:keep=best:evaluations_per_epoch=3,full:mixout=0.5",
    "gradient_norms": "devlin,cwgnc",
}
"""What each script compares."""


def main() -> int:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--script", choices=METHODS, default="gradual_unfreezing")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", help="instead of the script's own")
    parser.add_argument("--epochs", default="12")
    parser.add_argument("--seeds", default="4")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return _study(options, pathlib.Path(scratch))


def _study(options: argparse.Namespace, folder: pathlib.Path) -> int:
    import tiny_bert

    draw = random.Random(options.seed)
    env = environment(folder / "cache")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 400, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 100, seed=1)
    command = [
        *(sys.executable, str(PROJECT / "examples" / f"{options.script}.py")),
        *("--model", str(model), "--train-file", train, "--eval-file", dev),
        *("--method", options.method or METHODS[options.script]),
        *("--learning-rate", "5e-3", "--epochs", options.epochs),
        *("--batch-size", "8", "--seeds", options.seeds, "--parallel-seeds", "2"),
        *("--checkpoint-minutes", "0.002", "--output-dir"),
    ]

    def begin(target: pathlib.Path) -> list[subprocess.Popen[str]]:
        return start([*command, str(target)], env, options.processes)

    whole, killed = folder / "whole", folder / "killed"
    # Once for the compiler's cache, and once to see how long it takes with it.
    for target in (folder / "first", whole):
        began = time.monotonic()
        finish(begin(target))
        seconds = time.monotonic() - began
    total = len(runs_of(whole))
    # What is not the same twice on this machine could not be after a kill.
    if differing := differences(folder / "first", whole):
        print("two undisturbed studies differ: " + "; ".join(differing))
        return 2
    print(f"{options.script}, processes: {options.processes}")
    print(f"undisturbed: {total} runs in {seconds:.1f} s, Python's start included")
    began = time.monotonic()
    finish(begin(whole))
    idle = time.monotonic() - began
    print(f"with nothing to do: {idle:.1f} s", flush=True)
    # So late that there is some progress, and so early that most kills hit work.
    latest = idle + 3 * (seconds - idle) / options.kills
    hits = 0
    for number in range(options.kills):
        after = draw.uniform(0, latest)
        sent = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        one = draw.randrange(options.processes)
        before = len(runs_of(killed)) if killed.exists() else 0
        hit = kill(begin(killed), after, sent, one)
        hits += hit
        runs = len(runs_of(killed)) if killed.exists() else 0
        steps = [path.name for path in killed.glob("checkpoints/*/[0-9]*")]
        print(
            f"{sent.name} {number + 1:2}: after {after:4.1f} s, "
            + (f"{before:2} -> {runs:2} runs" if hit else "the study was done")
            + (f", checkpoint at step {', '.join(steps)}" if steps else ""),
            flush=True,
        )
    resumed = finish(begin(killed)).count("going on from")
    found = differences(killed, whole)
    print(
        f"{hits} kills hit the study at work; the last process went on {resumed} times"
    )
    for difference in found:
        print(f"DIFFERENT: {difference}")
    if not found:
        print(f"the same {total} runs and recordings, to the last bit, none twice")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
