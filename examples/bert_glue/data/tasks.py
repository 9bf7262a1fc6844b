"""The tasks of GLUE, and the generated ones, as a table.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language
Understanding", ICLR 2019.
"""

import dataclasses
import re

from bert_glue.data.examples import Task

SINGLE = ("sentence",)
PAIR = ("sentence1", "sentence2")
TEXT_COLUMNS = (
    PAIR,
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    SINGLE,
    ("text",),
    ("question",),
)
"""Columns of texts in users' files: the first that are all there."""
LABEL_COLUMNS = (
    *("label", "category", "class", "labels", "target", "sentiment", "rating"),
    "stars",
)
"""Columns of labels in users' files: the first that is there."""
_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_MNLI = Task(
    "mnli",
    PAIR,
    ("entailment", "neutral", "contradiction"),
    "accuracy",
    "MNLI",
    label="gold_label",
    evaluation_file="dev_matched.tsv",
    hub_texts=("premise", "hypothesis"),
    hub_split="validation_matched",
)
_COLA = ("source", "label", "mark", "sentence")

# Where GLUE scores a task by two metrics, F1 is taken of accuracy and F1, as in the
# paper, and the mean of the two correlations.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("rte", PAIR, _ENTAILMENT, "accuracy", "RTE"),
        Task(
            "mrpc",
            ("#1 String", "#2 String"),
            _BINARY,
            "f1",
            "MRPC",
            label="Quality",
            hub_texts=PAIR,
        ),
        Task("cola", SINGLE, _BINARY, "matthews", "CoLA", columns=_COLA),
        Task("sst2", SINGLE, _BINARY, "accuracy", "SST-2"),
        Task("wnli", PAIR, _BINARY, "accuracy", "WNLI"),
        Task("qnli", ("question", "sentence"), _ENTAILMENT, "accuracy", "QNLI"),
        Task(
            "qqp",
            ("question1", "question2"),
            _BINARY,
            "f1",
            "QQP",
            label="is_duplicate",
            skips_short_lines=True,
        ),
        _MNLI,
        dataclasses.replace(
            _MNLI,
            name="mnli-mm",
            evaluation_file="dev_mismatched.tsv",
            hub_name="mnli",
            hub_split="validation_mismatched",
        ),
        Task("stsb", PAIR, (), "pearson_spearman", "STS-B", label="score"),
    )
}

# Made by a grammar (bert_glue.data.generated), in the shape of three of the above.
GENERATED: dict[str, Task] = {
    task.name: task
    for task in (
        Task("acceptability", SINGLE, _BINARY, "matthews"),
        Task("paraphrase", PAIR, _BINARY, "f1"),
        Task("entailment", PAIR, _ENTAILMENT, "accuracy"),
    )
}


def find(name: str) -> Task | None:
    """The task that a user means: SST-2 and sst_2 are sst2.

    Args:
      name: in any case, with or without signs between letters.

    Returns:
      The task; None if there is no such.
    """
    tasks = {_bare(key): task for key, task in (GENERATED | TASKS).items()}
    return tasks.get(_bare(name))


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()
