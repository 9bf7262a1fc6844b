"""What a group of seeds carries from one stretch of its training to the next."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bert_glue.training.evaluation import Params
from bert_glue.training.state import TrainLog
from bert_glue.training.trainer import Trainer


class Stretch(NamedTuple):
    """Some steps of a run between which nothing has to happen.

    Attributes:
      stage: number of the stage.
      epoch: number of the epoch in the stage.
      start: first step, counted within the epoch.
      stop: the step after the last.
      is_evaluation: whether an evaluation follows.
      done: steps of the whole run that are done after it.
      ends_epoch: whether it is the last of its epoch.
      ends_stage: whether it is the last of its stage.
    """

    stage: int
    epoch: int
    start: int
    stop: int
    is_evaluation: bool
    done: int
    ends_epoch: bool
    ends_stage: bool


class Journal:
    """What is written down of each run at its evaluations.

    Args:
      runs: number of runs.
      several_stages: whether an entry says in which stage it was made.

    Attributes:
      history: for each run one dict for each evaluation.
      diverged: number of the first step of each run that was not finite, or None.
      scores: those of the last evaluation.
      last_losses: mean losses of the epoch of the last evaluation, up to it.
    """

    def __init__(self, runs: int, *, several_stages: bool) -> None:
        self.history: list[list[dict[str, Any]]] = [[] for _ in range(runs)]
        self.diverged: list[int | None] = [None] * runs
        self.scores: list[float] = []
        self.last_losses: list[float] = []
        self._several_stages = several_stages

    def enter(
        self,
        trainer: Trainer,
        stretch: Stretch,
        losses: NDArray[np.float32],
        logits: NDArray[np.float32],
        since: int,
        scores: Iterable[float],
    ) -> None:
        """Adds an evaluation.

        Args:
          trainer: what trained the runs.
          stretch: what it follows.
          losses: of the epoch, shape (runs, steps), filled in up to it.
          logits: of the evaluation examples, shape (runs, examples, labels).
          since: step of the epoch of the evaluation before; 0 for none.
          scores: of the runs, in per cent.
        """
        epochs = stretch.stage * trainer.recipe.epochs + stretch.epoch
        self.scores = list(scores)
        self.last_losses = [float(each[: stretch.stop].mean()) for each in losses]
        for number, score in enumerate(self.scores):
            self.diverged[number] = self.diverged[number] or first_bad_step(
                losses[number, : stretch.stop], logits[number], stretch.done
            )
            entry = {
                "step": stretch.done,
                "epoch": epochs + stretch.stop / trainer.steps_per_epoch,
                "score": score,
                "train_loss": float(losses[number, since : stretch.stop].mean()),
            }
            if self._several_stages:
                entry["stage"] = stretch.stage
            self.history[number].append(entry)


class Best:
    """The best evaluation of each seed so far, and its parameters.

    Args:
      seeds: number of seeds.
    """

    def __init__(self, seeds: int) -> None:
        self.scores = [-np.inf] * seeds
        self.params: Params = None

    def look(self, scores: list[float], params: Params) -> None:
        """Keeps what is better than before.

        Args:
          scores: of the seeds.
          params: their parameters, with a leading seed axis.
        """
        better = [new > old for new, old in zip(scores, self.scores, strict=True)]
        self.scores = list(np.maximum(scores, self.scores))
        if self.params is None:
            # The state is donated to the next step: what is kept is a copy.
            self.params = jax.tree.map(jnp.copy, params)
        elif any(better):
            self.params = _choose(np.asarray(better), params, self.params)


@dataclasses.dataclass
class Course:
    """Where a group is between two stretches, with all that it needs to go on.

    Attributes:
      journal: what is written down of its runs.
      best: their best evaluations, if the recipe keeps those.
      done: number of steps that are done.
      since: step of the epoch of the last evaluation.
      state: ``TrainState`` of the stage; None before the first.
      log: ``TrainLog`` of the epoch.
      before: all parameters before the stage or, once it is done, after it.
      initial: all parameters before the first stage, if they are measured against.
      recorded: parts of the recorded arrays, to be put together along the steps.
      seconds: time that it took, in earlier processes if it was interrupted.
    """

    journal: Journal
    best: Best | None
    done: int = 0
    since: int = 0
    state: Any = None
    log: Any = None
    before: Params = None
    initial: Params = None
    recorded: dict[str, list[NDArray[Any]]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def keep_log(self, stage: int, log: TrainLog) -> None:
        """Adds an epoch's log, as NumPy has it, to those of the epochs before."""
        kept: dict[str, Any] = {"losses": log.losses}
        if log.norms is not None:
            kept[f"norms/{stage}"] = log.norms
            kept[f"scales/{stage}"] = log.scales
        for name, values in kept.items():
            self.recorded.setdefault(name, []).append(np.asarray(values))

    def joined(self) -> dict[str, NDArray[Any]]:
        """The recorded arrays, whole."""
        return {
            name: np.concatenate(parts, axis=1) for name, parts in self.recorded.items()
        }

    def save(
        self, stretch: Stretch, seconds: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a checkpoint holds, after an evaluation.

        Args:
          stretch: the last one.
          seconds: time that the group took so far.

        Returns:
          What JSON can hold, and pytrees of arrays by name; :meth:`resume` takes
          them. Random keys are not among them: they follow from the seeds.
        """
        arrays: dict[str, Any] = {"state": self.state, "initial": self.initial}
        if not stretch.ends_epoch:
            arrays["log"] = self.log
        if self.initial is not None and not stretch.ends_stage:
            arrays["before"] = self.before
        if self.best is not None:
            arrays["best"] = self.best.params
        arrays = {name: tree for name, tree in arrays.items() if tree is not None}
        facts = {
            "stage": stretch.stage,
            "ends_stage": stretch.ends_stage,
            "done": self.done,
            "since": self.since,
            "seconds": seconds,
            "history": self.journal.history,
            "diverged": self.journal.diverged,
            "best": None if self.best is None else self.best.scores,
            "trees": sorted(arrays),
            "recorded": sorted(self.recorded),
        }
        return facts, {**arrays, "recorded": self.joined()}

    def resume(
        self,
        trainers: Sequence[Trainer],
        facts: Mapping[str, Any],
        arrays: Mapping[str, Any],
    ) -> None:
        """Goes back to where a group was.

        Args:
          trainers: one for each stage.
          facts: as :meth:`save` gave them.
          arrays: likewise.
        """
        self.journal.history = facts["history"]
        self.journal.diverged = facts["diverged"]
        if self.best is not None:
            self.best.scores = facts["best"]
            self.best.params = trainers[0].placement.state(arrays["best"])
        self.done, self.since = facts["done"], facts["since"]
        self.seconds = facts["seconds"]
        place = trainers[0].placement
        self.state = place.state(arrays["state"])
        self.log = place.rows(arrays.get("log"))
        self.initial, self.before = (
            place.state(arrays.get(name)) for name in ("initial", "before")
        )
        if facts["ends_stage"]:
            self.before = trainers[facts["stage"]].whole(self.state)
        self.recorded = {name: [part] for name, part in arrays["recorded"].items()}


def template(trainers: Sequence[Trainer], facts: Mapping[str, Any]) -> dict[str, Any]:
    """How the arrays of :meth:`Course.save` are structured.

    Args:
      trainers: one for each stage.
      facts: what was saved beside the arrays.

    Returns:
      Pytrees of shapes, or of anything where shapes are not known before.
    """
    trainer = trainers[facts["stage"]]
    state = trainer.shapes()
    whole = jax.eval_shape(trainer.whole, state)
    log = jax.eval_shape(trainer.new_log)
    known = {"state": state, "log": log} | dict.fromkeys(
        ("before", "initial", "best"), whole
    )
    trees = {name: known[name] for name in facts["trees"]}
    return trees | {"recorded": dict.fromkeys(facts["recorded"], 0)}


@jax.jit
def _choose(better: jax.Array, new: Params, old: Params) -> Params:
    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, new, old)


def first_bad_step(
    losses: NDArray[np.float32], logits: NDArray[np.float32], done: int
) -> int | None:
    """Where a run diverged.

    Args:
      losses: losses of the last steps, shape (steps,).
      logits: what the model says after them.
      done: number of steps of the run so far.

    Returns:
      Number of the first step, from 1, whose loss is not finite, or of the last if
      only the logits are not; None if the run is sound.

    Examples:
      >>> losses = np.array([0.7, np.inf, np.nan], np.float32)
      >>> first_bad_step(losses, np.zeros((2, 2), np.float32), done=13)
      12
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        return done - losses.size + int(bad[0]) + 1
    return None if np.isfinite(logits).all() else done
