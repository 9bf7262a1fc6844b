"""The gallery's notebooks run as plain Python, and show what their prose says."""

import itertools
import pathlib
import runpy
import sys

import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

GALLERY = pathlib.Path(__file__).parents[1] / "docs" / "gallery"


@pytest.fixture
def run(monkeypatch):
    """Runs a notebook where the documentation's build runs it; returns its names."""
    monkeypatch.chdir(GALLERY)
    monkeypatch.setattr(sys, "path", [*sys.path])
    matplotlib.use("agg")
    yield lambda name: runpy.run_path(f"{name}.py")
    plt.close("all")


def test_each_notebook_is_tested():
    """And each begins as Jupytext has it, with a title for the site."""
    tested = {name.removeprefix("test_") for name in globals()}
    for path in GALLERY.glob("*.py"):
        assert path.stem in tested
        header, title = path.read_text().split("# %% [markdown]\n", 2)[:2]
        assert "format_name: percent" in header
        assert title.startswith("# # ")


@pytest.mark.slow
def test_clip_a_network(run):
    names = run("clip_a_network")
    norms, scales = np.asarray(names["norms"]), np.asarray(names["scales"])
    parts = ("first", "head", "second")
    assert names["names"] == tuple(
        f"{p}/{k}" for p in parts for k in ("bias", "kernel")
    )
    # A quotient of two float32 numbers.
    expected = np.minimum(1, names["MAX_NORM"] / norms)
    np.testing.assert_allclose(scales, expected, rtol=1e-6)
    clipped = (scales < 1).mean(axis=1)
    assert clipped[:30].mean() > clipped[-30:].mean() > 0, "'The share falls'"
    assert names["accuracy"] > 0.85


@pytest.mark.slow
def test_scanned_stack(run):
    names = run("scanned_stack")
    layers = names["each_layer"]
    assert len(layers) == names["LAYERS"]
    # 8 x 32 x 32 squares in float32.
    assert names["whole_leaf"] == pytest.approx(np.sqrt(np.sum(layers**2)), rel=1e-6)
    limits = np.array([0.3] * 6 + [0.1] * 2)
    norms, scales = names["kernel_norms"], names["scales"]
    np.testing.assert_allclose(scales, np.minimum(1, limits / norms), rtol=1e-6)
    left_alone = [i for i, name in enumerate(names["names"]) if "norm" in name]
    assert np.all(np.stack([x.scales for x in names["history"]])[:, left_alone] == 1)
    assert names["losses"][-1] < names["losses"][0] / 2


@pytest.mark.slow
def test_unfreeze_bert(run):
    names = run("unfreeze_bert")
    stages = [names["pretrained"], *names["after_stages"]]
    for stage, (before, after) in enumerate(itertools.pairwise(stages)):
        frozen = names["cwgnc_jax"].unfreezing_labels(before, stage)
        same = jax.tree.map(lambda x, y: bool((x == y).all()), before, after)
        for label, kept in zip(*map(jax.tree.leaves, (frozen, same)), strict=True):
            assert kept or label == "trainable"
        assert not same["classifier"]["weight"]
        seen = names["records"][stage].names
        assert len(seen) == jax.tree.leaves(frozen).count("trainable")
    assert names["moments"] == sorted(names["moments"])


@pytest.mark.medium
def test_five_seeds(run):
    names = run("five_seeds")
    assert names["won_all"].p_value == 2 / 32
    assert not any(comparison.shown for comparison in names["five"])
    for stds in names["stds"].values():
        assert stds.shape == (8,)
        assert stds.max() > 1.5 * stds.min(), "studies of one method differ by luck"


@pytest.mark.slow
def test_stability_curve(run):
    names = run("stability_curve")
    for curve in names["curves"].values():
        assert curve.scores.shape == (9, 10)
        assert curve.failed_shares[0] == 0
        assert curve.failed_shares[-1] > 0.5, "training breaks within the grid"
    for found in names["ranges"].values():
        assert not found.open_above
    # What the last words, and the README, say of the records.
    means = {verdict.names: verdict for verdict in names["verdicts"][::2]}
    shown = [first for (first, _), verdict in means.items() if verdict.shown]
    assert shown == ["by component at 1e-04", "by component at 2e-04"]
    assert not any(verdict.shown for verdict in names["verdicts"][1::2])
    best = {name: curve.means.max() for name, curve in names["cola"].items()}
    assert max(best, key=best.__getitem__) == "by global norm"


@pytest.mark.slow
def test_own_csv(run):
    names = run("own_csv")
    assert sorted(names["runs"]["seed"]) == [0, 1]
    assert names["runs"]["score"].max() > 0
    answers = names["answers"]
    assert len(answers) == 200
    shares = answers[["probability_broken", "probability_fine"]]
    # Six digits of two numbers.
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=2e-6)
    fine, broken = (
        shares["probability_fine"][names["new"]["label"] == k] for k in (1, 0)
    )
    assert fine.mean() > broken.mean()


@pytest.mark.slow
def test_lora(run):
    names = run("lora")
    norms, is_a = names["norms"], names["is_a"]
    assert is_a.sum() == (~is_a).sum() == 12  # two layers of six linear maps
    assert np.all(norms[0, is_a] == 0)
    assert np.all(norms[0, ~is_a] > 0)
    assert np.all(norms[-1, is_a] > 0)
    assert all(jax.tree.leaves(names["same"]))
    # A guess is right in one of twelve.
    assert names["accuracies"][0] < 0.2
    assert names["accuracies"][-1] > 0.9
