"""Hugging Face BERT checkpoints: loaded into and saved from the model of this package.

One table says which tensor of a file is which parameter. It is checked both ways: every
tensor is used or known to be of no use here, and every parameter is filled or known to
be a fresh head. Only safetensors files are read, never pickles.
"""

import dataclasses
import json
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from bert_glue.data.tokenization import TOKENIZER_FILES
from bert_glue.model.config import BertConfig

Parameters = dict[str, Any]

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"

# Parameter of this package -> tensor of the file. Kernels are stored transposed there,
# and each layer on its own, with its number in the place of the star.
_ENCODER = {
    "embeddings/word/embedding": "embeddings.word_embeddings.weight",
    "embeddings/position/embedding": "embeddings.position_embeddings.weight",
    "embeddings/token_type/embedding": "embeddings.token_type_embeddings.weight",
    "embeddings/norm": "embeddings.LayerNorm",
    "encoder/layers/query": "encoder.layer.*.attention.self.query",
    "encoder/layers/key": "encoder.layer.*.attention.self.key",
    "encoder/layers/value": "encoder.layer.*.attention.self.value",
    "encoder/layers/attention_output": "encoder.layer.*.attention.output.dense",
    "encoder/layers/attention_norm": "encoder.layer.*.attention.output.LayerNorm",
    "encoder/layers/intermediate": "encoder.layer.*.intermediate.dense",
    "encoder/layers/output": "encoder.layer.*.output.dense",
    "encoder/layers/output_norm": "encoder.layer.*.output.LayerNorm",
    "pooler": "pooler.dense",
}
_CLASSIFIER = {"classifier": "classifier"}
_MASKED_LM = {
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
    "decoder_bias": "cls.predictions.bias",
}
# Tensors that may lie in a file and are of no use to any of the models here.
_IGNORED = (
    r"embeddings\.position_ids",
    r"cls\.predictions\.decoder\.(weight|bias)",  # tied to the word embedding, the bias
    r"cls\.seq_relationship\.(weight|bias)",
)
# Parts of the parameters that may be missing from a file, and are initialised then.
_HEADS = ("pooler", "classifier", "transform", "transform_norm", "decoder_bias")


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or fitted to the model."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
      folder: Where it lies.
      config: Sizes and settings.
      tensors: The file's tensors as NumPy arrays, names without the prefix ``bert.``
        and with LayerNorm's ``weight`` and ``bias`` for the older gamma and beta.
    """

    folder: pathlib.Path
    config: BertConfig
    tensors: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Parameters filled from a checkpoint.

    Attributes:
      params: Nested dict of arrays.
      initialised: Heads that keep their initial values: the checkpoint does not hold
        them, or its classifier is one for another number of labels.
    """

    params: Parameters
    initialised: tuple[str, ...]


def find(name: str | pathlib.Path) -> pathlib.Path:
    """The folder of a checkpoint, fetched from the hub if it is not a folder.

    Args:
      name: A folder, or the name of a model on the Hugging Face hub.

    Returns:
      A folder that holds config.json, safetensors and tokenizer files.

    Raises:
      CheckpointError: If the folder has no config.json or no safetensors, the name is
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
                f"and {_WEIGHTS} (pickled weights are not read)"
            )
    return folder


def read_config(folder: pathlib.Path) -> BertConfig:
    """Reads a folder's config.json.

    Raises:
      CheckpointError: If it is no BERT's.
    """
    path = folder / _CONFIG
    try:
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        return BertConfig.from_dict(values)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def read(name: str | pathlib.Path) -> Checkpoint:
    """Reads a checkpoint.

    Args:
      name: As for :func:`find`.

    Returns:
      Its configuration and tensors; floating-point ones as float32.

    Raises:
      CheckpointError: If it cannot be found or read, or two of its tensors have the
        same name once prefixes are taken off.
    """
    folder = find(name)
    config = read_config(folder)
    tensors: dict[str, np.ndarray] = {}
    for path in _weight_files(folder):
        for key, tensor in _read_file(path).items():
            key = _modern_name(key)
            if key in tensors:
                raise CheckpointError(f"{path}: two tensors are called {key!r}")
            tensors[key] = tensor
    return Checkpoint(folder, config, tensors)


def fill(checkpoint: Checkpoint, params: Parameters) -> Loaded:
    """Puts a checkpoint's tensors in the place of initial parameters.

    Args:
      checkpoint: From :func:`read`.
      params: Nested dict of float32 arrays of ``BertForSequenceClassification`` or
        ``BertForMaskedLM``, layers in one stack.

    Returns:
      Parameters of the same structure, dtypes and shapes.

    Raises:
      CheckpointError: If a tensor is neither used nor ignored, a parameter stays
        without a value, or a shape differs; the message lists all of them.
    """
    offenders: list[str] = []
    used: set[str] = set()
    initialised: set[str] = set()

    def value(path: str, initial: Any) -> Any:
        source, found = _tensor_for(path, initial, checkpoint.tensors, used)
        head = path.split("/", 1)[0]
        if isinstance(found, str):
            if head in _HEADS and not _has_any(head, checkpoint.tensors):
                initialised.add(head)
            else:
                offenders.append(f"{found} (for {path})")
        elif found.shape != initial.shape:
            # For other classes: kernel (hidden, labels) and bias (labels,).
            if head == "classifier" and found.shape[:-1] == initial.shape[:-1]:
                initialised.add(head)
                return initial
            offenders.append(
                f"{source}: shape {found.shape}, but {path} has {initial.shape}"
            )
        else:
            return found.astype(initial.dtype)
        return initial

    filled = _map_with_path(value, params)
    known = {*_ENCODER.values(), *_CLASSIFIER.values(), *_MASKED_LM.values()}
    for name in sorted(set(checkpoint.tensors) - used):
        if not _is_of_no_use(name, known, checkpoint.config):
            offenders.append(f"{name}: of no use to a BERT of this configuration")
    if offenders:
        raise CheckpointError(
            f"{checkpoint.folder} does not fit the model:\n  " + "\n  ".join(offenders)
        )
    # A head is taken whole or not at all.
    for head in initialised:
        filled[head] = params[head]
    return Loaded(filled, tuple(sorted(initialised)))


def save(
    folder: str | pathlib.Path,
    config: BertConfig,
    params: Parameters,
    *,
    labels: tuple[str, ...] = (),
    tokenizer_from: pathlib.Path | None = None,
    dtype: Any = np.float32,
) -> None:
    """Writes a checkpoint that Hugging Face's classes load.

    Args:
      folder: Where to; made if it does not exist.
      config: Sizes and settings.
      params: Nested dict of arrays of ``BertForSequenceClassification`` or
        ``BertForMaskedLM``, layers in one stack.
      labels: Names of the classes; empty for regression or another model.
      tokenizer_from: Folder whose tokenizer files are copied.
      dtype: Floating-point dtype in the file.

    Raises:
      ValueError: If there are not as many names as the classifier has outputs.
    """
    from safetensors.numpy import save_file

    outputs = params["classifier"]["bias"].shape[0] if "classifier" in params else 0
    if labels and len(labels) != outputs:
        raise ValueError(f"labels are {labels}; the classifier has {outputs} outputs")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}

    def put(path: str, leaf: Any) -> None:
        for name, tensor in _tensors_of(path, np.asarray(leaf)):
            prefix = (
                "" if path.split("/", 1)[0] in (*_CLASSIFIER, *_MASKED_LM) else "bert."
            )
            tensors[prefix + name] = np.ascontiguousarray(tensor.astype(dtype))

    _map_with_path(put, params)
    architecture = "BertForSequenceClassification" if outputs else "BertForMaskedLM"
    values: dict[str, Any] = {"architectures": [architecture], **config.to_dict()}
    if outputs:
        names = labels or tuple(f"LABEL_{index}" for index in range(outputs))
        values["id2label"] = {str(index): name for index, name in enumerate(names)}
        values["label2id"] = {name: index for index, name in enumerate(names)}
        values["problem_type"] = (
            "regression" if outputs == 1 else "single_label_classification"
        )
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
        names = json.loads((folder / _INDEX).read_text())["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _INDEX}: not an index of weights") from error


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        loaded = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    return {
        # NumPy does not count bfloat16 and the like among its floating-point numbers.
        name: tensor.astype(np.float32, copy=False)
        if jnp.issubdtype(tensor.dtype, jnp.floating)
        else tensor
        for name, tensor in loaded.items()
    }


def _modern_name(name: str) -> str:
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
    return name.removeprefix("bert.")


def _source(path: str) -> tuple[str, bool]:
    """The tensor's name, a star for the layer, and whether it is stored transposed."""
    table = {**_ENCODER, **_CLASSIFIER, **_MASKED_LM}
    if path in table:
        return table[path], False
    module, _, leaf = path.rpartition("/")
    return f"{table[module]}.{'bias' if leaf == 'bias' else 'weight'}", leaf == "kernel"


def _tensor_for(
    path: str, initial: Any, tensors: Mapping[str, np.ndarray], used: set[str]
) -> tuple[str, np.ndarray | str]:
    """A parameter's name in the file and value, or for a value the missing name."""
    source, transposed = _source(path)
    stacked = "*" in source
    numbers = range(initial.shape[0]) if stacked else range(1)
    values = []
    for number in numbers:
        name = source.replace("*", str(number))
        if name not in tensors:
            return source, f"{name}: missing"
        used.add(name)
        values.append(tensors[name].T if transposed else tensors[name])
    if len({value.shape for value in values}) > 1:
        return source, f"{source}: not of one shape in all layers"
    return source, np.stack(values) if stacked else values[0]


def _tensors_of(path: str, leaf: np.ndarray) -> list[tuple[str, np.ndarray]]:
    source, transposed = _source(path)
    if "*" not in source:
        return [(source, leaf.T if transposed else leaf)]
    return [
        (source.replace("*", str(number)), layer.T if transposed else layer)
        for number, layer in enumerate(leaf)
    ]


def _has_any(head: str, tensors: Mapping[str, np.ndarray]) -> bool:
    source = {**_ENCODER, **_CLASSIFIER, **_MASKED_LM}[head]
    return any(name == source or name.startswith(source + ".") for name in tensors)


def _is_of_no_use(name: str, known: set[str], config: BertConfig) -> bool:
    if any(re.fullmatch(pattern, name) for pattern in _IGNORED):
        return True
    module = name.rpartition(".")[0]
    if "encoder.layer." in name:
        return False
    return name in known or (module in known and "embeddings" not in module)


def _map_with_path(function: Any, tree: Any, path: str = "") -> Any:
    if isinstance(tree, Mapping):
        return {
            key: _map_with_path(function, child, f"{path}/{key}" if path else key)
            for key, child in tree.items()
        }
    return function(path, tree)
