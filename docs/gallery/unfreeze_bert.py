# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Unfreeze a BERT by labels
#
# Gradual unfreezing trains the head and the top layer first, then one layer more in
# each stage. Labels say which leaves a stage trains; `freeze` hides the others from the
# optimizer. The BERT is the small one that comes with the project, and the task is to
# tell sentences that are well formed from those that are not.
#
# `finetune_bert.py` is the one-file example; its Flax BERT has each layer in leaves of
# its own. This loads any BERT likewise that the Hugging Face hub has in one file of
# safetensors, with the usual activation (`gelu`).

# %%
import collections
import functools
import os
import pathlib
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
from flax import nnx
from sklearn.metrics import matthews_corrcoef

import cwgnc_jax
from cwgnc_jax.plotting import plot_updates

# %matplotlib inline

here = pathlib.Path.cwd()
project = next(
    folder for folder in (here, *here.parents) if (folder / "examples").is_dir()
)
sys.path.append(str(project / "examples"))

# Of transformers a tokenizer is needed, but no PyTorch, and of downloads no bars.
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.filterwarnings("ignore", message="IProgress not found")

import finetune_bert

# %%
structure, params, tokenizer = finetune_bert.load_model(
    finetune_bert.EMBEDDED, classes=2, seed=0
)
pretrained = jax.tree.map(jnp.copy, params)


def read(name):
    frame = pandas.read_csv(project / "examples/acceptability" / name)
    texts = tokenizer(list(frame["sentence"]), padding=True, return_tensors="np")
    return {**texts, "label": frame["label"].to_numpy()}


train, dev = read("train.csv"), read("dev.csv")  # 800 and 400 sentences

# %% [markdown]
# ## Labels
#
# Groups are found by their paths: embeddings below, numbered layers, the head above.
# There are as many stages as layers.

# %%
groups = cwgnc_jax.unfreezing_groups(params)
layers = len(params["layers"])
for stage in range(layers):
    labels = cwgnc_jax.unfreezing_labels(params, stage, groups)
    tops = {name: set(jax.tree.leaves(labels[name])) for name in ("pooler", "layers")}
    counts = collections.Counter(jax.tree.leaves(labels))
    print(f"stage {stage}: {dict(counts)}, layers {sorted(tops['layers'])}")

# %% [markdown]
# ## A stage
#
# What is frozen has no moments, no decay, no part in any norm, and keeps every bit; in
# a compiled step its gradients are not even computed, as nothing uses them.


# %%
@functools.partial(jax.jit, static_argnums=0)
def train_step(tx, params, opt_state, batch, key):
    def loss_of(params):
        logits = nnx.merge(structure, params)(batch, nnx.Rngs(dropout=key))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean()

    loss, gradients = jax.value_and_grad(loss_of)(params)
    updates, opt_state = tx.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


@jax.jit
def predict(params):
    return nnx.merge(structure, params)(dev).argmax(-1)


EPOCHS, BATCH = 2, 16
rng, keys = np.random.default_rng(0), nnx.Rngs(0)
after_stages, records, moments, scores = [], [], [], []
for stage in range(layers):
    labels = cwgnc_jax.unfreezing_labels(params, stage, groups)
    tx = cwgnc_jax.freeze(cwgnc_jax.cwgnc_adamw(5e-4, max_norm=0.05), labels)
    opt_state = tx.init(params)
    moments.append(sum(leaf.size for leaf in jax.tree.leaves(opt_state)))
    for _ in range(EPOCHS):
        for rows in rng.permutation(len(train["label"])).reshape(-1, BATCH):
            batch = {name: column[rows] for name, column in train.items()}
            params, opt_state, loss = train_step(tx, params, opt_state, batch, keys())
    scores.append(100 * matthews_corrcoef(dev["label"], predict(params)))
    after_stages.append(params)
    records.append(cwgnc_jax.component_record(tx, params, opt_state))
    print(
        f"stage {stage}: {len(records[-1].names)} components are clipped, "
        f"{moments[-1]:,} numbers of state, Matthews' correlation {scores[-1]:.1f}%"
    )

# %% [markdown]
# ## What has moved
#
# The largest root-mean-square difference to the pretrained weights in each group. What
# is frozen has no point, for it has moved by nothing at all.

# %%
moved = np.stack(
    [cwgnc_jax.component_rmsd(after, pretrained) for after in after_stages]
)
places = cwgnc_jax.component_groups(params, groups=groups)
plot_updates(cwgnc_jax.extremes_by_group(moved, places))

# %% [markdown]
# One seed and two epochs a stage show how it works, not how well: for that there is
# `examples/gradual_unfreezing.py`, which compares it with full fine-tuning over many
# seeds.
