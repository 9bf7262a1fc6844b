"""Draws the gradient norm of every component over the steps of fine-tuning.

A run that failed stands beside one of the same method that did not: Figure 3 of the
paper. Then, as its released code draws them, every kind of parameter over the layers,
every layer over the kinds of parameters, and how much was clipped over time. Without
options it does so on a small BERT and a small task that come with the project.
"""

import functools

from bert_glue.cli import choices, script
from bert_glue.cli.options import add_group, add_options, report_only
from bert_glue.cli.parser import make_parser

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


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser(__file__, __doc__ or "", EXAMPLES)
    layer = {
        "--layer I": "layer of Figure 3, from 0 at the bottom (by default as high up "
        "as the paper's, which is 21 of 24)"
    }
    add_group(parser, "figures", report_only("draw the figures") | layer)
    folder = "runs/gradient_norms/TASK"
    add_options(parser, methods="devlin,cwgnc", seeds=8, folder=folder)
    options = choices.parse(parser, arguments)
    from bert_glue.cli import component_study
    from bert_glue.report.gradient_figures import choose_layer, describe, draw

    return component_study.run(
        parser,
        options,
        describe,
        functools.partial(draw, layer=options.layer),
        functools.partial(choose_layer, options.layer),
    )


if __name__ == "__main__":
    script.run_script(main)
