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
    gradual_unfreezing,
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

    @pytest.mark.parametrize("carry_optimizer", [False, True])
    def test_layers_on_another_axis_train_alike(self, carry_optimizer):
        def fit(stage):
            gradients = jax.tree.map(lambda x: x - 1, stage.trainable)
            updates, state = stage.optimizer.update(gradients, stage.opt_state)
            return optax.apply_updates(stage.trainable, updates), state

        def last(layers, axis):
            params = {"embed": jnp.zeros(2), "layers": layers, "head": jnp.zeros(2)}
            groups = cwgnc_jax.unfreezing_groups(params, layer_axis=axis)
            runs = gradual_unfreezing(
                params, optax.adam(0.1), fit, groups, carry_optimizer=carry_optimizer
            )
            return list(runs)[-1][1]["layers"]

        layers = jnp.arange(24.0).reshape(3, 2, 4)
        expected = last(layers, 0)
        # The same elementwise steps, in programs of other shapes.
        found = jnp.moveaxis(last(jnp.moveaxis(layers, 0, 1), 1), 1, 0)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def sgd_of_ones(stage):
    """One step with gradients of ones."""
    gradients = jax.tree.map(jnp.ones_like, stage.trainable)
    updates, state = stage.optimizer.update(gradients, stage.opt_state, stage.trainable)
    return optax.apply_updates(stage.trainable, updates), state


def small_stack(**others):
    """Four layers in one leaf, with what stands around them."""
    return {"layers": {"k": jnp.ones((4, 2, 2))}, **others}


def clip_layer_3():
    """Ones in a layer have the norm 2: scale 0.05 for layer 3, 1 for all others."""
    rules = [(r"layers/k\[3\]", 0.1), (r"layers/k\[[0-2]\]", 10.0), (".*", 10.0)]
    return cwgnc_jax.clip_by_component_norm(rules, cwgnc_jax.stacked("layers/.*"))


EMBED, HEAD = jnp.ones((3, 2)), jnp.ones((2, 2))


class TestNumbers:
    """A rule for layer 3 is for layer 3, wherever the stack is cut."""

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda clip: optax.chain(clip, optax.sgd(0.1)),
            lambda clip: optax.masked(
                clip, {"embed": False, "layers": True, "head": True}
            ),
            lambda clip: optax.MultiSteps(optax.chain(clip, optax.sgd(0.1)), 1),
            lambda clip: lambda stage: optax.chain(clip, optax.scale(stage)),
        ],
        ids=["chain", "masked", "multi_steps", "by stage"],
    )
    def test_rules_name_layers_of_the_whole(self, wrap):
        params, found = small_stack(embed=EMBED, head=HEAD), []

        def fit(stage):
            trained, state = jax.jit(lambda: sgd_of_ones(stage))()
            found.append(cwgnc_jax.get_clip_state(state).scales)
            return trained, state

        for _ in gradual_unfreezing(params, wrap(clip_layer_3()), fit):
            # Layers come last; 0.1 / 2 for the last of them, nothing else is clipped.
            scales = np.asarray(found[-1])
            np.testing.assert_allclose(scales[-1], 0.05, rtol=1e-6)
            assert (scales[:-1] == 1).all()
        assert len(found) == 4

    def test_runs_side_by_side(self):
        params = jax.tree.map(
            lambda leaf: jnp.stack([leaf, leaf]), small_stack(embed=EMBED, head=HEAD)
        )
        tx = optax.chain(clip_layer_3(), optax.sgd(1.0))

        def fit(stage):
            def step(trainable, state):
                return sgd_of_ones(stage._replace(trainable=trainable, opt_state=state))

            return jax.vmap(step)(stage.trainable, stage.opt_state)

        _, after = next(gradual_unfreezing(params, tx, fit, batched=True))
        np.testing.assert_allclose(after["layers"]["k"][:, 3], 0.95, rtol=1e-6)

    def test_a_start_that_is_given_holds(self):
        params, names = small_stack(embed=EMBED, head=HEAD), []
        groups = cwgnc_jax.unfreezing_groups(params)
        for stage in range(4):
            trainable = cwgnc_jax.split_params(params, stage, groups).trainable
            start = groups.lowest_layer(stage)
            by_hand = cwgnc_jax.stacked("layers/.*", start=start)
            with groups.numbering(stage):
                names = cwgnc_jax.component_names(trainable, by_hand)
            assert names == cwgnc_jax.component_names(trainable, by_hand)

    def test_rules_for_layers_below_the_cut_are_no_mistake(self):
        params = small_stack()
        groups = cwgnc_jax.unfreezing_groups(params, head=None, embeddings=None)
        rules = [(r"layers/k\[0\]", 0.1), (".*", 10.0)]
        clip = cwgnc_jax.clip_by_component_norm(rules, cwgnc_jax.stacked(".*"))
        runs = gradual_unfreezing(
            params, optax.chain(clip, optax.sgd(1.0)), sgd_of_ones, groups
        )
        [*_, (_, after)] = runs
        # Gradients of ones in each stage; 0.05 of them in layer 0, which has one step.
        expected = [0.95, -1, -2, -3]
        np.testing.assert_allclose(after["layers"]["k"][:, 0, 0], expected, rtol=1e-6)

    def test_layers_must_be_the_first_axis_that_is_kept(self):
        params = small_stack(embed=EMBED, head=HEAD)
        components = cwgnc_jax.stacked("layers/.*", axes=(1, 0))
        tx = cwgnc_jax.clip_by_component_norm(1.0, components)
        with pytest.raises(ValueError, match=r"first of its axes, got \(1, 0\)"):
            next(gradual_unfreezing(params, tx, sgd_of_ones))


@pytest.mark.parametrize("fitted", [{"embed": 1, "layers": 2}, (1, 2, 3), None])
def test_parameters_alone_are_not_what_a_stage_returns(fitted):
    params = small_stack(embed=EMBED, head=HEAD)
    message = "trainable parameters of stage 0 and the optimizer's state, got a"
    with pytest.raises(TypeError, match=message):
        next(gradual_unfreezing(params, optax.sgd(0.1), lambda stage: fitted))


def test_all_parameters_are_no_trainable_part():
    params = small_stack(embed=EMBED, head=HEAD)

    def fit(stage):
        trained, state = sgd_of_ones(stage)
        return cwgnc_jax.join_params(trained, stage.frozen), state

    with pytest.raises(ValueError, match=r"stage 0.*\n  'embed: \(3, 2\) instead of"):
        next(gradual_unfreezing(params, optax.sgd(0.1), fit))
