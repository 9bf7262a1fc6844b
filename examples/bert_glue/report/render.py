"""Text from values: templates filled in, lines of cells aligned or as CSV.

Values are text: in HTML, Markdown and LaTeX they are no markup, in print nothing that a
terminal obeys, in a spreadsheet no formula.
"""

import csv
import functools
import io
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import jinja2
from markupsafe import Markup, escape

from bert_glue.data.tables import no_formula
from bert_glue.devices.terminal import printable


def render(template: str, **values: object) -> str:
    """Fills in a template.

    Args:
      template: name of a file in ``templates``.
      **values: what it is to know.

    Returns:
      The text, values escaped.
    """
    environment = _environment(pathlib.Path(template).suffix)
    return environment.get_template(template).render(**values)


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


def csv_line(values: Iterable[object]) -> str:
    """Values as a line of a CSV file; what is None, NaN or infinite is empty."""
    cells = [
        None if isinstance(value, float) and not math.isfinite(value) else value
        for value in values
    ]
    cells = [no_formula(cell) if isinstance(cell, str) else cell for cell in cells]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def breakable(label: str) -> Markup:
    """A label that may go on in another line after each setting, but not in 1e-5."""
    return escape(label).replace(":", Markup(":<wbr>")).replace("-", Markup("-&#8288;"))


def markdown(text: str) -> str:
    """Text without what Markdown takes for markup, to stand in a table or a list."""
    marks = {mark: f"\\{mark}" for mark in r"\`*_[]<>&|$~"}
    return printable(text).translate(str.maketrans(marks | {"\n": " "}))


def latex(text: str) -> str:
    """Text without what LaTeX takes for commands."""
    named = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\n": " ",
    }
    marks = {mark: f"\\{mark}" for mark in "&%$#_{}"}
    return printable(text).translate(str.maketrans(named | marks))


@functools.cache
def _environment(suffix: str) -> jinja2.Environment:
    # LaTeX is full of braces itself.
    start, end = ("<<", ">>") if suffix == ".tex" else ("{{", "}}")
    escapes = {".md": markdown, ".tex": latex, ".txt": printable}
    escaped = escapes.get(suffix, str)

    def finalize(value: object) -> object:
        return value if isinstance(value, Markup) else escaped(str(value))

    environment = jinja2.Environment(
        # The package is run from its folder, so that there is no package to load from.
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=suffix == ".html",
        finalize=None if suffix == ".html" else finalize,
        undefined=jinja2.StrictUndefined,
        variable_start_string=start,
        variable_end_string=end,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for text_of in (aligned, csv_line, breakable, markdown):
        environment.filters[text_of.__name__] = text_of
    return environment
