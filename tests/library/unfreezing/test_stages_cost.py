"""What a stage of gradual unfreezing costs: operations, loops and memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxprs import scans_of
from tanh_layers import (
    adamw,
    apply_layer,
    make_data,
    make_params,
    stack,
    step_of_full,
    step_of_split,
)

import cwgnc_jax
from cwgnc_jax import (
    split_params,
    unfreezing_labels,
)

pytestmark = pytest.mark.cpu


def flops(function, *args):
    cost = jax.jit(function).lower(*args).compile().cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    assert cost is not None
    return cost["flops"]


class TestCost:
    """What the compiled step of a stage costs."""

    LAYERS, WIDE = 6, 64

    @pytest.fixture
    def params(self):
        return make_params(self.LAYERS, self.WIDE, vocabulary=50)

    @pytest.fixture
    def data(self):
        return make_data(batch=256, vocabulary=50)

    def expected_flops(self, params, data, stage):
        """Forward pass of the frozen part, and a training step of the top alone."""
        ids, targets = data
        boundary = self.LAYERS - 1 - stage
        frozen, trained = params["layers"][:boundary], params["layers"][boundary:]

        def lower(embed, layers):
            return functools.reduce(apply_layer, layers, embed[ids])

        def upper(part, hidden):
            hidden = functools.reduce(apply_layer, part["layers"], hidden)
            return jnp.mean((hidden @ part["head"]["kernel"] - targets) ** 2)

        def step(part, opt_state, hidden):
            gradients = jax.grad(upper)(part, hidden)
            updates, opt_state = adamw().update(gradients, opt_state, part)
            return optax.apply_updates(part, updates), opt_state

        part = {"layers": trained, "head": params["head"]}
        hidden = jnp.zeros((len(ids), self.WIDE))
        return flops(step, part, adamw().init(part), hidden) + flops(
            lower, params["embed"], frozen
        )

    @pytest.mark.parametrize("stage", range(LAYERS - 1))
    @pytest.mark.parametrize("way", ["labels", "parts"])
    def test_forward_and_backward_of_the_top_alone(self, params, data, stage, way):
        if way == "labels":
            tx = cwgnc_jax.freeze(adamw(), unfreezing_labels(params, stage))
            found = flops(step_of_full(tx, *data), params, tx.init(params))
        else:
            part, frozen = split_params(params, stage)
            step = step_of_split(adamw(), *data)
            found = flops(step, part, adamw().init(part), frozen)
        expected = self.expected_flops(params, data, stage)
        np.testing.assert_allclose(found, expected, rtol=0.02)

    @pytest.mark.parametrize("way", ["labels", "parts"])
    def test_last_stage_is_full_fine_tuning(self, params, data, way):
        full = flops(step_of_full(adamw(), *data), params, adamw().init(params))
        if way == "labels":
            tx = cwgnc_jax.freeze(adamw(), unfreezing_labels(params, self.LAYERS - 1))
            found = flops(step_of_full(tx, *data), params, tx.init(params))
        else:
            part, frozen = split_params(params, self.LAYERS - 1)
            step = step_of_split(adamw(), *data)
            found = flops(step, part, adamw().init(part), frozen)
        np.testing.assert_allclose(found, full, rtol=0.02)

    def test_clipping_by_component_keeps_no_frozen_gradient_alive(self, params, data):
        labels = unfreezing_labels(params, 0)

        def cost(tx):
            tx = cwgnc_jax.freeze(tx, labels)
            return flops(step_of_full(tx, *data), params, tx.init(params))

        assert cost(cwgnc_jax.cwgnc_adamw(0.1)) < 1.02 * cost(adamw(0.1))

    @pytest.mark.parametrize("stage", range(LAYERS))
    def test_scanned_program_has_no_backward_loop_over_frozen_layers(
        self, params, data, stage
    ):
        part, frozen = split_params(stack(params), stage)
        args = (part, adamw().init(part), frozen)
        step = step_of_split(adamw(), *data)
        scans = scans_of(jax.make_jaxpr(step)(*args).jaxpr)
        count = stage + 1
        expected = [(count, False), (count, True)]
        if count < self.LAYERS:
            expected.append((self.LAYERS - count, False))
        assert sorted(scans) == sorted(expected)
        # XLA keeps as many loops, or unrolls those of one layer; it may make others of
        # other operations, such as the sum of the embeddings' gradients.
        text = jax.jit(step).lower(*args).compile().as_text()
        loops = sum(
            " while(" in line and '/while"' in line for line in text.splitlines()
        )
        assert loops <= len(expected)

    def test_frozen_layers_keep_no_activations(self, params, data):
        """Temporary memory grows by a layer's activations with each stage."""

        def temporary(stage):
            part, frozen = split_params(stack(params), stage)
            step = step_of_split(optax.sgd(0.1), *data)
            compiled = jax.jit(step).lower(part, optax.sgd(0.1).init(part), frozen)
            return compiled.compile().memory_analysis().temp_size_in_bytes

        sizes = [temporary(stage) for stage in range(1, self.LAYERS - 1)]
        activation = len(data[0]) * self.WIDE * 4
        assert all(np.diff(sizes) >= activation)
