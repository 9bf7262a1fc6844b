"""From the spellings of labels to class indices or numbers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from bert_glue.data.metrics import METRICS
from bert_glue.data.tables import DataError, Table, listed

_MOST_WHOLE_FLOATS = 20
"""Programs write classes as 0.0 and 1.0 once a label is missing. More different ones
than so many are values."""


class Labels(NamedTuple):
    """What the labels of a training file are.

    Attributes:
      problem: a value of ``examples.PROBLEMS``.
      classes: spellings of the classes, without spaces around them and whole numbers
        without a point, in the order that the file gives them, or of the integers that
        they are, or else of the alphabet; empty for regression.
    """

    problem: str
    classes: tuple[str, ...]


def find_labels(
    table: Table, column: str, problem: str | None = None, metric: str | None = None
) -> Labels:
    """Finds out what the labels of a training file are.

    What looks like a slip is added to the notes of the table.

    Args:
      table: the file.
      column: where the labels are.
      problem: a value of ``examples.PROBLEMS``; None if that follows from the labels
        and the metric: lists make it several labels an example; fractions, or many
        whole numbers written as 3.0, make it a regression.
      metric: how predictions will be scored; None if that follows from the labels.

    Returns:
      What they are.

    Raises:
      DataError: if labels are empty, of several lines, all the same, or only in part
        fractions.
    """
    fields = table.labels(column)
    if problem is None and any(isinstance(field, list) for field in fields):
        problem = MULTI_LABEL
    elif problem is None and metric is not None:
        problem = METRICS[metric].problems[0]
    spellings = _first_lines(table, column, problem == MULTI_LABEL)
    known = table.classes.get(column, ())
    if problem is None:
        problem = SINGLE_LABEL if known else _guess(table, column, spellings)
    if problem == REGRESSION:
        values = set(map(_real, spellings))
        if len(values) < 2 and None not in values:
            raise DataError(
                f"{table.path}: every {column} is {next(iter(spellings))!r}; two "
                "different numbers are needed"
            )
        return Labels(REGRESSION, ())
    classes = {_name(spelling): line for spelling, line in spellings.items()}
    if len(known or classes) < 2:
        there = f"{next(iter(classes))!r}" if classes else "empty"
        raise DataError(
            f"{table.path}: every {column} is {there}; two classes are needed"
        )
    if not known:
        table.notes.extend(_slips(table, column, classes, problem == MULTI_LABEL))
    without = sum(not _names(field) for field in fields)
    if without and problem == MULTI_LABEL:
        table.notes.append(
            f"{table.path}: {without} of {len(fields)} examples have no label"
        )

    def order(name: str) -> tuple[bool, int, str]:
        whole = _integer(name)
        return whole is None, whole or 0, name

    return Labels(problem, known or tuple(sorted(classes, key=order)))


def _first_lines(table: Table, column: str, is_multi_label: bool) -> dict[str, int]:
    """The spellings of labels, and where each stands first."""
    first_lines: dict[str, int] = {}
    for line, spelling in _spellings(table, column, is_multi_label):
        if set("\t\r\n") & set(spelling):
            raise DataError(
                f"{table.path}, line {line}: the {column} {spelling!r:.60} has a tab "
                "or a line end in it, which no class's name has"
            )
        first_lines.setdefault(spelling, line)
    return first_lines


def to_numbers(
    table: Table, column: str, classes: Sequence[str], problem: str
) -> np.ndarray:
    """The labels of a file as numbers.

    Args:
      table: the file.
      column: where the labels are.
      classes: spellings of the classes; empty for regression.
      problem: a value of ``examples.PROBLEMS``.

    Returns:
      int32 indices of classes or float32 numbers, of shape (rows,); for several labels
      an example 0 and 1, int32 of shape (rows, classes).

    Raises:
      DataError: if a label is no class, or no number in the range of float32, or twice
        among those of an example.
    """
    indices = {spelling: index for index, spelling in enumerate(classes)}
    in_small_letters = [spelling.casefold() for spelling in classes]
    numbers = []
    respelled = {}
    is_multi_label = problem == MULTI_LABEL
    for line, spelling in _spellings(table, column, is_multi_label, blank=True):
        if problem == REGRESSION:
            number = _real(spelling)
        else:
            number = indices.get(spelling, indices.get(_name(spelling)))
            if number is None and in_small_letters.count(spelling.casefold()) == 1:
                number = in_small_letters.index(spelling.casefold())
                respelled[spelling] = f"{spelling!r} for {classes[number]!r}"
        if number is None:
            raise DataError(
                f"{table.path}, line {line}: unknown {column} {spelling!r:.60}; "
                f"accepted are {listed(classes) or 'numbers'}"
            )
        numbers.append((line, number))
    if respelled:
        table.notes.append(
            f"{table.path}: a {column} that differs from a class in case alone is "
            f"taken for it: {', '.join(respelled.values())}"
        )
    if not is_multi_label:
        values = [number for _, number in numbers]
        return np.array(values, np.int32 if classes else np.float32)
    rows = {line: row for row, line in enumerate(table.lines)}
    matrix = np.zeros((len(rows), len(classes)), np.int32)
    for line, number in numbers:
        if matrix[rows[line], number]:
            raise DataError(
                f"{table.path}, line {line}: the {column} has {classes[number]!r} "
                "twice; accepted are the names of an example's labels, each once"
            )
        matrix[rows[line], number] = 1
    return matrix


def _spellings(
    table: Table, column: str, is_multi_label: bool, blank: bool = False
) -> Iterator[tuple[int, str]]:
    """The line of each label and the label without spaces around it."""
    for line, field in zip(table.lines, table.labels(column), strict=True):
        if is_multi_label:
            yield from ((line, name) for name in _names(field))
            continue
        if isinstance(field, list):
            raise DataError(
                f"{table.path}, line {line}: the {column} is a list, "
                f"{field!r:.60}; accepted is one label an example; several "
                "are a multi_label problem"
            )
        if not (spelling := field.strip()) and not blank:
            raise DataError(f"{table.path}, line {line}: the {column} is empty")
        yield line, spelling


def _names(field: str | list[str]) -> list[str]:
    """The labels of an example: a list, or text with commas."""
    names = field.split(",") if isinstance(field, str) else field
    return list(filter(None, map(str.strip, names)))


def _guess(table: Table, column: str, first_lines: Mapping[str, int]) -> str:
    """Whether labels are classes or numbers."""
    words = [spelling for spelling in first_lines if _real(spelling) is None]
    floats = [s for s in first_lines if s not in words and _integer(s) is None]
    if not floats:
        return SINGLE_LABEL
    are_whole = all(_integer(_name(spelling)) is not None for spelling in floats)
    if words:
        raise DataError(
            f"{table.path}, line {first_lines[words[0]]}: the {column} {words[0]!r} is "
            "no number in the range of float32, but "
            f"{floats[0]!r} in line {first_lines[floats[0]]} is"
        )
    if not are_whole:
        return REGRESSION
    are_many = len(set(map(_name, first_lines))) > _MOST_WHOLE_FLOATS
    taken, other = (
        ("value", "single_label makes them classes")
        if are_many
        else ("class", "regression makes them values")
    )
    table.notes.append(
        f"{table.path}: each {column} is a whole number, if written as "
        f"{floats[0]}, and taken for a {taken}; --problem {other}"
    )
    return REGRESSION if are_many else SINGLE_LABEL


def _slips(
    table: Table, column: str, classes: Mapping[str, int], is_multi_label: bool
) -> list[str]:
    """Sentences on classes, each with its first line, that may not be meant."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[name.casefold()].append(name)
    slips = [
        f"{table.path}: {' and '.join(f'{n!r} (line {classes[n]})' for n in names)} "
        "differ in case alone, and are classes of their own"
        for names in alike.values()
        if len(names) > 1
    ]
    commas = [name for name in classes if "," in name]
    if commas and not is_multi_label:
        values = [_real(name.replace(",", ".")) for name in classes]
        point = "" if None in values else "; numbers are written with a point"
        slips.append(
            f"{table.path}, line {classes[commas[0]]}: the {column} {commas[0]!r:.60} "
            f"has a comma, as have {len(commas)} of {len(classes)} classes; an example "
            "has one class here, and what is written is its name (--problem "
            f"multi_label takes it for several{point})"
        )
    return slips


def _name(spelling: str) -> str:
    """A class's name: whole numbers without a point, so that 1.0 is 1."""
    value = _real(spelling)
    if value is None or _integer(spelling) is not None or not value.is_integer():
        return spelling
    return str(int(value))


def _integer(spelling: str) -> int | None:
    try:
        return int(spelling)
    except ValueError:
        return None


def _real(spelling: str) -> float | None:
    try:
        value = float(spelling)
    except ValueError:
        return None
    # Beyond float32 it would be infinite, and with it the loss.
    with np.errstate(over="ignore"):
        return value if np.isfinite(np.float32(value)) else None
