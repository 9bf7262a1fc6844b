"""One spelling of paths for all kinds of trees, and rules over them."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import optax
import pytest

import cwgnc_jax
from cwgnc_jax.components._paths import leaves_with_paths, match_rules


def ones(**shapes):
    return {name: jnp.ones(shape) for name, shape in shapes.items()}


class TestPaths:
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Dense:
        kernel: jax.Array
        bias: jax.Array

    def test_dicts_lists_and_dataclasses_are_spelt_alike(self):
        as_dict = {"layers": {"0": ones(kernel=(2, 2), bias=(2,))}}
        as_list = {"layers": [ones(kernel=(2, 2), bias=(2,))]}
        as_object = {"layers": (self.Dense(jnp.ones((2, 2)), jnp.ones(2)),)}
        expected = {"layers/0/bias", "layers/0/kernel"}
        for tree in (as_dict, as_list, as_object):
            assert set(cwgnc_jax.component_names(tree)) == expected

    def test_order_is_that_of_the_leaves(self):
        tree = {"b": [1.0, (2.0, {"z": 3.0, "y": 4.0})], "a": 5.0, "none": None}
        leaves = [leaf for _, leaf in leaves_with_paths(tree)]
        assert leaves == jax.tree.leaves(tree)

    def test_a_box_takes_no_part_in_the_path(self):
        @jax.tree_util.register_dataclass
        @dataclasses.dataclass
        class Box:
            value: jax.Array
            names: str = dataclasses.field(metadata={"static": True}, default="x")

        assert cwgnc_jax.component_names({"kernel": Box(jnp.ones(2))}) == ("kernel",)
        masked = {"kernel": Box(optax.MaskedNode())}  # pyright: ignore
        [(path, _)] = leaves_with_paths(
            masked, is_leaf=lambda x: isinstance(x, optax.MaskedNode)
        )
        assert path == "kernel"

    def test_a_key_or_one_of_several_attributes_named_value_stays(self):
        @jax.tree_util.register_dataclass
        @dataclasses.dataclass
        class Attention:
            query: jax.Array | None
            value: jax.Array

        as_dict = {"attention": {"value": jnp.ones(2)}}
        as_object = {"attention": Attention(None, jnp.ones(2))}
        for tree in (as_dict, as_object):
            assert cwgnc_jax.component_names(tree) == ("attention/value",)

    def test_leaves_spelt_alike_are_refused(self):
        tree = {"a": {"b": jnp.ones(2)}, "a/b": jnp.ones(2)}
        with pytest.raises(ValueError, match="spelt alike:\n  'a/b'"):
            cwgnc_jax.component_names(tree)

    def test_a_tree_that_is_a_leaf_has_an_empty_path(self):
        assert cwgnc_jax.component_names(jnp.ones(3)) == ("",)
        assert cwgnc_jax.component_names(jnp.ones(3), "all") == ("all",)

    def test_leaves_that_are_not_floating_point_have_no_component(self):
        tree = {"x": jnp.ones(2), "n": jnp.ones(2, int), "key": jax.random.key(0)}
        tree["activation"] = jax.nn.relu
        assert cwgnc_jax.component_names(tree) == ("x",)


class TestRules:
    NAMES = ("a/kernel", "a/bias", "b/kernel")

    def match(self, *expressions, hidden=()):
        patterns = [re.compile(expression) for expression in expressions]
        return match_rules("rules", patterns, self.NAMES, hidden=hidden)

    def test_the_first_that_matches_the_whole_name(self):
        assert self.match("a", "a/.*", ".*kernel", ".*", hidden=["a"]) == [1, 1, 2]
        assert self.match("a/kernel", ".*/kernel", ".*") == [0, 2, 1]

    def test_every_name_is_matched(self):
        with pytest.raises(ValueError, match=r"matches the leaves:\n  'a/bias'$"):
            self.match(".*/kernel")

    def test_every_rule_is_used_unless_a_mask_hides_names(self):
        with pytest.raises(
            ValueError, match=r"wins\):\n  'c'\nThe leaves are:\n  'a/k"
        ):
            self.match("c", ".*")
        assert self.match("c", ".*", hidden=["c"]) == [1, 1, 1]
        assert self.match("c/x", ".*", hidden=["c"]) == [1, 1, 1]
        assert self.match(".*x", ".*", hidden=["c"]) == [1, 1, 1]
        assert self.match("cx?", ".*", hidden=["c"]) == [1, 1, 1]
        with pytest.raises(
            ValueError, match=r"wins\):\n  'cx'\n(.|\n)*'c \(hidden\)'$"
        ):
            self.match("cx", ".*", hidden=["c"])
