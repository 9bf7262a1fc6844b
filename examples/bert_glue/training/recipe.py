"""A method of fine-tuning as a recipe: an optimizer and all settings of a run.

A recipe says everything that distinguishes a method; the training loop knows none of
them by name.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import optax

import cwgnc_jax
from bert_glue.model.bert import layer_components
from bert_glue.training.settings import (
    BELOW_ONE,
    BOOL,
    FROM_ZERO,
    NORM,
    POSITIVE,
    SHARE,
    WHOLE,
    Rule,
    is_told_by_name,
    one_of,
    setting,
    written,
)
from cwgnc_jax import contrib

Params = Any

SCHEDULES: Mapping[str, Callable[[float, int, int], optax.Schedule]] = {
    "linear": contrib.warmup_linear_decay_schedule,
    "bert": contrib.bert_linear_decay_schedule,
}
"""Schedules from peak, warm-up steps and total steps: smooth, or with BERT's jump."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One method of fine-tuning with all its settings.

    Attributes:
      name: what the user calls it.
      summary: a line for the help.
      clipping: what ``max_norm`` bounds: the gradient of each component, the whole
        (global) one, or none.
      max_norm: largest norm of that gradient.
      learning_rate: peak of the schedule.
      batch_size: examples in a step.
      epochs: how often each example is seen; in each stage, where there are several.
      warmup_ratio: share of the steps in which the learning rate rises from 0.
      weight_decay: decoupled weight decay; none on biases and LayerNorms.
      b1: decay of Adam's first moment.
      b2: decay of Adam's second moment.
      eps: Adam's epsilon.
      dropout: dropout rate in all places; None for what the model says.
      evaluations_per_epoch: how often the development set is scored.
      keep: which of a run's evaluations is its result: the last or the best.
      bias_correction: whether Adam corrects its moments for their start at 0.
      schedule: a key of :data:`SCHEDULES`.
      group_by_length: whether batches are of examples of like length, rather than
        uniformly random: cheaper, as little is padded.
      segment_ids: whether the model is told the first text from the second.
      mixout: probability with which a weight falls back to its initial value.
      mixout_gradient: 'released', as in the released code, or 'exact'.
      mixout_output_layer: whether the classifier is mixed as well.
      unfreeze: 'gu' trains the layers from the top, one more in each stage;
        'restart' begins each stage with the initial parameters again; None trains
        everything in one stage.
      freezing: how layers are left alone: a 'split' stack, or by 'labels'.
      stages: number of stages of gradual unfreezing, from the first; None for all,
        one for each layer, of which the last is full fine-tuning.
      carry_optimizer: whether optimizer and schedule go on from stage to stage
        rather than start anew.
      optimizer: given (recipe, schedule, map of components), the optimizer. It is
        recorded by its name, as is ``transform``: functions that do different
        things need different names.
      transform: given (recipe, parameters, initial parameters, key), the parameters
        that the forward pass of a training step uses; None for Mixout where
        ``mixout`` is above 0, and else the parameters themselves.
      changed: names of the settings that :meth:`replace` has set.

    Raises:
      ValueError: if a setting is out of its range, or ``optimizer`` or ``transform``
        is anything but a function that its name tells from all others.

    Examples:
      >>> recipe = Recipe("mine", "as I like it", clipping="component", max_norm=0.1)
      >>> variant = recipe.replace(epochs=5)
      >>> variant.label, variant.max_norm, variant.learning_rate
      ('mine:epochs=5', 0.1, 2e-05)
    """

    name: str
    summary: str = dataclasses.field(repr=False)
    clipping: Literal["component", "global", "none"] = setting(
        "global", one_of("component", "global", "none")
    )
    max_norm: float = setting(1.0, NORM)
    learning_rate: float = setting(2e-5, POSITIVE)
    batch_size: int = setting(16, WHOLE)
    epochs: int = setting(3, WHOLE)
    warmup_ratio: float = setting(0.1, SHARE)
    weight_decay: float = setting(0.01, FROM_ZERO)
    b1: float = setting(0.9, BELOW_ONE)
    b2: float = setting(0.999, BELOW_ONE)
    eps: float = setting(1e-6, POSITIVE)
    dropout: float | None = setting(None, BELOW_ONE)
    evaluations_per_epoch: int = setting(1, WHOLE)
    keep: Literal["last", "best"] = setting("last", one_of("last", "best"))
    bias_correction: bool = setting(True, BOOL, always=False)
    schedule: str = setting("linear", one_of(*SCHEDULES), always=False)
    group_by_length: bool = setting(False, BOOL, always=False)
    segment_ids: bool = setting(True, BOOL, always=False)
    mixout: float = setting(0.0, BELOW_ONE, always=False)
    mixout_gradient: Literal["released", "exact"] = setting(
        "released", one_of("released", "exact"), always=False
    )
    mixout_output_layer: bool = setting(True, BOOL, always=False)
    unfreeze: Literal["gu", "restart"] | None = setting(
        None, one_of("gu", "restart"), always=False
    )
    freezing: Literal["split", "labels"] = setting(
        "split", one_of("split", "labels"), always=False
    )
    stages: int | None = setting(None, WHOLE, always=False)
    carry_optimizer: bool = setting(False, BOOL, always=False)
    optimizer: Callable[
        ["Recipe", optax.Schedule, cwgnc_jax.ComponentMap], optax.GradientTransformation
    ] = dataclasses.field(
        default=lambda recipe, *rest: make_adamw(recipe, *rest), repr=False
    )
    transform: Callable[["Recipe", Params, Params, jax.Array], Params] | None = (
        dataclasses.field(default=None, repr=False)
    )
    changed: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, rule in rules().items():
            value = getattr(self, name)
            if not (_may_be_none(name) and value is None) and not rule.is_valid(value):
                raise ValueError(
                    f"{name} is {value} in the method {self.name}; accepted is "
                    f"{rule.accepted}"
                )
        for name, value in self._own_functions().items():
            if not is_told_by_name(value):
                raise ValueError(
                    f"{name} is {value!r} in the method {self.name}; accepted is a "
                    "function defined by def that uses no variable of a function "
                    "around it: runs are recorded under its name"
                )
        if self.unfreeze is None and (self.stages or self.carry_optimizer):
            raise ValueError(
                f"stages and carry_optimizer of the method {self.name} belong to "
                "gradual unfreezing: unfreeze must be gu or restart"
            )

    @property
    def label(self) -> str:
        """Name of the row in a table: the method and what was changed about it."""
        words = (f"{name}={written(getattr(self, name))}" for name in self.changed)
        return ":".join([self.name, *words])

    def replace(self, **settings: Any) -> "Recipe":
        """A variant, whose label names what is different about it.

        Args:
          **settings: new values of fields.

        Returns:
          The variant.

        Raises:
          ValueError: if a value is out of its range.
        """
        changed = dict.fromkeys((*self.changed, *settings))
        return dataclasses.replace(self, **settings, changed=tuple(changed))

    def with_defaults(self, **settings: Any) -> "Recipe":
        """The recipe with other defaults; its label stays the same.

        Args:
          **settings: values of fields; None leaves the field alone, and so does a
            field that :meth:`replace` has set.

        Returns:
          The recipe.
        """
        wanted = {
            name: value
            for name, value in settings.items()
            if value is not None and name not in self.changed
        }
        return dataclasses.replace(self, **wanted)

    def settings(self) -> dict[str, Any]:
        """What the record of a run holds of the recipe."""
        always = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("always")
        }
        return always | self.special_settings()

    def special_settings(self) -> dict[str, Any]:
        """Of the settings that most methods leave alone those that this one sets."""
        special = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("always") is False
            and getattr(self, field.name) != field.default
        }
        own = self._own_functions()
        return special | {name: written(value) for name, value in own.items()}

    def _own_functions(self) -> dict[str, Callable[..., Any]]:
        """Those of ``optimizer`` and ``transform`` that are not the default."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in ("optimizer", "transform")
            and getattr(self, field.name) is not field.default
        }

    def warmup_steps(self, steps: int) -> int:
        """Steps of the warm-up out of all steps."""
        return int(self.warmup_ratio * steps)

    def make_optimizer(
        self, steps: int, first_layer: int = 0
    ) -> optax.GradientTransformation:
        """The optimizer of a run.

        Args:
          steps: number of steps that the schedule is for.
          first_layer: number of the lowest layer among the parameters.

        Returns:
          An optax optimizer.
        """
        make_schedule = SCHEDULES[self.schedule]
        schedule = make_schedule(self.learning_rate, self.warmup_steps(steps), steps)
        return self.optimizer(self, schedule, layer_components(first_layer))

    def make_transform(self) -> Callable[[Params, Params, jax.Array], Params] | None:
        """What the forward pass of a training step makes of the parameters.

        Returns:
          A function of parameters, initial parameters and key; None if it uses the
          parameters as they are.
        """
        transform = self.transform
        if transform is None and self.mixout > 0:
            transform = mix_out
        return None if transform is None else functools.partial(transform, self)


@functools.cache
def rules() -> Mapping[str, Rule]:
    """What each setting of a recipe may be."""
    return {
        field.name: field.metadata["rule"]
        for field in dataclasses.fields(Recipe)
        if field.metadata
    }


def parse_setting(name: str, text: str) -> Any:
    """Reads a setting's value as a user writes it.

    Args:
      name: of the setting, a key of :func:`rules`.
      text: its value; 'none' where the default is None.

    Returns:
      The value.

    Raises:
      ValueError: if it is not of the setting's type.

    Examples:
      >>> parse_setting("epochs", "3"), parse_setting("dropout", "none")
      (3, None)
      >>> parse_setting("bias_correction", "false")
      False
    """
    rule = rules()[name]
    if text.lower() == "none" and _may_be_none(name):
        return None
    if rule.kind is bool:
        words = {"true": True, "false": False}
        return words.get(text.lower(), text)
    try:
        return rule.kind(text)
    except ValueError:
        wanted = "a whole number" if rule.kind is int else "a number"
        raise ValueError(f"{name} needs {wanted}, got {text!r}") from None


def make_adamw(
    recipe: Recipe, schedule: optax.Schedule, components: cwgnc_jax.ComponentMap
) -> optax.GradientTransformation:
    """AdamW after the clipping that the recipe asks for: all methods of the paper.

    Args:
      recipe: the settings.
      schedule: of the learning rate.
      components: of the parameters, where the recipe clips by component.

    Returns:
      The optimizer.
    """
    adamw = contrib.bert_adamw(
        schedule,
        b1=recipe.b1,
        b2=recipe.b2,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        max_norm=recipe.max_norm if recipe.clipping == "global" else None,
        bias_correction=recipe.bias_correction,
    )
    if recipe.clipping != "component":
        return adamw
    clip = cwgnc_jax.clip_by_component_norm(recipe.max_norm, components)
    return optax.chain(clip, adamw)


def mix_out(recipe: Recipe, params: Params, initial: Params, key: jax.Array) -> Params:
    """Mixout with the recipe's settings, at a step of training.

    Args:
      recipe: the settings.
      params: the parameters.
      initial: what they were before the first step.
      key: of the step's masks.

    Returns:
      The parameters that the forward pass is to use.
    """
    return contrib.mixout(
        params,
        initial,
        key,
        recipe.mixout,
        output_layer=None if recipe.mixout_output_layer else r"(^|/)classifier/",
        gradient=recipe.mixout_gradient,
    )


def _may_be_none(name: str) -> bool:
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    return fields[name].default is None
