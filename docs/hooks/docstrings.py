"""Docstrings, written for the reader of the code, as pages have them.

Roles become links and formulas MathML, which browsers draw without a script.
"""

import pathlib
import re
import sys
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

sys.path.append(str(pathlib.Path(__file__).parent))

from names import PACKAGES, public_names

ROLE = re.compile(r":(?:func|class|meth|mod|data):`~?([^`]+)`")
INLINE_FORMULA = re.compile(r":math:`([^`]+)`")
FORMULA = re.compile(r"^( *)\.\. math::\n((?:\1 +.*\n?|\n)+)", re.MULTILINE)
PAGE = re.compile(r"``docs/(\w+)\.md``")
LINK = re.compile(r"`([^`<]+?)\s*<(https?://[^>]+)>`_")


class Roles(griffe.Extension):
    """Rewrites the docstrings of the library's public names."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrites one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring with links and formulas for a page."""
    text = FORMULA.sub(_displayed, text)
    text = INLINE_FORMULA.sub(
        lambda found: f"<span>{convert(' '.join(found[1].split()))}</span>", text
    )
    text = LINK.sub(lambda found: f"[{' '.join(found[1].split())}]({found[2]})", text)
    text = PAGE.sub(r"[`\1`](../\1.md)", text)
    return ROLE.sub(lambda found: _link(found[1]), text)


def _displayed(found: re.Match[str]) -> str:
    indent, formula = found[1], " ".join(found[2].split())
    html = convert(formula, display="block")
    after = "\n" * (len(found[2]) - len(found[2].rstrip("\n")))
    return textwrap.indent(f'<div class="formula">{html}</div>', indent) + after


def _link(name: str) -> str:
    """A link to the page of a public name, or the name where it has none."""
    if name in PACKAGES:
        return f"[`{name}`][{name}]"
    owner, _, member = name.partition(".")
    for public in _PUBLIC:
        if public.rpartition(".")[2] == owner:
            target = f"{public}.{member}" if member else public
            return f"[`{name}`][{target}]"
    return f"`{name}`"


_PUBLIC = sorted(public_names())
