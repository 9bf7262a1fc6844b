"""From the spellings of labels to class indices or numbers."""

from collections.abc import Sequence

import numpy as np

from bert_glue.data.metrics import REGRESSION
from bert_glue.data.tsv import DataError, Table


def find_classes(table: Table, column: str, metric: str | None) -> tuple[str, ...]:
    """The classes that the labels of a training file are.

    Args:
      table: the file.
      column: where the labels are.
      metric: how predictions will be scored; None if that follows from the labels:
        numbers, of which some are not written as integers, then make it a regression.

    Returns:
      The spellings, without spaces around them, in the order of the integers that they
      are, or else of the alphabet; empty for regression.

    Raises:
      DataError: if labels are empty, all the same, or only in part fractions.
    """
    first_lines: dict[str, int] = {}
    for line, field in zip(table.lines, table.column(column), strict=True):
        if not (spelling := field.strip()):
            raise DataError(f"{table.path}, line {line}: the {column} is empty")
        first_lines.setdefault(spelling, line)
    words = [s for s in first_lines if _real(s) is None]
    fractions = [s for s in first_lines if s not in words and _whole(s) is None]
    if metric in REGRESSION or (metric is None and fractions and not words):
        return ()
    if metric is None and fractions:
        raise DataError(
            f"{table.path}, line {first_lines[words[0]]}: the {column} {words[0]!r} is "
            "no number in the range of float32, but "
            f"{fractions[0]!r} in line {first_lines[fractions[0]]} is"
        )
    if len(first_lines) < 2:
        raise DataError(
            f"{table.path}: every {column} is {next(iter(first_lines))!r}; "
            "two classes are needed"
        )

    def order(spelling: str) -> tuple[bool, int, str]:
        whole = _whole(spelling)
        return whole is None, whole or 0, spelling

    return tuple(sorted(first_lines, key=order))


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
    read = indices.get if classes else _real
    labels = []
    for line, field in zip(table.lines, table.column(column), strict=True):
        label = read(field.strip())
        if label is None:
            accepted = ", ".join(map(repr, classes)) or "numbers"
            raise DataError(
                f"{table.path}, line {line}: unknown {column} {field.strip()!r}; "
                f"accepted are {accepted}"
            )
        labels.append(label)
    return np.array(labels, np.int32 if classes else np.float32)


def _whole(spelling: str) -> int | None:
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
