"""Parameters taken apart and joined again."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tanh_layers import DENSE, WIDTH, bits_of, make_params, stack

import cwgnc_jax
from cwgnc_jax import (
    join_params,
    split_params,
    unfreezing_groups,
)


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
        with groups.numbering(1):
            assert names == cwgnc_jax.component_names(
                trainable, cwgnc_jax.stacked("layers/.*")
            )

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

    @pytest.mark.parametrize("axis", [1, -1])
    @pytest.mark.parametrize("stage", range(4))
    def test_layers_on_another_axis(self, axis, stage):
        on_first = stack(make_params(4))
        moved = on_first | {
            "layers": jax.tree.map(
                lambda x: jnp.moveaxis(x, 0, axis), on_first["layers"]
            )
        }
        groups = unfreezing_groups(moved, layer_axis=axis)
        trainable, frozen = split_params(moved, stage, groups)
        expected = split_params(on_first, stage).trainable["layers"]
        chex.assert_trees_all_equal(
            jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), trainable["layers"]),
            expected,
        )
        chex.assert_trees_all_equal(join_params(trainable, frozen, groups), moved)

    def test_layers_on_another_axis_than_was_said(self):
        params = {"embed": DENSE, "layers": {"k": np.ones((4, 3, 5))}, "head": DENSE}
        parts = split_params(params, 0, unfreezing_groups(params, layer_axis=1))
        with pytest.raises(
            ValueError, match=r"not cut from one \(on axis 0; groups say"
        ):
            join_params(*parts)


class TestPartsThatDoNotFit:
    @pytest.mark.parametrize("given", [False, True])
    @pytest.mark.parametrize("form", [lambda params: params, stack])
    @pytest.mark.parametrize("stage", range(2))
    def test_swapped_or_whole(self, form, stage, given):
        params = form(make_params(3))
        groups = unfreezing_groups(params)
        trainable, frozen = split_params(params, stage, groups)
        for parts in ((frozen, trainable), (trainable, params), (params, frozen)):
            with pytest.raises(ValueError, match="trainable and frozen must be"):
                join_params(*parts, groups if given else None)
