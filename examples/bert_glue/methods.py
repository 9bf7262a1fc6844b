"""The methods that are compared, as recipes: an optimizer and all its settings.

A recipe says everything that distinguishes a method; the training loop knows none of
them by name. To add a method, write its optimizer and one entry of :data:`METHODS`; to
try a variant, replace a field.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import optax

import cwgnc_jax

Schedule = Callable[[float, int, int], optax.Schedule]
"""Makes a schedule from peak value, warm-up steps and total steps."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One method of fine-tuning with all its settings.

    Attributes:
        name: what the user calls it.
        summary: a line for the help.
        optimizer: makes the optimizer from this recipe and the learning-rate schedule.
        clipping: what ``max_norm`` bounds: each component's gradient, or the whole one.
        max_norm: largest norm of that gradient.
        learning_rate: peak of the schedule.
        batch_size: examples in a step.
        epochs: how often each example is seen.
        warmup_ratio: share of the steps in which the learning rate rises from 0.
        weight_decay: decoupled weight decay; none on biases and LayerNorms.
        b1: decay of Adam's first moment.
        b2: decay of Adam's second moment.
        eps: Adam's epsilon.
        schedule: what makes the schedule.
        dropout: dropout rate in all places; None for what the model says.
        transform: given (parameters, initial parameters, key), the parameters that the
            forward pass of a training step uses; None for the parameters themselves.
        evaluations_per_epoch: how often the development set is scored.
        keep: which of a run's evaluations is its result: the last or the best.

    Raises:
        ValueError: if a setting is out of its range.

    Examples:
        >>> recipe = METHODS["cwgnc"].replace(epochs=3)
        >>> recipe.label, recipe.max_norm, recipe.learning_rate
        ('cwgnc:epochs=3', 0.05, 2e-05)
    """

    name: str
    summary: str = dataclasses.field(repr=False)
    optimizer: Callable[["Recipe", optax.Schedule], optax.GradientTransformation] = (
        dataclasses.field(repr=False)
    )
    clipping: Literal["component", "global"]
    max_norm: float
    learning_rate: float = 2e-5
    batch_size: int = 16
    epochs: int = 3
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6
    schedule: Schedule = dataclasses.field(
        default=cwgnc_jax.warmup_linear_decay_schedule, repr=False
    )
    dropout: float | None = None
    transform: Callable[[Any, Any, jax.Array], Any] | None = dataclasses.field(
        default=None, repr=False
    )
    evaluations_per_epoch: int = 1
    keep: Literal["last", "best"] = "last"
    changed: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, accepted, valid in (
            ("max_norm", "a number >= 0", self.max_norm >= 0),
            ("learning_rate", "a number > 0", 0 < self.learning_rate < math.inf),
            ("batch_size", "a whole number >= 1", self.batch_size >= 1),
            ("epochs", "a whole number >= 1", self.epochs >= 1),
            ("warmup_ratio", "a number from 0 to 1", 0 <= self.warmup_ratio <= 1),
            ("weight_decay", "a number >= 0", 0 <= self.weight_decay < math.inf),
            ("b1", "a number from 0, below 1", 0 <= self.b1 < 1),
            ("b2", "a number from 0, below 1", 0 <= self.b2 < 1),
            ("eps", "a number > 0", 0 < self.eps < math.inf),
            (
                "dropout",
                "a number from 0, below 1",
                self.dropout is None or 0 <= self.dropout < 1,
            ),
            (
                "evaluations_per_epoch",
                "a whole number >= 1",
                self.evaluations_per_epoch >= 1,
            ),
            ("keep", "last or best", self.keep in ("last", "best")),
        ):
            if not valid:
                raise ValueError(
                    f"{name} is {getattr(self, name)} in the method {self.name}; "
                    f"accepted is {accepted}"
                )

    @property
    def label(self) -> str:
        """Name of the row in a table: the method and what was changed about it."""
        return ":".join(
            [self.name, *(f"{name}={getattr(self, name)}" for name in self.changed)]
        )

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
        """All settings that are numbers or words, for the record of a run."""
        skipped = ("name", "summary", "changed", "optimizer", "schedule", "transform")
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in skipped
        }

    def warmup_steps(self, steps: int) -> int:
        """Steps of the warm-up out of all steps."""
        return int(self.warmup_ratio * steps)

    def make_optimizer(self, steps: int) -> optax.GradientTransformation:
        """The optimizer of a run.

        Args:
            steps: number of steps of the whole run.

        Returns:
            An optax optimizer.
        """
        schedule = self.schedule(self.learning_rate, self.warmup_steps(steps), steps)
        return self.optimizer(self, schedule)


LAYER_COMPONENTS = cwgnc_jax.stacked("encoder/layers/.*")
"""The paper's components of the example BERT: each matrix and bias of each layer."""


def _cwgnc(recipe: Recipe, schedule: optax.Schedule) -> optax.GradientTransformation:
    return cwgnc_jax.cwgnc_adamw(
        schedule,
        max_norm=recipe.max_norm,
        b1=recipe.b1,
        b2=recipe.b2,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        components=LAYER_COMPONENTS,
    )


def _adamw(recipe: Recipe, schedule: optax.Schedule) -> optax.GradientTransformation:
    return cwgnc_jax.bert_adamw(
        schedule,
        b1=recipe.b1,
        b2=recipe.b2,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        max_norm=recipe.max_norm,
        bias_correction=True,
    )


METHODS: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="cwgnc",
            summary="component-wise gradient norm clipping (Yang and Ma 2022)",
            optimizer=_cwgnc,
            clipping="component",
            max_norm=0.05,
            epochs=5,
        ),
        Recipe(
            name="adamw",
            summary="AdamW with bias correction, global norm clipped (Devlin et al. "
            "2019, corrected)",
            optimizer=_adamw,
            clipping="global",
            max_norm=1.0,
        ),
    )
}
"""The methods by name."""


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
    """
    recipes = tuple(_parse_method(item.strip()) for item in text.split(","))
    labels = [recipe.label for recipe in recipes]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"the method {label!r} is there twice")
    return recipes


def _parse_method(text: str) -> Recipe:
    name, *settings = text.split(":")
    if name not in METHODS:
        raise ValueError(
            f"unknown method {name!r}; accepted are {_listed(METHODS)}, separated by "
            "commas"
        )
    recipe = METHODS[name]
    for setting in settings:
        key, _, value = setting.partition("=")
        current = recipe.settings()
        if key not in current or key == "clipping":
            accepted = _listed(sorted(current.keys() - {"clipping"}))
            raise ValueError(
                f"unknown setting {key!r} of the method {name!r}; accepted are "
                f"{accepted}, written {name}:epochs=3"
            )
        recipe = recipe.replace(**{key: _parse_value(key, value, current[key])})
    return recipe


def _parse_value(key: str, text: str, current: Any) -> Any:
    if isinstance(current, str):
        return text
    kind = int if isinstance(current, int) else float
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key} needs {wanted}, got {text!r}") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
