"""Options of methods are the settings of a recipe, and nothing is written twice."""

import re

import pytest
from bert_glue.cli.options import add_options, flag
from bert_glue.cli.parser import make_parser
from bert_glue.model.encoder import REMAT
from bert_glue.training.methods import METHODS
from bert_glue.training.recipe import SETTINGS, Recipe
from bert_glue.training.subjects import DTYPES

# For each setting what a user writes, and what it means.
WRITTEN = {
    "dropout_bits": ("8", 8),
    "unroll": ("2", 2),
    "attention": ("xla", "xla"),
    "clipping": ("none", "none"),
    "max_norm": ("inf", float("inf")),
    "learning_rate": ("1e-3", 1e-3),
    "batch_size": ("4", 4),
    "epochs": ("7", 7),
    "warmup_ratio": ("1", 1.0),
    "weight_decay": ("0", 0.0),
    "b1": ("0.5", 0.5),
    "b2": ("0.5", 0.5),
    "eps": ("1e-8", 1e-8),
    "dropout": ("0.2", 0.2),
    "evaluations_per_epoch": ("3", 3),
    "keep": ("best", "best"),
    "bias_correction": (None, False),
    "schedule": ("bert", "bert"),
    "group_by_length": (None, True),
    "segment_ids": (None, False),
    "mixout": ("0.5", 0.5),
    "mixout_gradient": ("exact", "exact"),
    "mixout_output_layer": (None, False),
    "unfreeze": ("restart", "restart"),
    "freezing": ("labels", "labels"),
    "stages": ("2", 2),
    "carry_optimizer": (None, True),
    "class_weights": ("balanced", "balanced"),
    "label_smoothing": ("0.1", 0.1),
    "max_steps": ("100", 100),
    "warmup_steps": ("0", 0),
    "accumulate": ("4", 4),
    "patience": ("2", 2),
    "epochs_per_evaluation": ("10", 10),
    "layer_decay": ("0.95", 0.95),
    "reinit_layers": ("2", 2),
    "noisytune": ("0.1", 0.1),
    "l2_sp": ("0.01", 0.01),
    "child_tuning": ("0.3", 0.3),
}


# Every setting has an effect in it, and none refuses another.
_CONSISTENT = Recipe("x", "", mixout=0.5, unfreeze="gu", carry_optimizer=True)


@pytest.fixture(scope="module")
def parser():
    parser = make_parser("x.py", "", "")
    add_options(parser, methods="cwgnc", seeds=3)
    return parser


def test_every_setting_has_an_option(parser):
    assert SETTINGS.keys() == WRITTEN.keys()
    fields = set(Recipe.__dataclass_fields__) - {"name", "summary", "changed"}
    assert SETTINGS.keys() == fields


@pytest.mark.parametrize("name", SETTINGS)
def test_a_value_reaches_the_setting_and_nothing_else(parser, name):
    text, value = WRITTEN[name]
    if text is None:
        arguments = [flag(name) if value else flag(name).replace("--", "--no-")]
    else:
        arguments = [flag(name), text]
    options = parser.parse_args(arguments)
    given = {each: vars(options)[each] for each in SETTINGS if each in options}
    assert given == {name: value}
    assert type(given[name]) is type(value)


@pytest.mark.parametrize("name", SETTINGS)
def test_help_has_range_and_defaults_of_the_recipe(parser, name):
    (about,) = [each for each in parser._actions if each.dest == name]
    default = getattr(Recipe("x", ""), name)
    shown = {None: "none", True: "true", False: "false"}.get(default, default)
    found = re.search(r"\(default (\S+?)(;.*)?\)$", about.help)
    assert str(shown) == found[1] or float(found[1]) == default
    for method, recipe in METHODS.items():
        differs = getattr(recipe, name) != default
        assert differs == bool(re.search(rf"; {method} ", found[2] or ""))
    if type(default) is not bool:
        assert SETTINGS[name].rule.accepted in about.help


@pytest.mark.parametrize("name", [name for name in SETTINGS if WRITTEN[name][0]])
def test_ranges_are_those_of_the_recipe(parser, name, capsys):
    for text in ("-1", "nan", "1e400", "x", "2.5"):
        try:
            value = float(text)
            value = int(text) if value == -1 else value
        except ValueError:
            value = text
        try:
            _CONSISTENT.replace(**{name: value})
        except ValueError:
            with pytest.raises(SystemExit):
                parser.parse_args([f"{flag(name)}={text}"])
            error = capsys.readouterr().err
            assert f"{flag(name)}: got {text!r}; accepted is " in error
            assert SETTINGS[name].rule.accepted in error
        else:
            options = parser.parse_args([f"{flag(name)}={text}"])
            assert getattr(options, name) == value


def test_words_that_are_the_models(parser):
    by_name = {each.dest: each for each in parser._actions}
    assert set(by_name["remat"].choices) == set(REMAT)
    assert set(by_name["dtype"].choices) == set(DTYPES)
