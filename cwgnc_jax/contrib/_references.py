"""Clipping relative to what the components' own norms were before."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import ClipByComponentNormState, check_state, clip
from cwgnc_jax._thresholds import Limit, at_least_zero
from cwgnc_jax.components._norms import Measured, unstack_blocks


def clip_by_references(
    gradients: Measured,
    references: jax.Array,
    ratio: jax.typing.ArrayLike,
    state: Any,
    *,
    unknown: jax.typing.ArrayLike = jnp.inf,
    complete: Callable[[Limit], Limit] | None = None,
) -> tuple[optax.Updates, ClipByComponentNormState]:
    """Clips each component to ``ratio`` times its reference.

    Args:
      gradients: the updates and their squared norms.
      references: norms, shape (components,); infinite where none is known yet.
      ratio: largest norm relative to the reference.
      state: the state before, with the fields of a ClipByComponentNormState and more.
      unknown: the largest norm of a component whose reference is not known.
      complete: what else is to become of the limits, where that depends on all norms,
        so that every leaf waits for them.

    Returns:
      The clipped updates, and norms and scales.
    """
    # Before numbers of other components can be taken for references.
    check_state(state, gradients.layout)

    def limit_of(reference: jax.Array) -> Limit:
        is_unknown = jnp.isinf(reference)
        # Twice, so that neither a ratio of 0 nor its derivative meets infinity.
        known = jnp.where(is_unknown, jnp.ones_like(reference), reference)
        value = at_least_zero(ratio, reference.dtype) * known
        first = at_least_zero(unknown, reference.dtype)
        return Limit.of(jnp.where(is_unknown, first, value))

    together = limit_of(references)
    if complete is not None:
        return clip(gradients, complete(together), state)
    blocks = unstack_blocks(references, gradients.layout)
    return clip(gradients, together, state, [limit_of(block) for block in blocks])
