"""Training in stages, and what is recorded of it, on a BERT of a few parameters."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import batching, metrics
from bert_glue.model.components import layer_components
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import initial_params
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import train_group
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed, seed_keys
from bert_glue.training.stages import make_stages, stack_layers, unstack_layers
from bert_glue.training.trainer import Trainer, Workload
from jaxprs import scans_of

import cwgnc_jax

pytestmark = pytest.mark.medium

LAYERS = 3
SEEDS = [Seed(3, 3)]
SETTINGS = {
    "learning_rate": 5e-3,
    "batch_size": 8,
    "epochs": 1,
    "warmup_ratio": 0.0,
    "dropout": 0.0,
}
# Sums of another order differ by some 1e-7 relative in float32, and Adam passes that on
# times the learning rate; 5 steps of 5e-3 do not amplify it to 1e-4.
ROUNDING = {"rtol": 2e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    config = dataclasses.replace(tiny_bert.CONFIG, num_hidden_layers=LAYERS)
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 40, 21, config)


def trainers_of(subject, recipe, stages=None, **options):
    chosen = make_stages(recipe, subject.shapes)
    trainers = []
    for stage in chosen if stages is None else [chosen[number] for number in stages]:
        evaluator = trainers[0].evaluate if trainers else None
        trainers.append(
            Trainer(
                subject.workload(recipe),
                recipe,
                1,
                buckets=(24,),
                stage=stage,
                evaluator=evaluator,
                **options,
            )
        )
    return trainers


def group_of(subject, trainers):
    labels = np.asarray(subject.evaluation.labels)

    def score(logits):
        return metrics.score("accuracy", subject.predictions(logits), labels)

    progress = Progress(1, shown=False)
    return train_group(trainers, SEEDS, score, progress)


def leaves_of(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)[0]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


UNFREEZING = METHODS["cwgnc"].replace(**SETTINGS, unfreeze="gu", max_norm=0.01)


@pytest.fixture(scope="module")
def unfrozen(subject):
    """Trainers of gradual unfreezing, recording, and what became of a seed."""
    trainers = trainers_of(subject, UNFREEZING, recording=True)
    for trainer in trainers:
        trainer.compile()
    return trainers, group_of(subject, trainers)


@pytest.fixture(scope="module")
def restarted(subject):
    """The same of the last stage of GU (restart), which clips by the global norm."""
    # What the stages before did does not matter: the last one starts anew.
    recipe = METHODS["gu-restart"].replace(**SETTINGS)
    trainers = trainers_of(subject, recipe, stages=[LAYERS - 1], recording=True)
    return trainers, group_of(subject, trainers)


@pytest.fixture(scope="module")
def full(subject):
    """The same of full fine-tuning, without recording."""
    trainers = trainers_of(subject, METHODS["full"].replace(**SETTINGS))
    trainers[0].compile()
    return trainers, group_of(subject, trainers)


@pytest.fixture(scope="module")
def labelled(subject):
    """The same as unfrozen, with the layers apart and frozen by labels."""
    trainers = trainers_of(
        subject, UNFREEZING.replace(freezing="labels"), recording=True
    )
    return trainers, group_of(subject, trainers)


@pytest.fixture(scope="module")
def initial(unfrozen):
    trainer = unfrozen[0][0]
    return leaves_of(trainer.whole(trainer.start(seed_keys(SEEDS).init)))


def test_last_stage_of_restart_is_full_fine_tuning(restarted, full):
    # Recorded or not: the gradients are those that they were.
    losses = full[1].recorded["losses"]
    np.testing.assert_allclose(restarted[1].recorded["losses"], losses, **ROUNDING)
    for path, leaf in leaves_of(full[1].params).items():
        found = leaves_of(restarted[1].params)[path]
        np.testing.assert_allclose(found, leaf, **ROUNDING, err_msg=path)


def test_frozen_leaves_keep_every_bit(unfrozen, initial):
    trainers, keys = unfrozen[0], seed_keys(SEEDS)
    for number, trainer in enumerate(trainers[:-1]):
        state, _ = trainer.train(
            trainer.start(keys.init),
            trainer.new_log(),
            keys.noise,
            trainer.order(keys.order, 0),
            0,
            0,
            trainer.steps,
        )
        after = leaves_of(trainer.whole(state))
        frozen = LAYERS - 1 - number
        for path, leaf in initial.items():
            if path.startswith("embeddings"):
                assert after[path].tobytes() == leaf.tobytes(), path
            elif path.startswith("encoder"):
                assert after[path][:frozen].tobytes() == leaf[:frozen].tobytes(), path
                if path != "encoder/layers/key/bias":
                    assert np.all(np.any(after[path][frozen:] != leaf[frozen:], axis=1))
            else:
                assert np.any(after[path] != leaf), path
        # Nor has anything frozen moments.
        [moments] = [
            leaves_of(part.mu)
            for part in jax.tree.leaves(
                state.opt_state, is_leaf=lambda node: hasattr(node, "mu")
            )
            if hasattr(part, "mu")
        ]
        assert not any(path.startswith("embeddings") for path in moments)
        assert moments["encoder/layers/query/kernel"].shape[0] == number + 1


@pytest.mark.slow
def test_labels_train_the_same_parameters_as_a_split_stack(unfrozen, labelled):
    (split, expected), (apart, found) = unfrozen, labelled
    for path, leaf in leaves_of(expected.params).items():
        np.testing.assert_allclose(
            leaves_of(found.params)[path], leaf, **ROUNDING, err_msg=path
        )
    np.testing.assert_allclose(
        found.recorded["losses"], expected.recorded["losses"], **ROUNDING
    )
    assert found.recorded.keys() == expected.recorded.keys()
    # A key's bias has a true gradient of 0: what it moves is rounding, which Adam
    # makes as large as any other step.
    names = cwgnc_jax.component_names(
        jax.tree.map(lambda leaf: leaf[0], found.params), layer_components()
    )
    moving = np.array(["key/bias" not in name for name in names])
    for stage in range(LAYERS):
        # Each component has its name, though the layers are in another order.
        ours, theirs = apart[stage].component_names, split[stage].component_names
        assert set(ours) == set(theirs)
        order = [ours.index(name) for name in theirs]
        for name in ("norms", "scales"):
            np.testing.assert_allclose(
                found.recorded[f"{name}/{stage}"][..., order],
                expected.recorded[f"{name}/{stage}"],
                # A norm of some thousand entries that agree to ROUNDING.
                **ROUNDING,
                err_msg=name,
            )
        for reference in ("initial", "before"):
            name = f"rmsd_from_{reference}/{stage}"
            np.testing.assert_allclose(
                found.recorded[name][:, moving],
                expected.recorded[name][:, moving],
                **ROUNDING,
                err_msg=name,
            )


@pytest.mark.slow
def test_what_labels_freeze_keeps_every_bit(labelled, initial):
    keys = seed_keys(SEEDS)
    trainer = labelled[0][0]
    state = trainer.start(keys.init)
    # All parameters are in the state, each layer on its own.
    assert state.frozen is None
    assert list(state.params["encoder"]["layers"]) == list(range(LAYERS))
    state, _ = trainer.train(
        state,
        trainer.new_log(),
        keys.noise,
        trainer.order(keys.order, 0),
        0,
        0,
        trainer.steps,
    )
    after = leaves_of(trainer.whole(state))
    for path, leaf in initial.items():
        if path.startswith("embeddings"):
            assert after[path].tobytes() == leaf.tobytes(), path
        elif path.startswith("encoder"):
            frozen = LAYERS - 1
            assert after[path][:frozen].tobytes() == leaf[:frozen].tobytes(), path
            if path != "encoder/layers/key/bias":
                assert np.any(after[path][frozen:] != leaf[frozen:]), path
        else:
            assert np.any(after[path] != leaf), path


@pytest.mark.slow
def test_an_optimizer_goes_on_where_layers_are_apart(subject):
    """Its moments, and the step of its schedule; as they do where a stack is split."""
    settings = {"carry_optimizer": True, "stages": 2}
    results = [
        group_of(
            subject,
            trainers_of(subject, UNFREEZING.replace(freezing=freezing, **settings)),
        )
        for freezing in ("split", "labels")
    ]
    expected, found = (leaves_of(result.params) for result in results)
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, **ROUNDING, err_msg=path)


def test_layers_that_were_taken_apart_are_stacked_again():
    stack = {"kernel": np.arange(11 * 6).reshape(11, 2, 3), "bias": np.arange(11)}
    params = {"encoder": {"layers": stack}, "pooler": {"bias": np.ones(2)}}
    apart = unstack_layers(params)
    # Ten layers and more come in the order of their numbers, not of their names.
    assert apart["encoder"]["layers"][10]["bias"].tolist() == [10]
    jax.tree.map(np.testing.assert_array_equal, stack_layers(apart), params)


def test_a_stage_goes_on_where_the_one_before_stopped(unfrozen, initial):
    _, group = unfrozen
    history = group.outcomes[0].history
    assert [entry["stage"] for entry in history] == [0, 1, 2]
    assert [entry["step"] for entry in history] == [5, 10, 15]
    names = cwgnc_jax.component_names(
        jax.tree.map(lambda leaf: leaf[0], group.params), layer_components()
    )
    place = names.index("encoder/layers/query/kernel[2]")
    moved = {
        reference: [
            group.recorded[f"rmsd_from_{reference}/{stage}"][0, place]
            for stage in range(LAYERS)
        ]
        for reference in ("initial", "before")
    }
    # The first stage starts with the pretrained model; after that a step away from the
    # stage before is no longer one from the pretrained model, and lengths obey the
    # triangle inequality (to rounding).
    assert moved["before"][0] == moved["initial"][0] > 0
    assert all(length > 0 for length in moved["before"])
    assert moved["initial"][2] != moved["before"][2]
    assert moved["initial"][2] <= sum(moved["before"]) * (1 + 1e-5)
    last = leaves_of(group.params)["encoder/layers/query/kernel"]
    apart = last[2] - initial["encoder/layers/query/kernel"][2]
    expected = np.sqrt(np.mean(np.square(apart, dtype=np.float64)))
    # A mean of some hundred float32 squares.
    np.testing.assert_allclose(moved["initial"][2], expected, rtol=1e-5)
    lowest = names.index("encoder/layers/query/kernel[0]")
    assert group.recorded["rmsd_from_initial/1"][0, lowest] == 0
    assert group.recorded["cosine_distance_from_initial/1"][0, lowest] == 0


def test_recorded_norms_are_those_of_the_gradient(subject, unfrozen, restarted):
    """Of the whole model's gradient, without stages, for each stage's components."""
    keys = seed_keys(SEEDS)
    forward, data = subject.forward(dropout=0.0), subject.train

    @jax.jit
    def all_norms(params, rows):
        batch = batching.take_batch(data, rows, 24)

        def loss(params):
            log_p = jax.nn.log_softmax(forward(params, batch, None))
            return -jnp.mean(log_p[jnp.arange(len(rows)), batch.labels])

        gradients = jax.grad(loss)(params)
        return cwgnc_jax.component_norms(gradients, layer_components())

    for trainer in (*unfrozen[0], *restarted[0]):
        state, log = trainer.start(keys.init), trainer.new_log()
        order = trainer.order(keys.order, 0)
        names = cwgnc_jax.component_names(subject.shapes, layer_components())
        assert set(trainer.component_names) <= set(names)
        places = [names.index(name) for name in trainer.component_names]
        for step in (0, 1):
            # A copy, as the state is given to the step.
            whole = jax.tree.map(lambda leaf: jnp.copy(leaf[0]), trainer.whole(state))
            expected = np.asarray(all_norms(whole, order[0, step]))[places]
            state, log = trainer.train(state, log, keys.noise, order, 0, step, step + 1)
            found = np.asarray(log.norms)[0, step]
            # Sums of some thousand terms in another order; the key's bias, whose true
            # gradient is 0, has nothing but such rounding.
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
            assert found.max() > 1e-3
        if trainer.stage.index == LAYERS - 1:
            assert trainer.component_names == names


def test_recorded_scales_are_those_of_the_clipping(unfrozen, restarted):
    recorded = unfrozen[1].recorded
    for stage, trainer in enumerate(unfrozen[0]):
        norms, scales = (recorded[f"{name}/{stage}"][0] for name in ("norms", "scales"))
        assert norms.shape == (5, len(trainer.component_names))
        with np.errstate(divide="ignore"):
            expected = np.minimum(1, UNFREEZING.max_norm / norms)
        # One division in float32.
        np.testing.assert_allclose(scales, expected, rtol=1e-6)
        assert 0.1 < (scales < 1).mean() < 1
    # Without clipping by component nothing is scaled, whatever is recorded.
    [trainer], result = restarted
    assert (result.recorded[f"scales/{trainer.stage.index}"] == 1).all()


def test_no_backward_loop_over_frozen_layers(subject):
    def backward(trainer):
        """Layers of each loop that the gradient adds to the forward pass."""
        arguments, named = trainer._train_shapes()
        step = functools.partial(trainer._train_steps, trainer.buckets[-1])
        traced = jax.make_jaxpr(step)(*arguments, **named)
        return [layers for layers, reverse in scans_of(traced.jaxpr) if reverse]

    first, *_, last = trainers_of(subject, UNFREEZING)
    assert backward(first) == [1]
    assert backward(last) == [LAYERS]


@pytest.mark.cpu
def test_a_stage_takes_less_memory_than_full_fine_tuning(unfrozen, full):
    used = [trainer.bytes_used for trainer in (*unfrozen[0], *full[0])]
    assert 0 < used[0] < used[1] < 0.9 * used[3]


def test_every_stage_is_compiled_once(subject, unfrozen):
    trainers, before = unfrozen
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event)
    )
    try:
        again = group_of(subject, trainers)
        # Three stages, one after the other, and again from the first: nothing new.
        assert not [event for event in compiled if "backend_compile" in event]
        jax.jit(lambda x: x + len(compiled))(1.0)
        assert [event for event in compiled if "backend_compile" in event]
    finally:
        jax.monitoring.clear_event_listeners()
    losses = before.recorded["losses"]
    np.testing.assert_array_equal(again.recorded["losses"], losses)


@pytest.mark.slow
@pytest.mark.cpu
def test_memory_of_a_large_model():
    """Stage 1 of BERT-large, as it is compiled; neither has weights here."""
    config = EncoderConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    )
    params = jax.eval_shape(lambda: initial_params(config, 2, jax.random.key(0)))
    pretrained = {name: params[name] for name in ("embeddings", "encoder")}
    tokens = jnp.zeros((16, 128), jnp.int32)
    lengths, labels = jnp.full(16, 128), jnp.zeros(16, jnp.int32)
    data = batching.Data(tokens, tokens, lengths, labels)
    large = Workload(
        subjects.make_forward(config, 2, "float32"),
        subjects.make_init(config, 2, ("pooler", "classifier")),
        pretrained,
        data,
        data,
    )

    def used(recipe, stage):
        stages = make_stages(recipe, params)
        return Trainer(large, recipe, 1, buckets=(128,), stage=stages[stage]).compile()

    # 2 of 24 layers, the head, and no embeddings: 25% in jax 0.10 on a CPU.
    assert 0 < used(METHODS["gu"], 1) < 0.45 * used(METHODS["full"], 0)
