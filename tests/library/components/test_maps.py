"""Maps from leaves to components, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cwgnc_jax
from cwgnc_jax import Component, Split
from cwgnc_jax.components import _maps
from cwgnc_jax.components._paths import leaves_with_paths


def ones(**shapes):
    return {name: jnp.ones(shape) for name, shape in shapes.items()}


def bert(layers=2):
    """Parameters of a BERT, its layers stacked on the first axis."""
    return {
        "embeddings": {"word": jnp.ones((5, 4))},
        "encoder": {
            "layers": {
                "query": ones(kernel=(layers, 4, 4), bias=(layers, 4)),
                "norm": ones(scale=(layers, 4)),
            }
        },
        "classifier": ones(kernel=(4, 2), bias=(2,)),
    }


class TestMaps:
    def test_each_leaf_is_a_component_by_default(self):
        names = cwgnc_jax.component_names(bert())
        assert names == tuple(path for path, _ in leaves_with_paths(bert()))
        assert names == cwgnc_jax.component_names(bert(), cwgnc_jax.by_leaf)

    def test_by_module(self):
        names = cwgnc_jax.component_names(bert(), cwgnc_jax.by_module)
        assert names == (
            "classifier",
            "embeddings",
            "encoder/layers/norm",
            "encoder/layers/query",
        )

    @pytest.mark.parametrize(
        ("path", "label"),
        [
            ("layers/3/attention/query/kernel", "layers/3"),
            ("bert/encoder/layer/3/attention/query/kernel", "bert/encoder/layer/3"),
            ("params/encoder/layer_3/dense/kernel", "params/encoder/layer_3"),
            ("params/TransformerBlock_3/dense/kernel", "params/TransformerBlock_3"),
            ("Transformer/encoderblock_3/mlp/kernel", "Transformer/encoderblock_3"),
            ("gpt/~/h3/attention/w", "gpt/~/h3"),
            ("gpt/h_3/attention/w", "gpt/h_3"),
            ("layers/3/mlp/layers/0/weight", "layers/3"),
            ("bert_2/pooler/kernel", "bert_2/pooler"),
            ("linear_1/w", "linear_1"),
            ("embedding", "embedding"),
        ],
    )
    def test_by_layer_finds_the_number(self, path, label):
        assert cwgnc_jax.by_layer({path: jnp.ones(2)}) == {path: Component(label)}

    def test_by_layer_keeps_stacked_layers_apart(self):
        params = {"h": ones(k=(4, 2, 2), b=(4, 2)), "head": ones(w=2)}
        names = cwgnc_jax.component_names(params, cwgnc_jax.by_layer)
        assert names == ("h[0]", "h[1]", "h[2]", "h[3]", "head")
        # Two arrays of ones in each layer: 2 * 2 + 2 entries.
        norms = cwgnc_jax.component_norms(params, cwgnc_jax.by_layer)
        np.testing.assert_allclose(norms[:4], np.sqrt(6), rtol=1e-6)

    @pytest.mark.parametrize("layer_axis", [1, -2])
    def test_by_layer_keeps_layers_on_another_axis_apart(self, layer_axis):
        params = {
            "h": {"k": jnp.ones((2, 3, 5)), "b": jnp.ones((3, 2))},
            "head": ones(w=2),
        }
        params["h"]["k"] = params["h"]["k"] * jnp.arange(3.0)[:, None]
        if layer_axis == 1:
            params["h"]["b"] = params["h"]["b"].T
        components = functools.partial(cwgnc_jax.by_layer, layer_axis=layer_axis)
        names = cwgnc_jax.component_names(params, components)
        assert names == ("h[0]", "h[1]", "h[2]", "head")
        norms = cwgnc_jax.component_norms(params, components)
        # Ten entries of the layer's number in the kernel, and two of 1 in the bias.
        expected = np.sqrt(10 * np.arange(3.0) ** 2 + 2)
        np.testing.assert_allclose(norms[:3], expected, rtol=1e-6)
        with pytest.raises(ValueError, match="as many on axis 2 each"):
            cwgnc_jax.by_layer(params, layer_axis=2)
        with pytest.raises(TypeError, match="layer_axis must be an int, got 'layers'"):
            cwgnc_jax.by_layer(params, layer_axis="layers")

    def test_by_layer_on_another_axis_keeps_numbers_when_a_stack_is_cut(self):
        params = {
            "embed": ones(w=2),
            "h": ones(k=(2, 3, 5), b=(2, 3)),
            "head": ones(w=2),
        }
        groups = cwgnc_jax.unfreezing_groups(params, layer_axis=1)
        trainable, _ = cwgnc_jax.split_params(params, 1, groups)
        components = functools.partial(cwgnc_jax.by_layer, layer_axis=1)
        with groups.numbering(1):
            names = cwgnc_jax.component_names(trainable, components)
        assert names == ("h[1]", "h[2]", "head")

    @pytest.mark.parametrize("shape", [(3, 2), ()])
    def test_by_layer_refuses_stacks_of_other_lengths(self, shape):
        params = {"layers": ones(k=(4, 2, 2), b=shape)}
        with pytest.raises(ValueError, match=r"by_layer: 'layers' .*\n  'layers/b \("):
            cwgnc_jax.by_layer(params)

    def test_leaves_without_a_module_are_not_joined(self):
        params = {"cls": jnp.ones(2), "pos_embedding": jnp.ones(2), "head": ones(w=2)}
        for components in (cwgnc_jax.by_module, cwgnc_jax.by_layer):
            assert cwgnc_jax.component_names(params, components) == (
                "cls",
                "head",
                "pos_embedding",
            )
        assert cwgnc_jax.component_names(jnp.ones(2), cwgnc_jax.by_module) == ("",)

    def test_whole_tree(self):
        assert cwgnc_jax.component_names(bert(), cwgnc_jax.whole_tree) == ("all",)
        [norm] = cwgnc_jax.component_norms(bert(), cwgnc_jax.whole_tree)
        entries = sum(leaf.size for leaf in jax.tree.leaves(bert()))
        np.testing.assert_allclose(norm, np.sqrt(entries), rtol=1e-6)

    def test_stacked(self):
        components = cwgnc_jax.stacked("encoder/layers/.*", start=10)
        assert cwgnc_jax.component_names(bert(), components) == (
            "classifier/bias",
            "classifier/kernel",
            "embeddings/word",
            "encoder/layers/norm/scale[10]",
            "encoder/layers/norm/scale[11]",
            "encoder/layers/query/bias[10]",
            "encoder/layers/query/bias[11]",
            "encoder/layers/query/kernel[10]",
            "encoder/layers/query/kernel[11]",
        )

    @pytest.mark.parametrize(
        ("joined", "label"), [(True, "encoder/layers"), ("layer", "layer")]
    )
    def test_stacked_and_joined(self, joined, label):
        components = cwgnc_jax.stacked("encoder/layers/.*", joined=joined)
        names = cwgnc_jax.component_names(bert(), components)
        assert names[-2:] == (f"{label}[0]", f"{label}[1]")

    def test_joined_names_do_not_depend_on_a_mask(self):
        params = {"layers": ones(attention=(2, 3), mlp=(2, 5)), "head": ones(x=(2,))}
        seen = {**params, "layers": {**params["layers"], "mlp": optax.MaskedNode()}}
        joined = cwgnc_jax.stacked("layers/.*", joined=True)
        for tree in (params, seen):
            names = cwgnc_jax.component_names(tree, joined)
            assert names == ("head/x", "layers[0]", "layers[1]")
        # Hidden above its leaves, as a mask that is a prefix does.
        deeper = {"layers": {"a": {"kernel": jnp.ones((2, 3))}, "b": params["head"]}}
        deeper["layers"]["b"] = optax.MaskedNode()  # pyright: ignore
        names = cwgnc_jax.component_names(deeper, joined)
        assert names == ("layers[0]", "layers[1]")

    def test_joined_leaves_need_a_path_in_common(self):
        params = {"attention": ones(kernel=(2, 3)), "mlp": ones(kernel=(2, 5))}
        with pytest.raises(ValueError, match="nothing in common; give the label"):
            cwgnc_jax.component_names(params, cwgnc_jax.stacked(".*", joined=True))
        names = cwgnc_jax.component_names(
            params, cwgnc_jax.stacked(".*", joined="layer")
        )
        assert names == ("layer[0]", "layer[1]")
        # One leaf has nobody to share a path with, and keeps its own.
        alone = cwgnc_jax.stacked("x", joined=True)
        assert cwgnc_jax.component_names(ones(x=(2, 3)), alone) == ("x[0]", "x[1]")

    @pytest.mark.parametrize(
        "choice",
        [
            cwgnc_jax.stacked("encoder/.*"),
            cwgnc_jax.fused("encoder/query/kernel", ("q", "k")),
            {"encoder": "encoder", "head": "head"},
            cwgnc_jax.by_rules([("encoder/.*", "encoder"), ("head/.*", "head")]),
        ],
    )
    def test_maps_inside_rules_do_not_miss_what_a_mask_hides(self, choice):
        params = {
            "embedding": ones(word=(3, 4)),
            "encoder": {"query": ones(kernel=(2, 4))},
            "head": ones(kernel=(4, 2)),
        }
        components = cwgnc_jax.by_rules([("embedding/.*", None), (".*", choice)])
        whole = cwgnc_jax.component_names(params, components)
        seen = {**params, "encoder": {"query": {"kernel": optax.MaskedNode()}}}
        found = cwgnc_jax.component_names(seen, components)
        assert found == whole[-1:]
        # What is not there at all is missed still.
        with pytest.raises(ValueError, match="encoder"):
            cwgnc_jax.component_names({"head": params["head"]}, choice)

    def test_stacked_keeps_several_axes(self):
        params = {"kernel": jnp.ones((2, 3, 5))}
        components = cwgnc_jax.stacked("kernel", (0, -1), start=7)
        names = cwgnc_jax.component_names(params, components)
        assert names[:2] == ("kernel[7,0]", "kernel[7,1]")
        assert names[-1] == "kernel[8,4]"
        swapped = cwgnc_jax.component_names(params, cwgnc_jax.stacked("kernel", (2, 0)))
        assert swapped[:3] == ("kernel[0,0]", "kernel[0,1]", "kernel[1,0]")

    def test_fused_parts_of_unequal_size(self):
        params = ones(kernel=(4, 10), bias=(10,))
        components = cwgnc_jax.fused(".*", {"q": 6, "kv": 4}, base=cwgnc_jax.whole_tree)
        norms = cwgnc_jax.component_norms(params, components)
        assert cwgnc_jax.component_names(params, components) == ("all[q]", "all[kv]")
        # 4 x 6 + 6 and 4 x 4 + 4 ones.
        np.testing.assert_allclose(norms, np.sqrt([30.0, 20.0]), rtol=1e-6)

    def test_rules_take_labels_components_maps_and_none(self):
        components = cwgnc_jax.by_rules(
            {
                "embeddings/.*": None,
                "classifier/.*": cwgnc_jax.by_module,
                r"encoder/layers/(\w+)/.*": cwgnc_jax.stacked(
                    ".*", base=cwgnc_jax.by_rules([(r".*/(\w+)/\w+", r"\1")])
                ),
            }
        )
        assert cwgnc_jax.component_names(bert(), components) == (
            "classifier",
            "norm[0]",
            "norm[1]",
            "query[0]",
            "query[1]",
        )

    def test_a_tree_of_labels_and_components_by_path(self):
        components = {
            "embeddings": None,
            "encoder": {"layers": Component("layer", axes=0)},
            "classifier/kernel": "head",
            "classifier": "other",
        }
        assert cwgnc_jax.component_names(bert(), components) == (
            "other",
            "head",
            "layer[0]",
            "layer[1]",
        )

    def test_a_cut_stack_keeps_its_numbers_under_one_label(self):
        params = {"lower": jnp.ones((2, 3)), "upper": jnp.ones((1, 3))}
        components = {
            "lower": Component("layers", axes=0),
            "upper": Component("layers", axes=0, start=2),
        }
        assert cwgnc_jax.component_names(params, components) == (
            "layers[0]",
            "layers[1]",
            "layers[2]",
        )

    def test_hidden_leaves_need_no_component_and_use_their_entries(self):
        params = {"a": jnp.ones(2), "b": optax.MaskedNode()}
        components = {"a": "a", "b": {"kernel": "b"}}
        assert cwgnc_jax.component_names(params, components) == ("a",)
        rules = cwgnc_jax.by_rules([("a", "x"), ("b/.*", "y")])
        assert cwgnc_jax.component_names(params, rules) == ("x",)
        stacked = cwgnc_jax.stacked("b/.*")
        assert cwgnc_jax.component_names(params, stacked) == ("a",)

    def test_shapes_alone_are_enough(self):
        shapes = jax.eval_shape(bert)
        components = cwgnc_jax.stacked("encoder/layers/.*")
        assert cwgnc_jax.component_names(shapes, components) == (
            cwgnc_jax.component_names(bert(), components)
        )


class TestErrors:
    @pytest.mark.parametrize(
        ("components", "message"),
        [
            ({"classifier": "x"}, "no component for these leaves"),
            ({"": "all", "pooler": "x"}, "belong to no leaf:\n  'pooler'"),
            ({"": Component("all", axes=0)}, "same lengths"),
            ({"": Component("all", axes=2)}, r"classifier/bias: no axis 2 in shape"),
            (
                cwgnc_jax.fused("classifier/kernel", ("q", "k", "v")),
                r"axis -1 of shape \(4, 2\) cannot be cut into the parts q, k, v",
            ),
            (
                cwgnc_jax.fused("classifier/kernel", {"q": 3, "k": 1}),
                "cannot be cut into the parts q: 3, k: 1",
            ),
            (cwgnc_jax.stacked("encoder/.*", (0, 0)), "name an axis twice"),
            (cwgnc_jax.stacked("encodr/.*"), "no leaf's path matches 'encodr/.*'"),
            (cwgnc_jax.by_rules([("encoder/.*", "x")]), "no rule matches the leaves"),
            (
                cwgnc_jax.by_rules([(".*", "x"), ("classifier/.*", "y")]),
                r"no leaf is left .*\n  'classifier/\.\*'",
            ),
            (
                cwgnc_jax.by_rules([("(.*)", r"\2")]),
                r"the label '\\\\2' does not fit the expression '\(\.\*\)'",
            ),
        ],
    )
    def test_maps_that_do_not_fit(self, components, message):
        with pytest.raises(ValueError, match=message):
            cwgnc_jax.component_names(bert(), components)

    def test_all_offenders_are_listed(self):
        params = {f"p{i:02}": jnp.ones(2) for i in range(40)}
        with pytest.raises(ValueError, match="'p01'") as error:
            cwgnc_jax.component_names(params, {"p00": "x"})
        assert "and 27 more" in str(error.value)

    def test_what_is_not_a_component(self):
        with pytest.raises(TypeError, match=r"str .a label. or None, got 3 at 'a'"):
            cwgnc_jax.component_names({"a": jnp.ones(2)}, {"a": 3})

    @pytest.mark.parametrize(
        "name",
        [
            name
            for name, function in vars(_maps).items()
            if name in cwgnc_jax.__all__ and function.__module__ == _maps.__name__
        ],
    )
    def test_the_name_of_a_map_is_no_label_for_all(self, name):
        message = f"the string '{name}' would be the label of.*cwgnc_jax.{name}"
        with pytest.raises(TypeError, match=f"components: {message}"):
            cwgnc_jax.clip_by_component_norm(0.05, name).init(bert())
        with pytest.raises(TypeError, match=rf"rules of '\.\*': {message}"):
            cwgnc_jax.by_rules([(".*", name)])

    @pytest.mark.parametrize(
        "maker", [cwgnc_jax.stacked, cwgnc_jax.fused, cwgnc_jax.by_rules]
    )
    def test_what_makes_maps_must_be_called(self, maker):
        message = rf"^components: {maker.__name__} makes a map when it is called.*"
        with pytest.raises(TypeError, match=message) as error:
            cwgnc_jax.component_names(bert(), maker)
        assert len(str(error.value)) < 200  # No arrays are shown.
        with pytest.raises(TypeError, match="makes a map when it is called"):
            cwgnc_jax.component_names(
                bert(), cwgnc_jax.stacked(".*layers.*", base=maker)
            )

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: Component(3), TypeError, "label must be a string"),
            (lambda: Component("x", start=2), ValueError, "start is 2"),
            (lambda: Split(-1, "qkv"), TypeError, "several names"),
            (lambda: Split(-1, ()), ValueError, "must have names"),
            (lambda: Split(-1, ("q", "q")), ValueError, "all different"),
            (lambda: Split(-1, {"q": -1}), ValueError, "negative size"),
            (lambda: Split(-1, ("q", ("k", 3))), ValueError, "all or none"),
            (lambda: cwgnc_jax.stacked("("), ValueError, "not a regular expression"),
            (lambda: cwgnc_jax.stacked(bert()), TypeError, "an object of type dict$"),
            (lambda: cwgnc_jax.by_rules([]), ValueError, "at least one rule"),
            (lambda: cwgnc_jax.by_rules(["ab"]), TypeError, "pairs"),
            (lambda: Component("a", "0"), TypeError, "axes must be an int .*'0'"),  # pyright: ignore
            (lambda: Component("a", 0.0), TypeError, "axes must be an int .*0.0"),  # pyright: ignore
        ],
    )
    def test_arguments(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cwgnc_jax.stacked("x", start="3"), "start must be an int, got '3'"),
        (lambda: cwgnc_jax.stacked("x", axes="x"), "axes must be an int or several"),
        (
            lambda: cwgnc_jax.fused("x", ("a",), axis="x"),
            "axis must be an int, got 'x'",
        ),
        (
            lambda: cwgnc_jax.by_rules(None),
            "rules must be pairs, or a dict, .* got None",
        ),
        (lambda: cwgnc_jax.by_rules(".*"), r"rules must be pairs, .* got '\.\*'"),
        (
            lambda: cwgnc_jax.stacked("x", base=None),
            "stacked: base must be a map of com",
        ),
        (lambda: cwgnc_jax.fused("x", ("a",), base=None), "fused: base must be a map"),
    ],
)
def test_what_is_no_argument(make, message):
    with pytest.raises(TypeError, match=message):
        make()
