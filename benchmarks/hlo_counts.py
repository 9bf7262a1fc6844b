"""Bytes and kernels of a compiled program, counted in its optimised HLO.

XLA's own cost analysis counts the body of a loop once, whatever its length, and copies
to a TPU's fast memory as if they were traffic. Here a body counts as often as its loop
runs, where the program says how often; a fusion that cuts a slice out of an array reads
the slice alone, one that writes a slice into an array writes that alone, and arrays in
fast memory cost nothing.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator

_FREE = re.compile(
    "parameter|constant|tuple|get-tuple-element|bitcast|after-all|partition-id"
    "|replica-id|opt-barrier|async-update|.*-done"
)
_SLICES = ("dynamic-slice", "slice", "gather")
_CALLED = (
    "(?:to_apply|calls|branch_computations|true_computation|false_computation"
    "|called_computations)"
)
_NAMES = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^}]*\})?")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.*)$")


@dataclasses.dataclass
class Instruction:
    """A line of a program.

    Attributes:
      name: its name.
      shape: text of its shape, layout and memory included.
      opcode: what is done.
      operands: names of what it reads.
      rest: the other attributes, as text.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str

    @property
    def op_name(self) -> str:
        """The path of JAX's operations that it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    def called(self, attribute: str = r"\w+") -> tuple[str, ...]:
        """Computations that it calls."""
        found = re.findall(rf"\b{attribute}=(\{{[^}}]*\}}|%[\w.-]+)", self.rest)
        return tuple(name for group in found for name in _NAMES.findall(group))


@dataclasses.dataclass
class Computation:
    """A function of a program: its instructions by name, in order, and its result."""

    instructions: dict[str, Instruction] = dataclasses.field(default_factory=dict)
    root: str = ""

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """By name: the instructions that read it."""
        users = collections.defaultdict(list)
        for instruction in self.instructions.values():
            for operand in instruction.operands:
                users[operand].append(instruction)
        return users

    @functools.cached_property
    def parameters(self) -> list[Instruction]:
        """In the order in which they are passed."""
        found = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return sorted(found, key=lambda i: int(i.rest.split(")")[0]))


@dataclasses.dataclass
class Kernel:
    """Something that a device runs, as often as the program does in a step.

    Attributes:
      instruction: what it is.
      times: how often it runs.
      read: bytes that it reads from memory each time.
      written: bytes that it writes.
    """

    instruction: Instruction
    times: int
    read: float
    written: float

    @property
    def moved(self) -> float:
        """Bytes read and written, of all times together."""
        return self.times * (self.read + self.written)


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of a program by name, and the name of the one that it is."""
    computations, entry, current = {}, "", Computation()
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = computations[head[2]] = Computation()
            entry = head[2] if head[1] else entry
        elif found := _LINE.match(line):
            instruction = _instruction(found[2], found[3])
            current.instructions[instruction.name] = instruction
            current.root = instruction.name if found[1] else current.root
    return computations, entry


def _instruction(name: str, text: str) -> Instruction:
    # A tuple's shape has spaces and brackets in it.
    end = _closing(text, 0) + 1 if text[0] == "(" else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    opcode, _, text = text.partition("(")
    end = _closing("(" + text, 0) - 1
    is_leaf = opcode in ("parameter", "constant")
    operands = () if is_leaf else _NAMES.findall(text[:end])
    rest = text if is_leaf else text[end:]
    return Instruction(name, shape, opcode, tuple(operands), rest)


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise ValueError(f"no closing bracket in {text[start:]!r}")


def size(shape: str) -> float:
    """Bytes of a shape in the device's main memory; arrays in another one are free."""
    total = 0.0
    for dtype, dims, layout in _ARRAY.findall(shape):
        if "S(" not in layout:
            bits = re.search(r"\d+", dtype)
            elements = math.prod(int(dim) for dim in dims.split(",") if dim)
            # A pred takes a byte.
            total += elements * (int(bits[0]) / 8 if bits else 1)
    return total


def kernels(text: str) -> Iterator[Kernel]:
    """All kernels of a step; a loop that does not say how often runs once.

    Args:
      text: of the optimised program, ``compiled.as_text()``.

    Yields:
      The kernels of the loop over steps, whose bounds are the program's arguments; of
      the whole program if there is none.
    """
    computations, entry = parse(text)
    for instruction in computations[entry].instructions.values():
        if instruction.opcode == "while" and _trips(computations, instruction) == 1:
            entry = instruction.called("body")[0]
            break
    yield from _visit(computations, entry, 1)


def _visit(
    computations: dict[str, Computation], name: str, times: int
) -> Iterator[Kernel]:
    computation = computations[name]
    for instruction in computation.instructions.values():
        opcode = instruction.opcode
        if opcode == "while":
            count = times * _trips(computations, instruction)
            yield from _visit(computations, instruction.called("body")[0], count)
        elif opcode in ("conditional", "call", "async-start"):
            for called in instruction.called(_CALLED):
                yield from _visit(computations, called, times)
        elif _FREE.fullmatch(opcode) is None and not _is_scalar(instruction.shape):
            moved = _traffic(computations, computation, instruction)
            yield Kernel(instruction, times, *moved)


def _trips(computations: dict[str, Computation], loop: Instruction) -> int:
    """How often a loop runs: as said, or the limit of its counter; 1 if not known."""
    if said := _TRIPS.search(loop.rest):
        return int(said[1])
    limits, pending = [], [*loop.called("condition")]
    while pending:
        for instruction in computations[pending.pop()].instructions.values():
            pending += instruction.called("calls")
            if instruction.opcode == "constant":
                limits.append(int(instruction.rest.split(")")[0]))
    return limits[0] if len(limits) == 1 else 1


def _is_scalar(shape: str) -> bool:
    """Whether a result is of a TPU's scalar core, which runs beside all else."""
    return all(not found[2] or "S(6)" in found[0] for found in _ARRAY.finditer(shape))


def _traffic(
    computations: dict[str, Computation],
    computation: Computation,
    instruction: Instruction,
) -> tuple[float, float]:
    """Bytes that an instruction reads and writes."""
    shapes = [computation.instructions[name].shape for name in instruction.operands]
    opcode = instruction.opcode
    if opcode in ("copy-start", "slice-start", "dynamic-slice-start"):
        # Its result names source and destination: a slice's the source first.
        destination = _elements(instruction.shape)[opcode != "copy-start"]
        read = _whole(destination) if size(shapes[0]) else 0.0
        return read, size(destination)
    if opcode in _SLICES:
        output = _whole(instruction.shape)
        return (output if size(shapes[0]) else 0.0), size(instruction.shape)
    if opcode == "dynamic-update-slice":
        update = _whole(shapes[1])
        return size(shapes[1]), (update if size(instruction.shape) else 0.0)
    if "AllocateBuffer" in instruction.rest:
        return 0.0, 0.0
    if opcode != "fusion":
        return sum(map(size, shapes)), size(instruction.shape)
    inner = computations[instruction.called("calls")[0]]
    read = sum(
        _read(computations, inner, parameter)
        for parameter, shape in zip(inner.parameters, shapes, strict=True)
        if size(shape)
    )
    return read, _written(computations, inner, instruction.shape)


def _read(
    computations: dict[str, Computation], inner: Computation, parameter: Instruction
) -> float:
    """Bytes that a fusion reads of an operand."""
    read = 0.0
    for user in inner.users[parameter.name]:
        if user.opcode in _SLICES and user.operands[0] == parameter.name:
            read += _whole(user.shape)
        elif user.opcode == "dynamic-update-slice" and (
            user.operands[0] == parameter.name
        ):
            continue
        elif user.opcode == "bitcast" or "output_to_operand_aliasing" in user.rest:
            # The same bytes, seen in another way: its users read them.
            read += _read(computations, inner, user)
        elif user.opcode == "fusion":
            nested = computations[user.called("calls")[0]]
            for at, operand in enumerate(user.operands):
                if operand == parameter.name:
                    read += _read(computations, nested, nested.parameters[at])
        else:
            return _whole(parameter.shape)
    return min(read, _whole(parameter.shape))


def _written(
    computations: dict[str, Computation], inner: Computation, shape: str
) -> float:
    """Bytes that a fusion writes."""
    outputs = _elements(shape)
    root = inner.instructions[inner.root]
    roots = root.operands if root.opcode == "tuple" else (root.name,)
    if len(roots) != len(outputs):
        return size(shape)
    return sum(
        _update(computations, inner, name)
        for name, output in zip(roots, outputs, strict=True)
        if size(output)
    )


def _update(
    computations: dict[str, Computation], inner: Computation, name: str
) -> float:
    """Bytes of a fusion's result, or of the slice that it writes into an operand."""
    result = inner.instructions[name]
    if result.opcode == "bitcast":
        return _update(computations, inner, result.operands[0])
    if result.opcode == "dynamic-update-slice":
        return _whole(inner.instructions[result.operands[1]].shape)
    if result.opcode == "fusion":
        nested = computations[result.called("calls")[0]]
        return _update(computations, nested, nested.root)
    return _whole(result.shape)


def _whole(shape: str) -> float:
    """Bytes of a shape, wherever it lies."""
    return size(re.sub(r"S\(\d+\)", "", shape))


def _elements(shape: str) -> list[str]:
    """Shapes of a tuple's arrays, or the one that it is."""
    return [found[0] for found in _ARRAY.finditer(shape)]


def by_cause(
    found: Iterable[Kernel], cause: Callable[[Kernel], str]
) -> dict[str, tuple[float, int]]:
    """Bytes and kernels, summed by cause."""
    total: dict[str, tuple[float, int]] = {}
    for kernel in found:
        moved, count = total.get(name := cause(kernel), (0.0, 0))
        total[name] = moved + kernel.moved, count + kernel.times
    return total
