"""Fine-tunes a BERT with many seeds of one or several methods, and compares them.

The result is a row of the paper's Table 1 for each method: standard deviation, mean and
best of the scores, and how many runs failed. Without options it does so on a small BERT
and a small task that come with the project.
"""

import argparse
from typing import TYPE_CHECKING

from bert_glue.cli import choices, script
from bert_glue.cli.options import add_group, add_options
from bert_glue.cli.parser import make_parser

if TYPE_CHECKING:
    from bert_glue.cli.study_script import Job, Report
    from bert_glue.study.progress import Progress

EXAMPLES = """\
  %(prog)s --method cwgnc,adamw --seeds 5
      compare two methods on the embedded model
  %(prog)s --model bert-large-uncased --task rte --seeds 25
      the paper's setting; model and data come from the Hugging Face hub
  %(prog)s --model DIR --task cola --data-dir GLUE --learning-rate 1e-4 \\
      --method cwgnc:epochs=3,adamw --max-train-examples 1000 --output-dir runs/cola
      a model and data in folders; equal numbers of epochs
  %(prog)s --train-file train.tsv --eval-file dev.tsv --predict new.tsv
      your own data; the best run's answers for new.tsv
"""

BEST_RUN = {
    "--predict FILE": "TSV with a header and the task's text columns: its predictions "
    "go to predictions.tsv in the output directory",
    "--save-model": "save the best run's model to model/ in the output directory, as "
    "Hugging Face does",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the script.

    Args:
      arguments: the command line; that of the process by default.

    Returns:
      The exit code.
    """
    parser = make_parser(__file__, __doc__ or "", EXAMPLES)
    add_options(parser, methods="cwgnc", seeds=5)
    add_group(parser, "the best run", BEST_RUN)
    options = choices.parse(parser, arguments, check)
    from bert_glue.cli import study_script

    return study_script.run(parser, options, prepare)


def check(options: argparse.Namespace) -> None:
    """Refuses what needs all runs in a process that does a part of them."""
    if options.shard and (options.predict is not None or options.save_model):
        raise ValueError(
            "--predict and --save-model need all runs; use them without --shard once "
            "the shards are done"
        )


def prepare(job: "Job") -> "Report":
    """Keeps the best run if something is to be done with it; reports all of them."""
    from bert_glue.data import load
    from bert_glue.records.files import replace_file
    from bert_glue.report import formats, plots
    from bert_glue.study import best_model

    options, records = job.options, job.records
    subject = job.configurations[0].subject
    to_predict = None
    if options.predict is not None:
        to_predict = load.read_examples(
            options.predict, subject.task, labelled=False, encoding=options.encoding
        )
    best = best_model.BestModel(records, subject, saved=options.save_model)
    is_kept = options.save_model or to_predict is not None
    if is_kept:
        job.keep["best_model"] = best

    def report(progress: "Progress") -> None:
        table = job.table()
        # A shard may have nothing to do, and find nothing done.
        if table.cells:
            progress.note(formats.fill("table.txt", table=table))
            picture = records.folder / "runs.png"
            plots.save(plots.plot_runs([*table.cells.values()]), picture)
            progress.note(f"every run: {picture}; records: {records.path}")
        if not is_kept:
            return
        run, params = best.finish(job.configurations, job.design.seeds, progress)
        progress.note(f"best run: {run['run']}, {run['score']:.2f}")
        if options.save_model:
            progress.note(f"its model: {best.folder}")
        if to_predict is not None:
            file = records.folder / "predictions.tsv"
            answers = best_model.predict(subject, params, to_predict)
            replace_file(file, answers.encode())
            progress.note(f"its predictions for {options.predict}: {file}")
            for note in to_predict.notes:
                progress.note(f"note: {note}")

    return report


if __name__ == "__main__":
    script.run_script(main)
