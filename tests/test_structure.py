"""Code and tests mirror each other: tests are found by the name of their module."""

import ast
import pathlib

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
