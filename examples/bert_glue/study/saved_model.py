"""A trained model that is used as it is: to answer, and to be scored."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.data.batching import Data
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, Examples, Task
from bert_glue.data.load import Reading, usual_metric
from bert_glue.data.metrics import METRICS, check_metric
from bert_glue.data.tables import listed
from bert_glue.data.tokenization import Encoded
from bert_glue.model import checkpoint as checkpoints
from bert_glue.model.checkpoint import Checkpoint
from bert_glue.model.config import EncoderConfig
from bert_glue.records.run_store import Record
from bert_glue.training import subjects
from bert_glue.training.evaluation import Evaluator, Params
from bert_glue.training.subjects import Subject

RUN = "run.json"
"""File beside a saved model that says which run it is and what it learnt."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model with all of its parameters.

    Attributes:
      task: what it learnt.
      config: sizes of the model.
      folder: folder of its tokenizer.
      params: parameters, without a seed axis.
      max_length: most tokens of an example.
      dtype: name of what is computed in.
    """

    task: Task
    config: EncoderConfig
    folder: pathlib.Path
    params: Params
    max_length: int
    dtype: str = "float32"

    @classmethod
    def of_run(cls, subject: Subject, params: Params) -> "Classifier":
        """What a run made of a subject."""
        return cls(
            subject.task,
            subject.config,
            subject.folder,
            params,
            subject.max_length,
            subject.dtype,
        )

    def encode(self, examples: Examples) -> Encoded:
        """Tokenises examples, with labels or without."""
        tokenizer = subjects.load_tokenizer(self.folder, self.config)
        return subjects.encode(examples, tokenizer, self.config, self.max_length)

    def logits(self, data: Data) -> NDArray[np.float32]:
        """Computes the outputs for examples, of shape (examples, outputs)."""
        forward = subjects.make_forward(self.config, self.task.num_labels, self.dtype)
        with_axis = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], self.params)
        return Evaluator(forward, data)(with_axis)[0]


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """A checkpoint, and what is known of the task that it was trained for.

    Attributes:
      name: what the user called it.
      checkpoint: its content.
      about: what :func:`describe` said of it; empty if another program saved it.
    """

    name: str
    checkpoint: Checkpoint
    about: Mapping[str, Any]

    @property
    def task_name(self) -> str:
        """What the task was called that it was trained for, if that is known."""
        return str(self.about.get("task") or "custom")

    def task(self, reading: Reading) -> Task:
        """The model's own task.

        Classes and the kind of labels are those of the checkpoint's config.json; names
        that transformers gives where there are none, such as LABEL_0, are read as 0.

        Args:
          reading: what the user says of columns and of the metric, if anything.

        Returns:
          The task, whose texts and label are empty where nobody named their columns.

        Raises:
          ValueError: if the metric does not fit the labels.
        """
        names = self.checkpoint.labels
        problem = self.checkpoint.problem_type
        if all(name.removeprefix("LABEL_").isdecimal() for name in names):
            names = tuple(name.removeprefix("LABEL_") for name in names)
        classes = () if problem == REGRESSION else names
        metric, positive = reading.metric, reading.positive_class
        if metric is None:
            metric = str(self.about.get("metric") or usual_metric(problem))
            positive = positive or self.about.get("positive_class")
        check_metric(metric, problem, classes, positive)
        return Task(
            self.task_name,
            tuple(reading.text_columns or self.about.get("texts") or ()),
            classes,
            metric,
            label=str(reading.label_column or self.about.get("label") or ""),
            is_multi_label=problem == MULTI_LABEL,
            positive=classes.index(positive) if positive else 1,
        )

    def classifier(
        self, task: Task, max_length: int | None = None, dtype: str = "float32"
    ) -> Classifier:
        """The model, its outputs in the order of a task's classes.

        Args:
          task: its own or one with the same classes.
          max_length: most tokens of an example; by default as it was trained.
          dtype: name of what is computed in.

        Returns:
          The classifier.

        Raises:
          ValueError: if the model has no classifier for these classes, or takes no
            examples of this length.
        """
        config = self.checkpoint.config
        max_length = max_length or self.about.get("max_length")
        shapes = subjects.parameter_shapes(config, task.num_labels)
        loaded = checkpoints.fill(self.checkpoint, shapes, task.labels)
        if loaded.initialised:
            raise ValueError(
                f"{self.name} has no classifier that was trained for "
                f"{listed(task.labels) or 'numbers'}, but is a "
                f"{' or '.join(self.checkpoint.architectures) or 'model without name'} "
                f"whose labels are {listed(self.checkpoint.labels)}; to train it, name "
                "--task or --train-file, without --evaluate"
            )
        return Classifier(
            task,
            config,
            self.checkpoint.folder,
            loaded.params,
            subjects.check_length(max_length, config, self.checkpoint.folder),
            dtype,
        )


def describe(subject: Subject, record: Record) -> dict[str, Any]:
    """What is worth knowing of a saved run, beside what its config.json says.

    Args:
      subject: model and task.
      record: the record of the run.

    Returns:
      What JSON can hold.
    """
    task = subject.task
    positive = task.labels[task.positive] if task.positive < task.num_labels else None
    return {
        "run": record["run"],
        "score": record["score"],
        "task": task.name,
        "texts": list(task.texts),
        "label": task.label,
        "metric": task.metric,
        "positive_class": positive if METRICS[task.metric].of_one_class else None,
        "max_length": subject.max_length,
    }


def read(model: str | pathlib.Path) -> SavedModel:
    """Reads a model.

    Args:
      model: folder of a checkpoint, or its name on the hub.

    Returns:
      The model.

    Raises:
      ValueError: if it cannot be read, or what lies beside it is not as it is written.
    """
    checkpoint = checkpoints.read(model)
    path = checkpoint.folder / RUN
    about: Any = {}
    if path.is_file():
        try:
            about = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: no JSON ({error})") from error
    return SavedModel(str(model), checkpoint, about if isinstance(about, dict) else {})
