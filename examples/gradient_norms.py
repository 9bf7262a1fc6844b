"""Draws the gradient norm of every component over the steps of fine-tuning.

A run that failed (that does not beat the majority classifier) stands beside one of the
same method that did not: Figure 3 of the paper. Then, as its released code draws them,
every kind of parameter over the layers, every layer over the kinds of parameters, and
how much was clipped over time. Without options it does so on a small BERT and a small
task that come with the project.
"""

import functools
import pathlib
import sys
from collections.abc import Sequence

from bert_glue.cli import command_line, component_study, script
from bert_glue.records.component_logs import LoggedMethod

EXAMPLES = """\
  %(prog)s
      the embedded model, at a learning rate at which some runs fail
  %(prog)s --model bert-large-uncased --task rte --seeds 25
      the paper's setting; model and data come from the Hugging Face hub
  %(prog)s --method devlin:learning_rate=1e-4,devlin:learning_rate=2e-4 --seeds 4
      which settings make runs fail, and how often
  %(prog)s --report-only --output-dir runs/gradient_norms/rte --layer 0
      another layer, without training
"""

FOLDER = "runs/gradient_norms"


def make_parser() -> command_line.Parser:
    """The script's options."""
    parser = command_line.make_parser(__file__, __doc__ or "", EXAMPLES)
    group = component_study.add_options(
        parser, methods="devlin,cwgnc", seeds=8, folder=FOLDER
    )
    group.add_argument(
        "--layer",
        type=int,
        metavar="N",
        help="layer of Figure 3, from 0 at the bottom (by default as high up as the "
        "paper's, which is 21 of 24)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    command = [parser.prog, *(sys.argv[1:] if arguments is None else arguments)]

    def check(layers: int) -> None:
        from bert_glue.report import gradient_figures

        gradient_figures.choose_layer(options.layer, layers)

    draw = functools.partial(_draw, layer=options.layer)
    return component_study.main(parser, options, command, draw, check)


def _draw(
    say: component_study.Say,
    folder: pathlib.Path,
    methods: Sequence[LoggedMethod],
    layer: int | None,
) -> None:
    from bert_glue.report import gradient_figures

    say(gradient_figures.describe(methods))
    for path in gradient_figures.draw(folder, methods, layer):
        say(str(path))


if __name__ == "__main__":
    script.run_script(main)
