"""Runs tests in several processes at once, and reports how far they came.

pytest alone is needed. Files are dealt out to the processes by size; where time runs
out, what was tested until then counts.

    python benchmarks/report_tests.py --processes 8 --seconds 100 tests/library
"""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import reporting
from report_runner import PROJECT

_OPTIONS = ("-v", "--tb=short", "-p", "no:cacheprovider", "-m", "not slow")
_RESULT = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b", re.M)
# Exit codes of pytest that are no fault: all passed, and no test was collected.
_FINE = (0, 5)
_MOST_LINES = 120


def deal(targets: Sequence[str], processes: int) -> list[list[str]]:
    """Deals test files out, the largest first, each to whoever has least."""
    files: list[pathlib.Path] = []
    for target in targets:
        path = PROJECT / target
        # Outside of tests/, docstrings' examples are tested.
        pattern = "test_*.py" if target.startswith("tests") else "*.py"
        files += path.rglob(pattern) if path.is_dir() else [path]
    hands: list[list[str]] = [[] for _ in range(min(processes, len(files)))]
    sizes = [0] * len(hands)
    for path in sorted(files, key=lambda path: -path.stat().st_size):
        least = sizes.index(min(sizes))
        hands[least].append(str(path.relative_to(PROJECT)))
        sizes[least] += path.stat().st_size
    return hands


def count(output: str) -> collections.Counter[str]:
    """Numbers of results of each kind in what ``pytest -v`` printed."""
    return collections.Counter(result.lower() for _, result in _RESULT.findall(output))


def failures(output: str) -> list[str]:
    """Names of tests that failed."""
    return [
        name
        for name, result in _RESULT.findall(output)
        if result in ("FAILED", "ERROR")
    ]


def causes(output: str) -> list[str]:
    """Lines in which pytest says at its end why tests failed."""
    _, found, rest = output.partition("= FAILURES =")
    if not found:
        _, found, rest = output.partition("= ERRORS =")
    return rest.splitlines()[:_MOST_LINES]


def report(outputs: Sequence[str], states: Sequence[str], seconds: float) -> str:
    """The report of all processes."""
    rows, kinds = [], ("passed", "failed", "error", "skipped")
    for number, (output, state) in enumerate(zip(outputs, states, strict=True)):
        counts = count(output)
        rows.append([str(number), *(str(counts[kind]) for kind in kinds), state])
    counts = count("\n".join(outputs))
    rows.append(["all", *(str(counts[kind]) for kind in kinds), f"{seconds:.0f} s"])
    lines = [reporting.markdown_table(["process", *kinds, "how it ended"], rows)]
    for output in outputs:
        lines += [f"- `{name}`" for name in failures(output)]
    for output, state in zip(outputs, states, strict=True):
        shown = causes(output)
        if not shown and state.startswith("failed"):
            shown = output.splitlines()[-_MOST_LINES // 4 :]
        if shown:
            lines += ["", "```", *shown, "```"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("targets", nargs="+", help="files and folders, from the project's root")
    add("--processes", type=int, default=4)
    add("--seconds", type=float, default=600.0, help="time limit")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        processes, logs = [], []
        hands = deal(options.targets, min(options.processes, os.cpu_count() or 1))
        for number, files in enumerate(hands):
            logs.append(pathlib.Path(folder) / f"{number}.txt")
            with logs[-1].open("wb") as sink:
                command = [sys.executable, "-m", "pytest", *_OPTIONS, *files]
                processes.append(
                    subprocess.Popen(
                        command, cwd=PROJECT, stdout=sink, stderr=subprocess.STDOUT
                    )
                )
        states = [_finish(each, began + options.seconds) for each in processes]
        outputs = [log.read_text(errors="replace") for log in logs]
    text = report(outputs, states, time.monotonic() - began)
    reporting.write(text, options.output)
    counts = count("\n".join(outputs))
    total = f"{counts['passed']}, {counts['failed'] + counts['error']}"
    reporting.figure("tests that passed, failed", total)
    return 0 if all(state == "passed" for state in states) else 1


def _finish(process: subprocess.Popen[bytes], deadline: float) -> str:
    try:
        code = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "stopped: out of time"
    return "passed" if code in _FINE else f"failed: exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
