"""The one-file example: its BERT, its labels, its sharding, and a copy of it alone."""

import csv
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

import chex
import datasets
import finetune_bert
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_bert
from bert_glue.data import generated
from bert_glue.model import checkpoint, components, encoder
from flax import nnx

import cwgnc_jax

PROJECT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny BERT of three layers, and a task that it learns within seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    config = dataclasses.replace(tiny_bert.CONFIG, num_hidden_layers=3)
    model = tiny_bert.save(folder / "model", config)
    data = folder / "data"
    data.mkdir()
    for name, count, seed in (("train", 240, 0), ("dev", 100, 1)):
        with (data / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("sentence", "label"))
            writer.writerows(tiny_bert.sentences(count, seed))
    return str(model), str(data)


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)


def in_their_layout(params):
    """Parameters of the example as those of bert_glue, whose layers are stacked."""

    def convert(path, leaf):
        leaf = np.asarray(leaf)
        name, module = path[-1].key, path[-2].key
        return leaf.T if name == "weight" and not module.endswith("norm") else leaf

    def rename(node, module=""):
        if not isinstance(node, dict):
            return node
        kernel = "scale" if module.endswith("norm") else "kernel"
        return {
            kernel if key == "weight" else key: rename(child, str(key))
            for key, child in node.items()
        }

    tables = {
        theirs: {"embedding": np.asarray(params[f"{ours}_embeddings"])}
        for theirs, ours in (
            ("word", "word"),
            ("position", "position"),
            ("token_type", "type"),
        )
    }
    rest = {key: params[key] for key in ("embeddings_norm", "layers", "pooler")}
    rest["classifier"] = params["classifier"]
    rest = rename(jax.tree_util.tree_map_with_path(convert, rest))
    layers = [rest["layers"][number] for number in sorted(rest["layers"])]
    return {
        "embeddings": {**tables, "norm": rest["embeddings_norm"]},
        "encoder": {"layers": jax.tree.map(lambda *leaves: np.stack(leaves), *layers)},
        "pooler": rest["pooler"],
        "classifier": rest["classifier"],
    }


def pairs(length=12, batch=6, vocabulary=20):
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, length + 1, (batch, 1))
    places = np.arange(length)
    return {
        "input_ids": rng.integers(0, vocabulary, (batch, length)),
        "token_type_ids": ((places > 2) & (places < lengths)).astype(int),
        "attention_mask": (places < lengths).astype(int),
        "label": rng.integers(0, 2, batch),
    }


class TestModel:
    @pytest.mark.medium
    @pytest.mark.parametrize(
        "name",
        ["tiny", "embedded", pytest.param("all-MiniLM-L6-v2", marks=pytest.mark.slow)],
    )
    def test_logits_are_those_of_the_other_bert(self, name, folders, request):
        """Another implementation, with a checkpoint map of its own, which stacks."""
        if name == "all-MiniLM-L6-v2":
            shared = request.getfixturevalue("shared_dir")
            folder = str(shared / "models" / name)
        else:
            folder = folders[0] if name == "tiny" else finetune_bert.EMBEDDED
        structure, params, _ = finetune_bert.load_model(folder, 3, seed=0)
        read = checkpoint.read(folder)
        initial = encoder.initial_params(read.config, 3, jax.random.key(1))
        theirs = checkpoint.fill(read, initial).params
        heads = in_their_layout(params)
        # The classifier is fresh, and where the checkpoint has none, the pooler.
        theirs["classifier"] = heads["classifier"]
        if "pooler.dense.weight" not in read.tensors:
            theirs["pooler"] = heads["pooler"]
        batch = pairs()
        oracle = encoder.SequenceClassifier(read.config, 3, rngs=nnx.Rngs(0))
        stacked = encoder.separate(oracle)[0]
        names = ("input_ids", "token_type_ids", "attention_mask")
        inputs = [batch[name] for name in names]
        expected = jax.jit(lambda params: nnx.merge(stacked, params)(*inputs))(theirs)
        logits = jax.jit(lambda params: nnx.merge(structure, params)(batch))(params)
        # Sums of up to 1,536 numbers of order 1 in float32, six layers deep.
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)

    def test_a_fresh_head_follows_the_seed(self, folders):
        kernels = [
            finetune_bert.load_model(folders[0], 2, seed)[1]["classifier"]["weight"]
            for seed in (0, 0, 1)
        ]
        assert kernels[0].tolist() == kernels[1].tolist() != kernels[2].tolist()
        assert np.std(kernels[0]) == pytest.approx(0.02, rel=0.5)

    def test_another_architecture_is_refused(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
        with pytest.raises(ValueError, match="needed is a bert with gelu, got roberta"):
            finetune_bert.load_model(str(tmp_path), 2, 0)


@pytest.mark.medium
def test_the_task_beside_it_is_the_generated_one():
    task = generated.load("acceptability")
    for name, examples in (("train", task.train), ("dev", task.evaluation)):
        with (PROJECT / f"examples/acceptability/{name}.csv").open(newline="") as file:
            rows = [
                (row["sentence"], int(row["label"])) for row in csv.DictReader(file)
            ]
        texts = [text for (text,) in examples.texts]
        assert rows == list(zip(texts, examples.labels.tolist(), strict=True))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A model without dropout, whose noise two implementations would draw otherwise."""
    config = dataclasses.replace(
        tiny_bert.CONFIG,
        num_hidden_layers=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return tiny_bert.save(tmp_path_factory.mktemp("still"), config)


STEPS, RATE, MAX_NORM = 4, 1e-3, 0.01


@pytest.fixture(scope="module")
def by_labels(still):
    """Parameters at the start, and after each of three stages of unfreezing."""
    structure, params, _ = finetune_bert.load_model(str(still), 2, seed=0)
    found = [params]
    for stage in range(3):
        labels = cwgnc_jax.unfreezing_labels(params, stage)
        optimizer = finetune_bert.make_optimizer(labels, RATE, MAX_NORM)
        params = jax.tree.map(jnp.copy, params)  # the step donates what it is given
        opt_state = optimizer.init(params)
        for number in range(STEPS):
            params, opt_state, _ = finetune_bert.train_step(
                structure, optimizer, params, opt_state, pairs(), jax.random.key(number)
            )
        found.append(params)
    return found


class TestUnfreezing:
    """Labels on separate layers, and stacked layers that are cut, do the same."""

    def by_cutting(self, folder, params):
        config = checkpoint.read_config(folder)
        model = encoder.SequenceClassifier(config, 2, rngs=nnx.Rngs(0))
        structure, _ = encoder.separate(model)
        groups = cwgnc_jax.unfreezing_groups(params)
        batch = pairs()

        def optimizer(stage):
            layers = components.layer_components(groups.lowest_layer(stage))
            return optax.chain(
                cwgnc_jax.clip_by_component_norm(MAX_NORM, layers),
                optax.scale_by_adam(eps=1e-6),
                optax.add_decayed_weights(0.01, cwgnc_jax.decay_mask),
                optax.scale_by_learning_rate(RATE),
            )

        def fit(stage):
            @jax.jit
            def step(trainable, opt_state):
                def loss_of(trainable):
                    params = cwgnc_jax.join_params(trainable, stage.frozen)
                    logits = nnx.merge(structure, params)(
                        batch["input_ids"],
                        batch["token_type_ids"],
                        batch["attention_mask"],
                    )
                    logs = jax.nn.log_softmax(logits)
                    return -logs[jnp.arange(6), batch["label"]].mean()

                gradients = jax.grad(loss_of)(trainable)
                updates, opt_state = stage.optimizer.update(
                    gradients, opt_state, trainable
                )
                return optax.apply_updates(trainable, updates), opt_state

            trainable, opt_state = stage.trainable, stage.opt_state
            for _ in range(STEPS):
                trainable, opt_state = step(trainable, opt_state)
            return trainable, opt_state

        return cwgnc_jax.gradual_unfreezing(params, optimizer, fit, groups)

    @pytest.mark.slow
    def test_labels_and_a_cut_stack_give_the_same_parameters(self, still, by_labels):
        start, *stages = by_labels
        cut = self.by_cutting(still, jax.tree.map(jnp.asarray, in_their_layout(start)))
        for (_, expected), params in zip(cut, stages, strict=True):
            # A fiftieth of one step: Adam divides gradients by their size, so that
            # rounding shows wherever these are as small as its epsilon.
            chex.assert_trees_all_close(
                in_their_layout(params), expected, rtol=0, atol=RATE / 50
            )

    @pytest.mark.slow
    def test_a_stage_leaves_every_bit_of_what_is_frozen(self, by_labels):
        before, *stages = by_labels
        for stage, after in enumerate(stages):
            for path, leaf in jax.tree_util.tree_leaves_with_path(after):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                old = before
                for key in path:
                    old = old[key.key]
                layer = re.match(r"layers/(\d)", name)
                lowest = {0: 2, 1: 1, 2: -1}[stage]  # the last one trains all
                level = int(layer[1]) if layer else 0 if "embeddings" in name else 3
                same = np.asarray(leaf).tobytes() == np.asarray(old).tobytes()
                # But for keys' biases, which softmax cancels, everything moves.
                if not name.endswith("key/bias"):
                    assert same == (level < lowest), f"{name} in stage {stage}"
            before = after


def lines_of(printed):
    pattern = (
        r"top (\d) of 3 layers, epoch (\d): loss ([\d.]+), clipped (\d+)%, score (.*)"
    )
    return [tuple(map(float, line)) for line in re.findall(pattern, printed)]


class TestScript:
    OPTIONS = ("--learning-rate", "5e-3", "--epochs")

    @pytest.mark.medium
    @pytest.mark.parametrize("seed", ["0", pytest.param("1", marks=pytest.mark.slow)])
    def test_it_learns(self, folders, seed, capsys):
        model, data = folders
        options = ["--model", model, "--data", data, "--seed", seed]
        finetune_bert.train_step.clear_cache()
        finetune_bert.main([*options, *self.OPTIONS, "8"])
        assert finetune_bert.train_step._cache_size() == 1  # compiled once
        lines = lines_of(capsys.readouterr().out)
        assert [line[:2] for line in lines] == [(3, epoch) for epoch in range(1, 9)]
        # Half of the sentences have a cat, so that a guess has the loss 0.69 and no
        # correlation.
        assert lines[-1][2] < 0.45
        assert lines[-1][4] > 0.6

    @pytest.mark.slow
    def test_it_learns_the_task_beside_it(self, capsys):
        finetune_bert.main([])
        lines = lines_of(capsys.readouterr().out)
        # The loss of the shares of the classes, 70 and 30%, is 0.61.
        assert lines[-1][2] < 0.55
        assert lines[-1][4] > 0.1

    @pytest.mark.slow
    def test_stages_unfreeze_from_the_top(self, folders, capsys):
        model, data = folders
        options = ["--model", model, "--data", data, "--unfreeze"]
        finetune_bert.main([*options, *self.OPTIONS, "1"])
        lines = lines_of(capsys.readouterr().out)
        assert [line[:2] for line in lines] == [(1, 1), (2, 1), (3, 1)]

    @pytest.mark.slow
    def test_a_copy_alone_on_eight_devices_does_the_same(
        self, folders, tmp_path, capsys
    ):
        """Outside of the tree, with the library, a checkpoint and a CSV in folders."""
        model, data = folders
        options = ["--model", model, "--data", data, *self.OPTIONS, "2"]
        finetune_bert.main(options)
        expected = lines_of(capsys.readouterr().out)
        library = tmp_path / "library"
        shutil.copytree(PROJECT / "cwgnc_jax", library / "cwgnc_jax")
        copy = tmp_path / "mine" / "finetune_bert.py"
        copy.parent.mkdir()
        shutil.copy(finetune_bert.__file__, copy)
        flags = os.environ.get("XLA_FLAGS", "")
        run = subprocess.run(
            [sys.executable, copy, *options],
            env=os.environ
            | {
                "PYTHONPATH": str(library),
                "HF_HOME": str(tmp_path / "cache"),
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
            },
            cwd=copy.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        # Losses have three digits. Sums over eight shares round otherwise, and what
        # that becomes within 30 steps is less than a unit or two of the last.
        np.testing.assert_allclose(
            [line[2] for line in lines_of(run.stdout)],
            [line[2] for line in expected],
            atol=0.002,
        )
        assert len(expected) == 2
