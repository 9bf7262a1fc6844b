"""What every benchmark does alike: interleaved timing, and where figures come from."""

import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any


def one_stage(methods: Mapping[str, Any]) -> list[str]:
    """Names of the recipes of one stage, which a benchmark's one trainer can train.

    Args:
      methods: recipes by name; of gradual unfreezing they have several stages.
    """
    return [name for name in sorted(methods) if methods[name].unfreeze is None]


def interleave(
    steps: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 2
) -> dict[str, float]:
    """Calls every step in turn, round after round, and takes the medians.

    On a shared machine a load from outside then falls on all alike, so that the
    ratios of the medians can be trusted more than the medians.

    Args:
      steps: Functions that do one step and return the seconds that it took.
      rounds: How many rounds count.
      warm_up: Rounds before those, which do not count.

    Returns:
      The median seconds of each step.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_index in range(warm_up + rounds):
        for name, step in steps.items():
            elapsed = step()
            if round_index >= warm_up:
                seconds[name].append(elapsed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def provenance() -> str:
    """One line with command, commit, versions and hardware.

    Of absolute paths only the last part is shown: the others are this machine's.
    """
    # Here, so that what needs neither can be reported where they are missing.
    import jax
    import optax

    arguments = [
        os.path.basename(argument) if os.path.isabs(argument) else argument
        for argument in sys.argv[1:]
    ]
    script = os.path.relpath(os.path.abspath(sys.argv[0]), _project())
    command = shlex.join(["python", script, *arguments])
    return (
        f"`{command}`, commit {commit()}, Python {platform.python_version()}, "
        f"jax {jax.__version__}, optax {optax.__version__}, {_hardware()}"
    )


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns after the first are aligned to the right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def write(text: str, path: pathlib.Path | None) -> None:
    """Prints a report, and writes it where a path is given."""
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def figure(name: str, value: str) -> None:
    """Says a figure that is to stand in the summary of a report of several parts."""
    print(f"figure: {name} = {value}", flush=True)


def _project() -> pathlib.Path:
    return pathlib.Path(__file__).resolve().parents[1]


def commit() -> str:
    """The project's commit, and whether its code differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_project()), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "cwgnc_jax", "examples", "benchmarks")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        " with changes" if changed else ""
    )


def _hardware() -> str:
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{jax.device_count()} x {device.device_kind}"
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}"


def _lines(path: str) -> list[str]:
    try:
        return pathlib.Path(path).read_text().splitlines()
    except OSError:
        return []
