"""Lines of cells, each by the name of its column, as text, Markdown and CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def aligned(lines: Sequence[Mapping[str, str]]) -> str:
    """Lines in columns, the first to the left and the others to the right.

    Args:
      lines: at least one; what a line lacks is left empty.

    Returns:
      The text, the names of the columns first.

    Examples:
      >>> print(aligned([{"method": "adamw", "Std": "4.0"}, {"method": "mixout"}]))
      method  Std
      adamw   4.0
      mixout
    """
    names = dict.fromkeys(name for line in lines for name in line)
    columns: list[list[str]] = []
    for name in names:
        cells = [name, *(line.get(name, "") for line in lines)]
        width = max(map(len, cells))
        columns.append(
            [cell.rjust(width) if columns else cell.ljust(width) for cell in cells]
        )
    return "\n".join(map("  ".join, zip(*columns, strict=True)))


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """Lines as a table in Markdown.

    Args:
      lines: at least one, all of the same columns.

    Returns:
      The table, the first column to the left and the others to the right.
    """
    rules = ["---", *["--:"] * (len(lines[0]) - 1)]
    rows = [lines[0], rules, *(line.values() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_csv(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    """Lines as a CSV file with a header.

    Args:
      columns: names of the columns.
      lines: values by the names of their columns.

    Returns:
      The file; empty is what a line lacks, and what is None, NaN or infinite.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _known(value) for name, value in line.items()})
    return file.getvalue()


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
