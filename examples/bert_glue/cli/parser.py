"""How a command line is read: values, help, and bad input: one line, code 2."""

import argparse
import contextlib
import dataclasses
import math
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from bert_glue.data import tasks
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.devices.terminal import printable
from bert_glue.records.trackers import KINDS
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.settings import EXAMPLES, WHOLE, Rule

T = TypeVar("T")

MAX_SEED = 2**31 - 1
MOST_SEEDS = 100_000
"""More in a count or a range are a slip of the keyboard."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help begins with what is needed.

    Attributes:
      further: options that --help leaves to --help-all.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings, add_help=False)
        self.further: list[argparse.Action] = []
        self.add_argument(
            "-h", "--help", action=_Help, help="show the options that most people need"
        )
        self.add_argument(
            "--help-all", action=_Help, help="show all: settings, data, devices"
        )

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and ends the program with code 2."""
        text = f"{self.prog}: error: {message} (--help-all shows all options)\n"
        self.exit(2, printable(text))


class _Help(argparse.Action):
    """Shows the help, all of it or its beginning, and ends the program."""

    def __init__(self, option_strings: list[str], dest: str, help: str):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        if self.option_strings != ["--help-all"] and isinstance(parser, Parser):
            for action in parser.further:
                action.help = argparse.SUPPRESS
        parser.print_help()
        parser.exit()


def make_parser(script: str, description: str, examples: str) -> Parser:
    """A parser without options.

    Args:
      script: name of the script's file.
      description: what the script does, for the top of its help.
      examples: commands with a line of explanation each, for its end.

    Returns:
      The parser.
    """
    width = max(60, min(100, shutil.get_terminal_size((88, 24)).columns))
    return Parser(
        prog=pathlib.Path(script).name,
        usage="%(prog)s [options]",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=30, width=width
        ),
        allow_abbrev=False,
    )


@contextlib.contextmanager
def errors_in_one_line(parser: Parser, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of the given kinds into one line and code 2."""
    try:
        yield
    except kinds as error:
        parser.error(" ".join(str(error).split()))


def typed(read: Callable[[str], T]) -> Callable[[str], T]:
    """A type for argparse, which shows the messages of this error alone."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def parse_tasks(text: str) -> tuple[str, ...]:
    """Reads tasks' names, separated by commas."""
    found = [(name.strip(), tasks.find(name)) for name in text.split(",")]
    if unknown := [name for name, task in found if task is None]:
        accepted = ", ".join([*GENERATED, *TASKS])
        raise ValueError(f"unknown task {unknown[0]!r}; accepted are {accepted}")
    names = tuple(task.name for _, task in found if task is not None)
    if len(set(names)) < len(names):
        raise ValueError(f"tasks are {text!r}, with a task there twice")
    return names


def parse_task(text: str) -> tuple[str, ...]:
    """Reads the name of one task."""
    if "," in text:
        raise ValueError(f"unknown task {text!r}; accepted is one")
    return parse_tasks(text)


def parse_columns(text: str) -> tuple[str, ...]:
    """Reads one name or two, separated by a comma."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(names) > 2:
        raise ValueError(f"columns are {text!r}; accepted are one or two names")
    return names


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads a count of seeds, or a list of them.

    Args:
      text: a count (``5`` means the seeds 0 to 4), or seeds and ranges separated by
        commas (``3,7,10-12``; a single seed is written ``7,``).

    Returns:
      The seeds in the order given.

    Raises:
      ValueError: if it is neither, or a seed is there twice.

    Examples:
      >>> parse_seeds("5"), parse_seeds("3,7,10-12"), parse_seeds("7,")
      ((0, 1, 2, 3, 4), (3, 7, 10, 11, 12), (7,))
    """
    accepted = "a count such as 5, or seeds such as 3,7,10-12"
    items = [item.strip() for item in text.split(",")]
    seeds: list[int] = []
    try:
        if len(items) == 1 and "-" not in text:
            items = [f"0-{int(text) - 1}"]
        # A comma at the end makes a list of a single seed.
        for item in items if items[-1] else items[:-1]:
            first, dash, last = item.partition("-")
            low, high = int(first), int(last if dash else first)
            # A range of more than sys.maxsize has no length.
            if not 0 <= low <= high <= MAX_SEED or high - low >= MOST_SEEDS:
                raise ValueError
            seeds += range(low, high + 1)
    except ValueError:
        raise ValueError(f"seeds are {text!r}; accepted is {accepted}") from None
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {text!r}, with a seed there twice")
    return tuple(seeds)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Values of a setting to try.

    Attributes:
      setting: its name.
      values: increasing; none where the setting alone was named.
    """

    setting: str
    values: tuple[float, ...]

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.values[0], self.values[-1]


def parse_grid(text: str) -> Grid:
    """Reads a setting and its values.

    Args:
      text: ``learning_rate=1e-5,3e-5,1e-4``, or ``learning_rate=1e-5..1e-3:8`` for
        eight values whose logarithms are evenly spaced, rounded to two digits, or to
        as many as it takes to tell them apart and to stay between those two. The name
        alone is enough where values are those of records.

    Returns:
      The grid.

    Raises:
      ValueError: if there is no such setting of numbers, or a value is not accepted.

    Examples:
      >>> parse_grid("learning_rate=1e-5..1e-4:3").values
      (1e-05, 3.2e-05, 0.0001)
    """
    name, sign, listed = text.partition("=")
    name = name.strip().replace("-", "_")
    rules = {n: about.rule for n, about in SETTINGS.items()}
    rules = {n: rule for n, rule in rules.items() if rule.kind in (int, float)}
    rules[EXAMPLES] = WHOLE
    if name not in rules:
        raise ValueError(f"got {text!r}; accepted are values of {', '.join(rules)}")
    if not sign:
        return Grid(name, ())
    rule = rules[name]
    first, dots, rest = listed.partition("..")
    words: Iterable[str] = listed.split(",")
    if dots:
        last, _, count = rest.partition(":")
        low = high = steps = 0
        with contextlib.suppress(ValueError):
            low, high, steps = float(first), float(last), int(count or 8)
        if not (0 < low < high < math.inf and 2 <= steps <= 100):
            raise ValueError(
                f"got {text!r}; accepted is {name}=LOW..HIGH:COUNT, numbers above 0 "
                "and 2 to 100 values"
            )
        share = [at / (steps - 1) for at in range(steps)]
        spaced = [low ** (1 - part) * high**part for part in share]
        if rule.kind is float:
            for end in (first, last):
                rule.read(end.strip())
            # Powers may round to a number beyond the ends.
            spaced = [min(max(value, low), high) for value in spaced]
            words = map(repr, rounded(spaced, low, high, rule))
        else:
            words = [f"{value:.0f}" for value in spaced]
    values = tuple(sorted({rule.read(word.strip()) for word in words}))
    if not 0 < values[0] < values[-1] < math.inf:
        raise ValueError(
            f"got {text!r}; accepted are two values above 0 at least, all finite"
        )
    return Grid(name, values)


def rounded(
    values: Sequence[float], low: float, high: float, rule: Rule
) -> list[float]:
    """Numbers of as few digits as they can have, two at least.

    Args:
      values: numbers.
      low: smallest that a rounded one may be.
      high: largest one.
      rule: what is accepted.

    Returns:
      The numbers, of two digits or as many more as it takes to stay where they may be,
      be accepted, and differ where the values do.

    Examples:
      >>> from bert_glue.training.settings import BELOW_ONE
      >>> rounded([0.9, 0.9961, 0.999], 0.9, 0.999, BELOW_ONE)
      [0.9, 0.996, 0.999]
    """
    found: list[float] = []
    for digits in range(2, 18):
        found = [float(f"{value:.{digits}g}") for value in values]
        is_apart = len({*found}) == len({*values})
        if is_apart and all(low <= x <= high and rule.allows(x) for x in found):
            break
    return found


def parse_shard(text: str) -> tuple[int, int]:
    """Reads which part of how many.

    Args:
      text: such as ``2/8``: the second of eight.

    Returns:
      Its number, from 1, and how many there are.

    Raises:
      ValueError: if it is none.

    Examples:
      >>> parse_shard("2/8")
      (2, 8)
    """
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise ValueError(f"shard is {text!r}; accepted is 1/8 to 8/8 for eight parts")


def parse_trackers(text: str) -> tuple[str, ...]:
    """Reads trackers' names, separated by commas."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in KINDS]:
        accepted = ", ".join(KINDS)
        raise ValueError(f"unknown tracker {unknown[0]!r}; accepted are {accepted}")
    return names


def parse_parallel(text: str) -> int | None:
    """Reads how many seeds to train side by side; None for 'auto'."""
    try:
        return None if text == "auto" else WHOLE.read(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def parse_mesh(text: str) -> Mapping[str, int]:
    """Reads sizes of a mesh's axes; only who names a mesh waits for JAX here."""
    from bert_glue.devices import mesh

    return mesh.parse_mesh(text)
