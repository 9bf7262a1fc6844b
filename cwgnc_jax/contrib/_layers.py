"""Layer by layer: learning rates that fall with depth, top layers drawn anew."""

import re
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cwgnc_jax._numbers import as_index, check_number
from cwgnc_jax._optimizers import kind_of
from cwgnc_jax.components._layers import topmost_match
from cwgnc_jax.components._norms import wide_dtype
from cwgnc_jax.components._paths import (
    compile_pattern,
    is_masked,
    leaves_with_paths,
    list_offenders,
)
from cwgnc_jax.contrib._keys import leaf_key
from cwgnc_jax.unfreezing._groups import (
    EMBEDDINGS,
    Span,
    UnfreezingGroups,
    choose_layers,
    unfreezing_groups,
)

Params = TypeVar("Params")


def scale_by_layer_decay(
    decay: jax.typing.ArrayLike, groups: UnfreezingGroups | None = None
) -> optax.GradientTransformation:
    r"""Scales updates down from layer to layer: layer-wise learning-rate decay.

    Updates of the head stay as they are; those of layer :math:`l` of :math:`L`, counted
    from 1 at the bottom, and of the embeddings, layer 0, become

    .. math::
      u_l \leftarrow \xi^{L + 1 - l} u_l

    It goes last in a chain, behind Adam, weight decay and learning rate: before Adam,
    which divides the scale of a gradient out again, it would do next to nothing.

    Args:
      decay: the factor :math:`\xi` from a layer to the one below, from 0 to 1.
      groups: head, layers and embeddings, as :func:`unfreezing_groups` finds them in
        all parameters; by default they are looked for in the updates, with what is
        masked or frozen there. Layers may be stacked in a leaf, and the lower ones be
        cut off.

    Returns:
      The transformation; it keeps no state.

    Raises:
      ValueError: if a concrete ``decay`` is out of its range; at update if no layers
        are found, or other groups than the updates have.
      TypeError: if ``decay`` is not a number.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import scale_by_layer_decay
      >>> updates = {"embed": jnp.ones(1), "layers": jnp.ones(2), "head": jnp.ones(1)}
      >>> tx = scale_by_layer_decay(0.5)
      >>> scaled, _ = tx.update(updates, tx.init(updates))
      >>> scaled["head"].tolist(), scaled["layers"].tolist(), scaled["embed"].tolist()
      ([1.0], [0.25, 0.5], [0.125])

    References:
      Zhang et al., `Revisiting Few-sample BERT Fine-tuning
      <https://arxiv.org/abs/2006.05987>`_, 2021, section 6, with
      `its code <https://github.com/asappresearch/revisit-bert-finetuning>`_; first in
      Howard & Ruder, `ULMFiT <https://arxiv.org/abs/1801.06146>`_, 2018
    """
    check_number("decay", decay, largest=1.0)

    def update_fn(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        found = _groups_in(updates) if groups is None else groups
        head = found.stages + 1
        scaled = []
        for path, leaf in leaves_with_paths(updates):
            span = _span_in(found, path, leaf)
            # Counted from the top, so that it does not matter what was cut off below.
            depths = head - np.arange(span.level, span.end)
            wide = wide_dtype(leaf)
            rates = jnp.full(depths.shape, jnp.asarray(decay, jnp.float32))
            factors = jax.lax.pow(rates, jnp.asarray(depths)).astype(wide)
            shape = [1] * jnp.ndim(leaf)
            if span.layers:
                shape[span.axis] = span.layers
            kept = jnp.asarray(leaf, wide) * factors.reshape(shape)
            scaled.append(kept.astype(leaf.dtype))
        return jax.tree.unflatten(jax.tree.structure(updates), scaled), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)


def reinitialize_layers(
    params: Params,
    key: jax.Array,
    layers: int,
    *,
    stddev: jax.typing.ArrayLike = 0.02,
    pooler: str | None = r"(.*/)?pooler",
    groups: UnfreezingGroups | None = None,
) -> Params:
    """Draws the top layers of a pretrained encoder, and its pooler, anew.

    Weights are drawn from a normal distribution, biases become 0, and other vectors of
    a layer, the scales of normalisations, 1; :func:`decay_mask` says which is which.
    Call it once, before the optimizer's ``init``.

    Args:
      params: the pretrained parameters; the head may be among them or not.
      key: key of the weights. A leaf's depend on it, on the leaf's path and on the
        number of layers alone.
      layers: how many of the top layers; 0 draws the pooler alone. The authors choose
        1 to 6 of the 24 of a BERT-large, by task.
      stddev: standard deviation of the weights; 0.02 is BERT's.
      pooler: regular expression for the whole path of the pooler, a node all leaves
        below which are drawn as well; it need not match. None for none.
      groups: head, layers and embeddings; by default :func:`unfreezing_groups` finds
        them. Layers may be stacked in a leaf.

    Returns:
      The parameters: structure, shapes and dtypes of ``params``.

    Raises:
      ValueError: if there are fewer layers, none are found, or an expression is not
        valid.
      TypeError: if ``layers`` is not an int.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import reinitialize_layers
      >>> norm = {"scale": jnp.full((3, 1), 7.0), "bias": jnp.full((3, 1), 7.0)}
      >>> params = {"embed": jnp.full(1, 7.0), "layers": {"norm": norm}}
      >>> fresh = reinitialize_layers(params, jax.random.key(0), 1)
      >>> fresh["layers"]["norm"]["scale"].ravel().tolist()
      [7.0, 7.0, 1.0]
      >>> fresh["layers"]["norm"]["bias"].ravel().tolist()
      [7.0, 7.0, 0.0]

    References:
      Zhang et al., `Revisiting Few-sample BERT Fine-tuning
      <https://arxiv.org/abs/2006.05987>`_, 2021, section 5, with
      `its code <https://github.com/asappresearch/revisit-bert-finetuning>`_
    """
    found = _groups_in(params) if groups is None else groups
    layers = as_index("layers", layers)
    if not 0 <= layers <= found.stages:
        raise ValueError(
            f"layers must be from 0 to the {found.stages} that there are, got {layers}"
        )
    check_number("stddev", stddev)
    patterns = () if pooler is None else (compile_pattern("pooler", pooler),)
    lowest = found.stages + 1 - layers
    values = []
    for path, leaf in leaves_with_paths(params):
        span = found.span(path, jnp.shape(leaf))

        def draw(
            shape: tuple[int, ...],
            path: str = path,
            leaf: Any = leaf,
            axes: int = 2 + bool(span.layers),
        ) -> Any:
            kind = kind_of(path)
            if kind == "weight" and len(shape) >= axes:
                drawn = stddev * jax.random.normal(leaf_key(key, path), shape)
                return drawn.astype(leaf.dtype)
            return jnp.full(shape, float(kind != "bias"), leaf.dtype)

        if topmost_match(path, patterns) or lowest <= span.level <= found.stages:
            values.append(draw(jnp.shape(leaf)))
        elif span.layers and span.end > lowest:
            lower, upper = span.cut(leaf, lowest - span.level)
            values.append(span.join(lower, draw(upper.shape)))
        else:
            values.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(params), values)


def _groups_in(tree: Any) -> UnfreezingGroups:
    """The groups of a tree that need not have embeddings: a stage may hide them.

    Layers that are hidden count, or those above and below would seem to be neighbours.
    """
    leaves = dict(leaves_with_paths(tree, is_leaf=is_masked))
    visible = {
        path: jnp.shape(leaf) for path, leaf in leaves.items() if not is_masked(leaf)
    }
    pattern, embeddings = choose_layers(visible), re.compile(EMBEDDINGS)
    layers = {path for path in leaves if topmost_match(path, (pattern,))}
    # Of stacked ones nothing is known but the shapes of those that are seen.
    counted = layers if pattern.groups else layers.intersection(visible)
    rest = {path for path in visible if path not in layers}
    has_embeddings = any(topmost_match(path, (embeddings,)) for path in rest)
    return unfreezing_groups(
        {
            path: 0.0 if is_masked(leaf) else leaf
            for path, leaf in leaves.items()
            if path in counted | rest
        },
        embeddings=EMBEDDINGS if has_embeddings else None,
    )


def _span_in(groups: UnfreezingGroups, path: str, leaf: Any) -> Span:
    """The levels of a leaf, of whose stack the lower layers may have been cut off."""
    span = groups.span(path)
    if not span.layers:
        return span
    shape = jnp.shape(leaf)
    count = shape[span.axis] if span.axis < len(shape) else 0
    if not 0 < count <= span.layers:
        raise ValueError(
            f"groups: a leaf must have 1 to {span.layers} layers on axis {span.axis}, "
            "as the parameters that they were found in, got:"
            + list_offenders([f"{path} {shape}"])
        )
    return Span(span.end - count, count, span.axis)
