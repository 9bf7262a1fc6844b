"""What a group carries from segment to segment, saved and taken up again."""

import json
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_glue.data.examples import SINGLE_LABEL
from bert_glue.devices.mesh import SINGLE
from bert_glue.training.group_state import GroupState, measure
from bert_glue.training.losses import Loss
from bert_glue.training.methods import METHODS
from bert_glue.training.program import Program
from bert_glue.training.segments import Segment
from bert_glue.training.trainer import TrainLog, TrainState

STEPS = 3
MIDDLE = Segment(0, 0, 0, 2, True, 2, ends_epoch=False, ends_stage=False)
END = Segment(0, 0, 2, STEPS, True, STEPS, ends_epoch=True, ends_stage=True)


def params_of(value):
    """Of two seeds, with three layers."""
    kernel = jnp.full((2, 3, 2, 2), value) + jnp.arange(2).reshape(2, 1, 1, 1)
    return {"encoder": {"layers": {"kernel": kernel}}}


def make_trainer(index=0):
    """Stands for a trainer that records two components of a stage."""

    def start(keys, params, opt_state):
        params = params_of(1.0) if params is None else jax.tree.map(jnp.copy, params)
        return TrainState(params, {"count": opt_state or jnp.zeros(2)}, None, None)

    def log():
        rows = jnp.ones((2, STEPS, 2))
        return TrainLog(jnp.ones((2, STEPS)), rows, rows)

    return types.SimpleNamespace(
        group_size=2,
        recipe=METHODS["gu"].replace(keep="best"),
        workload=types.SimpleNamespace(loss=Loss(SINGLE_LABEL)),
        placement=SINGLE,
        component_names=("a", "b"),
        stage=types.SimpleNamespace(index=index, restarts=False),
        steps_per_epoch=STEPS,
        epochs=1,
        start=start,
        whole=lambda state: state.params,
        evaluate=lambda params: np.zeros((2, 4, 2), np.float32),
        new_log=Program(log),
        shapes=lambda: jax.eval_shape(lambda: start(None, None, None)),
    )


@pytest.fixture
def trainers():
    return [make_trainer(0), make_trainer(1)]


def run_to(trainers, segment):
    """A group after an evaluation that followed a segment of its first stage."""
    group = GroupState(trainers)
    group.start(MIDDLE, None)
    trained = params_of(1.5)
    # As a step does, it uses up what the stage began with.
    jax.tree.map(lambda leaf: leaf.delete(), group.state.params)
    group.state = group.state._replace(params=trained)
    group.done, scores = segment.done, iter([50.0, 60.0])
    assert group.evaluate(segment, lambda logits: next(scores)) == [50, 60]
    return group


@pytest.mark.parametrize("segment", [MIDDLE, END])
def test_what_is_saved_is_taken_up_again(trainers, segment):
    group = run_to(trainers, segment)
    facts, arrays = group.save(segment, 2.0)
    facts = json.loads(json.dumps(facts))
    later = GroupState(trainers)
    # The arrays come back as a checkpoint has them: in the template's structure.
    template = later.template(facts)
    assert jax.tree.structure(template) == jax.tree.structure(arrays)
    later.resume(facts, jax.tree.map(np.asarray, arrays))
    again, saved = later.save(segment, 1.0)
    assert again.pop("seconds") == 3
    assert facts.pop("seconds") == 2
    assert again == facts
    chex.assert_trees_all_equal(saved, arrays)
    assert later.history[1][0]["score"] == 60
    assert later.history[1][0]["predicted"] == [4, 0]


def test_the_best_evaluation_is_each_seeds_own(trainers):
    group = GroupState(trainers)
    group.start(MIDDLE, None)
    for scores, value in (([50, 60], 1.0), ([70, 60], 2.0), ([60, 80], 3.0)):
        group.since, left = 0, iter(scores)
        group.state = group.state._replace(params=params_of(value))
        group.evaluate(MIDDLE, lambda logits, left=left: next(left))
        # A step that follows uses the parameters up.
        jax.tree.map(lambda leaf: leaf.delete(), group.state.params)
    best = group.best["encoder"]["layers"]["kernel"]
    # The second seed's weights are larger by 1; an equal score is no better one.
    np.testing.assert_array_equal(best[:, 0, 0, 0], [2, 4])


def test_a_run_that_gets_no_better_stops_for_itself(trainers):
    trainer = trainers[0]
    recipe = METHODS["adamw"].replace(keep="best", patience=2)
    trainer.recipe = recipe
    group = GroupState([trainer])
    group.start(MIDDLE, None)
    ends = []
    # The first seed stops after its third evaluation, whatever it does beside the
    # second, which stops after its fourth.
    for scores, value in (([60, 50], 1.0), ([60, 70], 2.0), ([50, 60], 3.0)):
        group.since, left = 0, iter(scores)
        group.state = group.state._replace(params=params_of(value))
        group.evaluate(MIDDLE, lambda logits, left=left: next(left))
        ends.append(group.is_over)
    group.since, left = 0, iter([90, 60])
    group.state = group.state._replace(params=params_of(4.0))
    group.evaluate(MIDDLE, lambda logits: next(left))
    assert [*ends, group.is_over] == [False, False, False, True]
    assert [[entry["score"] for entry in run] for run in group.history] == [
        [60, 60, 50],
        [50, 70, 60, 60],
    ]
    best = group.best["encoder"]["layers"]["kernel"]
    np.testing.assert_array_equal(best[:, 0, 0, 0], [1, 3])
    # The log ends where the group did, before its epoch.
    assert group.joined()["losses"].shape == (2, MIDDLE.stop)
    assert group.before is not None


def test_movement_is_measured_from_what_the_stage_began_with(trainers):
    group = run_to(trainers, END)
    np.testing.assert_allclose(group.joined()["rmsd_from_before/0"], 0.5)
    group.start(MIDDLE._replace(stage=1), None)
    # The second stage goes on where the first stopped; the run began before.
    chex.assert_trees_all_equal(group.before, params_of(1.5))
    group.end_stage(trainers[1], params_of(1.75))
    recorded = group.joined()
    # Powers of two: no rounding.
    np.testing.assert_array_equal(recorded["rmsd_from_before/1"], np.full((2, 3), 0.25))
    np.testing.assert_array_equal(
        recorded["rmsd_from_initial/1"], np.full((2, 3), 0.75)
    )
    assert recorded["norms/0"].shape == (2, STEPS, 2)


def test_each_layer_of_each_seed_is_measured_against_both_references():
    rng = np.random.default_rng(0)
    now, initial, before = rng.normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    trees = [
        {"encoder": {"layers": {"kernel": jnp.asarray(x)}}}
        for x in (now, initial, before)
    ]
    found = measure(*trees)
    for reference, values in (("initial", initial), ("before", before)):
        a, b = now.astype(np.float64), values.astype(np.float64)
        rmsd = np.sqrt(np.mean((a - b) ** 2, axis=(2, 3)))
        cosine = np.sum(a * b, axis=(2, 3)) / np.sqrt(
            np.sum(a**2, axis=(2, 3)) * np.sum(b**2, axis=(2, 3))
        )
        # Sums of 30 terms in float32.
        np.testing.assert_allclose(found[f"rmsd_from_{reference}"], rmsd, rtol=1e-5)
        np.testing.assert_allclose(
            found[f"cosine_distance_from_{reference}"], 1 - cosine, rtol=1e-5
        )
