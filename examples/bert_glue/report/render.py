"""Templates filled in; in those of HTML everything is text that is no markup."""

import functools
import pathlib

import jinja2
from markupsafe import Markup, escape


def render(template: str, **values: object) -> str:
    """Fills in a template.

    Args:
      template: name of a file in ``templates``.
      **values: what it is to know.

    Returns:
      The text; in HTML, values are escaped.
    """
    environment = _environment(pathlib.Path(template).suffix)
    return environment.get_template(template).render(**values)


def breakable(label: str) -> Markup:
    """A label that may go on in another line after each setting, but not in 1e-5."""
    return escape(label).replace(":", Markup(":<wbr>")).replace("-", Markup("-&#8288;"))


def markdown(text: object) -> str:
    """Text without what Markdown takes for markup, to stand in a table or a list."""
    return str(text).translate({ord(mark): f"\\{mark}" for mark in "|*_"})


def latex(text: str) -> str:
    """Text without what LaTeX takes for commands."""
    named = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    marks = {mark: f"\\{mark}" for mark in "&%$#_{}"}
    return text.translate(str.maketrans(named | marks))


@functools.cache
def _environment(suffix: str) -> jinja2.Environment:
    # LaTeX is full of braces itself.
    start, end = ("<<", ">>") if suffix == ".tex" else ("{{", "}}")
    environment = jinja2.Environment(
        # The package is run from its folder, so that there is no package to load from.
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=suffix == ".html",
        undefined=jinja2.StrictUndefined,
        variable_start_string=start,
        variable_end_string=end,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "breakable": breakable,
        "markdown": markdown,
        "latex": latex,
    }
    return environment
