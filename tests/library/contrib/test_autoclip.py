"""AutoClip by component: against the released code's steps in NumPy, and properties."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cwgnc_jax
from cwgnc_jax import contrib

STEPS, COMPONENTS = 12, 3
norm_tables = st.lists(
    st.lists(st.floats(1e-3, 1e3), min_size=COMPONENTS, max_size=COMPONENTS),
    min_size=STEPS,
    max_size=STEPS,
).map(lambda rows: np.array(rows, np.float32))


def quantile_clip(norms, quantile, window):
    """Scales of one parameter as ``autoclip.torch.QuantileClip`` has them, float64."""
    history, scales = [], []
    for norm in np.asarray(norms, np.float64):
        limit = np.quantile(history[-window:], quantile) if history else np.inf
        scales.append(min(1.0, limit / norm))
        history.append(norm)
    return scales


@jax.jit
def run(gradients):
    """Scales and updates of all steps of a stack of components; compiled once."""
    tx = contrib.autoclip_by_component_norm(components=cwgnc_jax.stacked(".*"))

    def step(state, gradient):
        updates, state = tx.update(gradient, state)
        return state, (state.scales, updates)

    state, (scales, updates) = jax.lax.scan(step, tx.init(gradients[0]), gradients)
    return scales, updates, state


def gradients_of(norms):
    """Gradients of two entries each with these norms: shape (steps, components, 2)."""
    return jnp.asarray(norms)[..., None] * jnp.array([0.6, 0.8], jnp.float32)


@pytest.mark.parametrize(("quantile", "window"), [(0.1, 1000), (0.5, 4), (1.0, 7)])
def test_equals_the_released_code(quantile, window):
    rng = np.random.default_rng(0)
    shapes = {"a": (4, 3), "b": (5,)}
    tx = contrib.autoclip_by_component_norm(quantile, window)
    state = tx.init({name: jnp.zeros(shape) for name, shape in shapes.items()})
    update = jax.jit(tx.update)
    seen, scales = [], []
    for _ in range(15):
        gradients = {
            name: rng.standard_normal(shape).astype(np.float32) * 10 ** rng.normal()
            for name, shape in shapes.items()
        }
        updates, state = update(gradients, state)
        seen.append([np.linalg.norm(gradients[name].astype("d")) for name in shapes])
        scales.append(state.scales)
        for name, scale in zip(shapes, state.scales, strict=True):
            # One product in float32.
            np.testing.assert_allclose(updates[name], gradients[name] * scale, 1e-6)
    for i in range(len(shapes)):
        expected = quantile_clip(np.array(seen)[:, i], quantile, window)
        # Norms, a quantile between two of them and a quotient in float32.
        np.testing.assert_allclose(np.array(scales)[:, i], expected, rtol=3e-6)


@settings(max_examples=25, deadline=None)
@given(norm_tables, st.integers(-20, 20))
def test_scales_do_not_change_with_the_scale_of_the_gradients(norms, power):
    gradients = gradients_of(norms)
    scales, _, _ = run(gradients)
    # A power of two: even the rounding is the same.
    other, _, _ = run(gradients * jnp.float32(2.0**power))
    np.testing.assert_array_equal(scales, other)
    assert (scales <= 1).all()
    assert (scales > 0).all()


@settings(max_examples=25, deadline=None)
@given(norm_tables, st.integers(1, STEPS - 1), st.floats(10, 1e6))
def test_a_spike_is_clipped_to_the_median_and_hardly_moves_it(norms, at, factor):
    norms[at, 0] = factor * norms[:, 0].max()
    _, updates, _ = run(gradients_of(norms))
    clipped = np.linalg.norm(updates[at], axis=-1)
    median = np.median(norms[:at, 0].astype("d"))
    np.testing.assert_allclose(clipped[0], median, rtol=1e-5)
    # Later thresholds lie among the other norms, if there are others to tell.
    if at >= 2:
        after = np.linalg.norm(updates[at + 1 :, 0], axis=-1)
        assert (after <= np.delete(norms[:, 0], at).max() * (1 + 1e-6)).all()


@settings(max_examples=25, deadline=None)
@given(
    norm_tables,
    st.lists(st.integers(0, STEPS - 1), min_size=1, max_size=4),
    st.sampled_from([0.0, np.nan, np.inf, 1e30]),
)
def test_what_is_no_evidence_does_not_enter(norms, steps, value):
    """Zeros of a frozen component, and what is not finite, are as if left out."""
    steps = sorted(set(steps))
    gradients = gradients_of(norms).at[jnp.array(steps), 0].set(value)
    scales, updates, state = run(gradients)
    kept = np.delete(np.arange(STEPS), steps)
    expected = quantile_clip(norms[kept, 0], 0.5, 100)
    np.testing.assert_allclose(scales[kept, 0], expected, rtol=1e-5)
    # The other components have not noticed.
    for i in (1, 2):
        expected = quantile_clip(norms[:, i], 0.5, 100)
        np.testing.assert_allclose(scales[:, i], expected, rtol=1e-5)
    assert np.isfinite(state.history[0, -len(kept) :]).all()
    if value == 0:
        np.testing.assert_array_equal(updates[jnp.array(steps), 0], 0)


def test_a_frozen_component_has_finite_scales_and_derivatives():
    zeros = jnp.zeros((STEPS, COMPONENTS, 2))
    with jax.debug_nans(True):
        derivative = jax.grad(lambda scale: run(zeros * scale)[1].sum())(1.0)
    assert derivative == 0


def test_a_window_follows_what_changes_for_good():
    tx = contrib.autoclip_by_component_norm(window=5)
    state = tx.init(jnp.zeros(1))
    for norm in [1.0] * 8 + [10.0] * 5:
        updates, state = tx.update(jnp.array([norm]), state)
    assert updates.tolist() == [10.0]


def test_states_are_found_carried_and_traced_once():
    small = {"layers": jnp.ones((1, 2)), "head": jnp.ones(2)}
    large = {"layers": jnp.ones((2, 2)), "head": jnp.ones(2)}
    tx = contrib.autoclip_by_component_norm(components=cwgnc_jax.stacked("layers"))
    update = jax.jit(chex.assert_max_traces(tx.update, n=1))
    state = tx.init(small)
    for _ in range(3):
        _, state = update(small, state)
    assert cwgnc_jax.get_clip_state(state).norms.shape == (2,)
    carried = cwgnc_jax.carry_opt_state(tx, large, state)
    # Components have changed, and so has what their norms are to be compared with.
    assert carried.count == 3
    assert np.isinf(carried.history).all()
    updates, _ = tx.update(large, carried)
    chex.assert_trees_all_equal(updates, large)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"quantile": 1.5}, ValueError, "quantile must be from 0 to 1, got 1.5"),
        ({"quantile": "half"}, TypeError, "quantile must be a number"),
        ({"window": 0}, ValueError, "window must be at least 1, got 0"),
        ({"window": 2.5}, TypeError, "window must be an int, got 2.5"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        contrib.autoclip_by_component_norm(**arguments)
