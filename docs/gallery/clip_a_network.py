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
# # Clip a small network and see each component's norm
#
# Clipping by *component* gives each weight matrix and each bias a limit of its own.
# Here a network of three layers learns to read handwritten digits, and the norms of its
# six components, before clipping, are drawn step by step.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx
from sklearn.datasets import load_digits

import cwgnc_jax
from cwgnc_jax.plotting import plot_clip_rate

# %matplotlib inline

# %%
pixels, digits = load_digits(return_X_y=True)  # 1,797 pictures of 8 x 8 pixels
images, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(digits)
UNSEEN = 400  # the last pictures, which no step trains on


class Network(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 64, rngs=rngs)
        self.second = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        hidden = nnx.relu(self.first(images))
        return self.head(nnx.relu(self.second(hidden)))


# %% [markdown]
# ## The optimizer
#
# The clipping comes first in the chain, so that Adam's moments are made of clipped
# gradients. Before the first step, a table of what is a component:

# %%
MAX_NORM = 0.1
model = Network(nnx.Rngs(0))
tx = optax.chain(cwgnc_jax.clip_by_component_norm(MAX_NORM), optax.adam(1e-2))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
print(cwgnc_jax.describe_components(nnx.state(model, nnx.Param)))


# %% [markdown]
# ## The loop
#
# Norms and scales of the last step lie in the optimizer's state: reading them takes no
# second pass over the gradients. `component_record` puts the names beside them.


# %%
@nnx.jit
def train_step(model, optimizer, images, labels):
    def loss_of(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


history, losses = [], []
for step in range(150):
    rows = jax.random.randint(jax.random.key(step), (64,), 0, len(labels) - UNSEEN)
    losses.append(train_step(model, optimizer, images[rows], labels[rows]))
    params = nnx.state(model, nnx.Param)
    history.append(cwgnc_jax.component_record(tx, params, optimizer))

names = history[0].names
norms = jnp.stack([record.norms for record in history])  # (steps, components)
scales = jnp.stack([record.scales for record in history])
for name, norm, scale in zip(names, norms[0], scales[0], strict=True):
    print(f"step 1  {name:14} norm {norm:.3f}, multiplied by {scale:.3f}")

# %% [markdown]
# ## What is long, and when
#
# Components differ: one threshold is tight for one of them and far away for another.
# What lies above the dotted line was scaled down to it, what lies below kept every bit.

# %%
figure, axes = plt.subplots(figsize=(7, 4))
for name, line in zip(names, norms.T, strict=True):
    axes.plot(line, label=name, linestyle="--" if name.endswith("bias") else "-")
axes.axhline(MAX_NORM, color="black", linestyle=":", label="threshold")
axes.set(yscale="log", xlabel="step", ylabel="gradient norm before clipping")
axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
figure.tight_layout()

# %%
plot_clip_rate({"of the components": cwgnc_jax.clip_rate(scales)}, smooth=10)

# %% [markdown]
# The share falls as the network learns, for gradients get short by themselves. Where a
# threshold clips a component in every step, Adam divides most of the effect out again:
# a threshold matters where it clips *some* steps. On pictures it has not seen:

# %%
guesses = model(images[-UNSEEN:]).argmax(-1)
accuracy = float((guesses == labels[-UNSEEN:]).mean())
print(
    f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} at last; {accuracy:.1%} are right"
)
