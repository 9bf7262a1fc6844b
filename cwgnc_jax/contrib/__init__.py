"""Methods of others on the same components, to compare with."""

from cwgnc_jax.contrib._adagc import AdaGCState, adagc
from cwgnc_jax.contrib._agc import adaptive_clip_by_component_norm
from cwgnc_jax.contrib._bert_adam import (
    ScaleByBertAdamState,
    bert_adamw,
    scale_by_bert_adam,
)
from cwgnc_jax.contrib._mixout import mixout
from cwgnc_jax.contrib._schedules import (
    bert_linear_decay_schedule,
    warmup_linear_decay_schedule,
)

__all__ = [
    "AdaGCState",
    "ScaleByBertAdamState",
    "adagc",
    "adaptive_clip_by_component_norm",
    "bert_adamw",
    "bert_linear_decay_schedule",
    "mixout",
    "scale_by_bert_adam",
    "warmup_linear_decay_schedule",
]
