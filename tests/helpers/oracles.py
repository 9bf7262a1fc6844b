"""Independent answers, in NumPy and float64, that the tests compare with."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Pieces = dict[str, list[tuple[str, tuple[Any, ...]]]]
"""For each component, the leaves and the slices of them that it consists of."""


class Clipped(NamedTuple):
    """Clipped leaves in float64, and norms and scales by the component's name."""

    leaves: dict[str, np.ndarray]
    norms: dict[str, float]
    scales: dict[str, float]


def pieces_of(
    path: str,
    shape: Sequence[int],
    label: str | None = None,
    axes: Sequence[int] = (),
    split_axis: int | None = None,
    parts: Mapping[str, int] | None = None,
    start: int = 0,
) -> Pieces:
    """Cuts a leaf into components, one slice at a time."""
    label = path if label is None else label
    axes = [axis % len(shape) for axis in axes]
    pieces: Pieces = {}
    for index in itertools.product(*(range(shape[axis]) for axis in axes)):
        where: list[Any] = [slice(None)] * len(shape)
        for axis, i in zip(axes, index, strict=True):
            where[axis] = i
        shown = [str(i + (start if axis == 0 else 0)) for axis, i in enumerate(index)]
        if split_axis is None:
            name = f"{label}[{','.join(shown)}]" if shown else label
            pieces[name] = [(path, tuple(where))]
            continue
        end = 0
        for part, size in (parts or {}).items():
            where[split_axis % len(shape)] = slice(end, end + size)
            end += size
            pieces[f"{label}[{','.join([*shown, part])}]"] = [(path, tuple(where))]
    return pieces


def join(*many: Pieces) -> Pieces:
    """Adds up the pieces of components of one name."""
    joined: Pieces = {}
    for pieces in many:
        for name, parts in pieces.items():
            joined[name] = joined.get(name, []) + parts
    return joined


def clip(
    leaves: Mapping[str, np.ndarray],
    pieces: Pieces,
    thresholds: float | Mapping[str, float | None],
) -> Clipped:
    """Clips each component by the formula, in double precision."""
    wide = {
        path: leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)
        for path, leaf in leaves.items()
    }
    norms, scales = {}, {}
    for name, parts in pieces.items():
        square = sum(np.sum(np.abs(wide[path][where]) ** 2) for path, where in parts)
        norms[name] = float(np.sqrt(square))
        limit = thresholds[name] if isinstance(thresholds, Mapping) else thresholds
        over = limit is not None and norms[name] > limit
        scales[name] = limit / norms[name] if over and limit is not None else 1.0
        if limit == 0:
            scales[name] = 0.0
    clipped = {path: leaf.copy() for path, leaf in wide.items()}
    for name, parts in pieces.items():
        for path, where in parts:
            clipped[path][where] = wide[path][where] * scales[name]
    return Clipped(clipped, norms, scales)


def adaptive_clip(
    gradients: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    clipping: float,
    eps: float,
) -> dict[str, np.ndarray]:
    """AGC with whole leaves as units (Brock et al. 2021, equation 3)."""
    clipped = {}
    for path, gradient in gradients.items():
        gradient = gradient.astype(np.float64)
        norm = np.linalg.norm(gradient)
        limit = clipping * max(np.linalg.norm(params[path].astype(np.float64)), eps)
        clipped[path] = gradient * (limit / norm) if norm > limit else gradient
    return clipped


class AdaGC:
    """AdaGC with whole leaves as tensors (Wang et al. 2025, Algorithm 1)."""

    def __init__(self, ratio: float, warmup: float, decay: float, start: int):
        self.ratio, self.warmup, self.decay, self.start = ratio, warmup, decay, start
        self.step = 0
        self.gamma: dict[str, float] = {}

    def __call__(self, gradients: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Clips the gradients of the next step."""
        self.step += 1
        wide = {path: g.astype(np.float64) for path, g in gradients.items()}
        norm = {path: float(np.linalg.norm(g)) for path, g in wide.items()}
        if self.step < self.start:
            total = float(np.sqrt(sum(value**2 for value in norm.values())))
            factor = min(1.0, self.warmup / total)
            for path, value in norm.items():
                before = self.gamma.get(path, np.inf)
                self.gamma[path] = min(before, factor * value)
            return {path: factor * g for path, g in wide.items()}
        clipped = {}
        for path, g in wide.items():
            factor = min(1.0, self.ratio * self.gamma[path] / norm[path])
            clipped[path] = factor * g
            past = self.decay * self.gamma[path]
            self.gamma[path] = past + (1 - self.decay) * factor * norm[path]
        return clipped
