"""Fine-tunes a BERT with component-wise gradient norm clipping, all in one file.

The model, its checkpoint, the labels, the chain, the loss, the step and the loop: copy
it and change it. A copy needs the library with its extra "examples", a checkpoint and
data; without options it takes the model and the task that lie beside it here.

  python finetune_bert.py
      a small BERT and a small generated task, without network
  python finetune_bert.py --model bert-large-uncased --data nyu-mll/glue rte
      the paper's setting; model and data come from the Hugging Face hub
  python finetune_bert.py --model DIR --data DIR --unfreeze
      a checkpoint, and train.csv and dev.csv with one or two columns of text and a
      column `label` of 0, 1, ...; layers are unfrozen from the top, one after the other

Yang & Ma, "Improving Stability of Fine-Tuning Pretrained Language Models via
Component-Wise Gradient Norm Clipping", EMNLP 2022.
"""

import argparse
import functools
import pathlib

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import transformers
from flax import nnx
from huggingface_hub import hf_hub_download
from safetensors.flax import load_file
from sklearn.metrics import matthews_corrcoef

import cwgnc_jax
from cwgnc_jax.contrib import warmup_linear_decay_schedule

HERE = pathlib.Path(__file__).parent
EMBEDDED, TASK = str(HERE / "bert_glue/model/embedded"), str(HERE / "acceptability")
BATCH = 16


class Dense(nnx.Module):
    """A matrix and a bias of a checkpoint, as PyTorch keeps them: (out, in), (out,)."""

    def __init__(self, tensors, name):
        self.weight = nnx.Param(tensors[f"{name}.weight"])
        self.bias = nnx.Param(tensors[f"{name}.bias"])

    def __call__(self, inputs):
        """Returns an array (..., out)."""
        return inputs @ self.weight.T + self.bias


class LayerNorm(Dense):
    """A normalisation of a checkpoint; BERT's epsilon is far below Flax's 1e-6."""

    def __call__(self, inputs):
        """Returns an array of the same shape."""
        return jax.nn.standardize(inputs, epsilon=1e-12) * self.weight + self.bias


class Layer(nnx.Module):
    """Attention and feed-forward, each normalised after its residual sum."""

    def __init__(self, config, tensors, name):
        self.heads = config.num_attention_heads
        self.query = Dense(tensors, f"{name}.attention.self.query")
        self.key = Dense(tensors, f"{name}.attention.self.key")
        self.value = Dense(tensors, f"{name}.attention.self.value")
        self.attention_output = Dense(tensors, f"{name}.attention.output.dense")
        self.attention_norm = LayerNorm(tensors, f"{name}.attention.output.LayerNorm")
        self.intermediate = Dense(tensors, f"{name}.intermediate.dense")
        self.output = Dense(tensors, f"{name}.output.dense")
        self.output_norm = LayerNorm(tensors, f"{name}.output.LayerNorm")
        self.attention_dropout = nnx.Dropout(config.attention_probs_dropout_prob)
        self.dropout = nnx.Dropout(config.hidden_dropout_prob)

    def __call__(self, hidden, mask, **noise):
        """Returns hidden states of the same shape: (batch, length, hidden size)."""
        parts = [part(hidden) for part in (self.query, self.key, self.value)]
        shape = (*hidden.shape[:2], self.heads, -1)
        query, key, value = (part.reshape(shape) for part in parts)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        weights = self.attention_dropout(jax.nn.softmax(scores + mask), **noise)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(hidden.shape)
        mixed = self.dropout(self.attention_output(mixed), **noise)
        hidden = self.attention_norm(hidden + mixed)
        output = self.output(jax.nn.gelu(self.intermediate(hidden), approximate=False))
        return self.output_norm(hidden + self.dropout(output, **noise))


class Bert(nnx.Module):
    """BERT and a classifier; each layer has leaves, and so labels, of its own."""

    def __init__(self, config, tensors):
        embeddings = "embeddings.{}_embeddings.weight".format
        self.word_embeddings = nnx.Param(tensors[embeddings("word")])
        self.type_embeddings = nnx.Param(tensors[embeddings("token_type")])
        self.position_embeddings = nnx.Param(tensors[embeddings("position")])
        self.embeddings_norm = LayerNorm(tensors, "embeddings.LayerNorm")
        names = [f"encoder.layer.{i}" for i in range(config.num_hidden_layers)]
        self.layers = nnx.List([Layer(config, tensors, name) for name in names])
        self.pooler = Dense(tensors, "pooler.dense")
        self.classifier = Dense(tensors, "classifier")
        self.dropout = nnx.Dropout(config.hidden_dropout_prob)

    def __call__(self, batch, rngs=None):
        """Returns logits, shape (batch, classes); without rngs nothing drops out."""
        noise = {"rngs": rngs, "deterministic": rngs is None}
        hidden = self.word_embeddings[batch["input_ids"]]
        hidden += self.type_embeddings[batch["token_type_ids"]]
        hidden += self.position_embeddings[: hidden.shape[1]]
        hidden = self.dropout(self.embeddings_norm(hidden), **noise)
        # For all heads and queries, hence two axes of 1: nothing attends to padding.
        mask = jnp.where(batch["attention_mask"][:, None, None, :], 0.0, -jnp.inf)
        for layer in self.layers:
            hidden = layer(hidden, mask, **noise)
        pooled = jnp.tanh(self.pooler(hidden[:, 0]))  # [CLS], the first token
        return self.classifier(self.dropout(pooled, **noise))


def load_model(name, classes, seed):
    """Returns a checkpoint's structure, parameters (a nested dict) and tokenizer."""
    config = transformers.AutoConfig.from_pretrained(name)
    if config.model_type != "bert" or config.hidden_act != "gelu":
        raise ValueError(f"{name}: needed is a bert with gelu, got {config.model_type}")
    rngs, size, tensors = nnx.Rngs(seed), config.hidden_size, {}
    file = pathlib.Path(name, "model.safetensors")
    file = file if file.exists() else hf_hub_download(name, file.name)
    for key, tensor in load_file(file).items():
        # Old checkpoints call the weight of a LayerNorm gamma, and its bias beta.
        for old, new in (("bert.", ""), ("gamma", "weight"), ("beta", "bias")):
            key = key.replace(old, new)
        tensors[key] = tensor.astype(jnp.float32)

    def fresh(name, outputs):
        weight = config.initializer_range * jax.random.normal(rngs(), (outputs, size))
        return {f"{name}.weight": weight, f"{name}.bias": jnp.zeros(outputs)}

    # Pretraining leaves no classifier for this task, and not always a pooler.
    tensors = fresh("pooler.dense", size) | tensors | fresh("classifier", classes)
    structure, params = nnx.split(Bert(config, tensors), nnx.Param)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        name, model_max_length=min(128, config.max_position_embeddings)
    )
    return structure, nnx.to_pure_dict(params), tokenizer


def encode(split, tokenizer):
    """Returns the columns of text as arrays (examples, length), and the labels."""
    kinds = split.features.items()
    texts = [list(split[name]) for name, kind in kinds if "string" in kind.dtype]
    arrays = tokenizer(*texts, truncation=True, padding=True, return_tensors="np")
    return {**arrays, "label": np.asarray(split["label"])}


def batches(data, sharding, rng=None):
    """Yields batches on the devices; the last is filled up, so that one shape does."""
    size = len(data["label"])
    order = np.arange(size) if rng is None else rng.permutation(size)
    for rows in np.resize(order, (-(-size // BATCH), BATCH)):
        yield jax.device_put({name: data[name][rows] for name in data}, sharding)


def make_optimizer(labels, schedule, max_norm):
    """Returns the paper's optimizer for what is labelled trainable."""
    chain = optax.chain(
        cwgnc_jax.clip_by_component_norm(max_norm),  # before Adam's moments see it
        optax.scale_by_adam(eps=1e-6),  # BERT's; it matters where gradients are small
        optax.add_decayed_weights(0.01, cwgnc_jax.decay_mask),  # no biases, no norms
        optax.scale_by_learning_rate(schedule),
    )
    return optax.partition({"trainable": chain, "frozen": optax.set_to_zero()}, labels)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def train_step(structure, optimizer, params, opt_state, batch, key):
    """Returns parameters, state, and the loss with the share of clipped components."""

    def loss_of(params):
        logits = nnx.merge(structure, params)(batch, nnx.Rngs(dropout=key))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean()

    # Nothing uses the gradients of frozen leaves, so the compiler leaves them out.
    loss, gradients = jax.value_and_grad(loss_of)(params)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    clipped = cwgnc_jax.clip_rate(cwgnc_jax.get_clip_state(opt_state).scales)
    return optax.apply_updates(params, updates), opt_state, jnp.stack([loss, clipped])


@functools.partial(jax.jit, static_argnums=0)
def predict(structure, params, batch):
    """Returns the most likely class of each example."""
    return nnx.merge(structure, params)(batch).argmax(-1)


def make_parser():
    """Returns the parser of the options."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    option = parser.add_argument
    option("--model", default=EMBEDDED, help="folder, or name on the hub")
    option("--data", nargs="+", default=[TASK], help="folder, or dataset of the hub")
    option("--epochs", type=int, default=5, help="of each stage; default 5")
    option("--learning-rate", type=float, help="2e-5; the embedded model's is 5e-4")
    option("--max-norm", type=float, default=0.05, help="of a component; default 0.05")
    option("--unfreeze", action="store_true", help="layer by layer, from the top")
    option("--seed", type=int, default=0, help="of head, order and dropout; default 0")
    return parser


def main(arguments=None):
    """Fine-tunes, prints a line an epoch and returns the parameters."""
    args = make_parser().parse_args(arguments)
    splits = datasets.load_dataset(*args.data, split=["train", "validation"])
    classes = len(set(splits[0]["label"]))
    structure, params, tokenizer = load_model(args.model, classes, args.seed)
    train, dev = (encode(split, tokenizer) for split in splits)

    # Every device holds the parameters, and its share of each batch.
    mesh = jax.sharding.Mesh(jax.devices(), "batch")
    whole, shared = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in ((), ("batch",)))
    params = jax.device_put(params, whole)

    rng, rngs = np.random.default_rng(args.seed), nnx.Rngs(args.seed)
    layers, size = len(params["layers"]), len(dev["label"])
    steps = args.epochs * -(-len(train["label"]) // BATCH)
    rate = args.learning_rate or (5e-4 if args.model == EMBEDDED else 2e-5)
    schedule = warmup_linear_decay_schedule(rate, steps // 10, steps)
    # Stage k trains the head and the top k + 1 layers, the last one everything.
    for stage in range(layers) if args.unfreeze else [layers - 1]:
        labels = cwgnc_jax.unfreezing_labels(params, stage)
        optimizer = make_optimizer(labels, schedule, args.max_norm)
        opt_state = jax.device_put(optimizer.init(params), whole)
        step = functools.partial(train_step, structure, optimizer)
        for epoch in range(args.epochs):
            history = []
            for batch in batches(train, shared, rng):
                params, opt_state, metrics = step(params, opt_state, batch, rngs())
                history.append(metrics)
            loss, clipped = np.mean(history, axis=0)
            guesses = [predict(structure, params, x) for x in batches(dev, shared)]
            score = matthews_corrcoef(dev["label"], np.concatenate(guesses)[:size])
            where = f"top {stage + 1} of {layers} layers, epoch {epoch + 1}"
            print(f"{where}: loss {loss:.3f}, clipped {clipped:.0%}, score {score:.3f}")
    return params


if __name__ == "__main__":
    main()
