"""A group of seeds from its first step to its scores."""

import copy
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import metrics
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import Outcome, train_group
from bert_glue.training.journal import has_stopped
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

pytestmark = pytest.mark.medium

RECIPE = METHODS["cwgnc"].replace(
    learning_rate=5e-3, max_norm=1.0, batch_size=8, epochs=2, warmup_ratio=0.0
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 100, 41)


@pytest.fixture(scope="module")
def triple(subject) -> Trainer:
    return Trainer(subject.workload(RECIPE), RECIPE, 3, buckets=(24,))


def seeds_of(*numbers: int) -> list[Seed]:
    return [Seed(number, number) for number in numbers]


def outcomes_of(trainer, subject, seeds) -> list[Outcome]:
    return group_of(trainer, subject, seeds).outcomes


def group_of(trainer, subject, seeds):
    labels = np.asarray(subject.evaluation.labels)

    def score(logits):
        return metrics.score("accuracy", subject.predictions(logits), labels)

    progress = Progress(len(seeds), shown=False)
    return train_group([trainer], seeds, score, progress)


def test_a_diverged_seed_leaves_its_neighbours_alone(subject, triple):
    def sick_start(keys, *_):
        state = triple.start(keys)
        bias = state.params["classifier"]["bias"].at[1].set(jnp.nan)
        classifier = state.params["classifier"] | {"bias": bias}
        return state._replace(params=state.params | {"classifier": classifier})

    sick = copy.copy(triple)
    sick.start = sick_start
    outcomes = outcomes_of(sick, subject, seeds_of(0, 1, 2))
    healthy = outcomes_of(triple, subject, seeds_of(0, 1, 2))
    assert [outcome.diverged_at for outcome in outcomes] == [None, 1, None]
    assert [outcome.diverged_at for outcome in healthy] == [None, None, None]
    assert np.isnan(outcomes[1].train_loss)
    for number in (0, 2):
        # The same program: not a bit may differ.
        assert outcomes[number] == healthy[number]


def test_best_of_several_evaluations_is_kept(subject, triple):
    settings = {"evaluations_per_epoch": 3, "keep": "best", "epochs": 3}
    trainer = triple.with_recipe(RECIPE.replace(**settings))
    group = group_of(trainer, subject, seeds_of(0, 1, 2))
    labels = np.asarray(subject.evaluation.labels)
    for outcome, logits in zip(
        group.outcomes, trainer.evaluate(group.params), strict=True
    ):
        assert [each["step"] for each in outcome.history] == [
            13 * epoch + step for epoch in range(3) for step in (4, 9, 13)
        ]
        assert outcome.score == max(each["score"] for each in outcome.history)
        predictions = subject.predictions(logits)
        assert metrics.score("accuracy", predictions, labels) == outcome.score


def test_a_run_stops_where_it_would_have_alone(subject, triple):
    settings = {"evaluations_per_epoch": 6, "keep": "best", "epochs": 4}
    full = triple.with_recipe(RECIPE.replace(**settings))
    short = triple.with_recipe(RECIPE.replace(**settings, patience=2))
    whole = group_of(full, subject, seeds_of(0, 1, 2))
    stopped = group_of(short, subject, seeds_of(0, 1, 2))
    ends = []
    for ours, theirs in zip(stopped.outcomes, whole.outcomes, strict=True):
        scores = [each["score"] for each in theirs.history]
        end = next(
            (at for at in range(3, len(scores) + 1) if has_stopped(scores[:at], 2)),
            len(scores),
        )
        assert ours.history == theirs.history[:end]
        assert ours.score == max(scores[:end])
        ends.append(ours.history[-1]["step"])
        losses = whole.recorded["losses"][len(ends) - 1, : ends[-1]]
        assert ours.train_loss == pytest.approx(losses[-13:].mean())
    # The group has ended with the last of them, before its steps were done.
    assert stopped.recorded["losses"].shape == (3, max(ends))
    assert max(ends) < full.steps


def test_steps_may_end_within_an_epoch(subject, triple):
    recipe = RECIPE.replace(evaluations_per_epoch=2)
    recipe = dataclasses.replace(recipe, changed=()).replace(max_steps=20)
    group = group_of(triple.with_recipe(recipe), subject, seeds_of(0, 1, 2))
    history = group.outcomes[0].history
    assert [entry["step"] for entry in history] == [6, 13, 19, 20]
    assert history[-1]["epoch"] == pytest.approx(1 + 7 / 13)
    assert group.recorded["losses"].shape == (3, 20)
    assert np.isfinite(group.recorded["losses"]).all()
    assert (group.recorded["losses"] > 0).all()


def test_epochs_without_an_evaluation_change_nothing_else(subject, triple):
    """Five epochs, of which the second, the fourth and the last are evaluated."""
    each = RECIPE.replace(epochs=5)
    some = each.replace(epochs_per_evaluation=2)
    seeds = seeds_of(0, 1, 2)
    every = group_of(triple.with_recipe(each), subject, seeds)
    fewer = group_of(triple.with_recipe(some), subject, seeds)
    for ours, theirs in zip(fewer.outcomes, every.outcomes, strict=True):
        assert [entry["step"] for entry in ours.history] == [26, 52, 65]
        assert (ours.score, ours.train_loss) == (theirs.score, theirs.train_loss)
        for entry, at in zip(ours.history, (1, 3, 4), strict=True):
            assert entry["score"] == theirs.history[at]["score"]
    losses = fewer.recorded["losses"]
    np.testing.assert_array_equal(losses, every.recorded["losses"])
    for row, outcome in enumerate(fewer.outcomes):
        means = [part.mean() for part in np.split(losses[row], [26, 52])]
        found = [entry["train_loss"] for entry in outcome.history]
        assert found == pytest.approx(means)


def test_a_run_that_diverges_between_evaluations_is_dated(subject, triple):
    recipe = RECIPE.replace(epochs=4, epochs_per_evaluation=4, learning_rate=1e30)
    outcomes = outcomes_of(triple.with_recipe(recipe), subject, seeds_of(0, 1, 2))
    for outcome in outcomes:
        assert len(outcome.history) == 1
        assert outcome.diverged_at is not None
        assert 1 < outcome.diverged_at < 26


def test_last_evaluation_is_kept_by_default(subject, triple):
    group = group_of(triple, subject, seeds_of(0, 1, 2))
    for outcome in group.outcomes:
        assert [each["step"] for each in outcome.history] == [13, 26]
        assert outcome.score == outcome.history[-1]["score"]
        last = outcome.history[-1]["train_loss"]
        assert outcome.train_loss == pytest.approx(last)
    assert group.seconds > 0
