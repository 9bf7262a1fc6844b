"""Child-Tuning: only a part of the network, the child, is updated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._numbers import known_number
from cwgnc_jax.components._norms import wide_dtype
from cwgnc_jax.components._paths import (
    compile_pattern,
    leaves_with_paths,
    list_offenders,
    list_unlike,
)
from cwgnc_jax.components._shards import replicate, shard_alike
from cwgnc_jax.contrib._keys import as_key, check_key, leaf_key


class ChildTuningState(NamedTuple):
    """State of :func:`child_tuning`.

    Attributes:
      count: number of steps so far, int32 scalar; with the key it gives the masks.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]


def child_tuning(
    reserve: jax.typing.ArrayLike = 0.3, key: jax.Array | int = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps a random share of each gradient's entries at each step (Child-Tuning-F).

    .. math::
      g \leftarrow \frac{m \odot g}{p}, \qquad m \sim \mathrm{Bernoulli}(p)

    The masks are new at each step and independent of task and data ('task-free'). It
    goes before whatever keeps moments of the gradients, and behind the clipping, as in
    the released code; Adam's moments and weight decay go on for all parameters.

    Args:
      reserve: the share :math:`p` that is kept, above 0 and at most 1; 1 changes
        nothing.
      key: key of the masks, or its seed. A step's masks depend on it, on the number of
        steps so far and on the path and shape of each leaf.

    Returns:
      The transformation. Its update takes an argument ``key`` of its own, in place of
      the other, for runs that share a transformation under ``vmap``.

    Raises:
      ValueError: if a concrete ``reserve`` is out of its range.
      TypeError: if ``reserve`` is not a number, or ``key`` neither key nor seed.

    Notes:
      ``optax.inject_hyperparams`` makes a number of a seed: name it,
      ``static_args=("key",)``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import child_tuning
      >>> tx = child_tuning(0.5)
      >>> gradients, _ = tx.update(jnp.ones(6), tx.init(jnp.ones(6)))
      >>> sorted(set(gradients.tolist()))
      [0.0, 2.0]

    References:
      Xu et al., `Raise a Child in Large Language Model: Towards Effective and
      Generalizable Fine-tuning <https://arxiv.org/abs/2109.05687>`_, 2021, section
      2.2, with `its code
      <https://github.com/alibaba/AliceMind/tree/main/ChildTuning>`_
    """
    _check_share(reserve)
    check_key(key)

    def init_fn(params: optax.Params) -> ChildTuningState:
        del params
        return ChildTuningState(jnp.zeros((), jnp.int32))

    def update_fn(
        updates: Any,
        state: Any,
        params: optax.Params | None = None,
        *,
        key: jax.Array | int = key,
        **extra: Any,
    ) -> tuple[Any, ChildTuningState]:
        del params, extra
        root = jax.random.fold_in(as_key(key), state.count)
        share = jnp.asarray(reserve, jnp.float32)

        def mask(path: str, leaf: jax.Array) -> jax.Array:
            keep = jax.random.bernoulli(leaf_key(root, path), share, jnp.shape(leaf))
            # Not a product with 0, which would let a NaN pass.
            wide = wide_dtype(leaf)
            kept = jnp.asarray(leaf, wide) / share.astype(wide)
            return jnp.where(shard_alike(keep, kept), kept, 0).astype(leaf.dtype)

        masked = _map_with_paths(mask, updates)
        count = jnp.asarray(optax.safe_increment(state.count))
        return masked, ChildTuningState(count)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def fisher_mask(
    fisher: Any,
    reserve: jax.typing.ArrayLike = 0.3,
    leaves: str = r"(.*/)?encoder/.*",
) -> Any:
    """Marks the entries that matter most to a task (Child-Tuning-D).

    Use it as ``mask`` of :func:`keep_masked`. The Fisher information of an entry is
    estimated by the mean of its squared gradients over the batches of an epoch, at the
    pretrained parameters; in the released code of gradients whose leaves were clipped
    to a norm of 1 each, which ``clip_by_component_norm(1.0)`` does.

    Args:
      fisher: the information, a pytree like the parameters.
      reserve: the share of all entries of these leaves together that is kept, above 0
        and at most 1. Ties at the border are all kept; NaN is not counted, and not
        kept.
      leaves: regular expression for the whole paths of the leaves that are masked, by
        default the encoder's layers; others are kept whole.

    Returns:
      A pytree of boolean arrays of the shapes of ``fisher``.

    Raises:
      ValueError: if a concrete ``reserve`` is out of its range or the expression is
        not valid or matches nothing.
      TypeError: if ``reserve`` is not a number.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import fisher_mask
      >>> fisher = {"encoder": {"a": jnp.array([1.0, 9.0, 4.0])}, "head": jnp.zeros(1)}
      >>> mask = fisher_mask(fisher, 0.5)
      >>> mask["encoder"]["a"].tolist(), mask["head"].tolist()
      ([False, True, True], [True])

    References:
      Xu et al., `Raise a Child in Large Language Model
      <https://arxiv.org/abs/2109.05687>`_, 2021, section 2.3, with `its code
      <https://github.com/alibaba/AliceMind/tree/main/ChildTuning>`_
    """
    _check_share(reserve)
    pattern = compile_pattern("leaves", leaves)
    by_path = dict(leaves_with_paths(fisher))
    chosen = [path for path in by_path if pattern.fullmatch(path)]
    if not chosen:
        raise ValueError(
            f"leaves ({leaves!r}) chooses none of fisher:{list_offenders(by_path)}"
        )
    # float16 could not count beyond 65,504 entries.
    wide = wide_dtype(*(by_path[path] for path in chosen))
    together = jnp.concatenate(
        [jnp.ravel(replicate(jnp.asarray(by_path[path], wide))) for path in chosen]
    )
    # One of the entries, not what lies between two of which one may be infinite.
    share = 1 - jnp.asarray(reserve, wide)
    border = jnp.nanquantile(together, share, method="higher")

    def mark(path: str, leaf: jax.Array) -> jax.Array:
        if path in chosen:
            return jnp.asarray(jnp.asarray(leaf, wide) >= border)
        return jnp.ones(jnp.shape(leaf), bool)

    return _map_with_paths(mark, fisher)


def keep_masked(mask: Any) -> optax.GradientTransformation:
    """Makes the entries of updates 0 that a mask does not mark.

    ``optax.masked`` and ``optax.freeze`` take whole leaves; this takes single entries.
    Before Adam, where Child-Tuning has it, moments stay 0 there and weight decay goes
    on; last in a chain, the entries do not move at all.

    Args:
      mask: a pytree of boolean arrays, matched by path: :func:`fisher_mask`.

    Returns:
      The transformation; it keeps no state.

    Raises:
      ValueError: at update if the mask lacks a leaf or has it in another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import keep_masked
      >>> tx = keep_masked(jnp.array([True, False]))
      >>> tx.update(jnp.ones(2), tx.init(jnp.ones(2)))[0].tolist()
      [1.0, 0.0]
    """
    by_path = dict(leaves_with_paths(mask))

    def update(updates: Any, params: Any) -> Any:
        del params
        if wrong := list_unlike(leaves_with_paths(updates), by_path):
            raise ValueError(
                "mask must hold each leaf of the updates, in its shape; it does not "
                "hold:" + list_offenders(wrong)
            )
        return _map_with_paths(
            lambda path, leaf: jnp.where(
                shard_alike(by_path[path], leaf), leaf, jnp.zeros_like(leaf)
            ),
            updates,
        )

    return optax.stateless(update)


def _check_share(reserve: Any) -> None:
    number = known_number("reserve", reserve)
    if number is not None and not 0 < number <= 1:
        raise ValueError(f"reserve must be above 0 and at most 1, got {number:g}")


def _map_with_paths(function: Callable[[str, Any], jax.Array], tree: Any) -> Any:
    values = [function(path, leaf) for path, leaf in leaves_with_paths(tree)]
    return jax.tree.unflatten(jax.tree.structure(tree), values)
