"""Clipping in the trees and training states of Flax, Equinox, Haiku and Orbax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax

RULES = [("layers/0/kernel", 1e-3), ("layers/.*", 1e-4), (".*", None)]


def clip_state(tx_state):
    return cwgnc_jax.get_clip_state(tx_state)


class TestNnx:
    @pytest.fixture
    def nnx(self):
        return pytest.importorskip("flax.nnx")

    @pytest.fixture
    def model(self, nnx):
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
                self.value = nnx.Linear(3, 1, rngs=rngs)

            def __call__(self, x):
                for layer in self.layers:
                    x = layer(x)
                return self.value(x)

        return Model(nnx.Rngs(0))

    @staticmethod
    def loss(model):
        return jnp.sum(model(jnp.ones((2, 3))) ** 2)

    def test_names_are_the_same_in_all_forms(self, nnx, model):
        state = nnx.state(model, nnx.Param)
        forms = [model, state, nnx.to_pure_dict(state), nnx.as_pure(state)]
        expected = {
            f"{module}/{leaf}"
            for module in ("layers/0", "layers/1", "value")
            for leaf in ("kernel", "bias")
        }
        for form in forms:
            assert set(cwgnc_jax.component_names(form)) == expected

    def test_optimizer_sees_the_same_rules_at_init_and_update(self, nnx, model):
        tx = optax.chain(cwgnc_jax.clip_by_component_norm(RULES), optax.sgd(1.0))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        gradients = nnx.grad(self.loss)(model)
        optimizer.update(model, gradients)
        after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        step = jax.tree.map(lambda a, b: np.linalg.norm(a - b), after, before)
        # A parameter of size 1 is rounded to 1e-7.
        np.testing.assert_allclose(step["layers"][0]["kernel"], 1e-3, rtol=1e-3)
        np.testing.assert_allclose(step["layers"][1]["kernel"], 1e-4, rtol=1e-2)
        assert step["value"]["kernel"] > 0.01

    def test_clip_state_of_an_optimizer_in_all_its_forms(self, nnx, model):
        tx = cwgnc_jax.cwgnc_adamw(1e-3)
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer):
            optimizer.update(model, nnx.grad(self.loss)(model))

        step(model, optimizer)
        expected = clip_state(optimizer.opt_state)
        assert isinstance(expected.norms, jax.Array)
        assert expected.norms.shape == (6,)
        assert expected.count == 1
        for form in (
            optimizer,
            nnx.state(optimizer),
            nnx.as_pure(nnx.state(optimizer)),
        ):
            found = clip_state(form)
            np.testing.assert_array_equal(found.norms, expected.norms)
            np.testing.assert_array_equal(found.scales, expected.scales)

    def test_frozen_parameters_through_wrt(self, nnx, model):
        wrt = nnx.All(nnx.Param, nnx.PathContains("value"))
        tx = cwgnc_jax.clip_by_component_norm(1e-3)
        optimizer = nnx.Optimizer(model, tx, wrt=wrt)
        gradients = nnx.grad(self.loss, argnums=nnx.DiffState(0, wrt))(model)
        optimizer.update(model, gradients)
        assert clip_state(optimizer.opt_state).norms.shape == (2,)


class TestLinen:
    def test_train_state(self):
        linen = pytest.importorskip("flax.linen")
        train_state = pytest.importorskip("flax.training.train_state")

        class Model(linen.Module):
            @linen.compact
            def __call__(self, x):
                x = linen.Dense(3, name="layer_0")(x)
                return linen.Dense(1, name="head")(x)

        model = Model()
        params = model.init(jax.random.key(0), jnp.ones((2, 3)))["params"]
        tx = cwgnc_jax.cwgnc_adamw(1e-3, components=cwgnc_jax.by_layer)
        state = train_state.TrainState.create(
            apply_fn=model.apply, params=params, tx=tx
        )

        @jax.jit
        def step(state):
            def loss(params):
                return jnp.sum(state.apply_fn({"params": params}, jnp.ones((2, 3))))

            return state.apply_gradients(grads=jax.grad(loss)(state.params))

        state = step(step(state))
        assert cwgnc_jax.component_names(params, cwgnc_jax.by_layer) == (
            "head",
            "layer_0",
        )
        assert clip_state(state.opt_state).norms.shape == (2,)

    def test_boxes_of_metadata(self):
        linen = pytest.importorskip("flax.linen")
        dense = linen.Dense(
            2,
            kernel_init=linen.with_partitioning(
                linen.initializers.lecun_normal(), (None, "model")
            ),
        )
        params = dense.init(jax.random.key(0), jnp.ones((1, 3)))["params"]
        assert cwgnc_jax.component_names(params) == ("bias", "kernel")


class TestEquinox:
    @pytest.fixture
    def eqx(self):
        return pytest.importorskip("equinox")

    def test_module(self, eqx):
        model = eqx.nn.MLP(2, 1, 4, 2, key=jax.random.key(0))
        params = eqx.filter(model, eqx.is_inexact_array)
        assert cwgnc_jax.component_names(params, cwgnc_jax.by_layer) == (
            "layers/0",
            "layers/1",
            "layers/2",
        )
        rules = [(r"layers/0/.*", 1e-3), (r".*weight|.*bias", 1e-4)]
        tx = optax.chain(cwgnc_jax.clip_by_component_norm(rules), optax.sgd(1.0))

        @eqx.filter_jit
        def step(model, opt_state):
            gradients = eqx.filter_grad(lambda m: jnp.sum(m(jnp.ones(2)) ** 2))(model)
            updates, opt_state = tx.update(gradients, opt_state, model)
            return updates, opt_state

        updates, opt_state = step(model, tx.init(params))
        for i, limit in enumerate([1e-3, 1e-4, 1e-4]):
            norm = np.linalg.norm(updates.layers[i].weight)
            assert norm <= limit * (1 + 1e-6)
        assert clip_state(opt_state).norms.shape == (6,)

    def test_a_module_of_labels_is_a_map_though_it_can_be_called(self, eqx):
        model = eqx.nn.Linear(2, 3, key=jax.random.key(0))
        labels = jax.tree.map(lambda leaf: f"rank {leaf.ndim}", model)
        assert cwgnc_jax.component_names(model, labels) == ("rank 2", "rank 1")


class TestHaiku:
    def test_transformed_function(self):
        hk = pytest.importorskip("haiku")

        def forward(x):
            x = hk.Linear(3, name="layer_0")(x)
            return hk.nets.MLP([2, 1], name="mlp")(x)

        model = hk.without_apply_rng(hk.transform(forward))
        params = model.init(jax.random.key(0), jnp.ones((1, 2)))
        assert cwgnc_jax.component_names(params, cwgnc_jax.by_layer) == (
            "layer_0",
            "mlp/~/linear_0",
            "mlp/~/linear_1",
        )
        gradients = jax.grad(lambda p: jnp.sum(model.apply(p, jnp.ones((1, 2)))))(
            params
        )
        tx = cwgnc_jax.clip_by_component_norm(1e-3, cwgnc_jax.by_layer)
        updates, _ = tx.update(gradients, tx.init(params))
        norms = cwgnc_jax.component_norms(updates, cwgnc_jax.by_layer)
        assert np.all(norms <= 1e-3 * (1 + 1e-6))
        # Haiku's trees are dicts of dicts and stay so.
        assert jax.tree.structure(updates) == jax.tree.structure(params)


class TestOrbax:
    def test_state_is_restored_to_the_bit(self, tmp_path):
        ocp = pytest.importorskip("orbax.checkpoint")
        params = {
            "kernel": jnp.linspace(-1.0, 2.0, 12).reshape(3, 4),
            "bias": jnp.ones(4),
        }
        tx = cwgnc_jax.cwgnc_adamw(1e-2, components=cwgnc_jax.stacked("kernel"))
        state = tx.init(params)
        for _ in range(3):
            _, state = tx.update(params, state, params)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "state", state)
            checkpointer.wait_until_finished()
            target = jax.tree.map(ocp.utils.to_shape_dtype_struct, tx.init(params))
            restored = checkpointer.restore(tmp_path / "state", target)
        assert jax.tree.structure(restored) == jax.tree.structure(state)
        jax.tree.map(np.testing.assert_array_equal, restored, state)
        following, _ = tx.update(params, restored, params)
        jax.tree.map(
            np.testing.assert_array_equal,
            following,
            tx.update(params, state, params)[0],
        )
