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
