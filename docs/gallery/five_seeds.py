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
# # Five seeds, and what they prove
#
# Two methods, five seeds each, and one standard deviation is half of the other: is that
# method steadier? Here forty seeds are trained at once, so that there are eight studies
# of five seeds to look at, all of the same two methods.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from cwgnc_jax import clip_by_component_norm
from cwgnc_jax.stability import (
    compare_scores,
    compare_spread,
    correct_comparisons,
    fewest_seeds,
    std_interval,
    summarize_runs,
)

# %matplotlib inline

# %% [markdown]
# A network of two layers learns to read digits from 100 pictures, which is so few that
# the seed matters; the score is its accuracy on 500 others.

# %%
SEEDS, STEPS, WIDTH = 40, 150, 32
pixels, digits = load_digits(return_X_y=True)
images, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(digits)
train, unseen = slice(0, 100), slice(100, 600)


def initial_params(key):
    keys = jax.random.split(key)
    return {
        "hidden": {
            "kernel": jax.random.normal(keys[0], (64, WIDTH)) / 8,
            "bias": jnp.zeros(WIDTH),
        },
        "head": {
            "kernel": jax.random.normal(keys[1], (WIDTH, 10)) / WIDTH**0.5,
            "bias": jnp.zeros(10),
        },
    }


def forward(params, images):
    hidden = images @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    return jnp.tanh(hidden) @ params["head"]["kernel"] + params["head"]["bias"]


def loss_of(params, images, labels):
    losses = optax.softmax_cross_entropy_with_integer_labels(
        forward(params, images), labels
    )
    return losses.mean()


def score(tx, seed):
    """Accuracy in % after training with a seed; vmap runs all seeds as one program."""
    key = jax.random.key(seed)
    params = initial_params(key)

    def step(carry, step):
        params, opt_state = carry
        rows = jax.random.randint(jax.random.fold_in(key, step), (16,), 0, 100)
        gradients = jax.grad(loss_of)(params, images[train][rows], labels[train][rows])
        updates, opt_state = tx.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jnp.arange(STEPS))
    guesses = forward(params, images[unseen]).argmax(-1)
    return 100 * (guesses == labels[unseen]).mean()


methods = {
    "by component": optax.chain(clip_by_component_norm(0.05), optax.adam(1e-2)),
    "by global norm": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
}
scores = {
    name: np.asarray(jax.jit(jax.vmap(lambda seed, tx=tx: score(tx, seed)))(seeds))
    for name, tx in methods.items()
    for seeds in [jnp.arange(SEEDS)]
}

# %% [markdown]
# ## The first five
#
# What a study of five seeds would have had:

# %%
names = tuple(scores)
first_five = {name: values[:5] for name, values in scores.items()}
for name, values in first_five.items():
    print(f"{name:14} std {np.std(values):.2f}, mean {np.mean(values):.2f}")

# %% [markdown]
# The tests keep the pairs: the two runs of a seed begin alike. If the methods were
# alike, either score of a pair could as well be the other's, so that five pairs can be
# exchanged in 2^5 = 32 ways. Even if one method wins all five, chance does the same in
# 2 of 32. No p-value from five seeds can be smaller than that:

# %%
five = correct_comparisons(
    [
        compare_scores(*first_five.values(), names=names),
        compare_spread(*first_five.values(), names=names),
    ]
)
for comparison in five:
    print(comparison, end="\n\n")
won_all = compare_scores([9, 9, 9, 9, 9], [1, 2, 3, 4, 5])
print(f"all five won: p = {won_all.p_value}; 2 / 32 = {2 / 32}")
print(f"fewest seeds that can show something: {fewest_seeds()}")
print(f"the same for two questions, corrected together: {fewest_seeds(2)}")

# %% [markdown]
# ## Eight studies of the same method
#
# Forty seeds are eight studies of five. The methods are the same in all of them; what
# differs is luck alone.

# %%
groups = np.arange(SEEDS).reshape(8, 5)
stds = {
    name: np.array([np.std(values[group]) for group in groups])
    for name, values in scores.items()
}
figure, axes = plt.subplots(figsize=(7, 4))
for place, (name, values) in enumerate(stds.items()):
    interval = std_interval(scores[name])
    shift = np.linspace(-0.15, 0.15, len(values))
    axes.plot(place + shift, values, "o", label=f"{name}, five seeds")
    axes.errorbar(
        place,
        np.std(scores[name]),
        [
            [np.std(scores[name]) - interval.low],
            [interval.high - np.std(scores[name])],
        ],
        color="black",
        capsize=4,
        marker="_",
        label="forty, with its 95% interval" if place else None,
    )
axes.set(xticks=[0, 1], xticklabels=names, xlim=(-0.5, 1.5), ylim=(0, None))
axes.set_ylabel("standard deviation (points)")
axes.legend(fontsize="small")
figure.tight_layout()

# %%
for name, values in stds.items():
    print(f"{name:14} {values.min():.2f} to {values.max():.2f}: ", end="")
    print(f"{values.max() / values.min():.1f} times, by luck")
smaller = np.sum(stds[names[0]] < stds[names[1]])
print(f"{names[0]} has the smaller std in {smaller} of the 8 studies")

# %% [markdown]
# ## All forty
#
# The same two questions again, and how many seeds would show what was seen if it is
# real. *Not shown* does not mean alike.

# %%
for name, values in scores.items():
    print(f"{name}: {summarize_runs(values)}")
print()
forty = correct_comparisons(
    [
        compare_scores(*scores.values(), names=names),
        compare_spread(*scores.values(), names=names),
    ]
)
for comparison in forty:
    print(comparison, end="\n\n")

# %% [markdown]
# `examples/finetune_glue.py` prints such verdicts below its tables, and says before it
# trains when there are too few seeds to show anything.
