"""Component-wise gradient norm clipping (CWGNC), section 3 of the paper."""

import contextvars
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._thresholds import (
    Limit,
    MaxNorm,
    check_rules,
    limits_at,
    match_thresholds,
    read_max_norm,
)
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._layout import Layout, make_layout
from cwgnc_jax.components._norms import (
    Measured,
    measure,
    norm_dtype,
    resolve,
    safe_sqrt,
    scale_blocks,
    select,
    stack_blocks,
    unstack_blocks,
    widest_dtype,
)
from cwgnc_jax.components._paths import leaves_with_paths, list_offenders
from cwgnc_jax.components._shards import Specs


class ClipByComponentNormState(NamedTuple):
    """What the clipping of the last step did.

    Attributes:
      count: number of steps so far, int32 scalar.
      norms: norms of the components before clipping, shape (components,), in the
        order of :func:`component_names`. A component with a NaN or an infinity shows
        it here; infinity also stands for a norm whose square float32 cannot hold.
      scales: factors by which the components were multiplied, shape (components,).
        Norms and scales are float32, or float64 if a parameter has 64 bits.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import clip_by_component_norm
      >>> gradients = {"kernel": jnp.full((2, 2), 0.5), "bias": jnp.array([3.0, 4.0])}
      >>> tx = clip_by_component_norm(2.5)
      >>> _, state = tx.update(gradients, tx.init(gradients))
      >>> int(state.count), state.norms.tolist(), state.scales.tolist()
      (1, [5.0, 1.0], [0.5, 1.0])
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
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

    It goes before whatever keeps moments of the gradients.

    Args:
      max_norm: the largest norm :math:`c_i` of a component, at least 0; 0 freezes it,
        and 'off', which 0 means elsewhere, is infinity. A number or a jax scalar; a
        schedule, called with the number of steps so far (int32 scalar); or ordered
        rules, pairs or a dict, from regular expressions to any of these, or to None to
        leave a component alone. A component has the threshold of the first rule that
        matches its whole name, index included (:func:`component_names`).
      components: which component each leaf belongs to: by default each leaf is one.
        :func:`stacked` keeps layers apart that one leaf holds, :func:`fused` the
        query, key and value of one kernel, :func:`by_module` and :func:`by_layer`
        join leaves, :func:`by_rules` chooses; or any pytree of :class:`Component`,
        labels (str) and None (no component) over the parameters, or a function from
        the parameters to one.
      specs: inside ``shard_map``, a pytree of ``PartitionSpec`` over the parameters.
        All norms together then cost one ``psum``. Without them each device would clip
        by the norms of its own shards.

    Returns:
      The transformation. Its state, a :class:`ClipByComponentNormState`, holds norms
      and scales of the last step; :func:`get_clip_state` finds it.

    Raises:
      ValueError: at once if a concrete threshold is negative, NaN or not a scalar, or
        an expression is not valid; at init and update if components or specs do not
        fit the tree, a component is matched by no rule, or a rule is the first match
        of no component. Where a mask hides leaves, a rule may be theirs: it is missed
        if their names do not begin as its expression does. At update if the state is
        that of other components, or if a schedule does not return a scalar.
      TypeError: if a threshold is not a number, a schedule or None; at init and update
        if ``components`` is no map, such as the name of one or :func:`stacked` itself.

    Notes:
      Below its threshold a component keeps every bit. NaN and infinity stay in their
      own component. Inside ``optax.MultiSteps``, masks and ``optax.partition`` it sees
      what they show it; sharded arrays under ``jit`` need no ``specs``. For numbers,
      places in a chain, shards and costs in full, see ``docs/clipping.md``.

      ``optax.inject_hyperparams`` takes a callable for a schedule of its own: name the
      others, ``static_args=("components", "specs")``.

    Examples:
      The paper's threshold, before Adam:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import clip_by_component_norm, component_record
      >>> params = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
      >>> tx = optax.chain(clip_by_component_norm(0.05), optax.adamw(2e-5))
      >>> opt_state = tx.init(params)
      >>> gradients = {"kernel": jnp.full((2, 2), 0.05), "bias": jnp.full(2, 0.01)}
      >>> updates, opt_state = tx.update(gradients, opt_state, params)
      >>> record = component_record(tx, params, opt_state)
      >>> dict(zip(record.names, record.scales.tolist(), strict=True))
      {'bias': 1.0, 'kernel': 0.5}

      Rules, of which the last leaves all other components alone:

      >>> rules = [("kernel", 0.1), (".*", None)]
      >>> tx = clip_by_component_norm(rules)
      >>> clipped, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params))
      >>> clipped["kernel"].tolist(), clipped["bias"].tolist()
      ([[0.05000000074505806, 0.05000000074505806],
        [0.05000000074505806, 0.05000000074505806]], [1.0, 1.0])

      A threshold that can be changed while training:

      >>> inject = optax.inject_hyperparams(
      ...     clip_by_component_norm, static_args=("components", "specs"))
      >>> tx = inject(max_norm=0.05)
      >>> opt_state = tx.init(params)
      >>> opt_state.hyperparams["max_norm"] = jnp.asarray(0.01)

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, section 3
    """
    rules = read_max_norm(max_norm)

    def init_fn(params: optax.Params) -> ClipByComponentNormState:
        layout = resolve(params, components, specs)
        # Rules that do not fit are to show at once, not in the first update.
        match_thresholds(rules, layout)
        if (whole := _whole_layout(components)) is not None:
            check_rules(rules, layout, whole)
        return initial_state(params, layout)

    def update_fn(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ClipByComponentNormState]:
        del params
        gradients = measure(updates, components, specs)
        dtypes = [square.dtype for square in gradients.squares]
        limits, together = limits_at(rules, gradients.layout, state.count, dtypes)
        return clip(gradients, together, state, limits)

    return optax.GradientTransformation(init_fn, update_fn)


class ComponentRecord(NamedTuple):
    """What the clipping of the last step did to each component, by name.

    Attributes:
      names: names of the components that it saw.
      norms: their norms before clipping, shape (..., components).
      scales: factors by which they were multiplied, shape (..., components). Both are
        float32, or float64 if a parameter has 64 bits.
    """

    names: tuple[str, ...]
    norms: jax.Array
    scales: jax.Array


# All parameters, while an optimizer is asked for names: only its init, which gets them,
# knows which of them its masks and partitions show to the clipping.
_ALL_PARAMS: contextvars.ContextVar[Any] = contextvars.ContextVar("all", default=None)


def _whole_layout(components: ComponentMap | None) -> Layout | None:
    """The components of all parameters, where these are known and the map fits them."""
    params = _ALL_PARAMS.get()
    try:
        return None if params is None else make_layout(params, components)
    except Exception:  # Of the user's map, which may be for a part of them alone.
        return None


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Names:
    """Names of components, as a node without leaves of a state's tree."""

    names: tuple[str, ...]


def component_record(
    optimizer: Any, params: optax.Params, opt_state: Any, where: str | int | None = None
) -> ComponentRecord:
    """Norms and scales of the last step with the names that belong to them.

    The optimizer itself says which components its clipping sees, whatever hides others
    from it: ``optax.masked``, ``optax.partition``, :func:`freeze`, the stages of
    :func:`gradual_unfreezing`. Nothing is computed: its ``init`` is traced.

    Args:
      optimizer: the transformation whose state it is, ``optimizer.tx`` of a
        ``flax.nnx.Optimizer``.
      params: the parameters, as its ``init`` gets them, or
        ``jax.ShapeDtypeStruct`` of them.
      opt_state: its state; as for :func:`get_clip_state`, which also has ``where``.
        Leading axes of independent runs stay.
      where: which of several states.

    Returns:
      Names, norms and scales.

    Raises:
      ValueError: if there is no such state, or more than one; if it has another number
        of components than the optimizer has for these parameters; if a rule of
        ``max_norm`` matches none of all the parameters' components, which the clipping
        itself cannot tell where a mask hides some.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import clip_by_component_norm, component_record
      >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> mask = {"kernel": True, "bias": False}
      >>> tx = optax.masked(clip_by_component_norm(1.0), mask)
      >>> _, opt_state = tx.update(params, tx.init(params))
      >>> record = component_record(tx, params, opt_state)
      >>> dict(zip(record.names, record.norms.tolist(), strict=True))
      {'kernel': 2.0}
    """
    path, state = _find_state(opt_state, where)
    token = _ALL_PARAMS.set(params)
    try:
        # A function of its own and nothing compiled: jax would remember what it traced
        # without names, or the names when they are not asked for.
        with jax.disable_jit():
            fresh = jax.eval_shape(lambda tree: optimizer.init(tree), params)
    finally:
        _ALL_PARAMS.reset(token)
    # The state may lie in something larger, such as nnx.Optimizer: the end decides.
    named = {
        other: node
        for other, node in clip_states(fresh).items()
        if f"/{path}".endswith(f"/{other}".removesuffix("/"))
    }
    record = _arrays_of(state)
    names = named[max(named, key=len)].count.names if named else ()
    if not named or record.norms.shape[-1:] != (len(names),):
        raise ValueError(
            "opt_state must be a state of the optimizer for these parameters, which "
            f"has {len(names)} components at {path!r}; got norms of the shape "
            f"{record.norms.shape}"
        )
    return ComponentRecord(names, record.norms, record.scales)


def check_state(state: Any, layout: Layout) -> None:
    """Refuses the state of other components than those of the updates."""
    if jnp.shape(state.norms) != (layout.size,):
        raise ValueError(
            f"state must have the {layout.size} components of the updates, got norms "
            f"of the shape {jnp.shape(state.norms)}: was it made by init with "
            "parameters like these?"
        )


def initial_state(params: optax.Params, layout: Layout) -> ClipByComponentNormState:
    """The state before the first step."""
    leaves = jax.tree.leaves(params)
    dtype = widest_dtype(
        norm_dtype(leaves[member.position])
        for block in layout.blocks
        for member in block.members
    )
    count: Any = jnp.zeros((), jnp.int32)
    if _ALL_PARAMS.get() is not None:
        count = _Names(layout.names())
    # Each is a buffer of its own: two that share one cannot both be donated.
    return ClipByComponentNormState(
        count=count,
        norms=jnp.zeros((layout.size,), dtype),
        scales=jnp.ones((layout.size,), dtype),
    )


def clip(
    gradients: Measured,
    together: Limit,
    state: Any,
    limits: Sequence[Limit] | None = None,
) -> tuple[optax.Updates, ClipByComponentNormState]:
    """Scales components down to their limits; all that clips by component ends here.

    Args:
      gradients: the updates and their squared norms.
      together: limits of all components, in the order of their names.
      state: the state before, or one with its fields and more.
      limits: the same for each block; None where every leaf waits for all norms
        anyway, so that the scales of all can be had in one vector.

    Returns:
      The clipped updates, and the state after.
    """
    layout, leaves, treedef, squares = gradients
    check_state(state, layout)
    # All in one vector, for the state. Leaves take their scales out of it only where
    # they must: each would wait for all norms.
    square = stack_blocks(squares)
    recorded = scales_of(square, together)
    if limits is None:
        scales = unstack_blocks(recorded, layout)
    else:
        # Block by block, each of its own shape and dtype, so that the norm of a
        # component is all that its leaves wait for.
        scales = [
            None if limit.fixed is True else scales_of(of_block, limit)
            for of_block, limit in zip(squares, limits, strict=True)
        ]
    leaves = scale_blocks(leaves, layout, scales)
    return jax.tree.unflatten(treedef, leaves), ClipByComponentNormState(
        # Stops at the largest integer instead of going on with the smallest.
        count=jnp.asarray(optax.safe_increment(state.count)),
        # In the state's dtypes, so that a scan can carry it whatever the gradients are.
        norms=safe_sqrt(square).astype(state.norms.dtype),
        scales=recorded.astype(state.scales.dtype),
    )


def scales_of(squares: jax.Array, limit: Limit) -> jax.Array:
    """min(1, limit / norm) of the squared norms; 0 / 0 is 0, inf / inf is 1."""
    value, square, inside = (
        x.astype(squares.dtype) for x in (limit.value, limit.square, limit.inside)
    )
    # Squares are compared: what is within keeps every bit, however its root rounds.
    within = squares <= square
    if limit.fixed is not False:
        within = within | limit.fixed
    # Where it is not needed it is the root of a positive constant: its derivative stays
    # finite. A NaN is not within: it becomes the scale, and so the whole component.
    norm = jnp.sqrt(jnp.maximum(squares, square))
    # The quotient comes last: compilers do not repeat a division for every entry, so
    # that a leaf is handed one number. Were limits that differ, or the norm of all
    # leaves, computed inside of each leaf's loop, no two leaves could share a compiled
    # loop, and with hundreds of leaves compilation took minutes.
    return select(within, inside, value) / select(within, jnp.ones_like(norm), norm)


def get_clip_state(
    opt_state: Any, where: str | int | None = None
) -> ClipByComponentNormState:
    """Finds the norms and scales of the last step in the state of an optimizer.

    Args:
      opt_state: state of an optimizer that clips by component: a chain, a partition,
        a wrapper around one, a ``flax.nnx.Optimizer`` or its state. The adaptive
        transformations of this library are found as well.
      where: what decides between several: the path of one in ``opt_state``, else the
        beginning of its path, else a key in it, such as a label of
        ``optax.partition``. An error lists the paths.

    Returns:
      The state, of plain arrays, with what the clipping saw: :func:`component_record`
      has the names that belong to it.

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
    return _arrays_of(_find_state(opt_state, where)[1])


def clip_states(opt_state: Any) -> dict[str, Any]:
    """The states of clippings by component in that of an optimizer, by path."""
    # Found by its fields, not its type: a restored state is a dict, and the adaptive
    # transformations have more of them.
    return {
        path: node
        for path, node in leaves_with_paths(opt_state, is_leaf=is_clip_state)
        if is_clip_state(node)
    }


def _find_state(opt_state: Any, where: str | int | None) -> tuple[str, Any]:
    """The path of the one state that is meant, and the state."""
    states = clip_states(opt_state)
    chosen = list(states) if where is None else _paths_at(str(where), states)
    if len(chosen) != 1:
        scope = "opt_state" if where is None else f"opt_state at {where!r}"
        raise ValueError(
            f"{scope} must hold one state of a clipping by component, got {len(chosen)}"
            + ("; name a path, or a key in it, as `where`:" if states else "")
            + list_offenders(chosen or states)
        )
    return chosen[0], states[chosen[0]]


def _arrays_of(state: Any) -> ClipByComponentNormState:
    fields = state if isinstance(state, Mapping) else state._asdict()
    # An array may be wrapped, as nnx.Optimizer does.
    arrays = {
        name: jax.tree.leaves(fields[name])[0]
        for name in ClipByComponentNormState._fields
    }
    return ClipByComponentNormState(**arrays)


def _paths_at(where: str, paths: Collection[str]) -> list[str]:
    """The path itself, else those that it begins, else those that it is a part of."""
    if where in paths:
        return [where]
    # Between slashes, so that "a" is no part of "a_b".
    key = f"/{where}/"
    return [path for path in paths if f"/{path}/".startswith(key)] or [
        path for path in paths if key in f"/{path}/"
    ]


def is_clip_state(node: Any) -> bool:
    """Whether a node is a state, or a dict that was made of one."""
    names = node if isinstance(node, Mapping) else getattr(node, "_fields", ())
    return set(ClipByComponentNormState._fields) <= set(names)
