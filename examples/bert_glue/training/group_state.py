"""Where a group of seeds is between two segments: measured, saved and taken up."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from numpy.typing import NDArray

import cwgnc_jax
from bert_glue.model.components import layer_components
from bert_glue.training.evaluation import Params
from bert_glue.training.journal import Evaluation, choose, first_bad_step, has_stopped
from bert_glue.training.outputs import count_answers
from bert_glue.training.segments import Segment
from bert_glue.training.trainer import Trainer, TrainLog, TrainState

Score = Callable[[NDArray[np.float32]], float]
"""Score in per cent of the logits of the evaluation examples."""

_MEASURES = {
    "rmsd": cwgnc_jax.component_rmsd,
    "cosine_distance": cwgnc_jax.component_cosine_distance,
}
# Attributes that a checkpoint holds as they are.
_FACTS = ("history", "diverged", "done", "since")


class GroupState:
    """All that a group needs to go on.

    Args:
      trainers: one for each stage. Where they record the components, how far these
        move is measured after each stage.

    Attributes:
      history: for each run one dict for each evaluation.
      diverged: number of the first step of each run that was not finite, or None.
      best: parameters of their best evaluations, if the recipe keeps those.
      done: number of steps that are done.
      since: number of steps that were done at the last evaluation.
      state: of the stage, from its start on.
      log: of the epoch, likewise.
      before: all parameters before the stage, if they are measured against; once it is
        done, those after it.
      initial: all parameters before the first stage, likewise.
      recorded: parts of the recorded arrays, to be put together along the steps.
      seconds: time that it took, in earlier processes if it was interrupted.
    """

    state: TrainState
    log: TrainLog

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self._trainers = trainers
        size = trainers[0].group_size
        self.history: list[list[Evaluation]] = [[] for _ in range(size)]
        self.diverged: list[int | None] = [None] * size
        self.done = self.since = 0
        self.best: Params = None
        self.before: Params = None
        self.initial: Params = None
        self.recorded: dict[str, list[NDArray[Any]]] = {}
        self.seconds = 0.0

    def start(self, segment: Segment, keys: Key[Array, "seeds"]) -> None:
        """Makes what a segment takes up: a new stage's state, a new epoch's log.

        Args:
          segment: what is to be trained.
          keys: of the initial parameters.
        """
        trainer = self._trainers[segment.stage]
        if segment.epoch == segment.start == 0:
            self._start_stage(trainer, keys)
        if segment.start == 0:
            self.log = trainer.new_log()

    def _start_stage(self, trainer: Trainer, keys: Key[Array, "seeds"]) -> None:
        before = None if trainer.stage.restarts else self.before
        opt_state = None
        if self.done and trainer.recipe.carry_optimizer:
            opt_state = self.state.opt_state
        self.state = trainer.start(keys, before, opt_state)
        self.before = None
        if trainer.component_names:
            # A copy, as the state is donated to the first step.
            self.before = jax.tree.map(jnp.copy, trainer.whole(self.state))
            if self.initial is None:
                self.initial = self.before

    def evaluate(self, segment: Segment, score: Score) -> list[float]:
        """Scores the parameters after a segment, and writes down what it was about.

        Args:
          segment: what the evaluation follows.
          score: scores the logits of a run.

        Returns:
          The scores of the seeds.
        """
        trainer = self._trainers[segment.stage]
        params = trainer.whole(self.state)
        logits = trainer.evaluate(params)
        scores = list(map(score, logits))
        # What a run does past its end, as others beside it go on, is nobody's result.
        running = np.logical_not(self.stopped)
        if trainer.recipe.keep == "best":
            self._keep_better(scores, running, params)
        self._enter(segment, logits, scores, running)
        self.since = segment.done
        if segment.ends_epoch or self.is_over:
            self.end_epoch(segment)
        if segment.ends_stage or self.is_over:
            self.end_stage(trainer, params)
        return scores

    @property
    def is_over(self) -> bool:
        """Whether all runs have stopped before their steps were done."""
        return all(self.stopped)

    @property
    def stopped(self) -> list[bool]:
        """Which runs have stopped, while others beside them may go on."""
        patience = self._trainers[0].recipe.patience
        return [has_stopped(scores, patience) for scores in self._scores]

    @property
    def _scores(self) -> list[list[float]]:
        return [[entry["score"] for entry in history] for history in self.history]

    def _keep_better(
        self, scores: list[float], running: NDArray[np.bool_], params: Params
    ) -> None:
        best = [max(run, default=-np.inf) for run in self._scores]
        better = np.greater(scores, best) & running
        if self.best is None:
            # The state is donated to the next step: what is kept is a copy.
            self.best = jax.tree.map(jnp.copy, params)
        elif better.any():
            self.best = choose(better, params, self.best)

    def _enter(
        self,
        segment: Segment,
        logits: NDArray[np.float32],
        scores: list[float],
        running: NDArray[np.bool_],
    ) -> None:
        trainer = self._trainers[segment.stage]
        of_epoch = trainer.placement.fetch(self.log.losses)[:, : segment.stop]
        before = self.recorded.get("losses", [])
        losses = np.concatenate([*before, of_epoch], axis=1)[:, self.since :]
        epochs = segment.stage * trainer.epochs + segment.epoch
        for run in np.flatnonzero(running):
            entry = {
                "step": segment.done,
                "epoch": epochs + segment.stop / trainer.steps_per_epoch,
                "score": scores[run],
                "predicted": count_answers(trainer.workload.loss.problem, logits[run]),
                "train_loss": float(losses[run].mean()),
            }
            if len(self._trainers) > 1:
                entry["stage"] = segment.stage
            self.history[run].append(entry)
            if self.diverged[run] is None:
                bad = first_bad_step(losses[run], logits[run], segment.done)
                self.diverged[run] = bad

    def end_epoch(self, segment: Segment) -> None:
        """Adds the log of an epoch's steps to those of the epochs before.

        Args:
          segment: the last one of the epoch.
        """
        trainer = self._trainers[segment.stage]
        log, stage = trainer.placement.fetch(self.log), trainer.stage.index
        arrays = {"losses": log.losses}
        if log.norms is not None:
            arrays |= {f"norms/{stage}": log.norms, f"scales/{stage}": log.scales}
        for name, values in arrays.items():
            self.recorded.setdefault(name, []).append(
                np.asarray(values)[:, : segment.stop]
            )

    def end_stage(self, trainer: Trainer, params: Params) -> None:
        """Measures what a stage did.

        Args:
          trainer: of the stage.
          params: all parameters after it.
        """
        if self.initial is not None:
            moved = measure(params, self.initial, self.before)
            for name, values in trainer.placement.fetch(moved).items():
                self.recorded[f"{name}/{trainer.stage.index}"] = [values]
        self.before = params

    def joined(self) -> dict[str, NDArray[Any]]:
        """The recorded arrays, whole."""
        return {
            name: np.concatenate(parts, axis=1) for name, parts in self.recorded.items()
        }

    def save(
        self, segment: Segment, seconds: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a checkpoint holds, after an evaluation.

        Args:
          segment: the last one.
          seconds: time that the group took in this process.

        Returns:
          What JSON can hold, and pytrees of arrays by name; :meth:`resume` takes
          them. Random keys are not among them: they follow from the seeds.
        """
        trees: dict[str, Any] = {
            "state": self.state,
            "log": None if segment.ends_epoch else self.log,
            "before": self.before,
            "initial": self.initial,
            "best": self.best,
        }
        trees = {name: tree for name, tree in trees.items() if tree is not None}
        facts = {
            **{name: getattr(self, name) for name in _FACTS},
            "seconds": self.seconds + seconds,
            "stage": segment.stage,
            "trees": sorted(trees),
            "recorded": sorted(self.recorded),
        }
        return facts, {**trees, "recorded": self.joined()}

    def resume(self, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Goes back to where a group was.

        Args:
          facts: as :meth:`save` gave them.
          arrays: likewise.
        """
        placement = self._trainers[0].placement
        self.state = placement.state(arrays["state"])
        if "log" in arrays:
            self.log = placement.rows(arrays["log"])
        for name in ("before", "initial", "best"):
            setattr(self, name, placement.state(arrays.get(name)))
        for name in (*_FACTS, "seconds"):
            setattr(self, name, facts[name])
        self.recorded = {name: [part] for name, part in arrays["recorded"].items()}

    def template(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """How the arrays of :meth:`save` are structured.

        Args:
          facts: what was saved beside the arrays.

        Returns:
          Pytrees of shapes, or of anything where shapes are not known before.
        """
        trainer = self._trainers[facts["stage"]]
        state = trainer.shapes()
        whole = jax.eval_shape(trainer.whole, state)
        shapes = {"state": state, "log": trainer.new_log.shapes()}
        trees = {name: shapes.get(name, whole) for name in facts["trees"]}
        return trees | {"recorded": dict.fromkeys(facts["recorded"], 0)}


@jax.jit
@jax.vmap
def measure(now: Params, initial: Params, before: Params) -> dict[str, jax.Array]:
    """How far each component of each seed has moved.

    Args:
      now: parameters, with a leading seed axis, as all arguments.
      initial: what they were before the run.
      before: what they were before the stage.

    Returns:
      Root-mean-square difference and cosine distance from either, float32 of shape
      (seeds, components): 'rmsd_from_initial', 'cosine_distance_from_before' ...
    """
    return {
        f"{name}_from_{reference}": distance(now, params, layer_components())
        for name, distance in _MEASURES.items()
        for reference, params in (("initial", initial), ("before", before))
    }
