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
# # A LoRA tree of a small decoder
#
# LoRA leaves a model's matrices as they are and learns, beside each, the product of two
# thin ones, A and B. What is clipped by component, then, are the A and the B of each
# adapter. The decoder here is small, and learns its first task within seconds.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

import cwgnc_jax

# %matplotlib inline

# %%
LETTERS, WORD, LENGTH, WIDTH, HEADS, RANK = 12, 4, 16, 48, 4, 4


class Layer(nnx.Module):
    def __init__(self, rngs):
        self.attention_norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.query = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.key = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.value = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.output = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.wide_norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.wide = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.narrow = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, hidden):
        normed = self.attention_norm(hidden)
        heads = (*hidden.shape[:2], HEADS, -1)
        query, key, value = (
            part(normed).reshape(heads) for part in (self.query, self.key, self.value)
        )
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.output(mixed.reshape(hidden.shape))
        return hidden + self.narrow(nnx.gelu(self.wide(self.wide_norm(hidden))))


class Decoder(nnx.Module):
    def __init__(self, rngs):
        self.letters = nnx.Embed(LETTERS, WIDTH, rngs=rngs)
        self.places = nnx.Embed(LENGTH, WIDTH, rngs=rngs)
        self.layers = nnx.List([Layer(rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, LETTERS, rngs=rngs)

    def __call__(self, text):
        hidden = self.letters(text) + self.places(jnp.arange(text.shape[1]))
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(self.norm(hidden))


def make_batch(key, shift):
    """Texts that repeat a random word, each time `shift` letters further on."""
    words = jax.random.randint(key, (64, WORD), 0, LETTERS)
    return (
        jnp.concatenate([words + shift * i for i in range(LENGTH // WORD)], 1) % LETTERS
    )


def loss_of(model, text):
    logits, letters = model(text)[:, WORD - 1 : -1], text[:, WORD:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, letters)
    return losses.mean(), (logits.argmax(-1) == letters).mean()


# %% [markdown]
# ## Before: a decoder that repeats
#
# "Pretraining" is 200 steps on texts that repeat a word.


# %%
@nnx.jit
def pretrain_step(model, optimizer, text):
    (_, accuracy), gradients = nnx.value_and_grad(loss_of, has_aux=True)(model, text)
    optimizer.update(model, gradients)
    return accuracy


model = Decoder(nnx.Rngs(0))
pretraining = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
for step in range(200):
    repeated = pretrain_step(model, pretraining, make_batch(jax.random.key(step), 0))
print(f"repeats {repeated:.0%} of the letters")

# %% [markdown]
# ## Adapters
#
# Each linear map of the layers is wrapped in `nnx.LoRA`, whose A is drawn and whose B
# is 0. The optimizer sees variables of the type `nnx.LoRAParam` alone, and so do the
# clipping and its norms: nothing is to be masked.

# %%
rngs = nnx.Rngs(1)
for layer in model.layers:
    for name in ("query", "key", "value", "output", "wide", "narrow"):
        linear = getattr(layer, name)
        adapter = nnx.LoRA(
            linear.in_features, RANK, linear.out_features, base_module=linear, rngs=rngs
        )
        setattr(layer, name, adapter)

MAX_NORM = 0.02
tx = optax.chain(cwgnc_jax.clip_by_component_norm(MAX_NORM), optax.adam(1e-2))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.LoRAParam)
adapters = nnx.state(model, nnx.LoRAParam)
base_before = jax.tree.map(
    np.array, nnx.as_pure(nnx.state(model, nnx.All(nnx.Param, nnx.Not(nnx.LoRAParam))))
)
print(cwgnc_jax.describe_components(adapters))

# %% [markdown]
# ## The second task
#
# Now the word comes back three letters further on each time, which the pretrained
# decoder has never seen.


# %%
@nnx.jit
def lora_step(model, optimizer, text):
    trained = nnx.DiffState(0, nnx.LoRAParam)
    (_, accuracy), gradients = nnx.value_and_grad(
        loss_of, argnums=trained, has_aux=True
    )(model, text)
    optimizer.update(model, gradients)
    return accuracy


history, accuracies = [], []
for step in range(120):
    text = make_batch(jax.random.key(1000 + step), 3)
    accuracies.append(float(lora_step(model, optimizer, text)))
    adapters = nnx.state(model, nnx.LoRAParam)
    history.append(cwgnc_jax.component_record(tx, adapters, optimizer))
print(f"right: {accuracies[0]:.0%} at first, {accuracies[-1]:.0%} at last")

# %% [markdown]
# ## A's gradients begin at nothing
#
# As B is 0, the product does not depend on A yet: A's gradient is exactly 0 in the
# first step, and no 0 / 0 comes of it. B's is long at once, and is what gets clipped.

# %%
names = history[0].names
norms = np.stack([record.norms for record in history])
is_a = np.array([name.endswith("lora_a") for name in names])
print("longest gradient of an A in step 1:", norms[0, is_a].max())
print("shortest gradient of a B in step 1:", norms[0, ~is_a].min())

figure, axes = plt.subplots(figsize=(7, 4))
for columns, color, label in ((is_a, "tab:orange", "A"), (~is_a, "tab:blue", "B")):
    axes.plot(norms[1:, columns], color=color, alpha=0.25, linewidth=0.8)
    axes.plot(
        np.median(norms[1:, columns], axis=1), color=color, label=f"{label}, median"
    )
axes.axhline(MAX_NORM, color="black", linestyle=":", label="threshold")
axes.set(yscale="log", xlabel="step", ylabel="gradient norm before clipping")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## One threshold for an adapter
#
# `by_module` takes A and B together, as it takes a kernel and its bias.

# %%
print(cwgnc_jax.describe_components(adapters, cwgnc_jax.by_module))

# %% [markdown]
# And the pretrained matrices kept every bit:

# %%
base_after = nnx.as_pure(nnx.state(model, nnx.All(nnx.Param, nnx.Not(nnx.LoRAParam))))
same = jax.tree.map(lambda old, new: bool((old == new).all()), base_before, base_after)
print("unchanged:", all(jax.tree.leaves(same)))
