"""Layer-wise decay against groups of parameters; layers drawn anew, leaf by leaf."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

LAYERS, WIDTH = 3, 40
KEY = jax.random.key(5)


def layer_of(seed):
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    norm = {"scale": np.full(WIDTH, 3.0, np.float32), "bias": kernel[0]}
    return {"query": {"kernel": kernel, "bias": kernel[1]}, "norm": norm}


def unstacked():
    outer = layer_of(9)["query"]
    return {
        "embeddings": {"word": {"embedding": outer["kernel"]}, "norm": outer},
        "encoder": {"layers": {str(i): layer_of(i) for i in range(LAYERS)}},
        "pooler": outer,
        "classifier": outer,
    }


def stack(tree):
    layers = tree["encoder"]["layers"]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers.values())
    return {**tree, "encoder": {"layers": stacked}}


def test_decay_equals_the_released_groups_of_parameters():
    """A group for each layer, of a learning rate of its own, under AdamW."""
    params = unstacked()
    rate, decay = 0.1, 0.8
    rates = {"pooler|classifier": rate}
    names = ["embeddings", *(f"encoder/layers/{i}" for i in range(LAYERS))]
    for name in reversed(names):
        rate *= decay
        rates[name] = rate
    rules = [(f"({name})/.*", name) for name in rates]
    peer = cwgnc_jax.partition_by_path(
        {name: optax.adamw(rate, weight_decay=0.3) for name, rate in rates.items()},
        rules,
    )
    own = optax.chain(
        optax.adamw(0.1, weight_decay=0.3), contrib.scale_by_layer_decay(decay)
    )

    @jax.jit
    def trained(params, stacked_params):
        states = peer.init(params), own.init(params), own.init(stacked_params)
        trees = params, params, stacked_params
        for _ in range(3):
            after = []
            for tx, tree, state in zip((peer, own, own), trees, states, strict=True):
                gradients = jax.tree.map(jnp.sin, tree)
                updates, state = tx.update(gradients, state, tree)
                after.append((optax.apply_updates(tree, updates), state))
            trees, states = zip(*after, strict=True)
        return trees

    expected, got, of_stack = trained(params, stack(params))
    # Three products and sums in float32.
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(of_stack, stack(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("given", [True, False])
def test_decay_counts_from_the_top_of_a_stack_that_was_cut(given):
    params = stack(unstacked())
    groups = cwgnc_jax.unfreezing_groups(params)
    upper, _ = cwgnc_jax.split_params(params, 1, groups)
    ones = jax.tree.map(jnp.ones_like, upper)
    tx = contrib.scale_by_layer_decay(0.5, groups if given else None)
    scaled, _ = tx.update(ones, tx.init(ones))
    kernel = scaled["encoder"]["layers"]["query"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0, 0], [0.25, 0.5])
    np.testing.assert_array_equal(scaled["pooler"]["bias"], 1)


def test_decay_sees_what_labels_show():
    params = unstacked()
    labels = cwgnc_jax.unfreezing_labels(params, 0)
    tx = cwgnc_jax.freeze(contrib.scale_by_layer_decay(0.5), labels)
    updates, _ = tx.update(jax.tree.map(np.ones_like, params), tx.init(params), params)
    bias = {
        name: float(layer["query"]["bias"][0])
        for name, layer in updates["encoder"]["layers"].items()
    }
    assert bias == {"0": 0, "1": 0, "2": 0.5}


T, F = "trainable", "frozen"


@pytest.mark.parametrize("frozen", [(2, 3), (1, 2), (0, 3), (0,), (1,)])
def test_decay_counts_layers_that_are_hidden(frozen):
    one = jnp.ones(1)
    params = {
        "embeddings": one,
        "layers": {str(n): {"kernel": one} for n in range(4)},
        "classifier": one,
    }
    labels = {
        "embeddings": T,
        "layers": {str(n): F if n in frozen else T for n in range(4)},
        "classifier": T,
    }
    tx = cwgnc_jax.freeze(contrib.scale_by_layer_decay(0.5), labels)
    scaled, _ = tx.update(params, tx.init(params), params)
    for number in range(4):
        expected = 0.0 if number in frozen else 0.5 ** (4 - number)
        assert scaled["layers"][str(number)]["kernel"] == expected
    assert scaled["embeddings"] == 0.5**5
    assert scaled["classifier"] == 1


def test_decay_of_some_leaves_of_each_layer():
    one = jnp.ones(1)
    params = {"layers": {str(n): {"kernel": one} for n in range(4)}, "head": one}
    for number in "013":
        params["layers"][number]["bias"] = one
    tx = optax.masked(
        contrib.scale_by_layer_decay(0.5),
        lambda tree: jax.tree_util.tree_map_with_path(
            lambda path, _: "kernel" not in str(path), tree
        ),
    )
    scaled, _ = tx.update(params, tx.init(params))
    found = [float(scaled["layers"][n]["bias"][0]) for n in "013"]
    assert found == [0.0625, 0.125, 0.5]


def test_what_a_layer_embeds_is_the_layers():
    one = jnp.ones(1)
    params = {"layers": {"0": {"rel_embed": one}, "1": {"rel_embed": one}}, "head": one}
    tx = contrib.scale_by_layer_decay(0.5)
    scaled, _ = tx.update(params, tx.init(params))
    assert [float(scaled["layers"][n]["rel_embed"][0]) for n in "01"] == [0.25, 0.5]


@pytest.mark.parametrize("is_stacked", [True, False])
def test_vectors_that_are_no_biases_become_1(is_stacked):
    def layer():
        return {
            "wq": jnp.full((4, 4), 7.0),
            "attn_norm": jnp.full(4, 7.0),
            "ffn_ln": jnp.full(4, 7.0),
            "mlp": {"w": jnp.full((4, 4), 7.0), "gamma": jnp.full(4, 7.0)},
            "bias": jnp.full(4, 7.0),
        }

    layers = [layer(), layer()]
    if is_stacked:
        layers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    params = {"embed": jnp.ones((5, 4)), "layers": layers, "head": jnp.ones((4, 2))}
    fresh = contrib.reinitialize_layers(params, jax.random.key(0), 1)["layers"]
    top = jax.tree.map(lambda leaf: leaf[1], fresh) if is_stacked else fresh[1]
    for scale in (top["attn_norm"], top["ffn_ln"], top["mlp"]["gamma"]):
        np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(top["bias"], 0)
    for weight in (top["wq"], top["mlp"]["w"]):
        assert 0 < jnp.std(weight) < 0.05
    mask = cwgnc_jax.decay_mask(params)["layers"]
    mask = mask if is_stacked else mask[1]
    assert (mask["wq"], mask["attn_norm"], mask["ffn_ln"]) == (True, False, False)


def test_decay_may_be_traced_and_keeps_dtypes():
    updates = {"layers": jnp.ones((2, 1), jnp.bfloat16), "head": jnp.ones(1)}

    @jax.jit
    def scaled(decay):
        tx = contrib.scale_by_layer_decay(decay)
        return tx.update(updates, tx.init(updates))[0]

    assert scaled(0.5)["layers"].ravel().tolist() == [0.25, 0.5]
    assert scaled(0.5)["layers"].dtype == jnp.bfloat16
    chex.assert_trees_all_equal(scaled(1.0), updates)


@pytest.mark.parametrize("is_stacked", [True, False])
def test_top_layers_and_pooler_are_drawn_anew(is_stacked):
    params = unstacked()
    tree = stack(params) if is_stacked else params
    drawn = jax.jit(
        lambda tree: contrib.reinitialize_layers(tree, KEY, 2, stddev=0.02)
    )(tree)
    chex.assert_trees_all_equal_shapes_and_dtypes(drawn, tree)
    chex.assert_trees_all_equal(drawn["embeddings"], params["embeddings"])
    chex.assert_trees_all_equal(drawn["classifier"], params["classifier"])
    layers = drawn["encoder"]["layers"]
    if is_stacked:
        layers = {
            str(i): jax.tree.map(lambda leaf, i=i: leaf[i], layers)
            for i in range(LAYERS)
        }
    chex.assert_trees_all_equal(layers["0"], params["encoder"]["layers"]["0"])
    kernels = [layers[i]["query"]["kernel"] for i in ("1", "2")]
    for kernel in (*kernels, drawn["pooler"]["kernel"]):
        # 1,600 draws: four standard errors of the mean and of the deviation.
        assert abs(kernel.mean()) < 0.002
        assert abs(kernel.std() - 0.02) < 4 * 0.02 / np.sqrt(2 * kernel.size)
    assert not np.array_equal(*kernels)
    np.testing.assert_array_equal(drawn["pooler"]["bias"], 0)
    for i in ("1", "2"):
        np.testing.assert_array_equal(layers[i]["query"]["bias"], 0)
        np.testing.assert_array_equal(layers[i]["norm"]["bias"], 0)
        np.testing.assert_array_equal(layers[i]["norm"]["scale"], 1)


def test_without_a_pooler_only_layers_are_drawn():
    params = unstacked()
    same = contrib.reinitialize_layers(params, KEY, np.int64(0), pooler=None)
    chex.assert_trees_all_equal(same, params)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (4, ValueError, "layers must be from 0 to the 3 that there are, got 4"),
        (-1, ValueError, "got -1"),
        (1.0, TypeError, "layers must be an int, got 1.0"),
        (True, TypeError, "layers must be an int, got True"),
    ],
)
def test_errors_of_layers(layers, error, message):
    with pytest.raises(error, match=message):
        contrib.reinitialize_layers(unstacked(), KEY, layers)


def test_errors_of_decay():
    with pytest.raises(ValueError, match="decay must be from 0 to 1, got"):
        contrib.scale_by_layer_decay(2.6)
    tx = contrib.scale_by_layer_decay(0.5)
    with pytest.raises(ValueError, match="layers must say which nodes are layers"):
        tx.update({"dense": jnp.ones(2)}, optax.EmptyState())
    whole = {"layers": jnp.ones((2, 1)), "embed": jnp.ones(1)}
    tx = contrib.scale_by_layer_decay(0.5, cwgnc_jax.unfreezing_groups(whole))
    larger = whole | {"layers": jnp.ones((3, 1))}
    with pytest.raises(ValueError, match=r"1 to 2 layers on axis 0.*\n.*\(3, 1\)"):
        tx.update(larger, tx.init(larger))
