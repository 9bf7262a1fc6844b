"""A model that is trained already, scored and asked: nothing is trained.

It imports JAX, and is itself imported once the command line is known to be right.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bert_glue.cli import choices
from bert_glue.cli.options import EMBEDDED
from bert_glue.cli.parser import Parser, errors_in_one_line
from bert_glue.cli.study_script import reading, say
from bert_glue.data import load, metrics, tasks
from bert_glue.data.examples import Examples, Task
from bert_glue.data.metrics import METRICS
from bert_glue.data.tables import listed
from bert_glue.data.tokenization import Encoded
from bert_glue.devices import environment
from bert_glue.records.files import RecordsError, replace_file
from bert_glue.report.render import aligned
from bert_glue.study import predictions, saved_model
from bert_glue.study.saved_model import Classifier, SavedModel
from bert_glue.training import outputs


def run(parser: Parser, options: argparse.Namespace) -> int:
    """Scores examples by a saved model, and lets it answer others.

    Args:
      parser: the script's parser.
      options: what :func:`choices.parse` returned.

    Returns:
      The script's exit code.
    """
    with errors_in_one_line(parser, ValueError, RecordsError):
        if not options.no_compilation_cache:
            environment.keep_compiled_programs()
        embedded = options.model == EMBEDDED
        model = saved_model.read(
            choices.embedded_model() if embedded else options.model
        )
        task, to_score = _read_task(options, model)
        classifier = model.classifier(task, options.max_length, options.dtype)
        to_predict = None
        if options.predict is not None:
            to_predict = load.read_further(
                options.predict, task, reading(options), labelled=False
            )
        scored = _Question.of(classifier, to_score)
        asked = _Question.of(classifier, to_predict)
    if scored is not None:
        say(_about(options, task, scored.examples))
        logits = scored.answer()
        say(aligned([*_scores(task, logits, scored.examples)]))
    if asked is not None:
        logits = asked.answer()
        with errors_in_one_line(parser, RecordsError):
            path = write_predictions(options, task, asked.examples, logits)
        say(f"predictions for {options.predict}: {path}")
    return 0


def write_predictions(
    options: argparse.Namespace,
    task: Task,
    examples: Examples,
    logits: NDArray[np.float32],
) -> pathlib.Path:
    """Writes what a model answers to the file that the user wants.

    Args:
      options: the script's options.
      task: what the model learnt.
      examples: what it was asked.
      logits: its outputs.

    Returns:
      The file.

    Raises:
      RecordsError: if it cannot be written.
    """
    path = options.predictions or options.output_dir / predictions.FILE
    rows = predictions.make_rows(examples, task.problem_type, task.labels, logits)
    replace_file(path, predictions.to_text(rows, path.suffix).encode())
    return path


def _read_task(
    options: argparse.Namespace, model: SavedModel
) -> tuple[Task, Examples | None]:
    """What the model is used for, and the examples to score, if any."""
    if not options.evaluate:
        return model.task(reading(options)), None
    if options.eval_file is not None or options.dataset is not None:
        task = model.task(reading(options))
        if options.eval_file is not None:
            examples = load.read_further(
                options.eval_file, task, reading(options), labelled=True
            )
        else:
            examples = load.read_dataset(options.dataset, task, reading(options))
        return task, examples.take(options.max_eval_examples)
    if options.task or tasks.find(model.task_name):
        name = options.task[0] if options.task else model.task_name
        data = load.load_task(name, options.data_dir)
    else:
        raise ValueError(
            "--evaluate needs examples to score: name --eval-file, --task or --dataset"
        )
    return data.task, data.evaluation.take(options.max_eval_examples)


@dataclasses.dataclass(frozen=True)
class _Question:
    """Examples for a model, tokenised before it computes anything."""

    classifier: Classifier
    examples: Examples
    encoded: Encoded

    @classmethod
    def of(
        cls, classifier: Classifier, examples: Examples | None
    ) -> "_Question | None":
        """The examples, if there are any to ask."""
        if examples is None:
            return None
        return cls(classifier, examples, classifier.encode(examples))

    def answer(self) -> NDArray[np.float32]:
        """The model's outputs; says what the user should know of the examples."""
        for note in self.examples.notes:
            say(f"note: {note}")
        if self.encoded.truncated_share:
            say(
                f"note: {self.encoded.truncated_share:.1%} of the examples are cut to "
                f"{self.classifier.max_length} tokens; the longest has "
                f"{self.encoded.longest}"
            )
        return self.classifier.logits(self.encoded.data)


def _about(options: argparse.Namespace, task: Task, examples: Examples) -> str:
    kind = f"{len(task.labels)} classes: {listed(task.labels, most=8)}"
    source = options.eval_file or options.dataset or task.name
    return (
        f"{options.model} on {source}: {len(examples):,} examples, "
        f"{kind if task.labels else 'labels are numbers'}"
    )


def _scores(
    task: Task, logits: NDArray[np.float32], examples: Examples
) -> Iterator[dict[str, str]]:
    """A line for each metric that fits the labels, the task's own first."""
    labels = np.asarray(examples.labels)
    for name in dict.fromkeys([task.metric, *METRICS]):
        about = METRICS[name]
        # F1 is of one of two classes, or of the one that the user names.
        has_class = task.num_labels == 2 and not task.is_multi_label
        is_left_out = about.of_one_class and not has_class and name != task.metric
        if task.problem_type not in about.problems or is_left_out:
            continue
        score = outputs.score(task, logits, labels, name)
        constant = metrics.constant_score(name, labels, task.positive)
        positive = task.labels[task.positive] if about.of_one_class else ""
        yield {
            "": metrics.in_words(name, task.problem_type, positive),
            "score": f"{score:.2f}",
            "best constant answer": f"{constant:.2f}",
        }
