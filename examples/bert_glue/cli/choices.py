"""What the user chose by options: recipes, seeds, model and data."""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

from bert_glue.cli.command_line import EMBEDDED
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed, cross

OWN_FILES = "custom"
"""Name of the task that the user's own files are."""


def recipes(
    arguments: argparse.Namespace, model_defaults: Mapping[str, Any]
) -> tuple[Recipe, ...]:
    """The recipes that the user asks for.

    Args:
      arguments: with the options of :func:`cli.add_method_options`.
      model_defaults: settings that suit the model, weaker than the user's.

    Returns:
      The recipes.

    Raises:
      ValueError: if a setting is out of its range.
    """
    names = (
        "learning_rate",
        "epochs",
        "batch_size",
        "warmup_ratio",
        "weight_decay",
        "group_by_length",
    )
    wanted = {name: getattr(arguments, name) for name in names}
    chosen = []
    for recipe in arguments.method:
        of_method = dict(wanted)
        if recipe.clipping == "component":
            of_method["max_norm"] = arguments.max_norm
        recipe = recipe.with_defaults(**model_defaults).with_defaults(**of_method)
        # What an optimizer does not accept comes out here and not after an hour.
        recipe.make_optimizer(steps=1)
        chosen.append(recipe)
    return tuple(chosen)


def check_subject(
    arguments: argparse.Namespace, default: str | tuple[str, ...] = "acceptability"
) -> None:
    """Checks what can be checked about model and data without reading them.

    Args:
      arguments: with the options of :func:`cli.add_subject_options`; the default task
        is filled in.
      default: the task, or for a script that takes several the tasks, if the user
        names none.

    Raises:
      ValueError: if options do not go together, or a folder lacks what it must have.
    """
    own = arguments.train_file is not None or arguments.eval_file is not None
    if own and arguments.train_file is None:
        raise ValueError("--eval-file belongs to --train-file")
    if arguments.eval_file is not None and arguments.held_out is not None:
        raise ValueError("--held-out scores training examples; leave out --eval-file")
    if own and arguments.eval_file is None and arguments.held_out is None:
        raise ValueError(
            "--train-file needs --eval-file, or --held-out to score a share of its own"
        )
    if own and (arguments.task or arguments.data_dir):
        raise ValueError("--train-file replaces --task and --data-dir; give one kind")
    if arguments.metric and not own:
        raise ValueError("--metric is for --train-file; a task brings its own")
    wanted = arguments.task or default
    names = (wanted,) if isinstance(wanted, str) else wanted
    generated = [name for name in names if name in GENERATED]
    if arguments.data_dir and generated:
        raise ValueError(
            f"--data-dir goes with a task of GLUE ({', '.join(TASKS)}); "
            f"{generated[0]} is generated"
        )
    if own:
        wanted = OWN_FILES if isinstance(default, str) else (OWN_FILES,)
    arguments.task = wanted
    if not arguments.model:
        raise ValueError("--model is empty; 'embedded' is the default")
    folder = pathlib.Path(arguments.model)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(
            f"the model folder {folder} has no config.json; accepted are 'embedded', a "
            "folder with a Hugging Face BERT, or a name on the Hugging Face hub"
        )
    looks_like_path = arguments.model.startswith((".", "/", "~"))
    if arguments.model != EMBEDDED and looks_like_path and not folder.is_dir():
        raise ValueError(f"there is no model folder {folder}")


def seeds(arguments: argparse.Namespace) -> list[Seed]:
    """The seeds that the user asks for.

    Args:
      arguments: with the options of :func:`cli.add_run_options`.

    Returns:
      The seeds: equal pairs, or all pairs of --init-seeds and --data-seeds.

    Raises:
      ValueError: if both ways are used at once.
    """
    init, data = arguments.init_seeds, arguments.data_seeds
    if init is None and data is None:
        both = arguments.seeds or arguments.default_seeds
        return [Seed(seed, seed) for seed in both]
    if arguments.seeds is not None:
        raise ValueError(
            "--seeds sets both seeds of a run; --init-seeds and --data-seeds replace it"
        )
    return cross(init or (0,), data or (0,))


def taken_defaults(recipe: Recipe, defaults: Mapping[str, Any]) -> list[str]:
    """Which of a model's own defaults a recipe took, in words."""
    return [
        name.replace("_", " ")
        for name, value in defaults.items()
        if getattr(recipe, name) == value and name not in recipe.changed
    ]
