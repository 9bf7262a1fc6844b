"""Draws the pictures of `docs/pictures.md` by what the library does to small trees.

python docs/pictures/draw.py [FOLDER]
"""

import pathlib
import sys
from typing import Any

import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import cwgnc_jax

# Colours that the colour-blind can tell apart (Okabe and Ito).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#e69f00", "#009e73", "#b0b0b0"
MANY = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cwgnc_jax",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def clipping() -> Figure:
    """Norms of six components before and after either clipping."""
    sizes = {"query": 0.4, "key": 0.3, "value": 0.9, "output": 6.0, "wide": 1.6}
    sizes["narrow"] = 0.7
    gradients = {name: jnp.full((4, 4), size / 4) for name, size in sizes.items()}
    limit = 1.0
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    titles = ("before", "by global norm", "by component")
    by_component = cwgnc_jax.clip_by_component_norm(limit)
    by_global_norm = optax.clip_by_global_norm(limit)
    trees: list[Any] = [gradients]
    for tx in (by_global_norm, by_component):
        trees.append(tx.update(gradients, tx.init(gradients))[0])
    names = cwgnc_jax.component_names(gradients)
    panels = figure.subplots(1, 3, sharey=True)
    colours = (GREY, ORANGE, BLUE)
    for axes, title, tree, colour in zip(panels, titles, trees, colours, strict=True):
        norms = np.asarray(cwgnc_jax.component_norms(tree))
        bars = axes.bar(names, norms, color=colour)
        labels = [f"{norm:.2g}" for norm in norms]
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
        axes.bar_label(bars, labels, fontsize=9, padding=1, bbox=behind)
        axes.axhline(limit, color="black", linewidth=0.8, linestyle="--")
        axes.set_title(title)
        axes.tick_params(axis="x", rotation=60)
    panels[0].set(ylabel="gradient norm", ylim=(0, 6.9))
    return figure


def spike() -> Figure:
    """One component's gradient jumps: what either clipping does to another's."""
    steps = np.arange(60)
    rng = np.random.default_rng(0)
    calm = 0.5 * np.exp(0.1 * rng.standard_normal(60))
    wild = 0.6 * np.exp(0.1 * rng.standard_normal(60))
    wild[28:32] = (9.0, 14.0, 8.0, 4.0)
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, wild, color="black", label="the one that jumps")
    left.plot(steps, calm, color=GREEN, label="another")
    left.set_yscale("log")
    left.set_title("gradient norms")
    left.legend(frameon=False, fontsize=9)
    for tx, label, colour in (
        (optax.clip_by_global_norm(1.0), "by global norm", ORANGE),
        (cwgnc_jax.clip_by_component_norm(1.0), "by component", BLUE),
    ):
        left_over = []
        for one, other in zip(wild, calm, strict=True):
            gradients = {"jumps": jnp.array([one]), "calm": jnp.array([other])}
            clipped: Any = tx.update(gradients, tx.init(gradients))[0]
            left_over.append(float(clipped["calm"][0]))
        right.plot(steps, left_over, color=colour, label=label)
    right.set_ylim(0, 0.75)
    right.set_title("the other's, after clipping")
    right.legend(frameon=False, fontsize=9, loc="lower left")
    for axes in (left, right):
        axes.set_xlabel("step")
    return figure


def components() -> Figure:
    """Which cells of a tree are one component, by each map: a colour is a component."""
    shapes = {"kernel": (2, 2), "bias": (2,)}
    tree = {
        "layers": {name: np.zeros((3, *shape), "f4") for name, shape in shapes.items()},
        "head": {name: np.zeros(shape, "f4") for name, shape in shapes.items()},
    }
    # What is drawn: rows of a picture from the top, and the leaf and layer of each.
    cells = [("head", None), ("layers", 2), ("layers", 1), ("layers", 0)]
    maps = {
        "by_leaf": cwgnc_jax.by_leaf,
        'stacked("layers/.*")': cwgnc_jax.stacked("layers/.*"),
        "by_module": cwgnc_jax.stacked("layers/.*", base=cwgnc_jax.by_module),
        "whole_tree": cwgnc_jax.whole_tree,
    }
    labels = dict.fromkeys(maps, "")
    labels["by_module"] = "of each layer"
    figure = Figure(figsize=(8, 2.7), layout="constrained")
    for axes, (title, chosen) in zip(figure.subplots(1, 4), maps.items(), strict=True):
        for row, (node, layer) in enumerate(cells):
            for column, (leaf, width) in enumerate((("kernel", 2), ("bias", 0.7))):
                marked = {
                    part: {name: value.copy() for name, value in leaves.items()}
                    for part, leaves in tree.items()
                }
                marked[node][leaf][... if layer is None else layer] = 1.0
                # The component whose norm is not 0 is that of the cell.
                norms = np.asarray(cwgnc_jax.component_norms(marked, chosen))
                colour = MANY[int(norms.argmax()) % len(MANY)]
                place = (2.2 * column, -row)
                axes.add_patch(Rectangle(place, width, 0.85, facecolor=colour))
            if title == "by_leaf":
                name = "head" if layer is None else f"layer {layer}"
                axes.text(-0.2, -row + 0.4, name, ha="right", va="center")
        count = len(cwgnc_jax.component_names(tree, chosen))
        axes.set_title(
            f"{title}\n{labels[title]}" if labels[title] else f"{title}\n", fontsize=10
        )
        axes.text(1.4, -3.5, f"{count} component{'s' * (count > 1)}", ha="center")
        axes.set(xlim=(-1.3 if title == "by_leaf" else -0.1, 3), ylim=(-3.7, 1))
        axes.axis("off")
    return figure


def unfreezing() -> Figure:
    """What each stage of gradual unfreezing trains."""
    leaf = {"kernel": jnp.zeros((2, 2))}
    params: dict[str, Any] = {"embeddings": leaf, "classifier": leaf}
    params["layers"] = {str(number): leaf for number in range(4)}
    groups = cwgnc_jax.unfreezing_groups(params)
    figure = Figure(figsize=(8, 2.7), layout="constrained")
    axes = figure.subplots()
    for stage in range(groups.stages):
        for row, group in enumerate(groups.names):
            trained = group in groups.trainable(stage)
            colour = BLUE if trained else "#e4e4e4"
            axes.add_patch(Rectangle((stage, -row), 0.94, 0.88, facecolor=colour))
            axes.text(
                stage + 0.47,
                -row + 0.42,
                "trained" if trained else "frozen",
                color="white" if trained else "#606060",
                ha="center",
                va="center",
                fontsize=9,
            )
        axes.text(stage + 0.47, 1.05, f"stage {stage}", ha="center")
    for row, group in enumerate(groups.names):
        axes.text(-0.06, -row + 0.42, group, ha="right", va="center")
    axes.set(xlim=(-0.9, groups.stages), ylim=(1 - len(groups.names), 1.4))
    axes.axis("off")
    return figure


def main(folder: pathlib.Path) -> None:
    """Draws all of them."""
    with matplotlib.rc_context(STYLE):
        for draw in (clipping, spike, components, unfreezing):
            # No date, so that the same picture is the same file.
            draw().savefig(folder / f"{draw.__name__}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(pathlib.Path(*sys.argv[1:2] or [pathlib.Path(__file__).parent]))
