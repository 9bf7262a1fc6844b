"""Compares gradual unfreezing with full fine-tuning: the paper's case study.

GU trains the layers from the top down, one more in each stage; GU (restart) begins each
stage with the pretrained model again. The score after each stage is Figure 1 of the
paper; how far each layer moved is Figure 2 and, as an angle, Figures 4 and 5. Without
options it does so on a small BERT and a small task that come with the project.
"""

import pathlib
import sys
from collections.abc import Sequence

from bert_glue.cli import command_line, component_study, script
from bert_glue.records.component_logs import LoggedMethod

EXAMPLES = """\
  %(prog)s
      the embedded model, 5 seeds
  %(prog)s --model bert-large-uncased --task rte
      the paper's setting; model and data come from the Hugging Face hub
  %(prog)s --method gu,full,cwgnc:unfreeze=gu,cwgnc
      what the paper did not try: unfreezing with component clipping
  %(prog)s --model bert-large-uncased --task rte --method gu:stages=4,full
      the first four stages, as in the paper's Figure 2
  %(prog)s --report-only --output-dir runs/gradual_unfreezing/rte
      the figures once more, without training
"""

FOLDER = "runs/gradual_unfreezing"


def make_parser() -> command_line.Parser:
    """The script's options."""
    parser = command_line.make_parser(__file__, __doc__ or "", EXAMPLES)
    component_study.add_options(
        parser, methods="gu,gu-restart,full", seeds=5, folder=FOLDER
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
    return component_study.main(parser, options, command, draw)


def draw(
    say: component_study.Say,
    folder: pathlib.Path,
    methods: Sequence[LoggedMethod],
) -> None:
    """Prints scores by stage, and draws the figures."""
    from bert_glue.report import unfreezing_figures

    say(unfreezing_figures.describe(methods))
    for path in unfreezing_figures.draw(folder, methods):
        say(str(path))


if __name__ == "__main__":
    script.run_script(main)
