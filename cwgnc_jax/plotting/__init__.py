"""The paper's figures, drawn from plain arrays, so that records suffice to draw them.

Every function returns a ``matplotlib.figure.Figure`` of its own and leaves pyplot
alone: ``figure.savefig("scores.png", dpi=200)`` writes it. Colours can be told apart by
the colour-blind, and in grey where their order means something.

It needs matplotlib (``pip install cwgnc-jax[plot]``) and is imported by its name alone.
"""

try:
    import matplotlib as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "cwgnc_jax.plotting needs matplotlib: pip install cwgnc-jax[plot]"
    ) from error

from cwgnc_jax.plotting._curves import plot_stability
from cwgnc_jax.plotting._figures import plot_scores, plot_updates
from cwgnc_jax.plotting._gradients import (
    plot_clip_rate,
    plot_gradient_norms,
    plot_layer_norms,
)

__all__ = [
    "plot_clip_rate",
    "plot_gradient_norms",
    "plot_layer_norms",
    "plot_scores",
    "plot_stability",
    "plot_updates",
]
