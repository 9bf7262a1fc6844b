"""Groups of parameters: head, layers, embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tanh_layers import DENSE, adamw, bert, make_params, stack

import cwgnc_jax
from cwgnc_jax import (
    gradual_unfreezing,
    split_params,
    unfreezing_groups,
    unfreezing_labels,
)


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
            (
                {"layers": [DENSE], "embed": DENSE},
                {"head": "out"},
                r"head: no .*head=None",
            ),
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
                bert(layers=DENSE),
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
        with pytest.raises(TypeError, match=r"stage must be an int, got .*\.5"):
            unfreezing_labels(make_params(2), stage + 0.5)
        with pytest.raises(TypeError, match=r"layer_axis must be an int, got 0\.5"):
            unfreezing_groups(make_params(2), layer_axis=0.5)

    def test_groups_of_another_tree(self):
        groups = unfreezing_groups(make_params(2))
        with pytest.raises(ValueError, match="has no leaf 'layers/2/bias'"):
            split_params(make_params(3), 0, groups)


class TestHeads:
    @pytest.mark.parametrize(
        "head",
        [
            {"norm": DENSE, "lm_head": DENSE},
            {"final_norm": DENSE},
            {"ln_f": DENSE, "head": DENSE},
            {"decoder": {"decoder_norm": DENSE, "logits_dense": DENSE}},
            {"encoder_norm": DENSE, "unembedding": DENSE},
        ],
    )
    def test_the_last_norm_and_heads_of_decoders(self, head):
        params = {"embed_tokens": DENSE, "layers": [DENSE] * 2, **head}
        groups = unfreezing_groups(params)
        assert groups.names == ("head", "layer 1", "layer 0", "embeddings")
        labels = unfreezing_labels(params, 0, groups)
        found = {name: set(jax.tree.leaves(labels[name])) for name in labels}
        assert all(found[name] == {"trainable"} for name in head)
        assert found["embed_tokens"] == {"frozen"}

    def test_norms_of_layers_and_embeddings_are_theirs(self):
        layer = {"norm": DENSE, "mlp": DENSE}
        params = {"embed": {"norm": DENSE}, "layers": [layer] * 2, "norm": DENSE}
        labels = unfreezing_labels(params, 0)
        assert set(jax.tree.leaves(labels["layers"][0])) == {"frozen"}
        assert set(jax.tree.leaves(labels["embed"])) == {"frozen"}
        assert set(jax.tree.leaves(labels["norm"])) == {"trainable"}

    def test_a_head_tied_to_the_embeddings(self):
        groups = unfreezing_groups({"wte": DENSE, "h": {"0": DENSE, "1": DENSE}})
        assert groups.names == ("layer 1", "layer 0", "embeddings")
        assert groups.trainable(1) == groups.names
        # A head of an unknown name is no tied one.
        with pytest.raises(ValueError, match="in none of them:\n  'out/bias'"):
            unfreezing_groups({"wte": DENSE, "h": {"0": DENSE}, "out": DENSE})


class TestLayerAxis:
    def test_layers_on_axis_1_are_counted_there(self):
        stack = {"kernel": np.ones((4, 3, 5)), "scale": np.ones((4, 3))}
        params = {"embed": DENSE, "layers": stack, "final_norm": DENSE}
        assert unfreezing_groups(params).stages == 4
        for axis in (1, np.int64(1)):
            assert unfreezing_groups(params, layer_axis=axis).stages == 3

    def test_counts_must_agree(self):
        stack = {"kernel": np.ones((4, 3, 5)), "scale": np.ones((4, 2))}
        params = {"embed": DENSE, "layers": stack, "head": DENSE}
        with pytest.raises(ValueError, match=r"on axis 1 .*\n  'layers/kernel \(4, 3"):
            unfreezing_groups(params, layer_axis=1)
        stack["scale"] = np.ones(4)
        with pytest.raises(ValueError, match=r"on axis 1 .*\n.*\n.*scale \(4,\)"):
            unfreezing_groups(params, layer_axis=1)

    def test_groups_of_stacks_of_another_depth(self):
        stack = {"kernel": np.ones((4, 3, 5))}
        params = {"embed": DENSE, "layers": stack, "head": DENSE}
        groups = unfreezing_groups(params, layer_axis=1)
        params["layers"] = {"kernel": np.ones((4, 2, 5))}
        for function in (split_params, unfreezing_labels):
            with pytest.raises(ValueError, match=r"3 layers on axis 1; here .* \(4, 2"):
                function(params, 0, groups)

    def test_components_are_of_their_layers(self):
        stack = {"kernel": np.ones((4, 3, 5))}
        params = {"embed": DENSE["bias"], "layers": stack, "head": DENSE["bias"]}
        groups = unfreezing_groups(params, layer_axis=1)
        components = cwgnc_jax.stacked("layers/.*", axes=1)
        assert cwgnc_jax.component_groups(params, components, groups) == (
            *("embeddings", "head"),
            *(f"layer {n}" for n in range(3)),
        )


def test_groups_are_hashable_so_that_compiled_functions_take_them():
    params = {
        "embed": np.ones(2),
        "layers": {"k": np.ones((3, 2))},
        "head": np.ones(2),
    }
    first, second = unfreezing_groups(params), unfreezing_groups(params)
    assert first == second
    assert hash(first) == hash(second)
    fewer = unfreezing_groups(params | {"layers": {"k": np.ones((2, 2))}})
    assert len({first, second, fewer}) == 2


class TestLists:
    """A list of layers is one, however square its kernels are."""

    @pytest.mark.parametrize(
        "layers",
        [
            [np.full((3, 3), i) for i in range(3)],
            {f"layer_{i}": {"k": np.full((3, 3), i)} for i in range(3)},
        ],
        ids=["list", "named"],
    )
    def test_layers_of_a_list_are_not_its_rows(self, layers):
        params = {"embed": np.ones((5, 3)), "layers": layers, "head": np.ones((3, 2))}
        groups = unfreezing_groups(params, layers="layers")
        assert groups == unfreezing_groups(params, layers=r"layers/(?:layer_)?(\d+)")
        trainable, frozen = split_params(params, 1, groups)
        kernels = jax.tree.leaves(trainable["layers"])
        assert [kernel.tolist() for kernel in kernels] == [
            [[i] * 3] * 3 for i in (1, 2)
        ]
        assert [x.shape for x in jax.tree.leaves(frozen["layers"])] == [(3, 3)]

    def test_a_list_of_stacked_leaves_if_said_so(self):
        layers = [np.ones((4, 3, 3)), np.ones((4, 3))]
        params = {"embed": np.ones((5, 3)), "layers": layers, "head": np.ones((3, 2))}
        assert unfreezing_groups(params, layers="layers").stages == 2
        assert unfreezing_groups(params, layers="layers", stacked=True).stages == 4


def test_leaves_that_are_no_arrays_are_named():
    params = {"embed": jnp.ones(2), "layers": [{"act": jax.nn.relu, "k": jnp.ones(2)}]}
    with pytest.raises(TypeError, match=r"eqx.filter.*\n  'layers/0/act: "):
        unfreezing_groups(params, head=None)
