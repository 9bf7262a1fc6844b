"""Records what PyTorch makes of gradients that it clips one parameter at a time.

Run once, in an environment with torch; the tests need only what it writes:

    python tests/data/record_torch_clipping.py
"""

import pathlib

import numpy as np
import torch

MAX_NORMS = (0.01, 0.05, 1.0, 5.0)
SHAPES = {
    "embedding": (37, 16),
    "kernel": (16, 48),
    "bias": (48,),
    "scale": (),
    "convolution": (3, 3, 4, 8),
}


def main() -> None:
    """Writes gradients, clipped gradients and norms for each threshold."""
    rng = np.random.default_rng(20221)
    recorded = {"max_norms": np.array(MAX_NORMS)}
    for i, (name, shape) in enumerate(SHAPES.items()):
        # Sizes from well below to well above all thresholds.
        gradient = 10.0 ** (i - 3) * rng.standard_normal(shape)
        gradient = np.asarray(gradient, np.float32)
        recorded[f"{name}/gradient"] = gradient
        for j, max_norm in enumerate(MAX_NORMS):
            parameter = torch.nn.Parameter(torch.zeros(shape))
            parameter.grad = torch.from_numpy(gradient.copy())
            norm = torch.nn.utils.clip_grad_norm_(parameter, max_norm)
            recorded[f"{name}/clipped/{j}"] = parameter.grad.numpy()
            recorded[f"{name}/norm/{j}"] = norm.numpy()
    recorded["torch_version"] = np.array(torch.__version__)
    path = pathlib.Path(__file__).parent / "torch_clipping.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **recorded)
    print(f"wrote {path}, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
