"""The line that is recorded of a finished run."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_glue.records.run_store import Record
from bert_glue.study.configuration import Configuration
from bert_glue.study.run_group import GroupResult
from bert_glue.training.trainer import Trainer


def make_records(
    configuration: Configuration,
    trainers: Sequence[Trainer],
    result: GroupResult,
    surroundings: Mapping[str, Any],
) -> list[Record]:
    """The records of a group's runs.

    Args:
      configuration: what was trained.
      trainers: what trained it.
      result: what became of the group.
      surroundings: versions, hardware and commit.

    Returns:
      A record for each run, in their order.
    """
    subject, mesh = configuration.subject, trainers[0].placement.name
    released = subject.task.failed_below
    common = {
        "steps": sum(trainer.steps for trainer in trainers),
        "seconds": result.seconds / len(result.outcomes),
        "group_size": len(result.outcomes),
        "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
        **surroundings,
        "hardware": surroundings["hardware"] | ({"mesh": mesh} if mesh else {}),
    }
    return [
        {
            "run": configuration.run(seed := outcome.seed),
            "configuration": configuration.name,
            **configuration.fields,
            "seed": seed.init if seed.init == seed.data else seed.name,
            "init_seed": seed.init,
            "data_seed": seed.data,
            "score": outcome.score,
            "failed": outcome.diverged_at is not None
            or _has_failed(outcome.score, subject.majority_score),
            "failed_released": None
            if released is None
            else _has_failed(outcome.score, released),
            "train_loss": outcome.train_loss,
            "diverged_at": outcome.diverged_at,
            "history": outcome.history,
            **common,
        }
        for outcome in result.outcomes
    ]


def _has_failed(score: float, limit: float) -> bool:
    # Equal to the limit is not better, however it was rounded on its way.
    return bool(score <= limit or np.isclose(score, limit, rtol=1e-6, atol=0))
