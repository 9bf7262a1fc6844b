"""The README.md beside a saved model: what it is, how good, and how sure that is."""

import itertools
import re
from collections.abc import Iterator, Sequence

from bert_glue.data import metrics
from bert_glue.data.examples import REGRESSION
from bert_glue.data.tasks import TASKS
from bert_glue.devices.terminal import printable
from bert_glue.records import failures
from bert_glue.records.run_store import Record
from bert_glue.study.configuration import Configuration
from bert_glue.study.summaries import Row
from bert_glue.training.methods import describe

NAME = "README.md"

_ON_THE_HUB = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
"""Metrics that the hub knows by another name."""
_MOST_CLASSES = 20


def make_card(
    configuration: Configuration,
    runs: Sequence[Record],
    record: Record,
    *,
    is_local: bool,
    command: str | None = None,
) -> str:
    """A model card as the Hugging Face hub reads it.

    What nobody said is left out: a license, and, where the model came from a folder,
    the hub's name of what was fine-tuned.

    Args:
      configuration: of the saved model.
      runs: the records of all its runs, the saved one among them.
      record: that of the saved one.
      is_local: whether the model that was fine-tuned is no name on the hub.
      command: what trained it.

    Returns:
      Front matter in YAML, then Markdown.
    """
    row = Row(configuration.recipe.label, tuple(runs))
    text = "\n".join(_body(configuration, row, record, command))
    front = _front_matter(configuration, row, record, is_local=is_local)
    return f"---\n{front}\n---\n\n{text}\n"


def _front_matter(
    configuration: Configuration, row: Row, record: Record, *, is_local: bool
) -> str:
    # Long to import, for something that seldom is made.
    from huggingface_hub import EvalResult, ModelCardData

    task, subject = configuration.subject.task, configuration.subject
    metric = _ON_THE_HUB.get(task.metric, task.metric)
    is_glue = task.name in TASKS and not subject.held_out
    dataset = {
        "dataset_type": "nyu-mll/glue" if task.name in TASKS else task.name,
        "dataset_name": task.name,
        "dataset_config": task.hub_name or task.name if task.name in TASKS else None,
        "dataset_split": task.hub_split if is_glue else None,
    }
    scores = {f"this model, {_of_runs(row)}": record["score"]}
    if len(row.runs) > 1:
        many = f"{len(row.runs)} runs"
        scores |= {
            f"mean of {many}": row.summary.mean,
            f"standard deviation of {many}": row.summary.std,
        }
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=None if is_local else configuration.model,
        datasets=["nyu-mll/glue"] if task.name in TASKS else None,
        metrics=[metric],
        tags=["cwgnc", "jax"],
        model_name=f"{configuration.model} on {task.name}",
        eval_results=[
            EvalResult(
                task_type="text-classification",
                **dataset,
                metric_type=metric,
                metric_name=name,
                # The hub has shares, tables of this project per cent.
                metric_value=round(score / 100, 4),
            )
            for name, score in scores.items()
        ],
    )
    return card.to_yaml()


def _body(
    configuration: Configuration, row: Row, record: Record, command: str | None
) -> Iterator[str]:
    subject, task = configuration.subject, configuration.subject.task
    yield f"# {_code(configuration.model)} fine-tuned on {_code(task.name)}"
    yield ""
    kind = "numbers" if task.problem_type == REGRESSION else "classes"
    yield (
        f"It gives texts {kind}. It is in the layout of Hugging Face, as is its "
        f"tokenizer, and {_of_runs(row)}, {record['run']}."
    )
    yield from ("", "    from transformers import pipeline")
    yield '    pipeline("text-classification", FOLDER)'
    yield from ("", "## Scores", "", *_scores(configuration, row, record))
    yield from ("", "## Data", "", *_data(configuration))
    yield from ("", "## Training", "", f"{_clipped(configuration)}.", "")
    yield f"{_plain(describe(configuration.recipe))}."
    if command is not None:
        yield from ("", "The command:", "")
        yield from (f"    {line}" for line in printable(command).splitlines())
    surroundings = [
        *(f"{k} {v}" for k, v in (record.get("versions") or {}).items()),
        *(f"{k} {v}" for k, v in (record.get("hardware") or {}).items()),
        f"commit {record.get('commit') or 'unknown'}",
    ]
    yield from ("", f"Trained with {_plain(', '.join(surroundings))}.")
    yield (
        f"Fingerprints: model {subject.model_fingerprint}, data "
        f"{subject.data_fingerprint}; configuration {configuration.name}."
    )


def _scores(configuration: Configuration, row: Row, record: Record) -> Iterator[str]:
    subject, summary, task = (
        configuration.subject,
        row.summary,
        configuration.subject.task,
    )
    positive = _code(task.labels[task.positive]) if task.labels else ""
    metric = metrics.in_words(task.metric, task.problem_type, positive)
    scored = f"{len(subject.evaluation.lengths):,} examples"
    scored += " held out of the training set" if subject.held_out else ""
    yield f"{metric[0].upper()}{metric[1:]} in per cent, on {scored}:"
    std = f"{summary.std:z.1f}" if len(row.runs) > 1 else "-"
    cells = {
        "this model": f"{record['score']:z.1f}",
        "runs": f"{len(row.runs)}",
        "std": std,
        "mean": f"{summary.mean:z.1f}",
        "max": f"{summary.max:z.1f}",
        "min": f"{summary.min:z.1f}",
        "failed": f"{row.failed}",
    }
    yield ""
    yield f"| {' | '.join(cells)} |"
    yield f"|{' --: |' * len(cells)}"
    yield f"| {' | '.join(cells.values())} |"
    yield ""
    if len(row.runs) > 1:
        yield (
            "Runs differ in their seeds alone. This one was chosen by its score on "
            "these very examples: of new ones expect rather the mean."
        )
    if reason := failures.failure(record) if record["failed"] else "":
        yield f"**This run failed: {reason}.**"
    yield f"The best constant answer has {subject.constant_score:.1f}. {failures.RULE}"


def _data(configuration: Configuration) -> Iterator[str]:
    subject, task = configuration.subject, configuration.subject.task
    source = ", ".join(map(_code, subject.files)) or _code(task.name)
    yield (
        f"{source}: {len(subject.train.lengths):,} examples to train on, each of at "
        f"most {subject.max_length} tokens"
        + (
            f" ({subject.truncated_share:.1%} are longer and were cut)."
            if subject.truncated_share
            else "."
        )
    )
    if task.labels:
        names = [_code(name) for name in task.labels[:_MOST_CLASSES]]
        more = len(task.labels) - len(names)
        names += [f"{more} others, in config.json"] if more else []
        yield f"Classes: {', '.join(names)}."


def _clipped(configuration: Configuration) -> str:
    each = "The gradient of each weight matrix and bias vector was clipped on its own"
    words = {
        "component": f"{each}, to the norm {{:g}}",
        "global": "All gradients were clipped together, to the norm {:g}",
        "none": "No gradient was clipped",
    }
    recipe = configuration.recipe
    return words.get(recipe.clipping, each).format(recipe.max_norm)


def _of_runs(row: Row) -> str:
    many = len(row.runs)
    return f"the best of {many} runs" if many > 1 else "the only run"


def _code(text: str) -> str:
    """Text from outside, as Markdown shows it whatever it holds."""
    text = " ".join(printable(text).split())
    runs = [len(run) for run in re.findall("`+", text)]
    ticks = next("`" * n for n in itertools.count(1) if n not in runs)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _plain(text: str) -> str:
    """Text whose signs Markdown or HTML would take for their own."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", " ".join(printable(text).split()))
