"""How far components moved: what is measured of the parameters after each stage."""

import jax

import cwgnc_jax
from bert_glue.model.bert import layer_components
from bert_glue.training.evaluation import Params

_MEASURES = {
    "rmsd": cwgnc_jax.component_rmsd,
    "cosine_distance": cwgnc_jax.component_cosine_distance,
}


@jax.jit
@jax.vmap
def measure(now: Params, initial: Params, before: Params) -> dict[str, jax.Array]:
    """How far each component of each seed has moved.

    Args:
      now: parameters, with a leading seed axis, as all arguments.
      initial: what they were before the run.
      before: what they were before the stage.

    Returns:
      Root-mean-square difference and cosine distance from either, float32 of shape
      (seeds, components): 'rmsd_from_initial', 'cosine_distance_from_before' ...
    """
    return {
        f"{name}_from_{reference}": distance(now, params, layer_components())
        for name, distance in _MEASURES.items()
        for reference, params in (("initial", initial), ("before", before))
    }
