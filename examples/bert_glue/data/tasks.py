"""The tasks of GLUE, and the generated ones, as a table.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language
Understanding", ICLR 2019.
"""

from bert_glue.data.examples import Task

SINGLE = ("sentence",)
PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

# Where GLUE scores a task by two metrics, F1 is taken of accuracy and F1, as in the
# paper, and the mean of the two correlations.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("rte", PAIR, "label", _ENTAILMENT, "accuracy", "RTE"),
        Task(
            "mrpc",
            ("#1 String", "#2 String"),
            "Quality",
            ("0", "1"),
            "f1",
            "MRPC",
            hub_texts=PAIR,
        ),
        Task(
            "cola",
            ("sentence",),
            "label",
            ("0", "1"),
            "matthews",
            "CoLA",
            columns=("source", "label", "mark", "sentence"),
        ),
        Task("sst2", ("sentence",), "label", ("0", "1"), "accuracy", "SST-2"),
        Task("wnli", PAIR, "label", ("0", "1"), "accuracy", "WNLI"),
        Task(
            "qnli", ("question", "sentence"), "label", _ENTAILMENT, "accuracy", "QNLI"
        ),
        Task(
            "qqp",
            ("question1", "question2"),
            "is_duplicate",
            ("0", "1"),
            "f1",
            "QQP",
            skips_short_lines=True,
        ),
        Task(
            "mnli",
            PAIR,
            "gold_label",
            ("entailment", "neutral", "contradiction"),
            "accuracy",
            "MNLI",
            evaluation_file="dev_matched.tsv",
            hub_texts=("premise", "hypothesis"),
            hub_split="validation_matched",
        ),
        Task(
            "mnli-mm",
            PAIR,
            "gold_label",
            ("entailment", "neutral", "contradiction"),
            "accuracy",
            "MNLI",
            evaluation_file="dev_mismatched.tsv",
            hub_name="mnli",
            hub_texts=("premise", "hypothesis"),
            hub_split="validation_mismatched",
        ),
        Task("stsb", PAIR, "score", (), "pearson_spearman", "STS-B"),
    )
}

# Made by a grammar (bert_glue.data.generated), in the shape of three of the above.
GENERATED: dict[str, Task] = {
    task.name: task
    for task in (
        Task("acceptability", ("sentence",), "label", ("0", "1"), "matthews"),
        Task("paraphrase", PAIR, "label", ("0", "1"), "f1"),
        Task("entailment", PAIR, "label", _ENTAILMENT, "accuracy"),
    )
}
