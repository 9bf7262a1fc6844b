"""Thresholds that adapt: to the parameters' norms (AGC), to past norms (AdaGC)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import (
    ClipByComponentNormState,
    clip_leaves,
    clip_scales,
    initial_record,
)
from cwgnc_jax._numbers import check_number, known_number
from cwgnc_jax._thresholds import BlockThreshold, stack_thresholds
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._norms import (
    block_squares,
    norms_dtype,
    resolve,
    safe_sqrt,
    scale_leaf,
    stack_blocks,
    unstack_blocks,
)
from cwgnc_jax.components._paths import flatten_with_paths, list_offenders
from cwgnc_jax.components._specs import Specs


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
    kernels). Numerics are those of :func:`clip_by_component_norm`.

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
        layout = resolve(params, components, specs)
        dtype = norms_dtype(jax.tree.leaves(params), layout)
        return ClipByComponentNormState(*initial_record(layout, dtype))

    def update_fn(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ClipByComponentNormState]:
        layout = resolve(updates, components, specs)
        leaves, treedef = jax.tree.flatten(updates)
        dtype = norms_dtype(leaves, layout)
        ratio, smallest = (
            jnp.maximum(jnp.asarray(x, dtype), jnp.zeros((), dtype))
            for x in (clipping, eps)
        )
        limits = [
            BlockThreshold.of(
                ratio * jnp.maximum(safe_sqrt(square).astype(dtype), smallest)
            )
            for square in block_squares(_params_of(updates, params), layout)
        ]
        squares = block_squares(leaves, layout)
        leaves = clip_leaves(leaves, layout, squares, limits)
        stack = stack_blocks(squares, dtype)
        return jax.tree.unflatten(treedef, leaves), ClipByComponentNormState(
            count=jnp.asarray(optax.safe_increment(state.count)),
            norms=safe_sqrt(stack).astype(state.norms.dtype),
            scales=clip_scales(stack, stack_thresholds(limits, layout)).astype(
                state.scales.dtype
            ),
        )

    return optax.GradientTransformation(init_fn, update_fn)


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

    Two cases go beyond the paper. Gradients of 0 in the first phase are not
    remembered: a component with a reference of 0 could never learn. Gradients that
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
      Clipping <https://arxiv.org/abs/2502.11034>`_, 2025, Algorithm 1
    """
    check_number("ratio", ratio)
    check_number("warmup_max_norm", warmup_max_norm)
    check_number("decay", decay, largest=1.0)
    first = known_number("start", start, "a whole number or a jax scalar")
    if first is not None and not (first >= 2 and first.is_integer()):
        raise ValueError(f"start must be a whole number of at least 2, got {first:g}")

    def init_fn(params: optax.Params) -> AdaGCState:
        layout = resolve(params, components, specs)
        dtype = norms_dtype(jax.tree.leaves(params), layout)
        return AdaGCState(
            *initial_record(layout, dtype),
            references=jnp.full((layout.size,), jnp.inf, dtype),
        )

    def update_fn(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdaGCState]:
        del params
        layout = resolve(updates, components, specs)
        leaves, treedef = jax.tree.flatten(updates)
        dtype = norms_dtype(leaves, layout)
        squares = block_squares(leaves, layout)
        stack = stack_blocks(squares, dtype)
        warming_up = state.count < jnp.asarray(start) - 1

        def number(value: jax.typing.ArrayLike) -> jax.Array:
            return jnp.maximum(jnp.asarray(value, dtype), jnp.zeros((), dtype))

        together = clip_scales(
            jnp.sum(stack), BlockThreshold.of(number(warmup_max_norm))
        )
        references = state.references.astype(dtype)
        unknown = jnp.isinf(references)
        # Twice, so that neither a ratio of 0 nor its derivative meets infinity.
        limits = number(ratio) * jnp.where(
            unknown, jnp.ones_like(references), references
        )
        limits = jnp.where(unknown, references, limits)

        def scales_of(square: jax.Array, limit: jax.Array) -> jax.Array:
            alone = clip_scales(square, BlockThreshold.of(limit))
            return jnp.where(warming_up, together.astype(alone.dtype), alone)

        blocks = zip(
            layout.blocks, squares, unstack_blocks(limits, layout), strict=True
        )
        for block, square, limit in blocks:
            scale = scales_of(square, limit)
            for member in block.members:
                leaf = leaves[member.position]
                leaves[member.position] = scale_leaf(leaf, scale, member)

        norms = safe_sqrt(stack)
        scales = scales_of(stack, limits)
        return jax.tree.unflatten(treedef, leaves), AdaGCState(
            count=jnp.asarray(optax.safe_increment(state.count)),
            norms=norms.astype(state.norms.dtype),
            scales=scales.astype(state.scales.dtype),
            references=_next_references(
                references, norms, scales, warming_up, number(decay)
            ).astype(state.references.dtype),
        )

    return optax.GradientTransformation(init_fn, update_fn)


def _next_references(
    references: jax.Array,
    norms: jax.Array,
    scales: jax.Array,
    warming_up: jax.Array,
    decay: jax.Array,
) -> jax.Array:
    finite = jnp.isfinite(norms)
    norms = jnp.where(finite, norms, jnp.zeros_like(norms)) * scales
    smallest = jnp.where(norms > 0, jnp.minimum(references, norms), references)
    average = decay * references + (jnp.ones_like(decay) - decay) * norms
    average = jnp.where(jnp.isinf(references), smallest, average)
    following = jnp.where(warming_up, smallest, average)
    return jnp.where(finite & jnp.isfinite(norms), following, references)


def _params_of(updates: Any, params: Any) -> list[Any]:
    """The parameters in the order of the updates, found by their paths."""
    if params is None:
        raise ValueError("params are needed: call update(updates, state, params)")
    by_path = dict(flatten_with_paths(params))
    paths = [path for path, _ in flatten_with_paths(updates)]
    missing = [path for path in paths if path not in by_path]
    if missing:
        raise ValueError(
            "params lack these leaves of the updates:" + list_offenders(missing)
        )
    return [by_path[path] for path in paths]
