"""Labels of leaves: rules over paths, and freezing."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tanh_layers import (
    adamw,
    bits_of,
    make_params,
    stack,
)

import cwgnc_jax
from cwgnc_jax import (
    contrib,
    gradual_unfreezing,
    partition_by_path,
    split_params,
    unfreezing_labels,
)


class TestFrozen:
    def odd_params(self):
        """Parameters with values that an addition of 0 would change."""
        params = make_params(3)
        params["embed"] = params["embed"].at[0].set(-0.0).at[1, 0].set(jnp.nan)
        params["layers"][0]["bias"] = jnp.array([-0.0, 1e-45, jnp.inf, 0.0])
        return params

    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("make", [adamw, cwgnc_jax.cwgnc_adamw, contrib.bert_adamw])
    def test_by_labels_keeps_every_bit_and_has_no_state(self, make, compiled):
        params = self.odd_params()
        if not compiled:
            # XLA on a CPU takes subnormal numbers for 0 when it adds.
            params["layers"][0]["bias"] = jnp.array([-0.0, 1e-30, jnp.inf, 0.0])
        labels = unfreezing_labels(params, 0)
        tx = cwgnc_jax.freeze(make(learning_rate=0.1), labels)

        def run(params):
            opt_state = tx.init(params)
            for _ in range(3):
                gradients = jax.tree.map(jnp.ones_like, params)
                updates, opt_state = tx.update(gradients, opt_state, params)
                params = optax.apply_updates(params, updates)
            return params, opt_state

        after, opt_state = (jax.jit(run) if compiled else run)(params)
        for label, old, new in zip(
            *(jax.tree.leaves(tree) for tree in (labels, params, after)), strict=True
        ):
            assert (bits_of(old) == bits_of(new)) == (label == "frozen")
        moments = [leaf.shape for leaf in jax.tree.leaves(opt_state) if leaf.ndim == 2]
        # Two moments of the head and of the top layer's kernel.
        assert sorted(moments) == [(4, 2), (4, 2), (4, 4), (4, 4)]

    @pytest.mark.parametrize(
        "form", [lambda params: params, stack], ids=["list", "stack"]
    )
    def test_by_parts_keeps_every_bit(self, form):
        params = form(self.odd_params())
        seen = []

        def fit(stage):
            seen.append(stage)
            assert stage.number < 2
            opt_state = stage.opt_state
            updates, opt_state = stage.optimizer.update(
                stage.trainable, opt_state, stage.trainable
            )
            return optax.apply_updates(stage.trainable, updates), opt_state

        runs = gradual_unfreezing(params, adamw(), fit, stages=[0, 1], restart=True)
        for stage, after in runs:
            _, before = split_params(params, stage)
            _, later = split_params(after, stage)
            frozen = jax.tree.leaves(before)
            assert len(frozen) > 1
            assert list(map(bits_of, frozen)) == list(
                map(bits_of, jax.tree.leaves(later))
            )
            trained = split_params(after, stage).trainable
            assert not any(
                bits_of(x) == bits_of(y)
                for x, y in zip(
                    jax.tree.leaves(trained),
                    jax.tree.leaves(seen[-1].trainable),
                    strict=True,
                )
                if np.any(np.asarray(y))
            )

    def test_other_labels_than_the_two_are_refused(self):
        with pytest.raises(ValueError, match=r"'trainable' or 'frozen'.*\n.*a: frosen"):
            cwgnc_jax.freeze(optax.sgd(1.0), {"a": "frosen", "b": "frozen"})

    def test_a_leaf_without_a_label_is_refused(self):
        tx = cwgnc_jax.freeze(optax.sgd(1.0), {"a": "frozen"})
        with pytest.raises(ValueError, match=r"labels: none for the leaves:\n  'b'"):
            tx.init({"a": jnp.ones(2), "b": jnp.ones(2)})

    @pytest.mark.parametrize("params", [{"layers": [jnp.ones(2), jnp.ones(3)]}])
    def test_a_label_without_a_leaf_is_refused(self, params):
        wrong = {"layers": "trainable", "layers/00": "frozen"}
        for labels in (wrong, lambda params: wrong):
            tx = cwgnc_jax.freeze(optax.sgd(1.0), labels)
            with pytest.raises(ValueError, match=r"belong to no leaf:\n  'layers/00'"):
                tx.init(params)

    @pytest.mark.parametrize("hidden", [None, optax.MaskedNode()])
    def test_labels_of_leaves_that_are_hidden(self, hidden):
        params = {"a": jnp.ones(2), "b": hidden, "c": [jnp.ones(1), jnp.ones(1)]}
        # All leaves below c have a nearer one.
        labels = {"a": "trainable", "b/kernel": "frozen", "c": "trainable"}
        labels |= {"c/0": "frozen", "c/1": "frozen"}
        tx = cwgnc_jax.freeze(optax.sgd(1.0), labels)
        updates, _ = tx.update(params, tx.init(params), params)
        assert updates["a"].tolist() == [-1.0, -1.0]
        assert [leaf.tolist() for leaf in updates["c"]] == [[0.0], [0.0]]

    @pytest.mark.parametrize(
        "labels",
        [
            {"encoder": "frozen", "head": "trainable"},
            {"encoder": "frozen", "encoder/1/b": "frozen", "": "trainable"},
            lambda params: {"encoder": "frozen", "head": "trainable"},
            lambda params: jax.tree.map(
                lambda p: "frozen" if p.shape == (3,) else "trainable", params
            ),
        ],
        ids=["prefix", "nearest", "function of a prefix", "function"],
    )
    def test_labels_as_partition_takes_them(self, labels):
        params = {"encoder": [jnp.ones(3), {"b": jnp.ones(3)}], "head": jnp.ones(2)}
        tx = cwgnc_jax.freeze(optax.sgd(1.0), labels)
        updates, _ = tx.update(params, tx.init(params), params)
        after = optax.apply_updates(params, updates)
        jax.tree.map(
            np.testing.assert_array_equal, after, params | {"head": jnp.zeros(2)}
        )

    def test_labels_of_a_function_are_checked(self):
        tx = cwgnc_jax.freeze(optax.sgd(1.0), lambda params: "frosen")
        with pytest.raises(ValueError, match=r"'trainable' or 'frozen'.*\n.*: frosen"):
            tx.init(jnp.ones(2))

    def test_integers_and_booleans_are_left_alone(self):
        params = {
            "count": jnp.arange(3, dtype=jnp.uint8),
            "mask": jnp.array([True, False]),
            "w": jnp.ones(2),
        }
        tx = cwgnc_jax.freeze(
            optax.sgd(1.0), {"count": "frozen", "mask": "frozen", "w": "trainable"}
        )
        updates, _ = tx.update(params, tx.init(params), params)
        after = optax.apply_updates(params, updates)
        assert after["count"].tolist() == [0, 1, 2]
        assert after["mask"].tolist() == [True, False]
        assert after["w"].tolist() == [0.0, 0.0]


PARAMS = {
    "embed": jnp.ones(3),
    "layers": [{"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}] * 2,
    "head": jnp.ones(2),
}
TRANSFORMS = {"slow": optax.sgd(1.0), "fast": optax.sgd(10.0)}


class TestPartitionByPath:
    def test_equals_a_partition_by_hand(self):
        rules = {"head": "fast", r"layers/\d/bias": "fast", ".*": "slow"}
        labels = {
            "embed": "slow",
            "layers": [{"kernel": "slow", "bias": "fast"}] * 2,
            "head": "fast",
        }
        peer = optax.partition(TRANSFORMS, labels)
        expected, _ = peer.update(PARAMS, peer.init(PARAMS), PARAMS)
        for form in (rules, list(rules.items())):
            tx = partition_by_path(TRANSFORMS, form)
            state = tx.init(PARAMS)
            updates, _ = jax.jit(tx.update)(PARAMS, state, PARAMS)
            chex.assert_trees_all_close(updates, expected)

    def test_the_same_rules_for_variables_and_arrays(self):
        """As nnx.Optimizer does: boxes at init, and arrays at update."""

        @jax.tree_util.register_dataclass
        @dataclasses.dataclass
        class Variable:
            value: jax.Array

        rules = [("head", "fast"), (".*", "slow")]
        tx = partition_by_path(TRANSFORMS, rules)
        state = tx.init(jax.tree.map(Variable, PARAMS))
        plain = tx.init(PARAMS)
        updates, _ = tx.update(PARAMS, plain, PARAMS)
        boxed, _ = tx.update(jax.tree.map(Variable, PARAMS), state)
        chex.assert_trees_all_close(jax.tree.leaves(boxed), jax.tree.leaves(updates))
        assert updates["head"].tolist() == [-10.0, -10.0]

    def test_nnx_optimizer(self):
        nnx = pytest.importorskip("flax.nnx")

        class Model(nnx.Module):
            def __init__(self, rngs):
                self.body = nnx.Linear(2, 2, rngs=rngs)
                self.head = nnx.Linear(2, 1, rngs=rngs)

        model = Model(nnx.Rngs(0))
        rules = [("head/.*", "new"), (".*/bias", "frozen"), (".*", "old")]
        tx = partition_by_path(
            {
                "new": optax.sgd(1.0),
                "old": cwgnc_jax.cwgnc_adamw(0.1),
                "frozen": optax.set_to_zero(),
            },
            rules,
        )
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        before = nnx.to_pure_dict(nnx.state(model, nnx.Param))

        @nnx.jit
        def step(model, optimizer):
            def loss(model):
                return jnp.sum(model.head(model.body(jnp.ones((1, 2)))))

            optimizer.update(model, nnx.grad(loss)(model))

        step(model, optimizer)
        after = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
        assert moved == {
            "body": {"bias": False, "kernel": True},
            "head": {"bias": True, "kernel": True},
        }

    def test_inside_a_mask(self):
        rules = [("embed", "fast"), ("head", "fast"), ("layers/.*", "slow")]
        mask = {"embed": False, "layers": True, "head": True}
        tx = optax.masked(partition_by_path(TRANSFORMS, rules), mask)
        updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
        assert updates["embed"].tolist() == [1.0, 1.0, 1.0]
        assert updates["head"].tolist() == [-10.0, -10.0]

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ([("head", "fast")], r"each label of transforms, \['fast', 'slow'\]"),
            ([(".*", "slow"), ("x", "quick")], r"got \['quick', 'slow'\]"),
            ([("(", "slow"), (".*", "fast")], "is not a regular expression"),
        ],
    )
    def test_rules_that_do_not_fit_the_transforms(self, rules, message):
        with pytest.raises(ValueError, match=message):
            partition_by_path(TRANSFORMS, rules)

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            (
                [("head", "fast"), ("layers/.*", "slow")],
                r"rules: no rule matches the leaves:\n  'embed'$",
            ),
            (
                [(".*", "slow"), ("head", "fast")],
                r"no leaf is left .*\n  'head'\nThe leaves are:\n  'embed'",
            ),
        ],
    )
    def test_rules_that_do_not_fit_the_leaves(self, rules, message):
        with pytest.raises(ValueError, match=message):
            partition_by_path(TRANSFORMS, rules).init(PARAMS)
