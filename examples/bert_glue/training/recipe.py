"""A method of fine-tuning as a recipe: all settings of a run, and what they make.

A recipe says everything that distinguishes a method; the training loop knows none of
them by name. What is here is read to answer a command line, so that JAX is imported
only where an optimizer is made.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bert_glue.training import settings as rules
from bert_glue.training.settings import setting, settings_of, written

if TYPE_CHECKING:
    import jax
    import optax
    from jax.typing import ArrayLike

    import cwgnc_jax

    Transform = Callable[[optax.Params, optax.Params, jax.Array], optax.Params]


class Numbers(NamedTuple):
    """What a compiled training program is given of a recipe, as arguments.

    Recipes that differ in these alone share the program: see
    :attr:`Recipe.structure`. In it they are scalars of one seed, and outside arrays of
    shape (seeds,), so that settings, too, may lie side by side.

    Attributes:
      learning_rate: peak of the schedule.
      warmup_steps: steps of the warm-up.
      total_steps: steps of the schedule.
      max_norm: threshold of the clipping; infinite to clip nothing.
      weight_decay: its strength.
      b1: decay of Adam's first moment.
      b2: decay of its second moment.
      eps: Adam's epsilon.
      dropout: rate in all places, where the recipe has one above 0.
      mixout: chance of the initial value, where it is above 0.
      label_smoothing: share of each label that is spread, where it is above 0.
      layer_decay: factor from layer to layer, where it is below 1.
      l2_sp: decay towards the initial weights, where it is above 0.
      child_tuning: share of a gradient that is kept, where it is below 1.
    """

    learning_rate: "ArrayLike"
    warmup_steps: "ArrayLike"
    total_steps: "ArrayLike"
    max_norm: "ArrayLike"
    weight_decay: "ArrayLike"
    b1: "ArrayLike"
    b2: "ArrayLike"
    eps: "ArrayLike"
    dropout: "ArrayLike"
    mixout: "ArrayLike"
    label_smoothing: "ArrayLike"
    layer_decay: "ArrayLike"
    l2_sp: "ArrayLike"
    child_tuning: "ArrayLike"


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
    epochs: int = setting(
        3, "epochs; of each stage, where there are several", unless="max_steps"
    )
    warmup_ratio: float = setting(
        0.1,
        "share of the steps in which the learning rate rises from 0",
        rules.SHARE,
        unless="warmup_steps",
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
    class_weights: Literal["balanced"] | None = setting(
        None, "weights in the loss, by which rare classes count as much as common ones"
    )
    label_smoothing: float = setting(
        0.0, "share of each label that is spread over all classes", rules.BELOW_ONE
    )
    max_steps: int | None = setting(
        None, "steps, of each stage, instead of epochs; the last one may be cut short"
    )
    warmup_steps: int | None = setting(
        None, "steps of the warm-up, instead of their share", rules.COUNT
    )
    accumulate: int = setting(
        1,
        "equal parts that a batch is computed in, one after the other, for memory; a "
        "step is still that of the whole batch",
    )
    patience: int | None = setting(
        None,
        "evaluations without a better score that end a run, whose best one counts; "
        "with --held-out they are of examples held out",
        needs="keep",
    )
    epochs_per_evaluation: int = setting(
        1, "epochs from one that is evaluated to the next; the last one is in any case"
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
    dropout_bits: int = setting(
        16,
        "random bits an entry of dropout gets: 8 are drawn twice as fast as 16, know "
        "the rate by 1/256 and draw other masks",
        rules.BITS,
    )
    unroll: int | None = setting(
        None,
        "layers compiled one after the other in a turn of a scan; none for six on a "
        "CPU, one elsewhere",
    )
    attention: Literal["own", "xla", "cudnn"] = setting(
        "own",
        "what computes attention where its weights are not dropped: this program, or "
        "jax.nn.dot_product_attention (cudnn on GPUs, in bfloat16)",
    )
    changed: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, about in SETTINGS.items():
            value = getattr(self, name)
            if not about.rule.allows(value):
                raise ValueError(refusal(self.name, name, value))
            # A method's threshold may stay where a user switches clipping off.
            is_set = value != about.default and name != "max_norm"
            needed = about.needs or ""
            if needed and (is_set or name in self.changed) and not self.uses(name):
                raise ValueError(
                    f"{name} of the method {self.name} has no effect while {needed} is "
                    f"{written(getattr(self, needed))}; set {needed}, too "
                    f"({SETTINGS[needed].rule.accepted})"
                )
            if name in self.changed and not self.uses(name):
                raise ValueError(
                    f"{name} of the method {self.name} has no effect beside "
                    f"{about.unless}; accepted is one of them"
                )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate is {self.accumulate} in the method {self.name}, whose "
                f"batch_size is {self.batch_size}; accepted is a number that divides it"
            )
        if self.patience and self.unfreeze:
            raise ValueError(
                f"patience is {self.patience} in the method {self.name}, which has "
                "several stages; accepted is none"
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

    def uses(self, name: str, beside: Mapping[str, Any] | None = None) -> bool:
        """Whether a setting has an effect beside the others.

        Args:
          name: of the setting.
          beside: what :meth:`with_defaults` is about to be given.

        Returns:
          Whether it has.
        """
        needed, other = SETTINGS[name].needs, SETTINGS[name].unless
        if other is not None:
            return self.value(other, beside) is None
        off = (None, 0, "none", "last", "auto")
        return needed is None or self.value(needed, beside) not in off

    def value(self, name: str, beside: Mapping[str, Any] | None = None) -> Any:
        """Value of a setting, if :meth:`with_defaults` is about to be given others."""
        own = getattr(self, name)
        return own if name in self.changed else (beside or {}).get(name, own)

    @property
    def clips_components(self) -> bool:
        """Whether each component is clipped on its own."""
        return self.clipping not in ("global", "none")

    @property
    def redraws(self) -> bool:
        """Whether pretrained parameters are changed at random before the training."""
        return bool(self.noisytune or self.reinit_layers)

    @property
    def computation(self) -> dict[str, Any]:
        """How an encoder's layers are to be computed, as its arguments."""
        found = {name: getattr(self, name) for name in _COMPUTATION}
        return {name: value for name, value in found.items() if value is not None}

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

    def steps(self, steps_per_epoch: int) -> int:
        """Steps of a stage.

        Args:
          steps_per_epoch: batches in an epoch.

        Returns:
          Their number; a multiple of that, but for ``max_steps``.
        """
        return self.max_steps or self.epochs * steps_per_epoch

    @property
    def structure(self) -> "Recipe":
        """The recipe without its numbers: equal ones share their compiled programs.

        What is no rate at all, such as no dropout, is another structure, as nothing is
        computed for it. How often it is evaluated, what is kept of that, and for how
        long it is trained, are no business of the programs.
        """
        loop = {name: SETTINGS[name].default for name in _LOOP}
        return dataclasses.replace(self.lockstep, **loop)

    @property
    def lockstep(self) -> "Recipe":
        """The recipe without its numbers, but for those that the loop goes by.

        Runs of equal ones may lie side by side in one group: they take the same number
        of steps, and are evaluated at the same ones.
        """
        numbers = {name: SETTINGS[name].default for name in _NUMBERS}
        for name in _RATES:
            # No rate at all is another structure.
            if getattr(self, name) not in (0, SETTINGS[name].default):
                numbers[name] = 0.5
        return dataclasses.replace(self, name="", summary="", changed=(), **numbers)

    def numbers(self, steps: int, stages: int = 1) -> Numbers:
        """The numbers of the recipe.

        Args:
          steps: number of steps of a stage, which a schedule is for.
          stages: how many there are. An optimizer that goes on from stage to stage has
            one schedule for all.

        Returns:
          Python's numbers.

        Raises:
          ValueError: if the warm-up is longer than that.
        """
        steps *= stages if self.carry_optimizer else 1
        warmup = self.warmup_steps
        if warmup is None:
            warmup = int(self.warmup_ratio * steps)
        if warmup > steps:
            raise ValueError(
                f"warmup_steps is {warmup} in the method {self.name}, which takes "
                f"{steps} steps; accepted is 0 to {steps}"
            )
        # What is not whole may have been given as if it were.
        own: dict[str, Any] = {
            name: SETTINGS[name].rule.kind(getattr(self, name))
            for name in Numbers._fields
            if name in SETTINGS and getattr(self, name) is not None
        }
        own |= {"dropout": self.dropout or 0.0, "warmup_steps": warmup}
        return Numbers(total_steps=steps, **own)

    def make_optimizer(
        self, numbers: Numbers, first_layer: int = 0
    ) -> "optax.GradientTransformation":
        """AdamW after the clipping that the recipe asks for, with what goes between.

        Args:
          numbers: of the recipe, or of another one of its structure; they may be
            traced.
          first_layer: number of the lowest layer among the parameters.

        Returns:
          An optax optimizer.
        """
        import optax

        import cwgnc_jax
        from bert_glue.model.components import layer_components
        from cwgnc_jax import contrib

        schedule = contrib.warmup_linear_decay_schedule
        if self.schedule == "bert":
            schedule = contrib.bert_linear_decay_schedule
        rate = schedule(
            numbers.learning_rate, numbers.warmup_steps, numbers.total_steps
        )
        adam = (
            optax.scale_by_adam if self.bias_correction else contrib.scale_by_bert_adam
        )
        components = layer_components(first_layer)
        if self.clipping in ("component", "global"):
            if self.clipping == "global":
                components = cwgnc_jax.whole_tree
            clip = cwgnc_jax.clip_by_component_norm(numbers.max_norm, components)
        else:
            clip = self._make_other_clip(numbers.max_norm, components)
        off, decayed = optax.identity(), cwgnc_jax.decay_mask
        towards_initial = off
        if self.l2_sp:
            decayed = functools.partial(_decayed, of_classifier=True)
            pretrained = functools.partial(_decayed, of_classifier=False)
            towards_initial = contrib.decay_towards_pretrained(
                numbers.l2_sp, mask=pretrained
            )
        return optax.chain(
            clip,
            contrib.child_tuning(numbers.child_tuning)
            if self.child_tuning < 1
            else off,
            adam(numbers.b1, numbers.b2, numbers.eps),
            optax.add_decayed_weights(
                numbers.weight_decay,  # pyright: ignore[reportArgumentType]  # Traced.
                decayed,
            ),
            towards_initial,
            optax.scale_by_learning_rate(rate),
            # Last, for it scales the decay of weights as well.
            contrib.scale_by_layer_decay(numbers.layer_decay)
            if self.layer_decay < 1
            else off,
        )

    def _make_other_clip(
        self, max_norm: "jax.typing.ArrayLike", components: "cwgnc_jax.ComponentMap"
    ) -> "optax.GradientTransformation":
        """A clipping that is relative to something, or none."""
        import optax

        from cwgnc_jax import contrib

        match self.clipping:
            case "agc":
                return contrib.adaptive_clip_by_component_norm(
                    max_norm, components=components
                )
            case "adagc":
                return contrib.adagc(max_norm, components=components)
            case "auto":
                return contrib.autoclip_by_component_norm(components=components)
        return optax.identity()

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
        if not self.redraws:
            return None

        def start(params: "optax.Params", key: "jax.Array") -> "optax.Params":
            from bert_glue.model.components import layer_components
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

    def make_transform(self, numbers: Numbers) -> "Transform | None":
        """What the forward pass of a training step makes of the parameters.

        Args:
          numbers: as for :meth:`make_optimizer`.

        Returns:
          A function of parameters, initial parameters and key: Mixout. None if the
          parameters are used as they are.
        """
        if not self.mixout:
            return None
        from cwgnc_jax import contrib

        return functools.partial(
            contrib.mixout,
            p=numbers.mixout,
            output_layer=None if self.mixout_output_layer else r"(^|/)classifier/",
            gradient=self.mixout_gradient,
        )


SETTINGS = settings_of(Recipe)
"""All settings of a recipe."""

# Whatever their values.
_RECORDED = [*SETTINGS][: [*SETTINGS].index("bias_correction")]

# Arguments of the programs; rates are where they are not at their default.
_NUMBERS = ("learning_rate", "warmup_ratio", "warmup_steps", "max_norm")
_NUMBERS += ("weight_decay", "b1", "b2", "eps")
_RATES = ("dropout", "mixout", "label_smoothing")
_RATES += ("layer_decay", "l2_sp", "child_tuning")
# Settings of the loop around the programs.
_LOOP = ("epochs", "max_steps", "evaluations_per_epoch", "epochs_per_evaluation")
_LOOP += ("keep", "patience")


_COMPUTATION = ("dropout_bits", "unroll", "attention")


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
