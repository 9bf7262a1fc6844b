"""Predictions come back from their file as they were, by pandas."""

import io
import json
import math
import pathlib

import numpy as np
import pandas
import pytest
from bert_glue.data.examples import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Examples
from bert_glue.study.predictions import FORMATS, check_name, make_rows, to_text

TEXTS = [
    *("plain", 'said "no", then yes', "two\nlines", "a\ttab", "old\rmac", "NA", ""),
    *("7", "grün 日本 🙂", " spaces ", "'quoted'", "back\\slash", "a;b,c"),
]
FORMULAS = ["=1+1", "+5 stars", "-", "@user thanks"]
CLASSES = ("bad", "=good", "so, so")
LOGITS = np.random.default_rng(0).normal(0, 3, (50, 3)).astype(np.float32)


def read(text, suffix):
    """What pandas makes of a file."""
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in text.split("\n")[:-1]]
        return pandas.DataFrame(rows)
    delimiter = {".csv": ",", ".tsv": "\t"}[suffix]
    return pandas.read_csv(io.StringIO(text), sep=delimiter, keep_default_na=False)


@pytest.mark.parametrize("suffix", FORMATS)
def test_texts_and_probabilities_come_back(suffix):
    texts = TEXTS + FORMULAS
    pairs = [(text, f"{text}, too") for text in texts]
    examples = Examples(pairs, None, columns=("premise", "hypo thesis"))
    logits = LOGITS[: len(texts)]
    rows = make_rows(examples, SINGLE_LABEL, CLASSES, logits)
    found = read(to_text(rows, suffix), suffix)
    escaped = suffix == ".csv"

    def shown(text):
        return f"'{text}" if escaped and text[:1] in tuple("=+-@") else text

    names = [f"probability_{name}" for name in CLASSES]
    assert [*found] == ["premise", "hypo thesis", "prediction", *names]
    assert list(found["premise"]) == [shown(text) if text else "" for text, _ in pairs]
    assert list(found["hypo thesis"]) == [shown(text) for _, text in pairs]
    for row, outputs in zip(found[names].to_numpy(), logits.tolist(), strict=True):
        powers = [math.exp(output) for output in outputs]
        # Six digits are written: half a unit of 100000 at most is lost.
        expected = [power / sum(powers) for power in powers]
        np.testing.assert_allclose(row, expected, rtol=5e-6)
    most = found[names].to_numpy().argmax(axis=1)
    assert list(found["prediction"]) == [shown(CLASSES[at]) for at in most]


def test_several_labels_an_example():
    examples = Examples([("a",), ("b",), ("c",)], None, columns=("text",))
    logits = np.array([[3, -1, 0.5], [-1, -2, -3], [0.1, 0.2, 30]], np.float32)
    rows = make_rows(examples, MULTI_LABEL, ("x", "y", "z"), logits)
    assert [row["prediction"] for row in rows] == ["x,z", "", "x,y,z"]
    for row, outputs in zip(rows, logits.tolist(), strict=True):
        for name, output in zip("xyz", outputs, strict=True):
            expected = 1 / (1 + math.exp(-output))
            assert row[f"probability_{name}"] == pytest.approx(expected, rel=5e-6)


def test_numbers():
    examples = Examples([("a",), ("b",)], None, columns=("text",))
    logits = np.array([[1 / 3], [-2e-7]], np.float32)
    rows = make_rows(examples, REGRESSION, (), logits)
    assert rows[0] == {"text": "a", "prediction": 0.333333}
    found = read(to_text(rows, ".csv"), ".csv")
    np.testing.assert_allclose(found["prediction"], logits[:, 0], rtol=5e-6)


def test_a_column_of_texts_that_is_called_as_one_of_ours():
    columns = ("prediction", "probability_bad")
    examples = Examples([("a", "b")], None, columns=columns)
    (row,) = make_rows(examples, SINGLE_LABEL, CLASSES, LOGITS[:1])
    assert [*row][:3] == ["prediction_", "probability_bad_", "prediction"]
    assert (row["prediction_"], row["probability_bad_"]) == ("a", "b")
    assert len(row) == 6


def test_the_name_says_the_format():
    for name in ("a.csv", "a.TSV", "b.c.jsonl"):
        check_name(pathlib.Path(name))
    for name in ("a", "a.xlsx", "csv", "a.csv.gz"):
        with pytest.raises(ValueError, match=r"accepted are names that end in \.csv, "):
            check_name(pathlib.Path(name))
