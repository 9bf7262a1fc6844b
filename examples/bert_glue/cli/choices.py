"""What the user chose by options: recipes, seeds, model and data, checked."""

import argparse
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_glue.cli.options import EMBEDDED, flag
from bert_glue.cli.parser import Parser, errors_in_one_line
from bert_glue.data.tasks import GENERATED, TASKS
from bert_glue.training.recipe import SETTINGS, Recipe
from bert_glue.training.settings import written

OWN_FILES = "custom"
"""Name of the task that the user's own data are."""

# What has an effect where nothing is trained, and what only where something is scored.
_OF_INFERENCE = (
    *("inference", "command", "model", "max_length", "dtype", "output_dir"),
    *("no_compilation_cache", "evaluate", "predict", "predictions"),
)
_OF_EVALUATION = (
    *("task", "data_dir", "eval_file", "dataset", "label_column", "metric"),
    *("positive_class", "max_eval_examples"),
)
_OF_OWN_DATA = ("problem", "metric", "positive_class", "text_columns", "label_column")


def parse(
    parser: Parser,
    arguments: Sequence[str] | None,
    prepare: Callable[[argparse.Namespace], None] = lambda options: None,
) -> argparse.Namespace:
    """Reads the command line, and checks what can be checked without long imports.

    Args:
      parser: with the options of :func:`options.add_options`.
      arguments: the command line; that of the process by default.
      prepare: checks the script's own options, and sets defaults that depend on
        others; raises a ValueError if they cannot be used.

    Returns:
      The options, filled in: ``command``, ``tasks``, ``output_dir``, and unless nothing
      is to be trained ``pairs`` (of seeds) and ``recipes``.
    """
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = [parser.prog, *given]
    with errors_in_one_line(parser, ValueError):
        prepare(options)
        if options.inference:
            check_inference(options, parser.parse_args([]))
        elif not options.report_only:
            check_subject(options)
            check_processes(options)
            if options.track_every is not None and not options.track:
                raise ValueError("--track-every has no effect without --track")
            options.pairs = seeds(options)
            options.recipes = recipes(options, model_defaults(options.model))
        is_own = options.train_file or options.dataset
        is_own = is_own or (options.inference and not options.task)
        own = (OWN_FILES,) if is_own else options.task
        options.tasks = own or options.default_tasks
        folder = options.default_folder.replace("TASK", options.tasks[0])
        options.output_dir = options.output_dir or pathlib.Path(folder)
    return options


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the user gave for all methods."""
    return {name: vars(options)[name] for name in SETTINGS if name in options}


def recipes(
    options: argparse.Namespace, defaults: Mapping[str, Any]
) -> tuple[Recipe, ...]:
    """The recipes that the user asks for.

    Args:
      options: with those of methods.
      defaults: settings that suit the model, weaker than the user's.

    Returns:
      The recipes.

    Raises:
      ValueError: if settings do not go together, or one has no effect.
    """
    given = settings(options).items()
    # What holds for each recipe; only all of it together must be accepted.
    holding = [dict(defaults) for _ in options.method]

    def depends(item: tuple[str, Any]) -> bool:
        return bool(SETTINGS[item[0]].needs or SETTINGS[item[0]].unless)

    # Whether a setting has an effect depends on those that depend on no other.
    for name, value in sorted(given, key=depends):
        idle = [
            (recipe, why_idle(recipe, name, value, beside))
            for recipe, beside in zip(options.method, holding, strict=True)
        ]
        own = all(name in recipe.changed for recipe in options.method)
        if all(why for _, why in idle) and not own:
            reasons = "; ".join(f"{recipe.label}: {why}" for recipe, why in idle)
            raise ValueError(f"{flag(name)} has no effect ({reasons})")
        for (_, why), beside in zip(idle, holding, strict=True):
            if not why:
                beside[name] = value
    return tuple(
        recipe.with_defaults(**beside)
        for recipe, beside in zip(options.method, holding, strict=True)
    )


def why_idle(
    recipe: Recipe, name: str, value: Any, beside: Mapping[str, Any] | None = None
) -> str:
    """Why a setting that is given for all methods does not hold for one.

    Args:
      recipe: the method.
      name: of the setting.
      value: of the setting.
      beside: other settings that hold for all, weaker than the method's own.

    Returns:
      The reason; empty if it holds.
    """
    if name in recipe.changed:
        return f"its own is {written(getattr(recipe, name))}"
    others = {"global": "the global norm", "agc": "a ratio", "adagc": "a ratio"}
    clipping = recipe.value("clipping", beside)
    if name == "max_norm" and clipping in others:
        # Another quantity than the norm of a component, of another size.
        given = f"{recipe.label}:max_norm={written(value)}"
        return f"it clips {others[clipping]}, which {given} sets"
    if recipe.uses(name, beside):
        return ""
    if other := SETTINGS[name].unless:
        return f"{flag(other)} is in its place"
    return f"it needs {flag(SETTINGS[name].needs or '')}"


def embedded_model() -> pathlib.Path:
    """Folder of the model that comes with the project."""
    return pathlib.Path(__file__).parents[1] / "model" / "embedded"


def is_local(model: str) -> bool:
    """Whether a model is no name on the hub: the embedded one, or in a folder."""
    return model == EMBEDDED or pathlib.Path(model).is_dir()


def without_folder(word: str) -> str:
    """A word of a command line without the folders of this machine.

    Args:
      word: such as ``--model=/home/me/models/bert``, or the path alone.

    Returns:
      The word, whose path, if it is absolute, is that from here or else the last name.
    """
    is_option = word.startswith("--")
    option, sign, path = word.partition("=") if is_option else ("", "", word)
    full, here = pathlib.Path(path), pathlib.Path.cwd()
    if not full.is_absolute():
        return word
    short = full.relative_to(here) if here in full.parents else full.name
    return f"{option}{sign}{short}"


def model_defaults(model: str) -> Mapping[str, Any]:
    """Settings that suit a model better than the paper's.

    Args:
      model: what the user called the model.

    Returns:
      Values of a recipe's settings; none for a model that is not the embedded one.
    """
    if model != EMBEDDED:
        return {}
    return json.loads((embedded_model() / "finetuning.json").read_text())


def check_subject(options: argparse.Namespace) -> None:
    """Checks what can be checked about model and data without reading them.

    Args:
      options: with those of model and task.

    Raises:
      ValueError: if options do not go together, or a folder lacks what it must have.
    """
    of_files = [] if vars(options).get("predict") else ["encoding"]
    if options.train_file or options.eval_file or options.dataset:
        _check_own_data(options)
        wrong = of_files if _is_of_hub(options) else []
    else:
        wrong = [*_OF_OWN_DATA, "eval_share", *of_files]
    if given := [name for name in wrong if vars(options)[name] is not None]:
        owner = "a dataset" if options.dataset else "a task"
        raise ValueError(f"{flag(given[0])} is for --train-file; {owner} has its own")
    tasks = options.task or options.default_tasks
    generated = [name for name in tasks if name in GENERATED]
    if options.data_dir and generated:
        raise ValueError(
            f"--data-dir goes with a task of GLUE ({', '.join(TASKS)}); "
            f"{generated[0]} is generated"
        )
    _check_model(options)
    own = options.train_file or options.dataset
    if options.model != EMBEDDED and generated and not (options.task or own):
        unused = "; --evaluate and --predict use it as it is"
        raise ValueError(
            f"--model is {options.model}: name what to train it on, by --task or "
            f"--train-file{unused if 'evaluate' in options else ''}"
        )


def check_inference(options: argparse.Namespace, defaults: argparse.Namespace) -> None:
    """Checks what the user wants of a model that is used as it is.

    Args:
      options: those given.
      defaults: what they are where nothing is given.

    Raises:
      ValueError: if options do not go together, or one is of training.
    """
    _check_model(options)
    for name, value in vars(options).items():
        is_given = value != vars(defaults).get(name, defaults)
        if is_given and (why := _why_unused(options, name)):
            raise ValueError(f"{flag(name)} has no effect: {why}")
    given = [
        flag(name)
        for name in ("task", "eval_file", "dataset")
        if vars(options)[name] is not None
    ]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)}: give one kind of examples to score")


def _why_unused(options: argparse.Namespace, name: str) -> str:
    """Why an option has no effect where nothing is trained; empty if it has one."""
    own = options.eval_file or options.dataset
    if name in _OF_INFERENCE:
        return ""
    if name in ("text_columns", "encoding"):
        is_read = own or options.predict is not None
        if name == "encoding" and _is_of_hub(options) and options.predict is None:
            return "a dataset has its own"
        return "" if is_read else "a task has its own"
    if name not in _OF_EVALUATION:
        by_itself = "--predict without --task or --train-file"
        return f"{'--evaluate' if options.evaluate else by_itself} trains nothing"
    if not options.evaluate:
        return "--predict scores nothing; add --evaluate"
    if name == "data_dir" and own:
        return "it is for a task of GLUE"
    is_tasks = name in ("label_column", "metric", "positive_class") and not own
    return "a task has its own" if is_tasks else ""


def _is_of_hub(options: argparse.Namespace) -> bool:
    """Whether data are a dataset that is no folder of files."""
    return bool(options.dataset) and not pathlib.Path(options.dataset).is_dir()


def _check_model(options: argparse.Namespace) -> None:
    if not options.model:
        raise ValueError("--model is empty; 'embedded' is the default")
    folder = pathlib.Path(options.model)
    if options.model.startswith((".", "/", "~")) and not folder.is_dir():
        raise ValueError(f"there is no model folder {folder}")


def _check_own_data(options: argparse.Namespace) -> None:
    if options.eval_file and not options.train_file:
        raise ValueError("--eval-file belongs to --train-file")
    if options.train_file and options.dataset:
        raise ValueError("--dataset replaces --train-file; give one of them")
    if options.task or options.data_dir:
        own = "--dataset" if options.dataset else "--train-file"
        raise ValueError(f"{own} replaces --task and --data-dir; give one kind")
    shares = [
        name for name in ("held_out", "eval_share") if vars(options)[name] is not None
    ]
    # With this option both kinds of examples are scored.
    both = shares == ["held_out"] and vars(options).get("then_run")
    if options.eval_file and shares and not both:
        raise ValueError(
            f"{flag(shares[0])} scores training examples; leave out --eval-file"
        )
    if options.train_file and not (options.eval_file or shares):
        raise ValueError(
            "--train-file needs --eval-file, or --eval-share for a share of it"
        )


def check_processes(options: argparse.Namespace) -> None:
    """Checks what the user says of the processes that run one program together.

    Args:
      options: with those of devices.

    Raises:
      ValueError: if options do not go together.
    """
    by_hand = (options.coordinator, options.num_processes, options.process_id)
    if not options.distributed and 0 < sum(each is not None for each in by_hand) < 3:
        raise ValueError("--coordinator, --num-processes, --process-id belong together")
    _, number, index = by_hand
    if number is not None and index is not None and not 0 <= index < number:
        raise ValueError(f"--process-id is {index}; accepted is 0 to {number - 1}")


def seeds(options: argparse.Namespace) -> list[tuple[int, int]]:
    """The seeds that the user asks for.

    Args:
      options: with those of runs.

    Returns:
      The two seeds of each run: equal ones, or all pairs of --init-seeds and
      --data-seeds, which tell their shares in the spread apart.

    Raises:
      ValueError: if both ways are used at once.

    References:
      Dodge et al., "Fine-Tuning Pretrained Language Models: Weight Initializations,
      Data Orders, and Early Stopping", 2020.
    """
    init, data = options.init_seeds, options.data_seeds
    if init is None and data is None:
        return [(seed, seed) for seed in options.seeds or options.default_seeds]
    if options.seeds is not None:
        raise ValueError(
            "--seeds sets both seeds of a run; --init-seeds and --data-seeds replace it"
        )
    return list(itertools.product(init or (0,), data or (0,)))
