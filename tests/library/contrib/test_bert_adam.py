"""BERT's Adam against loops in NumPy float64, over several steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cwgnc_jax import cwgnc_adamw, get_clip_state
from cwgnc_jax.contrib._bert_adam import bert_adamw, scale_by_bert_adam
from cwgnc_jax.contrib._schedules import (
    bert_linear_decay_schedule,
    warmup_linear_decay_schedule,
)

STEPS, PEAK, WARMUP = 12, 0.1, 3


def layer(draw, *stack):
    return {
        "attention": {
            "query": {"kernel": draw(*stack, 4, 4), "bias": draw(*stack, 4)},
            "layer_norm": {"scale": draw(*stack, 4), "bias": draw(*stack, 4)},
        },
        "output": {"kernel": draw(*stack, 4, 2), "bias": draw(*stack, 2)},
    }


def make_tree(kind, seed):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    layers = [layer(draw) for _ in range(3)] if kind == "list" else layer(draw, 3)
    return {
        "embeddings": {"word": {"embedding": draw(6, 4)}},
        "encoder": {"layers": layers},
        "classifier": {"kernel": draw(4, 2), "bias": draw(2)},
    }


def named(tree):
    """Leaves by path in float64, written without the library's own walk."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {
            f"{name}/{rest}".rstrip("/"): leaf
            for name, sub in items
            for rest, leaf in named(sub).items()
        }
    return {"": np.asarray(tree, np.float64)}


def reference(params, grads_of_steps, *, jump, correction, max_norm, decay=0.01):
    """The original's steps: clip, moments, decay by name, learning rate."""
    first = {name: np.zeros_like(p) for name, p in params.items()}
    second = {name: np.zeros_like(p) for name, p in params.items()}
    for step, grads in enumerate(grads_of_steps):
        if step < WARMUP:
            rate = PEAK * step / WARMUP
        elif jump:
            rate = PEAK * (1 - step / STEPS)
        else:
            rate = PEAK * (STEPS - step) / (STEPS - WARMUP)
        norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
        factor = 1.0 if max_norm is None else max_norm / max(norm, max_norm)
        for name in params:
            g = grads[name] * factor
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            m, v = first[name], second[name]
            if correction:
                m = m / (1 - 0.9 ** (step + 1))
                v = v / (1 - 0.999 ** (step + 1))
            update = m / (np.sqrt(v) + 1e-6)
            # As the original excludes by name: 'LayerNorm', 'layer_norm', 'bias'.
            if not any(part in name for part in ("layer_norm", "bias")):
                update = update + decay * params[name]
            params[name] = params[name] - rate * update
    return params


@pytest.mark.parametrize("kind", ["stacked", "list"])
@pytest.mark.parametrize("jump", [False, True])
@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("max_norm", [1.0, None])
def test_bert_adamw_over_a_whole_schedule(kind, jump, correction, max_norm):
    factory = bert_linear_decay_schedule if jump else warmup_linear_decay_schedule
    tx = bert_adamw(
        factory(PEAK, WARMUP, STEPS), max_norm=max_norm, bias_correction=correction
    )
    params = make_tree(kind, 0)
    grads = [make_tree(kind, 1 + step) for step in range(STEPS)]
    expected = reference(
        named(params),
        [named(tree) for tree in grads],
        jump=jump,
        correction=correction,
        max_norm=max_norm,
    )

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for tree in grads:
        params, state = step(params, state, tree)
    actual = named(params)
    assert actual.keys() == expected.keys()
    for name in expected:
        # Twelve float32 steps on numbers of size 1, with updates of size 0.5. optax
        # forms 1 - 0.999^t in float32: up to 6e-5 / 2 of updates of size 0.1.
        np.testing.assert_allclose(
            actual[name],
            expected[name],
            rtol=1e-5,
            atol=2e-5 if correction else 3e-6,
            err_msg=name,
        )


def test_the_decay_is_visible_and_spares_biases_and_norms():
    params = make_tree("stacked", 0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    tx = bert_adamw(1.0, weight_decay=0.5)
    updates, _ = jax.jit(tx.update)(zeros, tx.init(params), params)
    before = named(params)
    for name, update in named(updates).items():
        spared = "bias" in name or "layer_norm" in name
        # 0.5 times a float32 number is exact.
        expected = 0.0 if spared else -0.5 * before[name]
        np.testing.assert_array_equal(update, expected, err_msg=name)


def test_a_mask_of_the_users_own():
    params = make_tree("stacked", 0)
    tx = bert_adamw(1.0, weight_decay=0.5, mask=jax.tree.map(lambda _: True, params))
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(tx.update)(zeros, tx.init(params), params)
    np.testing.assert_array_equal(
        updates["classifier"]["bias"], -0.5 * params["classifier"]["bias"]
    )


def test_factor_to_adam_with_correction():
    """With eps out of the way the two differ by the ratio of the corrections."""
    plain, corrected = scale_by_bert_adam(eps=0.0), optax.scale_by_adam(eps=0.0)
    rng = np.random.default_rng(0)
    params = jnp.zeros(5)
    states = plain.init(params), corrected.init(params)
    for step in range(1, 20):
        grads = jnp.asarray(rng.normal(size=5), jnp.float32)
        u, state = plain.update(grads, states[0])
        v, other = corrected.update(grads, states[1])
        states = state, other
        factor = (1 - 0.9**step) / np.sqrt(1 - 0.999**step)
        # optax forms 1 - 0.999^step in float32, to 2^-24 / 0.001 = 6e-5 at first.
        np.testing.assert_allclose(u, factor * np.asarray(v), rtol=1e-4)


def test_the_moments_are_optaxs():
    plain, corrected = scale_by_bert_adam(), optax.scale_by_adam()
    params = make_tree("list", 0)
    state, other = plain.init(params), corrected.init(params)
    for step in range(3):
        _, state = plain.update(make_tree("list", step), state)
        _, other = corrected.update(make_tree("list", step), other)
    jax.tree.map(np.testing.assert_array_equal, state.mu, other.mu)
    jax.tree.map(np.testing.assert_array_equal, state.nu, other.nu)


@pytest.mark.parametrize("correction", [False, True])
def test_float16_gradients_are_clipped_by_their_norm_in_float32(correction):
    # The square of 300 is infinite in float16; with Optax's clip every update was 0.
    params = {"kernel": jnp.ones((10, 10), jnp.float16)}
    gradients = {"kernel": jnp.full((10, 10), 300.0, jnp.float16)}
    tx = bert_adamw(1.0, weight_decay=0.0, eps=1e-3, bias_correction=correction)
    updates, state = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(get_clip_state(state).norms, [3000.0], rtol=1e-6)
    # The clipped gradient is 0.1, whose square times 0.001 keeps few digits in float16.
    first = 0.1 if correction else 0.01 / (np.sqrt(1e-5) + 1e-3) * (0.1 + 1e-3)
    np.testing.assert_allclose(updates["kernel"], -first / (0.1 + 1e-3), rtol=0.02)


def test_a_traced_threshold_of_zero_makes_no_nan_of_zero_gradients():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}

    @jax.jit
    def update(max_norm, gradients):
        tx = bert_adamw(0.1, weight_decay=0.0, max_norm=max_norm)
        return tx.update(gradients, tx.init(params), params)[0]

    for gradients in (jax.tree.map(jnp.zeros_like, params), params):
        for leaf in update(0.0, gradients).values():
            np.testing.assert_array_equal(leaf, 0.0)


@pytest.mark.parametrize(
    "tx",
    [
        scale_by_bert_adam(),
        bert_adamw(0.1),
        bert_adamw(0.1, bias_correction=True),
        cwgnc_adamw(0.1),
        cwgnc_adamw(0.1, mu_dtype=jnp.float32),
    ],
    ids=["bert adam", "bert adamw", "corrected", "cwgnc", "cwgnc, float32 moments"],
)
def test_scans_of_bfloat16_parameters_and_float32_gradients(tx):
    params = {"kernel": jnp.ones((2, 3), jnp.bfloat16)}
    gradients = {"kernel": jnp.full((2, 3), 0.5, jnp.float32)}

    def step(state, _):
        updates, state = tx.update(gradients, state, params)
        return state, updates

    before = tx.init(params)
    after, updates = jax.lax.scan(step, before, length=3)
    chex.assert_trees_all_equal_dtypes(after, before)
    assert np.all(np.isfinite(updates["kernel"]))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes(dtype):
    params = {"kernel": jnp.ones((2, 3), dtype), "empty": jnp.ones((0, 3), dtype)}
    tx = scale_by_bert_adam(mu_dtype=jnp.bfloat16)
    state = tx.init(params)
    updates, state = tx.update(params, state, params)
    assert state.mu["kernel"].dtype == jnp.bfloat16
    assert state.nu["kernel"].dtype == updates["kernel"].dtype == dtype
    # 0.1 / (sqrt(0.001) + 1e-6) in the dtype, after up to three roundings.
    np.testing.assert_allclose(
        np.asarray(updates["kernel"], np.float32),
        0.1 / (np.sqrt(0.001) + 1e-6),
        rtol=3 * float(jnp.finfo(dtype).eps),
    )


def test_scan_vmap_and_jit_agree_with_a_loop():
    tx = bert_adamw(warmup_linear_decay_schedule(PEAK, WARMUP, STEPS))
    seeds = [make_tree("stacked", seed) for seed in range(2)]

    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=STEPS)
        return params

    together = jax.jit(jax.vmap(run))(jax.tree.map(lambda *x: np.stack(x), *seeds))

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
        return optax.apply_updates(params, updates), state

    for i, params in enumerate(seeds):
        state = tx.init(params)
        for _ in range(STEPS):
            params, state = step(params, state)
        for name, leaf in named(params).items():
            # The same operations, fused in other ways: float32 rounding over 12 steps.
            np.testing.assert_allclose(named(together)[name][i], leaf, atol=5e-6)


@pytest.mark.parametrize(
    ("max_norm", "error"),
    [
        (0.0, ValueError),
        (-1.0, ValueError),
        (float("nan"), ValueError),
        ("1", TypeError),
        (optax.constant_schedule(1.0), TypeError),
    ],
)
def test_impossible_thresholds_are_refused(max_norm, error):
    with pytest.raises(
        error, match="max_norm must be a positive number, a jax scalar or None, got"
    ):
        bert_adamw(1e-3, max_norm=max_norm)
