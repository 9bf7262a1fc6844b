"""Learning-rate schedules of BERT fine-tuning: warm up, then fall to zero."""

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._numbers import known_number


def warmup_linear_decay_schedule(
    peak_value: jax.typing.ArrayLike,
    warmup_steps: jax.typing.ArrayLike,
    total_steps: jax.typing.ArrayLike,
) -> optax.Schedule:
    r"""Linear warm-up from 0 to the peak, then linear decay to 0.

    For the step :math:`t`, counted from 0, :math:`W` warm-up steps and :math:`T`
    steps in all:

    .. math::
      \eta_t = \eta_{\max} \cdot
      \begin{cases}
        t / W, & t < W \\
        (T - t) / (T - W), & W \leq t < T \\
        0, & t \geq T
      \end{cases}

    The curve is continuous. Step 0 has a learning rate of 0 when there is a
    warm-up, as in BERT and in PyTorch's usual schedule; the last step, T - 1, still
    has a little.

    Args:
      peak_value: largest learning rate, reached at step ``warmup_steps``.
      warmup_steps: number of steps of the warm-up; BERT takes
        ``int(0.1 * total_steps)``. 0 for none.
      total_steps: number of steps of the whole training, warm-up included. All three
        may be traced: programs for other rates or lengths are then the same.

    Returns:
      A function from the step (an int, or an integer array of any shape) to the
      learning rate.

    Raises:
      ValueError: if the numbers of steps are not whole, 0 <= warmup_steps <=
        total_steps and total_steps >= 1.
      TypeError: if they are not numbers.

    Examples:
      >>> schedule = warmup_linear_decay_schedule(2e-5, 10, 100)
      >>> [f"{schedule(step):.2e}" for step in (0, 5, 10, 55, 100)]
      ['0.00e+00', '1.00e-05', '2.00e-05', '1.00e-05', '0.00e+00']

    References:
      Mosbach et al., `On the Stability of Fine-tuning BERT
      <https://arxiv.org/abs/2006.04884>`_, 2020
    """
    _check_steps(warmup_steps, total_steps)
    warmup = _warmup(peak_value, warmup_steps)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        left = jnp.maximum(total_steps - jnp.asarray(step), 0)
        # A decay over no steps is at its end at once.
        falling = jnp.asarray(total_steps) - jnp.asarray(warmup_steps)
        decay = peak_value * (left / jnp.maximum(falling, 1))
        return jnp.where(jnp.asarray(step) < warmup_steps, warmup(step), decay)

    return schedule


def bert_linear_decay_schedule(
    peak_value: jax.typing.ArrayLike,
    warmup_steps: jax.typing.ArrayLike,
    total_steps: jax.typing.ArrayLike,
) -> optax.Schedule:
    r"""BERT's original schedule: the decay is counted from step 0, and jumps in.

    The original code computes a linear decay from the first step on and overwrites
    its first :math:`W` steps with the warm-up:

    .. math::
      \eta_t = \eta_{\max} \cdot
      \begin{cases}
        t / W, & t < W \\
        1 - t / T, & W \leq t < T \\
        0, & t \geq T
      \end{cases}

    With 100 steps of warm-up of 1,000 the learning rate therefore climbs to 0.99 of the
    peak and drops to 0.9 of it in one step. :func:`warmup_linear_decay_schedule` is the
    same without the drop.

    Args:
      peak_value: the learning rate towards which the warm-up climbs.
      warmup_steps: number of steps of the warm-up; BERT takes
        ``int(0.1 * total_steps)``. 0 for none.
      total_steps: number of steps of the whole training, warm-up included. All three
        may be traced: programs for other rates or lengths are then the same.

    Returns:
      A function from the step (an int, or an integer array of any shape) to the
      learning rate.

    Raises:
      ValueError: if the numbers of steps are not whole, 0 <= warmup_steps <=
        total_steps and total_steps >= 1.
      TypeError: if they are not numbers.

    Examples:
      >>> schedule = bert_linear_decay_schedule(2e-5, 10, 100)
      >>> [f"{schedule(step):.2e}" for step in (0, 9, 10, 55, 100)]
      ['0.00e+00', '1.80e-05', '1.80e-05', '9.00e-06', '0.00e+00']

    References:
      Devlin et al., `BERT <https://arxiv.org/abs/1810.04805>`_, 2019, with
      `its optimizer <https://github.com/google-research/bert>`_
    """
    _check_steps(warmup_steps, total_steps)
    warmup = _warmup(peak_value, warmup_steps)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        left = jnp.maximum(total_steps - jnp.asarray(step), 0)
        decay = peak_value * (left / jnp.asarray(total_steps))
        return jnp.where(jnp.asarray(step) < warmup_steps, warmup(step), decay)

    return schedule


def _warmup(
    peak_value: jax.typing.ArrayLike, warmup_steps: jax.typing.ArrayLike
) -> optax.Schedule:
    # Of no steps it is never looked at, but is to be no NaN.
    return lambda step: peak_value * (jnp.asarray(step) / jnp.maximum(warmup_steps, 1))


def _check_steps(
    warmup_steps: jax.typing.ArrayLike, total_steps: jax.typing.ArrayLike
) -> None:
    accepted = "a whole number of steps, not a share"
    warmup, total = (
        known_number(argument, value, accepted)
        for argument, value in (
            ("warmup_steps", warmup_steps),
            ("total_steps", total_steps),
        )
    )
    for argument, number in (("warmup_steps", warmup), ("total_steps", total)):
        # One that is traced cannot be known.
        if number is not None and not number.is_integer():
            raise ValueError(f"{argument} must be {accepted}, got {number:g}")
    if total is not None and total < 1:
        raise ValueError(f"total_steps must be at least 1, got {total:g}")
    if warmup is not None and (warmup < 0 or (total is not None and warmup > total)):
        raise ValueError(
            "warmup_steps must lie between 0 and total_steps "
            f"({total_steps}), got {warmup_steps}"
        )
