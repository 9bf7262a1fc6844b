"""The numbers that the paper prints, and when a run's setting is the paper's.

Yang and Ma, "Improving Stability of Fine-Tuning Pretrained Language Models via
Component-Wise Gradient Norm Clipping", EMNLP 2022, Tables 1 and 2: 25 runs each, in per
cent (RTE accuracy, MRPC F1, CoLA Matthews' correlation).
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from bert_glue.training.methods import METHODS
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.settings import written

SOURCE = "https://arxiv.org/abs/2210.10325"
MODEL = "bert-large-uncased"
RUNS = 25


class Published(NamedTuple):
    """A cell of the paper's tables, in per cent.

    Attributes:
      std: standard deviation of the scores.
      mean: their mean.
      max: the best of them.
      runs: how many there were.
    """

    std: float
    mean: float
    max: float
    runs: int = RUNS


TABLE_1: Mapping[tuple[str, str], Published] = {
    ("devlin", "rte"): Published(4.5, 50.9, 67.5),
    ("devlin", "mrpc"): Published(3.9, 84.0, 91.2),
    ("devlin", "cola"): Published(25.6, 45.6, 64.6),
    ("adamw", "rte"): Published(4.0, 70.6, 75.5),
    ("adamw", "mrpc"): Published(2.1, 89.2, 92.2),
    ("adamw", "cola"): Published(11.1, 59.2, 64.1),
    ("mixout", "rte"): Published(7.9, 65.3, 74.4),
    ("mixout", "mrpc"): Published(3.8, 87.8, 91.8),
    ("mixout", "cola"): Published(20.9, 51.9, 64.0),
    ("mosbach", "rte"): Published(2.7, 67.3, 71.1),
    ("mosbach", "mrpc"): Published(0.8, 90.3, 91.7),
    ("mosbach", "cola"): Published(1.8, 62.1, 65.3),
    ("cwgnc", "rte"): Published(1.3, 73.1, 75.1),
    ("cwgnc", "mrpc"): Published(0.6, 90.5, 91.5),
    ("cwgnc", "cola"): Published(1.7, 62.2, 65.0),
}
"""Table 1, by method and task."""

TABLE_2: Mapping[float, Published] = {
    0.01: Published(1.3, 61.6, 64.3),
    0.05: Published(1.7, 62.2, 65.0),
    0.1: Published(1.4, 61.4, 65.1),
    0.5: Published(1.3, 61.6, 64.1),
    1.0: Published(1.3, 61.4, 63.8),
    5.0: Published(15.4, 57.3, 65.0),
}
"""Table 2, CWGNC on CoLA, by threshold."""

THRESHOLDS = tuple(TABLE_2)

_APPROACHES: Mapping[str, str] = {
    "devlin": "Devlin et al. (2019)",
    "adamw": "Devlin et al. (2019) + bias correction",
    "mixout": "Lee et al. (2019)",
    "mosbach": "Mosbach et al. (2020)",
    "cwgnc": "CWGNC",
}
# Examples to train on and to score: the whole of GLUE's official files.
_SIZES = {"rte": (2490, 277), "mrpc": (3668, 408), "cola": (8551, 1043)}

TASKS = tuple(_SIZES)


def approach(label: str) -> str:
    """What the paper calls a row of Table 1.

    Args:
      label: label of a row.

    Returns:
      The name; empty if there is none, or it is the same.

    Examples:
      >>> approach("mixout"), approach("adamw:epochs=5"), approach("cwgnc")
      ('Lee et al. (2019)', '', '')
    """
    name = _APPROACHES.get(label, label)
    return "" if name.lower() == label else name


def published(run: Mapping[str, Any]) -> Published | None:
    """The paper's numbers for the setting of a run.

    Args:
      run: the record of a run.

    Returns:
      The numbers; None if the model, the data or any setting of the method differs.
    """
    method, task = run["method"], run["task"]
    if differences(run) or method not in METHODS:
        return None
    changed = _changed(run)
    if (method, task, *changed) == ("cwgnc", "cola", "max_norm"):
        return TABLE_2.get(run["max_norm"])
    return None if changed else TABLE_1.get((method, task))


def recipe_differences(run: Mapping[str, Any]) -> list[str]:
    """Settings of a run that are not the paper's, and that its label does not name.

    Args:
      run: the record of a run.

    Returns:
      Each setting in a few words; none for a method that is not in Table 1.
    """
    if run["method"] not in _APPROACHES:
        return []
    named = {part.partition("=")[0] for part in run["label"].split(":")[1:]}
    return [
        f"{name.replace('_', ' ')} {written(value)} and not {written(theirs)}"
        for name, (value, theirs) in _changed(run).items()
        if name not in named
    ]


def differences(run: Mapping[str, Any]) -> list[str]:
    """What about the model and the data of a run is not as in the paper.

    Args:
      run: the record of a run.

    Returns:
      Each difference in a few words, for a heading; none if there is none.

    Examples:
      >>> run = {"model": "models/MiniLM", "task": "cola", "train_examples": 1000,
      ...        "eval_examples": 1043, "dtype": "float32", "max_length": 128}
      >>> print("; ".join(differences(run)))
      the model is MiniLM and not bert-large-uncased; 1,000 of 8,551 training examples
    """
    name = pathlib.PurePath(run["model"]).name
    model = [] if name == MODEL else [f"the model is {name} and not {MODEL}"]
    if run["task"] not in _SIZES:
        return [*model, f"the tasks are not {', '.join(TASKS)}"]
    to_train, to_score = _SIZES[run["task"]]
    trained, scored = run["train_examples"], run["eval_examples"]
    length, dtype = run["max_length"], run["dtype"]
    part = held_out_part(run)
    unlike_the_papers = not part and scored != to_score
    differs = {
        f"{trained:,} of {to_train:,} training examples": trained != to_train,
        f"scored on {part}": part,
        f"{scored:,} of {to_score:,} examples to score": unlike_the_papers,
        f"at most {length} tokens and not 128": length != 128,
        f"computed in {dtype} and not float32": dtype != "float32",
    }
    return [*model, *(text for text, is_so in differs.items() if is_so)]


def held_out_part(settings: Mapping[str, Any]) -> str:
    """Which part of the training set was scored instead; empty for none."""
    share = settings.get("held_out")
    return f"{100 * share:g}% held out of the training set" if share else ""


def _changed(run: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings of a run that are not its method's, each beside the method's."""
    method = METHODS[run["method"]]
    # A record holds some settings only where they are not at their defaults.
    both = {
        name: (run.get(name, about.default), getattr(method, name))
        for name, about in SETTINGS.items()
    }
    if run.get("max_norm", 0) is None:  # JSON has no infinity.
        both["max_norm"] = math.inf, method.max_norm
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}
