"""What the embedded model's pretraining is worth on the generated tasks.

Compares the fine-tuned embedded BERT with the same network from random parameters, with
a majority classifier and with logistic regression on words (as sets of words of each
sentence; with bigrams; and with the words that only one of two sentences has).

    python benchmarks/embedded_tasks.py --seeds 10 --output results/embedded_tasks.md

With `--choose` it tries learning rates and numbers of epochs instead, on other tasks of
the same kind (seed 1 of the generator), so that the published development sets have no
say in the settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pathlib
import sys
from collections import Counter

import numpy as np

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "examples")]

import reporting
from bert_glue.cli import choices
from bert_glue.data import generated, metrics
from bert_glue.data.examples import Examples
from bert_glue.model.encoder import initial_params
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import train_group
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

TASKS = tuple(generated.SHARES)


def fine_tune(
    subject: Subject, recipe: Recipe, seeds: list[int], *, pretrained: bool = True
) -> tuple[np.ndarray, float]:
    """Trains and scores a method from some seeds, side by side.

    Args:
      subject: model and task.
      recipe: the method.
      seeds: the seeds.
      pretrained: whether to begin from the checkpoint rather than at random.

    Returns:
      Scores in per cent, one for each seed, and the seconds that all took.
    """
    work = subject.workload(recipe)
    if not pretrained:
        labels = subject.task.num_labels
        work = dataclasses.replace(
            work, init=lambda _, key: initial_params(subject.config, labels, key)
        )
    length = subject.train.input_ids.shape[1]
    trainer = Trainer(work, recipe, len(seeds), buckets=(length,))
    progress = Progress(len(seeds), shown=False)

    def score(logits: np.ndarray) -> float:
        answers = subject.predictions(logits)
        truth = np.asarray(subject.evaluation.labels)
        return metrics.score(subject.task.metric, answers, truth)

    group = train_group([trainer], [Seed(s, s) for s in seeds], score, progress)
    progress.close()
    return np.asarray([outcome.score for outcome in group.outcomes]), group.seconds


def _features(texts: tuple[str, ...], level: int) -> list[str]:
    sentences = [text.lower().rstrip(".").split() for text in texts]
    found = [f"{i}:{w}" for i, words in enumerate(sentences) for w in words]
    if level >= 1:
        for i, words in enumerate(sentences):
            pairs = itertools.pairwise(["^", *words, "$"])
            found += [f"{i}:{first}_{second}" for first, second in pairs]
    if level >= 2 and len(sentences) == 2:
        first, second = map(set, sentences)
        found += [f"-{word}" for word in sorted(first - second)]
        found += [f"+{word}" for word in sorted(second - first)]
    return found


def bag_of_words(
    metric: str, train: Examples, evaluation: Examples, level: int
) -> float:
    """Score of logistic regression on words; the best of several strengths of penalty.

    The strength is chosen on the evaluation examples themselves, in its favour.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    if train.labels is None or evaluation.labels is None:
        raise ValueError("the examples have no labels")
    vectorizer = DictVectorizer()
    counts = [Counter(_features(texts, level)) for texts in train.texts]
    inputs = vectorizer.fit_transform(counts)
    others = vectorizer.transform(
        [Counter(_features(texts, level)) for texts in evaluation.texts]
    )
    scores = []
    for strength in (0.03, 0.1, 0.3, 1.0, 3.0):
        model = LogisticRegression(C=strength, max_iter=2000)
        answers = model.fit(inputs, train.labels).predict(others)
        scores.append(metrics.score(metric, answers, evaluation.labels))
    return max(scores)


def describe(scores: np.ndarray) -> str:
    """Mean, standard deviation and range, in per cent."""
    spread = f"{scores.mean():.1f} ± {scores.std():.1f}"
    return f"{spread} ({scores.min():.1f} to {scores.max():.1f})"


def choose(options: argparse.Namespace) -> None:
    """Prints scores over a grid of learning rates and epochs."""
    seeds = [1000 + seed for seed in range(options.seeds)]
    for task in options.tasks:
        data = generated.load(task, train_size=options.train_size, seed=1)
        subject = subjects.prepare(data, options.model)
        grid = itertools.product(options.methods, options.epochs, options.rates)
        for method, epochs, rate in grid:
            recipe = METHODS[method].replace(learning_rate=rate, epochs=epochs)
            scores, seconds = fine_tune(subject, recipe, seeds)
            said = f"{task} {method} epochs {epochs} rate {rate:g}"
            print(f"{said}: {describe(scores)}, {seconds:.0f} s", flush=True)


def compare(options: argparse.Namespace) -> str:
    """Makes the table of the published tasks."""
    defaults = choices.model_defaults("embedded")
    recipes = [METHODS[name].with_defaults(**defaults) for name in options.methods]
    seeds = list(range(options.seeds))
    rows = []
    for task in options.tasks:
        data = generated.load(task)
        subject = subjects.prepare(data, options.model)
        cells = [f"{task} ({data.task.metric})", f"{subject.majority_score:.1f}"]
        for level in range(3):
            bag = bag_of_words(data.task.metric, data.train, data.evaluation, level)
            cells.append(f"{bag:.1f}")
        random, _ = fine_tune(subject, recipes[0], seeds, pretrained=False)
        cells.append(describe(random))
        for recipe in recipes:
            scores, seconds = fine_tune(subject, recipe, seeds)
            cells.append(describe(scores))
            print(f"{task} {recipe.name}: {np.round(scores, 1)}, {seconds:.0f} s")
        rows.append(cells)
    titles = ["task", "majority", "words", "+ bigrams", "+ differences"]
    titles += [f"random BERT, {options.methods[0]}"]
    titles += [f"embedded BERT, {method}" for method in options.methods]
    settings = ", ".join(f"{name} {value}" for name, value in defaults.items())
    return "\n".join(
        [
            "# The embedded model on the generated tasks",
            "",
            reporting.provenance(),
            "",
            reporting.markdown_table(titles, rows),
            "",
            f"Scores in per cent on {generated.EVALUATION_SIZE} development examples",
            f"after training on {generated.TRAIN_SIZE}: mean ± standard deviation",
            f"(range) over {options.seeds} seeds; {settings}. Random and embedded",
            "BERT are one network, trained alike. The penalty of the logistic",
            "regression on words is chosen on the development examples themselves, in",
            "its favour.",
        ]
    )


def main() -> None:
    """Reads the options and does what they say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--choose", action="store_true", help="try settings, on other tasks")
    add("--model", default=str(choices.embedded_model()), help="folder of the model")
    add("--tasks", nargs="+", default=TASKS, choices=TASKS)
    add(
        "--methods",
        nargs="+",
        default=["adamw", "cwgnc"],
        choices=reporting.one_stage(METHODS),
    )
    add("--seeds", type=int, default=5, help="number of seeds")
    add("--rates", nargs="+", type=float, default=[2e-4, 5e-4, 1e-3])
    add("--epochs", nargs="+", type=int, default=[5])
    add("--train-size", type=int, default=generated.TRAIN_SIZE, help="for --choose")
    add("--output", type=pathlib.Path, help="Markdown file to write the table to")
    options = parser.parse_args()
    if options.choose:
        choose(options)
    else:
        reporting.write(compare(options), options.output)


if __name__ == "__main__":
    main()
