"""Keeps what the components of finished runs did, beside the runs' records."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.devices import processes
from bert_glue.model.bert import layer_components
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.run_store import Record
from bert_glue.study.configuration import Configuration
from bert_glue.study.run_group import GroupResult
from bert_glue.training.trainer import Trainer


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
    number_of = {name: number for number, name in enumerate(names)}
    common: dict[str, NDArray[Any]] = {
        "names": np.array(names),
        "groups": np.array(cwgnc_jax.component_groups(shapes, components)),
        "sizes": cwgnc_jax.component_sizes(shapes, components),
    }
    for stage, trainer in enumerate(trainers):
        trained = [number_of[name] for name in trainer.component_names]
        common[f"trained/{stage}"] = np.array(trained, np.int64)

    def write() -> None:
        for position, run in enumerate(runs):
            recorded = {
                f"recorded/{name}": values[position]
                for name, values in result.recorded.items()
            }
            logs.write(run["run"], common | recorded)

    processes.agree(write)
