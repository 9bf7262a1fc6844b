"""Component-wise gradient norm clipping for stable fine-tuning in JAX.

Imported by name: :mod:`cwgnc_jax.contrib` (methods of others, to compare with),
:mod:`cwgnc_jax.stability` (statistics of many runs), :mod:`cwgnc_jax.plotting`.
"""

from cwgnc_jax._clip import (
    ClipByComponentNormState,
    clip_by_component_norm,
    get_clip_state,
)
from cwgnc_jax._diagnostics import (
    component_cosine,
    component_cosine_distance,
    component_rmsd,
    component_sizes,
)
from cwgnc_jax._optimizers import cwgnc_adamw, decay_mask
from cwgnc_jax._summaries import (
    clip_rate,
    component_groups,
    convergence_racing,
    extremes_by_group,
)
from cwgnc_jax._thresholds import MaxNorm
from cwgnc_jax.components._component import Component, ComponentMap, Split
from cwgnc_jax.components._layout import component_names, describe_components
from cwgnc_jax.components._maps import (
    by_layer,
    by_leaf,
    by_module,
    by_rules,
    fused,
    stacked,
    whole_tree,
)
from cwgnc_jax.components._norms import component_norms
from cwgnc_jax.unfreezing._groups import UnfreezingGroups, unfreezing_groups
from cwgnc_jax.unfreezing._labels import carry_opt_state, freeze
from cwgnc_jax.unfreezing._stages import (
    SplitParams,
    UnfreezingStage,
    gradual_unfreezing,
    join_params,
    split_params,
    unfreezing_labels,
)

__all__ = [
    "ClipByComponentNormState",
    "Component",
    "ComponentMap",
    "MaxNorm",
    "Split",
    "SplitParams",
    "UnfreezingGroups",
    "UnfreezingStage",
    "by_layer",
    "by_leaf",
    "by_module",
    "by_rules",
    "carry_opt_state",
    "clip_by_component_norm",
    "clip_rate",
    "component_cosine",
    "component_cosine_distance",
    "component_groups",
    "component_names",
    "component_norms",
    "component_rmsd",
    "component_sizes",
    "convergence_racing",
    "cwgnc_adamw",
    "decay_mask",
    "describe_components",
    "extremes_by_group",
    "freeze",
    "fused",
    "get_clip_state",
    "gradual_unfreezing",
    "join_params",
    "split_params",
    "stacked",
    "unfreezing_groups",
    "unfreezing_labels",
    "whole_tree",
]
