"""Hugging Face checkpoints: loaded into and saved from the encoders of this package.

A family's table says which tensor of a file is which parameter. It is checked both
ways: every tensor is used or known to be of no use here, and every parameter is filled
or known to be a fresh head. Only safetensors files are read, never pickles.
"""

import dataclasses
import json
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_glue.data.quiet import quiet
from bert_glue.data.signatures import foreign_file
from bert_glue.data.tables import listed
from bert_glue.data.tokenization import TOKENIZER_FILES
from bert_glue.model.architectures import LAYERS, Architecture
from bert_glue.model.config import EncoderConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Parameters = dict[str, Any]

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
# Parameter of a module -> tensor of that module, and whether it is stored transposed:
# PyTorch's linear maps multiply from the left, kernels of Flax from the right.
_TENSORS = {
    "embedding": ("weight", False),
    "kernel": ("weight", True),
    "scale": ("weight", False),
    "bias": ("bias", False),
}
# In families that do not normalise what comes into the first layer.
_FIRST_NORM = f"{LAYERS}/attention_norm/"


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or fitted to the model."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
      folder: where it lies.
      config: sizes and settings.
      tensors: the file's tensors as NumPy arrays, under the names that transformers
        gives them today.
      labels: names of the classes that a classifier is for.
      architectures: transformers' classes of the model, if the file says so.
      problem_type: what a classifier's labels are, as transformers calls it.
    """

    folder: pathlib.Path
    config: EncoderConfig
    tensors: Mapping[str, np.ndarray]
    labels: tuple[str, ...]
    architectures: tuple[str, ...]
    problem_type: str


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Parameters filled from a checkpoint.

    Attributes:
      params: nested dict of arrays.
      initialised: heads that keep their initial values: the checkpoint does not hold
        them, or its classifier is one for other labels.
      notes: what the user should know of the classifier.
    """

    params: Parameters
    initialised: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find(name: str | pathlib.Path) -> pathlib.Path:
    """The folder of a checkpoint, fetched from the hub if it is not a folder.

    Args:
      name: a folder, or the name of a model on the Hugging Face hub.

    Returns:
      A folder that holds config.json, safetensors and tokenizer files.

    Raises:
      CheckpointError: if the folder has no config.json or no safetensors, the name is
        that of a file, or the hub does not give the model.
    """
    folder = pathlib.Path(name)
    if folder.is_file():
        raise CheckpointError(
            f"{folder} is a file; needed is a folder with {_CONFIG}, {_WEIGHTS} and "
            "tokenizer files"
        )
    if not folder.is_dir():
        folder = _fetch(str(name))
    for needed in ((_CONFIG,), (_WEIGHTS, _INDEX)):
        if not any((folder / file).is_file() for file in needed):
            raise CheckpointError(
                f"the model folder {folder} has no {needed[0]}; needed are {_CONFIG} "
                f"and {_WEIGHTS} (pickled weights are not read; with PyTorch, "
                "transformers converts a folder DIR of them by "
                "AutoModel.from_pretrained(DIR).save_pretrained(DIR), or by "
                "AutoModelForSequenceClassification if it holds a trained classifier)"
            )
    return folder


def read_config(folder: pathlib.Path) -> EncoderConfig:
    """Reads a folder's config.json.

    Raises:
      CheckpointError: if it is of no family that the encoder reads.
    """
    return _read_config(folder)[0]


def _read_config(folder: pathlib.Path) -> tuple[EncoderConfig, "PreTrainedConfig"]:
    """Our configuration and transformers'."""
    try:
        with quiet():
            # Imported here: it takes a second, which --help is not to wait for.
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        return EncoderConfig.from_dict(config.to_dict()), config
    except Exception as error:  # of many kinds, of the layers below
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / _CONFIG}: {reason}") from error


def read(name: str | pathlib.Path) -> Checkpoint:
    """Reads a checkpoint.

    Args:
      name: as for :func:`find`.

    Returns:
      Its configuration and tensors; floating-point ones as float32.

    Raises:
      CheckpointError: if it cannot be found or read, or two of its tensors have the
        same name once prefixes are taken off.
    """
    from safetensors.numpy import load_file

    folder = find(name)
    config, theirs = _read_config(folder)
    tensors: dict[str, np.ndarray] = {}
    for path in _weight_files(folder):
        try:
            loaded = load_file(path)
        except Exception as error:  # of many kinds, as damage is
            kind = foreign_file(path) if path.is_file() else None
            reason = kind or " ".join(str(error).split())
            raise CheckpointError(f"cannot read {path}: {reason}") from error
        for key, tensor in loaded.items():
            key = _modern_name(key, config.architecture)
            if key in tensors:
                raise CheckpointError(f"{path}: two tensors are called {key!r}")
            # NumPy does not count bfloat16 and the like among its floating-point
            # numbers, and does not compute with them: JAX knows them.
            if jnp.issubdtype(tensor.dtype, jnp.floating):
                with np.errstate(over="ignore"):  # infinities are refused below
                    tensor = tensor.astype(np.float32, copy=False)
            tensors[key] = tensor
    labels = tuple(str(label) for _, label in sorted((theirs.id2label or {}).items()))
    architectures = tuple(theirs.architectures or ())
    usual = "regression" if len(labels) == 1 else "single_label_classification"
    problem = theirs.problem_type or usual
    return Checkpoint(folder, config, tensors, labels, architectures, problem)


def fill(
    checkpoint: Checkpoint, params: Parameters, labels: Sequence[str] | None = None
) -> Loaded:
    """Puts a checkpoint's tensors in the place of initial parameters.

    Args:
      checkpoint: from :func:`read`.
      params: nested dict of float32 arrays of ``SequenceClassifier`` or ``MaskedLM``,
        layers in one stack.
      labels: names of the task's classes, in the order of its outputs, none for
        regression: the checkpoint's classifier is brought into this order, or not
        taken if it is for others. Without, it is taken as it is.

    Returns:
      Parameters of the same structure, dtypes and shapes.

    Raises:
      CheckpointError: if a tensor is neither used nor ignored, a parameter stays
        without a value or gets one that is no finite number, or a shape differs; the
        message lists all of them.
    """
    table = _Table(checkpoint.config)
    tensors, notes = checkpoint.tensors, ()
    if labels is not None and table.has("classifier", tensors):
        tensors, notes = _fit_classifier(checkpoint, labels)
    initialised = {
        head.split("/")[0]
        for head in table.architecture.heads
        if head.split("/")[0] in params and not table.has(head, tensors)
    }
    values: dict[str, Any] = {
        path: initial
        for path, initial in flatten_dict(params, sep="/").items()
        if path.split("/")[0] not in initialised
    }
    offenders: list[str] = []
    used: set[str] = set()
    for path, initial in values.items():
        used.update(name for name in table.names(path, initial) if name)
        try:
            value = table.gather(path, initial, tensors)
        except CheckpointError as error:
            offenders.append(str(error))
            continue
        if value.shape == initial.shape:
            # What is not stacked stays the file's own array: memory for two models is
            # as much as loading may take.
            values[path] = value.astype(initial.dtype, copy=False)
        # For other classes: kernel (hidden, labels) and bias (labels,).
        elif path.startswith("classifier/") and value.shape[:-1] == initial.shape[:-1]:
            initialised.add("classifier")
        else:
            offenders.append(
                f"{table.source(path)[0]}: shape {value.shape}, "
                f"but {path} has {initial.shape}"
            )
    offenders += [
        f"{name}: of no use to a {checkpoint.config.model_type} of this configuration"
        for name in sorted(set(tensors) - used)
        if not name.startswith(table.architecture.spare)
    ]
    if offenders:
        raise CheckpointError(
            f"{checkpoint.folder} does not fit the model:\n  " + "\n  ".join(offenders)
        )
    # A head is taken whole or not at all.
    filled: Parameters = unflatten_dict(values, sep="/")
    filled |= {head: params[head] for head in initialised}
    return Loaded(filled, tuple(sorted(initialised)), notes)


def save(
    folder: str | pathlib.Path,
    config: EncoderConfig,
    params: Parameters,
    *,
    labels: tuple[str, ...] = (),
    problem_type: str | None = None,
    tokenizer_from: pathlib.Path | None = None,
    dtype: Any = np.float32,
) -> None:
    """Writes a checkpoint that Hugging Face's classes load.

    Args:
      folder: where to; made if it does not exist.
      config: sizes and settings.
      params: nested dict of arrays of ``SequenceClassifier`` or ``MaskedLM``, layers
        in one stack.
      labels: names of the classes; empty for regression or another model.
      problem_type: what transformers calls that which the classifier learnt; by default
        regression for a single output, else one class an example.
      tokenizer_from: folder whose tokenizer files are copied.
      dtype: floating-point dtype in the file.

    Raises:
      ValueError: if there are not as many names as the classifier has outputs.
    """
    from safetensors.numpy import save_file

    outputs = params["classifier"]["kernel"].shape[1] if "classifier" in params else 0
    if labels and len(labels) != outputs:
        raise ValueError(f"labels are {labels}; the classifier has {outputs} outputs")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, tensors = _Table(config), {}
    for path, leaf in flatten_dict(params, sep="/").items():
        source, transposed = table.source(path)
        layers = np.asarray(leaf) if "*" in source else [np.asarray(leaf)]
        for name, layer in zip(table.names(path, leaf), layers, strict=True):
            tensor = layer.T if transposed else layer
            if name is not None:
                tensors[name] = np.ascontiguousarray(tensor.astype(dtype))
    architecture = table.architecture.classifier if outputs else "BertForMaskedLM"
    values: dict[str, Any] = {"architectures": [architecture], **config.to_dict()}
    if outputs:
        names = labels or tuple(f"LABEL_{index}" for index in range(outputs))
        values["id2label"] = {str(index): name for index, name in enumerate(names)}
        values["label2id"] = {name: index for index, name in enumerate(names)}
        usual = "regression" if outputs == 1 else "single_label_classification"
        values["problem_type"] = problem_type or usual
    (folder / _CONFIG).write_text(json.dumps(values, indent=2) + "\n")
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
    for file in TOKENIZER_FILES if tokenizer_from else ():
        source = pathlib.Path(tokenizer_from or "") / file
        if source.is_file() and source.resolve() != (folder / file).resolve():
            shutil.copyfile(source, folder / file)


def _fetch(name: str) -> pathlib.Path:
    from huggingface_hub import snapshot_download

    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise CheckpointError(f"there is no model folder {name}")
    try:
        folder = snapshot_download(
            name,
            allow_patterns=[_CONFIG, "model*.safetensors", _INDEX, *TOKENIZER_FILES],
        )
    except Exception as error:  # whatever the many layers below raise without network
        raise CheckpointError(
            f"{name!r} is no folder, and the hub did not give a model of this name "
            f"({type(error).__name__}); without network, name a folder that holds "
            f"{_CONFIG}, {_WEIGHTS} and tokenizer files"
        ) from error
    return pathlib.Path(folder)


def _weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    try:
        values = json.loads((folder / _INDEX).read_text())["weight_map"].values()
        names = sorted(set(values))
        outside = [name for name in names if pathlib.PurePath(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _INDEX}: not an index of weights") from error
    if outside:
        raise CheckpointError(
            f"{folder / _INDEX} names weights outside of its folder: {listed(outside)}"
        )
    return [folder / name for name in names]


def _fit_classifier(
    checkpoint: Checkpoint, labels: Sequence[str]
) -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
    """The tensors with a classifier for these labels, or with none; what was done."""
    tensors, names = checkpoint.tensors, checkpoint.labels
    table = _Table(checkpoint.config)
    prefix, right = f"{table.modules['classifier']}.", table.architecture.classifier
    head = {name: t for name, t in tensors.items() if name.startswith(prefix)}
    others = {name: t for name, t in tensors.items() if name not in head}
    # A token's classifier stands on no pooler.
    is_whole = "pooler" not in table.modules or table.has("pooler", tensors)
    said = [*checkpoint.architectures, right if is_whole else "another model"]
    order = _order(names, labels) if labels else [0]
    if said[0] != right:
        note = f"is that of {said[0]}; a new one is drawn"
    elif not order or any(len(tensor) != len(order) for tensor in head.values()):
        wanted = listed(labels) or "numbers"
        note = f"is for {listed(names)}, not for {wanted}; a new one is drawn"
    elif order == sorted(order):
        return tensors, ()
    else:
        note = f"is for {listed(names)}; they are put in the task's order"
        others |= {name: tensor[order] for name, tensor in head.items()}
    return others, (f"{checkpoint.folder}: its classifier {note}",)


def _order(names: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Which output of a classifier each label is; None if they do not have its names.

    Names are compared as they are, or else in small letters and without the LABEL_
    that transformers puts before a number.
    """

    def plain(name: str) -> str:
        return name.strip().casefold().removeprefix("label_")

    for key in (str, plain):
        outputs = {key(name): index for index, name in enumerate(names)}
        wanted = [key(label) for label in labels]
        if len(outputs) == len(names) and sorted(outputs) == sorted(wanted):
            return [outputs[name] for name in wanted]
    return None


def _modern_name(name: str, architecture: Architecture) -> str:
    """What transformers calls a tensor today.

    Encoders are saved without the prefix of the model around them, and TensorFlow's
    names for the parts of LayerNorm are in the first checkpoints.
    """
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
    prefix = f"{architecture.prefix}."
    heads = [
        head.removeprefix(prefix)
        for head in architecture.heads.values()
        if head.startswith(prefix)
    ]
    roots = {f"{m.split('.')[0]}." for m in [*architecture.modules.values(), *heads]}
    return f"{prefix}{name}" if name.startswith(tuple(roots)) else name


class _Table:
    """Which tensors of a file are which parameters of a model.

    Args:
      config: sizes and settings of the model.
    """

    def __init__(self, config: EncoderConfig):
        self.architecture = config.architecture
        prefix = self.architecture.prefix
        self.modules = {
            **{path: f"{prefix}.{m}" for path, m in self.architecture.modules.items()},
            **self.architecture.heads,
        }
        self._norms_first_input = config.norms_first_input

    def has(self, head: str, tensors: Mapping[str, np.ndarray]) -> bool:
        """Whether there are tensors of a head."""
        prefix = f"{self.modules[head]}."
        own = [f"{prefix}{tensor}" for tensor, _ in _TENSORS.values()]
        return any(name in tensors for name in own)

    def source(self, path: str) -> tuple[str, bool]:
        """The tensor of a parameter, a star for the layer; whether it is transposed."""
        module, _, leaf = path.rpartition("/")
        tensor, transposed = _TENSORS[leaf]
        return f"{self.modules[module]}.{tensor}", transposed

    def names(self, path: str, leaf: Any) -> list[str | None]:
        """The tensors that make up a parameter; None for a layer that has none."""
        source, _ = self.source(path)
        layers = range(leaf.shape[0]) if "*" in source else range(1)
        names: list[str | None] = [source.replace("*", str(n)) for n in layers]
        if not self._norms_first_input and path.startswith(_FIRST_NORM):
            names[0] = None
        return names

    def gather(
        self, path: str, leaf: Any, tensors: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """A parameter's value."""
        source, transposed = self.source(path)
        names = self.names(path, leaf)
        if missing := [name for name in names if name and name not in tensors]:
            raise CheckpointError(f"{missing[0]}: missing (for {path})")
        # Of a normalisation that is not used; its scale is 1, its bias 0.
        unused = np.full(leaf.shape[1:], path.endswith("scale"), np.float32)
        stored = [unused if name is None else tensors[name] for name in names]
        stored = [tensor.T if transposed else tensor for tensor in stored]
        if len({tensor.shape for tensor in stored}) > 1:
            raise CheckpointError(
                f"{source}: not of one shape in all layers (for {path})"
            )
        for name, tensor in zip(names, stored, strict=True):
            if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
                kind = tensor.dtype if tensor.dtype != np.float32 else "NaN or infinity"
                raise CheckpointError(f"{name}: {kind}; finite fractions are due")
        return np.stack(stored) if "*" in source else stored[0]
