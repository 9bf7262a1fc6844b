"""Which leaves make which components, and the table of them."""

import textwrap

import jax.numpy as jnp

import cwgnc_jax


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


def test_describe_components():
    components = cwgnc_jax.fused(
        ".*kernel", {"a": 3, "b": 1}, 1, base=cwgnc_jax.stacked("kernel", start=2)
    )
    table = cwgnc_jax.describe_components(ones(kernel=(2, 4, 5), x=()), components)
    expected = """\
        component        count  entries  leaves
        kernel[2:4,a|b]      4       15  kernel (2, 4, 5)
        x                    1        1  x ()
        5 components of 41 entries in 2 leaves"""
    assert table == textwrap.dedent(expected)
