import jax
import numpy as np
from bert_glue.training.seeds import Seed, seed_keys


def test_what_each_seed_decides():
    keys = seed_keys([Seed(1, 2), Seed(1, 3), Seed(4, 2)])
    init, order, noise = (np.asarray(jax.random.key_data(key)) for key in keys)
    assert np.array_equal(init[0], init[1])
    assert not np.array_equal(init[0], init[2])
    for data in (order, noise):
        assert np.array_equal(data[0], data[2])
        assert not np.array_equal(data[0], data[1])
    assert len({tuple(key) for key in np.concatenate([init, order, noise])}) == 6


def test_names():
    assert Seed(3, 3).name == "3"
    assert Seed(3, 4).name == "3-4"
