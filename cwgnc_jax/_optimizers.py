"""The paper's optimizer: AdamW behind component-wise gradient norm clipping."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cwgnc_jax._clipping import clip_by_component_norm
from cwgnc_jax._components import ComponentMap
from cwgnc_jax._paths import flatten_with_paths
from cwgnc_jax._specs import Specs
from cwgnc_jax._thresholds import MaxNorm

_BIAS = re.compile(r"b|bias|beta|offset")
_NORM = re.compile(r".*norm.*|ln(_?\w{1,2})?", re.IGNORECASE)


def decay_mask(params: optax.Params) -> Any:
    """Marks the parameters that weight decay is for: neither biases nor norms.

    Excluded are scalars and vectors, and by name, because stacked layers turn vectors
    into matrices, whatever is called a bias or lies in a module whose name speaks of
    normalisation.

    Args:
      params: parameters, a pytree of arrays.

    Returns:
      A pytree of the same structure of booleans, as ``optax.adamw`` takes for its
      ``mask``.

    Examples:
      >>> import jax.numpy as jnp
      >>> from cwgnc_jax import decay_mask
      >>> dense = {"kernel": jnp.ones((12, 4, 4)), "bias": jnp.ones((12, 4))}
      >>> norm = {"scale": jnp.ones((12, 4)), "bias": jnp.ones((12, 4))}
      >>> decay_mask({"dense": dense, "layer_norm": norm})
      {'dense': {'bias': False, 'kernel': True},
       'layer_norm': {'bias': False, 'scale': False}}
    """

    def is_decayed(path: str, leaf: Any) -> bool:
        keys = path.split("/")
        return (
            jnp.ndim(leaf) > 1
            and not _BIAS.fullmatch(keys[-1])
            and not any(_NORM.fullmatch(key) for key in keys)
        )

    marks = [is_decayed(path, leaf) for path, leaf in flatten_with_paths(params)]
    return jax.tree.unflatten(jax.tree.structure(params), marks)


def cwgnc_adamw(
    learning_rate: optax.ScalarOrSchedule,
    max_norm: MaxNorm = 0.05,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    mask: Any = None,
    components: ComponentMap | None = None,
    *,
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
      weight_decay: strength of the decay.
      mask: pytree of booleans, or a function from the parameters to one, that marks
        the parameters to decay; by default :func:`decay_mask`.
      components: which component each leaf belongs to; by default each leaf is one.
      specs: inside ``shard_map``, how each leaf is sharded.

    Returns:
      The transformation. :func:`get_clip_state` finds norms and scales in its state.

    Raises:
      ValueError: if a threshold is negative or NaN.

    Notes:
      ``optax.inject_hyperparams`` takes a callable for a schedule of its own: name
      the others, ``static_args=("mask", "components", "specs")``.

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
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, decay_mask if mask is None else mask),
        optax.scale_by_learning_rate(learning_rate),
    )
