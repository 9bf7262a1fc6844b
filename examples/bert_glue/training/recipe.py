"""A method of fine-tuning as a recipe: all settings of a run, and what they make.

A recipe says everything that distinguishes a method; the training loop knows none of
them by name. What is here is read to answer a command line, so that JAX is imported
only where an optimizer is made.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from bert_glue.training import settings as rules
from bert_glue.training.settings import setting, settings_of, written

if TYPE_CHECKING:
    import jax
    import optax

    Transform = Callable[[optax.Params, optax.Params, jax.Array], optax.Params]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One method of fine-tuning with all its settings.

    Attributes:
      name: what the user calls it.
      summary: a line for the help.
      changed: names of the settings that :meth:`replace` has set.

    All other fields are settings, :data:`SETTINGS`, described where they stand.

    Raises:
      ValueError: if a setting is out of its range, or has no effect beside the others.

    Examples:
      >>> recipe = Recipe("mine", "as I like it", clipping="component", max_norm=0.1)
      >>> variant = recipe.replace(epochs=5)
      >>> variant.label, variant.max_norm, variant.learning_rate
      ('mine:epochs=5', 0.1, 2e-05)
    """

    name: str
    summary: str = dataclasses.field(repr=False)
    clipping: Literal["component", "global", "none", "agc", "adagc", "auto"] = setting(
        "global",
        "gradient that is clipped: each component's, or all; relative to the norm of "
        "its parameters (agc), to its own norms before (adagc), to their median (auto)",
    )
    max_norm: float = setting(
        1.0,
        "largest norm of a gradient that is clipped; relative with agc and adagc",
        rules.NORM,
        "clipping",
    )
    learning_rate: float = setting(2e-5, "peak learning rate", rules.POSITIVE)
    batch_size: int = setting(16, "examples in a step")
    epochs: int = setting(3, "epochs; of each stage, where there are several")
    warmup_ratio: float = setting(
        0.1, "share of the steps in which the learning rate rises from 0", rules.SHARE
    )
    weight_decay: float = setting(
        0.01, "decoupled weight decay, not on biases and LayerNorms", rules.FROM_ZERO
    )
    b1: float = setting(0.9, "decay of Adam's first moment", rules.BELOW_ONE)
    b2: float = setting(0.999, "decay of Adam's second moment", rules.BELOW_ONE)
    eps: float = setting(1e-6, "Adam's epsilon", rules.POSITIVE)
    dropout: float | None = setting(
        None, "dropout rate in all places; none for the model's own", rules.BELOW_ONE
    )
    evaluations_per_epoch: int = setting(1, "evaluations in an epoch")
    keep: Literal["last", "best"] = setting("last", "evaluation that is a run's result")
    # What follows is recorded only where it is not at its default: names of
    # configurations, which depend on all that is recorded, stay as they are when a
    # setting is added.
    bias_correction: bool = setting(True, "correct Adam's moments for their start at 0")
    schedule: Literal["linear", "bert"] = setting(
        "linear", "schedule: smooth, or with the jump of BERT's code"
    )
    group_by_length: bool = setting(
        False,
        "make batches of examples of like length, in random order, rather than "
        "uniformly random ones as the paper does: little padding, up to twice as fast",
    )
    segment_ids: bool = setting(True, "tell the model the first text from the second")
    mixout: float = setting(
        0.0, "chance that a weight falls back to its initial value", rules.BELOW_ONE
    )
    mixout_gradient: Literal["released", "exact"] = setting(
        "released", "gradient of Mixout, as in its code or exact", needs="mixout"
    )
    mixout_output_layer: bool = setting(True, "mix the classifier, too", needs="mixout")
    unfreeze: Literal["gu", "restart"] | None = setting(
        None, "train one layer more in each stage, from the top; restart: anew in each"
    )
    freezing: Literal["split", "labels"] = setting(
        "split",
        "layers are frozen by cutting their stack or by labels",
        needs="unfreeze",
    )
    stages: int | None = setting(
        None, "stages, from the first; none for one for each layer", needs="unfreeze"
    )
    carry_optimizer: bool = setting(
        False, "let optimizer and schedule go on over all stages", needs="unfreeze"
    )
    layer_decay: float = setting(
        1.0,
        "factor of the learning rate from a layer to the one below",
        rules.ABOVE_ZERO,
    )
    reinit_layers: int = setting(
        0, "top layers that are drawn anew, and the pooler with them", rules.COUNT
    )
    noisytune: float = setting(
        0.0,
        "noise on the pretrained weights, in standard deviations of each matrix",
        rules.FROM_ZERO,
    )
    l2_sp: float = setting(
        0.0,
        "decoupled decay towards the initial weights; weight decay is then the "
        "classifier's",
        rules.FROM_ZERO,
    )
    child_tuning: float = setting(
        1.0, "share of a gradient's entries that a step keeps", rules.ABOVE_ZERO
    )
    changed: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, about in SETTINGS.items():
            value = getattr(self, name)
            if not about.rule.allows(value):
                raise ValueError(refusal(self.name, name, value))
            # A method's threshold may stay where a user switches clipping off.
            is_set = value != about.default and name != "max_norm"
            if (is_set or name in self.changed) and not self.uses(name):
                needed = about.needs or ""
                raise ValueError(
                    f"{name} of the method {self.name} has no effect while {needed} is "
                    f"{written(getattr(self, needed))}; set {needed}, too "
                    f"({SETTINGS[needed].rule.accepted})"
                )
        if self.l2_sp and self.unfreeze == "gu" and not self.carry_optimizer:
            raise ValueError(
                f"l2_sp of the method {self.name} would draw the weights of each stage "
                "to those that it begins with; set carry_optimizer=true, too"
            )

    @property
    def label(self) -> str:
        """Name of the row in a table: the method and what was changed about it."""
        words = (f"{name}={written(getattr(self, name))}" for name in self.changed)
        return ":".join([self.name, *words])

    def uses(self, name: str) -> bool:
        """Whether a setting has an effect beside the others."""
        needed = SETTINGS[name].needs
        return needed is None or getattr(self, needed) not in (None, 0, "none", "auto")

    @property
    def clips_components(self) -> bool:
        """Whether each component is clipped on its own."""
        return self.clipping not in ("global", "none")

    def replace(self, **settings: Any) -> "Recipe":
        """A variant, whose label names what is different about it.

        Args:
          **settings: new values of settings.

        Returns:
          The variant.

        Raises:
          ValueError: if a value is not accepted.
        """
        changed = dict.fromkeys((*self.changed, *settings))
        return dataclasses.replace(self, **settings, changed=tuple(changed))

    def with_defaults(self, **settings: Any) -> "Recipe":
        """The recipe with other defaults; its label stays the same.

        Args:
          **settings: values of settings; those that :meth:`replace` has set stay.

        Returns:
          The recipe.

        Raises:
          ValueError: if a value is not accepted.
        """
        own = {name: getattr(self, name) for name in self.changed}
        return dataclasses.replace(self, **(settings | own))

    def settings(self) -> dict[str, Any]:
        """What the record of a run holds of the recipe."""
        return {
            name: value
            for name, about in SETTINGS.items()
            if (value := getattr(self, name)) != about.default or name in _RECORDED
        }

    def warmup_steps(self, steps: int) -> int:
        """Steps of the warm-up out of all steps."""
        return int(self.warmup_ratio * steps)

    def make_optimizer(
        self, steps: int, first_layer: int = 0
    ) -> "optax.GradientTransformation":
        """AdamW after the clipping that the recipe asks for, with what goes between.

        Args:
          steps: number of steps that the schedule is for.
          first_layer: number of the lowest layer among the parameters.

        Returns:
          An optax optimizer.
        """
        import optax

        import cwgnc_jax
        from cwgnc_jax import contrib

        schedule = contrib.warmup_linear_decay_schedule
        if self.schedule == "bert":
            schedule = contrib.bert_linear_decay_schedule
        rate = schedule(self.learning_rate, self.warmup_steps(steps), steps)
        adam = (
            optax.scale_by_adam if self.bias_correction else contrib.scale_by_bert_adam
        )
        off, decayed = optax.identity(), cwgnc_jax.decay_mask
        towards_initial = off
        if self.l2_sp:
            decayed = functools.partial(_decayed, of_classifier=True)
            pretrained = functools.partial(_decayed, of_classifier=False)
            towards_initial = contrib.decay_towards_pretrained(
                self.l2_sp, mask=pretrained
            )
        return optax.chain(
            self._make_clip(self.max_norm, first_layer),
            contrib.child_tuning(self.child_tuning) if self.child_tuning < 1 else off,
            adam(self.b1, self.b2, self.eps),
            optax.add_decayed_weights(self.weight_decay, decayed),
            towards_initial,
            optax.scale_by_learning_rate(rate),
            # Last, for it scales the decay of weights as well.
            contrib.scale_by_layer_decay(self.layer_decay)
            if self.layer_decay < 1
            else off,
        )

    def _make_clip(
        self, max_norm: "jax.typing.ArrayLike", first_layer: int
    ) -> "optax.GradientTransformation":
        import optax

        import cwgnc_jax
        from bert_glue.model.bert import layer_components
        from cwgnc_jax import contrib

        components = layer_components(first_layer)
        match self.clipping:
            case "none":
                return optax.identity()
            case "global":
                components = cwgnc_jax.whole_tree
            case "agc":
                return contrib.adaptive_clip_by_component_norm(
                    max_norm, components=components
                )
            case "adagc":
                return contrib.adagc(max_norm, components=components)
            case "auto":
                return contrib.autoclip_by_component_norm(components=components)
        return cwgnc_jax.clip_by_component_norm(max_norm, components)

    def make_start(
        self, stddev: float
    ) -> "Callable[[optax.Params, jax.Array], optax.Params] | None":
        """What becomes of the pretrained parameters before a run.

        Args:
          stddev: standard deviation of weights that are drawn anew.

        Returns:
          A function of them and a seed's key: NoisyTune, top layers drawn anew. None
          if they are used as they are.
        """
        if not (self.noisytune or self.reinit_layers):
            return None

        def start(params: "optax.Params", key: "jax.Array") -> "optax.Params":
            from bert_glue.model.bert import layer_components
            from cwgnc_jax import contrib

            if self.noisytune:
                params = contrib.noisytune(
                    params, key, self.noisytune, layer_components()
                )
            if self.reinit_layers:
                # What is drawn replaces the noise: the same key serves both.
                params = contrib.reinitialize_layers(
                    params, key, self.reinit_layers, stddev=stddev
                )
            return params

        return start

    def make_transform(self) -> "Transform | None":
        """What the forward pass of a training step makes of the parameters.

        Returns:
          A function of parameters, initial parameters and key: Mixout. None if the
          parameters are used as they are.
        """
        if not self.mixout:
            return None
        from cwgnc_jax import contrib

        return functools.partial(
            contrib.mixout,
            p=self.mixout,
            output_layer=None if self.mixout_output_layer else r"(^|/)classifier/",
            gradient=self.mixout_gradient,
        )


SETTINGS = settings_of(Recipe)
"""All settings of a recipe."""

# Whatever their values.
_RECORDED = [*SETTINGS][: [*SETTINGS].index("bias_correction")]


def _decayed(params: "optax.Params", of_classifier: bool) -> "optax.Params":
    """Marks the weights to decay of the classifier, or all others."""
    import jax

    import cwgnc_jax

    return {
        name: jax.tree.map(
            lambda mark, here=(name == "classifier") == of_classifier: mark and here,
            marks,
        )
        for name, marks in cwgnc_jax.decay_mask(params).items()
    }


def refusal(method: str, name: str, value: Any) -> str:
    """Says that a value of a method's setting is not accepted."""
    accepted = SETTINGS[name].rule.words_for(value)
    return f"{name} is {value} in the method {method}; accepted is {accepted}"
