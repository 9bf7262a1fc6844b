"""What a recipe records, refuses and makes."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_glue.records.files import identity
from bert_glue.training.methods import METHODS, parse_methods
from bert_glue.training.recipe import SETTINGS, Recipe
from bert_glue.training.settings import BOOL, NORM, WHOLE, written

# Short names of the settings that were recorded before settings were generated: runs
# are found by names that depend on them.
NAMES = {
    "cwgnc": "6e36782c7dc5",
    "devlin": "373604c9e11f",
    "adamw": "745371f23ad0",
    "mixout": "f8d7082ee2d2",
    "mosbach": "2c8ff1e23a21",
    "full": "745371f23ad0",
    "gu": "7e92913fc273",
    "gu-restart": "74de63ebc494",
    "cwgnc:max_norm=100000": "919e968fcec0",
    "cwgnc:max_norm=5:epochs=3:b1=0.8": "b1456e2557f9",
    "adamw:bias_correction=false:schedule=bert:group_by_length=true": "d702efcbfe10",
    "mixout:mixout_gradient=exact:mixout_output_layer=false": "ff03baee295a",
    "gu:stages=2:carry_optimizer=true": "4209c2f8bd77",
    "cwgnc:unfreeze=restart:clipping=none": "a396930b0776",
    "adamw:dropout=0.2:keep=best:segment_ids=false": "5f154084e107",
}


@pytest.mark.parametrize("label", NAMES)
def test_settings_are_recorded_as_they_ever_were(label):
    (recipe,) = parse_methods(label)
    assert recipe.label == label
    assert identity(recipe.settings()) == NAMES[label]


def test_only_what_was_set_is_recorded_of_later_settings():
    """Names of configurations, which these decide, stay as they were."""
    names = {"clipping", "max_norm", "learning_rate", "batch_size", "epochs"}
    names |= {"warmup_ratio", "weight_decay", "b1", "b2", "eps", "dropout"}
    names |= {"evaluations_per_epoch", "keep"}
    assert set(METHODS["cwgnc"].settings()) == names
    assert set(METHODS["devlin"].settings()) == names | {"bias_correction"}
    changed = METHODS["cwgnc"].replace(schedule="bert", unfreeze="gu")
    assert set(changed.settings()) == names | {"schedule", "unfreeze"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": 2}, r"stages .* no effect while unfreeze is none; set unfreeze"),
        ({"carry_optimizer": True}, "carry_optimizer .* no effect while unfreeze"),
        ({"mixout_gradient": "exact"}, "mixout_gradient .* while mixout is 0; set"),
        ({"mixout_output_layer": False}, "mixout_output_layer .* while mixout is 0"),
        ({"accumulate": 3}, "accumulate is 3 .* batch_size is 16; .* that divides it"),
        ({"patience": 2}, r"patience .* while keep is last; set keep, too \(last or"),
        (
            {"patience": 2, "keep": "best", "unfreeze": "gu"},
            "patience is 2 .* several stages; accepted is none",
        ),
        ({"max_steps": 0}, "max_steps is 0 .* of at least 1 or none"),
        ({"warmup_steps": -1}, "warmup_steps is -1 .* of at least 0 or none"),
        ({"epochs": 2.5}, "epochs is 2.5 .* accepted is a whole number of at least 1"),
        ({"epochs": "3"}, "epochs is 3 .* accepted is a whole number of at least 1"),
        ({"dropout": float("nan")}, "dropout is nan .* below 1 or none"),
        (
            {"dropout": 0.9999999999},
            "accepted is .* below 1 or none, but in float32 .* 1$",
        ),
        ({"learning_rate": 1e-300}, "a number above 0, but in float32 it is 0"),
        ({"weight_decay": 1e39}, "weight_decay is 1e[+]39 .* in float32 it is inf"),
        ({"weight_decay": 1e-60}, "weight_decay is 1e-60 .* in float32 it is 0"),
        ({"eps": 1e-60}, "eps is 1e-60 .* in float32 it is 0"),
        # Of a denormal number XLA makes 0.
        ({"eps": 1e-40}, "eps is 1e-40 .* in float32 it is 0"),
        ({"b2": 1 - 1e-9}, "b2 is .* below 1, but in float32 it is 1"),
        (
            {"max_norm": 0.0},
            "max_norm is 0.0 .* accepted is a number above 0, or inf to clip nothing$",
        ),
        ({"max_norm": 1e39}, "a number above 0, or inf .*, but in float32 it is inf"),
        ({"epochs": None}, "epochs is None .* accepted is a whole number of at least"),
        ({"bias_correction": 1}, "bias_correction is 1 .* true or false"),
        ({"dropout_bits": 12}, "dropout_bits is 12 .* accepted is 8, 16 or 32"),
        ({"unroll": 0}, "unroll is 0 .* accepted is a whole number of at least 1"),
        ({"attention": "flash"}, "attention is flash .* own or xla or cudnn"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe("mine", "my own", **settings)
    with pytest.raises(ValueError, match=message):
        METHODS["cwgnc"].replace(**settings)


def test_one_setting_in_the_place_of_another():
    recipe = METHODS["cwgnc"].replace(max_steps=30, warmup_steps=7)
    assert recipe.steps(steps_per_epoch=13) == 30
    assert METHODS["cwgnc"].steps(steps_per_epoch=13) == 65
    numbers = recipe.numbers(30)
    assert (numbers.warmup_steps, numbers.total_steps) == (7, 30)
    for settings in ({"epochs": 2}, {"warmup_ratio": 0.5}):
        with pytest.raises(ValueError, match="has no effect beside"):
            recipe.replace(**settings)
    with pytest.raises(ValueError, match=r"warmup_steps is 7 .* accepted is 0 to 5"):
        recipe.numbers(5)


def test_a_threshold_of_nothing_is_refused_if_it_is_set():
    # The method's own may stay where clipping is switched off.
    assert METHODS["cwgnc"].replace(clipping="none").max_norm == 0.05
    with pytest.raises(ValueError, match=r"max_norm .* no effect while clipping"):
        METHODS["cwgnc"].replace(clipping="none", max_norm=1.0)


def test_rules_read_what_is_written():
    for value, rule in ((3, WHOLE), (0.1, NORM), (float("inf"), NORM), (False, BOOL)):
        assert rule.read(written(value)) == value
    assert SETTINGS["stages"].rule.read("None") is None
    with pytest.raises(ValueError, match=r"got '1e-50'.*in float32 it is 0"):
        NORM.read("1e-50")
    for text, rule in (("none", WHOLE), ("0", WHOLE), ("nan", NORM), ("1", BOOL)):
        with pytest.raises(ValueError, match=f"got '{text}'; accepted is"):
            rule.read(text)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("cwgnc:max_norm=0.01", "cwgnc:max_norm=inf:epochs=9:b2=0.9", True),
        ("adamw", "full:learning_rate=1e-3:keep=best:patience=2", True),
        ("adamw", "adamw:max_steps=9:warmup_steps=3", True),
        ("adamw", "adamw:accumulate=2", False),
        ("mixout", "mixout:mixout=0.5", True),
        ("adamw:dropout=0.1", "adamw:dropout=0.3", True),
        ("adamw", "adamw:dropout=0.1", False),
        ("adamw:dropout=0.1", "adamw:dropout=0", False),
        ("adamw", "adamw:mixout=0.1", False),
        ("adamw", "devlin", False),
        ("adamw", "cwgnc", False),
        ("adamw", "adamw:batch_size=8", False),
        ("adamw", "adamw:schedule=bert", False),
        ("adamw", "adamw:unroll=2", False),
    ],
)
def test_recipes_of_one_structure_differ_in_numbers_alone(one, other, alike):
    structures = [parse_methods(text)[0].structure for text in (one, other)]
    assert (structures[0] == structures[1]) is alike
    assert (len(set(structures)) == 1) is alike


def test_numbers_are_whole_where_their_settings_are():
    numbers = METHODS["adamw"].replace(weight_decay=0, max_norm=1).numbers(10)
    assert [type(value) for value in (numbers.weight_decay, numbers.max_norm)] == [
        float,
        float,
    ]
    assert [type(value) for value in (numbers.warmup_steps, numbers.total_steps)] == [
        int,
        int,
    ]


def test_recipes_are_read_without_jax():
    code = "import bert_glue.training.methods, sys; print('jax' in sys.modules)"
    command = [sys.executable, "-c", f"import sys; sys.path = {sys.path}; {code}"]
    assert subprocess.check_output(command, text=True) == "False\n"


@pytest.mark.medium
def test_rates_of_the_optimizer_may_be_traced():
    rates = {"layer_decay": 0.5, "l2_sp": 0.5, "child_tuning": 0.5}
    recipe = METHODS["cwgnc"].replace(**rates)
    shared = METHODS["cwgnc"].replace(layer_decay=0.9, l2_sp=0.1, child_tuning=0.9)
    assert recipe.structure == shared.structure
    kernel = jnp.ones((2, 2))
    params = {
        "embeddings": {"word": kernel},
        "encoder": {"layers": {"mlp": {"kernel": jnp.ones((2, 2, 2))}}},
        "classifier": {"kernel": kernel},
    }
    gradients, moved = (
        jax.tree.map(lambda x, by=by: by * x, params) for by in (0.3, 9)
    )

    def updates(made_by, numbers):
        tx = made_by.make_optimizer(numbers)
        key = jax.random.key(3)
        return tx.update(gradients, tx.init(params), moved, key=key)[0]

    numbers = recipe.numbers(10)._replace(warmup_steps=0)
    expected = updates(recipe, numbers)
    found = jax.jit(lambda numbers: updates(shared, numbers))(numbers)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), found, expected
    )
    for name in rates:
        other = updates(recipe, numbers._replace(**{name: 0.6}))
        differing = jax.tree.map(lambda a, b: jnp.any(a != b), other, expected)
        assert any(jax.tree.leaves(differing)), name
