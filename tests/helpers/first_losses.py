"""Losses of the embedded model's first steps, and how the kept ones were recorded.

    python tests/helpers/first_losses.py tests/data/first_losses.json

They were recorded at commit 905fc81, in which each recipe's numbers were constants of a
program of its own.
"""

import json
import pathlib
import sys

import numpy as np
from bert_glue.cli import choices
from bert_glue.data import generated
from bert_glue.study.configuration import Configuration
from bert_glue.study.programs import make_trainers
from bert_glue.training import subjects
from bert_glue.training.methods import parse_methods
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject

SEEDS = [Seed(0, 0), Seed(1, 1)]
STEPS = 6
LABELS = "cwgnc,cwgnc:max_norm=0.01,cwgnc:max_norm=5,cwgnc:max_norm=inf,devlin,mixout,"
LABELS += "adamw:dropout=0.2"


def load() -> Subject:
    """The embedded model and a generated task."""
    return subjects.prepare(generated.load("entailment"), choices.embedded_model())


def first_losses(subject: Subject, label: str) -> np.ndarray:
    """Losses of a recipe's first steps of one epoch, of shape (seeds, steps)."""
    [recipe] = parse_methods(label)
    recipe = recipe.with_defaults(learning_rate=5e-4, batch_size=16, epochs=1)
    [trainer] = make_trainers(Configuration(subject, "embedded", recipe), len(SEEDS))
    keys = trainer.keys(SEEDS)
    state, log = trainer.start(keys.init), trainer.new_log()
    order = trainer.order(keys.order, 0)
    _, log = trainer.train(state, log, keys.noise, order, 0, 0, STEPS)
    return np.asarray(log.losses)[:, :STEPS]


if __name__ == "__main__":
    subject = load()
    losses = {
        label: first_losses(subject, label).tolist() for label in LABELS.split(",")
    }
    pathlib.Path(sys.argv[1]).write_text(json.dumps(losses, indent=1) + "\n")
