"""Dots side by side where they would hide each other."""

from collections.abc import Sequence


def offsets(
    positions: Sequence[float], near: float, step: float, room: float
) -> list[float]:
    """How far each dot moves aside from its line, so that all of them are seen.

    Args:
      positions: where the dots are along the line.
      near: dots that are nearer to each other than this may not be side by side.
      step: width of a dot.
      room: how far a dot may move at most; they are closer together where there
        are too many.

    Returns:
      The distances, to both sides of the line.

    Examples:
      >>> offsets([5.0, 1.0, 5.1, 5.05], near=0.2, step=1.0, room=10.0)
      [0.0, 0.0, -1.0, 1.0]
      >>> offsets([5.0, 5.0, 5.0], near=0.2, step=1.0, room=0.5)
      [0.0, 0.5, -0.5]
    """
    steps = [0] * len(positions)
    done: list[int] = []
    for index in sorted(range(len(positions)), key=positions.__getitem__):
        taken = {
            steps[other] for other in done if positions[index] - positions[other] < near
        }
        # To the one side and the other in turn: 0, 1, -1, 2, -2 ...
        free = 0
        while free in taken:
            free = -free if free > 0 else 1 - free
        steps[index] = free
        done.append(index)
    step = min(step, room / max([1, *map(abs, steps)]))
    return [step * count for count in steps]
