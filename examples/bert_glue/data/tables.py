"""Rows of text: TSV as GLUE has it or as programs quote it, CSV, JSON, Parquet.

All fields become text as it is written, and each row knows its line.
"""

import codecs
import contextlib
import csv
import dataclasses
import json
import pathlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bert_glue.data.signatures import foreign_kind

# The longer marks first: that of UTF-32 begins as that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OPENS = re.compile(r'(?:^|\t)"', re.MULTILINE)
_LONGEST_FIELD = 2**31 - 1
# How a file says to Excel what separates its fields.
_SEPARATOR = re.compile(r"sep=([,;\t])")

Rows = list[tuple[int, Sequence[Any]]]
"""Each row's line, from 1, and its fields; none for an empty line."""


class DataError(ValueError):
    """A data file, split or task that cannot be used; names file and line."""


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in quotes for a message, long ones and many cut short.

    Examples:
      >>> listed(["a", "b", "c"], most=2)
      "'a', 'b', ... (3 in all)"
    """
    names = list(names)
    shown = [repr(textwrap.shorten(name, 40)) for name in names[:most]]
    more = [f"... ({len(names)} in all)"] if len(names) > most else []
    return ", ".join([*shown, *more])


@dataclasses.dataclass(frozen=True)
class Table:
    """The content of a file.

    Attributes:
      path: where it was read, for messages.
      header: names of the columns.
      rows: line and fields of each row, the first line being 1.
      header_line: where in the file the header stands; 0 if its kind has none.
      notes: what the user should know of it.
      classes: names of the classes by column, in their order, where the source has
        them.
    """

    path: pathlib.Path | str
    header: tuple[str, ...]
    rows: Rows
    header_line: int
    notes: list[str] = dataclasses.field(default_factory=list)
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        """The fields of a column as text.

        Raises:
          DataError: if there is none of this name, or more than one; a row has not as
            many fields as there are columns; or a field is no text or number.
        """
        fields = self._fields(name)
        for line, field in zip(self.lines, fields, strict=True):
            if isinstance(field, list | dict):
                raise DataError(
                    f"{self.path}, line {line}: the {name} is {field!r:.60}; "
                    "accepted are text and numbers, one an example"
                )
        return list(map(_as_text, fields))

    def labels(self, name: str) -> list[str | list[str]]:
        """The fields of a column as text, or lists of such.

        Raises:
          DataError: as :meth:`column`.
        """
        labels: list[str | list[str]] = []
        for line, field in zip(self.lines, self._fields(name), strict=True):
            items = field if isinstance(field, list) else [field]
            if any(isinstance(item, list | dict) for item in items):
                raise DataError(
                    f"{self.path}, line {line}: the {name} is {field!r:.60}; "
                    "accepted are text and numbers, or lists of them"
                )
            texts = list(map(_as_text, items))
            labels.append(texts if isinstance(field, list) else texts[0])
        return labels

    def _fields(self, name: str) -> list[Any]:
        """The fields of a column."""
        if self.header.count(name) != 1:
            many = "more than one" if name in self.header else "no"
            raise DataError(
                f"{self.path}, line 1: {many} column {name!r}; "
                f"there are {listed(self.header)}"
            )
        if not self.rows:
            raise DataError(f"{self.path} has no examples")
        index = self.header.index(name)
        for line, fields in self.rows:
            if not fields:
                raise DataError(f"{self.path}, line {line}: an empty line")
            if len(fields) != len(self.header):
                raise DataError(
                    f"{self.path}, line {line}: {len(fields)} fields, but "
                    f"there are {len(self.header)} columns"
                )
        return [self._decoded(line, fields[index]) for line, fields in self.rows]

    def _decoded(self, line: int, field: Any) -> Any:
        """The field; one of bytes, as Parquet may have texts, as text."""
        if isinstance(field, list):
            return [self._decoded(line, item) for item in field]
        try:
            return field.decode() if isinstance(field, bytes) else field
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}, line {line}: bytes that are not UTF-8 ({error.reason})"
            ) from error

    def select(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The named columns of every row.

        Raises:
          DataError: if a column is missing.
        """
        return list(zip(*map(self.column, names), strict=True))

    @property
    def lines(self) -> list[int]:
        """Where in the file each row stands."""
        return [line for line, _ in self.rows]

    def without_header(self) -> "Table":
        """The same file if its header is a row, too; columns have numbers."""
        header = tuple(map(str, range(1, len(self.header) + 1)))
        return dataclasses.replace(
            self, header=header, rows=[(self.header_line, self.header), *self.rows]
        )


def _as_text(field: Any) -> str:
    # What is missing is None, or in Parquet's columns of numbers NaN.
    return "" if field is None or field != field else str(field)


def no_formula(text: str) -> str:
    """Text that a spreadsheet, which opens CSV, does not take for a formula.

    Examples:
      >>> no_formula("=1+1"), no_formula("1+1"), no_formula("-1")
      ("'=1+1", '1+1', '-1')
    """
    is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r"))
    with contextlib.suppress(ValueError):
        float(text)
        return text  # A number is none.
    return f"'{text}" if is_formula else text


def read_official(
    path: str | pathlib.Path,
    columns: Sequence[str] | None = None,
    skip_short_lines: bool = False,
) -> Table:
    """Reads tab-separated values as GLUE has them: no quotes, one example a line.

    Args:
      path: the file, UTF-8 with or without a byte order mark.
      columns: names of the columns of a file without a header; None if the first line
        names them.
      skip_short_lines: whether lines with too few fields are passed over.

    Returns:
      The table, with at least one row.

    Raises:
      DataError: if the file cannot be read or is empty.
    """
    path = pathlib.Path(path)
    rows = _split(_read_lines(path))
    if columns is not None:
        rows.insert(0, (0, list(columns)))
    return _table(path, rows, skip_short_lines)


def read(path: str | pathlib.Path, encoding: str | None = None) -> Table:
    """Reads a user's own file, which is what its name ends in.

    CSV has commas, semicolons or tabs; JSON Lines (.jsonl, .json) an object a line;
    Parquet (.parquet) columns. Whatever ends otherwise is tab-separated, and quoted
    if all of it is as programs quote it: where a field needs it, or in every row.

    Args:
      path: the file.
      encoding: of the text; by default UTF-8, or what a byte order mark says.

    Returns:
      The table, with at least one row.

    Raises:
      DataError: if the file cannot be read, is empty, or not what its name says.
    """
    path = pathlib.Path(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _table(path, _parquet(path))
    lines = _read_lines(path, encoding)
    if kind in (".json", ".jsonl"):
        return _table(path, _json_lines(path, lines))
    if kind == ".csv":
        return _table(path, _comma_separated(path, lines))
    table = _table(path, _tab_separated(lines))
    wrapped = sum(
        len(field) > 1 and field[0] == field[-1] == '"'
        for _, row in table.rows
        for field in row
    )
    if wrapped and table.rows == _split(lines)[1:]:
        table.notes.append(
            f"{path}: {wrapped} fields begin and end with quotation marks, which are "
            "read as a part of them, as others are not quoted"
        )
    return table


def _table(path: pathlib.Path, rows: Rows, skip_short_lines: bool = False) -> Table:
    header_line, names = rows[0] if rows else (0, [])
    header = tuple(map(str, names))
    rows = rows[1:]
    if skip_short_lines:
        rows = [(line, fields) for line, fields in rows if len(fields) >= len(header)]
    if not header:
        raise DataError(f"{path} has no examples")
    return Table(path, header, rows, header_line)


def _split(lines: Sequence[str]) -> Rows:
    return [(n, line.split("\t") if line else []) for n, line in enumerate(lines, 1)]


def _unquote(lines: Sequence[str], delimiter: str, spaced: bool = False) -> Rows:
    """Rows of quoted fields; csv.Error says what is wrong in which line."""
    csv.field_size_limit(_LONGEST_FIELD)
    text = (f"{line}\n" for line in lines)
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=spaced, strict=True)
    rows: Rows = []
    first = 1
    try:
        for row in reader:
            rows.append((first, row))
            first = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {first}: {error}") from error
    return rows


def _comma_separated(path: pathlib.Path, lines: Sequence[str]) -> Rows:
    """Rows of a file, split at the first sign that is in all of them.

    Tabs and semicolons come first: in every row they are not by accident, as the commas
    of sentences and decimals may be.
    """
    if lines and (named := _SEPARATOR.fullmatch(lines[0])):
        lines, signs = ["", *lines[1:]], named[1]
    else:
        signs = "\t;,"
    first = next(filter(None, lines), "")
    attempts: dict[str, Rows | csv.Error] = {}
    for sign in signs:
        # Some files have a space behind every sign, which is part of no field.
        spaced = first.count(sign) == first.count(f"{sign} ") > 0
        try:
            rows = _unquote(lines, sign, spaced)
        except csv.Error as error:
            attempts[sign] = error
            continue
        # Programs that write CSV pass over empty lines when they read it.
        attempts[sign] = rows = [(line, row) for line, row in rows if row]
        if all(len(row) > 1 for _, row in rows):
            return rows
    found = attempts[max(reversed(signs), key=first.count)]
    if isinstance(found, csv.Error):
        raise DataError(f"{path}, {found}; fields are quoted as in CSV") from found
    return found


def _tab_separated(lines: Sequence[str]) -> Rows:
    """Rows of a file that is quoted all through, or not at all."""
    if any(map(_OPENS.search, lines)):
        # A quote inside of quotes is written twice, or by R behind a backslash.
        for written in (lines, [line.replace('\\"', '""') for line in lines]):
            try:
                rows = _unquote(written, "\t")
            except csv.Error:
                continue
            if _is_quoted(written, rows):
                # R gives names to rows, and their column none.
                if all(len(row) == len(rows[0][1]) + 1 for _, row in rows[1:]):
                    rows[0] = 1, ["", *rows[0][1]]
                return rows
    return _split(lines)


def _is_quoted(lines: Sequence[str], rows: Rows) -> bool:
    """Whether all quotes of a file are those that a program would write.

    A sentence may be in quotes in a file without quoting. Programs quote what holds a
    quote, a tab or a line end, or else some column in every row.
    """
    if len({len(row) for _, row in rows[1:] if row}) > 1:
        return False
    ends = [line - 1 for line, _ in rows[1:]] + [len(lines)]
    raw = [
        "\n".join(lines[n - 1 : end]) for (n, _), end in zip(rows, ends, strict=True)
    ]
    needless = any(
        text != "\t".join(row) and not set('"\t\n\r') & set("".join(row))
        for text, (_, row) in zip(raw, rows, strict=True)
    )
    return not needless or all(map(_OPENS.search, raw[1:]))


def _json_lines(path: pathlib.Path, lines: Sequence[str]) -> Rows:
    """Objects, of which a line each holds one; numbers stay as they are written."""
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(
                line or "{}", parse_int=str, parse_float=str, parse_constant=_missing
            )
            # Half of a surrogate pair, as where a text was cut short, is no text.
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, line {number}: not an object; accepted is one a line, such "
                'as {"text": "well done", "label": "good"}'
            )
        if value:
            objects.append((number, value))
    names = list(dict.fromkeys(name for _, value in objects for name in value))
    rows = [(number, [value.get(name) for name in names]) for number, value in objects]
    return [(0, names), *rows]


def _missing(constant: str) -> None:
    """JSON's NaN and infinities are neither text nor labels."""


def _parquet(path: pathlib.Path) -> Rows:
    from pyarrow import ArrowException, parquet

    try:
        columns = parquet.read_table(path).to_pydict()
    except OSError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {path}: {reason}") from error
    except (ArrowException, ValueError) as error:
        raise DataError(f"{path} is no Parquet: {error}") from error
    rows = map(list, zip(*columns.values(), strict=True))
    return [(0, list(columns)), *enumerate(rows, 1)]


def _read_lines(path: pathlib.Path, encoding: str | None = None) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if kind := foreign_kind(content):
        raise DataError(f"{path} is {kind}")
    marked = (name for mark, name in _MARKS.items() if content.startswith(mark))
    encoding = next(marked, encoding or "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {number}: not {encoding.upper()} ({error.reason}); another "
            "encoding is named by --encoding, such as cp1252"
        ) from error
    except (LookupError, ValueError) as error:
        raise DataError(f"encoding is {encoding!r}: {error}") from error
    if "\0" in text:
        raise DataError(
            f"{path} holds zeros: it is no text, or UTF-16, which --encoding utf-16-le "
            "reads"
        )
    # Split at line feeds alone, which csv and str.splitlines do not: the other signs
    # that end lines somewhere do occur inside of sentences. Old Macs have none.
    text = text if "\n" in text else text.replace("\r", "\n")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip("\r "):
        lines.pop()
    return lines
