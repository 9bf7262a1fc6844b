"""The paper's optimizer: AdamW behind component-wise gradient norm clipping."""

import re
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clip import clip_by_component_norm
from cwgnc_jax._thresholds import MaxNorm
from cwgnc_jax.components._component import ComponentMap
from cwgnc_jax.components._paths import is_step, leaves_with_paths
from cwgnc_jax.components._shards import Specs

_BIAS = re.compile(r"b|bias|beta|offset|.*_bias")
_NORM = re.compile(
    r".*norm(?!al(?!i[sz])).*|(\w+_)?(ln[a-z]?|bn|gn)(\d+|_\w+)?", re.IGNORECASE
)
_BOXED = re.compile(f"{_BIAS.pattern}|scale|weight|gamma")


def decay_mask(params: optax.Params) -> Any:
    """Marks the parameters that weight decay is for: neither biases nor norms.

    Excluded are scalars and vectors, and by name, because stacked layers turn vectors
    into matrices: what is called ``bias``, ``*_bias``, ``b``, ``beta`` or ``offset``,
    and what is called, or lies directly in a module that is called, something with
    ``norm``, but not ``normal``, in it or ``ln``, ``bn`` or ``gn``, alone, before a
    number or an underscore and more, or behind one (``bn2``, ``ln_final``,
    ``attn_ln``), ``ln`` also before a letter (``lnf``).
    Numbers of a list are passed over: its name is that of its modules. So is a last key
    ``value`` below the name of a bias or below ``scale``, ``weight`` or ``gamma``,
    which restored states of Flax have.

    Args:
      params: parameters, a pytree of arrays.

    Returns:
      A pytree of the same structure of booleans, as ``optax.adamw`` takes for its
      ``mask``.

    Raises:
      ValueError: if it is called with a step instead of parameters, as
        ``optax.inject_hyperparams`` does unless ``mask`` is among its ``static_args``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import decay_mask
      >>> dense = {"kernel": jnp.ones((12, 4, 4)), "bias": jnp.ones((12, 4))}
      >>> norm = {"scale": jnp.ones((12, 4)), "bias": jnp.ones((12, 4))}
      >>> decay_mask({"dense": dense, "layer_norm": norm})
      {'dense': {'bias': False, 'kernel': True},
       'layer_norm': {'bias': False, 'scale': False}}
    """
    if is_step(params):  # Nothing would be decayed, silently.
        raise ValueError(
            "mask: decay_mask was called with an integer instead of parameters; "
            'optax.inject_hyperparams needs static_args with "mask" in it, such as '
            'static_args=("mask", "components", "specs") for cwgnc_adamw, to tell '
            "masks from schedules"
        )
    marks = [
        jnp.ndim(leaf) > 1 and kind_of(path) == "weight"
        for path, leaf in leaves_with_paths(params)
    ]
    return jax.tree.unflatten(jax.tree.structure(params), marks)


def kind_of(path: str) -> Literal["bias", "norm", "weight"]:
    """Whether a path names a bias, another parameter of a normalisation, or neither."""
    *above, name = path.split("/")
    if name == "value" and above and _BOXED.fullmatch(above[-1]):
        *above, name = above
    if _BIAS.fullmatch(name):
        return "bias"
    module = next((key for key in reversed(above) if not key.isdigit()), "")
    is_norm = any(map(_NORM.fullmatch, (module, name)))
    return "norm" if is_norm else "weight"


def keep_state_dtypes(
    tx: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """The same transformation, whose state has the dtypes that it began with.

    Moments begin in the parameters' dtype. Of bfloat16 parameters and float32 gradients
    Optax makes float32 moments, with which no scan can go on.
    """

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, Any]:
        updates, after = tx.update(updates, state, params)
        return updates, optax.tree.cast_like(after, state)

    return optax.GradientTransformation(tx.init, update)


def cwgnc_adamw(
    learning_rate: optax.ScalarOrSchedule,
    max_norm: MaxNorm = 0.05,
    *,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-6,
    eps_root: jax.typing.ArrayLike = 0.0,
    mu_dtype: Any = None,
    weight_decay: float = 0.01,
    mask: Any = None,
    nesterov: bool = False,
    components: ComponentMap | None = None,
    specs: Specs = None,
) -> optax.GradientTransformation:
    """AdamW with component-wise gradient norm clipping: the paper's optimizer.

    It clips the gradient of each component to ``max_norm`` before Adam's moments see
    it, corrects Adam's bias, and decays weights apart from the gradient (times the
    learning rate), biases and normalisation excluded.

    Args:
      learning_rate: a number or a schedule; the paper takes 2e-5 with a warm-up.
      max_norm: largest norm of a component's gradient, or a schedule or rules, as in
        :func:`clip_by_component_norm`.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment. Gradients that were clipped are
        small, so it matters more than elsewhere.
      eps_root: added to the second moment under the root, for derivatives through it.
      mu_dtype: dtype of the first moment; None for the parameters'.
      weight_decay: strength of the decay.
      mask: pytree of booleans, or a function from the parameters to one, that marks
        the parameters to decay; by default :func:`decay_mask`.
      nesterov: whether the first moment looks a step ahead (NAdam).
      components: which component each leaf belongs to; by default each leaf is one.
      specs: inside ``shard_map``, how each leaf is sharded.

    Returns:
      The transformation. :func:`get_clip_state` finds norms and scales in its state.

    Raises:
      ValueError: if a threshold is negative or NaN.

    Notes:
      Moments have the parameters' dtype. Keep parameters in float32 and compute with
      copies in bfloat16: in bfloat16 itself 0.999 is 1, so that the second moment never
      falls and steps become too small, and a weight of 0.02 is too coarse for steps of
      2e-5.

      ``optax.inject_hyperparams`` takes a callable for a schedule of its own, dtypes
      included: name the others,
      ``static_args=("mask", "components", "specs", "mu_dtype")``.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> from cwgnc_jax import cwgnc_adamw
      >>> def loss(params):
      ...     return jnp.sum((params["kernel"] - 3.0) ** 2)
      >>> tx = cwgnc_adamw(learning_rate=0.1)
      >>> params = {"kernel": jnp.zeros((2, 2))}
      >>> opt_state = tx.init(params)
      >>> for _ in range(50):
      ...     updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(loss(params) < 1.0)
      True

    References:
      Yang & Ma, `Improving Stability of Fine-Tuning Pretrained Language Models via
      Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_,
      2022, section 4

      Loshchilov & Hutter, `Decoupled Weight Decay Regularization
      <https://arxiv.org/abs/1711.05101>`_, 2019
    """
    return optax.chain(
        clip_by_component_norm(max_norm, components, specs=specs),
        keep_state_dtypes(
            optax.scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
        ),
        optax.add_decayed_weights(weight_decay, decay_mask if mask is None else mask),
        optax.scale_by_learning_rate(learning_rate),
    )
