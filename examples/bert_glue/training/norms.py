"""Norms of a gradient's components, taken where nothing clips by component."""

from typing import Any

import jax.numpy as jnp
import optax

import cwgnc_jax


def watch_component_norms(
    components: cwgnc_jax.ComponentMap,
) -> optax.GradientTransformation:
    """Puts the norms of all components into the state and leaves the updates alone.

    Clipping to infinity would show the same, at the price of writing every update.

    Args:
      components: which component each leaf belongs to.

    Returns:
      The transformation. Its state is that of
      :func:`cwgnc_jax.clip_by_component_norm`, with scales of 1.

    Examples:
      >>> tx = watch_component_norms(cwgnc_jax.by_leaf)
      >>> params = {"bias": jnp.zeros(1), "kernel": jnp.zeros(2)}
      >>> updates = {"bias": jnp.array([2.0]), "kernel": jnp.array([3.0, 4.0])}
      >>> _, state = tx.update(updates, tx.init(params))
      >>> cwgnc_jax.get_clip_state(state).norms.tolist()
      [2.0, 5.0]
    """

    def init_fn(params: Any) -> cwgnc_jax.ClipByComponentNormState:
        norms = cwgnc_jax.component_norms(params, components)
        return cwgnc_jax.ClipByComponentNormState(
            jnp.zeros((), jnp.int32), jnp.zeros_like(norms), jnp.ones_like(norms)
        )

    def update_fn(
        updates: Any, state: Any, params: Any = None
    ) -> tuple[Any, cwgnc_jax.ClipByComponentNormState]:
        del params
        norms = cwgnc_jax.component_norms(updates, components)
        return updates, state._replace(
            count=jnp.asarray(optax.safe_increment(state.count)),
            norms=norms,
            scales=jnp.ones_like(norms),
        )

    return optax.GradientTransformation(init_fn, update_fn)
