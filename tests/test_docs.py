"""The documentation's pages run as they are written; their loops learn."""

import argparse
import contextlib
import doctest
import importlib
import importlib.util
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import finetune_glue
import numpy as np
import pandas
import pytest
import tiny_bert
from bert_glue.records.trackers import KINDS
from bert_glue.training.methods import METHODS

import cwgnc_jax
from cwgnc_jax import contrib, plotting, stability

PROJECT = pathlib.Path(__file__).parents[1]
DOCS = PROJECT / "docs"
# What the test reads of a page's names once its code has run.
REPORT = """
import json
predicted = (forward(inputs)).argmax(-1)
accuracy = float((predicted == labels).mean())
print(json.dumps([losses[0], losses[-1], accuracy, norms, sorted(clip.names)]))
"""
FORWARD = {
    "linen": "forward = lambda x: model.apply({'params': state.params}, x)",
    "equinox": "forward = jax.vmap(model)",
    "keras": "forward = model",  # with the variables that were assigned
}
NAMES = {
    "linen": ["head/bias", "head/kernel", "wide/bias", "wide/kernel"],
    "equinox": ["layers/0/bias", "layers/0/weight", "layers/1/bias", "layers/1/weight"],
    "keras": [
        "sequential/head/bias",
        "sequential/head/kernel",
        "sequential/wide/bias",
        "sequential/wide/kernel",
    ],
}


@pytest.mark.medium
@pytest.mark.parametrize(
    "page",
    [
        "equinox",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("linen", "keras")),
    ],
)
def test_a_loop_learns_and_names_its_norms(page, tmp_path):
    text = (PROJECT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    script = tmp_path / "page.py"  # a page's name is that of what it imports
    script.write_text("\n".join([*blocks, FORWARD[page], REPORT]))
    # In a process of its own: Keras reads its backend when it is imported first, and a
    # reader's warnings are to be errors here as well.
    run = subprocess.run(
        [sys.executable, "-W", "error", script],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "KERAS_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    first, last, accuracy, norms, names = json.loads(run.stdout.splitlines()[-1])
    # Four classes: a guess has the loss log 4 = 1.39 and is right in one of four.
    assert first > 1.0
    assert last < 0.4
    assert accuracy > 0.85
    assert sorted(norms) == names == NAMES[page]
    assert all(0 < norm < 1 for norm in norms.values())


@pytest.mark.slow
def test_answers_to_own_texts_take_two_commands(tmp_path, monkeypatch):
    page = (PROJECT / "docs" / "saved_models.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^    python examples/finetune_glue.py (.*)", page, re.M)
    first, second = (shlex.split(command) for command in commands[:2])
    monkeypatch.chdir(tmp_path)
    texts = [text for text, _ in tiny_bert.sentences(30, seed=0)]
    stars = [1 + 2 * (at % 3 == 0) + at % 2 for at in range(30)]
    reviews = pandas.DataFrame({"text": texts, "stars": stars})
    reviews.to_csv("reviews.csv", index=False)
    pandas.DataFrame({"text": texts[:5]}).to_csv("new.csv", index=False)

    tiny_bert.save(tmp_path / "DIR")
    less = ["--seeds", "1", "--epochs", "1", "--batch-size", "8"]
    less += ["--no-compilation-cache"]
    assert finetune_glue.main([*first, *less]) == 0
    lines = (tmp_path / "runs" / "reviews" / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["eval_examples"] for line in lines] == [6]
    assert finetune_glue.main([*second, "--no-compilation-cache"]) == 0
    found = pandas.read_csv("runs/custom/predictions.csv")
    names = [f"probability_{name}" for name in (1, 2, 3, 4)]
    assert list(found.columns) == ["text", "prediction", *names]
    assert list(found["text"]) == texts[:5]
    # Six digits of four numbers.
    assert found[names].sum(axis=1).tolist() == pytest.approx([1.0] * 5, abs=4e-6)
    most = found[names].idxmax(axis=1).str.removeprefix("probability_").astype(int)
    assert most.tolist() == found["prediction"].tolist()


@pytest.mark.medium
def test_methods_to_compare_with_fit_together_and_are_there():
    text = (PROJECT / "docs" / "baselines.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    params, gradients = names["params"], names["pretrained"]
    updates, _ = names["optimizer"].update(gradients, names["opt_state"], params)
    assert updates["layers"]["kernel"].shape == (3, 4, 4)
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    functions, recipes = (
        {name for row in rows[1:] for name in re.findall(r"`(.*?)`", row[column])}
        for column in (2, 3)
    )
    assert functions <= {*contrib.__all__}
    assert recipes <= {*METHODS}


def test_sessions_in_pages_give_what_they_show():
    found = doctest.testfile(
        str(PROJECT / "docs" / "stability_curve.md"), module_relative=False
    )
    assert found == (0, 5)


# A heading, or a block of Python with what it prints.
PARTS = re.compile(
    r"^(?P<heading>#{2,} [^\n]*)$"
    r"|^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<printed>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
# By tests of their own.
TESTED = {*FORWARD, "baselines", "trackers"}
RUN = [
    # Of all these the questions take longest, being of everything.
    pytest.param(page, marks=[pytest.mark.slow] * (page.stem == "faq"))
    for page in sorted(DOCS.glob("*.md"))
    if "```python" in page.read_text() and page.stem not in TESTED
]
COMMAND = re.compile(r"^ +(python examples/\w+\.py(?: *\\\n|[^\n])*)", re.MULTILINE)
COMMANDING = sorted(
    page for page in DOCS.glob("*.md") if COMMAND.search(page.read_text())
)
LINKING = sorted(
    page
    for page in (
        *DOCS.rglob("*.md"),
        *PROJECT.glob("*.md"),
        *PROJECT.glob("results/*.md"),
    )
    if re.search(r"\]\((?!http)", page.read_text())
)


@pytest.mark.medium
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_code_prints_what_the_page_says(page):
    names: dict = {}
    begin = None
    for part in PARTS.finditer(page.read_text()):
        if part["heading"]:
            # Each answer stands on the page's beginning alone.
            names = names if begin is None else dict(begin)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(part["code"], page.name, "exec"), names)
        assert printed.getvalue() == (part["printed"] or ""), part["code"]
        if begin is None and page.stem == "faq":
            begin = dict(names)


class Understood(Exception):
    """Ends a script once it has read its command line."""


@pytest.mark.parametrize("page", COMMANDING, ids=lambda page: page.stem)
def test_commands_of_pages_are_understood(page, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *arguments):
        parse(parser, *arguments)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    for command in COMMAND.findall(page.read_text()):
        words = shlex.split(command.replace("\\\n", " "), comments=True)[1:]
        if "..." in command:  # and so on
            continue
        script = importlib.import_module(pathlib.Path(words[0]).stem)
        with pytest.raises(Understood):
            script.main(words[1:])


@pytest.mark.parametrize(
    "page", LINKING, ids=lambda page: str(page.relative_to(PROJECT))
)
def test_what_pages_link_to_is_there(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file), link


def anchors(page):
    """What a page's headings are called in links, there and on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return [heading.replace(" ", "-") for heading in kept]


def test_every_public_name_is_in_the_pages_of_the_interface():
    names = load(DOCS / "hooks" / "names.py")
    public = {
        f"{module.__name__}.{name}"
        for module in (cwgnc_jax, contrib, plotting, stability)
        for name in module.__all__
    }
    assert names.public_names() == public
    assert names.documented_names() == public


def test_the_front_page_leads_to_every_answer():
    questions = re.findall(r"^### (.*)$", (DOCS / "faq.md").read_text(), re.MULTILINE)
    assert len(questions) > 20
    links = re.findall(r"\]\(faq\.md#([^)]+)\)", (DOCS / "index.md").read_text())
    # That each leads to a heading is tested above.
    assert len({*links}) == len(questions)


def test_pictures_show_what_clipping_does():
    pictures = load(DOCS / "pictures" / "draw.py")
    sizes = np.array([0.3, 0.7, 6.0, 0.4, 0.9, 1.6])  # in the order of their names
    before, together, apart = (
        np.array([bar.get_height() for bar in axes.patches])
        for axes in pictures.clipping().axes
    )
    np.testing.assert_allclose(before, sizes, rtol=1e-6)
    # In float32, as the rest.
    np.testing.assert_allclose(together, sizes / np.linalg.norm(sizes), rtol=1e-6)
    np.testing.assert_allclose(apart, np.minimum(sizes, 1.0), rtol=1e-6)
    counts = [
        text.get_text()
        for axes in pictures.components().axes
        for text in axes.texts
        if "component" in text.get_text()
    ]
    # A kernel and a bias, of a stack and a head; of three layers and a head; a module
    # for each of these four; all.
    assert counts == ["4 components", "8 components", "4 components", "1 component"]


def load(path):
    """A module that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.medium
def test_scalars_for_a_logger():
    """The loop of the page on trackers, and the trackers that it lists."""
    page = (PROJECT / "docs" / "trackers.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict = {}
    exec(block, names)
    first, second = names["entries"]
    assert [first["step"], second["step"]] == [10, 20]
    for key in re.findall(r"`(clip/\w+)`", page):
        assert key in first
    norms = [key for key in first if key.startswith("grad_norm/")]
    assert len(norms) == 2
    assert "clip_scale/layers[2]" in {**first, **second}
    assert second["loss"] < first["loss"]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [*KINDS]
