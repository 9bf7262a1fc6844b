"""cwgnc_adamw and its default of what to decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import contrib


def numpy_adamw(params, gradients, steps, lr, limit, b1, b2, eps, decay, decayed):
    """The optimizer in double precision, one leaf a component."""
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    m = dict.fromkeys(params, 0.0)
    v = dict.fromkeys(params, 0.0)
    for t in range(1, steps + 1):
        for name, g in gradients.items():
            g = np.asarray(g, np.float64) * t
            norm = np.linalg.norm(g)
            g = g * (limit / norm) if norm > limit else g
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g**2
            step = m[name] / (1 - b1**t) / (np.sqrt(v[name] / (1 - b2**t)) + eps)
            if name in decayed:
                step = step + decay * params[name]
            params[name] = params[name] - lr * step
    return params


def test_equals_the_formula():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 4), "bias": (4,)}
    params = {n: rng.standard_normal(s).astype("f") for n, s in shapes.items()}
    gradients = {n: rng.standard_normal(s).astype("f") for n, s in shapes.items()}
    gradients["bias"] *= 1e-3  # Not clipped at first.
    tx = cwgnc_jax.cwgnc_adamw(0.1, 0.01, b1=0.8, b2=0.9, eps=1e-4, weight_decay=0.3)
    state = tx.init(params)
    expected = numpy_adamw(
        params, gradients, 5, 0.1, 0.01, 0.8, 0.9, 1e-4, 0.3, ["kernel"]
    )
    for t in range(1, 6):
        scaled = jax.tree.map(lambda g, t=t: g * t, gradients)
        updates, state = tx.update(scaled, state, params)
        params = optax.apply_updates(params, updates)
    for name in shapes:
        # Five steps of size 0.1 in float32, each rounded to some 1e-7.
        np.testing.assert_allclose(params[name], expected[name], atol=2e-6)


def test_defaults_are_the_papers():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    gradients = {"kernel": jnp.full((2, 2), 0.3), "bias": jnp.full(2, 0.01)}
    peer = optax.chain(
        cwgnc_jax.clip_by_component_norm(0.05),
        optax.adamw(
            2e-5, eps=1e-6, weight_decay=0.01, mask={"kernel": True, "bias": False}
        ),
    )
    tx = cwgnc_jax.cwgnc_adamw(2e-5)
    expected, _ = peer.update(gradients, peer.init(params), params)
    updates, _ = tx.update(gradients, tx.init(params), params)
    for name in params:
        np.testing.assert_allclose(updates[name], expected[name], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "falls"), [("float32", True), ("bfloat16", False)])
def test_the_second_moment_of_bfloat16_parameters_never_falls(dtype, falls):
    """What the notes warn of: 0.999 is 1 in bfloat16."""
    params = {"kernel": jnp.ones((2, 2), dtype)}
    tx = cwgnc_jax.cwgnc_adamw(1.0, float("inf"))
    _, state = tx.update(params, tx.init(params), params)
    first = optax.tree.get(state, "nu")["kernel"]
    for _ in range(20):
        _, state = tx.update(optax.tree.zeros_like(params), state, params)
    last = optax.tree.get(state, "nu")["kernel"]
    assert first.dtype == last.dtype == dtype
    assert bool((last < first).all()) is falls
    assert not (last > first).any()


def test_options_of_adam_are_optaxs():
    options = {"eps_root": 0.1, "mu_dtype": jnp.bfloat16, "nesterov": True}
    params = {"kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)}
    tx = cwgnc_jax.cwgnc_adamw(0.1, float("inf"), **options)
    peer = optax.adamw(0.1, eps=1e-6, weight_decay=0.01, **options)
    state, other = tx.init(params), peer.init(params)
    for _ in range(2):
        updates, state = tx.update(params, state, params)
        expected, other = peer.update(params, other, params)
        assert optax.tree.get(state, "mu")["kernel"].dtype == jnp.bfloat16
        # The same operations on gradients that are not clipped.
        np.testing.assert_allclose(updates["kernel"], expected["kernel"], rtol=1e-6)


def test_the_order_of_optax_adamw_is_not_mistaken():
    with pytest.raises(TypeError, match="positional"):
        cwgnc_jax.cwgnc_adamw(1e-3, 0.9, 0.999)  # 0.9 would be the threshold.
    with pytest.raises(TypeError, match="positional"):
        contrib.bert_adamw(1e-3, 0.9, 0.999, 1e-6, 0.0)  # eps_root, not the decay.


@pytest.mark.parametrize("mask", [True, {"kernel": True, "bias": True}])
def test_own_mask(mask):
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    tx = cwgnc_jax.cwgnc_adamw(0.1, weight_decay=0.5, mask=mask)
    updates, _ = tx.update(zeros, tx.init(params), params)
    for leaf in updates.values():
        np.testing.assert_allclose(leaf, -0.05, rtol=1e-6)


def test_injected_hyperparameters():
    inject = optax.inject_hyperparams(
        cwgnc_jax.cwgnc_adamw, static_args=("mask", "components", "specs")
    )
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    schedule = contrib.warmup_linear_decay_schedule(0.1, 2, 10)
    tx = inject(learning_rate=schedule, components=cwgnc_jax.whole_tree)
    state = tx.init(params)
    _, state = jax.jit(tx.update)(params, state, params)
    assert set(state.hyperparams) >= {"learning_rate", "max_norm", "weight_decay"}
    assert cwgnc_jax.get_clip_state(state).norms.shape == (1,)


@pytest.mark.parametrize(
    ("path", "shape", "decayed"),
    [
        ("encoder/layers/query/kernel", (12, 8, 8), True),
        ("encoder/layers/query/bias", (12, 8), False),
        ("encoder/layers/attention_norm/scale", (12, 8), False),
        ("encoder/layers/LayerNorm/weight", (12, 8), False),
        ("transformer/h/ln_1/scale", (12, 8), False),
        ("embeddings/word/embedding", (100, 8), True),
        ("layers/0/weight", (8, 8), True),
        ("linear/w", (8, 8), True),
        ("linear/b", (8,), False),
        ("temperature", (), False),
        ("lnear/kernel", (8, 8), True),
        # Only the module right above decides.
        ("PreNormBlock_0/Dense_0/kernel", (8, 8), True),
        ("PreNormBlock_0/LayerNorm_0/scale", (12, 8), False),
        ("norm_free_net/conv/w", (8, 8), True),
        ("norms/0/scale", (12, 8), False),
        ("PreNormBlock/layers/0/kernel", (8, 8), True),
        ("layers/bn/scale", (12, 8), False),
        ("layers/bn1/scale", (12, 8), False),
        ("resnet/bn_init/scale", (12, 8), False),
        ("clip/ln_final/weight", (12, 8), False),
        ("bnet/kernel", (8, 8), True),
        ("transformer/lnf/scale", (12, 8), False),
        ("layers/BatchNormalization/scale", (12, 8), False),
        ("graph/gnn/kernel", (8, 8), True),
        ("bnn/kernel", (8, 8), True),
        ("normal_mlp/kernel", (8, 8), True),
        # Biases of stacked layers that are called more than a bias.
        ("attention/q_bias", (12, 8), False),
        ("attention/in_proj_bias", (12, 8), False),
        ("attention/relative_attention_bias/embedding", (32, 12), True),
        # A box whose key a restored state keeps.
        ("layers/norm/scale/value", (12, 8), False),
        ("layers/query/bias/value", (12, 8), False),
        ("layers/query/kernel/value", (12, 8, 8), True),
        ("attention/value", (8, 8), True),
        ("scale/value", (8, 8), True),
    ],
)
def test_decay_mask(path, shape, decayed):
    assert cwgnc_jax.decay_mask({path: jnp.ones(shape)}) == {path: decayed}


@pytest.mark.parametrize("factory", [cwgnc_jax.cwgnc_adamw, contrib.bert_adamw])
def test_decay_mask_is_not_taken_for_a_schedule(factory):
    # It said False to the step: no decay at all.
    inject = optax.inject_hyperparams(factory)
    tx = inject(learning_rate=1e-3, mask=cwgnc_jax.decay_mask)
    with pytest.raises(ValueError, match=r'mask: .* static_args with "mask" in it'):
        tx.init({"kernel": jnp.ones((2, 2))})


def test_decay_mask_under_a_mask():
    params = {"a": {"kernel": jnp.ones((2, 2))}, "b": optax.MaskedNode()}
    assert cwgnc_jax.decay_mask(params) == {
        "a": {"kernel": True},
        "b": optax.MaskedNode(),
    }
