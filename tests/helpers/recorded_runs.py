"""Output directories with runs and logs that nobody has trained."""

import pathlib

import jax.numpy as jnp
import numpy as np
from bert_glue.model.components import layer_components
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.run_store import RunStore

import cwgnc_jax

LAYERS = 3


def shapes(layers=LAYERS):
    """Parameters of a model with a stack of layers."""
    dense = {"kernel": jnp.ones((layers, 4, 4)), "bias": jnp.ones((layers, 4))}
    return {
        "embeddings": {"word": {"embedding": jnp.ones((9, 4))}},
        "encoder": {"layers": {"query": dense, "key": dense}},
        "classifier": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
    }


def settings(method="devlin", **changed):
    """What a record holds of its configuration."""
    return {
        "configuration": f"c-{method}",
        "label": method,
        "method": method,
        "task": "made-up",
        "metric": "matthews",
        "majority_score": 0.0,
        "model_fingerprint": "m",
        "data_fingerprint": "d",
        "max_length": 16,
        "dtype": "float32",
        "clipping": "global",
        "max_norm": 1.0,
        "train_examples": 10,
        **changed,
    }


def write(
    folder: pathlib.Path,
    scores,
    method="devlin",
    *,
    trained=None,
    steps=4,
    arrays=lambda seed, name, shape: np.ones(shape, np.float32),
    **changed,
) -> list[str]:
    """Adds a run for each score; one that is not above 0 failed.

    ``trained`` are the numbers of the components of each stage, by default all in one
    stage; ``arrays`` makes the contents.
    """
    folder.mkdir(exist_ok=True)
    params = shapes()
    names = cwgnc_jax.component_names(params, layer_components())
    trained = trained or [range(len(names))]
    common = settings(method, **changed)
    records, logs = [], ComponentLogs(folder)
    components = {
        "names": np.array(names),
        "groups": np.array(cwgnc_jax.component_groups(params, layer_components())),
        "sizes": cwgnc_jax.component_sizes(params, layer_components()),
    } | {f"trained/{stage}": np.array(each) for stage, each in enumerate(trained)}
    for seed, by_stage in enumerate(scores):
        by_stage = np.atleast_1d(by_stage)
        history = [
            {"step": steps * (stage + 1), "score": float(score)}
            | ({"stage": stage} if len(trained) > 1 else {})
            for stage, score in enumerate(by_stage)
        ]
        records.append(
            {
                "run": f"made-up-{common['configuration']}-{seed}",
                **common,
                "seed": seed,
                "init_seed": seed,
                "data_seed": seed,
                "score": float(by_stage[-1]),
                "failed": bool(by_stage[-1] <= 0),
                "failed_released": None,
                "diverged_at": None,
                "history": history,
            }
        )
        shapes_of = {"losses": (steps * len(trained),)}
        for stage, members in enumerate(trained):
            for name in ("norms", "scales"):
                shapes_of[f"{name}/{stage}"] = (steps, len(members))
            for name in ("rmsd", "cosine_distance"):
                for reference in ("initial", "before"):
                    shapes_of[f"{name}_from_{reference}/{stage}"] = (len(names),)
        recorded = {
            f"recorded/{name}": np.ones(shape, np.float32)
            if name == "losses"
            else arrays(seed, name, shape)
            for name, shape in shapes_of.items()
        }
        logs.write(records[-1]["run"], components | recorded)
    RunStore(folder).append(records)
    return [record["run"] for record in records]
