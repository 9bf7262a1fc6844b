"""The NNX example learns, logs norms by name, and goes on from its checkpoint."""

import json
import re

import chex
import jax
import numpy as np
import pytest
import train_with_nnx
from flax import nnx

import cwgnc_jax


def log_of(folder):
    return [
        json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, train_with_nnx.main(["--steps", "80", "--folder", str(folder)])


@pytest.mark.slow
def test_it_learns(finished):
    _, model = finished
    text = train_with_nnx.make_batch(1_000_000)  # words that it never saw
    word = train_with_nnx.WORD
    guesses = np.asarray(model(text))[:, word - 1 : -1].argmax(-1)
    # A guess is right in one of 20.
    assert (guesses == np.asarray(text)[:, word:]).mean() > 0.5


@pytest.mark.slow
def test_the_log_has_the_norm_of_every_component(finished):
    folder, model = finished
    lines = log_of(folder)
    assert [line["step"] for line in lines] == [20, 40, 60, 80]
    assert lines[-1]["loss"] < 0.7 * np.log(train_with_nnx.LETTERS)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    layers = range(train_with_nnx.LAYERS)
    expected = set()
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        stacked = name.startswith("layers/")
        expected |= {f"{name}[{i}]" for i in layers} if stacked else {name}
    assert set(lines[-1]["norms"]) == expected
    assert all(norm >= 0 for norm in lines[-1]["norms"].values())


@pytest.mark.medium
def test_a_rule_decides_each_components_threshold():
    """Gradients of norm 1 show the thresholds, which a loop reads off the rules."""
    model = train_with_nnx.Transformer(nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    names = cwgnc_jax.component_names(params, train_with_nnx.COMPONENTS)
    tx = train_with_nnx.CLIP

    def unit(path, leaf):
        rows = leaf.shape[0] if path[0].key == "layers" else 1
        return np.full(leaf.shape, (leaf.size / rows) ** -0.5, np.float32)

    gradients = jax.tree_util.tree_map_with_path(unit, params)
    _, state = tx.update(gradients, tx.init(params))
    for name, scale in zip(names, state.scales.tolist(), strict=True):
        rule = next(r for r in train_with_nnx.MAX_NORM if re.fullmatch(r, name))
        limit = train_with_nnx.MAX_NORM[rule]
        # float32 sums of up to 4,096 equal squares.
        assert scale == pytest.approx(1.0 if limit is None else limit, rel=1e-5), name


@pytest.mark.slow
def test_it_goes_on_as_if_nothing_had_happened(finished, tmp_path):
    """Stopped at an odd step, with half of the gradients of an update accumulated."""
    folder, straight = finished
    train_with_nnx.main(["--steps", "41", "--folder", str(tmp_path)])
    resumed = train_with_nnx.main(["--steps", "80", "--folder", str(tmp_path)])
    # The same program on the same numbers; restored arrays may be laid out otherwise
    # for another compilation, hence not to the bit.
    chex.assert_trees_all_close(
        nnx.to_pure_dict(nnx.state(resumed, nnx.Param)),
        nnx.to_pure_dict(nnx.state(straight, nnx.Param)),
        rtol=1e-5,
        atol=1e-6,
    )
    assert [line["step"] for line in log_of(tmp_path)] == [20, 40, 60, 80]
    assert log_of(tmp_path)[-1]["loss"] == pytest.approx(
        log_of(folder)[-1]["loss"], rel=1e-4
    )
