"""Every family of the table, against what transformers and PyTorch computed.

The values are of record_encoder_oracles.py: tiny models of random weights.
"""

import functools
import json
import operator
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bert_glue.model import checkpoint, positions
from bert_glue.model.architectures import ARCHITECTURES
from bert_glue.model.components import layer_components
from bert_glue.model.encoder import SequenceClassifier, initial_params, separate
from flax import nnx
from safetensors.numpy import load_file
from transformers import AutoConfig

import cwgnc_jax

ENCODERS = pathlib.Path(__file__).parents[2] / "data" / "encoders"
# Each family once, and its variants among the slow tests.
FAMILIES = {
    *(
        "albert_two_groups",
        "deberta_v2",
        "deberta_v3",
        "distilbert",
        "electra",
        "llama",
    ),
    *("modernbert", "mpnet", "qwen2", "roberta", "xlm_roberta", "camembert"),
}
CASES = sorted(ENCODERS.iterdir())
INPUTS = ("input_ids", "token_type_ids", "attention_mask")

pytestmark = [pytest.mark.medium, pytest.mark.filterwarnings("ignore:.*torch.*")]


@functools.cache
def load(folder):
    expected = dict(np.load(folder / "expected.npz"))
    read = checkpoint.read(folder)
    outputs = expected["logits"].shape[1]
    make = functools.partial(initial_params, read.config, outputs)
    loaded = checkpoint.fill(read, jax.eval_shape(make, jax.random.key(0)))
    assert loaded.initialised == ()
    return expected, read.config, loaded.params


def structure_of(config, outputs, **options):
    model = nnx.eval_shape(
        lambda: SequenceClassifier(config, outputs, rngs=nnx.Rngs(0), **options)
    )
    return separate(model)[0]


@pytest.fixture(
    params=[
        pytest.param(
            case,
            id=case.name,
            marks=() if case.name in FAMILIES else pytest.mark.slow,
        )
        for case in CASES
    ]
)
def folder(request):
    return request.param


def test_hidden_states_logits_loss_and_gradients(folder, tmp_path):
    """A few units of 1e-7 of values around 1, through at most four layers."""
    expected, config, params = load(folder)
    structure = structure_of(config, expected["logits"].shape[1])
    inputs = [expected[name] for name in INPUTS]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(params):
        model = nnx.merge(structure, params)
        logits, labels = model(*inputs), expected["labels"]
        if logits.shape[1] == 1:
            loss = jnp.mean((logits[:, 0] - labels) ** 2)
        else:
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(loss), (model.encode(*inputs), logits)

    (loss, (hidden, logits)), gradients = run(params)
    real = inputs[2].astype(bool)
    np.testing.assert_allclose(
        hidden[real], expected["hidden"][real], rtol=0, atol=2e-5
    )
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(loss, expected["loss"], rtol=2e-5)
    checkpoint.save(tmp_path, config, gradients)
    ours = load_file(tmp_path / "model.safetensors")
    theirs = {
        name.removeprefix("gradient "): value
        for name, value in expected.items()
        if name.startswith("gradient ")
    }
    assert ours.keys() == theirs.keys()
    for name, mine in ours.items():
        scale = max(1, np.abs(theirs[name]).max())
        np.testing.assert_allclose(
            mine, theirs[name], rtol=0, atol=5e-5 * scale, err_msg=name
        )


def test_what_transformers_wrote_is_written_back_to_the_bit(folder, tmp_path):
    """Names, shapes and values of tensors, and all that config.json says of them."""
    _, config, params = load(folder)
    checkpoint.save(tmp_path, config, params)
    theirs = load_file(folder / "model.safetensors")
    ours = load_file(tmp_path / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)
    read, original = (
        AutoConfig.from_pretrained(path).to_dict() for path in (tmp_path, folder)
    )
    written = json.loads((tmp_path / "config.json").read_text())
    assert read["architectures"] == original["architectures"]
    labels = {"id2label", "label2id", "problem_type"}
    same = (written.keys() - labels) & original.keys()
    assert {key: read[key] for key in same} == {key: original[key] for key in same}
    # What the file does not say is a default, or of no use to the model.
    assert {key for key in original if original[key] != read.get(key)} <= {
        "bos_token_id",
        "eos_token_id",
        "cls_token_id",
        "sep_token_id",
        "dtype",
        "problem_type",
        "transformers_version",
        "_name_or_path",
    }
    assert checkpoint.read_config(tmp_path) == config


def test_padding_changes_nothing(folder):
    expected, config, params = load(folder)
    structure = structure_of(config, expected["logits"].shape[1])
    inputs = [expected[name] for name in INPUTS]
    cut = inputs[2].sum(1) <= 25  # the two shortest rows
    short = [array[cut][:, :25] for array in inputs]
    logits = jax.jit(lambda params: nnx.merge(structure, params)(*short))(params)
    np.testing.assert_allclose(logits, expected["logits"][cut], rtol=0, atol=2e-5)


def test_a_cut_stack_gives_the_same(folder):
    expected, config, params = load(folder)
    if config.stacked_layers == 1:
        pytest.skip("a stack of one layer is not cut")
    first = config.stacked_layers - 1
    layers = params["encoder"]["layers"]
    parts = {
        0: jax.tree.map(operator.itemgetter(slice(first)), layers),
        1: jax.tree.map(operator.itemgetter(slice(first, None)), layers),
    }
    params = {**params, "encoder": {"layers": parts}}
    structure = structure_of(config, expected["logits"].shape[1], stacks=(first, 1))
    inputs = [expected[name] for name in INPUTS]
    logits = jax.jit(lambda params: nnx.merge(structure, params)(*inputs))(params)
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=2e-5)


def test_each_matrix_and_bias_of_each_layer_is_a_component(folder):
    """As many, and of the norms, as PyTorch has parameters; fused ones in parts."""
    _, config, params = load(folder)
    norms = np.asarray(cwgnc_jax.component_norms(params, layer_components()))
    fused = ("Wqkv", "Wi")
    theirs = []
    for name, value in load_file(folder / "model.safetensors").items():
        kind = next((kind for kind in fused if f".{kind}." in name), None)
        parts = {"Wqkv": 3, "Wi": 2, None: 1}[kind]
        theirs += [np.linalg.norm(part) for part in np.split(value, parts)]
    if not config.norms_first_input:
        # The first layer's normalisation is there for the stack alone, and is 1.
        theirs.append(config.hidden_size**0.5)
        theirs += [0.0] * config.norm_bias
    np.testing.assert_allclose(np.sort(norms), np.sort(theirs), rtol=1e-5)


def test_layers_are_found_from_the_top(folder):
    _, config, params = load(folder)
    groups = cwgnc_jax.unfreezing_groups(params)
    layers = [f"layer {n}" for n in reversed(range(config.stacked_layers))]
    assert groups.names == ("head", *layers, "embeddings")


def test_all_families_are_tested():
    tested = {load(folder)[1].model_type for folder in CASES}
    assert tested == set(ARCHITECTURES) - {"bert"}


@pytest.mark.parametrize("length", [37, 512])
def test_buckets_of_distances(length):
    """Whole numbers, of MPNet's and DeBERTa-v2's own code."""
    recorded = np.load(ENCODERS.parent / "distance_buckets.npz")
    places = np.arange(length)
    row = places[:, None] - places[None, :] - recorded["distance"][0]
    np.testing.assert_array_equal(
        positions.bias_buckets(length, 32), recorded["mpnet"][row]
    )
    np.testing.assert_array_equal(
        positions.distance_rows(length, 256, 256, 512),
        np.clip(recorded["deberta"][row] + 256, 0, 511),
    )


@pytest.mark.parametrize("name", ["roberta", "modernbert", "llama"])
def test_from_pretrained(name):
    expected, _, params = load(ENCODERS / name)
    inputs = [expected[key] for key in INPUTS]
    model = SequenceClassifier.from_pretrained(ENCODERS / name, 2, rngs=nnx.Rngs(0))
    logits = nnx.jit(lambda model: model(*inputs))(model)
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=2e-5)
    # Of another number of labels, the classifier alone is drawn, from the key.
    kernels = []
    for seed in (0, 0, 1):
        model = SequenceClassifier.from_pretrained(
            ENCODERS / name, 5, rngs=nnx.Rngs(seed)
        )
        drawn = separate(model)[1]
        kernels.append(drawn.pop("classifier")["kernel"])
        others = {key: part for key, part in params.items() if key in drawn}
        jax.tree.map(np.testing.assert_array_equal, drawn, others)
    assert kernels[0].shape == (expected["hidden"].shape[-1], 5)
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
