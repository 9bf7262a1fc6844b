"""What the README shows works as it is written."""

import argparse
import importlib
import pathlib
import re
import shlex

import jax.numpy as jnp
import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


class Understood(Exception):
    """Ends a script once it has read its command line."""


def test_python_blocks_run():
    assert len(BLOCKS) >= 2
    names = {}
    for block in BLOCKS:
        exec(block, names)
    kernel = jnp.ones((24, 8, 8))
    params = {
        "encoder": {"layers": {"kernel": kernel, "norm": {"scale": kernel[:, 0]}}}
    }
    for optimizer in (names["optimizer"], names["clip"]):
        optimizer.update(params, optimizer.init(params), params)
    scales = (
        names["cwgnc_jax"]
        .get_clip_state(names["clip"].update(params, names["clip"].init(params))[1])
        .scales
    )
    # Norm 8 of each layer: 0.05 below layer 20, 0.01 above; the norms left alone.
    expected = [0.05 / 8] * 20 + [0.01 / 8] * 4 + [1.0] * 24
    assert scales.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "command",
    re.findall(r"python examples/\w+\.py(?: *\\\n|[^\n])*", README),
)
def test_commands_are_understood(command, monkeypatch):
    words = shlex.split(command.replace("\\\n", " "), comments=True)[1:]
    script = importlib.import_module(pathlib.Path(words[0]).stem)
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *arguments):
        parse(parser, *arguments)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    with pytest.raises(Understood):
        script.main(words[1:])


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "results/README.md", "docs/clipping.md", "docs/devices.md"),
        *("docs/own_data.md", "docs/saved_models.md"),
    ],
)
def test_what_is_linked_exists(page):
    path = pathlib.Path(__file__).parents[1] / page
    links = re.findall(r"\]\((?!http)([^)]+)\)", path.read_text())
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file), link


def anchors(page):
    """What a page's headings are called in links, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return [heading.replace(" ", "-") for heading in kept]
