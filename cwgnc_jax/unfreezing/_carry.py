"""Optimizer states that go on from a stage of unfreezing to the next."""

from collections.abc import Container
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import clip_states
from cwgnc_jax.components._paths import (
    is_masked,
    leaves_with_paths,
    list_offenders,
)
from cwgnc_jax.unfreezing._groups import Span, UnfreezingGroups


def carry_opt_state(
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: optax.OptState,
    groups: UnfreezingGroups | None = None,
) -> optax.OptState:
    """State of an optimizer for a stage that goes on where the one before stopped.

    Moments of parameters that were trained before are kept, those of parameters that
    are new start afresh, and counts go on, so that a schedule does too. What has an
    entry for each component (the norms of the last step, AdaGC's references) starts
    afresh, because there are more of them now, or larger ones. Hyperparameters of
    ``optax.inject_hyperparams`` are those of the new stage's optimizer.

    Args:
      optimizer: the optimizer of the new stage.
      params: the parameters that it is for: the trainable part of
        :func:`split_params`, or all if the optimizer freezes by labels.
      opt_state: the state that the stage before ended with, of an optimizer that is
        nested alike. None or ``()`` is refused unless the optimizer keeps no state:
        ``optimizer.init`` gives a fresh one.
      groups: groups of the parameters, which say on which axis layers are stacked; by
        default on the first.

    Returns:
      The state.

    Raises:
      ValueError: if the state of a parameter has another shape and is not that of the
        upper layers of the same stack; if something in ``opt_state`` has no place in
        the optimizer's state or a count is not in it, as with another nesting of the
        chain.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import carry_opt_state
      >>> tx = optax.trace(decay=0.9)
      >>> before = tx.init(jnp.zeros(1))._replace(trace={"layers": jnp.array([7.0])})
      >>> carry_opt_state(tx, {"layers": jnp.zeros(2)}, before).trace["layers"].tolist()
      [0.0, 7.0]
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in leaves_with_paths(params)}
    before = dict(leaves_with_paths(opt_state))
    fresh = optimizer.init(params)
    own = _paths_of_components(fresh) | _paths_of_hyperparameters(fresh)
    _check_nesting(params, fresh, opt_state)
    carried = []
    for path, new in leaves_with_paths(fresh):
        old = new if path in own else before.get(path, new)
        shape, old_shape = jnp.shape(new), jnp.shape(old)
        if shape == old_shape:
            carried.append(old)
            continue
        owner = _owner_of(path, shapes)
        if owner is None:
            carried.append(new)
            continue
        span = Span(0) if groups is None else groups.span(owner)
        if not (
            span.are_cuts(shape, old_shape)
            and shape[span.axis] == shapes[owner][span.axis] > old_shape[span.axis]
        ):
            raise ValueError(
                f"opt_state: {path!r} has shape {old_shape}, which is not that of "
                f"upper layers of {shape}"
            )
        lower, _ = span.cut(new, shape[span.axis] - old_shape[span.axis])
        carried.append(span.join(lower, old))
    return jax.tree.unflatten(jax.tree.structure(fresh), carried)


def _check_nesting(
    params: Any, fresh: optax.OptState, opt_state: optax.OptState
) -> None:
    """Refuses a state of which something would be lost, or a count begin anew."""
    owners = {path for path, _ in leaves_with_paths(params, is_leaf=is_masked)}

    def slots(state: optax.OptState) -> dict[str, bool]:
        """What a state holds, moments of all parameters as one; whether it has such."""
        held = {}
        for path, _ in leaves_with_paths(state):
            owner = _owner_of(path, owners)
            held[path if owner is None else path.removesuffix(owner)] = (
                owner is not None
            )
        return held

    new, old = slots(fresh), slots(opt_state)
    lost = sorted(old.keys() - new.keys())
    # Moments of parameters may begin with a stage, as in a partition; counts do not.
    missed = sorted(slot for slot in new if slot not in old and not new[slot])
    if new and not old:
        missed = sorted(new)
    if lost or missed:
        raise ValueError(
            "opt_state must be that of an optimizer that is nested alike; these "
            "entries of it have no place, or are missing from it:"
            + list_offenders(lost + missed)
        )


def _paths_of_components(opt_state: optax.OptState) -> set[str]:
    """Entries of a state that have a number for each component."""
    return {
        f"{path}/{name}".removeprefix("/")
        for path, node in clip_states(opt_state).items()
        for name, _ in leaves_with_paths(node)
        if name != "count"
    }


def _paths_of_hyperparameters(opt_state: optax.OptState) -> set[str]:
    """Entries of a state that hold what was given to the optimizer itself."""

    def is_injected(node: Any) -> bool:
        return hasattr(node, "hyperparams") and hasattr(node, "inner_state")

    found = set()
    for path, node in leaves_with_paths(opt_state, is_leaf=is_injected):
        if is_injected(node):
            parts = {
                "hyperparams": [
                    name for name, _ in leaves_with_paths(node.hyperparams)
                ],
                "inner_state": _paths_of_hyperparameters(node.inner_state),
            }
            found |= {
                f"{path}/{part}/{name}".removeprefix("/")
                for part, names in parts.items()
                for name in names
            }
    return found


def _owner_of(path: str, params: Container[str]) -> str | None:
    """The parameter whose path an entry of an optimizer's state ends with."""
    keys = path.split("/")
    for depth in range(len(keys)):
        if (suffix := "/".join(keys[depth:])) in params:
            return suffix
    return "" if "" in params else None
