"""From the spellings of labels to class indices or numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from bert_glue.data.metrics import REGRESSION
from bert_glue.data.tables import DataError, Table, listed

_MOST_WHOLE_FLOATS = 20
"""Programs write classes as 0.0 and 1.0 once a label is missing. More different ones
than so many are values."""


def find_classes(table: Table, column: str, metric: str | None) -> tuple[str, ...]:
    """The classes that the labels of a training file are.

    What looks like a slip is added to the notes of the table.

    Args:
      table: the file.
      column: where the labels are.
      metric: how predictions will be scored; None if that follows from the labels:
        fractions, or many whole numbers written as 3.0, then make it a regression.

    Returns:
      The spellings, without spaces around them and whole numbers without a point, in
      the order of the integers that they are, or else of the alphabet; empty for
      regression.

    Raises:
      DataError: if labels are empty, of several lines, all the same, or only in part
        fractions.
    """
    first_lines: dict[str, int] = {}
    for line, field in zip(table.lines, table.column(column), strict=True):
        if not (spelling := field.strip()):
            raise DataError(f"{table.path}, line {line}: the {column} is empty")
        if set("\t\r\n") & set(spelling):
            raise DataError(
                f"{table.path}, line {line}: the {column} {spelling!r:.60} has a tab "
                "or a line end in it, which no class's name has"
            )
        first_lines.setdefault(spelling, line)
    words = [s for s in first_lines if _real(s) is None]
    floats = [s for s in first_lines if s not in words and _integer(s) is None]
    classes = {_name(spelling): line for spelling, line in first_lines.items()}
    are_whole = all(_integer(_name(spelling)) is not None for spelling in floats)
    are_few = are_whole and len(classes) <= _MOST_WHOLE_FLOATS
    if metric in REGRESSION or (metric is None and floats and not (words or are_few)):
        return ()
    if metric is None and floats and words:
        raise DataError(
            f"{table.path}, line {first_lines[words[0]]}: the {column} {words[0]!r} is "
            "no number in the range of float32, but "
            f"{floats[0]!r} in line {first_lines[floats[0]]} is"
        )
    if len(classes) < 2:
        raise DataError(
            f"{table.path}: every {column} is {next(iter(classes))!r}; "
            "two classes are needed"
        )
    if metric is None and floats:
        table.notes.append(
            f"{table.path}: each {column} is a whole number, if written as "
            f"{floats[0]}, and taken for a class; --metric {REGRESSION[0]} makes them "
            "values"
        )
    table.notes.extend(_slips(table, column, classes))

    def order(name: str) -> tuple[bool, int, str]:
        whole = _integer(name)
        return whole is None, whole or 0, name

    return tuple(sorted(classes, key=order))


def to_numbers(table: Table, column: str, classes: Sequence[str]) -> np.ndarray:
    """The labels of a file as numbers.

    Args:
      table: the file.
      column: where the labels are.
      classes: spellings of the classes; empty for regression.

    Returns:
      int32 indices of classes or float32 numbers, of shape (rows,).

    Raises:
      DataError: if a label is no class, or no number in the range of float32.
    """
    indices = {spelling: index for index, spelling in enumerate(classes)}
    labels = []
    for line, field in zip(table.lines, table.column(column), strict=True):
        spelling = field.strip()
        if classes:
            label = indices.get(spelling, indices.get(_name(spelling)))
        else:
            label = _real(spelling)
        if label is None:
            raise DataError(
                f"{table.path}, line {line}: unknown {column} {spelling!r:.60}; "
                f"accepted are {listed(classes) or 'numbers'}"
            )
        labels.append(label)
    return np.array(labels, np.int32 if classes else np.float32)


def _slips(table: Table, column: str, classes: Mapping[str, int]) -> list[str]:
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
    if commas := [name for name in classes if "," in name]:
        slips.append(
            f"{table.path}, line {classes[commas[0]]}: the {column} {commas[0]!r:.60} "
            f"has a comma, as have {len(commas)} of {len(classes)} classes; an example "
            "has one class here, and what is written is its name"
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
