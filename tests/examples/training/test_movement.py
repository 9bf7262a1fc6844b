"""How far components moved, against NumPy."""

import jax.numpy as jnp
import numpy as np
from bert_glue.training.movement import measure


def test_each_layer_of_each_seed_is_measured_against_both_references():
    rng = np.random.default_rng(0)
    now, initial, before = rng.normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    trees = [
        {"encoder": {"layers": {"kernel": jnp.asarray(x)}}}
        for x in (now, initial, before)
    ]
    found = measure(*trees)
    for reference, values in (("initial", initial), ("before", before)):
        a, b = now.astype(np.float64), values.astype(np.float64)
        rmsd = np.sqrt(np.mean((a - b) ** 2, axis=(2, 3)))
        cosine = np.sum(a * b, axis=(2, 3)) / np.sqrt(
            np.sum(a**2, axis=(2, 3)) * np.sum(b**2, axis=(2, 3))
        )
        # Sums of 30 terms in float32.
        np.testing.assert_allclose(found[f"rmsd_from_{reference}"], rmsd, rtol=1e-5)
        np.testing.assert_allclose(
            found[f"cosine_distance_from_{reference}"], 1 - cosine, rtol=1e-5
        )
