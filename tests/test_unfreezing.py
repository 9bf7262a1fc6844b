"""Gradual unfreezing against loops written by hand, and what a stage costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import (
    gradual_unfreezing,
    join_params,
    split_params,
    unfreezing_groups,
    unfreezing_labels,
)

WIDTH = 4


def layer(key, width=WIDTH):
    return {
        "kernel": jax.random.normal(key, (width, width)) * width**-0.5,
        "bias": jnp.zeros(width),
    }


def make_params(layers, width=WIDTH, vocabulary=7, outputs=2):
    """Embedding, tanh layers in a list, linear head."""
    keys = jax.random.split(jax.random.key(0), layers + 2)
    return {
        "embed": jax.random.normal(keys[0], (vocabulary, width)),
        "layers": [layer(key, width) for key in keys[2:]],
        "head": {"kernel": jax.random.normal(keys[1], (width, outputs))},
    }


def stack(params):
    """The same with the layers on a leading axis."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params["layers"])
    return params | {"layers": stacked}


def apply_layer(hidden, layer):
    return jnp.tanh(hidden @ layer["kernel"] + layer["bias"])


def loss_of(params, ids, targets):
    """Loss of a model with layers in a list, stacked, or in two stacks."""
    hidden = params["embed"][ids]
    layers = params["layers"]
    if isinstance(layers, list):
        for each in layers:
            hidden = apply_layer(hidden, each)
    else:
        for part in [layers] if "kernel" in layers else [layers[0], layers[1]]:
            hidden, _ = jax.lax.scan(
                lambda h, w: (apply_layer(h, w), None), hidden, part
            )
    return jnp.mean((hidden @ params["head"]["kernel"] - targets) ** 2)


def make_data(batch=5, outputs=2, vocabulary=7):
    ids = jax.random.randint(jax.random.key(1), (batch,), 0, vocabulary)
    return ids, jax.random.normal(jax.random.key(2), (batch, outputs))


def step_of_split(optimizer, ids, targets):
    """A training step that differentiates the trainable part alone."""

    def loss(trainable, frozen):
        joined = join_params(trainable, frozen, keep_cut="layers")
        return loss_of(joined, ids, targets)

    def step(trainable, opt_state, frozen):
        gradients = jax.grad(loss)(trainable, frozen)
        updates, opt_state = optimizer.update(gradients, opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state

    return step


def fit_steps(steps, data, compiled=True):
    def fit(stage):
        step = step_of_split(stage.optimizer, *data)
        step = jax.jit(step) if compiled else step
        trainable, opt_state = stage.trainable, stage.opt_state
        for _ in range(steps):
            trainable, opt_state = step(trainable, opt_state, stage.frozen)
        return trainable, opt_state

    return fit


def bits_of(leaf):
    return np.asarray(leaf).tobytes()


class NumpyModel:
    """The same model with backpropagation and AdamW written out, in float64."""

    b1, b2, eps, decay = 0.9, 0.999, 1e-6, 0.01

    def __init__(self, params):
        self.weights = {"embed": np.asarray(params["embed"], np.float64)}
        for number, each in enumerate(params["layers"]):
            self.weights[f"kernel {number}"] = np.asarray(each["kernel"], np.float64)
            self.weights[f"bias {number}"] = np.asarray(each["bias"], np.float64)
        self.weights["head"] = np.asarray(params["head"]["kernel"], np.float64)
        self.layers = len(params["layers"])
        self.forget()

    def forget(self):
        self.count = {}
        self.first, self.second = {}, {}

    def gradients(self, ids, targets):
        weights = self.weights
        hidden = [weights["embed"][ids]]
        for n in range(self.layers):
            total = hidden[-1] @ weights[f"kernel {n}"] + weights[f"bias {n}"]
            hidden.append(np.tanh(total))
        error = 2 * (hidden[-1] @ weights["head"] - targets) / targets.size
        found = {"head": hidden[-1].T @ error}
        back = error @ weights["head"].T
        for n in reversed(range(self.layers)):
            back = back * (1 - hidden[n + 1] ** 2)
            found[f"kernel {n}"] = hidden[n].T @ back
            found[f"bias {n}"] = back.sum(axis=0)
            back = back @ weights[f"kernel {n}"].T
        found["embed"] = np.zeros_like(weights["embed"])
        np.add.at(found["embed"], ids, back)
        return found

    def step(self, names, learning_rate, ids, targets):
        """AdamW on the weights named; each counts its own steps."""
        gradients = self.gradients(ids, targets)
        for name in names:
            gradient = gradients[name]
            count = self.count[name] = self.count.get(name, 0) + 1
            first = self.b1 * self.first.get(name, 0) + (1 - self.b1) * gradient
            second = self.b2 * self.second.get(name, 0) + (1 - self.b2) * gradient**2
            self.first[name], self.second[name] = first, second
            direction = (first / (1 - self.b1**count)) / (
                np.sqrt(second / (1 - self.b2**count)) + self.eps
            )
            direction = direction + self.decay * self.weights[name]
            self.weights[name] = self.weights[name] - learning_rate * direction

    def names(self, stage):
        lowest = self.layers - 1 - stage
        chosen = {
            f"{kind} {n}" for kind in ("kernel", "bias") for n in range(self.layers)
        }
        chosen = {name for name in chosen if int(name.split()[1]) >= lowest} | {"head"}
        return chosen | {"embed"} if lowest == 0 else chosen

    def assert_equal(self, params):
        layers = params["layers"]
        if not isinstance(layers, list):
            layers = [
                jax.tree.map(lambda x, n=n: x[n], layers) for n in range(self.layers)
            ]
        found = {"embed": params["embed"], "head": params["head"]["kernel"]}
        for n, each in enumerate(layers):
            found |= {f"kernel {n}": each["kernel"], f"bias {n}": each["bias"]}
        for name, expected in self.weights.items():
            # Some 30 steps in float32; Adam divides by roots of squares near eps.
            np.testing.assert_allclose(
                found[name], expected, rtol=2e-4, atol=2e-5, err_msg=name
            )


def adamw(learning_rate=0.01):
    model = NumpyModel
    return optax.adamw(
        learning_rate, b1=model.b1, b2=model.b2, eps=model.eps, weight_decay=model.decay
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


def step_of_full(optimizer, ids, targets):
    def step(params, opt_state):
        gradients = jax.grad(loss_of)(params, ids, targets)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step


class TestFrozen:
    def odd_params(self):
        """Parameters with values that an addition of 0 would change."""
        params = make_params(3)
        params["embed"] = params["embed"].at[0].set(-0.0).at[1, 0].set(jnp.nan)
        params["layers"][0]["bias"] = jnp.array([-0.0, 1e-45, jnp.inf, 0.0])
        return params

    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize(
        "make", [adamw, cwgnc_jax.cwgnc_adamw, cwgnc_jax.bert_adamw]
    )
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
        # XLA keeps as many loops, or unrolls those of one layer.
        text = jax.jit(step).lower(*args).compile().as_text()
        loops = sum(" while(" in line for line in text.splitlines())
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


def scans_of(jaxpr):
    """Length and direction of every scan, at any depth."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            found.append((equation.params["length"], equation.params["reverse"]))
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += scans_of(inner)
    return found


DENSE = {"kernel": np.ones((3, 3), np.float32), "bias": np.ones(3, np.float32)}


def bert(**encoder):
    return {
        "embeddings": {"word": DENSE, "norm": DENSE},
        "encoder": encoder,
        "pooler": DENSE,
        "classifier": DENSE,
    }


class TestGroups:
    NAMES = ("head", "layer 2", "layer 1", "layer 0", "embeddings")

    @pytest.mark.parametrize(
        "encoder",
        [
            {"layers": [DENSE] * 3},
            {"layer": {str(n): DENSE for n in range(3)}},
            {f"layer_{n}": DENSE for n in range(3)},
            {f"TransformerBlock_{n}": DENSE for n in range(3)},
            {f"encoder/layer_{n}/linear": DENSE for n in range(3)},
            {
                f"h{n}": {"attention": DENSE, "mlp": {"layers": [DENSE] * 2}}
                for n in range(3)
            },
            {"blocks": {"kernel": np.ones((3, 4, 4)), "bias": np.ones((3, 4))}},
            {"layers": {"query": {"kernel": np.ones((3, 4, 4))}}},
        ],
        ids=[
            "list",
            "hugging face",
            "linen",
            "capitals",
            "haiku",
            "nested",
            "s1",
            "s2",
        ],
    )
    def test_found_in_trees_of_all_kinds(self, encoder):
        groups = unfreezing_groups(bert(**encoder))
        assert groups.names == self.NAMES
        assert groups.stages == 3
        assert groups.trainable(0) == self.NAMES[:2]
        assert groups.trainable(1) == self.NAMES[:3]
        assert groups.trainable(2) == self.NAMES
        assert [groups.lowest_layer(stage) for stage in range(3)] == [2, 1, 0]

    def test_more_than_ten_layers_are_ordered_as_numbers(self):
        groups = unfreezing_groups(bert(**{f"layer_{n}": DENSE for n in range(12)}))
        assert groups.names[1:4] == ("layer 11", "layer 10", "layer 9")

    def test_numbers_are_those_of_the_tree(self):
        groups = unfreezing_groups(bert(**{f"layer_{n}": DENSE for n in (4, 2, 9)}))
        assert groups.names == ("head", "layer 9", "layer 4", "layer 2", "embeddings")

    def test_shapes_are_enough(self):
        params = jax.eval_shape(lambda: stack(make_params(3)))
        assert unfreezing_groups(params).stages == 3

    def test_a_list_of_stacks(self):
        cut = {n: {"kernel": np.ones((size, 2, 2))} for n, size in enumerate((2, 1))}
        params = bert(layers=cut)
        assert unfreezing_groups(params).stages == 2
        groups = unfreezing_groups(params, stacked=True)
        assert groups.names == self.NAMES
        labels = unfreezing_labels(params, 0, groups)["encoder"]["layers"]
        assert labels == {0: {"kernel": "frozen"}, 1: {"kernel": "trainable"}}
        with pytest.raises(
            ValueError, match=r"part of these leaves.*\n.*layers/0/kernel"
        ):
            unfreezing_labels(params, 1, groups)
        trainable, frozen = split_params(params, 1, groups)
        assert trainable["encoder"]["layers"][0]["kernel"].shape == (1, 2, 2)
        assert frozen["encoder"]["layers"][0]["kernel"].shape == (1, 2, 2)
        assert trainable["encoder"]["layers"][1]["kernel"].shape == (1, 2, 2)
        assert jax.tree.leaves(frozen["encoder"]["layers"][1]) == []

    def test_groups_by_name(self):
        params = {"tokens": DENSE, "trunk": [DENSE] * 2, "norm": DENSE, "out": DENSE}
        groups = unfreezing_groups(
            params, head="norm|out", layers=r"trunk/(\d+)", embeddings="tokens"
        )
        assert unfreezing_labels(params, 0, groups) == {
            "tokens": dict.fromkeys(DENSE, "frozen"),
            "trunk": [
                dict.fromkeys(DENSE, "frozen"),
                dict.fromkeys(DENSE, "trainable"),
            ],
            "norm": dict.fromkeys(DENSE, "trainable"),
            "out": dict.fromkeys(DENSE, "trainable"),
        }

    def test_without_head_and_embeddings(self):
        params = {"layers": [DENSE] * 3}
        groups = unfreezing_groups(params, head=None, embeddings=None)
        assert groups.names == ("layer 2", "layer 1", "layer 0")

    @pytest.mark.parametrize(
        ("params", "options", "message"),
        [
            ({"layers": [DENSE], "embed": DENSE}, {}, r"head: no node .*head=None"),
            (bert(layers=[DENSE]), {"head": "top"}, r"head: no node .* 'top'"),
            (
                {"layers": [DENSE], "head": DENSE},
                {},
                r"embeddings: no node.*\n  'head/bias'",
            ),
            (bert(stem=DENSE), {}, r"layers must say .*\n(.*\n)*  'encoder/stem/bias'"),
            (bert(layers=[DENSE]), {"layers": "trunk"}, r"layers: no node .* 'trunk'"),
            (
                bert(layers=[DENSE], final=DENSE),
                {},
                r"in none of them:\n  'encoder/final/bias'\n  'encoder/final/kernel'",
            ),
            (
                {**bert(layers=[DENSE]), "decoder": {"layers": [DENSE]}},
                {},
                r"which of these nodes.*\n  'decoder/layers/'\n  'encoder/layers/'",
            ),
            (
                bert(layers={"a": np.ones((3, 2)), "b": np.ones((2, 2))}),
                {},
                r"as many on each, got:\n  'encoder/layers/a \(3, 2\)'",
            ),
            (bert(layers={"a": np.float32(1)}), {}, r"on their first axis"),
            (bert(layers=[DENSE]), {"layers": "encoder/(layers)"}, r"must be a number"),
            (bert(layers=[DENSE]), {"layers": "encoder/("}, r"regular expression"),
            (
                bert(layers=[DENSE]),
                {"layers": "encoder/layers", "stacked": False},
                r"must have a group",
            ),
        ],
    )
    def test_mistakes(self, params, options, message):
        with pytest.raises(ValueError, match=message):
            unfreezing_groups(params, **options)

    @pytest.mark.parametrize("stage", [-1, 2])
    def test_stages_that_are_not_there(self, stage):
        with pytest.raises(ValueError, match=r"stage must be one of 0 to 1.* got"):
            unfreezing_labels(make_params(2), stage)
        with pytest.raises(ValueError, match="stage must be"):
            gradual_unfreezing(make_params(2), adamw(), lambda _: _, stages=[0, stage])

    def test_groups_of_another_tree(self):
        groups = unfreezing_groups(make_params(2))
        with pytest.raises(ValueError, match="has no leaf 'layers/2/bias'"):
            split_params(make_params(3), 0, groups)


class TestSplit:
    @pytest.mark.parametrize(
        "form", [lambda params: params, stack], ids=["list", "stack"]
    )
    @pytest.mark.parametrize("stage", range(3))
    def test_join_is_the_inverse(self, form, stage):
        params = form(make_params(3))
        joined = join_params(*split_params(params, stage))
        assert jax.tree.structure(joined) == jax.tree.structure(params)
        assert list(map(bits_of, jax.tree.leaves(joined))) == list(
            map(bits_of, jax.tree.leaves(params))
        )

    def test_components_of_a_cut_stack_keep_their_names(self):
        params = stack(make_params(4))
        groups = unfreezing_groups(params)
        trainable, _ = split_params(params, 1, groups)
        components = cwgnc_jax.stacked("layers/.*", start=groups.lowest_layer(1))
        names = cwgnc_jax.component_names(trainable, components)
        whole = cwgnc_jax.component_names(params, cwgnc_jax.stacked("layers/.*"))
        assert names == (
            "head/kernel",
            *(f"layers/{x}[{n}]" for x in ("bias", "kernel") for n in (2, 3)),
        )
        assert set(names) < set(whole)

    def test_rules_about_frozen_leaves_are_no_mistake(self):
        params = make_params(2)
        trainable, _ = split_params(params, 0)
        rules = [("embed", None), ("layers/0/.*", 0.1), (".*", 1.0)]
        state = cwgnc_jax.clip_by_component_norm(rules).init(trainable)
        assert state.norms.shape == (3,)

    def test_uncut_where_nothing_is_frozen(self):
        params = stack(make_params(2))
        joined = join_params(*split_params(params, 1), keep_cut="layers")
        assert joined["layers"]["kernel"].shape == (2, WIDTH, WIDTH)

    def test_no_node_to_keep_cut(self):
        parts = split_params(stack(make_params(2)), 0)
        with pytest.raises(ValueError, match=r"no node 'encoder/layers'.*\n  'embed'"):
            join_params(*parts, keep_cut="encoder/layers")

    def test_parts_of_different_trees(self):
        with pytest.raises(ValueError, match="parts of one tree"):
            join_params({"a": jnp.ones(2)}, {"b": jnp.ones(2)})
        with pytest.raises(
            ValueError, match=r"not cut from one: a \(2,\) and \(2, 2\)"
        ):
            join_params({"a": jnp.ones(2)}, {"a": jnp.ones((2, 2))})


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

    def test_a_stack_that_shrinks_is_refused(self):
        params = stack(make_params(3))
        tx = optax.adam(0.1)
        state = tx.init(split_params(params, 1).trainable)
        with pytest.raises(ValueError, match="not that of upper layers of"):
            cwgnc_jax.carry_opt_state(tx, split_params(params, 0).trainable, state)
