"""clip_by_component_norm inside Optax's wrappers and JAX's transformations."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import cwgnc_jax
from cwgnc_jax import contrib

PARAMS = {
    "dense": {"kernel": jnp.full((3, 2), 0.5), "bias": jnp.zeros(2)},
    "stack": jnp.ones((2, 3)),
}
GRADIENTS = {
    "dense": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.array([0.03, 0.04])},
    "stack": jnp.array([[3.0, 0.0, 4.0], [0.0, 0.1, 0.0]]),
}
STACKED = cwgnc_jax.stacked("stack")
CLIP = cwgnc_jax.clip_by_component_norm(0.5, STACKED)


def clipped_gradients():
    return CLIP.update(GRADIENTS, CLIP.init(PARAMS))[0]


class TestOptax:
    def test_chain_clips_before_the_moments(self):
        tx = optax.chain(CLIP, optax.trace(0.9))
        state = tx.init(PARAMS)
        for _ in range(2):
            updates, state = tx.update(GRADIENTS, state, PARAMS)
        expected = jax.tree.map(lambda g: 1.9 * g, clipped_gradients())
        chex.assert_trees_all_close(updates, expected)

    def test_masked(self):
        mask = {"dense": {"kernel": True, "bias": False}, "stack": True}
        rules = [("dense/kernel", 0.5), ("dense/bias", 0.1), (".*", 0.5)]
        tx = optax.masked(cwgnc_jax.clip_by_component_norm(rules, STACKED), mask)
        updates, state = jax.jit(tx.update)(GRADIENTS, tx.init(PARAMS))
        expected = clipped_gradients()
        np.testing.assert_array_equal(
            updates["dense"]["bias"], GRADIENTS["dense"]["bias"]
        )
        # Two programs, one of which sums and divides in another order.
        np.testing.assert_allclose(
            updates["dense"]["kernel"], expected["dense"]["kernel"], rtol=1e-6
        )
        there = jax.tree.map(lambda m, p: p if m else optax.MaskedNode(), mask, PARAMS)
        names = cwgnc_jax.component_names(there, STACKED)
        assert names == ("dense/kernel", "stack[0]", "stack[1]")
        assert cwgnc_jax.get_clip_state(state).norms.shape == (3,)

    def test_masked_below_a_whole_subtree(self):
        tx = optax.masked(
            cwgnc_jax.clip_by_component_norm([("dense/.*", 1.0), (".*", 0.5)]),
            {"dense": False, "stack": True},
        )
        updates, _ = tx.update(GRADIENTS, tx.init(PARAMS))
        np.testing.assert_allclose(np.linalg.norm(updates["stack"]), 0.5, rtol=1e-6)
        chex.assert_trees_all_equal(updates["dense"], GRADIENTS["dense"])

    def test_partition_with_two_clippings(self):
        labels = {"dense": {"kernel": "a", "bias": "b"}, "stack": "b"}
        tx = optax.partition(
            {
                "a": cwgnc_jax.clip_by_component_norm(0.1),
                "b": cwgnc_jax.clip_by_component_norm(0.5, STACKED),
            },
            labels,
        )
        updates, state = jax.jit(tx.update)(GRADIENTS, tx.init(PARAMS))
        kernel = updates["dense"]["kernel"]
        np.testing.assert_allclose(np.linalg.norm(kernel), 0.1, rtol=1e-6)
        expected = clipped_gradients()["stack"]
        np.testing.assert_allclose(updates["stack"], expected, rtol=1e-6)
        with pytest.raises(ValueError, match="got 2; name a path, or a key in it, as"):
            cwgnc_jax.get_clip_state(state)
        norms = cwgnc_jax.get_clip_state(state, "b").norms
        np.testing.assert_allclose(norms, [0.05, 5.0, 0.1], rtol=1e-6)
        assert cwgnc_jax.get_clip_state(state, where="a").norms.shape == (1,)

    def test_multi_steps_accumulates_before_clipping(self):
        tx = optax.MultiSteps(optax.chain(CLIP), every_k_schedule=2)
        state = tx.init(PARAMS)
        first = jax.tree.map(lambda g: 3.0 * g, GRADIENTS)
        second = jax.tree.map(lambda g: -g, GRADIENTS)
        updates, state = tx.update(first, state, PARAMS)
        chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, PARAMS))
        updates, state = tx.update(second, state, PARAMS)
        # The mean of the two is the gradient, clipped once.
        chex.assert_trees_all_close(updates, clipped_gradients())
        assert cwgnc_jax.get_clip_state(state).count == 1

    @pytest.mark.parametrize("jit", [True, False])
    def test_inject_hyperparams(self, jit):
        inject = optax.inject_hyperparams(
            cwgnc_jax.clip_by_component_norm, static_args=("components", "specs")
        )
        tx = inject(max_norm=0.5, components=STACKED)
        update = jax.jit(tx.update) if jit else tx.update
        state = tx.init(PARAMS)
        updates, state = update(GRADIENTS, state)
        chex.assert_trees_all_close(updates, clipped_gradients())
        state.hyperparams["max_norm"] = jnp.asarray(0.25)
        updates, state = update(GRADIENTS, state)
        np.testing.assert_allclose(np.linalg.norm(updates["stack"][0]), 0.25, rtol=1e-6)
        np.testing.assert_allclose(cwgnc_jax.get_clip_state(state).scales[2], 0.05)

    def test_inject_hyperparams_takes_a_schedule_for_its_own(self):
        inject = optax.inject_hyperparams(cwgnc_jax.clip_by_component_norm)
        tx = inject(max_norm=optax.linear_schedule(0.5, 0.0, 2))
        state = tx.init(PARAMS)
        scales = []
        for _ in range(3):
            _, state = tx.update(GRADIENTS, state)
            scales.append(float(cwgnc_jax.get_clip_state(state).scales[1]))
        norm = np.sqrt(24.0)
        np.testing.assert_allclose(scales, [0.5 / norm, 0.25 / norm, 0.0], rtol=1e-6)

    @pytest.mark.parametrize(
        "components",
        [
            cwgnc_jax.by_leaf,
            cwgnc_jax.by_module,
            cwgnc_jax.by_layer,
            cwgnc_jax.whole_tree,
            cwgnc_jax.by_rules({".*": "x"}),
            STACKED,
        ],
    )
    def test_inject_hyperparams_takes_no_map_for_a_schedule(self, components):
        # Called with the step, some would silently make one component of all leaves.
        inject = optax.inject_hyperparams(cwgnc_jax.clip_by_component_norm)
        tx = inject(max_norm=0.5, components=components)
        with pytest.raises(ValueError, match=r'static_args=\("components", "specs"\)'):
            tx.init(PARAMS)

    def test_inject_hyperparams_with_rules(self):
        inject = optax.inject_hyperparams(
            cwgnc_jax.clip_by_component_norm, static_args=("components", "specs")
        )
        rules = [(r"stack\[0\]", optax.constant_schedule(0.25)), (".*", None)]
        tx = inject(max_norm=rules, components=STACKED)
        updates, state = jax.jit(tx.update)(GRADIENTS, tx.init(PARAMS))
        np.testing.assert_allclose(
            cwgnc_jax.get_clip_state(state).scales, [1.0, 1.0, 0.05, 1.0], rtol=1e-6
        )
        chex.assert_trees_all_equal(updates["dense"], GRADIENTS["dense"])

    def test_apply_if_finite_skips_a_step_with_nan(self):
        tx = optax.apply_if_finite(optax.chain(CLIP, optax.sgd(1.0)), 3)
        state = tx.init(PARAMS)
        bad = GRADIENTS | {"stack": GRADIENTS["stack"].at[0, 1].set(jnp.nan)}
        updates, state = tx.update(bad, state, PARAMS)
        chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, PARAMS))
        assert state.total_notfinite == 1
        updates, state = tx.update(GRADIENTS, state, PARAMS)
        expected = jax.tree.map(jnp.negative, clipped_gradients())
        chex.assert_trees_all_close(updates, expected)

    @pytest.mark.parametrize(
        ("wrap", "params"),
        [
            (lambda tx: optax.contrib.schedule_free(tx, 0.1), PARAMS),
            (optax.contrib.mechanize, PARAMS),
            (
                lambda tx: optax.lookahead(tx, 2, 0.5),
                optax.LookaheadParams.init_synced(PARAMS),
            ),
        ],
        ids=["schedule_free", "mechanize", "lookahead"],
    )
    def test_wrappers(self, wrap, params):
        tx = wrap(optax.chain(CLIP, optax.sgd(0.1)))
        state = tx.init(params)
        updates, state = jax.jit(tx.update)(GRADIENTS, state, params)
        optax.apply_updates(params, updates)
        norms = cwgnc_jax.get_clip_state(state).norms
        np.testing.assert_allclose(norms[2:], [5.0, 0.1], rtol=1e-6)

    def test_snapshot_of_the_scales_in_a_scan(self):
        tx = optax.chain(CLIP, optax.sgd(0.1))

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(GRADIENTS, state, params)
            clip = cwgnc_jax.get_clip_state(state)
            return (optax.apply_updates(params, updates), state), clip.scales

        carry = (PARAMS, tx.init(PARAMS))
        (_, state), scales = jax.jit(lambda carry: jax.lax.scan(step, carry, length=3))(
            carry
        )
        assert scales.shape == (3, 4)
        np.testing.assert_array_equal(scales[0], scales[2])
        assert cwgnc_jax.get_clip_state(state).count == 3


class TestGetClipState:
    def test_of_no_clipping(self):
        with pytest.raises(ValueError, match=r"must hold one state .* got 0"):
            cwgnc_jax.get_clip_state(optax.adam(1e-3).init(PARAMS))

    def test_where_there_is_none(self):
        state = optax.chain(CLIP).init(PARAMS)
        with pytest.raises(
            ValueError, match=r"at 'frozen' must hold one .* got 0; .*:\n  '0'$"
        ):
            cwgnc_jax.get_clip_state(state, "frozen")

    def test_of_several_by_path_beginning_and_key(self):
        clips = [cwgnc_jax.clip_by_component_norm(1.0) for _ in range(4)]
        inner = optax.chain(*clips[1:3])
        tx = optax.chain(clips[0], inner, optax.named_chain(("x", clips[3])))
        state = tx.init(PARAMS)
        numbered = {"0": 0, "1/0": 1, "1/1": 2, "2/x": 3}
        state = jax.tree.unflatten(
            jax.tree.structure(state),
            [jnp.asarray(i) for i in range(4) for _ in range(3)],
        )
        for where, number in numbered.items():
            assert cwgnc_jax.get_clip_state(state, where).count == number
        # An exact path goes before the same key elsewhere, a beginning before a key.
        for where, number in {0: 0, "2": 3, 2: 3, "x": 3}.items():
            assert cwgnc_jax.get_clip_state(state, where).count == number
        with pytest.raises(ValueError, match=r"at 1 .* got 2; .*\n  '1/0'\n  '1/1'$"):
            cwgnc_jax.get_clip_state(state, 1)

    def test_beside_parameters_called_like_its_fields(self):
        params = {"norms": jnp.ones(2), "scales": jnp.ones(2)}
        tx = optax.chain(cwgnc_jax.clip_by_component_norm(1.0), optax.adam(0.1))
        state = cwgnc_jax.get_clip_state(tx.init(params))
        assert isinstance(state, cwgnc_jax.ClipByComponentNormState)

    def test_of_a_state_restored_as_dicts(self):
        state = optax.chain(CLIP, optax.adam(0.1)).init(PARAMS)
        restored = [state[0]._asdict(), state[1]]
        found = cwgnc_jax.get_clip_state(restored)
        np.testing.assert_array_equal(found.scales, np.ones(4))

    def test_of_adaptive_clipping(self):
        for tx in (
            contrib.adagc(),
            contrib.adaptive_clip_by_component_norm(),
            contrib.autoclip_by_component_norm(),
        ):
            found = cwgnc_jax.get_clip_state(optax.chain(tx).init(PARAMS))
            assert isinstance(found, cwgnc_jax.ClipByComponentNormState)


class TestJax:
    def test_compiles_once(self):
        update = jax.jit(chex.assert_max_traces(CLIP.update, n=1))
        state = CLIP.init(PARAMS)
        for _ in range(3):
            updates, state = update(GRADIENTS, state)
        chex.assert_trees_all_close(updates, clipped_gradients())

    def test_vmap_over_seeds(self):
        def run(gradients):
            return CLIP.update(gradients, CLIP.init(PARAMS))

        factors = jnp.array([0.01, 1.0, 100.0])
        many = jax.tree.map(lambda g: jnp.stack([g * f for f in factors]), GRADIENTS)
        updates, states = jax.jit(jax.vmap(run))(many)
        for i, factor in enumerate(factors):
            one, state = run(jax.tree.map(lambda g, f=factor: g * f, GRADIENTS))
            chex.assert_trees_all_close(
                jax.tree.map(lambda x, i=i: x[i], updates), one, rtol=1e-6
            )
            np.testing.assert_allclose(states.norms[i], state.norms, rtol=1e-6)

    def test_derivative_of_a_step_of_training(self):
        # Meta-gradient: how the loss after a clipped step moves with the threshold.
        def loss_after_step(max_norm):
            tx = optax.chain(cwgnc_jax.clip_by_component_norm(max_norm), optax.sgd(1.0))
            params = {"x": jnp.array([3.0, 4.0])}
            gradients = jax.grad(lambda p: 0.5 * jnp.sum(p["x"] ** 2))(params)
            updates, _ = tx.update(gradients, tx.init(params), params)
            return 0.5 * jnp.sum(optax.apply_updates(params, updates)["x"] ** 2)

        # |x| = 5 becomes 5 - c, so that the loss is (5 - c)^2 / 2.
        np.testing.assert_allclose(jax.grad(loss_after_step)(2.0), -3.0, rtol=1e-5)

    def test_donated_states_have_buffers_of_their_own(self):
        auto = contrib.autoclip_by_component_norm(components=STACKED)
        for tx in (CLIP, contrib.adagc(components=STACKED), auto):
            state = tx.init(PARAMS)
            update = jax.jit(tx.update, donate_argnums=(0, 1), keep_unused=True)
            gradients = jax.tree.map(jnp.copy, GRADIENTS)
            update(gradients, state)
            for leaf in jax.tree.leaves((gradients, state)):
                assert leaf.is_deleted()

    @pytest.mark.parametrize("tree", [{}, [], {"a": None, "b": {}}, ()])
    def test_trees_without_leaves(self, tree):
        auto = contrib.autoclip_by_component_norm()
        for tx in (CLIP, contrib.adagc(), auto, cwgnc_jax.cwgnc_adamw(0.1)):
            if tx is CLIP:
                tx = cwgnc_jax.clip_by_component_norm([("x", 1.0)])
            updates, state = jax.jit(tx.update)(tree, tx.init(tree), tree)
            assert jax.tree.structure(updates) == jax.tree.structure(tree)
            assert cwgnc_jax.get_clip_state(state).norms.shape == (0,)

    def test_none_leaves(self):
        gradients = {"kernel": jnp.array([3.0, 4.0]), "bias": None}
        tx = cwgnc_jax.clip_by_component_norm(1.0)
        updates, _ = tx.update(gradients, tx.init(gradients))
        assert updates["bias"] is None
        np.testing.assert_allclose(updates["kernel"], [0.6, 0.8], rtol=1e-6)

    def test_weakly_typed_and_python_numbers(self):
        gradients = {"x": 3.0, "y": jnp.asarray(4.0)}
        tx = cwgnc_jax.clip_by_component_norm(1.0, cwgnc_jax.whole_tree)
        updates, _ = tx.update(gradients, tx.init(gradients))
        np.testing.assert_allclose([updates["x"], updates["y"]], [0.6, 0.8], rtol=1e-6)

    def test_is_traced_abstractly(self):
        state = jax.eval_shape(CLIP.init, PARAMS)
        assert state.norms.shape == (4,)
        updates, _ = jax.eval_shape(CLIP.update, GRADIENTS, state)
        assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, PARAMS)


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(cwgnc_jax.clip_by_component_norm(1.0), optax.sgd(0.05)),
        optax.chain(contrib.adaptive_clip_by_component_norm(0.5), optax.sgd(0.05)),
        optax.chain(contrib.adagc(start=5), optax.sgd(0.05)),
        cwgnc_jax.cwgnc_adamw(0.05, weight_decay=0.0),
    ],
    ids=["clip", "agc", "adagc", "adamw"],
)
class TestContractOfOptaxOptimizers:
    @pytest.mark.parametrize("dtype", ["bfloat16", "float32", "complex64"])
    def test_finds_the_minimum_of_a_parabola(self, tx, dtype):
        target = jnp.asarray([0.5, -0.5, 1.0], dtype)
        params = jnp.asarray([-1.0, 2.0, 1.0], dtype)

        def loss(params):
            return jnp.sum(jnp.abs(params - target) ** 2).astype(jnp.float32)

        @jax.jit
        def step(carry, _):
            params, state = carry
            # The descent direction of a complex variable is the conjugate gradient.
            gradients = jnp.conj(jax.grad(loss)(params))
            updates, state = tx.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        (found, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=400)
        # Adam hovers around the minimum by its learning rate; bfloat16 has 8 bits.
        np.testing.assert_allclose(
            np.asarray(found, np.complex64), np.asarray(target, np.complex64), atol=0.1
        )

    def test_state_keeps_structure_shapes_and_dtypes(self, tx):
        def describe(state):
            leaves, treedef = jax.tree.flatten(state)
            return treedef, [(leaf.shape, leaf.dtype) for leaf in leaves]

        state = tx.init(PARAMS)
        updates, after = tx.update(GRADIENTS, state, PARAMS)
        assert describe(after) == describe(state)
        assert describe(updates) == describe(PARAMS)

    def test_takes_extra_arguments_for_others(self, tx):
        tx = optax.with_extra_args_support(tx)
        tx.update(GRADIENTS, tx.init(PARAMS), PARAMS, value=1.0)

    def test_parameters_in_its_state_can_be_mapped(self, tx):
        doubled = optax.tree.map_params(tx, lambda x: 2 * x, tx.init(PARAMS))
        assert jax.tree.structure(doubled) == jax.tree.structure(tx.init(PARAMS))


class TestRecordsByName:
    PARAMS = {"a": jnp.full((2, 3), 2.0), "b": jnp.ones(4), "c": jnp.full(9, 2.0)}  # noqa: RUF012
    NORMS = {"a": 24**0.5, "b": 2.0, "c": 6.0}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("wrap", "seen"),
        [
            (lambda tx: tx, "abc"),
            (lambda tx: optax.masked(tx, {"a": True, "b": False, "c": True}), "ac"),
            (
                lambda tx: optax.partition(
                    {"x": tx, "y": optax.sgd(1.0)}, {"a": "y", "b": "x", "c": "x"}
                ),
                "bc",
            ),
            (
                lambda tx: cwgnc_jax.freeze(
                    tx, {"a": "trainable", "b": "frozen", "c": "frozen"}
                ),
                "a",
            ),
        ],
    )
    @pytest.mark.parametrize(
        "clip",
        [cwgnc_jax.clip_by_component_norm(1.0), cwgnc_jax.contrib.adagc()],
    )
    def test_names_belong_to_norms(self, wrap, seen, clip):
        tx = optax.chain(wrap(optax.chain(clip, optax.adam(0.1))), optax.scale(1.0))
        # What was traced before must not be taken for what has names, nor after.
        structure = jax.tree.structure(jax.eval_shape(tx.init, self.PARAMS))
        _, state = tx.update(self.PARAMS, tx.init(self.PARAMS), self.PARAMS)
        record = cwgnc_jax.component_record(tx, self.PARAMS, state)
        assert record.names == tuple(seen)
        wanted = [self.NORMS[name] for name in seen]
        np.testing.assert_allclose(record.norms, wanted, rtol=1e-6)
        assert jax.tree.structure(jax.eval_shape(tx.init, self.PARAMS)) == structure

    @pytest.mark.parametrize("record_first", [True, False])
    def test_an_optimizer_that_is_compiled_itself(self, record_first):
        clip = cwgnc_jax.clip_by_component_norm(1.0)
        tx = optax.GradientTransformation(jax.jit(clip.init), jax.jit(clip.update))
        if record_first:
            cwgnc_jax.component_record(tx, self.PARAMS, clip.init(self.PARAMS))
        _, state = tx.update(self.PARAMS, tx.init(self.PARAMS))
        record = cwgnc_jax.component_record(tx, self.PARAMS, state)
        assert record.names == ("a", "b", "c")
        np.testing.assert_allclose(record.norms, list(self.NORMS.values()), rtol=1e-6)

    def test_a_state_of_other_parameters(self):
        tx = cwgnc_jax.clip_by_component_norm(1.0)
        state = tx.init({"a": jnp.ones(2)})
        with pytest.raises(ValueError, match="3 components"):
            cwgnc_jax.component_record(tx, self.PARAMS, state)
        with pytest.raises(ValueError, match="the 3 components of the updates"):
            tx.update(self.PARAMS, state)

    def test_misspelt_rules_under_a_mask(self):
        mask = {"a": True, "b": False, "c": True}
        for rules, wrong in (([("b", 1.0), (".*", 2.0)], False),
                             ([("bb", 1.0), (".*", 2.0)], True)):  # fmt: skip
            tx = optax.masked(cwgnc_jax.clip_by_component_norm(rules), mask)
            if wrong:
                with pytest.raises(ValueError, match="no component is left for"):
                    tx.init(self.PARAMS)
            else:
                tx.init(self.PARAMS)
        # As eqx.partition hides them.
        tx = cwgnc_jax.clip_by_component_norm([("b", 1.0), (".*", 2.0)])
        assert tx.init(self.PARAMS | {"b": None}).norms.shape == (2,)

    @pytest.mark.parametrize("wrong", [".*bb", "bb|bbb", "(?i)BB"])
    def test_misspelt_rules_that_only_all_parameters_can_tell(self, wrong):
        mask = {"a": True, "b": False, "c": True}

        def record(*rules):
            clip = cwgnc_jax.clip_by_component_norm([*rules, (".*", 2.0)])
            tx = optax.masked(clip, mask)
            return cwgnc_jax.component_record(tx, self.PARAMS, tx.init(self.PARAMS))

        assert record((".*b", 1.0), ("(?i)A|B", 3.0)).names == ("a", "c")
        with pytest.raises(
            ValueError, match=f"is left for the rules:\n  {re.escape(repr(wrong))}\n"
        ):
            record((wrong, 1.0))

    def test_a_split_hides_what_rules_may_be_for(self):
        params = {"embed": jnp.ones(2), "layers": jnp.ones((4, 2)), "head": jnp.ones(2)}
        trainable = cwgnc_jax.split_params(params, 1).trainable
        clip = cwgnc_jax.clip_by_component_norm([(".*bed", 1.0), (".*", 2.0)])
        record = cwgnc_jax.component_record(clip, trainable, clip.init(trainable))
        assert record.names == ("head", "layers")

    def test_layers_of_a_cut_stack_have_their_numbers(self):
        params = {"embed": jnp.ones(2), "layers": jnp.ones((4, 2)), "head": jnp.ones(2)}
        groups = cwgnc_jax.unfreezing_groups(params)
        trainable = cwgnc_jax.split_params(params, 1, groups).trainable
        clip = cwgnc_jax.clip_by_component_norm(1.0, cwgnc_jax.stacked("layers"))
        with groups.numbering(1):
            state = clip.init(trainable)
            record = cwgnc_jax.component_record(clip, trainable, state)
        assert record.names == ("head", "layers[2]", "layers[3]")
