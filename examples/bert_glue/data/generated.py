"""Three small tasks made by a grammar, in the shape of CoLA, MRPC and RTE.

They need no download and train in seconds, for the demonstration and for tests. Every
row comes from a seed by choices that are the same on every machine; no sentence of a
development set is in its training set, nor in the text that the embedded model was
pretrained on.

============== ======================= ======================== =====================
task           a row                   labels                   like
============== ======================= ======================== =====================
acceptability  one sentence            70% acceptable (1)       CoLA, scored with MCC
paraphrase     two sentences           68% paraphrases (1)      MRPC, with F1
entailment     premise, hypothesis     50% do not follow (1)    RTE, with accuracy
============== ======================= ======================== =====================
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bert_glue.data.english import acceptability, entailment, paraphrase
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.sampling import sample
from bert_glue.data.english.syntax import sentence
from bert_glue.data.examples import Examples, TaskData
from bert_glue.data.tasks import GENERATED

TRAIN_SIZE = 800
EVALUATION_SIZE = 400


class Row(NamedTuple):
    """An example and how it was made.

    Attributes:
      texts: one sentence or two.
      label: index of the class.
      made: which edit of the grammar made it; '' for an untouched sentence.
    """

    texts: tuple[str, ...]
    label: int
    made: str


# Share of the rows with label 1.
SHARES = {"acceptability": 0.70, "paraphrase": 0.68, "entailment": 0.50}


def _row(name: str, dice: Dice, label: int) -> Row:
    if name == "acceptability":
        if label == 1:
            return Row((acceptability.acceptable(dice),), 1, "")
        text, made = acceptability.unacceptable(dice)
        return Row((text,), 0, made)
    if name == "paraphrase":
        first, second, made = paraphrase.pair(dice, same=label == 1)
    else:
        first, second, made = entailment.pair(dice, follows=label == 0)
    return Row((first, second), label, made)


def load(name: str, *, train_size: int = TRAIN_SIZE, seed: int = 0) -> TaskData:
    """Makes a task.

    Args:
      name: 'acceptability', 'paraphrase' or 'entailment'.
      train_size: number of training examples.
      seed: 0 for the published task; others make like ones (for choosing
        hyperparameters), which share no sentence with its evaluation examples.

    Returns:
      The task's data.

    Raises:
      ValueError: for an unknown name or a size out of range.

    >>> for text in load("entailment", train_size=9).evaluation.texts[0]:
    ...     print(text)
    Emma devoured the blue plum and the vegetable.
    Emma devoured the vegetable and the blue plum slowly.
    """
    train, evaluation = (
        Examples(
            [row.texts for row in part], np.array([row.label for row in part], np.int32)
        )
        for part in (
            rows(name, "train", train_size, seed),
            rows(name, "evaluation", EVALUATION_SIZE, seed),
        )
    )
    return TaskData(GENERATED[name], train, evaluation)


@functools.cache
def rows(name: str, split: str, size: int, seed: int = 0) -> tuple[Row, ...]:
    """Makes the rows of a split.

    Args:
      name: 'acceptability', 'paraphrase' or 'entailment'.
      split: 'evaluation' or 'train'. A training row shares no sentence with the
        `held_out` ones of seed 0 and of its own seed.
      size: number of rows.
      seed: as for `load`. A larger split does not begin with the rows of a smaller.

    Returns:
      The rows, in a random order of their labels.

    Raises:
      ValueError: for an unknown task or split, or a size below 1.

    >>> for row in rows("acceptability", "evaluation", 2):
    ...     print(row.label, *row.texts)
    1 Last night she was frightening herself behind this bridge.
    0 The teachers are disappearing Peter.
    """
    if name not in SHARES:
        raise ValueError(f"name must be one of {', '.join(SHARES)}; got {name!r}")
    if split not in ("evaluation", "train"):
        raise ValueError(f"split must be 'evaluation' or 'train'; got {split!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1; got {size}")
    dice = Dice(name, split, seed)
    positive = round(SHARES[name] * size)
    labels = dice.shuffled([1] * positive + [0] * (size - positive))
    seen: set[str] = set()
    if split == "train":
        seen |= held_out(name, 0) | held_out(name, seed)
    elif seed != 0:
        seen |= held_out(name, 0)
    made: list[Row] = []
    for label in labels:
        row = _row(name, dice, label)
        while any(text in seen for text in row.texts):
            row = _row(name, dice, label)
        seen.update(row.texts)
        made.append(row)
    return tuple(made)


@functools.cache
def held_out(name: str, seed: int = 0) -> frozenset[str]:
    """Returns the sentences of the evaluation rows that `load` takes."""
    evaluation = rows(name, "evaluation", EVALUATION_SIZE, seed)
    return frozenset(text for row in evaluation for text in row.texts)


def corpus(seed: int) -> Iterator[tuple[str, ...]]:
    """Makes text to pretrain on: an endless stream of one or two sentences.

    Two sentences are like running text: the second says the first again in other words,
    or something that follows from it, or something else. All are grammatical, none has
    a label, and no sentence is in the evaluation split of a task (of seeds 0 and 1).

    Args:
      seed: of the stream.

    Yields:
      One sentence, or two.
    """
    kept_out = frozenset().union(*(held_out(n, s) for n in SHARES for s in (0, 1)))
    dice = Dice("corpus", seed)
    # What the text is: its share, and what makes it.
    kinds = {
        "one": (0.25, lambda: (sentence(sample(dice)),)),
        "again": (0.15, lambda: (sentence(sample(dice)),) * 2),
        "reworded": (0.25, lambda: paraphrase.pair(dice, same=True)[:2]),
        "follows": (0.25, lambda: entailment.pair(dice, follows=True)[:2]),
        "other": (0.1, lambda: (sentence(sample(dice)), sentence(sample(dice)))),
    }
    shares = {kind: share for kind, (share, _) in kinds.items()}
    while True:
        _, make = kinds[dice.weighted(shares)]
        texts = make()
        if not any(text in kept_out for text in texts):
            yield texts
