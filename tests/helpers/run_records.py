"""Records of runs that nobody did, for tests of what is made of records."""

from typing import Any

from bert_glue.records import failures
from bert_glue.records.files import identity
from bert_glue.training.methods import parse_methods

SIZES = {"rte": (2490, 277), "mrpc": (3668, 408), "cola": (8551, 1043)}
METRICS = {"rte": "accuracy", "mrpc": "f1", "cola": "matthews"}
MAJORITY = {"rte": 52.7, "mrpc": 81.2, "cola": 0.0}
RELEASED = {"rte": 53.0, "mrpc": 75.0, "cola": 0.0}


def run(
    method: str,
    seed: int,
    score: float,
    *,
    task: str = "cola",
    data_seed: int | None = None,
    diverged_at: int | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The record of a run: by default of the paper's own setting.

    Args:
      method: as on the command line.
      seed: seed of the run.
      score: its score in per cent.
      task: a task of the paper.
      data_seed: its data seed; the same as the seed by default.
      diverged_at: step at which it diverged.
      **changes: other fields.
    """
    recipe = parse_methods(method)[0]
    train, scored = SIZES[task]
    decided = {
        "task": task,
        "metric": METRICS[task],
        "method": recipe.name,
        **recipe.settings(),
        "max_length": 128,
        "dtype": "float32",
        "model_fingerprint": "0123456789ab",
        "data_fingerprint": f"data-{task}",
    }
    decided |= {name: value for name, value in changes.items() if name in decided}
    data_seed = seed if data_seed is None else data_seed
    name = f"{seed}" if seed == data_seed else f"{seed}-{data_seed}"
    diverged = diverged_at is not None
    loss = None if diverged else 0.3
    record = {
        "format": 1,
        "run": f"{task}-{recipe.name}-{identity(decided)}-{name}",
        "configuration": identity(decided),
        **decided,
        "label": recipe.label,
        "model": "bert-large-uncased",
        "train_examples": train,
        "eval_examples": scored,
        "majority_score": MAJORITY[task],
        "seed": seed if seed == data_seed else name,
        "init_seed": seed,
        "data_seed": data_seed,
        "score": score,
        "failed": diverged or score <= MAJORITY[task],
        "failed_released": score <= RELEASED[task],
        "train_loss": loss,
        "steps": 200,
        "seconds": 12.5,
        "group_size": 1,
        "diverged_at": diverged_at,
        "history": [
            {"step": 100, "epoch": 1, "score": score / 2, "train_loss": 0.6},
            {"step": 200, "epoch": 2, "score": score, "train_loss": loss},
        ],
        "finished": "2022-12-07T12:00:00+00:00",
        "versions": {"jax": "0.10"},
        "hardware": {"platform": "cpu"},
        "commit": "0123456789abcdef",
    } | changes
    failures.recount(record)
    return record


CWGNC = [62.0, 61.0, 63.5, 62.4, 60.9, 62.2, 61.7]
ADAMW = [59.0, 0.0, 63.9, 58.2, 57.0, 61.0, -2.5]
MRPC = {"cwgnc": [90.0, 91.0, 90.5], "adamw": [89.0, 81.2, 91.04]}

RUNS = [
    *(run("cwgnc", seed, score) for seed, score in enumerate(CWGNC)),
    *(run("adamw", seed, score) for seed, score in enumerate(ADAMW[:-1])),
    run("adamw", 6, ADAMW[-1], diverged_at=137),
    *(
        run(method, seed, score, task="mrpc", model="models/<b>tiny & small</b>")
        for method, scores in MRPC.items()
        for seed, score in enumerate(scores)
    ),
]
