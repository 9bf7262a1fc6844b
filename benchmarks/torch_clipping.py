"""PyTorch's side of ``clipping.py``; runs in an environment that has PyTorch.

It makes the parameters of the shapes that it reads from its first line of input, on a
GPU where there is one, then for each further line, the name of a variant, does some
steps and answers with the seconds that one took.
"""

import json
import sys
import time

import torch

MAX_NORM = 0.05


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parameters = [
        torch.nn.Parameter(torch.randn(shape, device=device) * 0.02)
        for shape in settings["shapes"]
    ]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, device=device) * 1e-3
    gradients = [parameter.grad.clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.01, fused=True)

    def clip_in_a_loop() -> None:
        for parameter in parameters:
            torch.nn.utils.clip_grad_norm_(parameter, MAX_NORM)

    def clip_foreach() -> None:
        grads = [parameter.grad for parameter in parameters]
        norms = torch._foreach_norm(grads)
        scales = [(MAX_NORM / (norm + 1e-6)).clamp(max=1.0) for norm in norms]
        torch._foreach_mul_(grads, scales)

    def clip_globally() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)

    variants = {
        "bare": lambda: None,
        "component, loop": clip_in_a_loop,
        "component, foreach": clip_foreach,
        "global norm": clip_globally,
    }
    print(json.dumps([torch.__version__, list(variants)]), flush=True)
    for line in sys.stdin:
        variant = variants[line.strip()]
        # Clipped once or again, a gradient costs the same.
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad.copy_(gradient)
        wait(device)
        start = time.perf_counter()
        for _ in range(settings["steps"]):
            variant()
            optimizer.step()
        wait(device)
        print((time.perf_counter() - start) / settings["steps"], flush=True)


if __name__ == "__main__":
    main()
