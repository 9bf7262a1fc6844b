"""AutoClip by component: thresholds that choose themselves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import initial_state
from cwgnc_jax._numbers import as_index, check_number
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._norms import measure, resolve
from cwgnc_jax.components._shards import Specs
from cwgnc_jax.contrib._references import clip_by_references


class AutoClipState(NamedTuple):
    """What AutoClip remembers; the arrays have the order of :func:`component_names`.

    Attributes:
      count: number of steps so far, int32 scalar.
      norms: norms of the components before clipping, shape (components,).
      scales: factors by which the components were multiplied, shape (components,).
      history: norms of the last steps that count, the newest last, shape
        (components, window); infinite where there are none yet. Like norms and scales
        float32, or float64 if a parameter has 64 bits.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    norms: jax.Array
    scales: jax.Array
    history: jax.Array


def autoclip_by_component_norm(
    quantile: jax.typing.ArrayLike = 0.5,
    window: int = 100,
    components: ComponentMap | None = None,
    *,
    specs: Specs = None,
) -> optax.GradientTransformation:
    r"""Clips each component to a quantile of its own past norms (AutoClip).

    For each component :math:`i` with the gradient :math:`g_i`, and the norms
    :math:`H_i` of its last gradients before they were clipped:

    .. math::
      g_i \leftarrow g_i \cdot \min\left(1, \frac{q_p(H_i)}{\lVert g_i \rVert_2}\right)

    Where gradients are multiplied by a constant, so are the thresholds: no scale of the
    loss, and no size of a component, asks for another setting. By default the
    threshold is the median of the last hundred norms, which fewer than half of them,
    however large, cannot carry away; gradients that grow or shrink for good are
    followed within as many steps. After a restart, or for components that are newly
    trained (:func:`carry_opt_state`), the history begins anew.

    What is no evidence of the next norm is not remembered: gradients of 0, as frozen
    components have them, and such as are not finite or whose norm is not. A component
    without a history is not clipped.

    Args:
      quantile: the quantile :math:`p`, from 0 to 1, between two norms by linear
        interpolation.
      window: how many norms of each component are remembered, at least 1.
      components: which component each leaf belongs to; by default each leaf is one.
      specs: inside ``shard_map``, how each leaf is sharded.

    Returns:
      The transformation, whose state is an :class:`AutoClipState`. The rest of its
      numerics is that of :func:`clip_by_component_norm`.

    Raises:
      ValueError: if a concrete ``quantile`` or ``window`` is out of its range.
      TypeError: if ``quantile`` is not a number or ``window`` not an int.

    Notes:
      ``optax.inject_hyperparams`` takes a callable for a schedule of its own, and
      makes an array of the window: name the others,
      ``static_args=("window", "components", "specs")``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import autoclip_by_component_norm
      >>> tx = autoclip_by_component_norm()
      >>> state = tx.init(jnp.zeros(2))
      >>> for norm in (1.0, 2.0, 3.0):
      ...     _, state = tx.update(jnp.array([norm, 0.0]), state)
      >>> spike, state = tx.update(jnp.array([300.0, 0.0]), state)
      >>> spike.tolist()
      [2.0, 0.0]

    References:
      Seetharaman et al., `AutoClip: Adaptive Gradient Clipping for Source Separation
      Networks <https://arxiv.org/abs/2007.14469>`_, 2020, with `its code
      <https://github.com/pseeth/autoclip>`_, whose ``QuantileClip`` does so for each
      parameter. They take the 10th percentile of the whole history; the first
      script there counts the gradient that is to be clipped, ``QuantileClip`` and this
      do not.
    """
    check_number("quantile", quantile, largest=1.0)
    width = as_index("window", window)
    if width < 1:
        raise ValueError(f"window must be at least 1, got {window}")

    def init_fn(params: optax.Params) -> AutoClipState:
        state = initial_state(params, resolve(params, components, specs))
        shape = (*state.norms.shape, width)
        return AutoClipState(
            *state, history=jnp.full(shape, jnp.inf, state.norms.dtype)
        )

    def update_fn(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AutoClipState]:
        del params
        history = state.history
        gradients = measure(updates, components, specs)
        thresholds = _quantiles(history, quantile)
        updates, record = clip_by_references(gradients, thresholds, 1.0, state)
        counts = jnp.isfinite(record.norms) & (record.norms > 0)
        # Moved up, rather than written in a circle: each component has a pace of its
        # own, and what begins anew needs no place to begin at.
        following = jnp.concatenate([history[:, 1:], record.norms[:, None]], axis=1)
        return updates, AutoClipState(
            *record, history=jnp.where(counts[:, None], following, history)
        )

    return optax.GradientTransformation(init_fn, update_fn)


def _quantiles(history: jax.Array, quantile: jax.typing.ArrayLike) -> jax.Array:
    """Quantile of the finite numbers of each row; infinite where there are none."""
    # What is infinite comes last.
    ordered = jnp.sort(history, axis=1)
    known = jnp.sum(jnp.isfinite(history), axis=1)
    share = jnp.clip(jnp.asarray(quantile, history.dtype), 0, 1)
    place = share * jnp.maximum(known - 1, 0).astype(history.dtype)
    below = jnp.floor(place)

    def at(index: jax.Array) -> jax.Array:
        index = jnp.minimum(index.astype(jnp.int32), history.shape[1] - 1)
        return jnp.take_along_axis(ordered, index[:, None], axis=1)[:, 0]

    low, high = at(below), at(below + 1)
    # With nothing between them: infinity times 0 would be NaN.
    high = jnp.where(jnp.isfinite(high), high, low)
    gap = jnp.where(jnp.isfinite(low), high - low, jnp.zeros_like(low))
    return low + (place - below) * gap
