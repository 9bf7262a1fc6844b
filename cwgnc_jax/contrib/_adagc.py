"""AdaGC: thresholds that follow the components' own past norms."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import ClipByComponentNormState, initial_state, scales_of
from cwgnc_jax._numbers import check_number, known_number
from cwgnc_jax._thresholds import Limit, at_least_zero
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._norms import measure, resolve, stack_blocks
from cwgnc_jax.components._shards import Specs
from cwgnc_jax.contrib._references import clip_by_references


class AdaGCState(NamedTuple):
    """What AdaGC remembers; the arrays have the order of :func:`component_names`.

    Attributes:
      count: number of steps so far, int32 scalar.
      norms: norms of the components before clipping, shape (components,).
      scales: factors by which the components were multiplied, shape (components,).
      references: the norms to which the next are compared, shape
        (components,); infinite before a component's first gradient other than 0.
        Like norms and scales float32, or float64 if a parameter has 64 bits.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import adagc
      >>> tx = adagc()
      >>> gradients = {"kernel": jnp.array([0.3, 0.4]), "bias": jnp.zeros(2)}
      >>> _, state = tx.update(gradients, tx.init(gradients))
      >>> state.norms.tolist(), state.references.tolist()
      ([0.0, 0.5], [inf, 0.5])
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    norms: jax.Array
    scales: jax.Array
    references: jax.Array


def adagc(
    ratio: jax.typing.ArrayLike = 1.05,
    warmup_max_norm: jax.typing.ArrayLike = 1.0,
    decay: jax.typing.ArrayLike = 0.98,
    start: jax.typing.ArrayLike = 100,
    components: ComponentMap | None = None,
    *,
    specs: Specs = None,
) -> optax.GradientTransformation:
    r"""Clips each component relative to an average of its own past norms (AdaGC).

    In the steps :math:`t = 1, \dots, T - 1` all components are clipped together, by
    their global norm, and each remembers the smallest norm that came out:

    .. math::
      h_t = \min\left(1, \frac{\lambda_{abs}}{\lVert g_t \rVert_2}\right), \quad
      \gamma_{t,i} = \min(\gamma_{t-1,i}, \lVert h_t g_{t,i} \rVert_2)

    From step :math:`T` on each is clipped by its own average of clipped norms:

    .. math::
      h_{t,i} = \min\left(1,
        \frac{\lambda_{rel} \gamma_{t-1,i}}{\lVert g_{t,i} \rVert_2}\right), \quad
      \gamma_{t,i} = \beta \gamma_{t-1,i}
        + (1 - \beta) \lVert h_{t,i} g_{t,i} \rVert_2

    Three cases go beyond the paper. Gradients of 0 in the first phase are not
    remembered: a component with a reference of 0 could never learn. One without a
    reference in the second phase, such as one that is newly trained then
    (:func:`carry_opt_state`), is clipped to a norm of :math:`\lambda_{abs}`, and takes
    the norm that comes out for a reference. Gradients that
    are not finite, or whose norm is not, leave their component's reference as it was
    (in the first phase, where they reach all components, every reference). The rest
    of the numerics is that of :func:`clip_by_component_norm`.

    Args:
      ratio: largest norm relative to the reference, :math:`\lambda_{rel}`.
      warmup_max_norm: largest global norm in the first phase, :math:`\lambda_{abs}`.
      decay: weight of the past in the average, :math:`\beta`, from 0 to 1.
      start: the step :math:`T`, counted from 1, in which the second phase begins; at
        least 2.
      components: which component each leaf belongs to; by default each leaf is one.
      specs: inside ``shard_map``, how each leaf is sharded.

    Returns:
      The transformation, whose state is an :class:`AdaGCState`.

    Raises:
      ValueError: if a concrete number is out of its range.
      TypeError: if what is to be a number is not.

    Notes:
      ``optax.inject_hyperparams`` takes a callable for a schedule of its own: name
      the others, ``static_args=("components", "specs")``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import adagc
      >>> tx = adagc(ratio=1.0, start=2)
      >>> state = tx.init(jnp.zeros(2))
      >>> _, state = tx.update(jnp.array([0.3, 0.4]), state)
      >>> spike, state = tx.update(jnp.array([30.0, 40.0]), state)
      >>> [f"{x:.2f}" for x in spike]
      ['0.30', '0.40']

    References:
      Wang et al., `AdaGC: Enhancing LLM Pretraining Stability via Adaptive Gradient
      Clipping <https://arxiv.org/abs/2502.11034>`_, 2025, Algorithm 1, whose first
      phase ends before step :math:`T`
    """
    check_number("ratio", ratio)
    check_number("warmup_max_norm", warmup_max_norm)
    check_number("decay", decay, largest=1.0)
    first = known_number("start", start, "a whole number or a jax scalar")
    if first is not None and not (first >= 2 and first.is_integer()):
        raise ValueError(f"start must be a whole number of at least 2, got {first:g}")

    def init_fn(params: optax.Params) -> AdaGCState:
        state = initial_state(params, resolve(params, components, specs))
        return AdaGCState(*state, references=jnp.full_like(state.norms, jnp.inf))

    def update_fn(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdaGCState]:
        del params
        references = state.references
        dtype = references.dtype
        # All in the widest dtype, for all are summed in the first phase.
        gradients = measure(updates, components, specs, dtype)
        warming_up = state.count < jnp.asarray(start) - 1
        # The first phase has one scale for all, whatever the references are.
        total = jnp.sum(stack_blocks(gradients.squares)).astype(dtype)
        shared = scales_of(total, Limit.of(at_least_zero(warmup_max_norm, dtype)))

        def in_its_phase(limit: Limit) -> Limit:
            inside = jnp.where(warming_up, shared, limit.inside)
            return limit._replace(inside=inside, fixed=warming_up)

        updates, record = clip_by_references(
            gradients,
            references,
            ratio,
            state,
            unknown=warmup_max_norm,
            complete=in_its_phase,
        )
        return updates, AdaGCState(
            *record,
            references=_next_references(
                references, record, warming_up, at_least_zero(decay, dtype)
            ),
        )

    return optax.GradientTransformation(init_fn, update_fn)


def _next_references(
    references: jax.Array,
    record: ClipByComponentNormState,
    warming_up: jax.Array,
    decay: jax.Array,
) -> jax.Array:
    finite = jnp.isfinite(record.norms)
    norms = jnp.where(finite, record.norms, jnp.zeros_like(references)) * record.scales
    smallest = jnp.where(norms > 0, jnp.minimum(references, norms), references)
    average = decay * references + (jnp.ones_like(decay) - decay) * norms
    # What has no reference in the second phase takes its first gradient for one.
    average = jnp.where(jnp.isinf(references), smallest, average)
    following = jnp.where(warming_up, smallest, average)
    return jnp.where(finite & jnp.isfinite(norms), following, references)
