"""Mixout: weights that are their pretrained selves again, now and then, at random."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp

from cwgnc_jax._numbers import known_number
from cwgnc_jax.components._norms import wide_dtype
from cwgnc_jax.components._paths import (
    compile_rules,
    leaves_with_paths,
    list_offenders,
)
from cwgnc_jax.contrib._keys import leaf_key

Params = TypeVar("Params")
LeafRule = str | Callable[[str, jax.Array], bool]


def mixout(
    params: Params,
    pretrained: Any,
    key: jax.Array,
    p: jax.typing.ArrayLike,
    *,
    leaves: LeafRule = r"(^|/)kernel$",
    output_layer: str | None = r"(^|/)classifier/",
    shared_axes: Sequence[int] = (-1,),
    gradient: Literal["exact", "released"] = "exact",
) -> Params:
    r"""Mixes parameters with the pretrained ones at random, unbiasedly.

    Like dropout, but what is dropped falls back to its pretrained value
    :math:`w_0` instead of to 0:

    .. math::
      w' = \frac{m \, w_0 + (1 - m) \, w - p \, w_0}{1 - p}
         = w_0 + \frac{1 - m}{1 - p} (w - w_0),
      \qquad m \sim \mathrm{Bernoulli}(p)

    The mean of :math:`w'` over the masks is :math:`w`. Call it at each training step
    with a fresh key, inside the loss; evaluate with the parameters as they are. The
    released code replaces all dropout by it.

    Args:
      params: the parameters, floating-point arrays. Kernels have the inputs on the
        last axis but one and the outputs on the last, as Flax's; axes before those,
        such as the layers of a stack, get masks of their own.
      pretrained: what they were before fine-tuning, matched by path: the leaves that
        are mixed must be there with the shapes of ``params``, others need not be.
        For the output layer, if it is mixed, this is the run's own initial value.
      key: key of the masks. A leaf's mask depends on the key and on the leaf's path
        and shape alone.
      p: probability of the pretrained value, from 0 to 1; a Python number or a
        scalar array. 0 gives the parameters as they are, 1 the pretrained ones.
      leaves: which leaves are mixed: a regular expression searched for in the path,
        such as ``'encoder/layers/query/kernel'``, or a function of path and leaf. It
        must choose at least one. By default, kernels of linear layers: neither
        biases, LayerNorms nor embeddings.
      output_layer: regular expression of the paths, among those, of the output
        layer, which has no pretrained value and is left out. It must match. None:
        nothing is left out, as in the released code.
      shared_axes: axes over which the elements of a leaf share one draw. (-1,): all
        weights that go out of an input neuron of a Flax kernel, as released. (): each
        weight is drawn alone, as in the analysis of the paper. For kernels of shape
        (outputs, inputs) it is (-2,); for (inputs, heads, head size), (-2, -1).
      gradient: 'exact': the derivative of the formula, (1 - m) / (1 - p) times the
        incoming gradient. 'released': the released code's (1 - m), which is smaller
        by the factor 1 - p: 10 times at p = 0.9. Without clipping Adam hardly sees
        the difference; with clipping the two differ.

    Returns:
      The mixed parameters: structure, shapes and dtypes of ``params``.

    Raises:
      ValueError: if p is not between 0 and 1, a rule matches nothing, pretrained
        values are missing or of another shape, an expression is not valid, or
        ``gradient`` is not among those above.
      TypeError: if p is not a number, a rule is not a string, ``shared_axes`` is no
        tuple, or a leaf to be mixed is not a floating-point array.

    Examples:
      >>> params = {"dense": {"kernel": jnp.full((4, 2), 3.0), "bias": jnp.ones(2)}}
      >>> pretrained = {"dense": {"kernel": jnp.full((4, 2), 2.0)}}
      >>> mixed = mixout(
      ...     params, pretrained, jax.random.key(0), 0.5, output_layer=None
      ... )
      >>> mixed["dense"]["kernel"].tolist()
      [[2.0, 2.0], [4.0, 4.0], [4.0, 4.0], [2.0, 2.0]]
      >>> mixed["dense"]["bias"].tolist()
      [1.0, 1.0]

    References:
      Lee et al., `Mixout: Effective Regularization to Finetune Large-scale Pretrained
      Language Models <https://arxiv.org/abs/1909.11299>`_, 2020, with
      `its code <https://github.com/bloodwass/mixout>`_
    """
    if gradient not in ("exact", "released"):
        raise ValueError(f"gradient must be 'exact' or 'released', got {gradient!r}")
    known = known_number("p", p, "a number from 0 to 1 or a scalar array")
    if known is not None:
        p = known
        if not 0 <= known <= 1:
            raise ValueError(f"p must lie between 0 and 1, got {known}")
    mix = _mix if gradient == "exact" else _mix_with_released_gradient
    flat = leaves_with_paths(params)
    paths = [path for path, _ in flat]
    values = [leaf for _, leaf in flat]
    chosen = _choose(paths, values, leaves, output_layer)
    originals = _originals(pretrained, {paths[i]: values[i] for i in chosen})
    for i in chosen:
        shape = _mask_shape(paths[i], values[i], shared_axes)
        keep = jax.random.bernoulli(leaf_key(key, paths[i]), jnp.float32(1 - p), shape)
        values[i] = mix(values[i], originals[paths[i]], keep, p)
    return jax.tree.unflatten(jax.tree.structure(params), values)


def _mix(
    w: jax.Array, w0: jax.Array, keep: jax.Array, p: jax.typing.ArrayLike
) -> jax.Array:
    # Where kept, w + (w - w0) p / (1 - p): exactly w at p = 0 and at w = w0.
    dtype = wide_dtype(w)
    value, original = w.astype(dtype), w0.astype(dtype)
    # At p = 1 nothing is kept; the factor must only be finite, for the gradient.
    factor = jnp.asarray(p / jnp.where(jnp.asarray(p) < 1, 1 - p, 1), dtype)
    return jnp.where(keep, value + (value - original) * factor, original).astype(
        w.dtype
    )


@jax.custom_jvp
def _mix_with_released_gradient(
    w: jax.Array, w0: jax.Array, keep: jax.Array, p: jax.typing.ArrayLike
) -> jax.Array:
    return _mix(w, w0, keep, p)


@_mix_with_released_gradient.defjvp
def _(primals, tangents):  # pyright: ignore
    _, _, keep, _ = primals
    return _mix(*primals), jnp.where(keep, tangents[0], 0)


def _choose(
    paths: list[str],
    values: list[jax.Array],
    leaves: LeafRule,
    output_layer: str | None,
) -> list[int]:
    """Indices of the leaves to be mixed."""
    if isinstance(leaves, str):
        [(pattern, _)] = compile_rules("leaves", [(leaves, None)])
        chosen = [i for i, path in enumerate(paths) if pattern.search(path)]
    elif callable(leaves):
        chosen = [i for i, path in enumerate(paths) if leaves(path, values[i])]
    else:
        raise TypeError(
            "leaves must be a regular expression (str) or a function of path and leaf, "
            f"got {leaves!r}"
        )
    if not chosen:
        raise ValueError(
            f"leaves ({leaves!r}) chooses none of the parameters:"
            f"{list_offenders(paths)}"
        )
    if output_layer is not None:
        names = [paths[i] for i in chosen]
        [(pattern, _)] = compile_rules("output_layer", [(output_layer, None)])
        chosen = [i for i in chosen if not pattern.search(paths[i])]
        if len(chosen) == len(names):
            raise ValueError(
                f"output_layer ({output_layer!r}) must match a leaf to be mixed, or be "
                f"None to leave out none; it matches none of:{list_offenders(names)}"
            )
    for i in chosen:
        dtype = getattr(values[i], "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                "leaves to be mixed must be floating-point arrays, got "
                f"{dtype or type(values[i]).__name__} at {paths[i]}"
            )
    return chosen


def _originals(pretrained: Any, mixed: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The pretrained values of the leaves to be mixed, by path."""
    originals = dict(leaves_with_paths(pretrained))
    missing = [path for path in mixed if path not in originals]
    if missing:
        raise ValueError(
            f"pretrained must hold each leaf to be mixed, but lacks:"
            f"{list_offenders(missing)}"
        )
    for path, leaf in mixed.items():
        if jnp.shape(originals[path]) != leaf.shape:
            raise ValueError(
                f"pretrained has the shape {jnp.shape(originals[path])} at {path}, the "
                f"parameters have {leaf.shape}"
            )
    return originals


def _mask_shape(
    path: str, leaf: jax.Array, shared_axes: Sequence[int]
) -> tuple[int, ...]:
    shape = list(leaf.shape)
    if not isinstance(shared_axes, Sequence) or any(
        not isinstance(axis, int) for axis in shared_axes
    ):
        raise TypeError(f"shared_axes must be several ints, got {shared_axes!r}")
    for axis in shared_axes:
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"shared_axes ({tuple(shared_axes)}) has no place in the shape "
                f"{leaf.shape} of {path}"
            )
        shape[axis] = 1
    return tuple(shape)
