"""Processes with a time limit, and the files of a report that they make together.

Of the standard library alone, so that it works whatever is missing.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent

# What is brought back from a lent machine: at most eight files of 16 MiB in all.
_MOST_BYTES = 16 * 2**20 // 8
_TAIL = 30


@dataclasses.dataclass(frozen=True)
class Command:
    """A process of a part.

    Attributes:
      title: what it does, for the report.
      arguments: of Python: a script beside this one, or ``-c`` and code.
      needs: modules without which it cannot run.
      environment: variables that are set for it.
      writes: whether it takes ``--output`` with the file that it writes its report to.
      knows_limit: whether it takes ``--seconds`` with its time limit.
      share: its part of the time of all commands that are left of its part.
    """

    title: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ("jax", "optax")
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    writes: bool = True
    knows_limit: bool = False
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Part:
    """What makes up a file of the report.

    Attributes:
      name: of the file, without its ending.
      title: its heading.
      seconds: its share of the default budget.
      commands: what is run, one after the other.
    """

    name: str
    title: str
    seconds: float
    commands: tuple[Command, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
      state: ``ok``, or what went wrong.
      seconds: that it took.
      report: what it has written, as far as it came.
      log: what it printed.
    """

    state: str
    seconds: float
    report: str = ""
    log: str = ""


def run(
    command: Command,
    seconds: float,
    folder: pathlib.Path,
    progress: Callable[[str], None] = lambda report: None,
    every: float = 0.5,
) -> Outcome:
    """Runs a command, at most for a time, and ends all that it has started.

    Args:
      command: what to run.
      seconds: its time limit. No time is no run, not one without a limit.
      folder: where its files go for the while.
      progress: is told what the command has written so far whenever that changes.
      every: seconds between two looks.

    Returns:
      How it ended.
    """
    absent = missing(command.needs)
    if absent:
        return Outcome(f"not run: {', '.join(absent)} missing", 0.0)
    if seconds < 1:
        return Outcome("not run: no time left", 0.0)
    report, log = folder / "report.md", folder / "log.txt"
    report.unlink(missing_ok=True)
    script, *arguments = command.arguments
    line = [sys.executable, script if script == "-c" else str(HERE / script)]
    line += [*arguments, *(["--output", str(report)] if command.writes else [])]
    if command.knows_limit:
        # It can leave out what it would not finish, and write what it has.
        line += ["--seconds", f"{max(1.0, seconds - 5):.0f}"]
    began = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            line,
            cwd=PROJECT,
            env={**environment(), **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            # A group of its own, so that those that it starts end with it.
            start_new_session=True,
        )
        try:
            state = _wait(process, began + seconds, report, progress, every)
        finally:
            _end(process)
    elapsed = time.monotonic() - began
    return Outcome(state, elapsed, _read(report), _read(log))


def _wait(
    process: subprocess.Popen[bytes],
    deadline: float,
    report: pathlib.Path,
    progress: Callable[[str], None],
    every: float,
) -> str:
    """Waits for a process, and says how it ended."""
    seen = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            code = process.wait(min(every, left))
        except subprocess.TimeoutExpired:
            if (now := _read(report)) != seen:
                seen = now
                progress(now)
            continue
        if code < 0:
            return f"failed: ended by {signal.Signals(-code).name}"
        return f"failed: exit code {code}" if code else "ok"
    return "stopped: out of time"


def _end(process: subprocess.Popen[bytes]) -> None:
    # Where all of its group have ended there is nobody to be found.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace")[-_MOST_BYTES:]
    except OSError:
        return ""


def missing(modules: Sequence[str]) -> list[str]:
    """Those of some modules that cannot be imported here; none is imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def environment() -> dict[str, str]:
    """Variables of all processes of the report."""
    paths = [str(path) for path in (PROJECT, PROJECT / "examples", HERE)]
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        # Several processes share the card, PyTorch's among them.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


class Report:
    """The files of a report, and the time that is left for it.

    Args:
      folder: where they go.
      parts: what it is made of.
      seconds: for all of it.
    """

    def __init__(self, folder: pathlib.Path, parts: Sequence[Part], seconds: float):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.parts = folder, parts
        self.deadline = time.monotonic() + seconds
        self.rows: list[str] = []
        self.figures: dict[str, str] = {}

    def make(self) -> bool:
        """Runs all parts; whether none of them failed."""
        states = []
        for index, part in enumerate(self.parts):
            left = self.deadline - time.monotonic()
            weights = [each.seconds for each in self.parts[index:]]
            # What earlier parts left over goes to all later ones.
            states += self._part(part, left * weights[0] / sum(weights))
            self._summarise()
        return all(state == "ok" or state.startswith("not run") for state in states)

    def _part(self, part: Part, seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        written = [f"# {part.title}"]
        states = []
        for index, command in enumerate(part.commands):
            shares = [each.share for each in part.commands[index:]]
            limit = (deadline - time.monotonic()) * shares[0] / sum(shares)
            print(f"{part.name}: {command.title}, {limit:.0f} s", flush=True)

            def progress(report: str) -> None:
                self._write(part.name, [*written, report])  # noqa: B023

            with tempfile.TemporaryDirectory() as folder:
                outcome = run(command, limit, pathlib.Path(folder), progress)
            self.figures |= dict(
                re.findall(r"^figure: (.+?) = (.+)$", outcome.log, re.M)
            )
            written += _section(command, outcome)
            self._write(part.name, written)
            states.append(outcome.state)
            self.rows.append(
                f"| {part.name} | {command.title} | {outcome.state} | "
                f"{outcome.seconds:.0f} |"
            )
            print(f"  {outcome.state}, {outcome.seconds:.0f} s", flush=True)
        return states

    def _summarise(self) -> None:
        lines = ["# Summary", "", f"`{_command()}`", ""]
        lines += ["| file | what | how it ended | s |", "| --- | --- | --- | --: |"]
        lines += self.rows
        if self.figures:
            lines += ["", "| figure | |", "| --- | --: |"]
            lines += [f"| {name} | {value} |" for name, value in self.figures.items()]
        self._write("summary", ["\n".join(lines)])

    def _write(self, name: str, paragraphs: Sequence[str]) -> None:
        text = "\n\n".join(filter(None, (each.strip("\n") for each in paragraphs)))
        path = self.folder / f"{name}.md"
        # Whoever reads it, or stops this process, never finds half a file.
        path.with_suffix(".new").write_text(text[:_MOST_BYTES] + "\n")
        path.with_suffix(".new").replace(path)


def _section(command: Command, outcome: Outcome) -> list[str]:
    """What stands of a command in its part's file."""
    if outcome.state == "ok":
        return [outcome.report or f"## {command.title}\n\n```\n{outcome.log}\n```"]
    lines = outcome.log.splitlines()[-_TAIL:]
    said = ["Its last lines:\n\n```\n" + "\n".join(lines) + "\n```"] if lines else []
    state = f"**{command.title}: {outcome.state}** after {outcome.seconds:.0f} s."
    return [outcome.report, state, *said]


def _command() -> str:
    words = [os.path.relpath(os.path.abspath(sys.argv[0]), PROJECT)]
    words += [os.path.basename(each) if "/" in each else each for each in sys.argv[1:]]
    return shlex.join(["python", *words])
