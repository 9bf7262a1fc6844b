"""Compares gradual unfreezing with full fine-tuning: the paper's case study.

GU trains the layers from the top down, one more in each stage; GU (restart) begins each
stage with the pretrained model again. The score after each stage is Figure 1 of the
paper; how far each layer moved is Figure 2 and, as an angle, Figures 4 and 5. Without
options it does so on a small BERT and a small task that come with the project.
"""

from bert_glue.cli import choices, script
from bert_glue.cli.options import add_group, add_options, report_only
from bert_glue.cli.parser import make_parser

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


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser(__file__, __doc__ or "", EXAMPLES)
    add_group(parser, "figures", report_only("draw the figures"))
    folder = "runs/gradual_unfreezing/TASK"
    add_options(parser, methods="gu,gu-restart,full", seeds=5, folder=folder)
    options = choices.parse(parser, arguments)
    from bert_glue.cli import component_study
    from bert_glue.report.unfreezing_figures import describe, draw

    return component_study.run(parser, options, describe, draw)


if __name__ == "__main__":
    script.run_script(main)
