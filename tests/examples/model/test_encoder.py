"""The encoder: equal to PyTorch's, and its own promises."""

import dataclasses
import functools
import itertools
import operator
import os
import pathlib
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bert_glue.model import checkpoint
from bert_glue.model.config import EncoderConfig
from bert_glue.model.embeddings import Embeddings
from bert_glue.model.encoder import (
    MaskedLM,
    SequenceClassifier,
    initial_params,
    separate,
)
from bert_glue.model.stack import round_layers
from flax import nnx

import cwgnc_jax

DATA = pathlib.Path(__file__).parents[2] / "data"
ORACLES = sorted((DATA / "bert").iterdir())

SMALL = EncoderConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=24,
)


def structure_of(config, num_labels=2, **options):
    model = nnx.eval_shape(
        lambda: SequenceClassifier(config, num_labels, rngs=nnx.Rngs(0), **options)
    )
    return separate(model)[0]


def small_inputs(length=8, batch=3):
    ids = jax.random.randint(jax.random.key(5), (batch, length), 0, SMALL.vocab_size)
    return ids, jnp.zeros_like(ids).at[:, length // 2 :].set(1), jnp.ones_like(ids)


@functools.cache
def small_params():
    # Compiled as a whole: one by one, the draws would be compiled one by one, too.
    return jax.jit(functools.partial(initial_params, SMALL, 2))(jax.random.key(1))


def cut(params, stacks):
    """The parameters of a model whose layers lie in several stacks."""
    edges = np.cumsum([0, *stacks])
    layers = {
        index: jax.tree.map(
            operator.itemgetter(slice(start, end)), params["encoder"]["layers"]
        )
        for index, (start, end) in enumerate(itertools.pairwise(edges))
    }
    return {**params, "encoder": {"layers": layers}}


@functools.partial(jax.jit, static_argnums=0)
def logits_of(structure, params, *inputs, key=None):
    return nnx.merge(structure, params)(*inputs, dropout_key=key)


def load(folder, num_labels):
    read = checkpoint.read(folder)
    shapes = jax.eval_shape(
        functools.partial(initial_params, read.config, num_labels), jax.random.key(0)
    )
    return read.config, checkpoint.fill(read, shapes)


def by_name(folder, config, gradients):
    """Gradients in PyTorch's layout, under the names of its parameters."""
    checkpoint.save(folder, config, gradients)
    return checkpoint.read(folder).tensors


def loss_of(logits, labels):
    if logits.shape[-1] == 1:
        return jnp.mean((logits[:, 0] - labels) ** 2)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.parametrize("folder", ORACLES, ids=lambda folder: folder.name)
class TestAgainstPyTorch:
    """Values recorded with transformers + PyTorch (record_bert_oracles.py).

    Both sum float32 in orders of their own: a few units of 1e-7 of values around 1,
    through at most three layers. 2e-5 leaves an order of magnitude.
    """

    def case(self, folder):
        expected = np.load(folder / "expected.npz")
        config, loaded = load(folder, expected["logits"].shape[1])
        assert loaded.initialised == ()
        inputs = tuple(
            expected[name] for name in ("input_ids", "token_type_ids", "attention_mask")
        )
        return (
            expected,
            structure_of(config, expected["logits"].shape[1]),
            loaded,
            inputs,
        )

    @pytest.mark.medium
    def test_hidden_states_and_logits(self, folder):
        expected, structure, loaded, inputs = self.case(folder)

        @jax.jit
        def run(params):
            model = nnx.merge(structure, params)
            return model.encode(*inputs), model(*inputs)

        hidden, logits = run(loaded.params)
        real = inputs[2].astype(bool)
        np.testing.assert_allclose(
            hidden[real], expected["hidden"][real], rtol=0, atol=2e-5
        )
        np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=2e-5)

    @pytest.mark.medium
    def test_gradients_of_the_loss(self, folder, tmp_path):
        expected, structure, loaded, inputs = self.case(folder)

        def loss(params):
            return loss_of(nnx.merge(structure, params)(*inputs), expected["labels"])

        value, gradients = jax.jit(jax.value_and_grad(loss))(loaded.params)
        np.testing.assert_allclose(value, expected["loss"], rtol=2e-5)
        ours = by_name(tmp_path, checkpoint.read_config(folder), gradients)
        names = {
            name.removeprefix("gradient "): name
            for name in expected
            if name.startswith("gradient ")
        }
        assert names.keys() == ours.keys()
        for name, mine in ours.items():
            theirs = expected[names[name]]
            np.testing.assert_allclose(
                mine, theirs, rtol=0, atol=2e-5 * max(1, np.abs(theirs).max())
            )

    @pytest.mark.medium
    def test_bfloat16_compute(self, folder):
        expected, _, loaded, inputs = self.case(folder)
        config = checkpoint.read(folder).config
        labels = expected["logits"].shape[1]
        structure = structure_of(config, labels, dtype=jnp.bfloat16)
        logits = jax.jit(lambda p: nnx.merge(structure, p)(*inputs))(loaded.params)
        assert logits.dtype == jnp.float32
        # bfloat16 rounds to 2^-9 of a value, tens of times on the way.
        scale = np.abs(expected["logits"]).max()
        np.testing.assert_allclose(logits, expected["logits"], atol=0.1 * scale)


@pytest.mark.slow
def test_real_encoder_equals_pytorch(shared_dir, tmp_path):
    expected = np.load(DATA / "encoder.npz")
    config, loaded = load(shared_dir / "models" / "all-MiniLM-L6-v2", 3)
    assert loaded.initialised == ("classifier",)
    classifier = {"kernel": expected["kernel"], "bias": expected["bias"]}
    params = {**loaded.params, "classifier": classifier}
    structure = structure_of(config, 3)
    inputs = [expected[n] for n in ("input_ids", "token_type_ids", "attention_mask")]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(params):
        model = nnx.merge(structure, params)
        logits = model(*inputs)
        return loss_of(logits, expected["labels"]), (model.encode(*inputs), logits)

    (loss, (hidden, logits)), gradients = run(params)
    # Six layers of float32 sums in other orders, of values around 1: 1e-6 is seen.
    real = inputs[2].astype(bool)[:, ::5]
    np.testing.assert_allclose(
        hidden[:, ::5, ::16][real], expected["hidden"][real], rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(loss, expected["loss"], rtol=1e-5)
    ours = by_name(tmp_path, config, gradients)
    assert len(ours) == len(expected["names"])
    for name, norm in zip(expected["names"], expected["norms"], strict=True):
        mine = np.linalg.norm(ours[name].astype(np.float64))
        # A key's bias shifts all scores of a query alike: its gradient is 0 but for
        # rounding, a ten-millionth of its neighbours'.
        atol = 1e-7 if name.endswith("key.bias") else 0
        np.testing.assert_allclose(mine, norm, rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.medium
def test_importing_the_model_imports_little():
    """Neither records nor what reads tokenizers, configurations and data."""
    code = """if True:
        import sys
        from bert_glue.model import checkpoint, encoder
        heavy = {"transformers", "tokenizers", "datasets", "sklearn", "scipy", "pandas"}
        rooms = ("cli", "report", "study", "records", "training")
        above = {f"bert_glue.{room}" for room in rooms}
        print(sorted((heavy | above) & set(sys.modules)))
    """
    examples = pathlib.Path(checkpoint.__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{examples}:{examples.parent}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.medium
def test_without_key_nothing_is_dropped_and_with_one_the_same_each_time():
    run = functools.partial(
        logits_of, structure_of(SMALL), small_params(), *small_inputs()
    )
    plain = run()
    np.testing.assert_array_equal(plain, run())
    first = run(key=jax.random.key(3))
    np.testing.assert_array_equal(first, run(key=jax.random.key(3)))
    other = run(key=jax.random.key(4))
    assert jnp.abs(first - plain).max() > 1e-4
    assert jnp.abs(first - other).max() > 1e-4


@pytest.mark.medium
def test_dropout_is_where_bert_has_it(monkeypatch):
    """Each place and layer has a key of its own, wherever the stack is cut."""
    config = dataclasses.replace(
        SMALL,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.2,
        classifier_dropout=0.3,
    )
    batch, length, hidden, heads = 3, 8, config.hidden_size, config.num_attention_heads
    keys = []

    def spy(inputs, rate, key, *, square=False, bits=16):
        # Other families drop out in more places; here their rate is 0.
        if rate:
            places.add((inputs.shape, rate, square))
            jax.debug.callback(lambda words: keys.append(tuple(words.tolist())), key)
        return inputs

    for module in ("embeddings", "layer", "encoder"):
        monkeypatch.setattr(f"bert_glue.model.{module}.dropout", spy)
    found = []
    for stacks in (None, (2, 1)):
        places: set[tuple] = set()
        keys.clear()
        params = cut(small_params(), stacks) if stacks else small_params()
        model = nnx.merge(structure_of(config, stacks=stacks), params)
        model(*small_inputs(length, batch), dropout_key=jax.random.PRNGKey(3))
        jax.effects_barrier()
        assert places == {
            ((batch, length, hidden), 0.1, False),
            ((batch, heads, length, length), 0.2, True),
            ((batch, 1, hidden), 0.3, False),
        }
        # Embeddings, pooled output, and three places in each of three layers.
        assert len(keys) == len(set(keys)) == 2 + 3 * 3
        found.append(set(keys))
    assert found[0] == found[1]


@pytest.mark.medium
def test_equal_rows_are_dropped_out_differently():
    inputs = [jnp.repeat(array[:1], 4, axis=0) for array in small_inputs()]
    logits = logits_of(
        structure_of(SMALL), small_params(), *inputs, key=jax.random.key(3)
    )
    assert len(np.unique(logits[:, 0])) == 4


@pytest.mark.medium
def test_bfloat16_is_of_the_forward_pass_alone():
    structure, params = structure_of(SMALL, dtype=jnp.bfloat16), small_params()
    labels = jnp.array([0, 1, 0])

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(params):
        model = nnx.merge(structure, params)
        logits = model(*small_inputs(), dropout_key=jax.random.key(0))
        return loss_of(logits, labels), (logits, model.encode(*small_inputs()))

    (_, (logits, hidden)), gradients = run(params)
    assert hidden.dtype == jnp.bfloat16
    assert logits.dtype == jnp.float32
    shapes = nnx.eval_shape(
        lambda: SequenceClassifier(SMALL, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    )
    for tree in (separate(shapes)[1], gradients):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}


@pytest.mark.medium
def test_gradients_of_a_frequent_token_are_summed_in_float32():
    # 256 times 1 and once more is 256 in bfloat16; here there are 1,024.
    ids = jnp.full((64, 16), 3)
    embeddings = Embeddings(SMALL, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    structure, state = nnx.split(embeddings)
    weights = jnp.zeros(SMALL.hidden_size).at[0].set(1)

    @jax.jit
    @jax.grad
    def gradient(state):
        hidden = nnx.merge(structure, state)(ids, jnp.zeros_like(ids), None)
        return jnp.sum(hidden.astype(jnp.float32) @ weights)

    gradients = nnx.to_pure_dict(gradient(state))
    word = gradients["word"]["embedding"][3]
    # A position occurs 64 times, each time with the same gradient.
    per_position = gradients["position"]["embedding"][:16]
    np.testing.assert_allclose(word, per_position.sum(0), rtol=1e-5, atol=1e-4)
    assert jnp.abs(word).max() > 100


@pytest.mark.medium
@pytest.mark.parametrize("key", [None, 3], ids=["no dropout", "dropout"])
def test_padding_changes_nothing(key):
    key = None if key is None else jax.random.key(key)
    run = functools.partial(logits_of, structure_of(SMALL), small_params(), key=key)
    inputs = small_inputs()
    padded = [jnp.pad(array, ((0, 0), (0, 11))) for array in inputs]
    # Sums over 19 keys, 11 of them zeros, may be ordered in another way.
    np.testing.assert_allclose(run(*padded), run(*inputs), rtol=0, atol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize(
    "stacks",
    [
        (2, 1),
        pytest.param((1, 1, 1), marks=pytest.mark.slow),
        pytest.param((3,), marks=pytest.mark.slow),
    ],
)
def test_cutting_the_stack_changes_nothing(stacks):
    params, key = small_params(), jax.random.key(2)
    whole = logits_of(structure_of(SMALL), params, *small_inputs(), key=key)
    parts = logits_of(
        structure_of(SMALL, stacks=stacks),
        cut(params, stacks),
        *small_inputs(),
        key=key,
    )
    np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-6)


def gradients_of(structure, params, key=None):
    def loss(params):
        model = nnx.merge(structure, params)
        return jnp.sum(jnp.sin(model(*small_inputs(), dropout_key=key)))

    return jax.jit(jax.grad(loss))(params)


@pytest.mark.slow
def test_layers_are_the_same_however_they_are_computed():
    params, key = small_params(), jax.random.key(2)
    expected = gradients_of(structure_of(SMALL), params, key)
    # 2 does not divide the three layers, and 4 is more than there are.
    for computation in ({"unroll": 2}, {"unroll": 4}, {"flat": True}):
        found = gradients_of(structure_of(SMALL, **computation), params, key)
        # What is computed side by side fuses, and rounds, otherwise.
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize(
    "family",
    [
        pytest.param({}, id="bert"),
        pytest.param(
            {"causal": True, "num_key_value_heads": 1},
            id="grouped",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_attention_of_jax_is_ours(family, monkeypatch):
    config = dataclasses.replace(SMALL, **family)
    params = jax.jit(functools.partial(initial_params, config, 2))(jax.random.key(1))
    inputs = small_inputs()
    inputs = *inputs[:2], inputs[2].at[0, 5:].set(0)
    own = structure_of(config)
    theirs = structure_of(config, attention="xla")
    used, attention = [], jax.nn.dot_product_attention

    def spy(*arguments, implementation):
        used.append(implementation)
        return attention(*arguments, implementation=implementation)

    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
    expected = logits_of(own, params, *inputs)
    assert not used
    # In float32, with scores that are scaled before they are summed or after.
    np.testing.assert_allclose(
        logits_of(theirs, params, *inputs), expected, rtol=0, atol=1e-6
    )
    assert set(used) == {"xla"}
    chex.assert_trees_all_close(
        gradients_of(theirs, params), gradients_of(own, params), rtol=1e-4, atol=1e-6
    )
    used.clear()
    # Dropped weights are ours.
    jax.eval_shape(
        functools.partial(logits_of, theirs, key=jax.random.key(0)), params, *inputs
    )
    assert not used


@pytest.mark.medium
def test_gradients_of_a_stack_are_kept_as_they_are_computed():
    structure, params = structure_of(SMALL, dtype=jnp.bfloat16), small_params()
    rounded = round_layers(SMALL, jnp.bfloat16, params)
    for path, leaf in cwgnc_jax.leaves_with_paths(rounded):
        low = path.startswith("encoder/layers/") and path.endswith("kernel")
        assert leaf.dtype == (jnp.bfloat16 if low else jnp.float32), path
    # Rounded outside or inside, the model and its gradients are the same.
    found = gradients_of(structure, rounded, jax.random.key(0))
    expected = gradients_of(structure, params, jax.random.key(0))
    jax.tree.map(
        lambda low, wide: np.testing.assert_array_equal(low.astype(wide.dtype), wide),
        found,
        expected,
    )


@pytest.mark.parametrize(
    "sharing", [{"num_hidden_groups": 1}, {"share_att_key": True}], ids=str
)
def test_kernels_that_are_used_again_are_not_rounded_before(sharing):
    config = dataclasses.replace(SMALL, **sharing)
    params = {"encoder": {"layers": {"query": {"kernel": jnp.ones((1, 2, 2))}}}}
    assert round_layers(config, jnp.bfloat16, params) is params
    assert round_layers(SMALL, jnp.bfloat16, heads := {"pooler": {}}) is heads


@pytest.mark.medium
def test_no_backward_loop_over_frozen_layers():
    structure = structure_of(SMALL, stacks=(2, 1))
    params = small_params()
    layers = params["encoder"]["layers"]
    lower = jax.tree.map(lambda leaf: leaf[:2], layers)
    upper = jax.tree.map(lambda leaf: leaf[2:], layers)

    def loss(upper, lower):
        encoder = {"layers": {0: lower, 1: upper}}
        model = nnx.merge(structure, {**params, "encoder": encoder})
        return model(*small_inputs()).sum()

    def loops(function, *arguments):
        # One scan a stack and direction.
        return str(jax.make_jaxpr(function)(*arguments)).count(" scan[")

    assert loops(loss, upper, lower) == 2
    assert loops(jax.grad(loss), upper, lower) == 3
    assert loops(jax.grad(loss, argnums=(0, 1)), upper, lower) == 4


@pytest.mark.slow
def test_seeds_side_by_side_equal_one_by_one():
    structure = structure_of(SMALL)
    keys = jax.random.split(jax.random.key(9), 3)
    params = jax.jit(jax.vmap(functools.partial(initial_params, SMALL, 2)))(keys)

    def logits(params, key):
        return nnx.merge(structure, params)(*small_inputs(), dropout_key=key)

    together = jax.jit(jax.vmap(logits))(params, keys)
    for seed in range(3):
        alone = jax.jit(logits)(
            jax.tree.map(operator.itemgetter(seed), params), keys[seed]
        )
        # Matrix products of other shapes sum in another order.
        np.testing.assert_allclose(together[seed], alone, rtol=0, atol=1e-6)


@pytest.mark.medium
def test_masked_language_model_shares_the_word_embedding():
    model = nnx.eval_shape(lambda: MaskedLM(SMALL, rngs=nnx.Rngs(0)))
    structure, shapes = separate(model)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), shapes
    )
    logits = logits_of(structure, params, *small_inputs())
    assert logits.shape == (3, 8, SMALL.vocab_size)
    assert logits.dtype == jnp.float32
    # A new array: the call before may still be reading the old one.
    word = {"embedding": 2 * params["embeddings"]["word"]["embedding"]}
    params = {**params, "embeddings": {**params["embeddings"], "word": word}}
    changed = logits_of(structure, params, *small_inputs())
    assert jnp.abs(changed - logits).max() > 0.1


def test_initial_parameters():
    params = small_params()
    kernels = [
        leaf.ravel()
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key in ("kernel", "embedding")
    ]
    values = np.concatenate(kernels)
    # The standard error of a standard deviation is about sd / sqrt(2 n).
    assert abs(values.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * values.size)
    np.testing.assert_array_equal(params["classifier"]["bias"], 0)
    np.testing.assert_array_equal(params["embeddings"]["norm"]["scale"], 1)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    layers = params["encoder"]["layers"]["query"]["kernel"]
    assert jnp.abs(layers[0] - layers[1]).max() > 0.01


@pytest.mark.medium
def test_what_does_not_fit_the_model_is_refused():
    model = nnx.merge(structure_of(SMALL), small_params())
    with pytest.raises(ValueError, match="length 25; the model has 24 positions"):
        model(*small_inputs(length=25))
    with pytest.raises(ValueError, match="do not cut 3 layers"):
        structure_of(SMALL, stacks=(2, 2))
    with pytest.raises(ValueError, match="num_labels is 0"):
        structure_of(SMALL, num_labels=0)
