"""PyTorch's training that takes turns with ours, eager and compiled."""

import argparse
import concurrent.futures
import functools
import pathlib
import tempfile
from collections.abc import Callable

import jax
import numpy as np
import training_speed
from bert_glue.training.subjects import Subject
from candidates import RECIPE, Case
from torch_peer import TorchPeer

# PyTorch's ways, and whether they are compiled.
WAYS = {"PyTorch": False, "PyTorch compiled": True}


class Peers:
    """PyTorch's processes, which start while the first program is compiled.

    Args:
      options: of the command line.
      subject: whose training they do.
    """

    def __init__(self, options: argparse.Namespace, subject: Subject | None = None):
        self.versions: dict[str, str] = {}
        self._starting: dict[str, concurrent.futures.Future[TorchPeer]] = {}
        self._wait = options.seconds / 2
        if subject is None:
            return
        pool = concurrent.futures.ThreadPoolExecutor(len(WAYS))
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
            start = functools.partial(TorchPeer, options.torch_python)
            self._starting[way] = pool.submit(start, "torch_finetune.py", settings)
        pool.shutdown(wait=False)

    def turns(self, case: Case) -> dict[str, Callable[[], float]]:
        """What takes turns with a case: that is of one or of four seeds."""
        if case.seeds not in (1, 4) or case.settings or case.task != "rte":
            return {}
        found = {}
        for way, future in list(self._starting.items()):
            try:
                peer = future.result(self._wait)
            except Exception as error:
                # A peer that cannot run is no reason not to measure ourselves.
                del self._starting[way]
                print(f"{way}: {type(error).__name__}: {error}", flush=True)
                continue
            self.versions[way] = peer.version
            found[way] = functools.partial(peer.time, case.kind)
        return found


def orders(lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Batches of full size, as PyTorch's side takes them, by kind."""
    rng = np.random.default_rng(0)
    size = RECIPE.batch_size
    count = len(lengths) // size
    uniform = rng.permutation(len(lengths))[: count * size].reshape(count, size)
    alike = np.argsort(lengths, kind="stable")[: count * size].reshape(count, size)
    return {"order uniform": uniform, "order like length": rng.permutation(alike)}
