"""A small model of tanh layers, in JAX and in NumPy, for tests of unfreezing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cwgnc_jax import (
    join_params,
)

WIDTH = 4

DENSE = {"kernel": np.ones((3, 3), np.float32), "bias": np.ones(3, np.float32)}


def bert(**encoder):
    """Parameters of a BERT's shape around layers of any form."""
    return {
        "embeddings": {"word": DENSE, "norm": DENSE},
        "encoder": encoder,
        "pooler": DENSE,
        "classifier": DENSE,
    }


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


def step_of_full(optimizer, ids, targets):
    def step(params, opt_state):
        gradients = jax.grad(loss_of)(params, ids, targets)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step
