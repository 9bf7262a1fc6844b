"""Whether training learns as it should: many seeds of an encoder on CoLA, an epoch.

The example's own command, with the table that it makes. Without the encoder or the
data there is nothing to be done, and that is said.

    python benchmarks/report_convergence.py --encoder MINILM --glue GLUE
"""

import argparse
import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
import time

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
sys.path[:0] = [str(EXAMPLES)]

import reporting

_NEEDED = ("filelock", "jinja2", "sklearn", "matplotlib", "safetensors", "psutil")


def command(options: argparse.Namespace, folder: str) -> list[str]:
    """Arguments of the example."""
    words = ["--method", "cwgnc:epochs=1", "--learning-rate", "1e-4"]
    words += ["--output-dir", folder, "--seeds", str(options.seeds)]
    # What it takes does not depend on what was run before.
    words.append("--no-compilation-cache")
    if options.tiny:
        return [*words, "--task", "acceptability", "--max-train-examples", "64"]
    words += ["--task", "cola", "--data-dir", str(options.glue)]
    return [*words, "--model", str(options.encoder)]


def lacking(options: argparse.Namespace) -> list[str]:
    """What is not there."""
    names = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not options.tiny:
        paths = (options.encoder / "config.json", options.glue / "CoLA" / "train.tsv")
        names += [path.name for path in paths if not path.is_file()]
    return names


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--encoder", type=pathlib.Path, required=True, help="folder of a checkpoint")
    add("--glue", type=pathlib.Path, required=True, help="folder with GLUE's files")
    add("--seeds", type=int, default=25)
    add("--tiny", action="store_true", help="the embedded model on a few examples")
    add("--output", type=pathlib.Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.tiny:
        options.seeds = 2
    if absent := lacking(options):
        reporting.write(f"Not run: no {', '.join(absent)}.", options.output)
        return 0
    import finetune_glue

    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with contextlib.redirect_stdout(printed):
            code = finetune_glue.main(command(options, folder))
        seconds = time.monotonic() - began
        records = pathlib.Path(folder) / "runs.jsonl"
        runs = [json.loads(line) for line in records.read_text().splitlines()]
    scores = [run["score"] for run in runs]
    mean = sum(scores) / max(1, len(scores))
    text = printed.getvalue().replace(folder, "DIR")
    lines = [reporting.provenance(), "", "```", text.strip(), "```", ""]
    lines.append(
        f"{len(scores)} runs in {seconds:.0f} s, start and compilation included."
    )
    reporting.write("\n".join(lines), options.output)
    reporting.figure("convergence: mean score", f"{mean:.1f}")
    reporting.figure("convergence: seconds", f"{seconds:.0f}")
    return code


if __name__ == "__main__":
    sys.exit(main())
