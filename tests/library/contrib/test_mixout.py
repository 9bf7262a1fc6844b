"""Mixout against the released formulas in NumPy float64, and in the mean."""

import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxprs import enable_x64

from cwgnc_jax.contrib._mixout import mixout

LAYERS, IN, OUT = 3, 5, 4


def make_params(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape).astype(np.float32), dtype)

    return {
        "embeddings": {"word": {"embedding": draw(7, IN)}},
        "encoder": {
            "layers": {
                "query": {"kernel": draw(LAYERS, IN, OUT), "bias": draw(LAYERS, OUT)},
                "norm": {"scale": draw(LAYERS, OUT), "bias": draw(LAYERS, OUT)},
            }
        },
        "pooler": {"kernel": draw(OUT, OUT), "bias": draw(OUT)},
        "classifier": {"kernel": draw(OUT, 2), "bias": draw(2)},
    }


PARAMS, PRETRAINED = make_params(0), make_params(1)
KEY = jax.random.key(3)
# One compilation for all keys and probabilities.
compiled = jax.jit(
    mixout, static_argnames=("leaves", "output_layer", "shared_axes", "gradient")
)
MIXED = ("encoder/layers/query/kernel", "pooler/kernel")


def leaf(tree, path):
    for name in path.split("/"):
        tree = tree[name]
    return np.asarray(tree, np.float64)


def released(w, w0, mask, p):
    """The released forward pass, in float64; mask is 1 for the pretrained value."""
    w, w0, mask = (np.asarray(x, np.float64) for x in (w, w0, mask))
    return (mask * w0 + (1 - mask) * w - p * w0) / (1 - p)


def mask_of(path, shared_axes, key=KEY, p=0.5, params=PARAMS):
    """The mask that was drawn, read off weights that differ everywhere by one."""
    ones = jax.tree.map(jnp.ones_like, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    mixed = compiled(ones, zeros, key, p, output_layer=None, shared_axes=shared_axes)
    return (leaf(mixed, path) == 0).astype(np.float64)


@pytest.mark.parametrize("p", [0.1, 0.9])
@pytest.mark.parametrize("shared_axes", [(-1,), (), (-2, -1)])
@pytest.mark.parametrize("gradient", ["exact", "released"])
def test_forward_and_gradients(p, shared_axes, gradient):
    weights = make_params(2)

    def loss(params):
        mixed = mixout(
            params,
            PRETRAINED,
            KEY,
            p,
            output_layer=None,
            shared_axes=shared_axes,
            gradient=gradient,
        )
        return optax.tree.vdot(weights, mixed), mixed

    grads, mixed = jax.jit(jax.grad(loss, has_aux=True))(PARAMS)
    for path in (*MIXED, "classifier/kernel"):
        mask = mask_of(path, shared_axes, p=p)
        expected = released(leaf(PARAMS, path), leaf(PRETRAINED, path), mask, p)
        # float32, and 1 / (1 - p) <= 10 times the rounding of weights of size 4.
        np.testing.assert_allclose(leaf(mixed, path), expected, rtol=2e-6, atol=1e-5)
        slope = 1 - mask if gradient == "released" else (1 - mask) / (1 - p)
        np.testing.assert_allclose(
            leaf(grads, path), slope * leaf(weights, path), rtol=1e-6
        )
    for path in ("embeddings/word/embedding", "pooler/bias", "classifier/bias"):
        np.testing.assert_array_equal(leaf(mixed, path), leaf(PARAMS, path))
        np.testing.assert_array_equal(leaf(grads, path), leaf(weights, path))


def test_gradient_of_the_pretrained_values_is_the_formulas_too():
    @jax.jit
    @jax.grad
    def slope(pretrained):
        mixed = mixout(PARAMS, pretrained, KEY, 0.75)
        return jnp.sum(mixed["pooler"]["kernel"])

    grads = slope(PRETRAINED)
    mask = mask_of("pooler/kernel", (-1,), p=0.75)
    expected = (mask - 0.75) / 0.25
    # float32 sums of numbers of size 3.
    np.testing.assert_allclose(leaf(grads, "pooler/kernel"), expected, atol=1e-6)


def test_masks_are_per_input_neuron_of_each_layer():
    shape = {"kernel": jnp.ones((24, 64, 32))}
    mask = mask_of("kernel", (-1,), params=shape)
    np.testing.assert_array_equal(mask, np.broadcast_to(mask[..., :1], mask.shape))
    rows = mask[..., 0]
    # 24 layers of 64 fair bits each: two alike would be a wonder (276 / 2^64).
    assert len({row.tobytes() for row in rows}) == 24


def test_masks_are_per_weight():
    mask = mask_of("kernel", (), params={"kernel": jnp.ones((2, 64, 32))})
    # 4,096 fair bits: four standard errors are 0.031.
    assert abs(mask.mean() - 0.5) < 0.031
    assert len({column.tobytes() for layer in mask for column in layer.T}) == 64


def test_a_mask_depends_on_key_path_and_shape_alone():
    both = compiled(PARAMS, PRETRAINED, KEY, 0.5, output_layer=None)
    without = compiled(PARAMS, PRETRAINED, KEY, 0.5)
    alone = compiled(
        PARAMS, PRETRAINED, KEY, 0.5, leaves="^pooler/k", output_layer=None
    )
    for mixed in (without, alone):
        np.testing.assert_array_equal(
            leaf(both, "pooler/kernel"), leaf(mixed, "pooler/kernel")
        )
    np.testing.assert_array_equal(
        leaf(without, "classifier/kernel"), leaf(PARAMS, "classifier/kernel")
    )
    np.testing.assert_array_equal(
        leaf(alone, "encoder/layers/query/kernel"),
        leaf(PARAMS, "encoder/layers/query/kernel"),
    )
    other = compiled(PARAMS, PRETRAINED, jax.random.key(4), 0.5, output_layer=None)
    assert np.any(leaf(both, "pooler/kernel") != leaf(other, "pooler/kernel"))
    # Leaves of one shape and different paths do not share a mask.
    twins = {name: {"kernel": jnp.ones((64, 2))} for name in ("a", "b")}
    masks = [mask_of(f"{name}/kernel", (-1,), params=twins) for name in twins]
    assert np.any(masks[0] != masks[1])


@pytest.mark.parametrize("shared_axes", [(-1,), ()])
def test_the_mean_over_masks_is_the_weight(shared_axes):
    p, draws = 0.7, 4000
    keys = jax.random.split(KEY, draws)
    mixed = jax.jit(
        jax.vmap(
            lambda key: mixout(PARAMS, PRETRAINED, key, p, shared_axes=shared_axes)
        )
    )(keys)
    for path in MIXED:
        w, w0 = leaf(PARAMS, path), leaf(PRETRAINED, path)
        # (1 - m) / (1 - p) has the variance p / (1 - p); five standard errors, as
        # 76 weights are looked at.
        error = np.abs(w - w0) * np.sqrt(p / (1 - p) / draws)
        assert np.all(np.abs(leaf(mixed, path).mean(axis=0) - w) <= 5 * error)


@pytest.mark.parametrize("gradient", ["exact", "released"])
@pytest.mark.parametrize("traced", [False, True])
def test_nothing_and_everything_is_dropped(gradient, traced):
    def loss(params, p):
        mixed = mixout(params, PRETRAINED, KEY, p, gradient=gradient)
        return jnp.sum(mixed["pooler"]["kernel"]), mixed

    for p, kept in ((0.0, PARAMS), (1.0, PRETRAINED)):
        function = jax.grad(loss, has_aux=True)
        if traced:
            grads, mixed = jax.jit(function)(PARAMS, p)
        else:
            grads, mixed = function(PARAMS, p)
        for path in MIXED:
            np.testing.assert_array_equal(leaf(mixed, path), leaf(kept, path))
        np.testing.assert_array_equal(leaf(grads, "pooler/kernel"), 1 - p)


@settings(deadline=None, max_examples=30)
@given(p=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_pretrained_weights_are_a_fixed_point_and_dropped_ones_exact(p, seed):
    key = jax.random.key(seed)
    same = compiled(PRETRAINED, PRETRAINED, key, p)
    jax.tree.map(np.testing.assert_array_equal, same, PRETRAINED)
    mixed = compiled(PARAMS, PRETRAINED, key, p)
    for path in MIXED:
        value, w, w0 = (leaf(tree, path) for tree in (mixed, PARAMS, PRETRAINED))
        dropped = value == w0
        far = released(w, w0, 0, p)
        # float32's 1 - p has an error of 2^-24 / (1 - p), 6e-6 at most.
        np.testing.assert_allclose(value[~dropped], far[~dropped], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("gradient", ["exact", "released"])
def test_dtypes_are_kept_and_formed_in_float32(dtype, gradient):
    params, pretrained = make_params(0, dtype), make_params(1, dtype)
    mixed = compiled(params, pretrained, KEY, 0.9, gradient=gradient)
    assert jax.tree.map(lambda x: x.dtype, mixed) == jax.tree.map(
        lambda x: x.dtype, params
    )
    mask = mask_of("pooler/kernel", (-1,), p=0.9)
    w, w0 = leaf(params, "pooler/kernel"), leaf(pretrained, "pooler/kernel")
    # One rounding to the dtype at the end, and float32's before.
    np.testing.assert_allclose(
        leaf(mixed, "pooler/kernel"),
        released(w, w0, mask, 0.9),
        rtol=float(jnp.finfo(dtype).eps),
        atol=1e-5,
    )


def test_float64_masks_and_values():
    path = "pooler/kernel"
    single = mixout(PARAMS, PRETRAINED, KEY, 0.9)
    with enable_x64(True):
        params, pretrained = (
            jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), tree)
            for tree in (PARAMS, PRETRAINED)
        )
        double = mixout(params, pretrained, KEY, 0.9)
        assert double["pooler"]["kernel"].dtype == jnp.float64
    mask = mask_of(path, (-1,), p=0.9)
    expected = released(leaf(PARAMS, path), leaf(PRETRAINED, path), mask, 0.9)
    np.testing.assert_allclose(leaf(double, path), expected, rtol=1e-13, atol=1e-14)
    # The same masks.
    np.testing.assert_allclose(leaf(single, path), expected, rtol=2e-6, atol=1e-5)


def test_many_seeds_at_once_are_the_seeds_alone():
    keys = jax.random.split(KEY, 3)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x + 1, x + 2]), PARAMS)

    def mix(params, key):
        return mixout(params, PRETRAINED, key, 0.5)

    together = jax.jit(jax.vmap(mix))(stacked, keys)
    for i in range(3):
        alone = jax.jit(mix)(jax.tree.map(operator.itemgetter(i), stacked), keys[i])
        for path in MIXED:
            # Two programs: product and sum may be fused in one, not in the other.
            np.testing.assert_allclose(
                leaf(together, path)[i], leaf(alone, path), rtol=1e-6, atol=1e-6
            )


def test_forward_mode_agrees_with_reverse_mode():
    def pool(kernel):
        params = {"kernel": kernel}
        mixed = mixout(
            params, {"kernel": w0}, KEY, 0.5, output_layer=None, gradient="released"
        )
        return jnp.sum(mixed["kernel"] ** 2)

    w, w0 = PARAMS["pooler"]["kernel"], PRETRAINED["pooler"]["kernel"]
    direction = jnp.ones_like(w)
    _, forward = jax.jvp(pool, (w,), (direction,))
    # Two sums of 16 float32 numbers in different orders.
    np.testing.assert_allclose(forward, jnp.sum(jax.grad(pool)(w)), rtol=1e-5)


def test_pretrained_may_hold_the_mixed_leaves_alone_and_in_another_tree():
    slim = {
        "encoder": {"layers": {"query": {"kernel": None}}},
        "pooler": {"kernel": PRETRAINED["pooler"]["kernel"]},
    }
    slim["encoder"]["layers"]["query"] = {
        "kernel": PRETRAINED["encoder"]["layers"]["query"]["kernel"]
    }
    one, other = (compiled(PARAMS, tree, KEY, 0.5) for tree in (slim, PRETRAINED))
    # Two programs: a product and a sum may be fused in one and not in the other.
    chex.assert_trees_all_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_function_chooses_leaves():
    mixed = mixout(
        PARAMS,
        PRETRAINED,
        KEY,
        1.0,
        leaves=lambda path, value: value.ndim == 1 and "pooler" in path,
        output_layer=None,
        shared_axes=(),
    )
    np.testing.assert_array_equal(
        leaf(mixed, "pooler/bias"), PRETRAINED["pooler"]["bias"]
    )
    np.testing.assert_array_equal(
        leaf(mixed, "pooler/kernel"), PARAMS["pooler"]["kernel"]
    )


def without(path):
    tree = jax.tree.map(lambda x: x, PRETRAINED)
    first, last = path.split("/")
    del tree[first][last]
    return tree


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 1.5}, ValueError, "p must lie between 0 and 1, got 1.5"),
        ({"p": None}, TypeError, "p must be a number from 0 to 1 or a .*, got None"),
        ({"p": "0.5"}, TypeError, "p must be a number from 0 to 1 or a .*, got '0.5'"),
        ({"leaves": None}, TypeError, "leaves must be a regular expression"),
        ({"shared_axes": 1}, TypeError, "shared_axes must be several ints, got 1"),
        ({"p": float("nan")}, ValueError, "p must lie between 0 and 1, got nan"),
        ({"p": jnp.float32(-1)}, ValueError, "p must lie between 0 and 1, got -1"),
        ({"gradient": "none"}, ValueError, "'exact' or 'released', got 'none'"),
        (
            {"leaves": "weight$"},
            ValueError,
            r"leaves \('weight\$'\) chooses none of [^:]*:\s+'classifier/bias'",
        ),
        (
            {"output_layer": "head"},
            ValueError,
            r"output_layer \('head'\) must match a leaf [^:]*:\s+'classifier/kernel'",
        ),
        ({"leaves": "("}, ValueError, r"leaves: '\(' is not a regular expression"),
        (
            {"output_layer": "["},
            ValueError,
            r"output_layer: '\[' is not a regular expression",
        ),
        (
            {"pretrained": without("pooler/kernel")},
            ValueError,
            "pretrained must hold each leaf [^:]*:\\s+'pooler/kernel'",
        ),
        (
            {"pretrained": PRETRAINED | {"pooler": {"kernel": jnp.ones((1, 4))}}},
            ValueError,
            r"shape \(1, 4\) at pooler/kernel, the parameters have \(4, 4\)",
        ),
        (
            {"shared_axes": (-3,)},
            ValueError,
            r"shared_axes \(\(-3,\)\) has no place in the shape \(4, 4\) of pooler",
        ),
        (
            {"params": PARAMS | {"pooler": {"kernel": jnp.ones((4, 4), jnp.int32)}}},
            TypeError,
            "floating-point arrays, got int32 at pooler/kernel",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    call = {"params": PARAMS, "pretrained": PRETRAINED, "key": KEY, "p": 0.5}
    with pytest.raises(error, match=message):
        mixout(**(call | arguments))
