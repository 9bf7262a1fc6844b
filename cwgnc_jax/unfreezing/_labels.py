"""Optimizers that leave a part of the parameters alone, and carry their state on."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import is_clip_state
from cwgnc_jax.components._matching import nearest_entry
from cwgnc_jax.components._paths import flatten_with_paths, list_offenders

TRAINABLE: Literal["trainable"] = "trainable"
FROZEN: Literal["frozen"] = "frozen"


def freeze(
    optimizer: optax.GradientTransformation, labels: Any
) -> optax.GradientTransformationExtraArgs:
    """Lets an optimizer see the trainable leaves alone, and leaves the others alone.

    Frozen leaves have no optimizer state, no weight decay and no part in any norm. In a
    compiled step they keep every bit, even the sign of a 0, and their gradients are
    not computed, for nothing uses them; a global norm taken *before* this
    transformation would. Outside of ``jit`` use :func:`split_params`, which does not
    rely on the compiler.

    Args:
      optimizer: for the trainable leaves.
      labels: a pytree of 'trainable' and 'frozen' over the parameters, matched by
        path: :func:`unfreezing_labels`, or any other; a label above a leaf holds for
        all leaves below it that have none nearer. Or a function from the parameters
        (or updates) to one. All forms of the state of an NNX model have the same
        paths.

    Returns:
      The transformation, an ``optax.partition``.

    Raises:
      ValueError: if there are other labels, at once unless they come from a function;
        at init and update if a leaf has no label.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import cwgnc_adamw, freeze, unfreezing_labels
      >>> params = {"embed": jnp.ones((9, 2)), "head": jnp.ones((2, 2)),
      ...           "layers": [jnp.ones((2, 2)), jnp.ones((2, 2))]}
      >>> tx = freeze(cwgnc_adamw(1e-3), unfreezing_labels(params, stage=0))
      >>> updates, opt_state = tx.update(params, tx.init(params), params)
      >>> [float(leaf[0, 0]) for leaf in optax.apply_updates(params, updates)["layers"]]
      [1.0, 0.9989900588989258]
    """
    # A callable module may be a tree of labels; a function is a leaf.
    is_function = callable(labels) and jax.tree_util.all_leaves([labels])
    read = None if is_function else _read_labels(labels)

    def labels_of(tree: Any) -> Any:
        by_path = _read_labels(labels(tree)) if read is None else read
        paths = [path for path, _ in flatten_with_paths(tree)]
        entries = [nearest_entry(path, by_path) for path in paths]
        missing = [
            path for path, entry in zip(paths, entries, strict=True) if entry is None
        ]
        if missing:
            raise ValueError("labels: none for the leaves:" + list_offenders(missing))
        found = [by_path[entry] for entry in entries if entry is not None]
        return jax.tree.unflatten(jax.tree.structure(tree), found)

    return optax.partition({TRAINABLE: optimizer, FROZEN: _keep()}, labels_of)


def carry_opt_state(
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: optax.OptState,
) -> optax.OptState:
    """State of an optimizer for a stage that goes on where the one before stopped.

    Moments of parameters that were trained before are kept, those of parameters that
    are new start afresh, and counts go on, so that a schedule does too. What has an
    entry for each component (the norms of the last step, AdaGC's references) starts
    afresh, because there are more of them now, or larger ones.

    Args:
      optimizer: the optimizer of the new stage.
      params: the parameters that it is for: the trainable part of
        :func:`split_params`, or all if the optimizer freezes by labels.
      opt_state: the state that the stage before ended with.

    Returns:
      The state.

    Raises:
      ValueError: if the state of a parameter has another shape and is not that of the
        upper layers of the same stack.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import carry_opt_state
      >>> tx = optax.trace(decay=0.9)
      >>> before = tx.init(jnp.zeros(1))._replace(trace={"layers": jnp.array([7.0])})
      >>> carry_opt_state(tx, {"layers": jnp.zeros(2)}, before).trace["layers"].tolist()
      [0.0, 7.0]
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in flatten_with_paths(params)}
    before = dict(flatten_with_paths(opt_state))
    fresh = optimizer.init(params)
    of_components = {
        f"{path}/{name}".removeprefix("/")
        for path, node in flatten_with_paths(fresh, is_leaf=is_clip_state)
        if is_clip_state(node)
        for name, _ in flatten_with_paths(node)
        if name != "count"
    }
    carried = []
    for path, new in flatten_with_paths(fresh):
        old = new if path in of_components else before.get(path, new)
        shape, old_shape = jnp.shape(new), jnp.shape(old)
        if shape == old_shape:
            carried.append(old)
            continue
        owner = _shape_of_owner(path, shapes)
        if owner is None:
            carried.append(new)
        elif (
            len(shape) == len(old_shape)
            and shape[1:] == old_shape[1:]
            and shape[:1] == owner[:1] > old_shape[:1]
        ):
            carried.append(jnp.concatenate([new[: shape[0] - old_shape[0]], old]))
        else:
            raise ValueError(
                f"opt_state: {path!r} has shape {old_shape}, which is not that of "
                f"upper layers of {shape}"
            )
    return jax.tree.unflatten(jax.tree.structure(fresh), carried)


def _read_labels(labels: Any) -> dict[str, Any]:
    by_path = dict(flatten_with_paths(labels))
    wrong = [
        f"{path}: {label}"
        for path, label in by_path.items()
        if not (isinstance(label, str) and label in (TRAINABLE, FROZEN))
    ]
    if wrong:
        raise ValueError(
            "labels must be 'trainable' or 'frozen', got:" + list_offenders(wrong)
        )
    return by_path


def _keep() -> optax.GradientTransformation:
    """Updates of -0, which unlike 0 changes no number when it is added."""

    def init_fn(params: Any) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update_fn(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return jax.tree.map(_negative_zero, updates), state

    return optax.GradientTransformation(init_fn, update_fn)


def _negative_zero(leaf: Any) -> jax.Array:
    zero = jnp.zeros_like(leaf)
    return -zero if jnp.issubdtype(zero.dtype, jnp.inexact) else zero


def _shape_of_owner(
    path: str, shapes: dict[str, tuple[int, ...]]
) -> tuple[int, ...] | None:
    """Shape of the parameter whose path an entry of an optimizer's state ends with."""
    keys = path.split("/")
    for depth in range(len(keys)):
        if (suffix := "/".join(keys[depth:])) in shapes:
            return shapes[suffix]
    return shapes.get("")
