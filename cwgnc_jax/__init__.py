"""Component-wise gradient norm clipping for stable fine-tuning in JAX.

Imported by name: :mod:`cwgnc_jax.contrib` (methods of others, to compare with),
:mod:`cwgnc_jax.stability` (statistics of many runs), :mod:`cwgnc_jax.plotting`.
"""

from cwgnc_jax._clip import (
    ClipByComponentNormState,
    ComponentRecord,
    clip_by_component_norm,
    component_record,
    get_clip_state,
)
from cwgnc_jax._diagnostics import (
    clip_rate,
    component_cosine_distance,
    component_groups,
    component_rmsd,
    component_scalars,
    component_sizes,
    convergence_racing,
    extremes_by_group,
)
from cwgnc_jax._optimizers import cwgnc_adamw, decay_mask
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
from cwgnc_jax.components._paths import leaves_with_paths
from cwgnc_jax.unfreezing._carry import carry_opt_state
from cwgnc_jax.unfreezing._groups import UnfreezingGroups, unfreezing_groups
from cwgnc_jax.unfreezing._labels import (
    freeze,
    partition_by_path,
    unfreezing_labels,
)
from cwgnc_jax.unfreezing._split import SplitParams, join_params, split_params
from cwgnc_jax.unfreezing._stages import UnfreezingStage, gradual_unfreezing

__version__ = "0.1.0"

__all__ = [
    "ClipByComponentNormState",
    "Component",
    "ComponentMap",
    "ComponentRecord",
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
    "component_cosine_distance",
    "component_groups",
    "component_names",
    "component_norms",
    "component_record",
    "component_rmsd",
    "component_scalars",
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
    "leaves_with_paths",
    "partition_by_path",
    "split_params",
    "stacked",
    "unfreezing_groups",
    "unfreezing_labels",
    "whole_tree",
]
