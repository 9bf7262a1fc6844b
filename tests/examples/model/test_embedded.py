"""The embedded model, and the script that pretrained it."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pretrain_embedded
import pytest
from bert_glue.cli import choices
from bert_glue.data import generated, metrics, tokenization
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.sampling import Taste, sample
from bert_glue.data.english.syntax import text, words
from bert_glue.data.english.vocabulary import vocabulary
from bert_glue.data.examples import Examples
from bert_glue.model import checkpoint
from bert_glue.model.encoder import (
    MaskedLM,
    SequenceClassifier,
    initial_params,
    separate,
)
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from flax import nnx

FOLDER = choices.embedded_model()
NAMES = tuple(generated.SHARES)


def test_the_folder_is_small_and_complete():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(sizes.values()) <= 3_000_000
    assert set(sizes) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "finetuning.json",
        "README.md",
    }


def test_the_tokenizer_is_that_of_the_grammar(tmp_path: pathlib.Path):
    pretrain_embedded.write_tokenizer(tmp_path)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (FOLDER / name).read_text() == (tmp_path / name).read_text()
    assert (FOLDER / "vocab.txt").read_text().split("\n")[:-1] == vocabulary()
    # As the text is encoded, before there is a configuration.
    assert tokenization.load_tokenizer(tmp_path).vocab_size == len(vocabulary())
    assert checkpoint.read_config(FOLDER).vocab_size == len(vocabulary())


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_are_spelt_in_whole_pieces(name: str):
    data = generated.load(name)
    encoded = tokenization.encode(
        data.evaluation, tokenization.load_tokenizer(FOLDER), max_length=128
    ).data
    pieces = vocabulary()
    used = {pieces[number] for number in np.unique(encoded.input_ids)}
    assert "[UNK]" not in used
    letters = {piece for piece in used if len(piece.removeprefix("##")) == 1}
    assert letters <= {".", "a", "i", "##s", "##d", "##r"}
    assert encoded.input_ids.shape[1] <= 40


def test_the_tokenizer_spells_other_words_with_letters():
    pieces = tokenization.load_tokenizer(FOLDER).tokenize("Zebras bark, 7 times!")
    assert "[UNK]" not in pieces
    assert pieces[:3] == ["z", "##e", "##b"]


def test_transformers_reads_the_folder():
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    pair = ("The dogs ran.", "They baked pies.")
    ours = tokenization.encode(
        Examples([pair], None), tokenization.load_tokenizer(FOLDER), max_length=64
    ).data
    ids = ours.input_ids[0, : ours.lengths[0]].tolist()
    assert tokenizer(*pair)["input_ids"] == ids
    config = transformers.AutoConfig.from_pretrained(FOLDER)
    assert config.model_type == "bert"
    assert config.vocab_size == len(vocabulary())


def test_only_the_classifying_heads_are_fresh():
    subject = subjects.prepare(generated.load("paraphrase", train_size=8), FOLDER)
    assert sorted(subject.fresh) == ["classifier", "pooler"]
    assert checkpoint.fill(checkpoint.read(FOLDER), _masked_lm()[1]).initialised == ()


def _masked_lm():
    config = checkpoint.read_config(FOLDER)
    return separate(nnx.eval_shape(lambda: MaskedLM(config, rngs=nnx.Rngs(0))))


@pytest.mark.medium
def test_the_model_knows_agreement():
    """Asked for a masked 'is' or 'are' in new sentences, it knows which."""
    structure, shapes = _masked_lm()
    params = checkpoint.fill(checkpoint.read(FOLDER), shapes).params
    numbers = {"is": "are", "are": "is", "was": "were", "were": "was"}
    dice, sentences, right = Dice("probe"), [], []
    while len(sentences) < 200:
        spoken = words(sample(dice, Taste(near=0.2, relative=0.2)))
        places = [i for i, word in enumerate(spoken) if word.text in numbers]
        if len(places) != 1:
            continue
        right.append(spoken[places[0]].text)
        spoken[places[0]] = spoken[places[0]]._replace(text="[MASK]")
        # The tokenizer knows the special piece only as it is spelt.
        sentences.append((text(spoken).replace("[mask]", "[MASK]"),))
    encoded = tokenization.encode(
        Examples(sentences, None), tokenization.load_tokenizer(FOLDER), max_length=64
    ).data
    masked = encoded.input_ids == vocabulary().index("[MASK]")
    assert masked.sum(1).tolist() == [1] * len(sentences)
    known = np.arange(encoded.input_ids.shape[1]) < encoded.lengths[:, None]
    logits = nnx.merge(structure, params)(
        encoded.input_ids, encoded.token_type_ids, jnp.asarray(known, jnp.int32)
    )
    scores = np.asarray(logits)[masked]
    index = {piece: number for number, piece in enumerate(vocabulary())}
    wins = [
        scores[row, index[word]] > scores[row, index[numbers[word]]]
        for row, word in enumerate(right)
    ]
    # By chance half of them would be right, with a standard deviation of 3.5%.
    assert np.mean(wins) > 0.9


def test_defaults_are_settings_of_every_method():
    defaults = json.loads((FOLDER / "finetuning.json").read_text())
    assert set(defaults) == {"learning_rate", "epochs", "batch_size"}
    for method in METHODS.values():
        recipe = method.with_defaults(**defaults)
        assert recipe.learning_rate == defaults["learning_rate"]


@pytest.mark.slow
def test_pretraining_helps():
    """One run of each; the benchmark embedded_tasks.py has the whole comparison."""
    data, tokenizer = (
        generated.load("acceptability"),
        tokenization.load_tokenizer(FOLDER),
    )
    inputs, labels = {}, {}
    for split in ("train", "evaluation"):
        encoded = tokenization.encode(
            getattr(data, split), tokenizer, max_length=24
        ).data
        known = np.arange(24) < encoded.lengths[:, None]
        inputs[split] = jnp.stack([encoded.input_ids, encoded.token_type_ids, known], 1)
        labels[split] = jnp.asarray(encoded.labels)

    config = checkpoint.read_config(FOLDER)
    create = functools.partial(initial_params, config, 2)
    random = jax.jit(create)(jax.random.key(0))
    pretrained = checkpoint.fill(checkpoint.read(FOLDER), random).params
    structure, _ = separate(
        nnx.eval_shape(lambda: SequenceClassifier(config, 2, rngs=nnx.Rngs(0)))
    )
    steps, batch = 150, 16
    optimizer = optax.adamw(optax.warmup_cosine_decay_schedule(0, 5e-4, 15, steps))
    epochs = [np.random.default_rng(seed).permutation(800) for seed in range(3)]
    order = jnp.asarray(np.concatenate(epochs).reshape(steps, batch))

    def logits_of(params, rows):
        return nnx.merge(structure, params)(*jnp.unstack(rows, axis=1))

    def loss_of(params, chosen):
        logits = logits_of(params, inputs["train"][chosen])
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, labels["train"][chosen]
        ).mean()

    @jax.jit
    @jax.vmap
    def fit(params):
        def step(carry, chosen):
            params, state = carry
            gradients = jax.grad(loss_of)(params, chosen)
            updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        carry, _ = jax.lax.scan(step, (params, optimizer.init(params)), order)
        return logits_of(carry[0], inputs["evaluation"]).argmax(-1)

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), pretrained, random)
    scores = [
        metrics.score("matthews", each, labels["evaluation"]) for each in fit(both)
    ]
    # From random parameters a score on 400 examples has a standard error of about 5.
    assert scores[0] > scores[1] + 20


@pytest.mark.medium
def test_corruption_hides_the_share_asked_for():
    special, mask = pretrain_embedded.ORDINARY, pretrain_embedded.MASK
    rng = np.random.default_rng(0)
    pieces = rng.integers(special, len(vocabulary()), (200, 100)).astype(np.int32)
    pieces[:, 0], pieces[:, 60:] = 2, 0
    corrupted = pretrain_embedded.corrupt(jax.random.key(0), jnp.asarray(pieces), 0.25)
    inputs, chosen = map(np.asarray, corrupted)
    assert not chosen[:, 0].any()
    assert not chosen[:, 60:].any()
    np.testing.assert_array_equal(inputs[~chosen], pieces[~chosen])
    replaced = inputs[chosen][inputs[chosen] != mask]
    assert np.isin(replaced, pieces).all()
    assert replaced.min() >= special
    # Of the replacements drawn, 41 in 100 come from padding or [CLS]: those are masked.
    drawn = 0.25 * 0.59
    for share, found, count in (
        (0.25, chosen, pieces[:, 1:60].size),
        (0.6 + 0.25 * 0.41, inputs[chosen] == mask, chosen.sum()),
        (drawn, (inputs != pieces)[chosen] & (inputs[chosen] != mask), chosen.sum()),
    ):
        # Six standard deviations of a binomial share.
        assert (
            abs(found.sum() / count - share) < 6 * (share * (1 - share) / count) ** 0.5
        )


def test_batches_are_of_one_length_and_repeat_nothing_within_an_epoch():
    size = 5 * pretrain_embedded.STEPS_PER_CALL
    buckets = [
        pretrain_embedded.Batch(
            np.arange(4 * size).reshape(-1, 1).repeat(length, 1),
            np.zeros((4 * size, length), np.int8),
        )
        for length in (8, 16)
    ]
    seen = {8: [], 16: []}
    drawn = pretrain_embedded.batches(np.random.default_rng(0), buckets, 5, 6)
    for many in drawn:
        length = many.pieces.shape[-1]
        assert many.pieces.shape == (pretrain_embedded.STEPS_PER_CALL, 5, length)
        assert many.types.shape == many.pieces.shape
        seen[length] += many.pieces[..., 0].ravel().tolist()
    for numbers in seen.values():
        assert len(set(numbers[: 4 * size])) == min(len(numbers), 4 * size)


@pytest.mark.slow
def test_a_short_pretraining_writes_a_model_that_can_be_fine_tuned(
    tmp_path: pathlib.Path,
):
    small = "--examples 300 --steps 20 --hidden-size 16 --layers 1 --heads 2"
    options = ["--output", str(tmp_path / "model"), "--initializer-range", "0.02"]
    options += small.split()
    pretrain_embedded.pretrain(pretrain_embedded.parse(options))
    subject = subjects.prepare(
        generated.load("entailment", train_size=8), tmp_path / "model"
    )
    assert sorted(subject.fresh) == ["classifier", "pooler"]
    weights = subject.pretrained["embeddings"]["word"]["embedding"]
    assert weights.shape == (len(vocabulary()), 16)
    # Rounded to float16 in the file, and trained away from its initial scale.
    np.testing.assert_array_equal(weights, weights.astype(np.float16))
    assert float(jnp.std(weights)) > 0.021
