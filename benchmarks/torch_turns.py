"""PyTorch's training that takes turns with ours, eager and compiled."""

import argparse
import functools
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import reporting
import training_speed
from bert_glue.training.subjects import Subject
from candidates import RECIPE, Case
from torch_peer import TorchPeer

# PyTorch's ways, and whether they are compiled.
WAYS = {"PyTorch": False, "PyTorch compiled": True}


class _Start(threading.Thread):
    """The start of a peer. Nobody who ends waits for it."""

    def __init__(self, python: str, settings: dict[str, Any]):
        super().__init__(daemon=True)
        self.peer: TorchPeer | None = None
        self.error: Exception | None = None
        self._arguments = python, "torch_finetune.py", settings
        self.start()

    def run(self) -> None:
        try:
            self.peer = TorchPeer(*self._arguments)
        except Exception as error:
            # Told where it is asked for: that it cannot run stops nothing else.
            self.error = error


class Peers:
    """PyTorch's processes, which start while our first programs are compiled.

    Args:
      options: of the command line.
      subject: whose training they do; None for no PyTorch.

    Attributes:
      seconds: medians of a step by way and kind of batches, of all that were timed.
    """

    def __init__(self, options: argparse.Namespace, subject: Subject | None = None):
        self.seconds: dict[tuple[str, str], float] = {}
        self._options = options
        self._starts: dict[str, _Start] = {}
        if subject is None:
            return
        self._folder = tempfile.TemporaryDirectory()
        data = pathlib.Path(self._folder.name) / "data.npz"
        examples = jax.tree.map(np.asarray, subject.train)._asdict()
        np.savez(data, **examples, **orders(examples["lengths"]))
        for way, compiled in WAYS.items():
            settings = {
                "config": subject.config.to_dict(),
                "num_labels": 2,
                "data": str(data),
                "variants": list(training_speed.KINDS),
                "steps": options.steps,
                "dtype": options.dtype,
                "compile": compiled,
                "attention": "sdpa",
            }
            self._starts[way] = _Start(options.torch_python, settings)

    def turns(self, case: Case) -> dict[str, Callable[[], float]]:
        """What takes turns with a case: who is ready, with one or four seeds."""
        if case.seeds not in (1, 4) or case.settings or case.task != "rte":
            return {}
        return {
            way: functools.partial(start.peer.time, case.kind)
            for way, start in self._starts.items()
            if start.peer is not None
        }

    def keep(self, case: Case, medians: Mapping[str, float]) -> dict[str, float]:
        """Writes down what turns took; seconds of a step by way."""
        found = {way: each / self._options.steps for way, each in medians.items()}
        for way, each in found.items():
            self.seconds[way, case.kind] = each
        return found

    def finish(self, deadline: float) -> list[str]:
        """Times those alone that were not ready before; versions and what failed."""
        notes = []
        for way, start in self._starts.items():
            start.join(max(0.0, deadline - time.monotonic()))
            if start.peer is None:
                notes.append(
                    f"{way}: {start.error or 'not ready when the time was up'}"
                )
                continue
            notes.append(f"{way}: {start.peer.version}")
            for kind in training_speed.KINDS:
                if (way, kind) in self.seconds:
                    continue
                turns = {way: functools.partial(start.peer.time, kind)}
                medians = reporting.interleave(turns, self._options.rounds, warm_up=1)
                self.keep(Case(1, kind), medians)
        return notes


def orders(lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Batches of full size, as PyTorch's side takes them, by kind."""
    rng = np.random.default_rng(0)
    size = RECIPE.batch_size
    count = len(lengths) // size
    uniform = rng.permutation(len(lengths))[: count * size].reshape(count, size)
    alike = np.argsort(lengths, kind="stable")[: count * size].reshape(count, size)
    return {"order uniform": uniform, "order like length": rng.permutation(alike)}
