"""The methods that are compared, each an entry of :data:`METHODS`.

To add a method, write its recipe here; to try a variant, replace a setting of one.
"""

from collections.abc import Mapping

from bert_glue.training.recipe import SETTINGS, Recipe, refusal
from bert_glue.training.settings import written

METHODS: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "cwgnc",
            "component-wise gradient norm clipping (Yang and Ma 2022)",
            clipping="component",
            max_norm=0.05,
            epochs=5,
        ),
        Recipe(
            "devlin",
            "global norm clipped, Adam without bias correction (Devlin et al. 2019)",
            bias_correction=False,
        ),
        Recipe("adamw", "the same with bias correction"),
        Recipe(
            "mixout",
            "initial weights at random instead of dropout (Lee et al. 2019)",
            batch_size=32,
            dropout=0.0,
            mixout=0.9,
        ),
        Recipe(
            "mosbach",
            "adamw for 20 epochs, best of three evaluations an epoch, no "
            "segment ids (Mosbach et al. 2020)",
            epochs=20,
            evaluations_per_epoch=3,
            keep="best",
            segment_ids=False,
        ),
        Recipe("no-clipping", "adamw without clipping", clipping="none"),
        Recipe(
            "agc",
            "clipped by weights (Brock et al. 2021)",
            clipping="agc",
            max_norm=0.01,
        ),
        Recipe(
            "adagc",
            "clipped by past norms (Wang et al. 2025)",
            clipping="adagc",
            max_norm=1.05,
        ),
        Recipe(
            "auto",
            "cwgnc by past medians",
            clipping="auto",
            epochs=5,
        ),
        Recipe(
            "llrd",
            "lower layers learn less (Zhang et al. 2021)",
            batch_size=32,
            weight_decay=0.0,
            layer_decay=0.95,
        ),
        Recipe(
            "reinit",
            "new top layer and pooler (likewise)",
            batch_size=32,
            weight_decay=0.0,
            reinit_layers=1,
        ),
        Recipe(
            "l2-sp",
            "decay towards initial weights (Li et al. 2018)",
            batch_size=32,
            l2_sp=1e-3,
        ),
        Recipe(
            "child-tuning",
            "part of a gradient (Xu et al. 2021)",
            child_tuning=0.3,
        ),
        Recipe(
            "noisytune",
            "noise on initial weights (Wu et al. 2022)",
            noisytune=0.15,
        ),
        Recipe("full", "adamw by another name, beside gradual unfreezing"),
        Recipe(
            "gu",
            "gradual unfreezing: a layer more in each stage (Howard and Ruder 2018)",
            unfreeze="gu",
        ),
        Recipe(
            "gu-restart",
            "the same, each stage from the pretrained model again",
            unfreeze="restart",
        ),
    )
}
"""The methods by name. Where a source leaves a setting open it is Devlin et al.'s.

Sources: Devlin et al., `BERT <https://arxiv.org/abs/1810.04805>`_; Lee et al., `Mixout
<https://arxiv.org/abs/1909.11299>`_, with its released code; Mosbach et al., `On the
Stability of Fine-tuning BERT <https://arxiv.org/abs/2006.04884>`_; Yang and Ma,
`Component-Wise Gradient Norm Clipping <https://arxiv.org/abs/2210.10325>`_; those of
the methods between in :mod:`cwgnc_jax.contrib`. Where their settings are not those of
their released commands ``docs/baselines.md`` says so.
"""

ALWAYS_SHOWN = ("learning_rate", "batch_size", "epochs", "warmup_ratio", "weight_decay")
"""Settings that tell methods apart; of the others only what is unusual is said."""


def parse_methods(text: str) -> tuple[Recipe, ...]:
    """Reads the methods that a user asks for.

    Args:
      text: names separated by commas, each perhaps with settings of its own:
        ``cwgnc,adamw:epochs=5:weight_decay=0``.

    Returns:
      Their recipes.

    Raises:
      ValueError: if a method or a setting is unknown, a value is none, or a method
        is there twice.

    Examples:
      >>> [recipe.label for recipe in parse_methods("cwgnc,adamw:epochs=5")]
      ['cwgnc', 'adamw:epochs=5']
      >>> parse_methods("cwgnc:unfreeze=gu")[0].unfreeze
      'gu'
    """
    recipes = tuple(_parse_method(item.strip()) for item in text.split(","))
    labels = [recipe.label for recipe in recipes]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"the method {label!r} is there twice")
    return recipes


def describe(recipe: Recipe, varied: Mapping[str, str] | None = None) -> str:
    """The settings of a recipe in a line, for the user.

    Args:
      recipe: any recipe.
      varied: values in words of settings that several recipes have in its place.

    Returns:
      What distinguishes methods, and of the other settings those that are not at
      their defaults.

    Examples:
      >>> print(describe(METHODS["devlin"]))
      devlin: global norm <= 1, learning rate 2e-05, batch size 16, epochs 3,
          warmup ratio 0.1, weight decay 0.01, bias correction false
    """
    norms = {
        "component": "norm of each component <= {}",
        "global": "global norm <= {}",
        "agc": "norm of each component <= {} of its parameters'",
        "adagc": "norm of each component <= {} of its past average",
        "auto": "norm of each component <= the median of its past ones",
        "none": "no clipping",
    }
    varied = varied or {}
    parts = [
        norms[recipe.clipping].format(varied.get("max_norm", f"{recipe.max_norm:g}"))
    ]
    for name, about in SETTINGS.items():
        value = getattr(recipe, name)
        is_special = value != about.default and name not in ("clipping", "max_norm")
        if recipe.uses(name) and (is_special or name in ALWAYS_SHOWN):
            words = varied.get(name, written(value))
            parts.append(f"{name.replace('_', ' ')} {words}")
    return f"{recipe.label}: {', '.join(parts)}"


def _parse_method(text: str) -> Recipe:
    name, *settings = text.split(":")
    if name not in METHODS:
        raise ValueError(
            f"unknown method {name!r}; accepted are {', '.join(METHODS)}, separated by "
            "commas"
        )
    values = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in SETTINGS:
            raise ValueError(
                f"unknown setting {key!r} of the method {name!r}; accepted are "
                f"{', '.join(sorted(SETTINGS))}, written {name}:epochs=3"
            )
        try:
            values[key] = SETTINGS[key].rule.read(value)
        except ValueError:
            raise ValueError(refusal(name, key, value)) from None
    # Together, for some go only with others.
    return METHODS[name].replace(**values) if values else METHODS[name]
