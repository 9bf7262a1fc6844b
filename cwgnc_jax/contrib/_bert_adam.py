"""BERT's optimizer: Adam without bias correction, one norm for all gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import clip_by_component_norm
from cwgnc_jax._numbers import known_number
from cwgnc_jax._optimizers import decay_mask, keep_state_dtypes
from cwgnc_jax.components._maps import whole_tree


class ScaleByBertAdamState(NamedTuple):
    """State of :func:`scale_by_bert_adam`.

    Attributes:
      mu: moving average of the gradients, a tree like the parameters.
      nu: moving average of their squares, a tree like the parameters.
    """

    mu: optax.Updates
    nu: optax.Updates


def scale_by_bert_adam(
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-6,
    mu_dtype: Any = None,
) -> optax.GradientTransformation:
    r"""Rescales updates by Adam as BERT has it: without bias correction.

    .. math::
      m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
      v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
      u_t = \frac{m_t}{\sqrt{v_t} + \varepsilon}

    Both averages start at 0, and nothing makes up for it. As the second rises more
    slowly than the first, early updates are larger than Adam's, by the factor
    :math:`(1 - \beta_1^t) / \sqrt{1 - \beta_2^t}`: 3.2 at the first step, 6.6 at the
    12th, 2.2 at the 230th and 1.3 at the 900th. On small data sets, with some hundred
    steps in all, that is a cause of instability (Mosbach et al.).
    :func:`optax.scale_by_adam` is the same with the correction.

    Args:
      b1: decay rate of the average of the gradients.
      b2: decay rate of the average of their squares.
      eps: added to the denominator.
      mu_dtype: dtype of the average of the gradients; None for the parameters'.

    Returns:
      An :class:`optax.GradientTransformation`; its state is a
      :class:`ScaleByBertAdamState`.

    Notes:
      ``optax.inject_hyperparams`` takes a dtype for a schedule: name it,
      ``static_args=("mu_dtype",)``.

    Examples:
      >>> tx = scale_by_bert_adam()
      >>> updates, _ = tx.update(jnp.array(5.0), tx.init(jnp.array(0.0)))
      >>> print(f"{updates:.3f}")  # 0.1 / sqrt(0.001), where Adam has 1
      3.162

    References:
      Devlin et al., `BERT <https://arxiv.org/abs/1810.04805>`_, 2019, with
      `its optimizer <https://github.com/google-research/bert>`_;
      Mosbach et al., `On the Stability of Fine-tuning BERT
      <https://arxiv.org/abs/2006.04884>`_, 2020, section 5
    """

    def init(params: optax.Params) -> ScaleByBertAdamState:
        return ScaleByBertAdamState(
            mu=optax.tree.zeros_like(params, dtype=mu_dtype),
            nu=optax.tree.zeros_like(params),
        )

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, ScaleByBertAdamState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, ScaleByBertAdamState(mu, nu)

    return keep_state_dtypes(optax.GradientTransformation(init, update))


def bert_adamw(
    learning_rate: optax.ScalarOrSchedule,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-6,
    *,
    weight_decay: jax.typing.ArrayLike = 0.01,
    mask: Any = None,
    max_norm: jax.typing.ArrayLike | None = 1.0,
    bias_correction: bool = False,
    mu_dtype: Any = None,
) -> optax.GradientTransformation:
    """The optimizer that BERT was fine-tuned with, and its corrected version.

    The gradients are clipped to one norm all together, Adam rescales them, the decay
    is added apart from the moments (and so is scaled by the learning rate), except
    for biases and LayerNorms. The paper's first baseline is this as it stands, its
    second the same with ``bias_correction=True``.

    Args:
      learning_rate: a number or a schedule, such as
        :func:`bert_linear_decay_schedule`, BERT's own, or
        :func:`warmup_linear_decay_schedule`.
      b1: decay rate of the average of the gradients.
      b2: decay rate of the average of their squares.
      eps: added to the denominator.
      weight_decay: strength of the decay.
      mask: pytree of booleans, or a function from the parameters to one, that marks
        the parameters to decay; by default :func:`decay_mask`.
      max_norm: largest norm of all gradients together, as
        :func:`clip_by_component_norm` clips by it with :func:`whole_tree`; None for no
        clipping.
      bias_correction: whether Adam's averages are corrected for their start at 0.
      mu_dtype: dtype of the average of the gradients; None for the parameters'.

    Returns:
      An :class:`optax.GradientTransformation`; its ``update`` needs the parameters.
      :func:`get_clip_state` finds the norm of all gradients in its state, unless
      ``max_norm`` is None.

    Raises:
      ValueError: if ``max_norm`` is not positive; a traced one cannot be checked.
      TypeError: if ``max_norm`` is neither a number nor None.

    Notes:
      ``optax.inject_hyperparams`` takes a callable for a schedule of its own, dtypes
      included: name the others, ``static_args=("mask", "mu_dtype")``.

    Examples:
      >>> import optax
      >>> from cwgnc_jax.contrib import bert_adamw, bert_linear_decay_schedule
      >>> tx = bert_adamw(bert_linear_decay_schedule(0.1, 5, 50))
      >>> params = {"kernel": jnp.zeros((2, 2))}
      >>> state = tx.init(params)
      >>> for _ in range(50):
      ...     grads = jax.tree.map(lambda x: 2 * (x - 3.0), params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(jnp.all(jnp.abs(params["kernel"] - 3.0) < 1.0))
      True

    References:
      Devlin et al., `BERT <https://arxiv.org/abs/1810.04805>`_, 2019, with
      `its optimizer <https://github.com/google-research/bert>`_
    """
    clip = optax.identity()
    if max_norm is not None:
        accepted = "a positive number, a jax scalar or None"
        number = known_number("max_norm", max_norm, accepted)
        # `not >` refuses NaN as well.
        if number is not None and not number > 0:
            raise ValueError(f"max_norm must be {accepted}, got {number:g}")
        # Not Optax's clip, which sums in the gradients' dtype: in float16 a square of
        # 300 is infinite, and all gradients become 0.
        clip = clip_by_component_norm(max_norm, whole_tree)
    if bias_correction:
        adam = keep_state_dtypes(optax.scale_by_adam(b1, b2, eps, mu_dtype=mu_dtype))
    else:
        adam = scale_by_bert_adam(b1, b2, eps, mu_dtype=mu_dtype)
    return optax.chain(
        clip,
        adam,
        optax.add_decayed_weights(
            weight_decay,  # pyright: ignore[reportArgumentType]  # Traced, too.
            decay_mask if mask is None else mask,
        ),
        optax.scale_by_learning_rate(learning_rate),
    )
