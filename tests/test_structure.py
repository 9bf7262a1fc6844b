"""Code and tests mirror each other: tests are found by the name of their module."""

import ast
import importlib
import pathlib
import types

import pytest

PROJECT = pathlib.Path(__file__).parents[1]
TREES = {
    "library": PROJECT / "cwgnc_jax",
    "examples": PROJECT / "examples" / "bert_glue",
}
TESTS = [
    path
    for name in TREES
    for path in sorted((PROJECT / "tests" / name).rglob("test_*.py"))
]
ALL_TESTS = sorted((PROJECT / "tests").rglob("*.py"))
OURS = tuple(tree.name for tree in TREES.values())
ROOMS = [
    path
    for tree in TREES.values()
    for path in sorted(tree.rglob("__init__.py"))
    if "english" not in path.parts
]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_tests_are_named_after_a_module_in_the_same_place(path):
    tree, *rooms = path.parent.relative_to(PROJECT / "tests").parts
    folder = TREES[tree].joinpath(*rooms)
    # The tests of scripts stand beside those of the rooms that they share.
    folders = [folder] if rooms or tree == "library" else [PROJECT / "examples"]
    modules = {
        module.stem.strip("_")
        for each in folders
        for module in [*each.glob("*.py"), *(p for p in each.iterdir() if p.is_dir())]
    }
    subject = path.stem.removeprefix("test_")
    assert any(f"{subject}_".startswith(f"{module}_") for module in modules if module)


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.parent.name)
def test_each_room_says_what_it_is_for(path):
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    assert first.endswith(".")


def modules_of_the_project(tree):
    """The project's modules by the names under which a test imports them."""
    found = {}
    for node in ast.walk(tree):
        for alias in getattr(node, "names", ()):
            if isinstance(node, ast.ImportFrom) and node.module.startswith(OURS):
                value = getattr(importlib.import_module(node.module), alias.name, None)
                if isinstance(value, types.ModuleType):
                    found[alias.asname or alias.name] = value
            elif isinstance(node, ast.Import) and alias.name in OURS:
                found[alias.asname or alias.name] = importlib.import_module(alias.name)
    return found


@pytest.mark.parametrize("path", ALL_TESTS, ids=lambda path: path.stem)
def test_what_a_test_takes_from_a_module_is_there(path):
    # Slow tests, too, which are run last: a name that has moved is seen at once.
    tree = ast.parse(path.read_text())
    modules = modules_of_the_project(tree)
    missing = [
        f"{node.lineno}: {node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
        and not hasattr(modules[node.value.id], node.attr)
    ]
    assert not missing
