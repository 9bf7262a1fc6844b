"""L2-SP: weight decay towards the pretrained weights instead of towards 0."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._numbers import check_number
from cwgnc_jax._optimizers import decay_mask
from cwgnc_jax.components._norms import wide_dtype
from cwgnc_jax.components._paths import (
    leaves_with_paths,
    list_offenders,
    list_unlike,
)


class DecayTowardsPretrainedState(NamedTuple):
    """State of :func:`decay_towards_pretrained`.

    Attributes:
      pretrained: what the parameters are drawn to, a tree like them.
    """

    pretrained: optax.Params


def decay_towards_pretrained(
    strength: jax.typing.ArrayLike, pretrained: Any = None, mask: Any = None
) -> optax.GradientTransformation:
    r"""Draws parameters back to their pretrained values (L2-SP).

    With the pretrained parameters :math:`w_0` the updates :math:`u` become

    .. math::
      u \leftarrow u + \alpha (w - w_0)

    Its place decides what it is, as with ``optax.add_decayed_weights``: between Adam
    and the learning rate, decoupled weight decay, as Zhang et al. have it; before
    Adam, the gradient of Li et al.'s penalty :math:`\frac{\alpha}{2} \lVert w - w_0
    \rVert^2`. What was not pretrained, such as a new classifier, Li et al. decay
    towards 0: leave it out here by the mask, and mask it in
    ``optax.add_decayed_weights``.
    Zhang et al.'s code draws it to its initial value like all else.

    Args:
      strength: :math:`\alpha`, at least 0.
      pretrained: the parameters :math:`w_0`, matched by path; leaves that are masked
        out need not be there. By default those that ``init`` gets, which in gradual
        unfreezing without ``carry_optimizer`` are what each stage begins with; a
        stage's own part is ``split_params(pretrained, stage, groups).trainable``. They
        are held in the state, once for each run that is vmapped.
      mask: pytree of booleans, or a function from the parameters to one, that marks
        the parameters to decay; by default :func:`decay_mask`.

    Returns:
      The transformation, whose update needs the parameters.

    Raises:
      ValueError: if a concrete ``strength`` is negative or NaN; at init, if pretrained
        values are missing or of other shapes; in the update, without parameters.
      TypeError: if ``strength`` is not a number.

    Notes:
      ``optax.inject_hyperparams`` takes a callable for a schedule of its own, and
      arrays for numbers: name the others, ``static_args=("pretrained", "mask")``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax.contrib import decay_towards_pretrained
      >>> tx = decay_towards_pretrained(0.5)
      >>> state = tx.init({"kernel": jnp.full((1, 1), 3.0)})
      >>> params = {"kernel": jnp.full((1, 1), 5.0)}
      >>> updates, _ = tx.update({"kernel": jnp.ones((1, 1))}, state, params)
      >>> updates["kernel"].tolist()
      [[2.0]]

    References:
      Li et al., `Explicit Inductive Bias for Transfer Learning with Convolutional
      Networks <https://arxiv.org/abs/1802.01483>`_, 2018, equations 3 and 4

      Zhang et al., `Revisiting Few-sample BERT Fine-tuning
      <https://arxiv.org/abs/2006.05987>`_, 2021, section 6, with
      `its code <https://github.com/asappresearch/revisit-bert-finetuning>`_
    """
    check_number("strength", strength)

    def init_fn(params: optax.Params) -> DecayTowardsPretrainedState:
        if pretrained is None:
            # A copy: one buffer cannot be donated to a step twice.
            return DecayTowardsPretrainedState(jax.tree.map(jnp.copy, params))
        return DecayTowardsPretrainedState(_like(params, pretrained))

    def update_fn(
        updates: Any, state: Any, params: optax.Params | None = None
    ) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("params are needed: call update(updates, state, params)")

        def pull(update: Any, w: Any, w0: Any) -> jax.Array:
            dtype = update.dtype
            wide = wide_dtype(update, w)
            update, w, w0 = (jnp.asarray(each, wide) for each in (update, w, w0))
            return (update + jnp.asarray(strength, wide) * (w - w0)).astype(dtype)

        return jax.tree.map(pull, updates, params, state.pretrained), state

    tx = optax.GradientTransformation(init_fn, update_fn)
    return optax.masked(tx, decay_mask if mask is None else mask)


def _like(params: Any, pretrained: Any) -> Any:
    """The pretrained values in the structure and the dtypes of the parameters."""
    originals = dict(leaves_with_paths(pretrained))
    leaves = leaves_with_paths(params)
    if wrong := list_unlike(leaves, originals):
        raise ValueError(
            "pretrained must hold each leaf to be decayed, in its shape; it does not "
            "hold:" + list_offenders(wrong)
        )
    values = [jnp.array(originals[path], leaf.dtype) for path, leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(params), values)
