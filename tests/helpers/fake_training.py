"""Studies whose runs are not trained: their scores come from a function."""

from collections.abc import Callable

import pytest
from bert_glue.study.configuration import Configuration
from bert_glue.study.progress import Progress
from bert_glue.study.study import Study
from bert_glue.training.seeds import Seed

Score = Callable[[Configuration, Seed], float]


def replace_training(patch: pytest.MonkeyPatch, score: Score) -> list[str]:
    """Makes every run take no time.

    Args:
      patch: undoes it.
      score: of a run, in per cent; it fails if that is not above a constant answer's.

    Returns:
      A list to which the names of the runs are added as they are done.
    """
    done: list[str] = []

    def record(configuration: Configuration, seed: Seed) -> dict:
        value = score(configuration, seed)
        return {
            "run": configuration.run(seed),
            "configuration": configuration.name,
            **configuration.fields,
            "seed": seed.init,
            "init_seed": seed.init,
            "data_seed": seed.data,
            "score": value,
            "history": [{"step": 8, "epoch": 1, "score": value, "train_loss": 0.1}],
            "predicted": {"0": 10, "1": 11},
            "diverged_at": None,
            "train_loss": 0.1,
            "steps": 8,
            "seconds": 1.0,
            "group_size": 1,
            "failed": False,
            "failed_majority": False,
            "failed_released": None,
            "finished": "2026-01-01T00:00:00+00:00",
            "versions": {},
            "hardware": {},
            "commit": "0" * 40,
        }

    def run(self: Study, progress: Progress) -> None:
        for configuration in self.configurations:
            for seed in self.missing(configuration):
                self.records.append([record(configuration, seed)])
                done.append(configuration.run(seed))
                progress.finish(1)

    patch.setattr(Study, "run", run)
    return done


def kill_after(patch: pytest.MonkeyPatch, count: int, score: Score) -> list[str]:
    """The same, until so many runs are done: the next one is interrupted.

    Args:
      patch: undoes it.
      count: of the runs.
      score: of a run, in per cent.

    Returns:
      A list to which the names of the runs are added as they are done.
    """

    def killed(configuration: Configuration, seed: Seed) -> float:
        if len(done) >= count:
            raise KeyboardInterrupt
        return score(configuration, seed)

    done = replace_training(patch, killed)
    return done
