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
# # A scanned stack, layer by layer
#
# Layers that are scanned are stacked: one leaf of the parameters holds the kernels of
# all layers, with the layer on the first axis. A clipping that goes by leaves sees one
# long gradient where the network has many. `stacked` keeps the layers apart.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import cwgnc_jax
from cwgnc_jax.plotting import plot_layer_norms

# %matplotlib inline

# %%
LAYERS, WIDTH = 8, 32
pixels, digits = load_digits(return_X_y=True)
images, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(digits)


class Layer(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.dense = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, hidden):
        return hidden + nnx.tanh(self.dense(self.norm(hidden)))


class Network(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=LAYERS)
        @nnx.vmap
        def stack(rngs):
            return Layer(rngs)

        self.embed = nnx.Linear(64, WIDTH, rngs=rngs)
        self.layers = stack(rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, images):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def through(hidden, layer):
            return layer(hidden)

        return self.head(through(self.embed(images), self.layers))


model = Network(nnx.Rngs(0))
params = nnx.state(model, nnx.Param)
print(params["layers"]["dense"]["kernel"].shape)

# %% [markdown]
# ## One component a leaf, or one a layer
#
# The map is an expression over paths: every leaf below `layers` has an axis of layers.

# %%
by_layer_of_stack = cwgnc_jax.stacked("layers/.*")
print(len(cwgnc_jax.component_names(params)), "components, if each leaf is one;")
print(len(cwgnc_jax.component_names(params, by_layer_of_stack)), "with layers apart:")
print(cwgnc_jax.describe_components(params, by_layer_of_stack))

# %% [markdown]
# Both on the same gradients. The norm of the whole leaf is the root of the sum of the
# squares of its layers' norms: clipped as one, a long layer shortens all others.


# %%
def loss_of(model, images, labels):
    losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
    return losses.mean()


gradients = nnx.grad(loss_of)(model, images, labels)
kernel = gradients["layers"]["dense"]["kernel"]
each_layer = np.linalg.norm(np.asarray(kernel).reshape(LAYERS, -1), axis=1)
whole_leaf = np.linalg.norm(np.asarray(kernel))
print("layers:", each_layer.round(4), "their leaf:", whole_leaf.round(4))

# %% [markdown]
# ## Thresholds by name
#
# A component's name has its layer as an index, so that rules may tell layers apart. The
# first rule that matches decides; one that matches nothing is an error, not silence.

# %%
MAX_NORM = {
    ".*norm.*|.*bias.*": None,  # left alone
    r"layers/dense/kernel\[[67]\]": 0.1,  # the two upper layers, more tightly
    ".*": 0.3,
}
clipping = cwgnc_jax.clip_by_component_norm(MAX_NORM, by_layer_of_stack)
tx = optax.chain(clipping, optax.adam(3e-3))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, images, labels):
    loss, gradients = nnx.value_and_grad(loss_of)(model, images, labels)
    optimizer.update(model, gradients)
    return loss


history, losses = [], []
for step in range(120):
    rows = jax.random.randint(jax.random.key(step), (64,), 0, len(labels))
    losses.append(train_step(model, optimizer, images[rows], labels[rows]))
    params = nnx.state(model, nnx.Param)
    history.append(cwgnc_jax.component_record(tx, params, optimizer))

# %% [markdown]
# ## A line a layer
#
# From the record: the columns of one kind of parameter, in the order of the layers.

# %%
names = history[0].names
columns = [names.index(f"layers/dense/kernel[{layer}]") for layer in range(LAYERS)]
kernel_norms = np.stack([record.norms for record in history])[:, columns]
plot_layer_norms(kernel_norms, smooth=5, threshold=0.3, title="layers/dense/kernel")

# %%
scales = np.stack([record.scales for record in history])[:, columns]
for layer, share in enumerate((scales < 1).mean(axis=0)):
    print(f"layer {layer}: clipped in {share:.0%} of the steps")
