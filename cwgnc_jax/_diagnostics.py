"""How components move and are clipped: Figures 2 to 5 of the paper in numbers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from cwgnc_jax._clip import component_record
from cwgnc_jax._numbers import as_index
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._layout import Layout, make_layout
from cwgnc_jax.components._norms import (
    block_squares,
    safe_sqrt,
    scale_blocks,
    stack_blocks,
    wide_dtype,
)
from cwgnc_jax.components._paths import leaves_with_paths, list_offenders
from cwgnc_jax.unfreezing._groups import UnfreezingGroups, unfreezing_groups


def component_sizes(tree: Any, components: ComponentMap | None = None) -> np.ndarray:
    """Number of entries of each component.

    Args:
      tree: a pytree of arrays or of ``jax.ShapeDtypeStruct``.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The numbers, int64 of shape (components,), in the order of
      :func:`component_names`.

    Raises:
      ValueError: if the map does not fit the tree.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_sizes, stacked
      >>> params = {"bias": jnp.ones((2, 8)), "kernel": jnp.ones((2, 4, 8))}
      >>> component_sizes(params, stacked(".*")).tolist()
      [8, 8, 32, 32]
    """
    sizes = [
        np.ravel(sum(member.entries for member in block.members))
        for block in make_layout(tree, components).blocks
    ]
    return np.concatenate([np.zeros(0, np.int64), *sizes])


def component_rmsd(
    tree: Any, reference: Any, components: ComponentMap | None = None
) -> jax.Array:
    r"""Root-mean-square difference of each component from a reference.

    .. math::
      \sqrt{\frac{1}{n} \sum_{j=1}^{n} (w_j - r_j)^2}

    Args:
      tree: parameters, a pytree of arrays.
      reference: what to compare with, matched by path: the pretrained parameters,
        those of the stage or the step before. It may hold other leaves too.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The differences, shape (components,), float32, or float64 if a leaf has 64 bits;
      in the order of :func:`component_names`. A component without entries has 0.

    Raises:
      ValueError: if the map does not fit the tree, or the reference lacks a leaf or
        has another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_names, component_rmsd
      >>> before = {"bias": jnp.zeros(2), "kernel": jnp.ones((2, 2))}
      >>> after = {"bias": jnp.array([0.0, 1.0]), "kernel": jnp.full((2, 2), 1.5)}
      >>> names = component_names(after)
      >>> moved = component_rmsd(after, before)
      >>> {name: f"{x:.3f}" for name, x in zip(names, moved)}
      {'bias': '0.707', 'kernel': '0.500'}

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, Figure 2
    """
    layout, leaves, others = _pair(tree, reference, components)
    moved = [a - b for a, b in zip(leaves, others, strict=True)]
    moved, units = _within_range(moved, layout)
    squares = stack_blocks(block_squares(moved, layout))
    sizes = np.maximum(component_sizes(tree, components), 1)
    return safe_sqrt(squares / sizes.astype(squares.dtype)) / stack_blocks(units)


def component_cosine_distance(
    tree: Any, reference: Any, components: ComponentMap | None = None
) -> jax.Array:
    r"""One minus the cosine similarity of each component and a reference.

    Fine-tuning turns a component so little that the similarity itself rounds to 1.
    The distance is therefore not computed from it but as

    .. math::
      1 - \cos(w, r) = \frac{1}{2} \left\lVert \frac{w}{\lVert w \rVert} -
        \frac{r}{\lVert r \rVert} \right\rVert^2

    which float32 resolves down to some 1e-14.

    Args:
      tree: parameters, a pytree of arrays.
      reference: what to compare with, matched by path; it may hold other leaves too.
      components: which component each leaf belongs to; by default each leaf is one.

    Returns:
      The distances, from 0 to 2, shape (components,), float32, or float64 if a leaf
      has 64 bits. Between two components of zeros, which did not turn, it is 0, and
      between zeros and anything else 1.

    Raises:
      ValueError: as :func:`component_rmsd`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_cosine_distance
      >>> before = {"bias": jnp.zeros(2), "kernel": jnp.array([1.0, 0.0])}
      >>> after = {"bias": jnp.ones(2), "kernel": jnp.array([1.0, 1e-5])}
      >>> [f"{x:.1e}" for x in component_cosine_distance(after, before)]
      ['1.0e+00', '5.0e-11']

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, appendix C
    """
    layout, leaves, others = _pair(tree, reference, components)
    units, zeros = zip(
        *(_units(part, layout) for part in (leaves, others)), strict=True
    )
    apart = [a - b for a, b in zip(*units, strict=True)]
    # A compiler that fuses product and difference leaves a rest of rounding between
    # units of equal components: these are found by comparing their entries.
    unequal = [
        (leaf != other).astype(leaf.dtype)
        for leaf, other in zip(leaves, others, strict=True)
    ]
    distances = []
    for square, count, zero, other in zip(
        block_squares(apart, layout),
        block_squares(unequal, layout),
        *zeros,
        strict=True,
    ):
        distance = jnp.where(count == 0, 0, jnp.minimum(square / 2, 2))
        distances.append(jnp.where(zero != other, 1, distance).astype(square.dtype))
    return stack_blocks(distances)


def component_groups(
    params: Any,
    components: ComponentMap | None = None,
    groups: UnfreezingGroups | None = None,
) -> tuple[str, ...]:
    """The group in which each component lies: head, a layer, or embeddings.

    Args:
      params: parameters, a pytree of arrays or of ``jax.ShapeDtypeStruct``.
      components: which component each leaf belongs to; by default each leaf is one.
      groups: groups of the parameters, by default those of
        :func:`unfreezing_groups`.

    Returns:
      The group's name for each component, in the order of :func:`component_names`.

    Raises:
      ValueError: if a component lies in several groups, as that of a stack does whose
        layers are not kept apart.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import component_groups, stacked
      >>> params = {"embed": jnp.ones((9, 2)), "head": jnp.ones((2, 2)),
      ...           "layers": {"kernel": jnp.ones((3, 2, 2))}}
      >>> component_groups(params, stacked("layers/.*"))
      ('embeddings', 'head', 'layer 0', 'layer 1', 'layer 2')
    """
    groups = unfreezing_groups(params) if groups is None else groups
    group_names = []
    for block in make_layout(params, components).blocks:
        levels: list[set[int]] = [set() for _ in range(block.size)]
        for member in block.members:
            span = groups.span(member.path, member.shape)
            kept = span.layers > 0 and span.axis in member.axes
            for flat, index in enumerate(np.ndindex(block.shape)):
                if kept:
                    levels[flat].add(span.level + index[member.axes.index(span.axis)])
                else:
                    levels[flat].update(range(span.level, span.end))
        several = [
            name
            for name, held in zip(block.names(), levels, strict=True)
            if len(held) > 1
        ]
        if several:
            raise ValueError(
                "components must lie in one group each (stacked() keeps layers apart), "
                "these lie in several:" + list_offenders(several)
            )
        group_names += [groups.name(level) for [level] in levels]
    return tuple(group_names)


def extremes_by_group(
    values: jax.typing.ArrayLike,
    groups: Sequence[str],
    kind: Literal["max", "min"] = "max",
) -> dict[str, jax.Array]:
    """The largest or smallest value among the components of each layer.

    The paper shows the largest root-mean-square difference and the smallest cosine
    similarity, because components of different sizes have no common mean.

    Args:
      values: what was measured, shape (..., components).
      groups: the group of each component, from :func:`component_groups`; or any other
        name to gather by.
      kind: 'max' or 'min'.

    Returns:
      An array of shape (...) for each group, from the embeddings up to the head if
      the groups are those, and else in the order in which they come. A NaN shows.

    Raises:
      ValueError: if the numbers of values and groups differ, or for another kind.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import extremes_by_group
      >>> moved = jnp.array([0.1, 0.5, 0.3])
      >>> {name: float(x) for name, x in extremes_by_group(
      ...     moved, ("head", "layer 0", "layer 0")).items()}
      {'layer 0': 0.5, 'head': 0.10000000149011612}
    """
    if kind not in ("max", "min"):
        raise ValueError(f"kind must be 'max' or 'min', got {kind!r}")
    values = jnp.asarray(values)
    if values.shape[-1:] != (len(groups),):
        raise ValueError(
            f"values must have an entry for each of {len(groups)} groups on the last "
            f"axis, got the shape {values.shape}"
        )
    reduce: Callable[..., jax.Array] = jnp.max if kind == "max" else jnp.min
    return {
        name: reduce(
            values[..., np.flatnonzero([group == name for group in groups])], axis=-1
        )
        for name in sorted(dict.fromkeys(groups), key=_height)
    }


def clip_rate(
    scales: jax.typing.ArrayLike, sizes: jax.typing.ArrayLike | None = None
) -> jax.Array:
    """Share of the components, or of the parameters, that were clipped.

    Norms and scales of a run are in the state of its optimizer at each step
    (:func:`get_clip_state`), so that a record of them costs no second pass.

    Args:
      scales: factors of the components, shape (..., components), such as those of all
        steps. What is below 1 was clipped; NaN was not.
      sizes: weights of the components, shape (components,):
        :func:`component_sizes` gives the share of the parameters. By default
        components count alike.

    Returns:
      The shares, float32 of shape (...).

    Raises:
      ValueError: if sizes and scales differ in the number of components, or sizes are
        negative or add up to 0.

    Examples:
      The rate over four steps; then of each component, over all steps:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import (
      ...     clip_by_component_norm, clip_rate, component_sizes, get_clip_state)
      >>> params = {"bias": jnp.zeros(2), "kernel": jnp.zeros((3, 2))}
      >>> tx = optax.chain(clip_by_component_norm(2.0), optax.adam(0.1))
      >>> def step(opt_state, size):
      ...     gradients = jax.tree.map(lambda leaf: leaf + size, params)
      ...     _, opt_state = tx.update(gradients, opt_state)
      ...     return opt_state, get_clip_state(opt_state).scales
      >>> _, scales = jax.lax.scan(step, tx.init(params), jnp.arange(4.0))
      >>> clip_rate(scales).tolist()
      [0.0, 0.5, 1.0, 1.0]
      >>> clip_rate(scales, component_sizes(params)).tolist()
      [0.0, 0.75, 1.0, 1.0]
      >>> clip_rate(scales.T).tolist()
      [0.5, 0.75]
    """
    clipped = (jnp.asarray(scales) < 1).astype(jnp.float32)
    if sizes is None:
        return jnp.mean(clipped, axis=-1)
    weights = jnp.asarray(sizes, jnp.float32)
    if weights.shape != clipped.shape[-1:]:
        raise ValueError(
            f"sizes must have shape {clipped.shape[-1:]}, one for each component, got "
            f"{weights.shape}"
        )
    if not isinstance(weights, Tracer):
        known = np.asarray(weights)
        if not (np.all(known >= 0) and np.sum(known) > 0):
            raise ValueError(f"sizes must be at least 0, and not all 0, got {known}")
    return jnp.sum(clipped * weights, axis=-1) / jnp.sum(weights)


def component_scalars(
    optimizer: Any,
    params: optax.Params,
    opt_state: Any,
    top: int | None = 10,
    where: str | int | None = None,
) -> dict[str, float | jax.Array]:
    """What the clipping of the last step did, as scalars for a logger.

    The largest norms are those of other components at another step: a chart of one
    component without gaps takes ``top=None``.

    Args:
      optimizer: as :func:`component_record`, whose names these are: of what the
        clipping sees, masked, partitioned, frozen or not.
      params: likewise.
      opt_state: likewise, of one run.
      top: of how many components, those with the largest norms, to have norm and
        scale; None for all, 0 for none. NaN counts as larger than infinity.
      where: likewise.

    Returns:
      A flat dict. Of all components together: 'clip/global_norm' (before clipping),
      'clip/rate' (the share of the components that were clipped),
      'clip/smallest_scale' and 'clip/not_finite' (how many norms are NaN or infinite).
      Of some: 'grad_norm/NAME' and 'clip_scale/NAME', with the largest norm first.
      Python's floats; inside ``jit``, ``scan`` or ``vmap`` scalar arrays.

    Raises:
      ValueError: as :func:`component_record`; if the state is of several runs or
        ``top`` is below 0; inside ``jit`` and the like, where keys cannot depend on
        norms, if there are more components than ``top``: accepted are None and 0.
      TypeError: if ``top`` is neither a whole number nor None.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import clip_by_component_norm, component_scalars
      >>> params = {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))}
      >>> tx = optax.chain(clip_by_component_norm(1.5), optax.adam(1e-3))
      >>> _, opt_state = tx.update(params, tx.init(params), params)
      >>> scalars = component_scalars(tx, params, opt_state, top=1)
      >>> {name: round(value, 3) for name, value in scalars.items()}
      {'clip/global_norm': 2.449, 'clip/rate': 0.5, 'clip/smallest_scale': 0.75,
       'clip/not_finite': 0.0, 'grad_norm/kernel': 2.0, 'clip_scale/kernel': 0.75}
    """
    names, norms, scales = component_record(optimizer, params, opt_state, where)
    if norms.ndim != 1:
        raise ValueError(
            "opt_state must be of one run, got norms of the shape "
            f"{norms.shape}; take one of the runs, or vmap this function with top=None"
        )
    wanted = _as_count(top, len(names))
    is_traced = isinstance(norms, Tracer)
    order = range(len(names))
    if not is_traced:
        known = np.asarray(norms)
        order = np.argsort(-np.where(np.isnan(known), np.inf, known), kind="stable")
    elif 0 < wanted < len(names):
        raise ValueError(
            f"top is {top} of {len(names)} components, but which norms are the largest "
            "is not known inside jit, scan or vmap; accepted there are None, for all, "
            "and 0"
        )
    # So that no square of a norm leaves the range of float32.
    largest = jnp.max(norms, initial=0.0)
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    values = {
        "clip/global_norm": unit * safe_sqrt(jnp.sum((norms / unit) ** 2)),
        "clip/rate": jnp.sum(scales < 1) / max(1, len(names)),
        "clip/smallest_scale": jnp.min(scales, initial=1.0),
        "clip/not_finite": jnp.sum(~jnp.isfinite(norms)).astype(norms.dtype),
    }
    for index in order[:wanted]:
        values[f"grad_norm/{names[index]}"] = norms[index]
        values[f"clip_scale/{names[index]}"] = scales[index]
    if is_traced:
        return {**values}
    # All at once: each transfer of its own would wait for the device.
    floats = map(float, jax.device_get([*values.values()]))
    return dict(zip(values, floats, strict=True))


def _as_count(top: int | None, most: int) -> int:
    """A number of components, of at most so many."""
    count = most if top is None else as_index("top", top, "a whole number or None")
    if count < 0:
        raise ValueError(f"top must be at least 0, got {top}")
    return min(count, most)


def convergence_racing(movements: jax.typing.ArrayLike) -> jax.Array:
    r"""How unequally the components of a run move: 0 for alike, 1 for one alone.

    It is the Gini coefficient of the components' movements :math:`m_{ti}`, of which
    interval :math:`t` of the run has its share by how much moves in it:

    .. math::
      \frac{\sum_t \sum_{i, j} |m_{ti} - m_{tj}|}
        {2 (n - 1) \sum_t \sum_i m_{ti}}

    In words: how far two components drawn at random are apart, over twice the
    movement of one, corrected so that n components can reach 1. That is what
    racing needs of a measure:

    - *Components that take turns race*, even if all have come equally far in the end.
      Movements are compared interval by interval, so pass several; a single one
      measures only how far they came.
    - A learning rate or a schedule common to all components does not count: all
      movements scaled by one factor give the same number.
    - A component that moves a thousandth as much as others has stopped, and one that
      moves a millionth has not stopped more. A spread of logarithms would be ruled by
      such components, and infinite for frozen ones; here they count as 0.
    - Runs of larger and smaller models compare: the number of components hardly
      counts, nor do their sizes if movements are root mean squares. These are the
      right unit under Adam, which moves every entry by about the learning rate,
      however large its gradient: components differ by what their gradients agree on.
      Under plain SGD movements differ by as much as gradients do.

    It does depend on what a component is: compare runs by one map of components.

    Args:
      movements: how far each component moved, at least 0, shape (components,) for one
        interval or (intervals, components): :func:`component_rmsd` from the stage,
        epoch or step before. Leading axes before these two are independent runs.

    Returns:
      The number, from 0 to 1, shape of the leading axes. 0 if nothing moves or there
      is one component; NaN if a movement is.

    Raises:
      ValueError: if there is no axis of components, or a movement is known to be
        negative.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import convergence_racing
      >>> alike = jnp.array([[1.0, 1.0], [0.1, 0.1]])
      >>> turns = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> double = jnp.array([[2.0, 1.0], [2.0, 1.0]])
      >>> [round(float(convergence_racing(x)), 3) for x in (alike, turns, double)]
      [0.0, 1.0, 0.333]
    """
    moved = jnp.asarray(movements, jnp.float32)
    if moved.ndim < 1:
        raise ValueError("movements must have an axis of components, got a scalar")
    if not isinstance(moved, Tracer) and np.any(np.asarray(moved) < 0):
        raise ValueError(
            f"movements must be at least 0, got {float(np.nanmin(moved)):g}"
        )
    moved = moved[None] if moved.ndim == 1 else moved
    count = moved.shape[-1]
    if count < 2:
        return jnp.zeros(moved.shape[:-2]) + 0 * jnp.sum(moved, axis=(-2, -1))
    # Of the sorted values, the one of rank k is the larger of a pair k times and the
    # smaller one n - 1 - k times.
    rank = 2 * jnp.arange(count, dtype=moved.dtype) - (count - 1)
    differences = jnp.sum(rank * jnp.sort(moved, axis=-1), axis=(-2, -1))
    total = (count - 1) * jnp.sum(moved, axis=(-2, -1))
    none = total == 0
    # The sum's rounding may end a little beyond what it can be.
    return jnp.clip(jnp.where(none, 0, differences / jnp.where(none, 1, total)), 0, 1)


def _pair(
    tree: Any, reference: Any, components: ComponentMap | None
) -> tuple[Layout, list[jax.Array], list[jax.Array]]:
    """The layout, and the leaves of both trees in at least 32 bits.

    A leaf without a component, such as a random key or a function, is 0 in both.
    """
    layout = make_layout(tree, components)
    by_path = dict(leaves_with_paths(reference))
    chosen = {member.path for block in layout.blocks for member in block.members}
    leaves, others, wrong = [], [], []
    for path, leaf in leaves_with_paths(tree):
        if path not in chosen:
            leaves.append(jnp.zeros(()))
            others.append(jnp.zeros(()))
            continue
        other = by_path.get(path)
        if other is None or jnp.shape(other) != jnp.shape(leaf):
            shape = "missing" if other is None else jnp.shape(other)
            wrong.append(f"{path}: {jnp.shape(leaf)}, reference: {shape}")
            continue
        wide = wide_dtype(leaf, other)
        leaves.append(jnp.asarray(leaf, wide))
        others.append(jnp.asarray(other, wide))
    if wrong:
        raise ValueError(
            "reference must have the leaves of the tree in their shapes:"
            + list_offenders(wrong)
        )
    return layout, leaves, others


def _units(
    leaves: list[jax.Array], layout: Layout
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Leaves over the norms of their components, and which of these are 0."""
    leaves, _ = _within_range(leaves, layout)
    norms = [safe_sqrt(square) for square in block_squares(leaves, layout)]
    zeros = [norm == 0 for norm in norms]
    scales = [1 / jnp.where(norm == 0, 1, norm) for norm in norms]
    return scale_blocks(leaves, layout, scales), zeros


def _within_range(
    leaves: list[jax.Array], layout: Layout
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Components times powers of 2, so that their norms have squares; and the powers.

    The square of 1e20 is infinite in float32, and that of 1e-25 is 0. A clipping has no
    time for a second look at its gradients; here there is.
    """
    units = []
    for square in block_squares(leaves, layout):
        # Of the 2^128 that float32 reaches up to, norms beyond 2^40 and below 2^-40 are
        # moved by 2^80: neither their squares nor the sums of these leave the range.
        exponent = jnp.finfo(square.dtype).maxexp * 5 // 8
        small, large = (
            jnp.asarray(2.0**power, square.dtype) for power in (-exponent, exponent)
        )
        ordinary = jnp.where(square < small, large, jnp.ones_like(square))
        units.append(jnp.where(square > large, small, ordinary))
    return scale_blocks(leaves, layout, units), units


def _height(group: str) -> tuple[int, int]:
    """From the bottom up; groups of other names keep their order."""
    kind, _, number = group.partition(" ")
    if group == "embeddings":
        return 0, 0
    if kind == "layer" and number.isdecimal():
        return 1, int(number)
    return 2, 0
