"""Checkpoints: what is read, what is written, and what is refused."""

import dataclasses
import json
import pathlib
import re
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_glue.model import checkpoint
from bert_glue.model.checkpoint import CheckpointError
from bert_glue.model.config import EncoderConfig
from bert_glue.model.encoder import MaskedLM, SequenceClassifier, separate
from flax import nnx
from safetensors.numpy import load_file, save_file

DATA = pathlib.Path(__file__).parents[2] / "data" / "bert"
TORCH = DATA / "two_layers_relu_three_labels"
CONFIG = EncoderConfig(
    vocab_size=19,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=9,
)


def draw(create):
    """Random parameters of a model, drawn without compiling anything."""
    shapes = separate(nnx.eval_shape(create))[1]
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes
    )


def classifier(labels, config=CONFIG):
    return draw(lambda: SequenceClassifier(config, labels, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def params():
    return classifier(3)


@pytest.fixture
def folder(tmp_path, params):
    checkpoint.save(tmp_path / "saved", CONFIG, params, labels=("a", "b", "c"))
    return tmp_path / "saved"


def safetensors_file(header, data=b"", length=None):
    text = json.dumps(header).encode()
    return (length or len(text)).to_bytes(8, "little") + text + data


def tensor(start, end, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


def fill(folder, params, labels=None):
    return checkpoint.fill(checkpoint.read(folder), params, labels)


def rewrite(folder, change):
    """Lets a function change the tensors of a folder."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors")


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def zeros(params):
    return jax.tree.map(np.zeros_like, params)


def test_round_trip_is_exact(folder, params):
    read = checkpoint.read(folder)
    assert read.config == CONFIG
    loaded = checkpoint.fill(read, zeros(params))
    assert loaded.initialised == ()
    assert_same(loaded.params, params)


def test_what_pytorch_wrote_is_written_back_to_the_bit(tmp_path):
    """The names, shapes and values are transformers' own."""
    read = checkpoint.read(TORCH)
    loaded = fill(TORCH, classifier(3, read.config))
    checkpoint.save(tmp_path, read.config, loaded.params)
    theirs = load_file(TORCH / "model.safetensors")
    ours = load_file(tmp_path / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)
    config = json.loads((tmp_path / "config.json").read_text())
    original = json.loads((TORCH / "config.json").read_text())
    assert {key: original[key] for key in config if key in original} == {
        key: config[key] for key in config if key in original
    }
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_names_without_prefix(folder, params):
    rewrite(folder, lambda t: {k.removeprefix("bert."): v for k, v in t.items()})
    assert_same(fill(folder, zeros(params)).params, params)


def test_names_of_the_first_release(folder, params):
    def old(name):
        name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)
        return re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)

    rewrite(folder, lambda t: {old(k): v for k, v in t.items()})
    assert_same(fill(folder, zeros(params)).params, params)


def test_weights_in_several_files(folder, params):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index})
    )
    assert_same(fill(folder, zeros(params)).params, params)
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=f"cannot read .*{file}"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    "text", ["[]", "{", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": []}}']
)
def test_an_index_that_is_none(folder, text):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="not an index of weights"):
        checkpoint.read(folder)


def test_bfloat16_files(folder, params):
    checkpoint.save(folder, CONFIG, params, dtype=jnp.bfloat16)
    loaded = fill(folder, zeros(params)).params
    rounded = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16).astype(np.float32), params
    )
    assert_same(loaded, rounded)


@pytest.mark.parametrize(
    ("missing", "heads"),
    [
        ("classifier", ("classifier",)),
        ("bert.pooler", ("pooler",)),
        (r"classifier|bert.pooler", ("classifier", "pooler")),
    ],
)
def test_missing_heads_keep_their_initial_values(folder, params, missing, heads):
    rewrite(
        folder,
        lambda t: {k: v for k, v in t.items() if not re.match(missing, k)},
    )
    loaded = fill(folder, zeros(params))
    assert loaded.initialised == heads
    assert_same(
        loaded.params, {k: zeros(v) if k in heads else v for k, v in params.items()}
    )


def test_a_classifier_for_other_classes_is_begun_anew(folder):
    two = classifier(2)
    loaded = fill(folder, two)
    assert loaded.initialised == ("classifier",)
    assert_same(loaded.params["classifier"], two["classifier"])


@pytest.mark.parametrize("shape", [(3, 7), (2, 7), (8,)])
def test_a_classifier_of_another_width_is_refused(folder, params, shape):
    rewrite(folder, lambda t: {**t, "classifier.weight": np.ones(shape, np.float32)})
    with pytest.raises(CheckpointError, match=r"classifier\.weight: shape"):
        fill(folder, zeros(params))


def test_a_classifier_follows_the_names_of_its_classes(folder, params):
    read = checkpoint.read(folder)
    for labels, order in (
        (("a", "b", "c"), [0, 1, 2]),
        (("c", "a", "b"), [2, 0, 1]),
        (("B", "A", "C"), [1, 0, 2]),
    ):
        loaded = checkpoint.fill(read, zeros(params), labels)
        assert loaded.initialised == ()
        head = params["classifier"]
        np.testing.assert_array_equal(
            loaded.params["classifier"]["kernel"], head["kernel"][:, order]
        )
        np.testing.assert_array_equal(
            loaded.params["classifier"]["bias"], head["bias"][order]
        )
        said = "its classifier is for 'a', 'b', 'c'; they are put in the task's order"
        assert [said in note for note in loaded.notes] == [True] * (order != [0, 1, 2])


def test_classes_that_transformers_numbers_are_those_of_numbers(tmp_path, params):
    checkpoint.save(tmp_path, CONFIG, params)
    loaded = fill(tmp_path, zeros(params), ("1", "0", "2"))
    np.testing.assert_array_equal(
        loaded.params["classifier"]["bias"], params["classifier"]["bias"][[1, 0, 2]]
    )
    loaded = fill(tmp_path, zeros(params), ("yes", "no", "unknown"))
    assert loaded.initialised == ("classifier",)


@pytest.mark.parametrize(
    ("labels", "outputs"), [(("a", "b", "d"), 3), (("a", "b"), 2), ((), 1)]
)
def test_a_classifier_for_classes_of_other_names_is_not_taken(folder, labels, outputs):
    loaded = fill(folder, classifier(outputs), labels)
    assert loaded.initialised == ("classifier",)
    [note] = loaded.notes
    assert "is for 'a', 'b', 'c', not for" in note
    assert note.endswith("a new one is drawn")


def test_a_regression_takes_the_one_output_that_there_is(tmp_path):
    one = classifier(1)
    checkpoint.save(tmp_path, CONFIG, one)
    loaded = fill(tmp_path, zeros(one), ())
    assert (loaded.initialised, loaded.notes) == ((), ())
    assert_same(loaded.params, one)
    two = fill(tmp_path, classifier(2), ("a", "b"))
    assert two.initialised == ("classifier",)


@pytest.mark.parametrize("said", [True, False])
def test_a_classifier_of_tokens_is_not_one_of_sentences(folder, params, said):
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    if said:
        config["architectures"] = ["BertForTokenClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    rewrite(folder, lambda t: {k: v for k, v in t.items() if "pooler" not in k})
    loaded = fill(folder, params, ("a", "b", "c"))
    assert loaded.initialised == ("classifier", "pooler")
    kind = "that of BertForTokenClassification" if said else "that of another model"
    assert kind in loaded.notes[0]


def test_a_checkpoint_without_padding(folder):
    config = json.loads((folder / "config.json").read_text())
    config["pad_token_id"] = None
    (folder / "config.json").write_text(json.dumps(config))
    assert checkpoint.read_config(folder) == CONFIG


def test_half_a_classifier_is_refused(folder, params):
    rewrite(folder, lambda t: {k: v for k, v in t.items() if k != "classifier.bias"})
    with pytest.raises(CheckpointError, match=r"classifier\.bias: missing"):
        fill(folder, zeros(params))


def test_a_missing_layer_is_listed_tensor_by_tensor(folder, params):
    layer = "bert.encoder.layer.1."
    rewrite(folder, lambda t: {k: v for k, v in t.items() if not k.startswith(layer)})
    with pytest.raises(CheckpointError) as error:
        fill(folder, zeros(params))
    # Six linear maps and two norms, each with two tensors.
    assert str(error.value).count("encoder.layer.1.") == 16


def test_tensors_of_no_use_are_passed_over(folder, params):
    extra = {
        "bert.embeddings.position_ids": np.arange(9)[None],
        "cls.predictions.decoder.weight": np.ones((19, 8), np.float32),
        "cls.predictions.bias": np.ones(19, np.float32),
        "cls.predictions.transform.dense.weight": np.ones((8, 8), np.float32),
        "cls.seq_relationship.weight": np.ones((2, 8), np.float32),
    }
    rewrite(folder, lambda t: {**t, **extra})
    assert_same(fill(folder, zeros(params)).params, params)


def test_one_error_lists_all_that_does_not_fit(folder, params):
    def spoil(tensors):
        layer = "bert.encoder.layer.1"
        del tensors[f"{layer}.attention.self.query.weight"]
        del tensors["bert.pooler.dense.bias"]
        tensors["bert.encoder.layer.2.output.dense.bias"] = np.ones(8, np.float32)
        tensors["bert.embeddings.extra.weight"] = np.ones(8, np.float32)
        tensors["bert.embeddings.word_embeddings.weight"] = np.ones((20, 8), np.float32)
        tensors["bert.encoder.layer.0.output.dense.bias"] = np.ones(7, np.float32)

    rewrite(folder, spoil)
    with pytest.raises(CheckpointError) as error:
        fill(folder, zeros(params))
    message = str(error.value)
    for expected in (
        "encoder.layer.1.attention.self.query.weight: missing "
        "(for encoder/layers/query/kernel)",
        "pooler.dense.bias: missing (for pooler/bias)",
        "encoder.layer.2.output.dense.bias: of no use",
        "embeddings.extra.weight: of no use",
        "embeddings.word_embeddings.weight: shape (20, 8), "
        "but embeddings/word/embedding has (19, 8)",
        "encoder.layer.*.output.dense.bias: not of one shape in all layers",
    ):
        assert expected in message
    assert message.count("\n") == 6


def test_two_tensors_of_one_name(folder):
    rewrite(folder, lambda t: {**t, "pooler.dense.bias": t["bert.pooler.dense.bias"]})
    with pytest.raises(CheckpointError, match=r"two tensors are called 'bert.pooler.d"):
        checkpoint.read(folder)


def test_loading_takes_twice_its_size_in_memory(tmp_path):
    config = dataclasses.replace(
        CONFIG, vocab_size=5000, hidden_size=128, intermediate_size=512
    )
    start = classifier(3, config)
    checkpoint.save(tmp_path, config, start)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), start
    )
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(start))
    del start
    # What is imported at the first reading is no part of it.
    checkpoint.fill(checkpoint.read(tmp_path), shapes)
    tracemalloc.start()
    try:
        loaded = checkpoint.fill(checkpoint.read(tmp_path), shapes)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size <= sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.params)) <= kept
    assert peak <= 2 * size


def test_masked_language_model(tmp_path):
    params = draw(lambda: MaskedLM(CONFIG, rngs=nnx.Rngs(0)))
    checkpoint.save(tmp_path, CONFIG, params)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "cls.predictions.transform.dense.weight" in names
    assert "bert.embeddings.word_embeddings.weight" in names
    loaded = fill(tmp_path, zeros(params))
    assert loaded.initialised == ()
    assert_same(loaded.params, params)
    # Its encoder serves a classifier, whose heads are new.
    loaded = fill(tmp_path, classifier(2))
    assert loaded.initialised == ("classifier", "pooler")
    assert_same(loaded.params["encoder"], params["encoder"])


class TestRefused:
    def test_a_folder_without_config(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"has no config\.json"):
            checkpoint.find(tmp_path)

    def test_pickled_weights(self, folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        message = r"has no model\.safetensors.*pickled weights are not read"
        with pytest.raises(CheckpointError, match=message):
            checkpoint.find(folder)

    def test_a_file_instead_of_its_folder(self, folder):
        file = folder / "model.safetensors"
        with pytest.raises(
            CheckpointError, match=f"{file} is a file; needed is a folder"
        ):
            checkpoint.find(file)

    def test_another_architecture(self, folder):
        (folder / "config.json").write_text('{"model_type": "gpt2"}')
        message = r"config\.json: model_type 'gpt2' is another .*supported are bert, "
        with pytest.raises(CheckpointError, match=message):
            checkpoint.read(folder)

    @pytest.mark.parametrize("size", [10**9, 2**63, 10**400])
    @pytest.mark.parametrize(
        "field", ["num_hidden_layers", "vocab_size", "max_position_embeddings"]
    )
    def test_absurd_sizes_before_memory_is_taken(self, folder, field, size):
        values = {"model_type": "bert", field: size}
        (folder / "config.json").write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match=rf"config\.json: .*{field}") as e:
            checkpoint.read(folder)
        assert len(str(e.value)) < 300

    @pytest.mark.parametrize(
        "text",
        [
            *("{", "[]", "null", "{}", '{"model_type": "unheard-of"}'),
            '{"model_type": "bert", "hidden_size": 8.5}',
            '{"model_type": "bert", "hidden_size": 9, "num_attention_heads": 2}',
            '{"model_type": "bert", "hidden_size": true}',
            '{"model_type": "bert", "layer_norm_eps": "small"}',
            '{"model_type": "bert", "layer_norm_eps": 1e999}',
            '{"model_type": "bert", "hidden_dropout_prob": null}',
            '{"model_type": "bert", "pad_token_id": -1}',
            '{"model_type": "bert", "id2label": [7]}',
        ],
    )
    def test_a_config_that_is_none(self, folder, text):
        (folder / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json: ") as error:
            checkpoint.read(folder)
        assert "\n" not in str(error.value)

    def test_a_config_with_code_of_its_own(self, folder):
        config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "mine.py").write_text("raise SystemExit('was run')")
        with pytest.raises(CheckpointError, match=r"config\.json: .*trust_remote"):
            checkpoint.read(folder)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\x08\x00", "cannot read"),
            (b"", "cannot read"),
            (b"\xff" * 8 + b"{}", "cannot read"),
            (safetensors_file({}, length=2**40), "cannot read"),
            (safetensors_file([]), "cannot read"),
            (safetensors_file({"a": tensor(0, 8)}, b"\0" * 4), "cannot read"),
            (safetensors_file({"a": tensor(0, 2**50, [2**48])}), "cannot read"),
            (
                safetensors_file({"a": tensor(0, 8), "b": tensor(4, 12)}, b"\0" * 12),
                "cannot read",
            ),
            (
                safetensors_file({"a": tensor(0, 8) | {"dtype": "X7"}}, b"\0" * 8),
                "cannot read",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "a pointer of Git LFS",
            ),
            (b"\x1f\x8b\x08", "packed by gzip"),
            (b"PK\x03\x04", "a zip archive"),
        ],
    )
    def test_a_broken_or_hostile_file(self, folder, content, message):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as error:
            checkpoint.read(folder)
        assert str(folder / "model.safetensors") in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: np.where(t > 1, np.nan, t), "NaN or infinity"),
            (lambda t: t.astype(np.float64) * 1e300, "NaN or infinity"),
            (lambda t: t.astype(np.int64), "int64; finite fractions are due"),
            (lambda t: t.astype(bool), "bool; finite fractions are due"),
        ],
    )
    def test_weights_that_are_no_numbers_of_a_model(
        self, folder, params, change, message
    ):
        name = "bert.encoder.layer.1.output.dense.weight"
        rewrite(folder, lambda t: {**t, name: change(t[name])})
        with pytest.raises(CheckpointError, match=rf"{name}: {message}"):
            fill(folder, params)

    @pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b"])
    def test_weights_outside_of_the_folder(self, folder, name):
        (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"classifier.bias": name}})
        )
        with pytest.raises(CheckpointError, match=rf"outside of its folder: '{name}'$"):
            checkpoint.read(folder)

    @pytest.mark.parametrize("name", ["no/such/folder", "./none", "/nowhere"])
    def test_a_folder_that_does_not_exist(self, name):
        with pytest.raises(CheckpointError, match=f"no model folder {name}"):
            checkpoint.find(name)

    def test_a_hub_name_without_network(self, monkeypatch, tmp_path):
        import huggingface_hub.constants
        import huggingface_hub.errors

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        message = r"the hub did not give a model .*without network, name a folder"
        with pytest.raises(CheckpointError, match=message) as error:
            checkpoint.find("someone/some-bert")
        # The cache was asked, and not the network.
        cause = error.value.__cause__
        assert isinstance(cause, huggingface_hub.errors.LocalEntryNotFoundError)


def test_hub_names_are_looked_up_in_the_cache(monkeypatch, folder):
    import huggingface_hub

    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert checkpoint.find("someone/some-bert") == folder
    [(name, patterns)] = asked
    assert name == "someone/some-bert"
    assert "config.json" in patterns
    assert not any(pattern.endswith(".bin") for pattern in patterns)


def test_saving_copies_the_tokenizer(tmp_path, params):
    source = tmp_path / "source"
    source.mkdir()
    (source / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    (source / "added_tokens.json").write_text('{"[new]": 2}')
    (source / "training.log").write_text("of no interest")
    checkpoint.save(tmp_path / "out", CONFIG, params, tokenizer_from=source)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "added_tokens.json",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]


def test_labels_are_as_many_as_the_classifier_has_outputs(tmp_path, params):
    with pytest.raises(ValueError, match=r"labels are \('a',\).* has 3 outputs"):
        checkpoint.save(tmp_path / "out", CONFIG, params, labels=("a",))
    assert not (tmp_path / "out").exists()


def test_labels_and_kind_are_saved(tmp_path, folder, params):
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert config["problem_type"] == "single_label_classification"
    checkpoint.save(tmp_path / "one", CONFIG, classifier(1))
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert config["id2label"] == {"0": "LABEL_0"}
    several = "multi_label_classification"
    checkpoint.save(tmp_path / "some", CONFIG, classifier(2), problem_type=several)
    config = json.loads((tmp_path / "some" / "config.json").read_text())
    assert config["problem_type"] == several


@pytest.mark.medium
def test_real_encoder_is_used_whole(shared_dir):
    name = shared_dir / "models" / "all-MiniLM-L6-v2"
    read = checkpoint.read(name)
    loaded = checkpoint.fill(read, classifier(2, read.config))
    assert loaded.initialised == ("classifier",)
    used = sum(
        leaf.size
        for key, part in loaded.params.items()
        for leaf in jax.tree.leaves(part)
        if key != "classifier"
    )
    stored = sum(
        tensor.size for key, tensor in read.tensors.items() if "position_ids" not in key
    )
    assert used == stored
