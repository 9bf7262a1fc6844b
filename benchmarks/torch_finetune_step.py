"""transformers' and PyTorch's side of ``finetune_step.py``.

It runs in an environment that has both. See ``torch_peer.py`` for what it reads and
prints; a variant is a length of the batch.
"""

import json
import sys
import time

import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    config = transformers.BertConfig(**settings["config"])
    model = transformers.BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=2e-5, weight_decay=0.01, fused=True
    )
    batches = {
        str(length): {
            "input_ids": torch.randint(1000, config.vocab_size, (batch, length)),
            "attention_mask": torch.ones(batch, length, dtype=torch.long),
            "labels": torch.zeros(batch, dtype=torch.long),
        }
        for batch, length in [(settings["batch"], n) for n in settings["lengths"]]
    }
    print(json.dumps([torch.__version__, list(batches)]), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(**batches[line.strip()]).loss.backward()
        for parameter in model.parameters():
            torch.nn.utils.clip_grad_norm_(parameter, settings["max_norm"])
        optimizer.step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
