"""What is recorded of finished runs: a line of each, and what its components did."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import cwgnc_jax
from bert_glue.model.components import layer_components
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.failures import failure
from bert_glue.records.run_store import Record
from bert_glue.study.configuration import Configuration
from bert_glue.study.run_group import GroupResult
from bert_glue.training.trainer import Trainer
from cwgnc_jax.stability import has_failed


def make_records(
    configurations: Sequence[Configuration],
    trainers: Sequence[Trainer],
    result: GroupResult,
    surroundings: Mapping[str, Any],
) -> list[Record]:
    """The records of a group's runs.

    Args:
      configurations: what was trained, of each run.
      trainers: what trained them.
      result: what became of the group.
      surroundings: versions, hardware and commit.

    Returns:
      A record for each run, in their order.
    """
    subject, mesh = configurations[0].subject, trainers[0].placement.name
    classes, released = subject.task.labels, subject.task.failed_below
    common = {
        "seconds": result.seconds / len(result.outcomes),
        "group_size": len(result.outcomes),
        "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
        **surroundings,
        "hardware": surroundings["hardware"] | ({"mesh": mesh} if mesh else {}),
    }
    records = []
    for configuration, outcome in zip(configurations, result.outcomes, strict=True):
        seed, score, counts = outcome.seed, outcome.score, outcome.predicted
        steps = sum(trainer.steps for trainer in trainers)
        if configuration.recipe.patience:
            steps = outcome.history[-1]["step"]
        is_below = has_failed(score, subject.majority_score)
        record = {
            "run": configuration.run(seed),
            "configuration": configuration.name,
            **configuration.fields,
            **vars(outcome),
            "seed": seed.init if seed.init == seed.data else seed.name,
            "init_seed": seed.init,
            "data_seed": seed.data,
            "steps": steps,
            "predicted": counts and dict(zip(classes, counts, strict=True)),
            "failed_majority": outcome.diverged_at is not None or is_below,
            "failed_released": None
            if released is None
            else has_failed(score, released),
            **common,
        }
        record["failed"] = bool(failure(record))
        records.append(record)
    return records


def keep_components(
    logs: ComponentLogs,
    configuration: Configuration,
    runs: Sequence[Record],
    trainers: Sequence[Trainer],
    result: GroupResult,
) -> None:
    """Writes the logs of finished runs, each whole or not at all.

    Of several processes the first writes; all must come here.

    Args:
      logs: where they go.
      configuration: their configuration.
      runs: their records.
      trainers: what trained them, recording.
      result: what became of them.

    Raises:
      RecordsError: if they cannot be written.
    """
    shapes, components = configuration.subject.shapes, layer_components()
    names = cwgnc_jax.component_names(shapes, components)
    common = {
        "names": np.array(names),
        "groups": np.array(cwgnc_jax.component_groups(shapes, components)),
        "sizes": cwgnc_jax.component_sizes(shapes, components),
    }
    for stage, trainer in enumerate(trainers):
        trained = [names.index(name) for name in trainer.component_names]
        common[f"trained/{stage}"] = np.array(trained, np.int64)

    for row, run in enumerate(runs):
        recorded = {
            f"recorded/{name}": rows[row] for name, rows in result.recorded.items()
        }
        logs.write(run["run"], common | recorded)
