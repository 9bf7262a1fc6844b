"""NoisyTune: a little noise on the pretrained weights before fine-tuning."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from cwgnc_jax._numbers import check_number
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._norms import (
    block_squares,
    block_sums,
    resolve,
    scale_blocks,
    wide_dtype,
)
from cwgnc_jax.components._paths import leaves_with_paths
from cwgnc_jax.contrib._keys import leaf_key

Params = TypeVar("Params")


def noisytune(
    params: Params,
    key: jax.Array,
    intensity: jax.typing.ArrayLike = 0.15,
    components: ComponentMap | None = None,
) -> Params:
    r"""Adds uniform noise to the pretrained parameters, by the spread of each.

    For each component :math:`i`, a weight matrix or bias vector of one layer:

    .. math::
      w_i \leftarrow w_i + u_i \, \mathrm{std}(w_i), \qquad
      u_i \sim U(-\lambda / 2, \lambda / 2)

    Call it once, before fine-tuning, on what was pretrained: a new head is left out.

    Args:
      params: the pretrained parameters, floating-point arrays.
      key: key of the noise. A leaf's depends on it and on the leaf's path and shape.
      intensity: :math:`\lambda`, at least 0; 0 changes nothing. The authors take 0.15.
      components: whose standard deviations are meant, as for
        :func:`clip_by_component_norm`: :func:`stacked` for layers that one leaf holds.
        By default each leaf is one. What has no component stays as it is.

    Returns:
      The parameters: structure, shapes and dtypes of ``params``.

    Raises:
      ValueError: if a concrete ``intensity`` is negative or NaN, or the map does not
        fit the parameters.
      TypeError: if ``intensity`` is not a number.

    Notes:
      The standard deviation is that of a sample, with n - 1, as in the released code,
      where a component of one entry becomes NaN; here it gets no noise.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import noisytune
      >>> params = {"kernel": jnp.array([[1.0, 3.0]]), "scale": jnp.ones(2)}
      >>> noisy = noisytune(params, jax.random.key(0), 0.1)
      >>> bool((abs(noisy["kernel"] - params["kernel"]) <= 0.05 * 2 ** 0.5).all())
      True
      >>> noisy["scale"].tolist()
      [1.0, 1.0]

    References:
      Wu et al., `NoisyTune: A Little Noise Can Help You Finetune Pretrained Language
      Models Better <https://arxiv.org/abs/2202.12024>`_, 2022, equation 1 and the code
      in section 3
    """
    check_number("intensity", intensity)
    layout = resolve(params, components, None)
    paths = [path for path, _ in leaves_with_paths(params)]
    leaves, treedef = jax.tree.flatten(params)
    members = [member for block in layout.blocks for member in block.members]
    sizes = [sum(member.entries for member in block.members) for block in layout.blocks]
    sums = block_sums(leaves, layout, lambda leaf, dtype: leaf.astype(dtype))
    means = [
        total / jnp.asarray(np.maximum(n, 1), total.dtype)
        for total, n in zip(sums, sizes, strict=True)
    ]
    # Apart from the mean, not squares less squares: of a LayerNorm's scales, all near
    # 1, nothing would be left of the difference.
    ones: list[Any] = list(leaves)
    for member in members:
        wide = wide_dtype(leaves[member.position])
        ones[member.position] = jnp.ones(member.shape, wide)
    spread = scale_blocks(ones, layout, means)
    apart = list(leaves)
    noise = list(leaves)
    for member in members:
        i = member.position
        apart[i] = leaves[i].astype(spread[i].dtype) - spread[i]
        noise[i] = jax.random.uniform(
            leaf_key(key, paths[i]), member.shape, minval=-0.5, maxval=0.5
        )
    scales = [
        jnp.asarray(intensity, square.dtype)
        * jnp.sqrt(square / jnp.asarray(np.maximum(n - 1, 1), square.dtype))
        for square, n in zip(block_squares(apart, layout), sizes, strict=True)
    ]
    noise = scale_blocks(noise, layout, scales)
    noisy = list(leaves)
    for member in members:
        i = member.position
        wide = wide_dtype(leaves[i], noise[i])
        moved = leaves[i].astype(wide) + noise[i].astype(wide)
        noisy[i] = moved.astype(leaves[i].dtype)
    return jax.tree.unflatten(treedef, noisy)
