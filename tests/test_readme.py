"""What the README shows works as it is written."""

import importlib
import pathlib
import re
import shlex

import jax.numpy as jnp
import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


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
def test_commands_are_understood(command):
    words = shlex.split(command.replace("\\\n", " "), comments=True)[1:]
    script = importlib.import_module(pathlib.Path(words[0]).stem)
    script.make_parser().parse_args(words[1:])


def test_files_that_are_named_exist():
    root = pathlib.Path(__file__).parents[1]
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []
