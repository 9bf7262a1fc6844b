"""Types of options: what a user writes, read and checked, or refused in one line."""

import argparse
import contextlib
import math
from collections.abc import Callable
from typing import TypeVar

from bert_glue.data.tasks import GENERATED, TASKS

T = TypeVar("T")


def task(text: str) -> str:
    """A task's name, if there is such a task."""
    if text not in TASKS and text not in GENERATED:
        accepted = ", ".join([*GENERATED, *TASKS])
        raise ValueError(f"unknown task {text!r}; accepted are {accepted}")
    return text


def tasks(text: str) -> tuple[str, ...]:
    """Tasks' names, separated by commas."""
    names = tuple(task(name.strip()) for name in text.split(","))
    if len(set(names)) < len(names):
        raise ValueError(f"tasks are {text!r}, with a task there twice")
    return names


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Lets argparse show the message of a ValueError."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least ``least``."""

    def convert(text: str) -> int:
        with contextlib.suppress(ValueError):
            if (value := int(text)) >= least:
                return value
        raise argparse.ArgumentTypeError(
            f"got {text!r}; accepted is a whole number of at least {least}"
        )

    return convert


def number(
    least: float,
    *,
    exclusive: bool = False,
    most: float = math.inf,
    below: float = math.inf,
) -> Callable[[str], float]:
    """Reads a finite number from ``least`` (or above it) up to ``most``, or below."""

    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = float(text)
            above = value > least if exclusive else value >= least
            if above and value <= most and value < below and math.isfinite(value):
                return value
        limits = f"a number {'above' if exclusive else 'of at least'} {least:g}"
        if math.isfinite(most):
            limits += f" and at most {most:g}"
        if math.isfinite(below):
            limits += f" and below {below:g}"
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted is {limits}")

    return convert


def parallel(text: str) -> int | None:
    """Reads how many seeds to train side by side; None for 'auto'."""
    if text == "auto":
        return None
    try:
        return whole(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None
