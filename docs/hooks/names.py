"""Every public name of the library has an entry in the pages of its interface."""

import ast
import pathlib
import re
from typing import Any

PROJECT = pathlib.Path(__file__).parents[2]
PACKAGES = (
    "cwgnc_jax",
    "cwgnc_jax.contrib",
    "cwgnc_jax.plotting",
    "cwgnc_jax.stability",
)


def public_names() -> set[str]:
    """What the packages say is public, with the package's name before it."""
    return {
        f"{package}.{name}"
        for package in PACKAGES
        for name in _exported(PROJECT / package.replace(".", "/") / "__init__.py")
    }


def documented_names() -> set[str]:
    """What the pages of the interface document."""
    pages = (PROJECT / "docs" / "api").glob("*.md")
    return {
        name
        for page in pages
        for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
    }


def on_pre_build(config: Any) -> None:
    """Ends the build where a public name has no page, or a page no public name."""
    public, documented = public_names(), documented_names()
    if public != documented:
        raise ValueError(
            "docs/api must document each public name, and no other: without a page "
            f"are {sorted(public - documented)}, not public "
            f"{sorted(documented - public)}"
        )


def _exported(module: pathlib.Path) -> list[str]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{module} has no __all__")
