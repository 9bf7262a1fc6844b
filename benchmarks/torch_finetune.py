"""transformers' and PyTorch's side of ``finetune.py``.

It runs in an environment that has both. See ``torch_peer.py`` for what it reads and
prints; a variant is a way to make batches, and a turn is some steps of it. Batches are
padded to their own longest example; AdamW is fused; with bfloat16 the forward pass runs
under autocast, the parameters are float32. With float32 a GPU multiplies in TF32, as it
does by default under JAX. Its layers may be compiled, and its attention be one that
transformers knows, such as ``sdpa``.
"""

import contextlib
import json
import sys
import time

import numpy as np
import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def make_model(settings: dict, device: str) -> torch.nn.Module:
    """The classifier with random weights, compiled if that is asked for."""
    config = transformers.BertConfig(
        **settings["config"],
        num_labels=settings["num_labels"],
        attn_implementation=settings.get("attention"),
        # Else the first loss finds it out, and a compiled model is compiled again.
        problem_type="single_label_classification",
    )
    model = transformers.BertForSequenceClassification(config).to(device).train()
    if settings.get("compile"):
        # One program for all layers, which is soon compiled, and for all lengths, as
        # batches are padded to their own longest example.
        for layer in model.bert.encoder.layer:
            layer.compile(dynamic=True)
    return model


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    with np.load(settings["data"]) as data:
        tokens = torch.from_numpy(data["input_ids"].astype(np.int64)).to(device)
        types = torch.from_numpy(data["token_type_ids"].astype(np.int64)).to(device)
        labels = torch.from_numpy(data["labels"].astype(np.int64)).to(device)
        lengths = data["lengths"]
        orders = {name: data[f"order {name}"] for name in settings["variants"]}
    model = make_model(settings, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=2e-5, weight_decay=0.01, fused=True
    )
    half = contextlib.nullcontext()
    if settings["dtype"] == "bfloat16":
        half = torch.autocast(device, dtype=torch.bfloat16)
    parameters = list(model.parameters())
    places = dict.fromkeys(orders, 0)

    def take_steps(name: str) -> float:
        start = time.perf_counter()
        for _ in range(settings["steps"]):
            rows = orders[name][places[name] % len(orders[name])]
            places[name] += 1
            length = int(lengths[rows].max())
            mask = np.arange(length) < lengths[rows][:, None]
            chosen = torch.from_numpy(rows.astype(np.int64)).to(device)
            optimizer.zero_grad(set_to_none=True)
            with half:
                loss = model(
                    input_ids=tokens[chosen, :length],
                    token_type_ids=types[chosen, :length],
                    attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
                    labels=labels[chosen],
                ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    if settings.get("compile"):
        for name in orders:
            take_steps(name)
    print(json.dumps([torch.__version__, list(orders)]), flush=True)
    for line in sys.stdin:
        print(take_steps(line.strip()), flush=True)


if __name__ == "__main__":
    main()
