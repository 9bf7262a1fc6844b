"""The lengths that batches are cut to."""

import numpy as np
from bert_glue.data import batching


def test_buckets_save_padding_and_fit_every_batch():
    needs = np.random.default_rng(0).integers(5, 100, size=500)
    for most in (1, 2, 3):
        buckets = batching.choose_buckets(needs, 104, most=most)
        assert len(buckets) == most
        assert buckets[-1] >= needs.max()
        assert list(buckets) == sorted(buckets)
    brute = min(
        sum(next(b for b in (x, y, 104) if b >= need) for need in needs)
        for x in range(8, 104, 8)
        for y in range(x + 8, 104, 8)
    )
    chosen = batching.choose_buckets(needs, 104, most=3)
    assert sum(next(b for b in chosen if b >= need) for need in needs) == brute


def test_buckets_that_save_nothing_are_not_made():
    assert batching.choose_buckets([33, 36, 40], 64) == (40,)
    assert batching.choose_buckets([61, 62], 62) == (62,)
