"""All transformations under optax.inject_hyperparams and jit: nothing changes."""

import ast
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

PARAMS = {
    "dense": {"kernel": jnp.full((3, 2), 0.5), "bias": jnp.array([0.1, -0.2])},
    "stack": jnp.ones((2, 3)),
}
GRADIENTS = {
    "dense": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.array([0.03, 0.04])},
    "stack": jnp.array([[3.0, 0.0, 4.0], [0.0, 0.1, 0.0]]),
}
# What optax would take for schedules, were it not told.
CALLABLES = {
    "components": cwgnc_jax.stacked("stack"),
    "mask": cwgnc_jax.decay_mask,
    "mu_dtype": jnp.float32,
    "specs": None,
    "window": 3,
    "key": jax.random.key(0),
    "pretrained": PARAMS,
}


@pytest.mark.parametrize(
    ("factory", "numbers"),
    [
        (cwgnc_jax.clip_by_component_norm, {"max_norm": 0.5}),
        (contrib.adaptive_clip_by_component_norm, {"clipping": 0.5}),
        (contrib.adagc, {"start": 2}),
        (contrib.autoclip_by_component_norm, {"quantile": 0.25}),
        (contrib.child_tuning, {"reserve": 0.5}),
        (contrib.decay_towards_pretrained, {"strength": 0.5}),
        (cwgnc_jax.cwgnc_adamw, {"learning_rate": 0.1}),
        (contrib.bert_adamw, {"learning_rate": 0.1}),
        (contrib.bert_adamw, {"learning_rate": 0.1, "bias_correction": True}),
        (contrib.bert_adamw, {"learning_rate": 0.1, "max_norm": None}),
        (contrib.scale_by_bert_adam, {}),
    ],
)
def test_equals_the_transformation_itself(factory, numbers):
    [documented] = re.findall(r"static_args=(\([^)]*\))", factory.__doc__)[:1]
    static = ast.literal_eval(documented)
    arguments = numbers | {name: CALLABLES[name] for name in static}
    plain = factory(**arguments)
    injected = optax.inject_hyperparams(factory, static_args=static)(**arguments)
    state, other = plain.init(PARAMS), injected.init(PARAMS)
    assert set(other.hyperparams) >= {
        name for name, value in numbers.items() if type(value) in (int, float)
    }
    update = jax.jit(injected.update)
    for _ in range(2):
        expected, state = plain.update(GRADIENTS, state, PARAMS)
        updates, other = update(GRADIENTS, other, PARAMS)
        # As an array 0.999 is rounded to float32: 1 - 0.999 moves by 3e-5 of
        # itself, and its root by half of that.
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5), updates, expected
        )
