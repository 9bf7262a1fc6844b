"""A task and a checkpoint, made ready for training."""

import dataclasses
import functools
import hashlib
import pathlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from bert_glue.data import metrics, tokenization
from bert_glue.data.batching import Batch, Data
from bert_glue.data.examples import Examples, Task, TaskData
from bert_glue.data.tokenization import Encoded
from bert_glue.devices.mesh import SINGLE, Placement, on_cpu
from bert_glue.model import checkpoint as checkpoints
from bert_glue.model.config import EncoderConfig
from bert_glue.model.dropout import DropoutKey
from bert_glue.model.encoder import (
    SequenceClassifier,
    initial_heads,
    initial_params,
    separate,
)
from bert_glue.model.stack import round_layers
from bert_glue.training import outputs
from bert_glue.training.evaluation import Forward, Params
from bert_glue.training.losses import Loss, balanced_weights
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import root_key
from bert_glue.training.trainer import Init, Workload

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ON_CPU = {"unroll": 6, "flat": True}
"""How layers are computed on a CPU: each takes some tenth off a step there."""

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What the forward and backward pass can compute in."""


# Compared by identity: comparing arrays would be no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model and a task, before a method is chosen.

    Attributes:
      task: what is learnt, and how it is scored.
      config: sizes of the model.
      folder: folder of the checkpoint.
      pretrained: its parameters, on the device.
      fresh: parts of the model that the checkpoint does not hold.
      train: examples to learn from.
      evaluation: examples to be scored on.
      max_length: most tokens of an example.
      dtype: name of what is computed in.
      majority_score: score of the classifier that always gives the answer that is
        commonest in training, in per cent.
      constant_score: that of the one that always gives the best answer.
      model_fingerprint: changes with any weight or setting of the checkpoint.
      data_fingerprint: changes with any token or label of the examples.
      remat: what the backward pass computes anew to save memory, a key of
        :data:`encoder.REMAT`; it decides no result beyond rounding.
      held_out: share of the task's training examples that ``evaluation`` is; 0 if
        it has examples of its own.
      files: names of a user's own files: to train on, and to score where that is
        another.
      truncated_share: share of the training examples that were cut to ``max_length``.
      longest: most tokens of a training example before it is cut.
      notes: what the user should know of data and model.
    """

    task: Task
    config: EncoderConfig
    folder: pathlib.Path
    pretrained: Params
    fresh: tuple[str, ...]
    train: Data
    evaluation: Data
    max_length: int
    dtype: str
    majority_score: float
    constant_score: float
    model_fingerprint: str
    data_fingerprint: str
    remat: str = "cheap"
    held_out: float = 0.0
    files: tuple[str, ...] = ()
    truncated_share: float = 0.0
    longest: int = 0
    notes: tuple[str, ...] = ()

    def workload(self, recipe: Recipe, placement: Placement = SINGLE) -> Workload:
        """What the recipe is to train on what.

        Args:
          recipe: the method; its dropout rate overrides the model's, and it may
            leave out segment ids.
          placement: where it is to lie. The data are small: every device has them.

        Returns:
          The workload.
        """

        def lay(data: Data) -> Data:
            if not recipe.segment_ids:
                data = data._replace(token_type_ids=jnp.zeros_like(data.token_type_ids))
            return placement.everywhere(data)

        computation = recipe.computation
        if on_cpu():
            computation = {**_ON_CPU, **computation}
        # Where a device has whole seeds, an encoder is on that device alone.
        within = SINGLE if placement.has_whole_seeds else placement
        return Workload(
            forward=self.forward(recipe.dropout, within, **computation),
            init=self.init(recipe),
            pretrained=placement.params(self.pretrained),
            train=lay(self.train),
            evaluation=lay(self.evaluation),
            placement=placement,
            loss=self.loss(recipe),
            rounded=functools.partial(round_layers, self.config, DTYPES[self.dtype]),
        )

    def loss(self, recipe: Recipe) -> Loss:
        """What is minimised.

        Args:
          recipe: the method; weights of classes are those of the training examples.

        Returns:
          The loss of each example.

        Raises:
          ValueError: if the recipe changes what there is for classes alone, and labels
            are numbers.
        """
        problem, weights = self.task.problem_type, None
        if recipe.class_weights is not None:
            labels = np.asarray(self.train.labels)
            weights = balanced_weights(labels, problem, self.task.num_labels)
        return Loss(problem, weights, recipe.label_smoothing)

    def forward(
        self,
        dropout: float | None = None,
        placement: Placement = SINGLE,
        **options: Any,
    ) -> Forward:
        """The forward pass.

        Args:
          dropout: rate of dropout in all places; None for what the model says.
          placement: where parameters and batches lie.
          **options: as for :class:`encoder.Encoder`.

        Returns:
          A function of parameters, batch and key.
        """
        config = self.config
        if dropout is not None:
            config = config.with_dropout(dropout)
        return make_forward(
            config,
            self.task.num_labels,
            self.dtype,
            self.remat,
            placement,
            **options,
        )

    def init(self, recipe: Recipe | None = None) -> Init:
        """A function of the pretrained parameters and a key: a seed's initial ones.

        Args:
          recipe: a method that may change the pretrained parameters first.
        """
        init = make_init(self.config, self.task.num_labels, self.fresh)
        start = recipe and recipe.make_start(self.config.initializer_range)
        if start is None:
            return init
        return lambda pretrained, key: init(start(pretrained, key), key)

    @functools.cached_property
    def shapes(self) -> Params:
        """Shapes and dtypes of a run's parameters."""
        return jax.eval_shape(self.init(), self.pretrained, root_key(0))

    def encode(self, examples: Examples) -> Data:
        """Tokenises further examples, such as those to predict.

        Args:
          examples: with labels or without.

        Returns:
          The examples, on the device; labels are 0 where there were none.
        """
        tokenizer = load_tokenizer(self.folder, self.config)
        return encode(examples, tokenizer, self.config, self.max_length).data

    def predictions(self, logits: Float[np.ndarray, "... labels"]) -> np.ndarray:
        """Answers from logits, as :func:`outputs.answers` gives them."""
        return outputs.answers(self.task.problem_type, logits)


def prepare(
    data: TaskData,
    model: str | pathlib.Path,
    *,
    max_length: int | None = None,
    dtype: str = "float32",
    remat: str = "cheap",
    new_head: bool = False,
) -> Subject:
    """Reads a checkpoint and tokenises a task with its tokenizer.

    Args:
      data: the task's examples.
      model: folder of a checkpoint, or its name on the hub.
      max_length: most tokens of an example; 128 by default, as in the paper, or what
        the model can take.
      dtype: a key of :data:`DTYPES`; parameters are float32 in any case.
      remat: a key of :data:`encoder.REMAT`.
      new_head: whether the classifier is drawn from each seed, even if the checkpoint
        has one for the task's classes.

    Returns:
      Everything that training needs but a method.

    Raises:
      ValueError: if the checkpoint, its tokenizer or the length cannot be used.
    """
    folder = checkpoints.find(model)
    config = checkpoints.read_config(folder)
    max_length = check_length(max_length, config, folder)
    tokenizer = load_tokenizer(folder, config)
    encoded = encode(data.train, tokenizer, config, max_length)
    train = encoded.data
    evaluation = encode(data.evaluation, tokenizer, config, max_length).data
    shapes = parameter_shapes(config, data.task.num_labels)
    # Without labels nothing is said of a classifier that is not taken.
    labels = None if new_head else data.task.labels
    loaded = checkpoints.fill(checkpoints.read(folder), shapes, labels)
    notes = [*data.notes, *loaded.notes]
    if config.type_vocab_size == 1 and encoded.token_types > 1:
        notes.append(f"{folder} has one token type: both sentences of a pair get it")
    fresh = loaded.initialised
    if new_head:
        fresh = tuple(sorted({*fresh, "classifier"}))
    pretrained = {k: part for k, part in loaded.params.items() if k not in fresh}
    metric, positive = data.task.metric, data.task.positive
    labels, scored = np.asarray(train.labels), np.asarray(evaluation.labels)
    return Subject(
        task=data.task,
        config=config,
        folder=folder,
        pretrained=jax.device_put(pretrained),
        fresh=fresh,
        train=train,
        evaluation=evaluation,
        max_length=max_length,
        dtype=dtype,
        majority_score=metrics.majority_score(metric, labels, scored, positive),
        constant_score=metrics.constant_score(metric, scored, positive),
        model_fingerprint=_fingerprint((config.to_dict(), pretrained)),
        data_fingerprint=_fingerprint((metric, train, evaluation)),
        remat=remat,
        held_out=data.held_out,
        files=data.files,
        truncated_share=encoded.truncated_share,
        longest=encoded.longest,
        notes=tuple(notes),
    )


def make_forward(
    config: EncoderConfig,
    num_labels: int,
    dtype: str,
    remat: str = "cheap",
    placement: Placement = SINGLE,
    **options: Any,
) -> Forward:
    """The forward pass of the classifier as a pure function.

    Args:
      config: sizes of the model.
      num_labels: outputs; 1 for regression.
      dtype: a key of :data:`DTYPES`.
      remat: a key of :data:`encoder.REMAT`.
      placement: where parameters and batches lie.
      **options: as for :class:`encoder.Encoder`: how its layers are computed.

    Returns:
      A function of parameters, batch and dropout key. The parameters' layers may be
      cut into several stacks, by number from the bottom up.
    """
    make = functools.partial(
        SequenceClassifier,
        config,
        num_labels,
        dtype=DTYPES[dtype],
        remat=remat,
        placement=placement,
        **options,
    )

    @functools.cache
    def structure(stacks: tuple[int, ...] | None) -> nnx.GraphDef:
        shapes = nnx.eval_shape(lambda: make(stacks=stacks, rngs=nnx.Rngs(0)))
        return separate(shapes)[0]

    def forward(
        params: Params, batch: Batch, key: Key[Array, ""] | DropoutKey | None
    ) -> Float[Array, "batch labels"]:
        model = nnx.merge(structure(_stacks(params)), params)
        inputs = batch.input_ids, batch.token_type_ids, batch.attention_mask
        return model(*inputs, dropout_key=key)

    return forward


def make_init(config: EncoderConfig, num_labels: int, fresh: tuple[str, ...]) -> Init:
    """The initial parameters of a seed.

    Args:
      config: sizes of the model.
      num_labels: outputs.
      fresh: parts of the model that are drawn at random: pooler, classifier.

    Returns:
      A function of the pretrained parameters and a key.
    """

    def init(pretrained: Params, key: Key[Array, ""]) -> Params:
        return {**pretrained, **initial_heads(config, num_labels, fresh, key)}

    return init


def load_tokenizer(
    folder: pathlib.Path, config: EncoderConfig
) -> "PreTrainedTokenizerFast":
    """The tokenizer of a checkpoint, as its family needs it.

    Raises:
      ValueError: As :func:`tokenization.load_tokenizer`.
    """
    return tokenization.load_tokenizer(folder, config.architecture.special_tokens)


def check_length(
    max_length: int | None, config: EncoderConfig, folder: pathlib.Path
) -> int:
    """Most tokens of an example: as the user says, or 128 if the model takes them.

    Raises:
      ValueError: if the model takes fewer.
    """
    if max_length is None:
        return min(128, config.max_length)
    if max_length > config.max_length:
        raise ValueError(
            f"the maximum length is {max_length}; {folder} accepts at most "
            f"{config.max_length}"
        )
    return max_length


def parameter_shapes(config: EncoderConfig, num_labels: int) -> Params:
    """Shapes and dtypes of the parameters of a classifier with so many outputs."""
    return jax.eval_shape(lambda: initial_params(config, num_labels, root_key(0)))


def encode(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    config: EncoderConfig,
    max_length: int,
) -> Encoded:
    """Tokenises examples for a model.

    Args:
      examples: with labels or without.
      tokenizer: the model's own.
      config: sizes of the model.
      max_length: most tokens of an example.

    Returns:
      The examples, on the device, and what became of them.

    Raises:
      ValueError: if the tokenizer is not the model's.
    """
    folder, pieces = tokenizer.name_or_path, len(tokenizer)
    # Models have some embeddings more than there are pieces, for a round number.
    if pieces < 0.9 * config.vocab_size:
        raise ValueError(
            f"the vocabulary in {folder} has {pieces} pieces and is not whole: the "
            f"model has {config.vocab_size}"
        )
    encoded = tokenization.encode(examples, tokenizer, max_length, config.pad_token_id)
    data = encoded.data
    if config.type_vocab_size < 2:
        data = data._replace(token_type_ids=np.zeros_like(data.token_type_ids))
    if (largest := int(data.input_ids.max())) >= config.vocab_size:
        raise ValueError(
            f"the tokenizer in {folder} gives the token {largest}, but the model has "
            f"{config.vocab_size}"
        )
    return encoded._replace(data=jax.device_put(data))


def _stacks(params: Params) -> tuple[int, ...] | None:
    """Numbers of layers of the stacks; None for one that was not cut."""
    layers = params["encoder"]["layers"]
    if 0 not in layers:
        return None
    return tuple(jax.tree.leaves(layers[stack])[0].shape[0] for stack in sorted(layers))


def _fingerprint(tree: Any) -> str:
    """Twelve hexadecimal digits that change with any name or value in the tree."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape}".encode())
        if array.dtype.kind == "U":
            digest.update(str(array).encode())
        else:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:12]
