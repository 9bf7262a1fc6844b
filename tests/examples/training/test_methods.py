"""Methods: each the recipe of its source, and variants as a user writes them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_bert
from bert_glue.data import load
from bert_glue.training import stages, subjects, trainer
from bert_glue.training.methods import METHODS, parse_methods
from bert_glue.training.recipe import SETTINGS
from bert_glue.training.seeds import Seed, seed_keys

# All settings of Adam with bias correction and the global norm clipped, on which the
# other methods stand, and what their sources say that is different.
ADAMW = {
    "clipping": "global",
    "max_norm": 1.0,
    "learning_rate": 2e-5,
    "batch_size": 16,
    "epochs": 3,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-6,
    # The model's own, 0.1.
    "dropout": None,
    "evaluations_per_epoch": 1,
    "keep": "last",
    "bias_correction": True,
    "schedule": "linear",
    "group_by_length": False,
    "segment_ids": True,
    "mixout": 0.0,
    "mixout_gradient": "released",
    "mixout_output_layer": True,
    "unfreeze": None,
    "freezing": "split",
    "stages": None,
    "carry_optimizer": False,
    "layer_decay": 1.0,
    "reinit_layers": 0,
    "noisytune": 0.0,
    "l2_sp": 0.0,
    "child_tuning": 1.0,
    "max_steps": None,
    "warmup_steps": None,
    "accumulate": 1,
    "patience": None,
    "epochs_per_evaluation": 1,
    "class_weights": None,
    "label_smoothing": 0.0,
    "dropout_bits": 16,
    "unroll": None,
    "attention": "own",
}
DIFFERENT = {
    "cwgnc": {"clipping": "component", "max_norm": 0.05, "epochs": 5},
    "devlin": {"bias_correction": False},
    "adamw": {},
    "mixout": {"mixout": 0.9, "dropout": 0.0, "batch_size": 32},
    "mosbach": {
        "epochs": 20,
        "keep": "best",
        "evaluations_per_epoch": 3,
        "segment_ids": False,
    },
    "no-clipping": {"clipping": "none"},
    "agc": {"clipping": "agc", "max_norm": 0.01},
    "adagc": {"clipping": "adagc", "max_norm": 1.05},
    "auto": {"clipping": "auto", "epochs": 5},
    # The released commands of Zhang et al.
    "llrd": {"batch_size": 32, "weight_decay": 0.0, "layer_decay": 0.95},
    "reinit": {"batch_size": 32, "weight_decay": 0.0, "reinit_layers": 1},
    "l2-sp": {"batch_size": 32, "l2_sp": 1e-3},
    "child-tuning": {"child_tuning": 0.3},
    "noisytune": {"noisytune": 0.15},
    "full": {},
    "gu": {"unfreeze": "gu"},
    "gu-restart": {"unfreeze": "restart"},
}


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_those_of_the_source(method):
    recipe = METHODS[method]
    settings = {name: getattr(recipe, name) for name in SETTINGS}
    assert settings == ADAMW | DIFFERENT[method]


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    rows = ["sentence1\tsentence2\tlabel", "the dog\tthe cat\t0", "dog\tcat\t1"]
    (folder / "pairs.tsv").write_text("\n".join(rows) + "\n")
    pairs = folder / "pairs.tsv"
    return subjects.prepare(load.load_files(pairs, pairs), model)


def test_mosbach_tells_no_segments_apart(subject):
    assert np.asarray(subject.train.token_type_ids).any()
    seen = subject.workload(METHODS["mosbach"])
    for data, original in (
        (seen.train, subject.train),
        (seen.evaluation, subject.evaluation),
    ):
        assert not np.asarray(data.token_type_ids).any()
        np.testing.assert_array_equal(data.input_ids, original.input_ids)
    told = subject.workload(METHODS["adamw"])
    assert told.train is subject.train


def test_mixout_mixes_kernels_and_the_classifier_unless_left_out(subject):
    shapes = subject.shapes
    initial = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    whole = METHODS["mixout"]
    inner = whole.replace(mixout_output_layer=False)
    for recipe, classifier_is_mixed in ((whole, True), (inner, False)):
        transform = recipe.make_transform(recipe.numbers(steps=9))
        mixed = transform(params, initial, jax.random.key(0))
        for path, leaf in jax.tree_util.tree_leaves_with_path(mixed):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            values = set(np.unique(leaf).round(4).tolist())
            if name.endswith("kernel") and (
                classifier_is_mixed or not name.startswith("classifier")
            ):
                # Back at 0, or away from it by 1 / (1 - 0.9).
                assert values == {0.0, 10.0}, name
            else:
                assert values == {1.0}, name
    adamw = METHODS["adamw"]
    assert adamw.make_transform(adamw.numbers(steps=9)) is None


def test_stages_are_one_for_each_layer_or_as_many_as_asked_for(subject):
    shapes = subject.shapes
    layers = tiny_bert.CONFIG.num_hidden_layers
    assert len(stages.make_stages(METHODS["adamw"], shapes)) == 1
    for method in ("gu", "gu-restart"):
        made = stages.make_stages(METHODS[method], shapes)
        assert [stage.index for stage in made] == list(range(layers))
        assert [stage.first_layer for stage in made] == list(range(layers))[::-1]
        assert made[1].restarts is (method == "gu-restart")
    few = stages.make_stages(METHODS["gu"].replace(stages=1), shapes)
    assert [stage.count for stage in few] == [1]
    with pytest.raises(ValueError, match=f"stages is 9 .* accepted is 1 to {layers}"):
        stages.make_stages(METHODS["gu"].replace(stages=9), shapes)


EVERYTHING = METHODS["auto"].replace(
    **{"layer_decay": 0.5, "noisytune": 0.15, "reinit_layers": 1, "l2_sp": 0.1},
    **{"child_tuning": 0.3, "epochs": 1, "batch_size": 1, "warmup_ratio": 0.0},
)


def updates_of(recipe, params, gradients):
    recipe = recipe.replace(warmup_ratio=0.0)
    optimizer = recipe.make_optimizer(recipe.numbers(steps=10))
    initial = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def update():
        return optimizer.update(gradients, optimizer.init(initial), params)[0]

    return update()


def test_learning_rates_fall_from_layer_to_layer(subject):
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), subject.shapes)
    plain = METHODS["llrd"].replace(layer_decay=1.0)
    expected, got = (
        updates_of(recipe, ones, ones)
        for recipe in (plain, plain.replace(layer_decay=0.5))
    )
    layers = tiny_bert.CONFIG.num_hidden_layers
    ratios = jax.tree.map(lambda a, b: np.unique(a / b), got, expected)
    for name, factor in (("classifier", 1.0), ("embeddings", 0.5 ** (layers + 1))):
        for ratio in jax.tree.leaves(ratios[name]):
            np.testing.assert_allclose(ratio, [factor], rtol=1e-6)
    for ratio in jax.tree.leaves(ratios["encoder"]):
        of_layers = 0.5 ** np.arange(layers, 0, -1)
        np.testing.assert_allclose(ratio, np.sort(of_layers), rtol=1e-6)


def test_weights_are_drawn_back_and_the_classifier_decays(subject):
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), subject.shapes)
    zeros = jax.tree.map(jnp.zeros_like, ones)
    recipe = METHODS["l2-sp"].replace(learning_rate=1.0, l2_sp=0.5, weight_decay=0.25)
    updates = updates_of(recipe, ones, zeros)
    pulled = {name: leaf for name, leaf in updates.items() if name != "classifier"}
    np.testing.assert_array_equal(updates["classifier"]["kernel"], -0.25)
    np.testing.assert_array_equal(updates["classifier"]["bias"], 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(pulled):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spared = "norm" in name or name.endswith("bias")
        np.testing.assert_array_equal(leaf, 0.0 if spared else -0.5, err_msg=name)
    with pytest.raises(ValueError, match="set carry_optimizer=true, too"):
        recipe.replace(unfreeze="gu")


@pytest.mark.slow
def test_pretrained_weights_change_before_a_run_and_new_ones_do_not(subject):
    key = jax.random.key(0)
    init = jax.jit(subject.init())(subject.pretrained, key)
    assert subject.workload(METHODS["adamw"]).init(subject.pretrained, key).keys()
    recipe = METHODS["noisytune"].replace(reinit_layers=1)
    changed = jax.jit(subject.workload(recipe).init)(subject.pretrained, key)
    for name in subject.fresh:
        jax.tree.map(np.testing.assert_array_equal, changed[name], init[name])
    scale = changed["encoder"]["layers"]["output_norm"]["scale"]
    np.testing.assert_array_equal(scale[-1], 1.0)
    kernels = [
        np.asarray(tree["encoder"]["layers"]["query"]["kernel"])
        for tree in (init, changed)
    ]
    for before, after in zip(*(kernel[:-1] for kernel in kernels), strict=True):
        noise = (after - before) / before.std(ddof=1)
        # At most 0.075 standard deviations, and of many draws nearly so much.
        assert 0.06 < np.abs(noise).max() < 0.0751


@pytest.mark.parametrize("freezing", ["split", "labels"])
def test_methods_go_with_unfreezing(subject, freezing):
    recipe = EVERYTHING.replace(unfreeze="gu", freezing=freezing, carry_optimizer=True)
    for stage in stages.make_stages(recipe, subject.shapes):
        numbers = recipe.numbers(steps=10)
        optimizer = stage.freeze(recipe.make_optimizer(numbers, stage.first_layer))
        params = jax.eval_shape(stage.split, subject.shapes).trainable
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(
            lambda *given, tx=optimizer: tx.update(*given, key=jax.random.key(0)),
            params,
            state,
            params,
        )
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
def test_seeds_do_not_depend_on_those_beside_them(subject):
    results = []
    for numbers in ((1, 2), (2,)):
        keys = seed_keys([Seed(number, number) for number in numbers])
        runs = trainer.Trainer(
            subject.workload(EVERYTHING),
            EVERYTHING,
            len(numbers),
            buckets=(subject.train.width,),
            recording=True,
        )
        order, state = runs.order(keys.order, 0), runs.start(keys.init)
        state, log = runs.train(state, runs.new_log(), keys.noise, order, 0, 0, 1)
        results.append((state, log))
    (pair, _), (alone, log) = results
    assert log.scales is not None
    # One step of two programs, in float32.
    for both, one in zip(
        *map(jax.tree.leaves, (pair.params, alone.params)), strict=True
    ):
        np.testing.assert_allclose(both[1], one[0], rtol=1e-4, atol=1e-6)
    first = optax.tree.get(pair.opt_state, "mu")["encoder"]["layers"]["query"]["kernel"]
    kept = np.asarray(first) != 0
    assert (kept[0] != kept[1]).any()
    assert abs(kept.mean() - 0.3) < 4 * np.sqrt(0.21 / kept.size)


def test_methods_are_recipes():
    cwgnc, short, loose = parse_methods("cwgnc, cwgnc:epochs=3,adamw:max_norm=2")
    assert (cwgnc.epochs, cwgnc.max_norm, cwgnc.learning_rate) == (5, 0.05, 2e-5)
    assert (short.epochs, short.label) == (3, "cwgnc:epochs=3")
    assert (loose.max_norm, loose.label) == (2.0, "adamw:max_norm=2")
    # The user's own setting is stronger than a default.
    assert short.with_defaults(epochs=9).epochs == 3
    assert cwgnc.with_defaults(epochs=9).epochs == 9
    assert cwgnc.with_defaults(epochs=9).label == "cwgnc"
    assert cwgnc.numbers(105).warmup_steps == 10
    [variant] = parse_methods("cwgnc:unfreeze=restart:stages=2:bias_correction=FALSE")
    assert (variant.unfreeze, variant.stages) == ("restart", 2)
    assert variant.label == "cwgnc:unfreeze=restart:stages=2:bias_correction=false"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sgd", "unknown method 'sgd'; accepted are cwgnc, devlin, adamw"),
        ("cwgnc,cwgnc", "there twice"),
        ("cwgnc:speed=1", "unknown setting 'speed'"),
        ("cwgnc:bias_correction=no", "bias_correction is no .* true or false"),
        (
            "cwgnc:stages=2",
            r"stages .* set unfreeze, too \(gu or restart",
        ),
        ("cwgnc:unfreeze=all", "unfreeze is all .* accepted is gu or restart"),
        ("cwgnc:mixout=1", "mixout is 1 in"),
        ("cwgnc:epochs=x", "epochs is .* accepted is a whole number"),
        ("cwgnc:epochs=1.5", "epochs is .* accepted is a whole number"),
        ("cwgnc:max_norm=-1", "max_norm is -1 in"),
        ("cwgnc:max_norm=nan", "max_norm is nan"),
        ("adamw:keep=first", "keep is first"),
        ("", "unknown method ''"),
    ],
)
def test_what_is_no_method(text, message):
    with pytest.raises(ValueError, match=message):
        parse_methods(text)
