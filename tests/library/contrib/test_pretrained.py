"""L2-SP against the released code's steps in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

RATE, STRENGTH, B1, B2, EPS = 0.05, 0.4, 0.9, 0.999, 1e-6


def make_params(seed):
    rng = np.random.default_rng(seed)
    return {
        "kernel": rng.standard_normal((4, 3)).astype(np.float32),
        "bias": rng.standard_normal(3).astype(np.float32),
    }


def released(pretrained, steps):
    """``PriorWD`` around AdamW: first the pull, then Adam's step; in float64."""
    params = {name: leaf.astype("d") for name, leaf in pretrained.items()}
    moments = dict.fromkeys(params, (0.0, 0.0))
    for step in range(1, steps + 1):
        gradients = {name: np.cos(3 * leaf) for name, leaf in params.items()}
        for name, gradient in gradients.items():
            first, second = moments[name]
            first = B1 * first + (1 - B1) * gradient
            second = B2 * second + (1 - B2) * gradient**2
            moments[name] = first, second
            size = RATE * np.sqrt(1 - B2**step) / (1 - B1**step)
            decay = RATE * STRENGTH if name == "kernel" else 0.0
            params[name] = params[name] - decay * (params[name] - pretrained[name])
            # torch's epsilon is added after, ours before the correction.
            root = np.sqrt(second) + EPS * np.sqrt(1 - B2**step)
            params[name] = params[name] - size * first / root
    return params


@pytest.mark.parametrize("is_given", [False, True])
def test_equals_the_released_code(is_given):
    pretrained = make_params(0)
    tx = optax.chain(
        optax.scale_by_adam(B1, B2, EPS),
        contrib.decay_towards_pretrained(
            STRENGTH, {**pretrained, "more": 1.0} if is_given else None
        ),
        optax.scale_by_learning_rate(RATE),
    )

    @jax.jit
    def train(params):
        state = tx.init(params)
        for _ in range(8):
            gradients = jax.tree.map(lambda w: jnp.cos(3 * w), params)
            updates, state = tx.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params

    # float32 over eight steps, and Adam divides small by small.
    chex.assert_trees_all_close(train(pretrained), released(pretrained, 8), rtol=2e-4)


def test_before_adam_it_is_the_gradient_of_the_penalty():
    pretrained, params = make_params(0), make_params(1)
    everything = jax.tree.map(lambda leaf: True, params)
    tx = contrib.decay_towards_pretrained(STRENGTH, pretrained, mask=everything)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)

    def penalty(params):
        apart = jax.tree.map(jnp.subtract, params, pretrained)
        return STRENGTH / 2 * optax.tree.norm(apart, squared=True)

    chex.assert_trees_all_close(updates, jax.grad(penalty)(params), rtol=1e-6)


def test_the_pretrained_values_go_on_with_a_state():
    tx = contrib.decay_towards_pretrained(1.0)
    upper = tx.init({"layers": jnp.full((1, 2), 7.0)})
    whole = {"layers": jnp.full((2, 2), 5.0)}
    carried = cwgnc_jax.carry_opt_state(tx, whole, upper)
    updates, _ = tx.update(whole, carried, whole)
    # The lower layer has not moved; the upper one was 7 before it was trained.
    np.testing.assert_array_equal(updates["layers"], [[5.0, 5.0], [3.0, 3.0]])


def test_each_stage_of_unfreezing_is_drawn_to_its_part_of_the_pretrained_values():
    pretrained = {"layers": {"kernel": jnp.arange(12.0).reshape(3, 2, 2)}}
    params = jax.tree.map(lambda leaf: leaf + 1, pretrained)
    groups = cwgnc_jax.unfreezing_groups(params, embeddings=None)

    def optimizer(stage):
        part = cwgnc_jax.split_params(pretrained, stage, groups).trainable
        return contrib.decay_towards_pretrained(1.0, part)

    def fit(stage):
        zeros = jax.tree.map(jnp.zeros_like, stage.trainable)
        pull, state = stage.optimizer.update(zeros, stage.opt_state, stage.trainable)
        return jax.tree.map(jnp.subtract, stage.trainable, pull), state

    top, *_, everything = cwgnc_jax.gradual_unfreezing(params, optimizer, fit, groups)
    expected = pretrained["layers"]["kernel"]
    np.testing.assert_array_equal(top[1]["layers"]["kernel"][-1], expected[-1])
    np.testing.assert_array_equal(top[1]["layers"]["kernel"][:-1], expected[:-1] + 1)
    chex.assert_trees_all_equal(everything[1], pretrained)


def test_errors():
    params = make_params(0)
    with pytest.raises(ValueError, match="strength must be at least 0, got -1"):
        contrib.decay_towards_pretrained(-1)
    tx = contrib.decay_towards_pretrained(1.0)
    with pytest.raises(ValueError, match="params are needed"):
        tx.update(params, tx.init(params))
    lacking = contrib.decay_towards_pretrained(1.0, {"kernel": jnp.ones((2, 2))})
    with pytest.raises(ValueError, match=r"it does not hold:\n  'kernel of the shape"):
        lacking.init(params)
