"""Optimizer states that go on to the next stage."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tanh_layers import WIDTH, adamw, make_params, stack

import cwgnc_jax
from cwgnc_jax import (
    contrib,
    split_params,
    unfreezing_groups,
    unfreezing_labels,
)


class TestCarry:
    def test_adam(self):
        params = stack(make_params(3))
        tx = optax.adam(0.1)
        trainable, _ = split_params(params, 0)
        _, before = tx.update(trainable, tx.init(trainable), trainable)
        following, _ = split_params(params, 1)
        after = cwgnc_jax.carry_opt_state(tx, following, before)
        old, new = before[0].mu["layers"]["kernel"], after[0].mu["layers"]["kernel"]
        assert new.shape == (2, WIDTH, WIDTH)
        assert not new[0].any()
        np.testing.assert_array_equal(new[1:], old)
        np.testing.assert_array_equal(
            after[0].nu["head"]["kernel"], before[0].nu["head"]["kernel"]
        )
        assert after[0].count == 1

    def test_frozen_by_labels(self):
        params = make_params(3)
        first, second = (
            cwgnc_jax.freeze(adamw(), unfreezing_labels(params, stage))
            for stage in (0, 1)
        )
        _, before = first.update(params, first.init(params), params)
        after = cwgnc_jax.carry_opt_state(second, params, before)
        expected = second.init(params)
        assert jax.tree.structure(after) == jax.tree.structure(expected)
        moments = after.inner_states["trainable"].inner_state[0].mu["layers"]
        assert moments[2]["kernel"].any()
        assert not moments[1]["kernel"].any()

    def test_hyperparameters_are_those_of_the_new_stage(self):
        params = stack(make_params(3))
        inject = optax.inject_hyperparams(
            cwgnc_jax.cwgnc_adamw, static_args=("mask", "components", "specs")
        )

        def optimizer(rate, max_norm):
            inner = inject(rate, max_norm=max_norm)
            return optax.chain(optax.identity(), inner)

        first, second = optimizer(1e-2, 0.1), optimizer(1e-3, 0.2)
        state = first.init(params)
        _, state = first.update(params, state, params)
        carried = cwgnc_jax.carry_opt_state(second, params, state)
        found = carried[1].hyperparams
        assert (found["learning_rate"], found["max_norm"]) == pytest.approx((1e-3, 0.2))
        assert carried[1].count == 1
        moments = [optax.tree.get(each, "mu") for each in (carried, state)]
        chex.assert_trees_all_equal(*moments)

    def test_records_of_components_start_anew(self):
        params = stack(make_params(3))
        state = None
        for stage in range(3):
            trainable, _ = split_params(params, stage)
            components = cwgnc_jax.stacked("layers/.*", start=2 - stage)
            tx = cwgnc_jax.cwgnc_adamw(0.1, components=components)
            if state is None:
                state = tx.init(trainable)
            else:
                state = cwgnc_jax.carry_opt_state(tx, trainable, state)
                assert not cwgnc_jax.get_clip_state(state).norms.any()
            assert cwgnc_jax.get_clip_state(state).count == stage
            _, state = jax.jit(tx.update)(trainable, state, trainable)

    def test_references_of_fewer_layers_are_not_those_of_more(self):
        # The whole stack is one component, in each stage, but not the same one.
        params, tx = stack(make_params(3)), contrib.adagc(start=2)
        trainable = split_params(params, 0).trainable
        _, state = tx.update(trainable, tx.init(trainable))
        assert np.isfinite(state.references).any()
        trainable = split_params(params, 1).trainable
        carried = cwgnc_jax.carry_opt_state(tx, trainable, state)
        assert carried.references.shape == state.references.shape
        assert np.isinf(carried.references).all()
        assert carried.count == 1

    def test_a_stack_that_shrinks_is_refused(self):
        params = stack(make_params(3))
        tx = optax.adam(0.1)
        state = tx.init(split_params(params, 1).trainable)
        with pytest.raises(ValueError, match="not that of upper layers of"):
            cwgnc_jax.carry_opt_state(tx, split_params(params, 0).trainable, state)

    def test_layers_on_another_axis(self):
        params = {
            "embed": jnp.ones(2),
            "layers": {"k": jnp.arange(24.0).reshape(2, 3, 4)},
            "head": jnp.ones(2),
        }
        groups = unfreezing_groups(params, layer_axis=1)
        tx = optax.trace(0.9)
        first, second = (split_params(params, n, groups).trainable for n in (0, 1))
        _, before = tx.update(first, tx.init(first))
        after = cwgnc_jax.carry_opt_state(tx, second, before, groups).trace["layers"]
        assert after["k"].shape == (2, 2, 4)
        assert not after["k"][:, 0].any()
        np.testing.assert_array_equal(after["k"][:, 1], params["layers"]["k"][:, 2])


KERNEL = {"kernel": jnp.ones((2, 2))}


class TestNesting:
    @pytest.mark.parametrize(
        "other",
        [
            lambda clip: optax.chain(optax.chain(clip, optax.adam(0.1))),
            lambda clip: optax.chain(optax.adam(0.1), clip),
            lambda clip: optax.chain(optax.identity(), clip, optax.adam(0.1)),
            lambda clip: optax.adam(0.1),
        ],
    )
    def test_another_one_is_refused(self, other):
        clip = cwgnc_jax.clip_by_component_norm(1.0)
        tx = optax.chain(clip, optax.adam(0.1))
        state = tx.init(KERNEL)
        for new, old in ((tx, other(clip)), (other(clip), tx)):
            state = old.init(KERNEL)
            with pytest.raises(ValueError, match="nested alike"):
                cwgnc_jax.carry_opt_state(new, KERNEL, state)

    @pytest.mark.parametrize("nothing", [None, ()])
    def test_nothing_to_go_on_from(self, nothing):
        with pytest.raises(ValueError, match=r"nested alike.*\n  '0/trace/'"):
            cwgnc_jax.carry_opt_state(optax.sgd(0.1, momentum=0.9), KERNEL, nothing)
        stateless = optax.sgd(0.1)
        carried = cwgnc_jax.carry_opt_state(stateless, KERNEL, nothing)
        assert carried == stateless.init(KERNEL)
