"""A configuration: a model, a task and a method."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bert_glue.data.examples import MULTI_LABEL
from bert_glue.data.metrics import METRICS
from bert_glue.records.files import identity
from bert_glue.records.run_store import Record
from bert_glue.training import outputs
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed
from bert_glue.training.stages import make_stages
from bert_glue.training.subjects import Subject
from cwgnc_jax import unfreezing_groups


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
        subject = self.subject
        problem = subject.task.problem_type
        files = dict(zip(("train", "evaluation"), subject.files, strict=False))
        return self._deciding() | {
            **({"held_out": subject.held_out} if subject.held_out else {}),
            "label": self.recipe.label,
            "model": self.model,
            **({"files": files} if files else {}),
            "classes": list(subject.task.labels),
            **({"problem_type": problem} if problem == MULTI_LABEL else {}),
            "train_examples": len(subject.train.lengths),
            "eval_examples": len(subject.evaluation.lengths),
            "majority_score": subject.majority_score,
            "constant_score": subject.constant_score,
            "constant_loss": subject.loss(self.recipe).constant(
                np.asarray(subject.train.labels), subject.task.num_labels
            ),
            "truncation": {
                "share": subject.truncated_share,
                "longest": subject.longest,
            },
        }

    @property
    def name(self) -> str:
        """Short name, which changes with everything that decides a result."""
        return identity(self._deciding())

    def run(self, seed: Seed) -> str:
        """Name of a run of this configuration."""
        return f"{self.subject.task.name}-{self.recipe.name}-{self.name}-{seed.name}"

    def check(self) -> None:
        """Checks what a recipe alone cannot: that model and examples are large enough.

        Raises:
          ValueError: if it has more stages, or draws more layers anew, than the model
            has layers, a batch would hold more examples than there are, the warm-up be
            longer than the training, the loss have settings that labels do not, or
            attention be computed by what is not there.
        """
        self.subject.loss(self.recipe)
        if self.recipe.attention == "cudnn" and (
            jax.default_backend() != "gpu" or self.subject.dtype == "float32"
        ):
            raise ValueError(
                f"attention is cudnn in the method {self.recipe.name}, which needs a "
                f"GPU and --dtype bfloat16; here are {jax.default_backend()} and "
                f"{self.subject.dtype}"
            )
        stages = make_stages(self.recipe, self.subject.shapes)
        if count := self.recipe.reinit_layers:
            layers = unfreezing_groups(self.subject.shapes).stages
            if count > layers:
                raise ValueError(
                    f"reinit_layers is {count} in the method {self.recipe.name}; "
                    f"accepted is 0 to {layers}, one for each layer of the model"
                )
        size, examples = self.recipe.batch_size, len(self.subject.train.lengths)
        if size > examples:
            raise ValueError(
                f"batch_size is {size} in the method {self.recipe.name}, but there are "
                f"{examples} examples to train on; accepted is 1 to {examples}"
            )
        steps = self.recipe.steps(math.ceil(examples / size))
        self.recipe.numbers(steps, len(stages))

    def score(self, logits: np.ndarray) -> float:
        """Score in per cent of the evaluation examples' logits."""
        subject = self.subject
        return outputs.score(subject.task, logits, subject.evaluation.labels)

    def _deciding(self) -> dict[str, Any]:
        subject, task = self.subject, self.subject.task
        is_one_class = METRICS[task.metric].of_one_class
        # Recorded of the second of two classes alone, names stay as they were.
        is_unusual = is_one_class and (task.positive != 1 or task.num_labels != 2)
        return {
            "task": subject.task.name,
            "metric": subject.task.metric,
            **({"positive_class": task.labels[task.positive]} if is_unusual else {}),
            "method": self.recipe.name,
            **self.recipe.settings(),
            "max_length": subject.max_length,
            "dtype": subject.dtype,
            "model_fingerprint": subject.model_fingerprint,
            "data_fingerprint": subject.data_fingerprint,
        }


class Run(NamedTuple):
    """A run of a study, done or not.

    Attributes:
      configuration: its configuration.
      seed: its seed.
    """

    configuration: Configuration
    seed: Seed

    @property
    def name(self) -> str:
        """Its name in the records."""
        return self.configuration.run(self.seed)


def families(
    configurations: Sequence[Configuration], *, apart: bool
) -> list[list[Configuration]]:
    """Configurations whose runs may lie side by side: they differ in numbers alone.

    Args:
      configurations: any.
      apart: whether to leave each one alone all the same.

    Returns:
      All of them, in the order of the first of each family.
    """
    found: dict[Any, list[Configuration]] = {}
    for each in configurations:
        kind = each if apart else (each.subject, each.recipe.lockstep)
        found.setdefault(kind, []).append(each)
    return [*found.values()]


def runs_of(
    records: Iterable[Record],
    configurations: Sequence[Configuration],
    seeds: Sequence[Seed],
) -> list[Record]:
    """The records of some configurations and seeds, and of nothing else.

    Args:
      records: finished runs.
      configurations: which of them, in their order.
      seeds: likewise.

    Returns:
      Those that there are, configuration by configuration.
    """
    order = {each.name: rank for rank, each in enumerate(configurations)}
    wanted_seeds = set(seeds)
    wanted = [
        run
        for run in records
        if run["configuration"] in order
        and Seed(run["init_seed"], run["data_seed"]) in wanted_seeds
    ]
    return sorted(wanted, key=lambda run: order[run["configuration"]])
