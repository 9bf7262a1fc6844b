import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import batching, load
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed, epoch_order, seed_keys
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

pytestmark = pytest.mark.medium

# In float32, sums of another order differ by some 1e-7 relative, and Adam, which
# divides by the root of the second moment, passes that on times the learning rate:
# parameters moved by up to 0.1 in the 26 steps of 5e-3 here agree far better than 1e-4.
ROUNDING = {"rtol": 2e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 100, 41)


RECIPE = METHODS["cwgnc"].replace(
    learning_rate=5e-3, max_norm=1.0, batch_size=8, epochs=2, warmup_ratio=0.0
)


def seeds_of(*numbers: int) -> list[Seed]:
    return [Seed(number, number) for number in numbers]


def trainer_of(subject, recipe=RECIPE, group_size=1, buckets=(24,)) -> Trainer:
    return Trainer(subject.workload(recipe), recipe, group_size, buckets=buckets)


@pytest.fixture(scope="module")
def single(subject) -> Trainer:
    return trainer_of(subject)


@pytest.fixture(scope="module")
def triple(subject) -> Trainer:
    return trainer_of(subject, group_size=3)


def trained(trainer, seeds, epochs=2, cuts=None):
    """Parameters and losses after whole epochs, in segments cut at some steps."""
    keys = seed_keys(seeds)
    state = trainer.start(keys.init)
    losses = []
    cuts = cuts or [0, trainer.steps_per_epoch]
    for epoch in range(epochs):
        order = trainer.order(keys.order, epoch)
        record = trainer.new_log()
        for start, stop in itertools.pairwise(cuts):
            state, record = trainer.train(
                state, record, keys.noise, order, epoch, start, stop
            )
        losses.append(np.asarray(record.losses))
    return jax.device_get(state.params), np.concatenate(losses, axis=1)


def assert_close(actual, expected):
    paths = jax.tree_util.tree_leaves_with_path(expected)
    for (path, leaf), got in zip(paths, jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(
            got, leaf, **ROUNDING, err_msg=jax.tree_util.keystr(path)
        )


def numpy_adamw_step(method, recipe, params, grads, moments, step, steps):
    """One step of a method on flat dicts of float64 arrays, as the papers have it."""
    if method != "cwgnc":
        norm = np.sqrt(sum(np.sum(grad**2) for grad in grads.values()))
        grads = {
            path: grad * min(1, recipe.max_norm / norm) for path, grad in grads.items()
        }
    rate = recipe.learning_rate * (1 - step / steps)
    for path, grad in grads.items():
        if method == "cwgnc":
            stacked = path.startswith("['encoder']['layers']")
            axes = tuple(range(1 if stacked else 0, grad.ndim))
            norm = np.sqrt(np.sum(grad**2, axis=axes, keepdims=True))
            with np.errstate(divide="ignore"):
                grad = grad * np.minimum(1, recipe.max_norm / norm)
        first, second = moments.get(path, (0.0, 0.0))
        first = recipe.b1 * first + (1 - recipe.b1) * grad
        second = recipe.b2 * second + (1 - recipe.b2) * grad**2
        moments[path] = first, second
        if method != "devlin":
            first = first / (1 - recipe.b1 ** (step + 1))
            second = second / (1 - recipe.b2 ** (step + 1))
        update = first / (np.sqrt(second) + recipe.eps)
        if "bias" not in path and "norm" not in path:
            update = update + recipe.weight_decay * params[path]
        params[path] = params[path] - rate * update


@pytest.fixture(scope="module")
def plain_gradient(subject):
    """Mean loss of a batch without dropout, and its gradient; compiled once."""
    forward = subject.forward(dropout=0.0)

    @jax.jit
    def value_and_grad(params, batch):
        def loss(params):
            log_p = jax.nn.log_softmax(forward(params, batch, None))
            right = log_p[jnp.arange(len(batch.labels)), batch.labels]
            return -jnp.sum(batch.weights * right) / jnp.sum(batch.weights)

        return jax.value_and_grad(loss)(params)

    return value_and_grad


@pytest.mark.parametrize(
    "method",
    [
        "cwgnc",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("adamw", "devlin")),
    ],
)
def test_equals_a_plain_loop_with_numpy_optimizer(subject, plain_gradient, method):
    recipe = METHODS[method].replace(
        learning_rate=5e-3,
        max_norm=0.05,
        batch_size=8,
        epochs=2,
        warmup_ratio=0.0,
        dropout=0.0,
    )
    trainer = trainer_of(subject, recipe)
    params, losses = trained(trainer, seeds_of(5))

    keys = seed_keys(seeds_of(5))
    initial = trainer.start(keys.init).params
    structure = jax.tree.structure(initial)
    flat = {
        jax.tree_util.keystr(path): np.asarray(leaf[0], np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(initial)
    }
    data = jax.tree.map(np.asarray, subject.train)
    moments, expected = {}, []
    for epoch in range(2):
        order = np.asarray(trainer.order(keys.order, epoch))[0]
        for step, indices in enumerate(order):
            weights = (indices >= 0).astype(np.float32)
            rows = np.maximum(indices, 0)  # of weight 0 where a batch is not full
            length = data.input_ids.shape[1]
            batch = batching.Batch(
                data.input_ids[rows],
                data.token_type_ids[rows],
                (np.arange(length) < data.lengths[rows, None]).astype(np.int32),
                data.labels[rows],
                weights,
            )
            tree = jax.tree.unflatten(
                structure, [jnp.asarray(leaf, jnp.float32) for leaf in flat.values()]
            )
            loss, grads = plain_gradient(tree, batch)
            expected.append(loss)
            grads = {
                path: np.asarray(leaf, np.float64)
                for path, leaf in zip(flat, jax.tree.leaves(grads), strict=True)
            }
            step += 13 * epoch
            numpy_adamw_step(method, recipe, flat, grads, moments, step, 26)
    assert trainer.steps == len(expected) == 26
    np.testing.assert_allclose(losses[0], expected, **ROUNDING)
    assert_close(
        jax.tree.map(lambda leaf: leaf[0], params),
        jax.tree.unflatten(structure, list(flat.values())),
    )


def test_a_seed_is_the_same_alone_and_in_a_group(single, triple):
    group, losses = trained(triple, seeds_of(4, 1, 2))
    alone, loss = trained(single, seeds_of(1))
    np.testing.assert_allclose(losses[1], loss[0], **ROUNDING)
    assert_close(jax.tree.map(lambda leaf: leaf[1:2], group), alone)
    assert not np.allclose(losses[0], losses[1], **ROUNDING)


# Every number that is an argument, moved so far that each of them shows.
OTHERS = {
    "learning_rate": 2e-3,
    "max_norm": 0.05,
    "warmup_ratio": 0.5,
    "weight_decay": 0.3,
    "b1": 0.5,
    # Corrected for its start, an average of four gradients is much as one of any decay.
    "b2": 0.0,
    "eps": 1e-2,
    "epochs": 1,
    "dropout": 0.4,
    "mixout": 0.3,
    "label_smoothing": 0.3,
    "layer_decay": 0.5,
    "child_tuning": 0.5,
}
# Those that are no rate at all would be another structure.
RATES = {
    "dropout": 0.1,
    "mixout": 0.7,
    "label_smoothing": 0.1,
    "layer_decay": 0.9,
    "child_tuning": 0.9,
}


@pytest.mark.slow
def test_recipes_that_differ_in_numbers_share_their_programs(subject, compiled):
    # Four steps, the first of which has no rate where there is a warm-up.
    recipe = RECIPE.replace(**RATES, weight_decay=0.0, batch_size=25)
    shared = trainer_of(subject, recipe)
    first = trained(shared, seeds_of(3), epochs=1)
    assert "jit(_train_steps)" in compiled
    compiled.clear()
    # And one by one, each of which makes a difference.
    for name, value in OTHERS.items():
        moved = shared.with_recipe(recipe.replace(**{name: value}))
        _, losses = trained(moved, seeds_of(3), epochs=1)
        assert np.abs(losses - first[1]).max() > 1e-5, name
    other = shared.with_recipe(recipe.replace(**OTHERS))
    assert (shared.steps, other.steps) == (8, 4)
    found, losses = trained(other, seeds_of(3), epochs=1)
    assert compiled == []
    # As if they had been compiled for it.
    expected, expected_losses = trained(
        trainer_of(subject, recipe.replace(**OTHERS)), seeds_of(3), epochs=1
    )
    np.testing.assert_allclose(losses, expected_losses, **ROUNDING)
    assert_close(found, expected)


@pytest.mark.slow
def test_a_batch_in_parts_has_the_gradient_of_the_whole(subject):
    """Of all its examples: in the last batch, of 4, as many parts have none."""
    recipe = RECIPE.replace(dropout=0.0, mixout=0.5)
    whole, losses = trained(trainer_of(subject, recipe), seeds_of(3), epochs=1)
    split = trainer_of(subject, recipe.replace(accumulate=8))
    parts, part_losses = trained(split, seeds_of(3), epochs=1)
    np.testing.assert_allclose(part_losses, losses, **ROUNDING)
    assert_close(parts, whole)


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_parameters_rounded_once_a_step_learn_the_same(subject, accumulate):
    low = dataclasses.replace(subject, dtype="bfloat16")
    recipe = RECIPE.replace(accumulate=accumulate)
    workload = low.workload(recipe)
    found, losses = trained(trainer_of(low, recipe), seeds_of(3), epochs=1)
    # The same model, whose parameters are rounded in each pass.
    plain = dataclasses.replace(workload, rounded=lambda params: params)
    trainer = Trainer(plain, recipe, 1, buckets=(24,))
    expected, expected_losses = trained(trainer, seeds_of(3), epochs=1)
    # Where XLA fuses, it may keep what it need not round: 2^-8 of a loss of 0.7.
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=3e-3)
    jax.tree.map(
        # A rate of 5e-3, 13 steps; a gradient near 0 may have either sign.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=5e-3),
        found,
        expected,
    )


def test_numbers_of_structure_cannot_be_shared(single):
    for settings in (
        {"batch_size": 4},
        {"clipping": "global"},
        {"dropout": 0.0},
        {"layer_decay": 0.5},
        {"label_smoothing": 0.5},
    ):
        with pytest.raises(ValueError, match="is of another structure than cwgnc"):
            single.with_recipe(RECIPE.replace(**settings))
    # Nor can one group take two numbers of steps, though its program could.
    with pytest.raises(ValueError, match="cannot lie side by side"):
        single.with_recipe(RECIPE, RECIPE.replace(epochs=1))


def test_settings_may_lie_beside_each_other(single, triple):
    """Each seed of a group may have numbers of its own."""
    recipes = [
        RECIPE.replace(max_norm=norm, learning_rate=rate)
        for norm, rate in ((0.05, 5e-3), (math.inf, 1e-3), (1.0, 2e-3))
    ]
    mixed = triple.with_recipe(*recipes)
    group, losses = trained(mixed, seeds_of(1, 1, 2))
    for row, (recipe, seed) in enumerate(zip(recipes, (1, 1, 2), strict=True)):
        alone, loss = trained(single.with_recipe(recipe), seeds_of(seed))
        np.testing.assert_allclose(losses[row], loss[0], **ROUNDING)
        rows = slice(row, row + 1)
        assert_close(jax.tree.map(lambda leaf, rows=rows: leaf[rows], group), alone)


@pytest.mark.slow
def test_length_of_padding_does_not_matter(subject, single):
    wide, losses = trained(single, seeds_of(3))
    cut, cut_losses = trained(trainer_of(subject, buckets=(16, 24)), seeds_of(3))
    np.testing.assert_allclose(cut_losses, losses, **ROUNDING)
    assert_close(cut, wide)


def test_an_epoch_may_be_taken_in_segments(single):
    whole, losses = trained(single, seeds_of(3))
    parts, part_losses = trained(single, seeds_of(3), cuts=[0, 1, 6, 13])
    # The same program does the same arithmetic.
    np.testing.assert_array_equal(part_losses, losses)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)


def test_data_seed_moves_the_order_and_init_seed_the_head(triple):
    seeds = [Seed(0, 0), Seed(0, 1), Seed(1, 0)]
    heads = triple.start(seed_keys(seeds).init).params["classifier"]["kernel"]
    heads = np.asarray(heads)
    np.testing.assert_array_equal(heads[0], heads[1])
    assert np.any(heads[0] != heads[2])
    # BERT's initial deviation is 0.02; that of 32 numbers is within a half of it.
    assert 0.01 < heads[0].std() < 0.03
    _, losses = trained(triple, seeds, epochs=1)
    assert np.all(np.abs(losses[0] - losses[1:]).max(axis=1) > 1e-3)


def test_transform_sees_the_initial_parameters_and_a_new_key_each_step(
    subject, monkeypatch
):
    def noisy_initial(params, initial, key):
        del params
        kernel = initial["classifier"]["kernel"]
        kernel = kernel + jax.random.normal(key, kernel.shape)
        return initial | {"classifier": initial["classifier"] | {"kernel": kernel}}

    monkeypatch.setattr(Recipe, "make_transform", lambda *_: noisy_initial)
    recipe = RECIPE.replace(weight_decay=0.0, dropout=0.0, batch_size=25)
    trainer = trainer_of(subject, recipe)
    before = jax.device_get(trainer.start(seed_keys(seeds_of(0)).init).params)
    after, losses = trained(trainer, seeds_of(0))
    # The parameters have no part in the loss, so nothing moves them.
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert len(np.unique(losses)) == 8


def test_regression(tmp_path, subject):
    rows = [f"the dog\t{0.5 * (number % 3)}" for number in range(12)]
    for name in ("train", "dev"):
        (tmp_path / name).write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    data = load.load_files(tmp_path / "train", tmp_path / "dev")
    regression = subjects.prepare(data, subject.folder)
    recipe = RECIPE.replace(epochs=40, batch_size=12, dropout=0.0)
    trainer = trainer_of(regression, recipe, buckets=(8,))
    _, losses = trained(trainer, seeds_of(0), epochs=40)
    # All texts are alike, so the best answer is the mean: variance 1/6.
    assert losses[0, -1] == pytest.approx(1 / 6, abs=0.05)
    assert losses[0, 0] > 0.3


@pytest.mark.slow
def test_batches_of_like_length_save_padding_and_learn_the_same_examples(subject):
    lengths = np.asarray(subject.train.lengths)
    buckets = batching.choose_groups(lengths, subject.train.width)
    groups = np.searchsorted(buckets, lengths)
    keys = seed_keys(seeds_of(0)).order
    order = np.asarray(epoch_order(keys, 0, 100, 8, groups))
    rows = order[order >= 0]
    assert sorted(rows) == list(range(100))
    uniform = np.asarray(epoch_order(seed_keys(seeds_of(0)).order, 0, 100, 8))
    # Of 13 batches one is half empty, and two lie at a border of groups.
    assert batching.padding_share(lengths, order, buckets) < 0.15
    assert batching.padding_share(lengths, uniform, (24,)) > 0.4
    # Two groups, which take less to compile, for the training itself.
    recipe = RECIPE.replace(group_by_length=True, dropout=0.0)
    grouped = trainer_of(subject, recipe, buckets=(8, 24))
    taken = np.asarray(grouped.order(keys, 0))[0]
    short = [np.all(lengths[each[each >= 0]] <= 8) for each in taken]
    assert sum(short) == np.sum(lengths <= 8) // 8
    _, losses = trained(grouped, seeds_of(0))
    assert losses[0, :13].mean() > losses[0, 13:].mean()


@pytest.mark.parametrize("buckets", [(8, 16), (24, 32)])
def test_buckets_must_fit_the_data(subject, buckets):
    with pytest.raises(ValueError, match="must hold the longest example, of 20 tokens"):
        trainer_of(subject, buckets=buckets)
