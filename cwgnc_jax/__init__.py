"""Component-wise gradient norm clipping for stable fine-tuning in JAX."""

from cwgnc_jax._adaptive import (
    AdaGCState,
    adagc,
    adaptive_clip_by_component_norm,
)
from cwgnc_jax._bert_adam import ScaleByBertAdamState, bert_adamw, scale_by_bert_adam
from cwgnc_jax._clipping import (
    ClipByComponentNormState,
    clip_by_component_norm,
    get_clip_state,
)
from cwgnc_jax._comparisons import (
    Comparison,
    compare_scores,
    compare_spread,
    correct_comparisons,
)
from cwgnc_jax._components import Component, ComponentMap, Split
from cwgnc_jax._diagnostics import (
    component_cosine,
    component_cosine_distance,
    component_rmsd,
    component_sizes,
)
from cwgnc_jax._freezing import carry_opt_state, freeze
from cwgnc_jax._groups import UnfreezingGroups, unfreezing_groups
from cwgnc_jax._layout import component_names, describe_components
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
from cwgnc_jax._significance import holm
from cwgnc_jax._stability import (
    RELEASED_FAILED_AT,
    FailedRuns,
    Interval,
    RunSummary,
    std_interval,
    summarize_runs,
    wilson_interval,
)
from cwgnc_jax._summaries import (
    clip_rate,
    component_groups,
    convergence_racing,
    extremes_by_group,
)
from cwgnc_jax._thresholds import MaxNorm
from cwgnc_jax._unfreezing import (
    SplitParams,
    UnfreezingStage,
    gradual_unfreezing,
    join_params,
    split_params,
    unfreezing_labels,
)

__all__ = [
    "AdaGCState",
    "adagc",
    "adaptive_clip_by_component_norm",
    "ClipByComponentNormState",
    "Comparison",
    "Component",
    "ComponentMap",
    "FailedRuns",
    "Interval",
    "MaxNorm",
    "RELEASED_FAILED_AT",
    "RunSummary",
    "ScaleByBertAdamState",
    "Split",
    "SplitParams",
    "UnfreezingGroups",
    "UnfreezingStage",
    "bert_adamw",
    "bert_linear_decay_schedule",
    "by_layer",
    "by_leaf",
    "by_module",
    "by_rules",
    "carry_opt_state",
    "clip_by_component_norm",
    "clip_rate",
    "compare_scores",
    "compare_spread",
    "component_cosine",
    "component_cosine_distance",
    "component_groups",
    "component_names",
    "component_norms",
    "component_rmsd",
    "component_sizes",
    "convergence_racing",
    "describe_components",
    "correct_comparisons",
    "cwgnc_adamw",
    "decay_mask",
    "extremes_by_group",
    "freeze",
    "fused",
    "get_clip_state",
    "gradual_unfreezing",
    "holm",
    "join_params",
    "mixout",
    "scale_by_bert_adam",
    "split_params",
    "stacked",
    "std_interval",
    "summarize_runs",
    "unfreezing_groups",
    "unfreezing_labels",
    "warmup_linear_decay_schedule",
    "whole_tree",
    "wilson_interval",
]
