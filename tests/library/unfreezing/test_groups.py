"""Groups of parameters, and parameters and states taken apart and joined again."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tanh_layers import WIDTH, adamw, bits_of, make_params, stack

import cwgnc_jax
from cwgnc_jax import (
    contrib,
    gradual_unfreezing,
    join_params,
    split_params,
    unfreezing_groups,
    unfreezing_labels,
)

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
            ({"layers": [DENSE], "embed": DENSE}, {"head": "out"}, r"head: no .*head=None"),
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
            (bert(layers={"a": np.float32(1)}), {}, r"on axis 0"),
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
            ValueError, match=r"not cut from one.*: a \(2,\) and \(2, 2\)"
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

    def test_references_of_fewer_layers_are_not_those_of_more(self):
        # The whole stack is one component, in each stage, but not the same one.
        params, tx = stack(make_params(3)), contrib.adagc(start=2)
        trainable = split_params(params, 0).trainable
        _, state = tx.update(trainable, tx.init(trainable))
        assert np.isfinite(state.references).any()
        trainable = split_params(params, 1).trainable
        carried = cwgnc_jax.carry_opt_state(tx, trainable, state)
        assert carried.references.shape == state.references.shape
        assert np.isinf(carried.references).all()
        assert carried.count == 1

    def test_a_stack_that_shrinks_is_refused(self):
        params = stack(make_params(3))
        tx = optax.adam(0.1)
        state = tx.init(split_params(params, 1).trainable)
        with pytest.raises(ValueError, match="not that of upper layers of"):
            cwgnc_jax.carry_opt_state(tx, split_params(params, 0).trainable, state)
