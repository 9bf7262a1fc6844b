"""AGC: thresholds that follow the norms of the parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import ClipByComponentNormState, clip, initial_state
from cwgnc_jax._numbers import check_number
from cwgnc_jax._thresholds import Limit, at_least_zero, stack_limits
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._norms import block_squares, measure, resolve, safe_sqrt
from cwgnc_jax.components._paths import leaves_with_paths, list_offenders
from cwgnc_jax.components._shards import Specs


def adaptive_clip_by_component_norm(
    clipping: jax.typing.ArrayLike = 0.01,
    eps: jax.typing.ArrayLike = 1e-3,
    components: ComponentMap | None = None,
    *,
    specs: Specs = None,
) -> optax.GradientTransformation:
    r"""Clips each component relative to the norm of its parameters (AGC).

    For each component :math:`i` with parameters :math:`w_i` and gradient :math:`g_i`:

    .. math::
      g_i \leftarrow g_i \cdot \min\left(1,
        \lambda \frac{\max(\lVert w_i \rVert_2, \epsilon)}{\lVert g_i \rVert_2}\right)

    The paper measures each output unit; its components here are whole matrices, or
    what ``components`` says (``stacked(".*kernel", axes=1)`` gives the units of dense
    kernels). It leaves the last linear layer unclipped, a new classifier: hide it by
    ``optax.masked``. Numerics are those of :func:`clip_by_component_norm`.

    Args:
      clipping: largest ratio :math:`\lambda` of the norms of gradient and parameters.
      eps: smallest norm of parameters that counts, so that components that start at 0
        can learn.
      components: which component each leaf belongs to; by default each leaf is one.
      specs: inside ``shard_map``, how each leaf is sharded.

    Returns:
      The transformation, whose update needs the parameters. Its state is a
      :class:`ClipByComponentNormState`.

    Raises:
      ValueError: if ``clipping`` or ``eps`` is negative or NaN; in the update, if the
        parameters are missing or are not those of the updates.
      TypeError: if ``clipping`` or ``eps`` is not a number.

    Notes:
      ``optax.inject_hyperparams`` takes a callable for a schedule of its own: name
      the others, ``static_args=("components", "specs")``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import adaptive_clip_by_component_norm
      >>> params = {"kernel": jnp.full((2, 2), 3.0)}  # norm 6
      >>> tx = adaptive_clip_by_component_norm(clipping=0.5)
      >>> updates, state = tx.update(params, tx.init(params), params)
      >>> updates["kernel"].tolist()
      [[1.5, 1.5], [1.5, 1.5]]

    References:
      Brock et al., `High-Performance Large-Scale Image Recognition Without
      Normalization <https://arxiv.org/abs/2102.06171>`_, 2021, section 4.1
    """
    check_number("clipping", clipping)
    check_number("eps", eps)

    def init_fn(params: optax.Params) -> ClipByComponentNormState:
        return initial_state(params, resolve(params, components, specs))

    def update_fn(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ClipByComponentNormState]:
        gradients = measure(updates, components, specs)
        squares = block_squares(_params_of(updates, params), gradients.layout)
        limits = []
        for square, of_gradient in zip(squares, gradients.squares, strict=True):
            norm = safe_sqrt(square).astype(of_gradient.dtype)
            ratio, smallest = (at_least_zero(x, norm.dtype) for x in (clipping, eps))
            limits.append(Limit.of(ratio * jnp.maximum(norm, smallest)))
        together = stack_limits(limits, gradients.layout)
        return clip(gradients, together, state, limits)

    return optax.GradientTransformation(init_fn, update_fn)


def _params_of(updates: Any, params: Any) -> list[Any]:
    """The parameters in the order of the updates, found by their paths."""
    if params is None:
        raise ValueError("params are needed: call update(updates, state, params)")
    by_path = dict(leaves_with_paths(params))
    leaves = leaves_with_paths(updates)
    wrong = [
        path
        for path, leaf in leaves
        # Dtypes may differ, and what is no array has no component.
        if path not in by_path
        or getattr(by_path[path], "shape", ()) != getattr(leaf, "shape", ())
    ]
    if wrong:
        raise ValueError(
            "params lack these leaves of the updates, or have them in other shapes:"
            + list_offenders(wrong)
        )
    return [by_path[path] for path, _ in leaves]
