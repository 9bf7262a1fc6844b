"""Rematerialisation: what the backward pass computes anew rather than keeps."""

import jax

REMAT = {
    "none": None,
    "cheap": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""Policies for the layers of a stack. ``none`` keeps everything; ``cheap`` keeps the
products with parameters, which on a CPU, where writing costs more than computing, takes
even less time; ``full`` keeps a layer's input alone."""
