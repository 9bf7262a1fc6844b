"""Records what transformers and PyTorch compute, for the tests of the encoder.

    python tests/data/record_bert_oracles.py                     # tiny random models
    python tests/data/record_bert_oracles.py --encoder FOLDER    # a real encoder
    python tests/data/record_bert_oracles.py --check FOLDER      # a saved model

Needs torch and transformers, in an environment of their own. Tiny models are written to
``tests/data/bert/NAME`` as Hugging Face checkpoints, with ``expected.npz`` beside them;
of a real encoder only a few numbers are kept, in ``tests/data/encoder.npz``. A check
takes a folder that ``save_bert_logits.py`` wrote, lets transformers load it, and prints
how far the logits lie from those recorded beside the weights.
"""

import argparse
import pathlib

import numpy as np
import torch
import transformers

DATA = pathlib.Path(__file__).parent

TINY = {
    "one_layer_gelu": {
        "vocab_size": 31,
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 17,
        "num_labels": 2,
    },
    "two_layers_relu_three_labels": {
        "vocab_size": 23,
        "hidden_size": 10,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 14,
        "max_position_embeddings": 11,
        "type_vocab_size": 1,
        "hidden_act": "relu",
        "num_labels": 3,
    },
    "three_layers_gelu_new_regression": {
        "vocab_size": 29,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 9,
        "max_position_embeddings": 13,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
        "num_labels": 1,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    options = parser.parse_args()
    if options.check:
        check(options.check)
    elif options.encoder:
        record_encoder(options.encoder)
    else:
        for seed, (name, sizes) in enumerate(TINY.items()):
            record_tiny(DATA / "bert" / name, seed, sizes)


def record_tiny(folder: pathlib.Path, seed: int, sizes: dict) -> None:
    """Writes a tiny model, its inputs, hidden states, logits, loss and gradients."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(**sizes)
    model = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        # Larger than at initialisation, so that every part leaves its mark.
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch, length = 4, config.max_position_embeddings - 2
    inputs = {
        # PyTorch gives the padding token, number 0, no gradient.
        "input_ids": torch.randint(1, config.vocab_size, (batch, length)),
        "token_type_ids": torch.randint(0, config.type_vocab_size, (batch, length)),
        "attention_mask": torch.ones(batch, length, dtype=torch.long),
    }
    for row, padding in enumerate((0, 1, 4, length - 1)):
        inputs["attention_mask"][row, length - padding :] = 0
    labels = (
        torch.randn(batch)
        if config.num_labels == 1
        else torch.randint(0, config.num_labels, (batch,))
    )
    write(folder, model, inputs, labels)


def write(folder: pathlib.Path, model, inputs: dict, labels: torch.Tensor) -> None:
    """Writes a model, and what it makes of inputs: ``expected.npz`` beside it."""
    hidden = model.base_model(**inputs).last_hidden_state
    output = model(**inputs, labels=labels)
    output.loss.backward()
    model.save_pretrained(folder)
    # Models without token types do not take them; the tests give them all the same.
    inputs.setdefault("token_type_ids", torch.zeros_like(inputs["input_ids"]))
    np.savez_compressed(
        folder / "expected.npz",
        **{key: value.numpy() for key, value in inputs.items()},
        labels=labels.numpy(),
        hidden=hidden.detach().numpy(),
        logits=output.logits.detach().numpy(),
        loss=output.loss.detach().numpy(),
        **{f"gradient {name}": p.grad.numpy() for name, p in model.named_parameters()},
    )
    for other in ("training_args.bin", "generation_config.json"):
        (folder / other).unlink(missing_ok=True)


def record_encoder(encoder: pathlib.Path) -> None:
    """Writes hidden values, logits and gradient norms of a real encoder.

    The classifier, which such an encoder does not have, is drawn here and recorded.
    """
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=3
    ).eval()
    drawn = np.random.default_rng(0).normal(0, 0.1, (4, model.config.hidden_size))
    kernel, bias = drawn[:3].astype(np.float32), drawn[3, :3].astype(np.float32)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(kernel))
        model.classifier.bias.copy_(torch.from_numpy(bias))
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    sentences = [
        ("The cat sat on the mat.", "A cat is sitting."),
        ("Nobody expected so long a first sentence as this one is.", "Short."),
        ("Is it?", "It is, whatever it may be, and whoever should say so."),
    ]
    inputs = tokenizer(
        *map(list, zip(*sentences, strict=True)), padding=True, return_tensors="pt"
    )
    labels = torch.tensor([2, 0, 1])
    hidden = model.bert(**inputs).last_hidden_state
    output = model(**inputs, labels=labels)
    output.loss.backward()
    norms = {
        name: np.linalg.norm(parameter.grad.double().numpy())
        for name, parameter in model.named_parameters()
    }
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(
        DATA / "encoder.npz",
        sentences=np.asarray(sentences),
        **{name: value.numpy() for name, value in inputs.items()},
        kernel=kernel.T,
        bias=bias,
        labels=labels.numpy(),
        hidden=hidden.detach().numpy()[:, ::5, ::16],
        logits=output.logits.detach().numpy(),
        loss=output.loss.detach().numpy(),
        names=np.asarray(list(norms)),
        norms=np.asarray(list(norms.values())),
    )


def check(folder: pathlib.Path) -> None:
    """Loads a saved model and compares its logits with the folder's."""
    expected = np.load(folder / "expected_logits.npz")
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    if wrong := {kind: names for kind, names in report.items() if names}:
        raise SystemExit(f"{folder} was not loaded whole: {wrong}")
    inputs = {
        name: torch.from_numpy(expected[name]).long()
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    with torch.no_grad():
        logits = model.eval()(**inputs).logits.numpy()
    difference = np.abs(logits - expected["logits"]).max()
    print(f"largest difference of {logits.size} logits: {difference:.2e}")


if __name__ == "__main__":
    main()
