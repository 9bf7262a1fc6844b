"""Labels of leaves, and optimizers for the leaves of each: rules, stages, freezing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax.components._paths import (
    compile_rules,
    is_masked,
    leaves_with_paths,
    list_offenders,
    match_rules,
    nearest_entry,
    overlaps,
)
from cwgnc_jax.unfreezing._groups import UnfreezingGroups, unfreezing_groups

TRAINABLE: Literal["trainable"] = "trainable"
FROZEN: Literal["frozen"] = "frozen"


def partition_by_path(
    transforms: Mapping[str, optax.GradientTransformation],
    rules: Mapping[str, str] | Sequence[tuple[str, str]],
) -> optax.GradientTransformationExtraArgs:
    r"""An ``optax.partition`` whose labels are given by rules over paths.

    Paths are those of :func:`leaves_with_paths`: the same for parameters and updates,
    for dicts, dataclasses and all forms of the state of an NNX model, of which
    ``nnx.Optimizer`` shows one at init and another at update.

    Args:
      transforms: a transformation for each label.
      rules: pairs, or a dict, from regular expressions to labels. A leaf has the label
        of the first that matches its whole path.

    Returns:
      The transformation, an ``optax.partition``.

    Raises:
      ValueError: at once if a rule gives a label that has no transformation, a
        transformation is given by no rule, or an expression is not valid; at init and
        update if no rule matches a leaf, or a rule is the first match of none, nor may
        be for one that a mask hides.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import cwgnc_adamw, partition_by_path
      >>> params = {"embeddings": jnp.ones((9, 2)), "layers": [jnp.ones((2, 2))] * 2,
      ...           "head": jnp.ones((2, 2))}
      >>> transforms = {"new": optax.sgd(1e-2), "old": cwgnc_adamw(2e-5),
      ...               "frozen": optax.set_to_zero()}
      >>> tx = partition_by_path(
      ...     transforms,
      ...     [("head", "new"), ("embeddings|layers/0", "frozen"), (".*", "old")])
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> [f"{leaf.min():.2g}" for leaf in jax.tree.leaves(updates)]
      ['0', '-0.01', '0', '-2e-05']
    """
    compiled = compile_rules("rules", rules)
    patterns = [pattern for pattern, _ in compiled]
    named = {label for _, label in compiled}
    if named != set(transforms):
        raise ValueError(
            f"rules must give each label of transforms, {sorted(transforms)}, and no "
            f"other, got {sorted(map(str, named))}"
        )

    def label_paths(paths: Sequence[str], tree: Any) -> list[str]:
        nodes = leaves_with_paths(tree, is_leaf=is_masked)
        hidden = [path for path, node in nodes if is_masked(node)]
        matched = match_rules("rules", patterns, paths, hidden=hidden)
        return [compiled[rule][1] for rule in matched]

    return _partition(transforms, label_paths)


def unfreezing_labels(
    params: Any, stage: int, groups: UnfreezingGroups | None = None
) -> Any:
    """Labels the parameters that a stage of gradual unfreezing trains.

    Stage k trains the head and the top k + 1 layers, and the last stage everything.

    Args:
      params: parameters, a pytree of arrays, with each layer in leaves of its own. A
        stack of layers is one if the stage trains it all or nothing of it;
        :func:`split_params` cuts others.
      stage: number of the stage, from 0.
      groups: groups of the parameters, by default those of
        :func:`unfreezing_groups`.

    Returns:
      A pytree of the same structure of 'trainable' and 'frozen', for :func:`freeze`
      or ``optax.partition``.

    Raises:
      ValueError: if there is no such stage, a leaf is in no group, or the stage
        trains a part of a leaf.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import unfreezing_labels
      >>> params = {"embed": jnp.ones((9, 2)), "head": jnp.ones((2, 2)),
      ...           "layers": [jnp.ones((2, 2)), jnp.ones((2, 2))]}
      >>> unfreezing_labels(params, 0)
      {'embed': 'frozen', 'head': 'trainable', 'layers': ['frozen', 'trainable']}
    """
    groups = unfreezing_groups(params) if groups is None else groups
    lowest = groups.lowest_level(stage)
    labels, cut = [], []
    for path, leaf in leaves_with_paths(params):
        span = groups.span(path, jnp.shape(leaf))
        labels.append(TRAINABLE if span.level >= lowest else FROZEN)
        if span.level < lowest < span.end:
            cut.append(path)
    if cut:
        raise ValueError(
            f"params: stage {stage} trains a part of these leaves, which hold several "
            "layers; split_params cuts them:" + list_offenders(cut)
        )
    return jax.tree.unflatten(jax.tree.structure(params), labels)


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

    Notes:
      ``optax.selective_transform(optimizer, freeze_mask=mask)`` is much the same with a
      mask of booleans, in which True is a frozen leaf. ``optax.freeze(mask)`` is
      another thing: it takes no optimizer, and makes the updates of leaves that are
      True 0 at its place in a chain, whatever comes before or after it. Labels here are
      words, so that neither's masks are taken for them.

    Raises:
      ValueError: if there are other labels, at once unless they come from a function;
        at init and update if a leaf has no label, or a label no leaf.

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

    def label_paths(paths: Sequence[str], tree: Any) -> list[str]:
        by_path = _read_labels(labels(tree)) if read is None else read
        entries = [nearest_entry(path, by_path) for path in paths]
        missing = [
            path for path, entry in zip(paths, entries, strict=True) if entry is None
        ]
        if missing:
            raise ValueError("labels: none for the leaves:" + list_offenders(missing))
        # A mask, or None, may stand for leaves that are others' business.
        nodes = leaves_with_paths(tree, is_leaf=lambda x: x is None or is_masked(x))
        there = {path for path, _ in nodes}
        unused = [
            path for path in by_path.keys() - set(entries) if not overlaps(path, there)
        ]
        if unused:
            raise ValueError(
                "labels: those that belong to no leaf:" + list_offenders(sorted(unused))
            )
        return [by_path[entry] for entry in entries if entry is not None]

    return _partition({TRAINABLE: optimizer, FROZEN: _keep()}, label_paths)


def _partition(
    transforms: Mapping[str, optax.GradientTransformation],
    label_paths: Callable[[Sequence[str], Any], list[str]],
) -> optax.GradientTransformationExtraArgs:
    """An ``optax.partition`` by the paths of leaves."""

    def labels_of(tree: Any) -> Any:
        # Anew for each tree: a tree of labels would have the structure of one form of
        # an NNX state, and optax.partition wants that of the tree it is given.
        labels = label_paths([path for path, _ in leaves_with_paths(tree)], tree)
        return jax.tree.unflatten(jax.tree.structure(tree), labels)

    return optax.partition({**transforms}, labels_of)


def _read_labels(labels: Any) -> dict[str, Any]:
    by_path = dict(leaves_with_paths(labels))
    wrong = [
        f"{path}: {label}"
        for path, label in by_path.items()
        if not (isinstance(label, str) and label in (TRAINABLE, FROZEN))
    ]
    if wrong:
        raise ValueError(
            "labels must be 'trainable' or 'frozen' (no booleans, such as optax.freeze "
            "takes), got:" + list_offenders(wrong)
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
