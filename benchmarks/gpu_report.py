"""All that is to be measured on an accelerator, by one command.

It needs no installation and no network: what is missing is said, and the rest measured.
Each part runs in processes of its own that have a time limit, so that one that fails,
hangs or runs out of memory costs only itself; its file is written while it runs, the
summary after each part.

    make gpu-report PYTHON=python3
    python benchmarks/gpu_report.py --minutes 8 --output DIR
    python benchmarks/gpu_report.py --tiny --parts tests,step
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from report_runner import PROJECT, Command, Part, Report, missing

_TORCH = ("torch", "transformers")


def all_parts(options: argparse.Namespace) -> list[Part]:
    """The parts of a report, in the order in which they are of use."""
    tiny, tpu = options.tiny, options.accelerator == "tpu"
    torch = (
        None if tpu or not _has_torch(options.torch_python) else options.torch_python
    )
    return [
        Part("machine", "Versions and card", 10, (_MACHINE,)),
        Part("tests", "Tests", 75, (_tests(tiny, tpu),)),
        Part("clipping", "Clipping", 65, tuple(_clipping(tiny, torch))),
        Part("step", "A training step, by cause", 40, tuple(_step(tiny))),
        Part("throughput", "Throughput", 205, tuple(_throughput(tiny, tpu, torch))),
        Part("convergence", "Convergence", 45, (_convergence(options),)),
        Part("start", "Start and compilation", 40, tuple(_start(tiny, tpu))),
    ]


def _has_torch(python: str) -> bool:
    if python == sys.executable:
        return not missing(_TORCH)
    command = [python, "-c", "import importlib.util as u, sys; "]
    command[-1] += f"sys.exit(any(u.find_spec(name) is None for name in {_TORCH}))"
    try:
        return subprocess.run(command, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


_MODEL = ("jax", "flax", "optax", "jaxtyping", "transformers", "tokenizers")

_MACHINE = Command("versions and devices", ("report_machine.py",), needs=())


def _tests(tiny: bool, tpu: bool) -> Command:
    """The library's tests, and those of model and training."""
    settings = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    targets = ["tests/library/test_thresholds.py"]
    if not tiny:
        targets = ["cwgnc_jax", "tests/library"]
        targets += ["tests/examples/model", "tests/examples/training"]
        if not tpu:
            flags = os.environ.get("XLA_FLAGS", "")
            settings["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    # A TPU is one process's at a time.
    processes = "1" if tpu or tiny else "8"
    return Command(
        "the library's, and those of model and training",
        ("report_tests.py", "--processes", processes, *targets),
        needs=("jax", "optax", "pytest"),
        environment=settings,
        knows_limit=True,
    )


def _clipping(tiny: bool, torch: str | None) -> list[Command]:
    size = ("--shape", "bert-large", "--steps", "20", "--rounds", "7")
    if tiny:
        size = ("--shape", "tiny", "--steps", "2", "--rounds", "1")
    peer = ("--torch-python", torch) if torch else ()
    # Hundreds of leaves take long to compile.
    wanted = (
        ("layers stacked", ("stacked",), 1),
        ("layers one by one", ("separate", *peer), 2),
        ("fewer kernels, an experiment", ("separate", "--experiments"), 2),
    )
    return [
        Command(title, ("clipping.py", *size, "--layers", *more), share=share)
        for title, more, share in wanted
    ]


def _step(tiny: bool) -> list[Command]:
    size = ("--tiny",) if tiny else ()
    return [
        Command(
            "where the time of a step goes",
            ("step_profile.py", *size),
            needs=_MODEL,
            knows_limit=True,
        )
    ]


def _throughput(tiny: bool, tpu: bool, torch: str | None) -> list[Command]:
    size = ("--tiny",) if tiny else ()
    peer = ("--torch-python", torch) if torch else ()
    set_before = os.environ.get("XLA_FLAGS", "")

    def command(title: str, *arguments: str, share: float, flags: str = "") -> Command:
        return Command(
            title,
            ("throughput.py", *size, *arguments),
            needs=_MODEL,
            environment={"XLA_FLAGS": f"{set_before} {flags}"} if flags else {},
            knows_limit=True,
            share=share,
        )

    commands = [
        command("seeds and batches", "--cases", "seeds", *peer, share=4),
        command("candidates", "--cases", "candidates", share=4),
    ]
    if not tpu:
        # CUDA graphs launch kernels together; without them, each by itself.
        flags = "--xla_gpu_enable_command_buffer="
        title = "without CUDA graphs"
        arguments = ("--cases", "plain", "--title", title)
        commands.append(command(title, *arguments, share=1.5, flags=flags))
    return commands


def _convergence(options: argparse.Namespace) -> Command:
    arguments = ["--encoder", str(options.encoder), "--glue", str(options.glue)]
    if options.tiny:
        arguments.append("--tiny")
    return Command(
        "25 seeds of an encoder on CoLA, an epoch",
        ("report_convergence.py", *arguments),
        needs=(*_MODEL, "orbax"),
    )


def _start(tiny: bool, tpu: bool) -> list[Command]:
    size = ("--tiny",) if tiny else ()
    commands = [
        Command("from start to first step", ("report_start.py", *size), needs=_MODEL)
    ]
    if tpu:
        commands.append(
            Command(
                "compiled ahead of time for TPU v5e",
                ("tpu_aot.py", "--rows", "bert-large cwgnc", *size),
                needs=(*_MODEL, "libtpu"),
                environment={"JAX_PLATFORMS": "cpu"},
            )
        )
    return commands


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    folder = pathlib.Path(os.environ.get("OUT") or PROJECT / "runs" / "gpu_report")
    add("--output", type=pathlib.Path, default=folder, help="folder of the report")
    add("--minutes", type=float, default=8.0, help="for all of it")
    add("--parts", help="only these, separated by commas")
    add("--tiny", action="store_true", help="small models and few steps, to try it out")
    add("--accelerator", choices=["gpu", "tpu"], default="gpu")
    add("--torch-python", default=sys.executable, help="a Python that has PyTorch")
    add("--encoder", type=pathlib.Path, help="folder of a pretrained encoder")
    add("--glue", type=pathlib.Path, help="folder with GLUE's files")
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes is {options.minutes}: it must be above 0")
    shared = pathlib.Path(os.environ.get("CWGNC_SHARED") or PROJECT.parent / "shared")
    options.encoder = options.encoder or shared / "models" / "all-MiniLM-L6-v2"
    options.glue = options.glue or shared / "glue"
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the report; the exit code is 0 if no part failed."""
    options = parse(arguments)
    parts = all_parts(options)
    if options.parts is not None:
        names = [part.name for part in parts]
        chosen = options.parts.split(",")
        if unknown := [name for name in chosen if name not in names]:
            sys.exit(f"--parts has {unknown[0]!r}; accepted are {', '.join(names)}")
        parts = [part for part in parts if part.name in chosen]
    if options.tiny and shutil.which("nvidia-smi") is None:
        # On a CPU small programs take longer to be compiled than to run.
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    with tempfile.TemporaryDirectory() as folder:
        # Of this report alone: what others have compiled would be no measurement.
        os.environ["CWGNC_CACHE"] = folder
        good = Report(options.output, parts, 60 * options.minutes).make()
    print((options.output / "summary.md").read_text())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
