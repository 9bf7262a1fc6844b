"""clip_by_component_norm: the formula, numerics, thresholds and rules."""

import functools
import pathlib

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

import cwgnc_jax

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@pytest.fixture(autouse=True)
def _strict():
    """Implicit promotion of dtypes or ranks, and malformed programs, are errors."""
    with (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.enable_checks(True),
    ):
        yield


@pytest.fixture
def x64():
    """64-bit numbers, which a test of them needs."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def clip(gradients, max_norm, components=None, jit=True):
    """Clipped gradients and the state after one step."""
    tx = cwgnc_jax.clip_by_component_norm(max_norm, components)
    update = jax.jit(tx.update) if jit else tx.update
    return update(gradients, tx.init(gradients))


@jax.jit
def clip_traced(gradients, max_norm):
    """The same, compiled once for all thresholds."""
    tx = cwgnc_jax.clip_by_component_norm(max_norm)
    return tx.update(gradients, tx.init(gradients))


def gradients_of(seed=0, dtype="float32", scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (4, 6), "bias": (6,), "scalar": (), "stack": (3, 2, 5)}
    tree = {}
    for name, shape in shapes.items():
        values = scale * rng.standard_normal(shape)
        if dtype.startswith("complex"):
            values = values + 1j * scale * rng.standard_normal(shape)
        tree[name] = jnp.asarray(values, dtype)
    return tree


def same_bits(a, b):
    return jax.tree.all(
        jax.tree.map(
            lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), a, b
        )
    )


class TestFormula:
    @hypothesis.settings(deadline=None, max_examples=40)
    @hypothesis.given(data=st.data())
    def test_equals_double_precision_for_any_map(self, data):
        shape = data.draw(
            hypothesis.extra.numpy.array_shapes(min_dims=1, max_dims=4, max_side=5)
        )
        axes = data.draw(
            st.lists(st.integers(0, len(shape) - 1), unique=True, max_size=2)
        )
        free = [axis for axis in range(len(shape)) if axis not in axes]
        split_axis, parts, split = None, None, None
        if free and data.draw(st.booleans()):
            split_axis = data.draw(st.sampled_from(free))
            length = shape[split_axis]
            first = data.draw(st.integers(0, length))
            parts = {"a": first, "b": length - first}
            split = cwgnc_jax.Split(split_axis, parts)
        start = data.draw(st.integers(0, 9)) if axes else 0
        limit = data.draw(st.sampled_from([0.0, 1e-3, 0.5, 2.0, 1e3]))
        seed = data.draw(st.integers(0, 2**16))

        rng = np.random.default_rng(seed)
        leaves = {
            name: (10 ** rng.uniform(-3, 3) * rng.standard_normal(shape)).astype("f")
            for name in ("one", "two")
        }
        component = cwgnc_jax.Component("both", axes, split, start)
        components = {"one": component, "two": component}
        options = {
            "label": "both",
            "axes": axes,
            "split_axis": split_axis,
            "parts": parts,
            "start": start,
        }
        pieces = oracles.join(
            *(oracles.pieces_of(name, shape, **options) for name in leaves)
        )
        expected = oracles.clip(leaves, pieces, limit)

        clipped, state = clip(leaves, limit, components)
        assert cwgnc_jax.component_names(leaves, components) == tuple(pieces)
        # Rounding of the sum, of its root, the quotient and the product: 5 ulp or so.
        for name, leaf in clipped.items():
            np.testing.assert_allclose(leaf, expected.leaves[name], rtol=1e-6)
        np.testing.assert_allclose(
            state.norms, list(expected.norms.values()), rtol=1e-6
        )
        np.testing.assert_allclose(
            state.scales, list(expected.scales.values()), rtol=1e-6
        )

    def test_equals_pytorch_one_parameter_at_a_time(self):
        path = pathlib.Path(__file__).parents[1] / "data" / "torch_clipping.npz"
        recorded = np.load(path)
        names = [key.split("/")[0] for key in recorded if key.endswith("/gradient")]
        gradients = {name: recorded[f"{name}/gradient"] for name in names}
        for i, max_norm in enumerate(recorded["max_norms"]):
            clipped, state = clip_traced(gradients, max_norm)
            norms = dict(
                zip(cwgnc_jax.component_names(gradients), state.norms, strict=True)
            )
            for name in names:
                norm = recorded[f"{name}/norm/{i}"]
                np.testing.assert_allclose(norms[name], norm, rtol=1e-6)
                # PyTorch divides by norm + 1e-6: where it clips, by that much less;
                # and a norm just below the threshold is multiplied by nearly 1.
                np.testing.assert_allclose(
                    clipped[name],
                    recorded[f"{name}/clipped/{i}"],
                    rtol=1e-6 / min(norm, max_norm) + 1e-6,
                )

    def test_equals_a_partition_into_global_norms(self):
        gradients = gradients_of()
        labels = {"kernel": "a", "bias": "a", "scalar": "b", "stack": "c"}
        limits = {"a": 0.1, "b": 1e-3, "c": 100.0}
        peer = optax.partition(
            {label: optax.clip_by_global_norm(c) for label, c in limits.items()}, labels
        )
        expected, _ = peer.update(gradients, peer.init(gradients))
        clipped, _ = clip(gradients, limits, labels)
        # Few operations, in another order: a few units in the last place.
        for name in gradients:
            np.testing.assert_allclose(clipped[name], expected[name], rtol=5e-7)

    def test_the_whole_tree_equals_the_global_norm(self):
        gradients = gradients_of()
        peer = optax.clip_by_global_norm(0.1)
        expected, _ = peer.update(gradients, peer.init(gradients))
        clipped, _ = clip(gradients, 0.1, cwgnc_jax.whole_tree)
        for name in gradients:
            np.testing.assert_allclose(clipped[name], expected[name], rtol=5e-7)

    def test_what_is_left_out_passes(self):
        gradients = gradients_of() | {"step": jnp.arange(3)}
        components = {"": "rest", "kernel": None, "stack": None}
        clipped, state = clip(gradients, 1e-3, components)
        assert state.norms.shape == (1,)
        for name in ("kernel", "stack", "step"):
            assert same_bits(clipped[name], gradients[name])
        assert not same_bits(clipped["bias"], gradients["bias"])

    def test_gradients_of_integer_parameters_pass(self):
        params = {"x": jnp.ones(2), "n": jnp.ones(2, jnp.int32)}
        gradients = jax.grad(lambda p: jnp.sum(p["x"]), allow_int=True)(params)
        clipped, _ = clip(gradients, 0.5, jit=False)
        assert clipped["n"].dtype == jax.dtypes.float0
        np.testing.assert_allclose(clipped["x"], 0.5 / np.sqrt(2), rtol=1e-6)


class TestNumerics:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_dtype(self, dtype, x64):
        gradients = gradients_of(dtype=dtype)
        pieces = oracles.join(
            *(oracles.pieces_of(name, leaf.shape) for name, leaf in gradients.items())
        )
        leaves = {name: np.asarray(leaf) for name, leaf in gradients.items()}
        expected = oracles.clip(leaves, pieces, 0.3)
        clipped, state = clip(gradients, 0.3)
        wide = dtype in ("float64", "complex128")
        assert state.norms.dtype == (jnp.float64 if wide else jnp.float32)
        # Norms to the precision of their sums, updates to that of their dtype.
        precise = 1e-14 if wide else 1e-6
        np.testing.assert_allclose(
            state.norms, [expected.norms[n] for n in sorted(pieces)], rtol=precise
        )
        for name, leaf in clipped.items():
            assert leaf.dtype == dtype
            rtol = max(precise, float(jnp.finfo(dtype).eps))
            np.testing.assert_allclose(
                np.asarray(leaf, expected.leaves[name].dtype),
                expected.leaves[name],
                rtol=rtol,
            )

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_below_the_threshold_every_bit_stays(self, dtype, x64):
        gradients = gradients_of(dtype=dtype)
        gradients["special"] = jnp.asarray([0.0, -0.0, 1e-7, -1.0], dtype)
        norms = cwgnc_jax.component_norms(gradients)
        for max_norm in (float(jnp.max(norms)), 1e30, np.inf):
            clipped, state = clip(gradients, max_norm)
            assert same_bits(clipped, gradients)
            np.testing.assert_array_equal(state.scales, 1.0)

    def test_subnormal_gradients_keep_their_bits(self):
        tiny = jnp.asarray(np.array([1e-40, -1e-45, 0.0], np.float32))
        assert same_bits(clip({"x": tiny}, 1.0)[0]["x"], tiny)

    @hypothesis.settings(deadline=None, max_examples=100)
    @hypothesis.given(
        exponent=st.floats(-15, 18), limit=st.floats(-12, 18), seed=st.integers(0, 99)
    )
    def test_no_norm_exceeds_its_threshold(self, exponent, limit, seed):
        rng = np.random.default_rng(seed)
        gradient = (10**exponent * rng.standard_normal(64)).astype(np.float32)
        max_norm = np.float32(10**limit)
        clipped, _ = clip_traced({"x": gradient}, max_norm)
        norm = np.linalg.norm(np.asarray(clipped["x"], np.float64))
        assert norm <= float(max_norm) * (1 + 1e-6)

    def test_no_scale_exceeds_one_just_above_the_threshold(self):
        # All numbers within 20 units in the last place of one, and its powers.
        near = np.float32(1) + np.arange(-20, 21) * np.finfo(np.float32).eps
        leaves = {f"{i:02}": np.float32(g) for i, g in enumerate(near)}
        for max_norm in np.float32([1e-18, 0.7, 1.0, 3.0, 1e18]):
            gradients = jax.tree.map(lambda g, c=max_norm: g * c, leaves)
            clipped, state = clip_traced(gradients, max_norm)
            assert np.all(state.scales <= 1.0)
            assert np.all(np.float32([*clipped.values()]) <= max_norm * (1 + 1e-6))
            assert state.scales[0] == 1.0
            assert state.scales[-1] < 1.0

    @pytest.mark.parametrize("seed", range(20))
    def test_no_norm_exceeds_its_threshold_when_compiled(self, seed):
        rng = np.random.default_rng(seed)
        gradient = rng.standard_normal((3, 1000)).astype(np.float32)
        gradient *= 10.0 ** rng.uniform(-3, 3, (3, 1)).astype(np.float32)
        norms = np.linalg.norm(gradient.astype(np.float64), axis=1)
        max_norm = np.float32(np.sort(norms)[1] * rng.choice([0.3, 1, 1 - 1e-7]))
        clipped, _ = clip({"x": gradient}, max_norm, cwgnc_jax.stacked("x"))
        found = np.linalg.norm(np.asarray(clipped["x"], np.float64), axis=1)
        assert np.all(found <= float(max_norm) * (1 + 1e-6))

    def test_long_sums_stay_accurate(self):
        # Added one by one in float32, equal terms stop counting at 2^24 of them.
        gradient = np.full(20_000_000, 0.1, np.float32)
        _, state = clip({"x": gradient}, 1.0)
        exact = np.sqrt(gradient.size) * np.float64(np.float32(0.1))
        np.testing.assert_allclose(state.norms, exact, rtol=5e-7)

    def test_float16_norms_do_not_overflow(self):
        gradient = jnp.full(100, 300.0, jnp.float16)
        clipped, state = clip({"x": gradient}, 1.0)
        np.testing.assert_allclose(state.norms, 3000.0, rtol=1e-6)
        # Rounded to float16, of 11 bits.
        np.testing.assert_allclose(clipped["x"], 0.1, rtol=5e-4)

    @pytest.mark.parametrize("max_norm", [0.0, 0.05, 1e19])
    def test_finite_gradients_that_overflow_become_zero(self, max_norm):
        gradients = {"x": jnp.array([1e20, -3e30, 1.0]), "y": jnp.array([3.0, 4.0])}
        clipped, state = clip(gradients, max_norm)
        np.testing.assert_array_equal(clipped["x"], 0.0)
        np.testing.assert_array_equal(state.norms, [np.inf, 5.0])
        assert state.scales[0] == 0.0
        np.testing.assert_allclose(
            np.linalg.norm(clipped["y"]), min(5.0, max_norm), rtol=1e-6
        )

    @pytest.mark.parametrize("max_norm", [np.inf, 1e25, 2e19])
    def test_a_threshold_without_a_square_clips_nothing(self, max_norm):
        gradients = {"x": jnp.array([1e20, -1e22]), "y": jnp.array([3.0, 4.0])}
        for update in (clip, clip_traced):
            clipped, state = update(gradients, max_norm)
            assert same_bits(clipped, gradients)
            np.testing.assert_array_equal(state.scales, 1.0)

    def test_an_infinite_threshold_leaves_even_nan_alone(self):
        gradients = {"x": jnp.array([1.0, np.nan, -np.inf])}
        clipped, state = clip(gradients, np.inf)
        assert same_bits(clipped, gradients)
        np.testing.assert_array_equal(state.scales, 1.0)

    @pytest.mark.parametrize("max_norm", [1e-19, 1e-20, 1e-25, 1e-30])
    @pytest.mark.parametrize("size", [1e-30, 1e-24, 1e-20, 1e-10, 1.0, 1e10])
    def test_thresholds_without_a_square_clip(self, max_norm, size):
        gradients = {"x": jnp.array([3.0, 4.0]) * np.float32(size / 5)}
        clipped, _ = clip(gradients, max_norm)
        norm = np.linalg.norm(np.asarray(clipped["x"], np.float64))
        # Products of float32 that are nearly subnormal lose digits on their way.
        assert norm <= max_norm * (1 + 1e-6)
        if size > 1e-18 and max_norm / size > 1e-37:  # A normal number in float32.
            np.testing.assert_allclose(norm, max_norm, rtol=1e-6)

    def test_a_float32_leaf_near_its_largest_beside_float64(self, x64):
        gradients = {
            "double": jnp.full(2, 1e60, jnp.float64),
            "single": jnp.full(3, 1e38, jnp.float32),
            "complex": jnp.full(3, 1e38 + 1e38j, jnp.complex64),
        }
        clipped, state = clip(gradients, 1e50, cwgnc_jax.whole_tree)
        exact = np.sqrt(2.0) * 1e60
        np.testing.assert_allclose(state.norms, exact, rtol=1e-12)
        for name, leaf in clipped.items():
            assert leaf.dtype == gradients[name].dtype
            expected = np.asarray(gradients[name], np.complex128) * (1e50 / exact)
            np.testing.assert_allclose(leaf, expected, rtol=1e-6)
        # A component of its own that is float32 keeps to float32's numbers.
        _, alone = clip(gradients, 1e50)
        np.testing.assert_array_equal(np.asarray(alone.norms)[[0, 2]], np.inf)

    def test_derivatives_at_zero_of_both_widths(self, x64):
        @functools.partial(jax.grad, argnums=(0, 1))
        def total(gradients, max_norm):
            clipped, _ = clip(gradients, max_norm)
            return sum(jnp.sum(leaf.astype(jnp.float64)) for leaf in clipped.values())

        gradients = {
            "double": jnp.zeros(2, jnp.float64),
            "single": jnp.zeros(2, jnp.float32),
        }
        by_gradient, by_limit = total(gradients, 0.05)
        for leaf in by_gradient.values():
            np.testing.assert_array_equal(leaf, 1.0)
        assert by_limit == 0.0

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_stays_in_its_component(self, bad):
        gradients = gradients_of()
        stack = gradients["stack"].at[1, 0, 2].set(bad)
        components = cwgnc_jax.stacked("stack")
        tx = cwgnc_jax.clip_by_component_norm(0.1, components)
        update = jax.jit(tx.update)  # One program, so that bits can be compared.
        clean, clean_state = update(gradients, tx.init(gradients))
        clipped, state = update(gradients | {"stack": stack}, tx.init(gradients))
        names = cwgnc_jax.component_names(gradients, components)
        for i, name in enumerate(names):
            if name == "stack[1]":
                np.testing.assert_array_equal(state.norms[i], abs(bad))
            else:
                assert state.norms[i] == clean_state.norms[i]
                assert state.scales[i] == clean_state.scales[i]
        for name in ("kernel", "bias", "scalar"):
            assert same_bits(clipped[name], clean[name])
        assert same_bits(clipped["stack"][::2], clean["stack"][::2])
        expected = np.full((2, 5), np.nan if np.isnan(bad) else 0.0)
        expected[0, 2] = np.nan
        np.testing.assert_array_equal(clipped["stack"][1], expected)

    def test_nan_of_one_part_of_a_split_stays_there(self):
        gradient = jnp.array([1.0, np.nan, 2.0, 3.0])
        components = cwgnc_jax.fused("x", ("a", "b"))
        clipped, state = clip({"x": gradient}, 100.0, components)
        np.testing.assert_array_equal(clipped["x"], [np.nan, np.nan, 2.0, 3.0])
        np.testing.assert_allclose(state.norms, [np.nan, np.sqrt(13)], rtol=1e-6)

    def test_nan_of_one_half_of_a_complex_number_stays_there(self):
        gradient = jnp.array([complex(1.0, np.inf)], jnp.complex64)
        clipped, _ = clip({"x": gradient}, 1.0)
        np.testing.assert_array_equal(jnp.real(clipped["x"]), 0.0)
        assert np.isnan(jnp.imag(clipped["x"])).all()

    @pytest.mark.parametrize("max_norm", [0.0, 0.05, np.inf])
    @pytest.mark.parametrize("jit", [True, False])
    def test_zero_gradients_and_thresholds_make_no_nan(self, max_norm, jit):
        gradients = {
            "x": jnp.zeros((2, 3)),
            "y": jnp.ones(4),
            "empty": jnp.ones((0, 2)),
        }
        with jax.debug_nans(True):
            clipped, state = clip(gradients, max_norm, jit=jit)
        np.testing.assert_array_equal(clipped["x"], 0.0)
        assert np.isfinite(clipped["y"]).all()
        assert np.isfinite(state.scales).all()

    @pytest.mark.parametrize("size", [0.0, 1e-40, 1e-25, 1.0])
    def test_a_threshold_of_zero_stops_even_what_has_no_square(self, size):
        gradients = {"x": jnp.full(3, size), "y": jnp.ones(2)}
        clipped, state = clip(gradients, {"x": 0.0, "y": None})
        np.testing.assert_array_equal(clipped["x"], 0.0)
        assert same_bits(clipped["y"], gradients["y"])
        np.testing.assert_array_equal(state.scales, [0.0, 1.0])

    def test_derivatives_step_by_step_where_nothing_is_clipped(self):
        # Without jit debug_nans sees what the compiler would have hidden.
        def total(gradients):
            rules = [(r"x\[0\]", None), (r"x\[1\]", np.inf)]
            tx = cwgnc_jax.clip_by_component_norm(rules, cwgnc_jax.stacked("x"))
            clipped, state = tx.update(gradients, tx.init(gradients))
            return jnp.sum(clipped["x"]) + jnp.sum(state.scales)

        with jax.debug_nans(True):
            derivative = jax.grad(total)({"x": jnp.ones((2, 2))})
        np.testing.assert_array_equal(derivative["x"], 1.0)

    @pytest.mark.parametrize("value", [0.0, 1e-30, 1e-20, 1e-3, 1.0, 1e15, 1e25])
    @pytest.mark.parametrize("max_norm", [0.0, 1e-25, 1.0, 1e10])
    def test_derivatives_are_finite(self, value, max_norm):
        with jax.debug_nans(True):
            gradients = {"x": jnp.full(3, value), "y": jnp.zeros(2)}
            by_gradient, by_limit = self.derivatives(gradients, max_norm)
        assert np.isfinite(by_gradient["x"]).all()
        assert np.isfinite(by_gradient["y"]).all()
        assert np.isfinite(by_limit)

    @staticmethod
    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def derivatives(gradients, max_norm):
        tx = cwgnc_jax.clip_by_component_norm(max_norm)
        clipped, state = tx.update(gradients, tx.init(gradients))
        recorded = jnp.where(jnp.isfinite(state.norms), state.norms, 0.0) + state.scales
        return jnp.sum(clipped["x"]) + jnp.sum(clipped["y"]) + jnp.sum(recorded)

    def test_derivative_against_differences(self, x64):
        rng = np.random.default_rng(0)
        gradient, weights = rng.standard_normal((2, 5))

        @jax.jit
        def weighted(g):
            return jnp.sum(clip({"x": g}, 0.7)[0]["x"] * weights)

        step = 1e-6
        differences = [
            (weighted(gradient + step * e) - weighted(gradient - step * e)) / (2 * step)
            for e in np.eye(5)
        ]
        # Central differences: step^2 of truncation, 1e-16 / step of rounding.
        np.testing.assert_allclose(jax.grad(weighted)(gradient), differences, atol=1e-8)

    def test_64_bit_leaves_beside_others(self, x64):
        gradients = {
            "double": jnp.full(3, 1 + 1e-12, jnp.float64),
            "single": jnp.full(3, 2.0, jnp.float32),
        }
        clipped, state = clip(gradients, 0.5, cwgnc_jax.whole_tree)
        assert state.norms.dtype == jnp.float64
        assert clipped["single"].dtype == jnp.float32
        assert clipped["double"].dtype == jnp.float64
        exact = np.sqrt(3 * (1 + 1e-12) ** 2 + 12)
        np.testing.assert_allclose(state.norms, exact, rtol=1e-15)

    def test_state_keeps_its_dtype_whatever_the_gradient(self, x64):
        params = {"x": jnp.ones(3, jnp.float64)}
        tx = cwgnc_jax.clip_by_component_norm(0.5)
        state = tx.init(params)
        _, after = tx.update({"x": jnp.ones(3, jnp.bfloat16)}, state)
        assert [x.dtype for x in after] == [x.dtype for x in state]
