r"""From the start of a command to its first training step, and where that time goes.

A script of the examples in a process of its own, stopped as soon as its first step is
taken. With another checkout, such as one of an older commit, both take turns:

    python benchmarks/start.py --against OLD --output results/start.md -- \
        --model DIR --task cola --data-dir GLUE --seeds 1

What follows ``--`` goes to ``finetune_glue.py``; by default it trains the embedded
model. No cache of compiled programs on the disk is used, unless ``--cached``: then each
checkout has one of its own, that a start that does not count has filled.
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

import reporting

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"

# Runs a script until its first training step is done, and writes how long that took
# into the file named first.
_UNTIL_FIRST_STEP = """
import importlib, json, os, runpy, sys, time
began = float(sys.argv[2])
import jax
seconds = {"imports": time.time() - began}
kinds = {
    "jaxpr_trace_duration": "tracing",
    "jaxpr_to_mlir_module_duration": "lowering",
    "backend_compile_duration": "compiling",
}
programs = {}
def listen(event, duration, **about):
    kind = kinds.get(event.rsplit("/", 1)[-1])
    name = about.get("fun_name") or ""
    if kind in ("lowering", "compiling"):
        seconds[kind] = seconds.get(kind, 0) + duration
    if kind == "compiling":
        programs[name] = programs.get(name, 0) + duration
jax.monitoring.register_event_duration_secs_listener(listen)
try:
    module = importlib.import_module("bert_glue.training.trainer")
except ModuleNotFoundError:
    module = importlib.import_module("bert_glue.training")
Trainer = module.Trainer
seconds["imports"] = time.time() - began
make, train = Trainer.__init__, Trainer.train
def first_made(*arguments, **named):
    seconds.setdefault("model and data", time.time() - began - seconds["imports"])
    make(*arguments, **named)
def first_step(self, state, log, keys, order, epoch, start, stop):
    def preparing():
        return seconds.get("lowering", 0) + seconds.get("compiling", 0)
    before = time.time() - preparing()
    result = train(self, state, log, keys, order, epoch, start, start + 1)
    jax.block_until_ready(result)
    # What is compiled as it comes is no part of it.
    seconds["the step"] = time.time() - preparing() - before
    seconds["in all"] = time.time() - began
    seconds["of all cores"] = time.process_time()
    about = {"seconds": seconds, "programs": programs, "buckets": self.buckets}
    with open(target, "w") as file:
        json.dump(about, file)
    sys.stdout.flush()
    os._exit(0)
Trainer.__init__, Trainer.train = first_made, first_step
if not hasattr(Trainer, "buckets"):
    Trainer.buckets = None
target, _, *sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

PARTS = ("imports", "model and data", "lowering", "compiling", "the step", "in all")
PARTS += ("of all cores",)


def start(
    examples: pathlib.Path, arguments: list[str], cache: pathlib.Path | None
) -> dict[str, float]:
    """Starts a script of the examples until its first step is done.

    Args:
      examples: folder of the scripts.
      arguments: of ``finetune_glue.py``.
      cache: where compiled programs are kept; None for nowhere.

    Returns:
      Seconds of each part, and ``in all``.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "start.json"
        paths = [str(examples.parent), str(examples)]
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        if cache is None:
            arguments = [*arguments, "--no-compilation-cache"]
        else:
            surroundings["CWGNC_CACHE"] = str(cache)
        subprocess.run(
            [
                *(sys.executable, "-c", _UNTIL_FIRST_STEP, target, repr(time.time())),
                *(examples / "finetune_glue.py", *arguments),
                *("--output-dir", pathlib.Path(folder) / "runs"),
            ],
            env=surroundings,
            # Not from a folder of ours, which Python would look into first.
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        about = json.loads(target.read_text())
    longest = sorted(about["programs"].items(), key=lambda item: -item[1])[:4]
    print(examples, about["seconds"], longest, file=sys.stderr, flush=True)
    return about["seconds"]


def parse() -> argparse.Namespace:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--against", type=pathlib.Path, help="another checkout, to take turns with")
    add("--rounds", type=int, default=3, help="starts of each checkout")
    add("--cached", action="store_true", help="with programs compiled before")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    add("arguments", nargs="*", help="arguments of finetune_glue.py, after --")
    return parser.parse_args()


def main() -> None:
    """Starts the checkouts in turns and writes the table."""
    options = parse()
    origin = reporting.provenance()
    checkouts = {"this": EXAMPLES}
    if options.against is not None:
        checkouts["the other"] = options.against.resolve() / "examples"
    starts: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(-options.cached, options.rounds):
            # In turns, so that a load from outside falls on both.
            for name in list(checkouts)[:: 1 if index % 2 else -1]:
                cache = pathlib.Path(folder) / name if options.cached else None
                seconds = start(checkouts[name], options.arguments, cache)
                if index >= 0:
                    starts[name].append(seconds)
    # The cores' seconds are less moved by a load from outside than the clock's are.
    medians = {
        name: [
            statistics.median(each.get(part, 0) for each in all_of) for part in PARTS
        ]
        for name, all_of in starts.items()
    }
    rows = [
        [
            *(name, *(f"{seconds:.1f}" for seconds in each)),
            *(f"{medians['this'][at] / each[at]:.2f}" for at in (-2, -1)),
        ]
        for name, each in medians.items()
    ]
    header = ["checkout", *PARTS, "this one, x", "of all cores, x"]
    lines = ["# From the start to the first step, seconds", "", origin, ""]
    lines.append(reporting.markdown_table(header, rows))
    reporting.write("\n".join(lines), options.output)


if __name__ == "__main__":
    main()
