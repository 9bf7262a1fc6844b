"""The best run's model: kept, and saved for others to load."""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import jax
import numpy as np

from bert_glue.devices import processes
from bert_glue.model import checkpoint
from bert_glue.records import manifest
from bert_glue.records.failures import failure
from bert_glue.records.files import UNFINISHED
from bert_glue.records.run_store import Record, RunStore
from bert_glue.study import model_card
from bert_glue.study.configuration import Configuration, runs_of
from bert_glue.study.programs import make_trainers
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import GroupResult, train_group
from bert_glue.study.saved_model import RUN, describe
from bert_glue.training.evaluation import Params
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

MODEL = "model"
"""Folder of the saved model, in the output directory."""


class NoBestRun(Exception):
    """Every run diverged."""


@dataclasses.dataclass
class BestModel:
    """Keeps the parameters of the best run of a study.

    Args:
      records: the study's records.
      subject: the model and the task.
      saved: whether to save the parameters too, in the layout of Hugging Face.
      is_local: whether what was fine-tuned is no name on the hub.
    """

    records: RunStore
    subject: Subject
    _: dataclasses.KW_ONLY
    saved: bool
    is_local: bool = True

    def __post_init__(self) -> None:
        self._rank = (False, -np.inf)
        self._kept: tuple[str, Params] | None = None

    @property
    def folder(self) -> pathlib.Path:
        """Where the model is saved."""
        return self.records.folder / MODEL

    def offer(
        self, runs: Sequence[Record], trainers: Sequence[Trainer], result: GroupResult
    ) -> None:
        """Looks whether one of some finished runs is the best so far.

        Args:
          runs: their records.
          trainers: what trained them.
          result: what became of them.
        """
        for row, run in enumerate(runs):
            if run["diverged_at"] is None and _rank(run) > self._rank:
                self._rank = _rank(run)
                params = jax.tree.map(lambda leaf, at=row: leaf[at], result.params)
                self._kept = run["run"], trainers[0].placement.fetch(params)

    def finish(
        self,
        configurations: Sequence[Configuration],
        seeds: Sequence[Seed],
        progress: Progress,
    ) -> tuple[Record, Params]:
        """The best of all the study's runs, those of earlier times included.

        A run whose parameters are not at hand is trained once more.

        Args:
          configurations: those of the study, with all its runs done.
          seeds: of each.
          progress: where to show a run that is done again.

        Returns:
          The record of the best run, and its parameters. If its method leaves out
          segment ids, all ids mean what 0 means, to whoever uses the model.

        Raises:
          NoBestRun: if every run diverged.
          RecordsError: if the model cannot be saved.
        """
        by_name = {each.name: each for each in configurations}
        runs = runs_of(self.records.read(), configurations, seeds)
        sound = [run for run in runs if run["diverged_at"] is None]
        if not sound:
            raise NoBestRun("there is no best run to keep: every run diverged")
        record = max(sound, key=_rank)
        if record["failed"]:
            why = f"{record['run']}, the best run, failed: {failure(record)}"
            progress.note(f"note: every run failed; {why}")
        configuration = by_name[record["configuration"]]
        params = processes.agree(lambda: self._parameters(record))
        if params is None:
            record, params = _train_again(configuration, record, progress)
        if not configuration.recipe.segment_ids:
            params = _without_segments(params)
        if self.saved:
            own = [run for run in runs if run["configuration"] == configuration.name]
            self._save(configuration, own, record, params)
        return record, params

    def _parameters(self, record: Record) -> Params | None:
        """The run's parameters, if they are at hand."""
        if self._kept is not None and self._kept[0] == record["run"]:
            return self._kept[1]
        try:
            saved = json.loads((self.folder / RUN).read_text())
            if saved.get("run") != record["run"]:
                return None
            read = checkpoint.read(self.folder)
            return checkpoint.fill(read, self.subject.shapes).params
        # A checkpoint that cannot be used is a ValueError, too.
        except (OSError, ValueError):
            return None

    def _save(
        self,
        configuration: Configuration,
        runs: Sequence[Record],
        record: Record,
        params: Params,
    ) -> None:
        folder = self.records.folder
        commands = manifest.read(folder)["commands"]
        card = model_card.make_card(
            configuration,
            runs,
            record,
            is_local=self.is_local,
            command=commands[-1]["command"] if commands else None,
        )
        with (
            self.records.locked(),
            tempfile.TemporaryDirectory(
                dir=folder, prefix=".model-", suffix=UNFINISHED
            ) as scratch,
        ):
            new, old = pathlib.Path(scratch) / "new", pathlib.Path(scratch) / "old"
            checkpoint.save(
                new,
                self.subject.config,
                params,
                labels=self.subject.task.labels,
                problem_type=self.subject.task.problem_type,
                tokenizer_from=self.subject.folder,
            )
            text = json.dumps(describe(self.subject, record), indent=2)
            (new / RUN).write_text(f"{text}\n")
            (new / model_card.NAME).write_text(card, encoding="utf-8")
            if self.folder.exists():
                self.folder.rename(old)
            new.rename(self.folder)
            shutil.rmtree(old, ignore_errors=True)


def _rank(run: Record) -> tuple[bool, float]:
    """What makes a run better than another: first of all, that it did not fail."""
    return not run["failed"], run["score"]


def _without_segments(params: Params) -> Params:
    """The parameters with the embedding of segment 0 for all of them.

    What uses the model, Hugging Face's tokenizers among them, tells a pair's texts
    apart; a model that was trained with 0 alone is to answer as it was scored.
    """
    token_type = params["embeddings"].get("token_type")
    if token_type is None:
        return params
    table = np.asarray(token_type["embedding"])
    token_type = {**token_type, "embedding": np.broadcast_to(table[:1], table.shape)}
    return {**params, "embeddings": {**params["embeddings"], "token_type": token_type}}


def _train_again(
    configuration: Configuration, record: Record, progress: Progress
) -> tuple[Record, Params]:
    progress.note(f"training {record['run']}, the best run, again to keep it")
    trainers = make_trainers(configuration, 1)
    seed = Seed(record["init_seed"], record["data_seed"])
    result = train_group(trainers, [seed], configuration.score, progress)
    # Rounding on another device, or beside other seeds, may change an answer.
    score = result.outcomes[0].score
    if abs(score - record["score"]) > 0.005:
        progress.note(f"  now it scores {score:.2f}, recorded is {record['score']:.2f}")
        record = record | {"score": score}
    return record, jax.device_get(jax.tree.map(lambda leaf: leaf[0], result.params))
