"""Methods: each the recipe of its source, and variants as a user writes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import load
from bert_glue.training import stages, subjects
from bert_glue.training.methods import METHODS, parse_methods
from bert_glue.training.recipe import SETTINGS

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
    "class_weights": None,
    "label_smoothing": 0.0,
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
        mixed = recipe.make_transform()(params, initial, jax.random.key(0))
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
    assert METHODS["adamw"].make_transform() is None


def test_stages_are_one_for_each_layer_or_as_many_as_asked_for(subject):
    shapes = subject.shapes
    layers = tiny_bert.CONFIG.num_hidden_layers
    assert len(stages.make_stages(METHODS["adamw"], shapes)) == 1
    for method, begins in (("gu", 3), ("gu-restart", 0)):
        made = stages.make_stages(METHODS[method], shapes)
        assert [stage.index for stage in made] == list(range(layers))
        assert [stage.first_layer for stage in made] == list(range(layers))[::-1]
        assert made[1].epochs_before == begins
        assert made[1].restarts is (method == "gu-restart")
    few = stages.make_stages(METHODS["gu"].replace(stages=1), shapes)
    assert [stage.count for stage in few] == [1]
    with pytest.raises(ValueError, match=f"stages is 9 .* accepted is 1 to {layers}"):
        stages.make_stages(METHODS["gu"].replace(stages=9), shapes)


def test_methods_are_recipes():
    cwgnc, short, loose = parse_methods("cwgnc, cwgnc:epochs=3,adamw:max_norm=2")
    assert (cwgnc.epochs, cwgnc.max_norm, cwgnc.learning_rate) == (5, 0.05, 2e-5)
    assert (short.epochs, short.label) == (3, "cwgnc:epochs=3")
    assert (loose.max_norm, loose.label) == (2.0, "adamw:max_norm=2")
    # The user's own setting is stronger than a default.
    assert short.with_defaults(epochs=9).epochs == 3
    assert cwgnc.with_defaults(epochs=9).epochs == 9
    assert cwgnc.with_defaults(epochs=9).label == "cwgnc"
    assert cwgnc.warmup_steps(105) == 10
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
