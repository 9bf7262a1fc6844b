"""AGC and AdaGC by component, against their papers' formulas in NumPy."""

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


class TestAgc:
    @pytest.mark.parametrize("seed", range(5))
    def test_formula(self, seed):
        rng = np.random.default_rng(seed)
        params, gradients = random_leaves(rng), random_leaves(rng)
        if seed == 0:
            params["a"] *= 0
        expected = oracles.adaptive_clip(gradients, params, 0.3, 1e-2)
        tx = contrib.adaptive_clip_by_component_norm(0.3, 1e-2)
        updates, state = jax.jit(tx.update)(gradients, tx.init(params), params)
        for name in SHAPES:
            # Two norms, a quotient and two products in float32.
            np.testing.assert_allclose(updates[name], expected[name], rtol=1e-6)
        exact = [np.linalg.norm(gradients[name].astype("d")) for name in SHAPES]
        np.testing.assert_allclose(state.norms, exact, rtol=1e-6)

    def test_units_of_a_kernel_equal_optax(self):
        rng = np.random.default_rng(0)
        params = {"kernel": jnp.asarray(rng.standard_normal((6, 4)), jnp.float32)}
        gradients = jax.tree.map(lambda p: 0.1 * p[::-1], params)
        peer = optax.adaptive_grad_clip(0.05)
        expected, _ = peer.update(gradients, peer.init(params), params)
        tx = contrib.adaptive_clip_by_component_norm(
            0.05, components=cwgnc_jax.stacked("kernel", axes=1)
        )
        updates, state = tx.update(gradients, tx.init(params), params)
        assert state.scales.shape == (4,)
        np.testing.assert_allclose(updates["kernel"], expected["kernel"], rtol=1e-6)

    def test_parameters_are_found_by_path(self):
        params = {"a": jnp.full(4, 3.0), "b": jnp.ones(2), "extra": jnp.ones(3)}
        gradients = {"a": jnp.full(4, 10.0), "b": jnp.full(2, 0.1)}
        tx = contrib.adaptive_clip_by_component_norm(0.5)
        updates, _ = tx.update(gradients, tx.init(gradients), params)
        np.testing.assert_allclose(updates["a"], 1.5, rtol=1e-6)
        np.testing.assert_array_equal(updates["b"], gradients["b"])

    def test_errors(self):
        tx = contrib.adaptive_clip_by_component_norm()
        gradients = {"a": jnp.ones(2)}
        with pytest.raises(ValueError, match="params are needed"):
            tx.update(gradients, tx.init(gradients))
        with pytest.raises(ValueError, match=r"params lack .*\n  'a'"):
            tx.update(gradients, tx.init(gradients), {"b": jnp.ones(2)})
        for argument in ("clipping", "eps"):
            with pytest.raises(ValueError, match=f"{argument} must be at least 0"):
                contrib.adaptive_clip_by_component_norm(**{argument: -1.0})


class TestAdaGC:
    @pytest.mark.parametrize("seed", range(4))
    def test_algorithm_over_many_steps(self, seed):
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

    def test_below_the_reference_every_bit_stays(self):
        tx = contrib.adagc(start=2)
        gradients = {"a": jnp.array([0.1, 0.2])}
        state = tx.init(gradients)
        for _ in range(3):
            updates, state = tx.update(gradients, state)
            np.testing.assert_array_equal(updates["a"], gradients["a"])

    def test_zero_gradients_are_no_reference(self):
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
    def test_references_survive_what_is_not_finite(self, bad, start):
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
    def test_a_component_without_a_reference_passes(self, ratio):
        def last(ratio):
            tx = contrib.adagc(ratio, start=2)
            state = tx.init(jnp.zeros(2))
            _, state = tx.update(jnp.zeros(2), state)
            updates, _ = tx.update(jnp.ones(2), state)
            return jnp.sum(updates), updates

        with jax.debug_nans(True):
            derivative, updates = jax.grad(last, has_aux=True)(ratio)
        np.testing.assert_array_equal(updates, 1.0)
        assert derivative == 0.0

    def test_components_of_a_stack(self):
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
    def test_errors(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            contrib.adagc(**arguments)

    @pytest.mark.parametrize("start", ["2", optax.constant_schedule(2)])
    def test_starts_that_are_no_number(self, start):
        with pytest.raises(TypeError, match="start must be a whole number or a jax"):
            contrib.adagc(start=start)

    def test_starts_that_are_traced(self):
        def second_scale(start):
            tx = contrib.adagc(1.0, 100.0, start=start)
            _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
            return tx.update(jnp.full(2, 2.0), state)[1].scales[0]

        scales = jax.vmap(second_scale)(jnp.array([2, 3]))
        np.testing.assert_allclose(scales, [0.5, 1.0], rtol=1e-6)
