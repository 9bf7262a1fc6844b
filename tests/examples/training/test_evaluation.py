"""Logits of all examples, in batches of like length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import batching
from bert_glue.training import evaluation
from bert_glue.training.seeds import root_key
from bert_glue.training.subjects import Subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 100, 41)


@pytest.mark.medium
def test_evaluation_equals_the_plain_forward_pass(subject):
    keys = jax.random.split(root_key(0), 3)
    params = jax.vmap(subject.init(), (None, 0))(subject.pretrained, keys)
    logits = evaluation.Evaluator(subject.forward(), subject.evaluation)(params)
    assert logits.shape == (3, 41, 2)
    data = subject.evaluation
    batch = batching.take_batch(data, jnp.arange(41), data.input_ids.shape[1])
    forward = jax.jit(subject.forward())
    for number in range(3):
        one = jax.tree.map(lambda leaf, at=number: leaf[at], params)
        # Rounding of float32 in logits of about 0.1.
        np.testing.assert_allclose(logits[number], forward(one, batch, None), atol=1e-6)


def test_stages_that_share_an_evaluation_compile_it_once(subject):
    traced = []

    def forward(params, batch, key):
        traced.append(batch)
        return params["x"] * jnp.ones((len(batch.input_ids), 2))

    evaluate = evaluation.Evaluator(forward, subject.evaluation)

    def shapes(seeds):
        return {"x": jax.ShapeDtypeStruct((seeds, 1, 1), jnp.float32)}

    used = evaluate.compile(shapes(1))
    assert traced
    traced.clear()
    assert evaluate.compile(shapes(1)) == used
    assert not traced
    evaluate.compile(shapes(2))
    assert traced


def test_every_example_is_in_one_batch_of_the_evaluation(subject):
    batches = evaluation.sort_batches(subject.evaluation, 8)
    rows = np.concatenate([indices.ravel() for _, indices in batches.by_length])
    assert sorted(rows[rows >= 0]) == list(range(41))
    np.testing.assert_array_equal(rows[batches.positions], np.arange(41))
    lengths = np.asarray(subject.evaluation.lengths)
    for length, indices in batches.by_length:
        assert lengths[indices[indices >= 0]].max() <= length
