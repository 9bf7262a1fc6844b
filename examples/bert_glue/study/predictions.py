"""Answers as a table that people and programs read: CSV, TSV or JSON Lines."""

import csv
import io
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_glue.data.examples import MULTI_LABEL, REGRESSION, Examples
from bert_glue.data.tables import no_formula
from bert_glue.training import outputs

FILE = "predictions.csv"
"""Where they go unless somebody says otherwise."""

FORMATS = (".csv", ".tsv", ".jsonl")
"""Ends of files' names, each of which has its own format."""

Row = dict[str, str | float]


def check_name(path: pathlib.Path) -> None:
    """Checks that a file's name says how predictions are to be written.

    Raises:
      ValueError: if it ends in none of :data:`FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"predictions are to go to {path}; accepted are names that end in "
            f"{', '.join(FORMATS)}"
        )


def make_rows(
    examples: Examples,
    problem: str,
    classes: Sequence[str],
    logits: NDArray[np.float32],
) -> list[Row]:
    """What a model answers.

    Args:
      examples: what was asked.
      problem: what labels are, a value of ``examples.PROBLEMS``.
      classes: their names, in the order of the outputs; none for regression.
      logits: outputs of the model, of shape (examples, outputs).

    Returns:
      A row for each example: its texts, under the names that their columns have in the
      file; ``prediction``, which is the name of a class, or for several labels an
      example their names joined by commas, or a number; and for each class
      ``probability_`` and its name.

    Examples:
      >>> examples = Examples([("well done",)], None, columns=("text",))
      >>> logits = np.array([[0.0, 2.0]], np.float32)
      >>> make_rows(examples, "single_label_classification", ["bad", "good"], logits)
      ... # doctest: +NORMALIZE_WHITESPACE
      [{'text': 'well done', 'prediction': 'good', 'probability_bad': 0.119203,
        'probability_good': 0.880797}]
    """
    answers = outputs.answers(problem, logits)
    if problem == REGRESSION:
        told = [_digits(value) for value in answers]
        chances: list[Row] = [{} for _ in answers]
    else:
        told = [_names(problem, classes, answer) for answer in answers]
        columns = [f"probability_{name}" for name in classes]
        chances = [
            dict(zip(columns, map(_digits, row), strict=True))
            for row in outputs.probabilities(problem, logits)
        ]
    texts = _text_columns(examples, {"prediction", *(chances[0] if chances else ())})
    return [
        {**dict(zip(texts, row, strict=True)), "prediction": answer, **chance}
        for row, answer, chance in zip(examples.texts, told, chances, strict=True)
    ]


def to_text(rows: Sequence[Row], suffix: str) -> str:
    """The rows in the format that a file's name says.

    In CSV and TSV text stands in quotes and numbers do not. CSV is what spreadsheets
    open: there text that they would take for a formula gets an apostrophe before it,
    as in all tables of this project. TSV and JSON Lines hold texts as they are.

    Args:
      rows: of :func:`make_rows`, at least one.
      suffix: one of :data:`FORMATS`, in any case.

    Returns:
      The content of the file.
    """
    suffix = suffix.lower()
    if suffix == ".jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    text = io.StringIO()
    delimiter = "\t" if suffix == ".tsv" else ","
    writer = csv.writer(
        text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
    )
    for row in [[*rows[0]], *([*row.values()] for row in rows)]:
        if suffix == ".csv":
            row = [no_formula(cell) if isinstance(cell, str) else cell for cell in row]
        writer.writerow(row)
    return text.getvalue()


def _names(problem: str, classes: Sequence[str], answer: NDArray[np.generic]) -> str:
    if problem == MULTI_LABEL:
        return ",".join(np.array(classes)[answer == 1])
    return classes[int(answer)]


def _digits(value: float) -> float:
    """The digits that float32 has."""
    return float(f"{value:.6g}")


def _text_columns(examples: Examples, taken: set[str]) -> list[str]:
    """The columns of the texts, other than those that are taken."""
    columns = []
    for name in examples.columns:
        while name in taken:
            name += "_"
        columns.append(name)
    return columns
