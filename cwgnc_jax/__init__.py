"""Component-wise gradient norm clipping for stable fine-tuning in JAX."""

from cwgnc_jax._clipping import (
    ClipByComponentNormState,
    clip_by_component_norm,
    get_clip_state,
)
from cwgnc_jax._components import Component, ComponentMap, Split
from cwgnc_jax._layout import component_names
from cwgnc_jax._maps import (
    by_layer,
    by_leaf,
    by_module,
    by_rules,
    fused,
    stacked,
    whole_tree,
)
from cwgnc_jax._mixout import mixout
from cwgnc_jax._norms import component_norms
from cwgnc_jax._optimizers import cwgnc_adamw, decay_mask
from cwgnc_jax._schedules import (
    bert_linear_decay_schedule,
    warmup_linear_decay_schedule,
)
from cwgnc_jax._thresholds import MaxNorm

__all__ = [
    "ClipByComponentNormState",
    "Component",
    "ComponentMap",
    "MaxNorm",
    "Split",
    "bert_linear_decay_schedule",
    "by_layer",
    "by_leaf",
    "by_module",
    "by_rules",
    "clip_by_component_norm",
    "component_names",
    "component_norms",
    "cwgnc_adamw",
    "fused",
    "get_clip_state",
    "mixout",
    "stacked",
    "warmup_linear_decay_schedule",
    "decay_mask",
    "whole_tree",
]
