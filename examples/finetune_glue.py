"""Fine-tunes an encoder with many seeds of one or several methods, and compares them.

The result is a row of the paper's Table 1 for each method: standard deviation, mean and
best of the scores, and how many runs failed. Without options it does so on a small BERT
and a small task that come with the project.
"""

import argparse
import pathlib
from typing import TYPE_CHECKING

from bert_glue.cli import choices, script
from bert_glue.cli.options import EMBEDDED, add_group, add_options
from bert_glue.cli.parser import errors_in_one_line, make_parser
from bert_glue.study import predictions

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
  %(prog)s --model DIR --train-file reviews.csv --eval-share 0.2 --save-model
      your own data; the best run's model goes to runs/custom/model
  %(prog)s --model runs/custom/model --predict new.csv
      its answers, with the probability of each class; nothing is trained
"""

BEST_RUN = {
    "--save-model": "save the best run's model to model/ in the output directory, as "
    "Hugging Face does",
    "--predict FILE": "answer a file with the task's text columns, of a kind of "
    "--train-file: by the best run, or without a task by --model as it is",
    "--predictions FILE": "where to: text, prediction and the probability of each "
    "class as .csv, .tsv or .jsonl (default predictions.csv in the output directory)",
    "--evaluate": "train nothing: score --eval-file, --task or --dataset by --model, "
    "which was saved with a classifier",
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
    add_group(parser, "the best run, or a saved model", BEST_RUN)
    options = choices.parse(parser, arguments, check)
    with errors_in_one_line(parser, ValueError):
        check_written(options)
    if options.inference:
        from bert_glue.cli import inference

        return inference.run(parser, options)
    from bert_glue.cli import study_script

    return study_script.run(parser, options, prepare)


def check(options: argparse.Namespace) -> None:
    """Decides whether something is trained; refuses what does not go together."""
    if options.shard and (options.predict is not None or options.save_model):
        raise ValueError(
            "--predict and --save-model need all runs; use them without --shard once "
            "the shards are done"
        )
    if options.predictions is not None:
        if options.predict is None:
            raise ValueError("--predictions belongs to --predict")
        predictions.check_name(options.predictions)
    trained = options.task or options.train_file or options.dataset
    own = options.predict is not None and options.model != EMBEDDED and not trained
    options.inference = options.evaluate or own


def check_written(options: argparse.Namespace) -> None:
    """Refuses to write where something is that is read, or records."""
    read = (options.predict, options.train_file, options.eval_file)
    target = options.predictions or options.output_dir / predictions.FILE
    is_read = target.resolve() in [path.resolve() for path in read if path]
    if options.predict is not None and (is_read or target.name == "runs.jsonl"):
        raise ValueError(f"--predictions would replace {target}; give it another file")
    if not options.save_model:
        return
    model = options.output_dir / "model"
    is_fine_tuned = pathlib.Path(options.model).resolve() == model.resolve()
    is_own = (model / "run.json").is_file() or not model.exists()
    if is_fine_tuned or not is_own:
        what = "is fine-tuned" if is_fine_tuned else "was not saved by --save-model"
        raise ValueError(
            f"--save-model would replace {model}, which {what}; give another "
            "--output-dir"
        )


def prepare(job: "Job") -> "Report":
    """Keeps the best run if something is to be done with it; reports all of them."""
    from bert_glue.cli.inference import write_predictions
    from bert_glue.data import load
    from bert_glue.report import formats, plots
    from bert_glue.study import best_model
    from bert_glue.study.saved_model import Classifier

    options, records = job.options, job.records
    subject = job.configurations[0].subject
    to_predict = None
    if options.predict is not None:
        to_predict = load.read_examples(
            options.predict, subject.task, labelled=False, encoding=options.encoding
        )
    best = best_model.BestModel(
        records,
        subject,
        saved=options.save_model,
        is_local=choices.is_local(options.model),
    )
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
            classifier = Classifier.of_run(subject, params)
            logits = classifier.logits(classifier.encode(to_predict).data)
            file = write_predictions(options, subject.task, to_predict, logits)
            progress.note(f"its predictions for {options.predict}: {file}")
            for note in to_predict.notes:
                progress.note(f"note: {note}")

    return report


if __name__ == "__main__":
    script.run_script(main)
