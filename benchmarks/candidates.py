"""Settings that only a measurement can judge, and trainers that have them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import training_speed
from bert_glue.data import batching
from bert_glue.model.config import EncoderConfig
from bert_glue.training.methods import METHODS
from bert_glue.training.recipe import Recipe
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

RECIPE = METHODS["cwgnc"]
# A few lengths of like-length batches: each is compiled by itself.
_MOST_LENGTHS = 4
CANDIDATES: dict[str, tuple[Any, ...]] = {
    "unroll": (2, 4, 6),
    "dropout_bits": (32, 16, 8),
    "remat": ("none", "full"),
    "dropout": (0.0,),
    "attention": ("xla", "cudnn"),
}
"""Settings of the recipe, the trainer, the subject or the model, and what to try."""

# Attention of others drops no weights: what it saves shows where nothing is dropped.
_BESIDE = {"attention": (("dropout", 0.0),)}
# It is another training, not the same one done faster: shown, but not combined.
_BOUNDS = ("dropout",)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
      seeds: side by side.
      kind: of batches, a key of :data:`training_speed.KINDS`.
      shape: of the model.
      task: whose lengths the examples have.
      settings: candidates, names and values.
      one_length: whether all batches are cut to the longest of all, so that a single
        program is compiled.
    """

    seeds: int
    kind: str = "uniform"
    shape: str = "bert-large"
    task: str = "rte"
    settings: tuple[tuple[str, Any], ...] = ()
    one_length: bool = False

    @property
    def name(self) -> str:
        """Its settings in words."""
        pairs = (f"{key.replace('_', ' ')} {value}" for key, value in self.settings)
        return ", ".join(pairs) or "as it is"


class Absent(Exception):
    """The project does not have a setting."""


def owner(setting: str) -> type | None:
    """The data class that has a setting, if any has."""
    for kind in (Recipe, Subject, EncoderConfig, Trainer):
        if setting in {field.name for field in dataclasses.fields(kind)}:
            return kind
    return None


def defaults() -> dict[str, Any]:
    """The candidates' settings that the project has, and their defaults."""
    found = {}
    for setting in CANDIDATES:
        if (kind := owner(setting)) is not None:
            [field] = [
                each for each in dataclasses.fields(kind) if each.name == setting
            ]
            found[setting] = field.default
    return found


def variants(base: Case, few: bool = False) -> Iterator[Case]:
    """The base case with each candidate in turn that the project has.

    Args:
      base: the case.
      few: whether to take one value of each setting alone.

    Yields:
      The cases.
    """
    for setting, default in defaults().items():
        for value in CANDIDATES[setting][: 1 if few else None]:
            if value != default:
                settings = (*_BESIDE.get(setting, ()), (setting, value))
                yield dataclasses.replace(base, settings=settings)


def make_trainer(case: Case, subject: Subject) -> tuple[Trainer, Subject]:
    """A case's trainer, not compiled yet, and its subject.

    Args:
      case: the case.
      subject: of its shape and task, without its settings.

    Returns:
      Both.

    Raises:
      Absent: if the project does not have a setting of the case.
    """
    of: dict[type | None, dict[str, Any]] = {}
    for setting, value in case.settings:
        of.setdefault(owner(setting), {})[setting] = value
    if absent := of.get(None):
        raise Absent(f"no setting {', '.join(absent)}")
    config = dataclasses.replace(subject.config, **of.get(EncoderConfig, {}))
    subject = dataclasses.replace(subject, config=config, **of.get(Subject, {}))
    grouped = training_speed.KINDS[case.kind]
    recipe = RECIPE.replace(group_by_length=grouped, **of.get(Recipe, {}))
    trainer = Trainer(
        subject.workload(recipe),
        recipe,
        case.seeds,
        buckets=buckets(case, np.asarray(subject.train.lengths)),
        **of.get(Trainer, {}),
    )
    return trainer, subject


def buckets(case: Case, lengths: np.ndarray) -> tuple[int, ...]:
    """Lengths that a case's batches are cut to."""
    width = int(lengths.max())
    if case.one_length:
        return (width,)
    if training_speed.KINDS[case.kind]:
        multiple = batching.GROUPED_MULTIPLE
        return batching.choose_buckets(
            lengths, width, most=_MOST_LENGTHS, saving=0.02, multiple=multiple
        )
    needs = batching.sample_needs(lengths, RECIPE.batch_size * case.seeds)
    return batching.choose_buckets(needs, width)


def together(base: Case, found: Mapping[Case, float]) -> Case | None:
    """The best value of each setting that made steps faster, if there are several."""
    best: dict[str, tuple[float, Any]] = {}
    for case, seconds in found.items():
        if {setting for setting, _ in case.settings} & set(_BOUNDS):
            continue
        for setting, value in case.settings:
            if seconds < best.get(setting, (found[base], None))[0]:
                best[setting] = seconds, value
    settings = tuple((setting, value) for setting, (_, value) in best.items())
    return dataclasses.replace(base, settings=settings) if len(settings) > 1 else None
