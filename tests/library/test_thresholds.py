"""Thresholds: numbers, schedules, rules over names."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax

GRADIENTS = {
    "kernel": jnp.ones((4, 6)),
    "bias": jnp.ones(6),
    "scalar": jnp.ones(()),
    "stack": jnp.ones((3, 2, 5)),
}


@pytest.fixture(autouse=True)
def _strict():
    """Implicit promotion of dtypes or ranks, and malformed programs, are errors."""
    with (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.enable_checks(True),
    ):
        yield


def clip(gradients, max_norm, components=None):
    """Clipped gradients and the state after one step."""
    tx = cwgnc_jax.clip_by_component_norm(max_norm, components)
    return jax.jit(tx.update)(gradients, tx.init(gradients))


def test_schedule_of_the_step():
    gradients = {"x": jnp.array([3.0, 4.0])}
    schedule = optax.linear_schedule(4.0, 0.0, 4)
    tx = cwgnc_jax.clip_by_component_norm(schedule)
    state = tx.init(gradients)
    norms = []
    for _ in range(6):
        clipped, state = tx.update(gradients, state)
        norms.append(np.linalg.norm(clipped["x"]))
    np.testing.assert_allclose(norms, [4, 3, 2, 1, 0, 0], rtol=1e-6)
    assert state.count == 6
    assert state.count.dtype == jnp.int32


@pytest.mark.parametrize("as_dict", [True, False])
def test_rules_match_the_whole_name_index_included(as_dict):
    gradients = {"a/kernel": jnp.ones((4, 9)), "b/kernel": jnp.ones(9), "c": 2.0}
    rules = {
        r".*/kernel\[[23]\]": 0.3,
        r".*/kernel\[1\]": None,
        ".*/kernel.*": lambda count: 0.6 + 0.0 * count,
        "c": jnp.asarray(1.5),
    }
    components = cwgnc_jax.stacked("a/kernel")
    tx = cwgnc_jax.clip_by_component_norm(
        rules if as_dict else list(rules.items()), components
    )
    with jax.numpy_dtype_promotion("standard"):  # 0.0 * count is the test's own.
        clipped, state = jax.jit(tx.update)(gradients, tx.init(gradients))
    names = cwgnc_jax.component_names(gradients, components)
    assert names[-1] == "c"
    np.testing.assert_allclose(state.scales, [0.2, 1.0, 0.1, 0.1, 0.2, 0.75], rtol=1e-6)
    np.testing.assert_array_equal(clipped["a/kernel"][1], 1.0)


def test_none_leaves_even_nan_alone():
    gradients = {"stack": jnp.array([[1.0, np.nan], [3.0, 4.0]])}
    rules = [(r"stack\[0\]", None), (".*", 1.0)]
    clipped, state = clip(gradients, rules, cwgnc_jax.stacked("stack"))
    np.testing.assert_array_equal(clipped["stack"][0], [1.0, np.nan])
    np.testing.assert_allclose(clipped["stack"][1], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(state.scales, [1.0, 0.2], rtol=1e-6)


@pytest.mark.parametrize("bad", [-1, -0.5, np.nan, jnp.asarray(-1.0), [("x", -1)]])
def test_concrete_thresholds_below_zero_or_nan(bad):
    with pytest.raises(ValueError, match=r"max_norm.* must be at least 0"):
        cwgnc_jax.clip_by_component_norm(bad)


@pytest.mark.parametrize("returned", [None, "0.1"])
def test_schedules_of_what_is_no_number(returned):
    tx = cwgnc_jax.clip_by_component_norm({"x": lambda count: returned})
    gradients = {"x": jnp.ones(3)}
    with pytest.raises(TypeError, match=r"what max_norm of 'x' returns must be a num"):
        tx.update(gradients, tx.init(gradients))


@pytest.mark.parametrize("bad", [None, "0.05", True, 1j, object(), float, jnp.float32])
def test_what_is_no_threshold(bad):
    with pytest.raises(TypeError, match="max_norm"):
        cwgnc_jax.clip_by_component_norm(bad)


def test_arrays_are_no_thresholds():
    with pytest.raises(ValueError, match=r"a scalar, got an array of shape \(2,\)"):
        cwgnc_jax.clip_by_component_norm(jnp.ones(2))


def test_schedules_of_arrays_are_no_thresholds():
    tx = cwgnc_jax.clip_by_component_norm({"x": lambda count: jnp.ones(2)})
    gradients = {"x": jnp.ones(3)}
    with pytest.raises(
        ValueError, match=r"what max_norm of 'x' returns must be a scalar, .* \(2,\)"
    ):
        tx.update(gradients, tx.init(gradients))


@pytest.mark.parametrize("at_init", [True, False])
def test_components_that_no_rule_matches(at_init):
    tx = cwgnc_jax.clip_by_component_norm([("kernel", 1.0), ("bias", 1.0)])
    state = cwgnc_jax.clip_by_component_norm(1.0).init(GRADIENTS)
    with pytest.raises(ValueError, match=r"no rule matches.*\n  'scalar'\n  'stack'"):
        tx.init(GRADIENTS) if at_init else tx.update(GRADIENTS, state)


def test_rules_that_match_nothing_first():
    tx = cwgnc_jax.clip_by_component_norm(
        [("kernel", 1.0), (".*", 2.0), ("bias", 3.0), ("stack[0]", None)]
    )
    with pytest.raises(ValueError, match=r"rules .*\n  'bias'\n  'stack\[0\]'"):
        tx.init(GRADIENTS)


@pytest.mark.parametrize(
    ("traced", "expected"), [(-1.0, 0.0), (0.0, 0.0), (np.nan, np.nan), (2.5, 0.5)]
)
def test_traced_thresholds(traced, expected):
    @jax.jit
    def update(limit, gradients):
        tx = cwgnc_jax.clip_by_component_norm(limit)
        return tx.update(gradients, tx.init(gradients))

    clipped, state = update(traced, {"x": jnp.array([3.0, 4.0])})
    np.testing.assert_allclose(state.scales, [expected], rtol=1e-6)
    np.testing.assert_allclose(clipped["x"], np.array([3.0, 4.0]) * expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "components"),
    [
        ((4, 6), cwgnc_jax.fused("x", ("q", "k", "v"), base=cwgnc_jax.stacked("x"))),
        ((3, 1, 5), cwgnc_jax.stacked("x", axes=(0, 1))),
    ],
    ids=["layers and parts", "two axes"],
)
def test_rules_of_one_block_with_two_indices(shape, components):
    gradients = {"x": jnp.ones(shape)}
    first, *others = cwgnc_jax.component_names(gradients, components)
    rules = [(re.escape(first), 0.1), (".*", 1.0)]
    _, state = clip(gradients, rules, components)
    assert state.scales.shape == state.norms.shape == (len(others) + 1,)
    limits = np.full(len(others) + 1, 1.0)
    limits[0] = 0.1
    np.testing.assert_allclose(
        state.scales, np.minimum(1, limits / np.asarray(state.norms)), rtol=1e-6
    )


def test_rules_for_a_stack_of_no_layers():
    gradients = {
        "none": jnp.ones((0, 3)),
        "other": jnp.ones(9),
        "some": jnp.ones((2, 4)),
    }
    rules = [("some.*", 1.0), (".*", 2.0)]
    tx = cwgnc_jax.clip_by_component_norm(rules, cwgnc_jax.stacked("none|some"))
    clipped, state = tx.update(gradients, tx.init(gradients))
    np.testing.assert_allclose(state.norms, [3.0, 2.0, 2.0])
    np.testing.assert_allclose(clipped["some"], 0.5)
    assert clipped["none"].shape == (0, 3)


@pytest.mark.parametrize("value", [np.True_, jnp.array(True), np.complex64(1j)])
def test_truths_and_complex_numbers_are_no_thresholds(value):
    with pytest.raises(TypeError, match="max_norm must be a number"):
        cwgnc_jax.clip_by_component_norm(value)


def test_gradients_of_numpy_in_64_bits_are_those_of_jax():
    gradients = {"kernel": np.full((2, 2), 3.0)}
    tx = cwgnc_jax.clip_by_component_norm(3.0)
    # A warning would be an error here.
    clipped, state = tx.update(gradients, tx.init(gradients))
    assert state.norms.dtype == jnp.float32
    np.testing.assert_allclose(clipped["kernel"], 1.5, rtol=1e-6)
