"""Gradual unfreezing against loops written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tanh_layers import (
    NumpyModel,
    adamw,
    bits_of,
    fit_steps,
    loss_of,
    make_data,
    make_params,
    stack,
    step_of_full,
    step_of_split,
)

import cwgnc_jax
from cwgnc_jax import (
    contrib,
    gradual_unfreezing,
    split_params,
    unfreezing_labels,
)


class TestTrajectory:
    """Three stages give the parameters of a loop in NumPy."""

    STEPS = 6

    @pytest.mark.parametrize(
        "form", [lambda params: params, stack], ids=["list", "stack"]
    )
    @pytest.mark.parametrize("restart", [False, True])
    @pytest.mark.parametrize(
        ("layers", "stages"), [(2, (0, 1, 1)), (3, (0, 1, 2))], ids=["2", "3"]
    )
    def test_equals_a_loop_in_numpy(self, layers, stages, restart, form):
        params, data = make_params(layers), make_data()
        numbers = [np.asarray(x) for x in data]
        model = NumpyModel(params)
        runs = gradual_unfreezing(
            form(params),
            adamw(),
            fit_steps(self.STEPS, data),
            stages=stages,
            restart=restart,
        )
        for stage, after in runs:
            model = NumpyModel(params) if restart else model
            model.forget()
            for _ in range(self.STEPS):
                model.step(model.names(stage), 0.01, *numbers)
            model.assert_equal(after)

    @pytest.mark.parametrize(
        "form", [lambda params: params, stack], ids=["list", "stack"]
    )
    def test_a_carried_optimizer_keeps_moments_and_schedule(self, form):
        """Trace with decay, a schedule of the step, and moments kept by hand."""
        params, data = make_params(2), make_data()
        schedule = optax.linear_schedule(0.1, 0.0, 2 * self.STEPS)
        runs = gradual_unfreezing(
            form(params),
            optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(schedule)),
            fit_steps(self.STEPS, data),
            carry_optimizer=True,
        )
        model, count, velocity = NumpyModel(params), 0, {}
        for stage, after in runs:
            for _ in range(self.STEPS):
                gradients = model.gradients(*(np.asarray(x) for x in data))
                for name in model.names(stage):
                    velocity[name] = gradients[name] + 0.9 * velocity.get(name, 0)
                    rate = 0.1 * (1 - count / (2 * self.STEPS))
                    model.weights[name] = model.weights[name] - rate * velocity[name]
                count += 1
            model.assert_equal(after)

    def test_multi_steps_is_an_optimizer(self):
        def last(optimizer):
            fit = fit_steps(3, make_data())
            runs = list(gradual_unfreezing(make_params(2), optimizer, fit))
            return runs[-1][1]

        once = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=1)
        # Updates of up to 0.1 in float32, in programs that round otherwise.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
            last(once),
            last(optax.sgd(0.1)),
        )

    def test_algorithm_1_line_by_line(self):
        """The paper's Algorithm 1; embeddings join in its last iteration."""
        layers, epochs = 3, 2
        data = make_data()
        optimizer = optax.sgd(0.1)
        # Require: a model M with L layers, D, Opt, E.
        model = make_params(layers)
        theta = ["head", *(f"layers/{number}" for number in range(layers)), "embed"]
        # R^(0) <- {}; the head, which the paper leaves out, is always tuned.
        tuned = {"head"}
        # T <- 1
        iteration = 1
        expected = []
        # while T <= L do
        while iteration <= layers:
            # R^(T) <- R^(T-1) + theta^(L-T+1), numbers from 1
            tuned = tuned | {theta[layers - iteration + 1]}
            if iteration == layers:
                tuned = tuned | {"embed"}
            state = None
            # for j = 1 -> E do
            for _ in range(epochs):
                # L <- Forward(M, D); G <- Backward(L, L-T+1, L)
                gradients = jax.grad(loss_of)(model, *data)
                # Update(Opt, G, R^(T))
                flat = {"head": model["head"], "embed": model["embed"]}
                flat |= {f"layers/{n}": each for n, each in enumerate(model["layers"])}
                slopes = {"head": gradients["head"], "embed": gradients["embed"]}
                slopes |= {f"layers/{n}": g for n, g in enumerate(gradients["layers"])}
                chosen = {name: flat[name] for name in sorted(tuned)}
                state = optimizer.init(chosen) if state is None else state
                updates, state = optimizer.update(
                    {name: slopes[name] for name in sorted(tuned)}, state
                )
                # Replace(M, R^(T), L-T+1, L)
                flat |= optax.apply_updates(chosen, updates)
                model = {
                    "embed": flat["embed"],
                    "layers": [flat[f"layers/{n}"] for n in range(layers)],
                    "head": flat["head"],
                }
            # end for; T <- T + 1
            iteration += 1
            expected.append(model)
        # end while
        found = list(
            gradual_unfreezing(
                make_params(layers), optimizer, fit_steps(epochs, data, compiled=False)
            )
        )
        assert [stage for stage, _ in found] == [0, 1, 2]
        for (_, after), model in zip(found, expected, strict=True):
            # The same operations, differentiated as a part: rounding of a few ulp.
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
                after,
                model,
            )

    def test_restarted_last_stage_is_full_fine_tuning(self):
        params, data = make_params(3), make_data()
        fit = fit_steps(4, data)
        [(_, last)] = gradual_unfreezing(params, adamw(), fit, restart=True, stages=[2])
        step = jax.jit(step_of_full(adamw(), *data))
        trained, state = params, adamw().init(params)
        for _ in range(4):
            trained, state = step(trained, state)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
            last,
            trained,
        )

    def test_independent_runs_on_a_leading_axis(self):
        params, data = stack(make_params(2)), make_data()
        runs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 0.5]), params)

        def fit(stage):
            step = step_of_split(stage.optimizer, *data)
            step = jax.jit(jax.vmap(step))
            trainable, opt_state = stage.trainable, stage.opt_state
            for _ in range(3):
                trainable, opt_state = step(trainable, opt_state, stage.frozen)
            return trainable, opt_state

        together = gradual_unfreezing(
            runs, adamw(), fit, batched=True, carry_optimizer=True
        )
        alone = [
            gradual_unfreezing(
                jax.tree.map(lambda leaf, n=n: leaf[n], runs),
                adamw(),
                fit_steps(3, data),
                carry_optimizer=True,
            )
            for n in range(2)
        ]
        for (_, both), (_, one), (_, two) in zip(together, *alone, strict=True):
            jax.tree.map(
                lambda b, x, y: np.testing.assert_allclose(
                    b, np.stack([x, y]), rtol=1e-5, atol=1e-6
                ),
                both,
                one,
                two,
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

    @pytest.mark.parametrize(
        "labels",
        [
            {"encoder": "frozen", "head": "trainable"},
            {"encoder": "frozen", "encoder/b": "frozen", "": "trainable"},
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
