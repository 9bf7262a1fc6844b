"""Reading tab-separated files as GLUE has them: no quotes, one example a line."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Sequence


class DataError(ValueError):
    """A data file, split or task that cannot be used; names file and line."""


@dataclasses.dataclass(frozen=True)
class Table:
    """The content of a file.

    Attributes:
      path: Where it was read.
      header: Names of the columns.
      rows: The fields of each line.
      lines: The number of each row's line, the first line of the file being 1.
    """

    path: pathlib.Path
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> int:
        """Index of a column.

        Raises:
          DataError: If there is none of this name, or more than one.
        """
        if self.header.count(name) != 1:
            many = "more than one" if name in self.header else "no"
            raise DataError(
                f"{self.path}, line 1: {many} column {name!r}; "
                f"there are {self.columns()}"
            )
        return self.header.index(name)

    def columns(self) -> str:
        """The names of the columns, for messages."""
        return ", ".join(repr(textwrap.shorten(name, 40)) for name in self.header)

    def select(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The named columns of every row.

        Raises:
          DataError: If a column is missing.
        """
        columns = [self.column(name) for name in names]
        return [tuple(row[column] for column in columns) for row in self.rows]


def read(
    path: str | pathlib.Path,
    columns: Sequence[str] | None = None,
    skip_short_lines: bool = False,
) -> Table:
    """Reads a file of tab-separated values.

    Args:
      path: The file, UTF-8 with or without a byte order mark.
      columns: Names of the columns of a file without a header; None if the first line
        names them.
      skip_short_lines: Whether lines with too few fields are passed over.

    Returns:
      The table, with at least one row.

    Raises:
      DataError: If the file cannot be read, is empty, or a line is empty or has not as
        many fields as there are columns.
    """
    path = pathlib.Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    # Split at line feeds alone: other separators do occur inside of sentences.
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    while lines and not lines[-1].strip(b"\r "):
        lines.pop()
    decoded = [_decode(line, path, number) for number, line in enumerate(lines, 1)]
    if columns is None and decoded:
        header, first = tuple(decoded[0].split("\t")), 1
    else:
        header, first = tuple(columns or ()), 0
    rows, numbers = [], []
    for number, line in enumerate(decoded[first:], first + 1):
        fields = line.split("\t")
        if len(fields) < len(header) and skip_short_lines:
            continue
        if not line:
            raise DataError(f"{path}, line {number}: an empty line")
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(fields)} tab-separated fields, "
                f"but there are {len(header)} columns"
            )
        rows.append(fields)
        numbers.append(number)
    if not rows:
        raise DataError(f"{path} has no examples")
    return Table(path, header, rows, numbers)


def _decode(line: bytes, path: pathlib.Path, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason})") from error
