"""Where the time of a compiled program goes, from a profiler's trace and the program.

A trace names the kernels that ran, and a compiled program says of each what it was
fused from and which function of the source asked for it. Both are read with the
standard library alone: the trace in Chrome's format, the program as text.
"""

import collections
import dataclasses
import gzip
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PRODUCTS = "matrix products"
ATTENTION = "attention"
BITS = "dropout's random bits"
SLICES = "slices of the scan"
CASTS = "casts"
COPIES = "copies and transposes"
EMBEDDINGS = "embeddings and batches"
OPTIMIZER = "optimizer and clipping"
LAYERS = "norms, activations, sums"
OTHER = "other"
CAUSES = (PRODUCTS, ATTENTION, BITS, SLICES, CASTS, COPIES, EMBEDDINGS)
CAUSES += (LAYERS, OPTIMIZER, OTHER)
"""What takes time, in the order in which it is reported."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What an instruction of a compiled program does.

    Attributes:
      opcodes: its own, and of all that is fused into it; a call of a library with its
        target, as in ``custom-call:__cublas$gemm``.
      names: where these come from in the traced program.
      functions: of the source that asked for them, and the functions that called those.
    """

    opcodes: frozenset[str]
    names: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()


_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.$-]+) = (.*)$")
# The first word before a bracket, after the type: a tuple's own bracket has none.
_OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][a-z0-9-]*)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.$-]+) \(.*\{\s*$")
_CALLS = re.compile(r"\bcalls=%?([\w.$-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


def read_program(text: str) -> dict[str, Work]:
    """What each instruction does of a compiled program in XLA's text form."""
    functions = _functions(text)
    computation = ""
    own: dict[str, Work] = {}
    inside: dict[str, list[str]] = collections.defaultdict(list)
    calls: dict[str, str] = {}
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            computation = found[1]
        elif found := _INSTRUCTION.match(line):
            name, rest = found.groups()
            own[name] = _work(rest, functions)
            inside[computation].append(name)
            if called := _CALLS.search(rest):
                calls[name] = called[1]

    def whole(name: str) -> Work:
        parts = [own[name]]
        if name in calls:
            parts += [whole(each) for each in inside[calls[name]]]
        return Work(
            *(
                frozenset().union(*(getattr(part, field.name) for part in parts))
                for field in dataclasses.fields(Work)
            )
        )

    return {name: whole(name) for name in own}


def _work(rest: str, functions: Mapping[str, frozenset[str]]) -> Work:
    opcode = _OPCODE.search(rest)
    opcodes = {opcode[1]} if opcode else set()
    if target := _TARGET.search(rest):
        opcodes = {f"custom-call:{target[1]}"}
    frame = _FRAME.search(rest)
    name = _NAME.search(rest)
    return Work(
        frozenset(opcodes),
        frozenset([name[1]] if name else []),
        functions.get(frame[1], frozenset()) if frame else frozenset(),
    )


def _functions(text: str) -> dict[str, frozenset[str]]:
    """The functions of each stack frame, from the tables at a program's head."""
    tables: dict[str, dict[str, str]] = {name: {} for name in _TABLES}
    current = None
    for line in text.splitlines():
        if line in tables:
            current = tables[line]
        elif current is not None and (entry := re.match(r"(\d+) (.+)", line)):
            current[entry[1]] = entry[2].strip('"')
        elif line.startswith("%"):
            break

    def number(row: str, field: str) -> int:
        found = re.search(rf"\b{field}=(\d+)", row)
        return int(found[1]) if found else 0

    frames = tables["StackFrames"]
    # The number of the frame above is written with one added: the first has none.
    added = 1 if number(frames.get("1", ""), "parent_frame_id") == 1 else 0
    found: dict[str, frozenset[str]] = {}

    def of(frame: int) -> frozenset[str]:
        key = str(frame)
        if key not in found:
            row = frames.get(key, "")
            place = tables["FileLocations"].get(
                str(number(row, "file_location_id")), ""
            )
            name = tables["FunctionNames"].get(
                str(number(place, "function_name_id")), ""
            )
            file = tables["FileNames"].get(str(number(place, "file_name_id")), "")
            parent = number(row, "parent_frame_id") - added
            found[key] = frozenset({name, pathlib.PurePath(file).name}) | (
                of(parent) if 0 < parent < frame else frozenset()
            )
        return found[key]

    # From the first on, so that no frame has far to go to one that is known.
    return {str(frame): of(frame) for frame in sorted(map(int, frames))}


_PRODUCT = re.compile(r"gemm|cutlass|nvjet|xmma|cublas|matmul|^dot|_dot_|convolution")
_FUSED_ATTENTION = re.compile(r"fmha|flash|attention", re.I)
_MOVED = re.compile(r"memcpy|memset|^copy|^transpose", re.I)
_RANDOM = re.compile(r"threefry|rng|philox", re.I)
# The encoder's functions of attention, and its einsums by their letters.
_ATTENDING = ("._attend", "._mix")
_HEADS = re.compile(r"\bbh[qk][dk],")
_MOVES = frozenset({"copy", "transpose", "reshape", "bitcast", "broadcast", "slice"})
_MOVES |= {"concatenate", "pad", "convert", "copy-start", "copy-done", "reverse"}
_INDEXED = frozenset({"dynamic-slice", "dynamic-update-slice"})
# Numbers of the layer, and what every fusion has.
_TRIVIAL = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "fusion"})
_TRIVIAL |= {"compare", "select", "add", "subtract", "clamp", "iota", "call"}


def cause(work: Work | None, kernel: str) -> str:
    """Why an instruction takes time.

    Args:
      work: what it does; None if that is not known.
      kernel: name of what ran.

    Returns:
      One of :data:`CAUSES`.
    """
    if work is None:
        return _by_name(kernel)
    opcodes, names = work.opcodes, " ".join(work.names)
    if opcodes & {"while", "conditional"}:
        # What they do takes its own time; theirs is to see to the order.
        return OTHER
    called = " ".join(each for each in opcodes if each.startswith("custom-call:"))
    if _FUSED_ATTENTION.search(called):
        return ATTENTION
    if opcodes & {"dot", "convolution"} or _PRODUCT.search(called):
        return ATTENTION if _HEADS.search(names) else PRODUCTS
    if {"xor", "shift-left"} <= opcodes or "rng-bit-generator" in opcodes:
        return BITS
    return _by_opcodes(work, names) or _by_name(kernel)


def _by_opcodes(work: Work, names: str) -> str:
    """The cause of what is neither a product nor random; empty if not known."""
    kinds = work.opcodes - _TRIVIAL
    if not kinds:
        return ""
    if kinds & _INDEXED and kinds <= _INDEXED | _MOVES:
        return SLICES
    if kinds <= _MOVES:
        return CASTS if "convert" in kinds else COPIES
    if kinds & {"gather", "scatter"}:
        return EMBEDDINGS
    if not names:
        return ""
    if "jvp" not in names:
        return OPTIMIZER
    is_attention = any(each.endswith(_ATTENDING) for each in work.functions)
    if is_attention and "dropout" not in work.functions:
        return ATTENTION
    return LAYERS


def _by_name(kernel: str) -> str:
    for pattern, found in (
        (_FUSED_ATTENTION, ATTENTION),
        (_PRODUCT, PRODUCTS),
        (_RANDOM, BITS),
        (_MOVED, COPIES),
    ):
        if pattern.search(kernel):
            return found
    return OTHER


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that ran.

    Attributes:
      name: of the kernel.
      instruction: of the program, as far as the trace says.
      row: what it ran on: a stream, a core.
      start: when it began, in microseconds.
      duration: how long it ran, in microseconds.
    """

    name: str
    instruction: str
    row: tuple[int, int]
    start: float
    duration: float


def read_trace(folder: pathlib.Path) -> list[dict[str, Any]]:
    """All events of the newest trace that ``jax.profiler`` wrote under a folder.

    Raises:
      FileNotFoundError: if there is none.
    """
    paths = sorted(
        folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime
    )
    if not paths:
        raise FileNotFoundError(f"no *.trace.json.gz in {folder}")
    with gzip.open(paths[-1], "rt") as file:
        return json.load(file)["traceEvents"]


def kernels(trace: Iterable[Mapping[str, Any]]) -> list[Event]:
    """What ran on the devices, or on the CPU where a trace has no device."""
    events = list(trace)
    processes, threads = {}, {}
    for event in events:
        if event.get("ph") == "M" and "name" in event.get("args", {}):
            if event["name"] == "process_name":
                processes[event["pid"]] = event["args"]["name"]
            elif event["name"] == "thread_name":
                threads[event["pid"], event["tid"]] = event["args"]["name"]
    rows = _device_rows(processes, threads)
    found = []
    for event in events:
        if event.get("ph") != "X":
            continue
        row, about = (event["pid"], event["tid"]), event.get("args", {})
        if row in rows if rows else "hlo_op" in about:
            found.append(
                Event(
                    event["name"],
                    about.get("hlo_op", event["name"]),
                    row,
                    float(event["ts"]),
                    float(event.get("dur", 0)),
                )
            )
    return found


def _device_rows(
    processes: Mapping[int, str], threads: Mapping[tuple[int, int], str]
) -> set[tuple[int, int]]:
    on_device = {
        row: name
        for row, name in threads.items()
        if processes.get(row[0], "").startswith("/device:")
    }
    # A GPU's streams; a TPU's row of operations. Other rows sum these up.
    for start in ("Stream", "XLA Ops"):
        if rows := {row for row, name in on_device.items() if name.startswith(start)}:
            return rows
    return set()


def own_times(events: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Events with their microseconds, without those of events that they contain."""
    rows: dict[tuple[int, int], list[Event]] = collections.defaultdict(list)
    for event in events:
        rows[event.row].append(event)
    for row in rows.values():
        # What contains others begins before them, or with them and ends later.
        row.sort(key=lambda event: (event.start, -event.duration))
        open_events: list[tuple[Event, float]] = []
        for event in row:
            while open_events and _end(open_events[-1][0]) <= event.start:
                yield open_events.pop()
            if open_events:
                above, own = open_events.pop()
                open_events.append((above, own - event.duration))
            open_events.append((event, event.duration))
        yield from open_events


def busy(events: Sequence[Event]) -> tuple[float, float]:
    """Microseconds in which anything ran, and from the first start to the last end."""
    total, until = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event.start):
        total += max(0.0, _end(event) - max(event.start, until))
        until = max(until, _end(event))
    if not events:
        return 0.0, 0.0
    return total, until - min(event.start for event in events)


def _end(event: Event) -> float:
    return event.start + event.duration


@dataclasses.dataclass
class Kernel:
    """All runs of a kernel.

    Attributes:
      cause: why it takes time.
      name: of its instruction, or its own.
      source: an operation of the traced program that it comes from.
      microseconds: of all runs.
      runs: their number.
    """

    cause: str
    name: str
    source: str = ""
    microseconds: float = 0.0
    runs: int = 0


def by_kernel(events: Iterable[Event], program: Mapping[str, Work]) -> list[Kernel]:
    """All kernels that ran, those that took longest first.

    Args:
      events: from :func:`kernels`.
      program: from :func:`read_program`.

    Returns:
      The kernels.
    """
    # A kernel's name has no points.
    known = {_plain(name): work for name, work in program.items()}
    found: dict[str, Kernel] = {}
    for event, microseconds in own_times(events):
        work = known.get(_plain(event.instruction)) or known.get(_plain(event.name))
        kernel = found.get(event.instruction)
        if kernel is None:
            source = min(work.names, key=len, default="") if work else ""
            kernel = Kernel(cause(work, event.name), event.instruction, source)
            found[event.instruction] = kernel
        kernel.microseconds += microseconds
        kernel.runs += 1
    return sorted(found.values(), key=lambda kernel: -kernel.microseconds)


def _plain(name: str) -> str:
    return re.sub(r"[.-]", "_", name.lstrip("%"))
