"""Gradual unfreezing of models of Flax NNX, Linen and Equinox, and of our BERT."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import join_params, split_params, unfreezing_groups, unfreezing_labels

pytestmark = pytest.mark.medium

X = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)


def frozen_by(before, after):
    """Paths of the leaves that have kept every bit."""
    later = dict(jax.tree.leaves_with_path(after))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree.leaves_with_path(before)
        if np.asarray(leaf).tobytes() == np.asarray(later[path]).tobytes()
    }


class TestNnx:
    @pytest.fixture
    def nnx(self):
        return pytest.importorskip("flax.nnx")

    @pytest.fixture
    def model(self, nnx):
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.embeddings = nnx.Linear(3, 3, rngs=rngs)
                self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(3)])
                self.head = nnx.Linear(3, 2, rngs=rngs)

            def __call__(self, x):
                x = self.embeddings(x)
                for layer in self.layers:
                    x = jnp.tanh(layer(x))
                return self.head(x)

        return Model(nnx.Rngs(0))

    @pytest.mark.parametrize("form", ["model", "state", "pure dict"])
    def test_optimizer_with_labels_of_any_form(self, nnx, model, form):
        state = nnx.state(model, nnx.Param)
        tree = {"model": model, "state": state, "pure dict": nnx.to_pure_dict(state)}
        labels = unfreezing_labels(tree[form], 1)
        tx = cwgnc_jax.freeze(cwgnc_jax.cwgnc_adamw(0.1), labels)
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        before = nnx.to_pure_dict(state)

        @nnx.jit
        def step(model, optimizer):
            gradients = nnx.grad(lambda model: jnp.sum(model(X) ** 2))(model)
            optimizer.update(model, gradients)

        for _ in range(2):
            step(model, optimizer)
        after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        assert frozen_by(before, after) == {
            f"{module}/{kind}"
            for module in ("embeddings", "layers/0")
            for kind in ("bias", "kernel")
        }
        assert cwgnc_jax.get_clip_state(optimizer).norms.shape == (6,)


class TestLinen:
    def test_layers_by_name(self):
        nn = pytest.importorskip("flax.linen")

        class Model(nn.Module):
            @nn.compact
            def __call__(self, x):
                x = nn.Dense(3, name="embeddings")(x)
                for number in range(3):
                    x = jnp.tanh(nn.Dense(3, name=f"layer_{number}")(x))
                return nn.Dense(2, name="classifier")(x)

        model = Model()
        params = model.init(jax.random.key(0), X)
        groups = unfreezing_groups(params)
        assert groups.trainable(0) == ("head", "layer 2")

        def loss(trainable, frozen):
            return jnp.sum(model.apply(join_params(trainable, frozen), X) ** 2)

        def fit(stage):
            gradients = jax.grad(loss)(stage.trainable, stage.frozen)
            updates, opt_state = stage.optimizer.update(
                gradients, stage.opt_state, stage.trainable
            )
            return optax.apply_updates(stage.trainable, updates), opt_state

        before = params
        kept = []
        for _, after in cwgnc_jax.gradual_unfreezing(
            params, cwgnc_jax.cwgnc_adamw(0.1), fit
        ):
            kept.append(len(frozen_by(before, after)))
            before = after
        # Two leaves each of embeddings, layer_0 and layer_1; then less.
        assert kept == [6, 4, 0]


class TestEquinox:
    def test_modules(self):
        eqx = pytest.importorskip("equinox")

        class Model(eqx.Module):
            embed: eqx.nn.Linear
            layers: list[eqx.nn.Linear]
            head: eqx.nn.Linear

            def __init__(self, key):
                keys = jax.random.split(key, 5)
                self.embed = eqx.nn.Linear(3, 3, key=keys[0])
                self.layers = [eqx.nn.Linear(3, 3, key=k) for k in keys[1:4]]
                self.head = eqx.nn.Linear(3, 2, key=keys[4])

            def __call__(self, x):
                x = self.embed(x)
                for layer in self.layers:
                    x = jnp.tanh(layer(x))
                return self.head(x)

        params, static = eqx.partition(Model(jax.random.key(0)), eqx.is_array)
        assert unfreezing_groups(params).stages == 3
        trainable, frozen = split_params(params, 0)
        tx = cwgnc_jax.cwgnc_adamw(0.1)

        @jax.jit
        def step(trainable, opt_state, frozen):
            def loss(trainable):
                model = eqx.combine(join_params(trainable, frozen), static)
                return jnp.sum(jax.vmap(model)(X) ** 2)

            updates, opt_state = tx.update(
                jax.grad(loss)(trainable), opt_state, trainable
            )
            return optax.apply_updates(trainable, updates), opt_state

        trained, opt_state = step(trainable, tx.init(trainable), frozen)
        kept = frozen_by(params, join_params(trained, frozen))
        assert kept == {
            f"{module}/{kind}"
            for module in ("embed", "layers/0", "layers/1")
            for kind in ("bias", "weight")
        }
        assert cwgnc_jax.get_clip_state(opt_state).norms.shape == (4,)


class TestBert:
    """The example's encoder: stacked layers, cut at the boundary of a stage."""

    @pytest.fixture
    def model_module(self):
        pytest.importorskip("flax.nnx")
        return pytest.importorskip("bert_glue.model.encoder")

    @pytest.mark.slow
    def test_stages_of_a_scanned_encoder(self, model_module):
        from flax import nnx

        config = model_module.EncoderConfig(
            vocab_size=11,
            hidden_size=8,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=8,
        )
        params = model_module.initial_params(config, 2, jax.random.key(0))
        groups = unfreezing_groups(params)
        assert groups.names == (
            "head",
            *(f"layer {n}" for n in (3, 2, 1, 0)),
            "embeddings",
        )
        ids = jnp.arange(12).reshape(2, 6) % 11
        inputs = (ids, jnp.zeros_like(ids), jnp.ones_like(ids))

        def loss(trainable, frozen, stacks):
            model = nnx.eval_shape(
                lambda: model_module.SequenceClassifier(
                    config, 2, stacks=stacks, rngs=nnx.Rngs(0)
                )
            )
            structure, _ = model_module.separate(model)
            cut = join_params(trainable, frozen, keep_cut="encoder/layers")
            logits = nnx.merge(structure, cut)(*inputs, dropout_key=jax.random.key(1))
            return jnp.sum(logits**2)

        nothing = jax.tree.map(lambda _: optax.MaskedNode(), params)
        whole = jax.grad(loss)(params, nothing, None)
        for stage in range(groups.stages):
            trainable, frozen = split_params(params, stage, groups)
            lowest = groups.lowest_layer(stage)
            stacks = (lowest, 4 - lowest) if lowest else None
            found = jax.grad(loss)(trainable, frozen, stacks)
            expected = split_params(whole, stage, groups).trainable
            assert jax.tree.structure(found) == jax.tree.structure(expected)
            # The same sums in the same order, compiled apart: float32 rounding.
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
                found,
                expected,
            )
