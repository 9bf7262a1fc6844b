"""AdaGC by component, against the paper's algorithm in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

SHAPES = {"a": (4, 3), "b": (5,), "c": (2, 3, 2)}


def random_leaves(rng, spread=2.0):
    return {
        name: (10 ** rng.uniform(-spread, spread) * rng.standard_normal(shape)).astype(
            np.float32
        )
        for name, shape in SHAPES.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_algorithm_over_many_steps(seed):
    rng = np.random.default_rng(seed)
    ratio, warmup, decay, start = 1.1, 0.7, 0.9, 5
    tx = contrib.adagc(ratio, warmup, decay, start)
    oracle = oracles.AdaGC(ratio, warmup, decay, start)
    update = jax.jit(tx.update)
    state = tx.init(random_leaves(rng))
    for _ in range(20):
        gradients = random_leaves(rng, spread=0.5)
        expected = oracle(gradients)
        updates, state = update(gradients, state)
        for name in SHAPES:
            # Errors of the references add up over the steps, 1e-7 each.
            np.testing.assert_allclose(updates[name], expected[name], rtol=5e-6)
    gammas = [oracle.gamma[name] for name in SHAPES]
    np.testing.assert_allclose(state.references, gammas, rtol=5e-6)
    assert state.count == 20


def test_below_the_reference_every_bit_stays():
    tx = contrib.adagc(start=2)
    gradients = {"a": jnp.array([0.1, 0.2])}
    state = tx.init(gradients)
    for _ in range(3):
        updates, state = tx.update(gradients, state)
        np.testing.assert_array_equal(updates["a"], gradients["a"])


def test_zero_gradients_are_no_reference():
    tx = contrib.adagc(ratio=1.0, start=3)
    state = tx.init({"a": jnp.zeros(2), "b": jnp.zeros(2)})
    zero, one = jnp.zeros(2), jnp.array([0.3, 0.4])
    for a, b in [(zero, zero), (zero, one), (one, one), (10 * one, 10 * one)]:
        updates, state = tx.update({"a": a, "b": b}, state)
    # a met its first gradient after the warm-up, and took it for a reference.
    for leaf in updates.values():
        np.testing.assert_allclose(leaf, [0.3, 0.4], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("start", [2, 100])
def test_references_survive_what_is_not_finite(bad, start):
    tx = contrib.adagc(start=start)
    state = tx.init({"a": jnp.zeros(2), "b": jnp.zeros(2)})
    good = {"a": jnp.array([0.3, 0.4]), "b": jnp.array([0.3, 0.4])}
    _, before = tx.update(good, state)
    updates, state = tx.update(good | {"a": jnp.array([bad, 1.0])}, before)
    # Nor do they fall towards the 0 that a norm of infinity is scaled to.
    np.testing.assert_allclose(state.references, before.references, rtol=1e-6)
    assert state.references[0] == before.references[0]
    if start == 2:
        np.testing.assert_array_equal(updates["b"], good["b"])
    # The square of 1e30 is too large for float32; the gradient becomes 0.
    assert np.isfinite(updates["a"]).all() == (bad == 1e30)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_component_without_a_reference_has_that_of_the_first_phase(ratio):
    def last(ratio):
        tx = contrib.adagc(ratio, 1.5, start=2)
        state = tx.init(jnp.zeros(2))
        _, state = tx.update(jnp.zeros(2), state)
        updates, _ = tx.update(jnp.ones(2), state)
        large, _ = tx.update(jnp.array([300.0, 400.0]), state)
        return jnp.sum(updates) + jnp.sum(large), (updates, large)

    with jax.debug_nans(True):
        derivative, (updates, large) = jax.grad(last, has_aux=True)(ratio)
    np.testing.assert_array_equal(updates, 1.0)
    np.testing.assert_allclose(large, [0.9, 1.2], rtol=1e-6)
    assert derivative == 0.0


def test_references_that_a_new_stage_makes_begin_clipped():
    params = {
        "embed": jnp.zeros((2, 2)),
        "layers": {"kernel": jnp.zeros((2, 2, 2))},
        "head": jnp.zeros(2),
    }
    tx = optax.chain(contrib.adagc(start=3), optax.sgd(0.1))
    largest = []

    def fit(stage):
        state = stage.opt_state
        for step in range(6):
            size = 1000.0 if step in (0, 5) else 1.0
            gradients = jax.tree.map(lambda x: jnp.full_like(x, size), stage.trainable)  # noqa: B023
            updates, state = stage.optimizer.update(gradients, state, stage.trainable)
            largest.append(
                max(float(jnp.abs(x).max()) for x in jax.tree.leaves(updates))
            )
        return stage.trainable, state

    for _ in cwgnc_jax.gradual_unfreezing(params, tx, fit, carry_optimizer=True):
        pass
    assert len(largest) == 6 * 2
    # Norms of 1 at most, of two entries at least, at a rate of 0.1.
    assert max(largest) <= 0.1 * 1.05


def test_components_of_a_stack():
    tx = contrib.adagc(1.0, 10.0, 0.5, 2, cwgnc_jax.stacked("x"))
    gradients = {"x": jnp.array([[3.0, 4.0], [0.6, 0.8]])}
    state = tx.init(gradients)
    _, state = tx.update(gradients, state)
    updates, state = tx.update({"x": 2 * gradients["x"]}, state)
    np.testing.assert_allclose(updates["x"], gradients["x"], rtol=1e-6)
    np.testing.assert_allclose(state.norms, [10.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(state.scales, [0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 1}, "start must be a whole number of at least 2, got 1"),
        ({"start": 2.5}, "start must be a whole number of at least 2, got 2.5"),
        ({"decay": 1.5}, "decay must be from 0 to 1"),
        ({"ratio": -1.0}, "ratio must be at least 0"),
        ({"warmup_max_norm": np.nan}, "warmup_max_norm must be at least 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        contrib.adagc(**arguments)


@pytest.mark.parametrize("start", ["2", optax.constant_schedule(2)])
def test_starts_that_are_no_number(start):
    with pytest.raises(TypeError, match="start must be a whole number or a jax"):
        contrib.adagc(start=start)


def test_starts_that_are_traced():
    def second_scale(start):
        tx = contrib.adagc(1.0, 100.0, start=start)
        _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
        return tx.update(jnp.full(2, 2.0), state)[1].scales[0]

    scales = jax.vmap(second_scale)(jnp.array([2, 3]))
    np.testing.assert_allclose(scales, [0.5, 1.0], rtol=1e-6)


@pytest.fixture
def x64():
    """Numbers of 64 bits, for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def test_the_first_phase_sums_in_the_widest_dtype(x64):
    tx = contrib.adagc(warmup_max_norm=1e40)
    gradients = {
        "double": jnp.full(2, 1e39, jnp.float64),
        "single": jnp.full(3, 1e38, jnp.float32),
    }
    updates, state = tx.update(gradients, tx.init(gradients))
    # Below the threshold, though float32 cannot hold the square of 1e38.
    for name, leaf in updates.items():
        np.testing.assert_array_equal(leaf, gradients[name])
    np.testing.assert_allclose(
        state.norms, [np.sqrt(2) * 1e39, np.sqrt(3) * 1e38], rtol=1e-6
    )


def test_a_state_of_other_components_is_refused():
    tx = contrib.adagc(start=2)
    state = tx.init({"a": jnp.ones(2)})
    with pytest.raises(ValueError, match="must have the 2 components"):
        tx.update({"a": jnp.ones(2), "b": jnp.ones(2)}, state)
