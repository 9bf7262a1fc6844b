"""A configuration: a model, a task and a method."""

import dataclasses
from typing import Any

import numpy as np

from bert_glue.data import metrics
from bert_glue.records.files import identity
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Everything that decides a run's result but its seed.

    Attributes:
      subject: model and task.
      model: what the user called the model.
      recipe: the method and its settings.
    """

    subject: Subject
    model: str
    recipe: Recipe

    @property
    def fields(self) -> dict[str, Any]:
        """What is recorded of the configuration."""
        held_out = self.subject.held_out
        return self._deciding() | {
            **({"held_out": held_out} if held_out else {}),
            "label": self.recipe.label,
            "model": self.model,
            "train_examples": len(self.subject.train.lengths),
            "eval_examples": len(self.subject.evaluation.lengths),
            "majority_score": self.subject.majority_score,
        }

    @property
    def name(self) -> str:
        """Short name, which changes with everything that decides a result."""
        return identity(self._deciding())

    def run(self, seed: Seed) -> str:
        """Name of a run of this configuration."""
        return f"{self.subject.task.name}-{self.recipe.name}-{self.name}-{seed.name}"

    def score(self, logits: np.ndarray) -> float:
        """Score in per cent of the evaluation examples' logits."""
        subject = self.subject
        return metrics.score(
            subject.task.metric,
            subject.predictions(logits),
            np.asarray(subject.evaluation.labels),
        )

    def _deciding(self) -> dict[str, Any]:
        subject = self.subject
        return {
            "task": subject.task.name,
            "metric": subject.task.metric,
            "method": self.recipe.name,
            **self.recipe.settings(),
            "max_length": subject.max_length,
            "dtype": subject.dtype,
            "model_fingerprint": subject.model_fingerprint,
            "data_fingerprint": subject.data_fingerprint,
        }
