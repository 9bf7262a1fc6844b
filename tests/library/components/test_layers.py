"""What a layer is, the same for components and for unfreezing."""

import jax
import jax.numpy as jnp
import pytest

import cwgnc_jax

LAYER = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}


@pytest.mark.parametrize(
    "layers",
    [
        {"layers": [LAYER] * 2},
        {"encoder": {"layer": {"0": LAYER, "1": LAYER}}},
        {"encoder": {f"layer_{n}": LAYER for n in range(2)}},
        {f"TransformerBlock_{n}": LAYER for n in range(2)},
        {f"h{n}": {"attention": LAYER, "mlp": {"layers": [LAYER]}} for n in range(2)},
    ],
    ids=["list", "hugging face", "linen", "capitals", "nested"],
)
def test_components_by_layer_are_the_layers_that_unfreeze(layers):
    params = {"embed": LAYER, "head": LAYER, **layers}
    groups = dict(
        zip(
            cwgnc_jax.component_names(params, cwgnc_jax.by_layer),
            cwgnc_jax.component_groups(params, cwgnc_jax.by_layer),
            strict=True,
        )
    )
    assert sorted(groups.values()) == ["embeddings", "head", "layer 0", "layer 1"]
    for name, group in groups.items():
        assert group in ("embeddings", "head") or group[-1] == name[-1]
    assert len(jax.tree.leaves(params)) > len(groups)


def stack(*layers, count=3):
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * count), list(layers))


@pytest.mark.parametrize("kind", [list, lambda parts: {"layers_0": parts[0]}])
def test_numbers_inside_of_stacked_layers_are_parts_of_each(kind):
    attention, mlp = stack(LAYER), stack(LAYER, LAYER)
    layers = {"attention": attention[0], "mlp": {"layers": kind(mlp)}}
    params = {"embed": LAYER, "head": LAYER, "layers": layers}
    names = cwgnc_jax.component_names(params, cwgnc_jax.by_layer)
    assert names == ("embed", "head", "layers[0]", "layers[1]", "layers[2]")
    del layers["attention"]
    groups = cwgnc_jax.unfreezing_groups(params)
    assert groups.names == ("head", "layer 2", "layer 1", "layer 0", "embeddings")
    assert cwgnc_jax.component_names(params, cwgnc_jax.by_layer) == names


@pytest.mark.parametrize("other", [(7, 3), (2, 2)])
def test_what_is_called_a_stack_may_hold_numbered_layers_deeper(other):
    layers = [LAYER, {"kernel": jnp.ones(other), "bias": jnp.ones(2)}]
    layers = {f"layer_{n}": layer for n, layer in enumerate(layers)}
    params = {"embed": LAYER, "head": LAYER, "blocks": {"encoder": layers}}
    names = cwgnc_jax.component_names(params, cwgnc_jax.by_layer)
    assert names == ("blocks/encoder/layer_0", "blocks/encoder/layer_1", *names[2:])
    groups = cwgnc_jax.unfreezing_groups(params)
    assert groups.names == ("head", "layer 1", "layer 0", "embeddings")
