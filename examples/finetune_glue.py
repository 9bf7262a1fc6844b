"""Fine-tunes a BERT with many seeds of one or several methods, and compares them.

The result is a row of the paper's Table 1 for each method: standard deviation, mean and
best of the scores, and how many runs failed. Without options it does so on a small BERT
and a small task that come with the project.
"""

import sys

from bert_glue.cli import choices, command_line, device_options, script

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


def make_parser() -> command_line.Parser:
    """The script's options."""
    parser = command_line.make_parser(__file__, __doc__ or "", EXAMPLES)
    command_line.add_subject_options(parser)
    command_line.add_method_options(parser, default="cwgnc")
    command_line.add_run_options(parser, default_seeds=5)
    device_options.add_device_options(parser)
    group = parser.add_argument_group("the best run")
    group.add_argument(
        "--predict",
        metavar="FILE",
        help="TSV with a header and the task's text columns: its predictions go to "
        "predictions.tsv in the output directory",
    )
    group.add_argument(
        "--save-model",
        action="store_true",
        help="save the best run's model to model/ in the output directory, as Hugging "
        "Face does",
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
    # What takes long to import waits until the command line is known to be right.
    from bert_glue.cli import setup
    from bert_glue.data import load
    from bert_glue.devices import environment
    from bert_glue.records.files import replace_file
    from bert_glue.report import formats, plots
    from bert_glue.study import best_model
    from bert_glue.study.progress import Progress
    from bert_glue.study.study import Study

    with command_line.errors_in_one_line(parser, *setup.BAD_INPUT):
        choices.check_subject(options)
        seeds = choices.seeds(options)
        if options.shard and (options.predict is not None or options.save_model):
            raise ValueError(
                "--predict and --save-model need all runs; use them without --shard "
                "once the shards are done"
            )
        device_options.connect(options)
        recipes = choices.recipes(options, setup.model_defaults(options.model))
        records = setup.open_records(options)
        if not options.no_compilation_cache:
            environment.keep_compiled_programs()
        subject = setup.load_subject(options)
        to_predict = None
        if options.predict is not None:
            to_predict = load.read_examples(
                options.predict, subject.task, labelled=False
            )
        best = best_model.BestModel(records, subject, saved=options.save_model)
        is_kept = options.save_model or to_predict is not None
        configurations = setup.configure(options.model, [subject], recipes)
        study = Study(
            configurations,
            seeds,
            records,
            parallel_seeds=options.parallel_seeds,
            checkpoint_minutes=options.checkpoint_minutes,
            axes=options.mesh,
            best_model=best if is_kept else None,
            shard=options.shard,
        )
        command = [parser.prog, *(sys.argv[1:] if arguments is None else arguments)]
        setup.write_config(records, command, study.configurations)

    def report(progress: Progress) -> None:
        # A shard may have nothing to do, and find nothing done.
        if rows := study.rows():
            progress.note(formats.rows_text(rows))
            picture = records.folder / "runs.png"
            plots.save(plots.plot_runs(rows), picture)
            progress.note(f"every run: {picture}; records: {records.path}")
        if is_kept:
            run, params = best.finish(configurations, seeds, progress)
            progress.note(f"best run: {run['run']}, {run['score']:.2f}")
            if options.save_model:
                progress.note(f"its model: {best.folder}")
            if to_predict is not None:
                file = records.folder / "predictions.tsv"
                answers = best_model.predict(subject, params, to_predict)
                replace_file(file, answers.encode())
                progress.note(f"its predictions for {options.predict}: {file}")

    failures = (*setup.FAILURES, best_model.NoBestRun)
    return setup.run_study(parser, options, study, report, failures)


if __name__ == "__main__":
    script.run_script(main)
