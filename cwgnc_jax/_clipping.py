"""Component-wise gradient norm clipping (CWGNC), section 3 of the paper."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._components import ComponentMap
from cwgnc_jax._layout import Layout
from cwgnc_jax._norms import (
    Specs,
    block_squares,
    norms_dtype,
    resolve,
    safe_sqrt,
    scale_leaf,
    stack_blocks,
)
from cwgnc_jax._paths import flatten_with_paths, list_offenders
from cwgnc_jax._thresholds import (
    BlockThreshold,
    MaxNorm,
    block_thresholds,
    check_thresholds,
)


class ClipByComponentNormState(NamedTuple):
    """What the clipping of the last step did.

    Attributes:
      count: number of steps so far, int32 scalar.
      norms: norms of the components before clipping, shape (components,), in the
        order of :func:`component_names`. A component with a NaN or an infinity shows
        it here; infinity also stands for a norm whose square float32 cannot hold.
      scales: factors by which the components were multiplied, shape (components,).
    """

    count: jax.Array
    norms: jax.Array
    scales: jax.Array


def clip_by_component_norm(
    max_norm: MaxNorm,
    components: ComponentMap | None = None,
    *,
    specs: Specs = None,
) -> optax.GradientTransformation:
    r"""Clips the gradient norm of each component on its own (CWGNC).

    For each component :math:`i`, one weight matrix or bias vector unless
    ``components`` says otherwise, with the gradient :math:`g_i`:

    .. math::
      g_i \leftarrow g_i \cdot \min\left(1, \frac{c_i}{\lVert g_i \rVert_2}\right)

    Args:
      max_norm: largest norm :math:`c_i` of a component.
      components: which component each leaf belongs to.
      specs: how each leaf is sharded, inside ``shard_map``.

    Returns:
      The transformation.
    """
    thresholds = check_thresholds("max_norm", max_norm)

    def init_fn(params: optax.Params) -> ClipByComponentNormState:
        layout = resolve(params, components, specs)
        dtype = norms_dtype(jax.tree.leaves(params), layout)
        count = jnp.zeros((), jnp.int32)
        # Unmatched rules are to show at once, not in the first update.
        block_thresholds("max_norm", thresholds, layout, count, dtype)
        return init_state(layout, dtype)

    def update_fn(
        updates: optax.Updates,
        state: ClipByComponentNormState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, ClipByComponentNormState]:
        del params
        layout = resolve(updates, components, specs)
        leaves, treedef = jax.tree.flatten(updates)
        dtype = norms_dtype(leaves, layout)
        limits = block_thresholds("max_norm", thresholds, layout, state.count, dtype)
        norms = [safe_sqrt(total) for total in block_squares(leaves, layout)]
        scales = []
        for block, norm, limit in zip(layout.blocks, norms, limits, strict=True):
            scale = clip_scale(norm, limit)
            scales.append(scale)
            if limit.alone is not True:
                for member in block.members:
                    leaf = leaves[member.position]
                    leaves[member.position] = scale_leaf(leaf, scale, member)
        new_state = ClipByComponentNormState(
            count=optax.safe_increment(state.count),
            norms=stack_blocks(norms, state.norms.dtype),
            scales=stack_blocks(scales, state.scales.dtype),
        )
        return jax.tree.unflatten(treedef, leaves), new_state

    return optax.GradientTransformation(init_fn, update_fn)


def init_state(layout: Layout, dtype: Any) -> ClipByComponentNormState:
    """The state before the first step, in buffers of its own: donation needs that."""
    return ClipByComponentNormState(
        count=jnp.zeros((), jnp.int32),
        norms=jnp.zeros((layout.size,), dtype),
        scales=jnp.ones((layout.size,), dtype),
    )


def clip_scale(norm: jax.Array, limit: BlockThreshold) -> jax.Array:
    """min(1, limit / norm), 1 where norm and limit are both 0 or both infinite."""
    value = limit.value.astype(norm.dtype)
    within = norm <= value
    # Divides by 1 there, lest the branch that is not taken have a derivative of NaN.
    clipped = value / jnp.where(within, jnp.ones_like(norm), norm)
    if limit.alone is not False:
        within = within | limit.alone
    return jnp.where(within, jnp.ones_like(norm), clipped)


def get_clip_state(
    opt_state: Any, where: str | None = None
) -> ClipByComponentNormState:
    """Finds the norms and scales of the last step in the state of an optimizer.

    Args:
      opt_state: state of an optimizer that clips by component: a chain, a partition,
        a wrapper around one, a ``flax.nnx.Optimizer`` or its state. The adaptive
        transformations of this library are found as well.
      where: a key on the path to the state, such as a label of ``optax.partition``,
        which decides between several.

    Returns:
      The state, of plain arrays.

    Raises:
      ValueError: if there is no such state, or more than one.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import clip_by_component_norm, get_clip_state
      >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> tx = optax.chain(clip_by_component_norm(1.0), optax.adam(1e-3))
      >>> _, opt_state = tx.update(params, tx.init(params), params)
      >>> get_clip_state(opt_state).norms.tolist()
      [1.4142135381698608, 2.0]
    """
    found = {
        path: node
        for path, node in flatten_with_paths(opt_state, is_leaf=_is_clip_state)
        if _is_clip_state(node) and (where is None or where in path.split("/"))
    }
    if len(found) != 1:
        scope = "opt_state" if where is None else f"opt_state below {where!r}"
        raise ValueError(
            f"{scope} must hold one state of a clipping by component, got {len(found)}"
            + (", name a key of one as `where`:" if found else "")
            + list_offenders(found)
        )
    [state] = found.values()
    fields = state if isinstance(state, Mapping) else state._asdict()
    # An array may be wrapped, as nnx.Optimizer does.
    arrays = {
        name: jax.tree.leaves(fields[name])[0]
        for name in ClipByComponentNormState._fields
    }
    return ClipByComponentNormState(**arrays)


def _is_clip_state(node: Any) -> bool:
    """Whether a node is a state, or a dict that was made of one."""
    names = node if isinstance(node, Mapping) else getattr(node, "_fields", ())
    return set(ClipByComponentNormState._fields) <= set(names)
