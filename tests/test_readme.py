"""What the README shows works as it is written."""

import argparse
import ast
import collections
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import jax
import numpy as np
import pytest

from cwgnc_jax.stability import (
    compare_scores,
    compare_spread,
    correct_comparisons,
)

PROJECT = pathlib.Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
MAKEFILE = (PROJECT / "Makefile").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
DEMO = re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)", MAKEFILE, re.MULTILINE)[1]


class Understood(Exception):
    """Ends a script once it has read its command line."""


def test_it_is_short():
    assert len(README.split()) <= 900


def gradients_of(weights, inputs, targets):
    """Those of a mean of squares, by hand, in float64."""
    kernel, bias = (
        np.asarray(weights[name], np.float64) for name in ("kernel", "bias")
    )
    error = 2 * (inputs @ kernel + bias - targets) / targets.size
    return {"kernel": inputs.T @ error, "bias": error.sum(axis=0)}


@pytest.mark.medium
def test_python_blocks_run(capsys):
    loop, with_nnx, unfreezing = BLOCKS
    names = {}
    exec(loop, names)
    inputs, targets = np.ones((8, 4)), np.zeros((8, 2))
    start = {"kernel": np.ones((4, 2)), "bias": np.zeros(2)}
    expected = gradients_of(start, inputs, targets)
    lines = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    for name, gradient in expected.items():
        # Sums of 32 float32 numbers.
        assert lines[0][name] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    # Adam's steps are as long as the learning rate, whatever the gradients are.
    assert names["params"]["kernel"] == pytest.approx(1 - 3e-2, abs=1e-3)
    for name, shown in re.findall(r"'(\w+)': (\d+\.\d+)\.\.\.", loop):
        assert str(lines[0][name]).startswith(shown)

    exec(with_nnx, names)
    clip = names["clip"]
    assert clip.names == ("bias", "kernel")
    assert (clip.norms > 0).all()

    exec(unfreezing, names)
    # Gradients of one sign, ten or five steps of 1e-3, and little weight decay.
    moved = jax.tree.map(lambda leaf: 1 - float(leaf.mean()), names["params"])
    assert moved == {
        "embeddings": pytest.approx(5e-3, rel=0.1),
        "layers": [
            {"kernel": pytest.approx(5e-3, rel=0.1)},
            {"kernel": pytest.approx(10e-3, rel=0.1)},
        ],
        "head": pytest.approx(10e-3, rel=0.1),
    }


@pytest.mark.parametrize(
    "command",
    [
        DEMO.replace("$(SEEDS)", "5"),
        *re.findall(r"python examples/\w+\.py(?: *\\\n|[^\n])*", README),
    ],
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


def test_targets_and_extras_are_there():
    targets = set(re.findall(r"`?make (\w+)", README))
    assert {"demo", "test"} <= targets
    assert targets <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = set(re.findall(r"pip install \"\.\[(.*?)\]\"", README))
    assert extras
    assert extras <= set(project["optional-dependencies"])


def test_findings_are_those_of_the_records():
    records = PROJECT / "results" / "cola-h200" / "runs.jsonl"
    if not records.exists():
        pytest.skip("a source distribution comes without results")
    scores = collections.defaultdict(dict)
    for run in map(json.loads, records.read_text().splitlines()):
        if run["method"] != "devlin":
            setting = run["clipping"], run["learning_rate"]
            scores[setting][run["seed"]] = run["score"]
    scores = {
        setting: np.array([by_seed[seed] for seed in range(25)])
        for setting, by_seed in scores.items()
    }
    text = " ".join(README.split())
    component, whole, none = "component", "global", "none"
    for setting, words in {
        (component, 1e-4): "at 1e-4 is {mean} with component clipping",
        (whole, 1e-4): "and {mean} with the global norm clipped",
        (component, 2e-4): "At 2e-4 it is {mean}, with {failed} failed runs",
        (none, 2e-4): "no clipping ({mean}, {failed} failed)",
        (whole, 2e-4): "the global norm ({mean}, {failed} failed)",
        (whole, 5e-5): "the global norm has {mean} at 5e-5",
    }.items():
        mean, failed = scores[setting].mean(), (scores[setting] <= 0).sum()
        assert words.format(mean=f"{mean:.1f}", failed=failed) in text
    assert (component, 5e-5) not in scores

    pairs = [(whole, 1e-4), (whole, 2e-4), (whole, 3e-4), (none, 2e-4)]
    verdicts = correct_comparisons(
        [
            compare(scores[component, rate], scores[other, rate])
            for other, rate in pairs
            for compare in (compare_scores, compare_spread)
        ]
    )
    means = dict(zip(pairs, verdicts[::2], strict=True))
    assert f"p = {means[whole, 1e-4].p_adjusted:.2g} among eight" in text
    assert f"shown, p = {means[none, 2e-4].p_adjusted:.2g};" in text
    not_shown = means[whole, 2e-4]
    shares = f"p = {not_shown.p_adjusted:.2g} ({not_shown.p_value:.1g} alone)"
    assert f"it is not, {shares}" in text
    assert [verdict.shown for verdict in means.values()] == [True, False, False, True]
    assert not any(verdict.shown for verdict in verdicts[1::2])


@pytest.mark.slow
def test_the_demonstration_prints_what_is_shown(tmp_path):
    words = shlex.split(DEMO.replace("$(SEEDS)", "5"))[1:]
    words[words.index("runs/demo")] = str(tmp_path)
    found = subprocess.run(
        [sys.executable, *words],
        # As a user has it, with the compiler's optimizations.
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = re.findall(r"^    (method .*|cwgnc  .*|adamw  .*)$", README, re.MULTILINE)
    printed = re.findall(r"^(method .*|cwgnc  .*|adamw  .*)$", found, re.MULTILINE)
    assert printed[0] == shown[0]
    for ours, theirs in zip(printed[1:], shown[1:], strict=True):
        (name, *numbers), (same, *others) = (
            re.findall(r"[\w.]+", line) for line in (ours, theirs)
        )
        assert name == same
        # Another compiler rounds otherwise; so a prediction or two may differ.
        assert [*map(float, numbers)] == pytest.approx([*map(float, others)], abs=1.5)
    verdict = re.search(r"^    (Of 2 .*)\n    (.*)", README, re.MULTILINE)
    assert f"{verdict[1]} {verdict[2]}" in found
    assert (tmp_path / "runs.png").exists()
