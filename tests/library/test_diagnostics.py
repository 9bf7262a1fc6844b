"""Movements, extremes, clip rate and racing against NumPy in double precision."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cwgnc_jax
from cwgnc_jax import (
    by_module,
    clip_rate,
    component_cosine_distance,
    component_groups,
    component_names,
    component_rmsd,
    component_scalars,
    component_sizes,
    convergence_racing,
    extremes_by_group,
    fused,
    stacked,
)

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


BEFORE = {
    "layers": {"qkv": {"kernel": draw(3, 4, 6), "bias": draw(3, 6)}},
    "head": {"kernel": draw(4, 2)},
}
AFTER = jax.tree.map(lambda leaf: leaf + 0.1 * draw(*leaf.shape), BEFORE)
PARTS = {"q": 2, "k": 3, "v": 1}
KERNEL, BIAS, HEAD = "layers/qkv/kernel", "layers/qkv/bias", "head/kernel"
# A map of components, and the slices of the leaves that it stands for.
MAPS = {
    "leaf": (
        None,
        oracles.join(
            oracles.pieces_of(HEAD, (4, 2)),
            oracles.pieces_of(BIAS, (3, 6)),
            oracles.pieces_of(KERNEL, (3, 4, 6)),
        ),
    ),
    "stacked modules": (
        stacked("layers/.*", start=5, base=by_module),
        oracles.join(
            oracles.pieces_of(HEAD, (4, 2), "head"),
            oracles.pieces_of(BIAS, (3, 6), "layers/qkv", (0,), start=5),
            oracles.pieces_of(KERNEL, (3, 4, 6), "layers/qkv", (0,), start=5),
        ),
    ),
    "fused": (
        fused("layers/.*", PARTS, base=stacked("layers/.*")),
        oracles.join(
            oracles.pieces_of(HEAD, (4, 2)),
            oracles.pieces_of(BIAS, (3, 6), None, (0,), 1, PARTS),
            oracles.pieces_of(KERNEL, (3, 4, 6), None, (0,), 2, PARTS),
        ),
    ),
}


def flat(tree):
    return {
        HEAD: tree["head"]["kernel"],
        **{f"layers/qkv/{name}": leaf for name, leaf in tree["layers"]["qkv"].items()},
    }


def vectors(tree, pieces):
    """Each component as one float64 vector."""
    leaves = flat(tree)
    return {
        name: np.concatenate(
            [
                np.asarray(leaves[path], np.float64)[where].ravel()
                for path, where in parts
            ]
        )
        for name, parts in pieces.items()
    }


def cosine(a, b):
    if not a.any() and not b.any():
        return 1.0
    if not a.any() or not b.any():
        return 0.0
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("which", MAPS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("compiled", [False, True])
class TestMovements:
    """All sums in float32, whatever the dtype: a relative error of some 1e-6."""

    @pytest.fixture
    def trees(self, dtype):
        return [
            jax.tree.map(lambda x: jnp.asarray(x, dtype), t) for t in (AFTER, BEFORE)
        ]

    def run(self, function, trees, which, compiled):
        components, pieces = MAPS[which]

        def measure(*trees):
            return function(*trees, components)

        found = (jax.jit(measure) if compiled else measure)(*trees)
        assert found.dtype == jnp.float32
        names = component_names(trees[0], components)
        expected = [vectors(tree, pieces) for tree in trees]
        return [(found[i], expected[0][n], expected[1][n]) for i, n in enumerate(names)]

    def test_rmsd(self, trees, which, compiled):
        for found, a, b in self.run(component_rmsd, trees, which, compiled):
            np.testing.assert_allclose(found, np.sqrt(np.mean((a - b) ** 2)), rtol=1e-5)

    def test_cosine_distance(self, trees, which, compiled):
        for found, a, b in self.run(component_cosine_distance, trees, which, compiled):
            # Parallel components are apart by the square of a rounding error.
            np.testing.assert_allclose(found, 1 - cosine(a, b), rtol=1e-4, atol=1e-13)


class TestEdges:
    @pytest.mark.parametrize("which", MAPS)
    def test_sizes(self, which):
        components, pieces = MAPS[which]
        expected = vectors(BEFORE, pieces)
        names = component_names(BEFORE, components)
        sizes = component_sizes(BEFORE, components)
        assert sizes.tolist() == [expected[name].size for name in names]

    def test_what_did_not_move(self):
        assert not component_rmsd(BEFORE, BEFORE).any()
        assert not component_cosine_distance(BEFORE, BEFORE).any()
        # Compiled, where products and differences are fused, as well.
        assert not jax.jit(component_cosine_distance)(BEFORE, BEFORE).any()

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ([0, 0], [0, 0], 1.0),
            ([0, 0], [1, 0], 0.0),
            ([2, 0], [0, 0], 0.0),
            ([1, 1], [3, 3], 1.0),
            ([1, 1], [-3, -3], -1.0),
            ([1, 0], [0, 5], 0.0),
            ([1e-15, 0], [1e15, 0], 1.0),
        ],
    )
    def test_cosine_of_zeros_and_constants(self, a, b, expected):
        trees = ({"x": jnp.array(x, float)} for x in (a, b))
        found = component_cosine_distance(*trees)
        np.testing.assert_allclose(found, [1 - expected], atol=1e-6)

    @pytest.mark.parametrize("turn", [1e-1, 1e-3, 1e-5])
    def test_small_turns_of_large_components(self, turn):
        """Cosine and RMSD of a million entries, down to what the cosine rounds away."""
        before = RNG.normal(size=1_000_000)
        after = (before + turn * RNG.normal(size=before.size)).astype(np.float32)
        before = before.astype(np.float32)
        a, b = after.astype(np.float64), before.astype(np.float64)
        unit = a / np.linalg.norm(a) - b / np.linalg.norm(b)
        found = component_cosine_distance({"x": after}, {"x": before})
        # Entries of 1 are rounded to 6e-8: 1e-5 turns are known to one per cent or so.
        np.testing.assert_allclose(
            found, [unit @ unit / 2], rtol=1e-6 / turn, atol=1e-13
        )
        moved = component_rmsd({"x": after}, {"x": before})
        np.testing.assert_allclose(moved, [np.sqrt(np.mean((a - b) ** 2))], rtol=1e-4)

    def test_bfloat16_steps_are_measured_before_they_are_rounded(self):
        """300 + 1 is 300 in bfloat16, and a sum of 10,000 ones stops at 256."""
        after = {
            "x": jnp.full(10_000, 2, jnp.bfloat16),
            "y": jnp.full(3, 302, jnp.bfloat16),
        }
        before = {"x": jnp.ones(10_000, jnp.bfloat16), "y": jnp.full(3, 1.0)}
        assert component_rmsd(after, before).tolist() == [1.0, 301.0]

    def test_nan_stays_in_its_component(self):
        after = {"x": jnp.array([jnp.nan, 1.0]), "y": jnp.ones(2)}
        before = {"x": jnp.ones(2), "y": jnp.ones(2)}
        for measure in (component_rmsd, component_cosine_distance):
            found = measure(after, before)
            assert np.isnan(found[0])
            assert np.isfinite(found[1])

    def test_complex_and_empty_leaves(self):
        after = {"c": jnp.array([1 + 1j, 0]), "e": jnp.zeros((0, 3))}
        before = {"c": jnp.array([1 - 1j, 0]), "e": jnp.zeros((0, 3))}
        np.testing.assert_allclose(component_rmsd(after, before), [np.sqrt(2), 0])
        # The angle of real vectors of real and imaginary parts: (1, 1) and (1, -1).
        distances = component_cosine_distance(after, before)
        np.testing.assert_allclose(distances, [1, 0], atol=1e-6)

    def test_reference_by_path(self):
        reference = {**BEFORE, "more": jnp.ones(1)}
        assert component_rmsd(AFTER, reference).shape == (3,)
        part = {"head": AFTER["head"], "none": None}
        assert component_rmsd(part, reference).shape == (1,)
        # What has no component needs no reference.
        components = {"head": "head", "layers": None}
        assert component_rmsd(AFTER, {"head": BEFORE["head"]}, components).shape == (1,)

    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            ({"a": jnp.ones(3)}, r"a: \(2,\), reference: \(3,\)"),
            ({}, r"a: \(2,\), reference: missing"),
        ],
    )
    def test_reference_that_does_not_fit(self, reference, message):
        for measure in (component_rmsd, component_cosine_distance):
            with pytest.raises(ValueError, match=message):
                measure({"a": jnp.ones(2)}, reference)

    def test_derivatives_are_finite_where_nothing_moved(self):
        def loss(tree):
            return jnp.sum(component_rmsd(tree, BEFORE))

        gradients = jax.grad(loss)(BEFORE)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


PARAMS = {
    "embed": np.ones((5, 2)),
    "layers": {"query": {"kernel": np.ones((12, 2, 2)), "bias": np.ones((12, 2))}},
    "head": {"kernel": np.ones((2, 2))},
}


class TestGroups:
    def test_layers_of_a_stack(self):
        components = stacked("layers/.*")
        found = component_groups(PARAMS, components)
        names = component_names(PARAMS, components)
        for name, group in zip(names, found, strict=True):
            if "[" in name:
                assert group == f"layer {name.partition('[')[2][:-1]}"
        assert found[:2] == ("embeddings", "head")

    def test_heads_and_parts_within_layers(self):
        components = fused(
            ".*query/kernel", ("a", "b"), base=stacked("layers/.*", axes=(1, 0))
        )
        params = {**PARAMS, "layers": {"query": {"kernel": np.ones((3, 2, 2))}}}
        found = component_groups(params, components)
        names = component_names(params, components)
        layer = {n: f"layer {n.split(',')[1]}" for n in names if "," in n}
        assert layer == {n: g for n, g in zip(names, found, strict=True) if "," in n}
        assert len(layer) == 2 * 3 * 2

    def test_lists_of_layers_and_modules(self):
        layer = {"kernel": np.ones((2, 2)), "bias": np.ones(2)}
        params = {"embed": layer, "layers": [layer] * 2, "head": layer}
        for components in (by_module, cwgnc_jax.by_layer):
            groups = component_groups(params, components)
            assert groups == ("embeddings", "head", "layer 0", "layer 1")

    def test_a_component_in_several_groups_is_refused(self):
        with pytest.raises(
            ValueError, match=r"one group each.*\n  'layers/query/bias'"
        ):
            component_groups(PARAMS)
        with pytest.raises(ValueError, match=r"lie in several:\n  'all'"):
            component_groups(PARAMS, cwgnc_jax.whole_tree)

    @pytest.mark.parametrize(("kind", "reduce"), [("max", max), ("min", min)])
    def test_extremes(self, kind, reduce):
        groups = component_groups(PARAMS, stacked("layers/.*"))
        values = RNG.normal(size=(4, len(groups))).astype(np.float32)
        found = extremes_by_group(values, groups, kind)
        layers = [f"layer {n}" for n in range(12)]
        assert list(found) == ["embeddings", *layers, "head"]
        for name, value in found.items():
            columns = [i for i, group in enumerate(groups) if group == name]
            expected = [reduce(row[i] for i in columns) for row in values.tolist()]
            assert value.tolist() == pytest.approx(expected, rel=1e-6)

    def test_extremes_by_any_name_in_their_order(self):
        found = extremes_by_group([1.0, 2.0, jnp.nan], ("kernel", "bias", "bias"))
        assert list(found) == ["kernel", "bias"]
        assert np.isnan(found["bias"])

    def test_mistakes(self):
        with pytest.raises(ValueError, match="'max' or 'min', got 'mean'"):
            extremes_by_group([1.0], ("a",), "mean")  # pyright: ignore
        with pytest.raises(ValueError, match=r"each of 1 groups .* shape \(2,\)"):
            extremes_by_group([1.0, 2.0], ("a",))


class TestClipRate:
    def test_of_a_run(self):
        """Norms and scales come out of the state, step by step."""
        params = {"bias": jnp.zeros(3), "kernel": jnp.zeros((3, 4)), "w": jnp.zeros(5)}
        tx = cwgnc_jax.cwgnc_adamw(0.1, max_norm=[("w", None), (".*", 1.5)])
        gradients = {
            name: jnp.asarray(draw(20, *leaf.shape)) for name, leaf in params.items()
        }

        def step(opt_state, gradients):
            _, opt_state = tx.update(gradients, opt_state, params)
            state = cwgnc_jax.get_clip_state(opt_state)
            return opt_state, (state.norms, state.scales)

        _, (norms, scales) = jax.lax.scan(step, tx.init(params), gradients)
        expected = np.stack(
            [
                np.linalg.norm(np.asarray(x, np.float64).reshape(20, -1), axis=1)
                for x in gradients.values()
            ],
            axis=1,
        )
        np.testing.assert_allclose(norms, expected, rtol=1e-6)
        clipped = (expected > 1.5) & [True, True, False]
        assert 0 < clipped[:, 0].sum() < 20
        np.testing.assert_allclose(clip_rate(scales), clipped.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(
            clip_rate(scales, component_sizes(params)),
            clipped @ [3, 12, 5] / 20,
            rtol=1e-6,
        )
        np.testing.assert_allclose(clip_rate(scales.T), clipped.mean(axis=0), rtol=1e-6)

    def test_stopped_and_broken_components(self):
        assert float(clip_rate([0.0, jnp.nan, 1.0, 1.0])) == 0.25
        with pytest.raises(ValueError, match=r"sizes must have shape \(3,\).*\(1,\)"):
            clip_rate(jnp.zeros((2, 3)), jnp.ones(1))


def racing_by_pairs(movements):
    """Gap and movement of all pairs of components, one by one."""
    moved = np.asarray(movements, np.float64)
    gap = total = 0.0
    for row in moved:
        for i, j in itertools.combinations(range(len(row)), 2):
            gap += abs(row[i] - row[j])
            total += row[i] + row[j]
    return gap / total if total else 0.0


amounts = st.floats(0, 1e3, width=32, allow_subnormal=False)


class TestRacing:
    # Each shape is compiled anew.
    @settings(deadline=None, max_examples=30)
    @given(
        st.integers(2, 6).flatmap(
            lambda n: st.lists(
                st.lists(amounts, min_size=n, max_size=n), min_size=1, max_size=4
            )
        )
    )
    def test_equals_all_pairs(self, movements):
        found = convergence_racing(np.asarray(movements, np.float32))
        np.testing.assert_allclose(found, racing_by_pairs(movements), atol=1e-5)
        assert 0 <= float(found) <= 1

    def test_ends_of_the_scale(self):
        assert float(convergence_racing(np.ones(7))) == pytest.approx(0, abs=1e-6)
        for count in (2, 3, 100):
            assert float(convergence_racing(np.eye(count)[0])) == pytest.approx(1)
        # Sums of these are rounded below 0 and beyond 1.
        assert float(convergence_racing(np.full(10, 2.7))) == 0
        assert float(convergence_racing(np.tile(np.eye(10)[0], (10, 1)))) == 1

    def test_taking_turns_is_racing(self):
        turns = np.eye(4)
        assert float(convergence_racing(turns)) == pytest.approx(1)
        assert float(convergence_racing(turns.sum(axis=0))) == pytest.approx(
            0, abs=1e-6
        )

    def test_scale_does_not_matter_and_copies_hardly(self):
        moved = np.abs(draw(5, 8))
        number = float(convergence_racing(moved))
        assert float(convergence_racing(1e-7 * moved)) == pytest.approx(
            number, rel=1e-5
        )
        # Copies of a component are pairs without a gap: 8 components 10 times.
        copies = float(convergence_racing(np.tile(moved, 10)))
        assert copies == pytest.approx(number * (7 / 8) * (80 / 79), rel=1e-5)

    def test_runs_on_leading_axes(self):
        moved = np.abs(draw(3, 5, 8))
        found = convergence_racing(moved)
        np.testing.assert_allclose(
            found, [racing_by_pairs(x) for x in moved], rtol=1e-5
        )

    def test_nothing_moves_one_component_and_nan(self):
        assert float(convergence_racing(np.zeros((2, 3)))) == 0
        assert float(convergence_racing(np.ones((2, 1)))) == 0
        assert np.isnan(convergence_racing([1.0, jnp.nan]))
        assert np.isnan(convergence_racing([jnp.nan]))
        with pytest.raises(ValueError, match="axis of components, got a scalar"):
            convergence_racing(1.0)

    def test_one_component_that_runs_ahead(self):
        """Of two learning rates, the larger one makes a component run ahead."""
        params = {"a": jnp.ones(4), "b": jnp.ones(4)}

        def racing(ahead):
            tx = optax.partition(
                {"a": optax.sgd(0.1 * ahead), "b": optax.sgd(0.1)}, {"a": "a", "b": "b"}
            )

            def step(carry, _):
                params, opt_state = carry
                updates, opt_state = tx.update(params, opt_state)
                after = optax.apply_updates(params, updates)
                return (after, opt_state), component_rmsd(after, params)

            _, moved = jax.lax.scan(step, (params, tx.init(params)), length=3)
            return float(convergence_racing(moved))

        found = [racing(ahead) for ahead in (1, 2, 4)]
        assert found[0] == pytest.approx(0, abs=1e-6)
        assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("size", [1e-37, 1e-25, 1.0, 1e20, 1e37])
def test_movements_of_any_size(size):
    size = np.float32(size)
    before = {"a": jnp.array([1.0, 0.0]) * size, "b": jnp.ones(3) * size}
    after = {
        "a": jnp.array([-1.0, 0.0]) * size,
        "b": jnp.array([1.0, 1.0, -2.0]) * size,
    }
    # By hand: a turns round, b from (1, 1, 1) to a right angle.
    distances = component_cosine_distance(after, before)
    np.testing.assert_allclose(distances, [2.0, 1.0], rtol=1e-6)
    moved = component_rmsd(after, before) / size
    np.testing.assert_allclose(moved, [np.sqrt(2.0), np.sqrt(3.0)], rtol=1e-6)


def test_movements_and_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="movements must be at least 0, got -1"):
        convergence_racing(jnp.array([1.0, -1.0]))
    for sizes in ([-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="sizes must be at least 0, and not all 0"):
            clip_rate(jnp.ones(2), sizes)
    # A component without entries has a size of 0.
    assert clip_rate(jnp.array([0.5, 1.0]), [0, 2]) == 0.0


def test_leaves_without_components_are_left_out():
    # As in an NNX model with Dropout, and an Equinox module with its activation.
    def tree(value):
        return {
            "activation": jax.nn.relu,
            "kernel": jnp.full((2, 2), value),
            "rngs": jax.random.key(int(value)),
            "steps": jnp.arange(3),
        }

    for reference in (tree(1.0), {"kernel": jnp.ones((2, 2))}):
        moved = cwgnc_jax.component_rmsd(tree(3.0), reference)
        np.testing.assert_allclose(moved, [2.0], rtol=1e-6)
        turned = cwgnc_jax.component_cosine_distance(tree(3.0), reference)
        np.testing.assert_allclose(turned, [0.0], atol=1e-6)


class TestComponentScalars:
    """Against NumPy in double precision, of gradients whose norms are known."""

    PARAMS = {  # noqa: RUF012
        "embed": np.full((3, 2), 2.0, np.float32),
        "head": np.array([3.0, 4.0], np.float32),
        "layers": np.stack([np.full(4, n, np.float32) for n in (0.1, 0.5, 4.0)]),
    }
    NORMS = {  # noqa: RUF012
        "embed": 24**0.5,
        "head": 5.0,
        "layers[0]": 0.2,
        "layers[1]": 1.0,
        "layers[2]": 8.0,
    }
    CLIP = cwgnc_jax.clip_by_component_norm(2.0, stacked("layers"))

    def expect(self, names, top):
        norms = np.array([self.NORMS[name] for name in names])
        scales = np.minimum(1, 2 / norms)
        expected = {
            "clip/global_norm": np.sqrt(np.sum(norms**2)),
            "clip/rate": np.mean(scales < 1),
            "clip/smallest_scale": np.min(scales),
            "clip/not_finite": 0.0,
        }
        for at in np.argsort(-norms)[:top]:
            expected[f"grad_norm/{names[at]}"] = norms[at]
            expected[f"clip_scale/{names[at]}"] = scales[at]
        return expected

    def states(self, tx):
        params = jax.tree.map(jnp.asarray, self.PARAMS)
        return params, tx.update(params, tx.init(params), params)[1]

    @pytest.mark.parametrize("top", [None, 0, 2, np.int64(3), 99])
    @pytest.mark.parametrize(
        ("wrap", "hidden"),
        [
            (lambda clip: clip, ""),
            (
                lambda clip: optax.masked(
                    clip, {"embed": False, "head": True, "layers": True}
                ),
                "embed",
            ),
            (
                lambda clip: optax.partition(
                    {"a": clip, "b": optax.sgd(1.0)},
                    {"embed": "a", "head": "b", "layers": "a"},
                ),
                "head",
            ),
            (
                lambda clip: cwgnc_jax.freeze(
                    clip,
                    {"embed": "frozen", "head": "trainable", "layers": "trainable"},
                ),
                "embed",
            ),
        ],
        ids=["all", "masked", "partition", "freeze"],
    )
    def test_norms_rates_and_totals(self, wrap, hidden, top):
        tx = optax.chain(wrap(self.CLIP), optax.adam(0.1))
        found = component_scalars(tx, *self.states(tx), top)
        expected = self.expect([n for n in self.NORMS if n != hidden], top)
        # The largest first, as in the oracle.
        assert list(found) == list(expected)
        assert {type(value) for value in found.values()} == {float}
        # Norms are float32: some units in the last place.
        np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-6)

    def test_inside_jit_and_scan(self):
        tx = optax.chain(self.CLIP, optax.sgd(0.0))
        params, state = self.states(tx)

        def scalars(state, top):
            return component_scalars(tx, params, state, top)

        for top in (None, 0, 5):
            expected = self.expect([*self.NORMS], top)
            found = jax.jit(scalars, static_argnums=1)(state, top)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-6)

        def step(state, size):
            gradients = jax.tree.map(lambda leaf: leaf * size, params)
            state = tx.update(gradients, state, params)[1]
            return state, scalars(state, None)

        _, found = jax.lax.scan(step, tx.init(params), jnp.array([1.0, 0.5]))
        np.testing.assert_allclose(found["clip/rate"], [0.6, 0.6])
        np.testing.assert_allclose(found["grad_norm/layers[2]"], [8.0, 4.0], rtol=1e-6)
        with pytest.raises(ValueError, match=r"top is 2 of 5 components.*inside jit"):
            jax.jit(scalars, static_argnums=1)(state, 2)

    def test_of_several_runs(self):
        tx = self.CLIP
        params, state = self.states(tx)
        both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), state)
        with pytest.raises(ValueError, match=r"of one run, got .* \(2, 5\)"):
            component_scalars(tx, params, both)
        found = jax.vmap(lambda one: component_scalars(tx, params, one, None))(both)
        np.testing.assert_allclose(found["grad_norm/head"], [5.0, 10.0], rtol=1e-6)

    def test_what_is_not_finite_comes_first(self):
        params = {name: jnp.array([value]) for name, value in
                  (("a", 1.0), ("b", jnp.inf), ("c", jnp.nan), ("d", 2.0))}  # fmt: skip
        tx = cwgnc_jax.clip_by_component_norm(4.0)
        state = tx.update(params, tx.init(params))[1]
        found = component_scalars(tx, params, state, 3)
        names = [name for name in found if name.startswith("grad_norm")]
        assert names == ["grad_norm/b", "grad_norm/c", "grad_norm/d"]
        assert found["clip/not_finite"] == 2
        assert np.isnan(found["clip/global_norm"])
        assert np.isinf(found["grad_norm/b"])

    def test_squares_stay_in_range(self):
        # 1e25 squared is no number of float32, and 1e-25 squared is 0.
        for size in (1e-18, 1e18):
            params = {"a": jnp.array([3 * size]), "b": jnp.array([4 * size])}
            tx = cwgnc_jax.clip_by_component_norm(1.0)
            _, state = tx.update(params, tx.init(params))
            both = jax.tree.map(lambda leaf: leaf * 1e5 if leaf.ndim else leaf, state)
            found = component_scalars(tx, params, both)
            np.testing.assert_allclose(found["clip/global_norm"], 5e5 * size, rtol=1e-5)

    def test_no_components(self):
        tx = cwgnc_jax.clip_by_component_norm(1.0)
        found = component_scalars(tx, {}, tx.init({}))
        assert found == {"clip/global_norm": 0, "clip/rate": 0,
                         "clip/smallest_scale": 1, "clip/not_finite": 0}  # fmt: skip

    @pytest.mark.parametrize(("top", "error"), [(-1, ValueError), (2.5, TypeError)])
    def test_refused(self, top, error):
        with pytest.raises(error, match="top must be"):
            component_scalars(self.CLIP, *self.states(self.CLIP), top)
