"""Methods of others on the same components, to compare with."""

from cwgnc_jax.contrib._adagc import AdaGCState, adagc
from cwgnc_jax.contrib._agc import adaptive_clip_by_component_norm
from cwgnc_jax.contrib._autoclip import AutoClipState, autoclip_by_component_norm
from cwgnc_jax.contrib._bert_adam import (
    ScaleByBertAdamState,
    bert_adamw,
    scale_by_bert_adam,
)
from cwgnc_jax.contrib._child_tuning import (
    ChildTuningState,
    child_tuning,
    fisher_mask,
    keep_masked,
)
from cwgnc_jax.contrib._layers import reinitialize_layers, scale_by_layer_decay
from cwgnc_jax.contrib._mixout import mixout
from cwgnc_jax.contrib._noisytune import noisytune
from cwgnc_jax.contrib._pretrained import (
    DecayTowardsPretrainedState,
    decay_towards_pretrained,
)
from cwgnc_jax.contrib._schedules import (
    bert_linear_decay_schedule,
    warmup_linear_decay_schedule,
)

__all__ = [
    "AdaGCState",
    "AutoClipState",
    "ChildTuningState",
    "DecayTowardsPretrainedState",
    "ScaleByBertAdamState",
    "adagc",
    "adaptive_clip_by_component_norm",
    "autoclip_by_component_norm",
    "bert_adamw",
    "bert_linear_decay_schedule",
    "child_tuning",
    "decay_towards_pretrained",
    "fisher_mask",
    "keep_masked",
    "mixout",
    "noisytune",
    "reinitialize_layers",
    "scale_by_bert_adam",
    "scale_by_layer_decay",
    "warmup_linear_decay_schedule",
]
