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
      path: where it was read.
      header: names of the columns.
      rows: the fields of each line.
      lines: where in the file each row stands, the first line being 1.
    """

    path: pathlib.Path
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """The fields of a column.

        Raises:
          DataError: if there is none of this name, or more than one.
        """
        if self.header.count(name) != 1:
            many = "more than one" if name in self.header else "no"
            raise DataError(
                f"{self.path}, line 1: {many} column {name!r}; "
                f"there are {self.columns()}"
            )
        index = self.header.index(name)
        return [row[index] for row in self.rows]

    def columns(self) -> str:
        """The names of the columns, for messages."""
        return ", ".join(repr(textwrap.shorten(name, 40)) for name in self.header)

    def select(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The named columns of every row.

        Raises:
          DataError: if a column is missing.
        """
        return list(zip(*map(self.column, names), strict=True))


def read(
    path: str | pathlib.Path,
    columns: Sequence[str] | None = None,
    skip_short_lines: bool = False,
) -> Table:
    """Reads a file of tab-separated values.

    Args:
      path: the file, UTF-8 with or without a byte order mark.
      columns: names of the columns of a file without a header; None if the first line
        names them.
      skip_short_lines: whether lines with too few fields are passed over.

    Returns:
      The table, with at least one row.

    Raises:
      DataError: if the file cannot be read, is empty, or a line is empty or has not as
        many fields as there are columns.
    """
    path = pathlib.Path(path)
    lines = _read_lines(path)
    first = 0
    if columns is None and lines:
        columns, first = lines[0].split("\t"), 1
    table = Table(path, tuple(columns or ()), [], [])
    for number, line in enumerate(lines[first:], first + 1):
        fields = line.split("\t")
        if len(fields) < len(table.header) and skip_short_lines:
            continue
        if not line:
            raise DataError(f"{path}, line {number}: an empty line")
        if len(fields) != len(table.header):
            raise DataError(
                f"{path}, line {number}: {len(fields)} tab-separated fields, "
                f"but there are {len(table.header)} columns"
            )
        table.rows.append(fields)
        table.lines.append(number)
    if not table.rows:
        raise DataError(f"{path} has no examples")
    return table


def _read_lines(path: pathlib.Path) -> list[str]:
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        text = content.decode()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason})") from error
    # Split at line feeds alone, which csv and str.splitlines do not: the other signs
    # that end lines somewhere do occur inside of sentences.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip("\r "):
        lines.pop()
    return lines
