"""What every script that trains does: from its options to a study that is reported.

It imports JAX, and is itself imported once the command line is known to be right.
"""

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from bert_glue.cli import choices
from bert_glue.cli.announce import announcement, are_alike
from bert_glue.cli.options import EMBEDDED
from bert_glue.cli.parser import Parser, errors_in_one_line
from bert_glue.data import load
from bert_glue.data.examples import PROBLEMS, TaskData
from bert_glue.devices import environment, processes
from bert_glue.devices.terminal import printable
from bert_glue.records import manifest, merge
from bert_glue.records.designs import ALL, Design, choose_reference
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from bert_glue.report.tables import Table, build
from bert_glue.study.best_model import NoBestRun
from bert_glue.study.configuration import Configuration
from bert_glue.study.programs import StudyStopped
from bert_glue.study.progress import Progress
from bert_glue.study.shards import Shard
from bert_glue.study.study import Study
from bert_glue.study.tracking import Tracking
from bert_glue.training import subjects
from bert_glue.training.seeds import Seed
from bert_glue.training.settings import EXAMPLES
from bert_glue.training.subjects import Subject


@dataclasses.dataclass
class Job:
    """What is about to be run.

    Attributes:
      options: the script's options.
      records: the output directory.
      configurations: every method on every task, each once.
      design: the table of them all.
      keep: what is to be kept beside the records: further arguments of
        :class:`Study`, which the script adds.
      conduct: does the runs, if not all that are missing, as :meth:`Study.run` does.
    """

    options: argparse.Namespace
    records: RunStore
    configurations: Sequence[Configuration]
    design: Design
    keep: dict[str, Any] = dataclasses.field(default_factory=dict)
    conduct: Callable[[Progress], None] | None = None

    def table(self) -> Table:
        """The table of those of its runs that are recorded."""
        return build(self.design, self.records.read())


def say(text: str) -> None:
    """Prints what is known only when the script runs."""
    print(printable(text))


Report = Callable[[Progress], None]
"""Says what came of a study, and writes that, once all is done."""


def run(
    parser: Parser,
    options: argparse.Namespace,
    prepare: Callable[[Job], Report],
    report_only: Callable[[RunStore], object] = lambda records: None,
) -> int:
    """Does what is missing of a study, reports, and lets go of its records.

    Args:
      parser: the script's parser.
      options: what :func:`choices.parse` returned.
      prepare: adds what the script wants kept to the job, and returns its report;
        raises a ValueError or a RecordsError if it cannot use what the user gave.
      report_only: reports what is recorded, for a script that has such an option.

    Returns:
      The script's exit code.
    """
    try:
        with errors_in_one_line(parser, ValueError, RecordsError):
            if options.report_only:
                with contextlib.closing(_open_records(options)) as records:
                    for note in records.notes:
                        say(f"note: {note}")
                    report_only(records)
                return 0
            job = _make_job(options)
            report = prepare(job)
            study = make_study(job, job.configurations, job.design.seeds)
            _add_to_manifest(job)
        conduct = job.conduct or study.run
        progress = Progress(0 if job.conduct else study.runs_missing())
        with contextlib.closing(job.records), contextlib.closing(progress):
            for line in announcement(options, study, job.design):
                progress.note(line)
            conduct(progress)
            progress.note("")
            report(progress)
    except (RecordsError, StudyStopped, NoBestRun, processes.Gone) as error:
        print(printable(f"{parser.prog}: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command does what is missing", file=sys.stderr)
        return 130
    return 0


def _make_job(options: argparse.Namespace) -> Job:
    if options.distributed or options.coordinator:
        processes.connect(
            options.coordinator, options.num_processes, options.process_id
        )
    records = _open_records(options)
    if not options.no_compilation_cache:
        environment.keep_compiled_programs()
    configurations = _configure(options)
    cells = {
        (each.subject.task.name, _row(options, each)): each.name
        for each in configurations
    }
    tasks, methods = (tuple(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    # A curve has another row for each of its values; its design knows the methods.
    reference = choose_reference(methods, None if options.over else options.reference)
    seeds = tuple(Seed(*pair) for pair in options.pairs)
    design = Design(options.table or ALL, methods, tasks, cells, seeds, reference)
    return Job(options, records, configurations, design)


def _row(options: argparse.Namespace, configuration: Configuration) -> str:
    """Label of a row; of one method with several numbers of examples it has several."""
    label = configuration.recipe.label
    count = len(configuration.subject.train.lengths)
    return f"{label}:{EXAMPLES}={count}" if options.train_sizes else label


def make_study(
    job: Job, configurations: Sequence[Configuration], seeds: Sequence[Seed]
) -> Study:
    """The runs of some configurations, as the options say.

    Args:
      job: what is run.
      configurations: those of them.
      seeds: of each.

    Returns:
      The study.

    Raises:
      ValueError: as :class:`Study`.
    """
    options = job.options
    tracking = None
    if options.track:
        every = options.track_every or Tracking.every
        tracking = Tracking(options.track, job.records.folder, every)
    return Study(
        configurations,
        seeds,
        job.records,
        parallel_seeds=options.parallel_seeds,
        checkpoint_minutes=options.checkpoint_minutes,
        axes=options.mesh,
        shard=options.shard and Shard(*options.shard),
        tracking=tracking,
        **job.keep,
    )


def _open_records(options: argparse.Namespace) -> RunStore:
    """The records of the output directory, those of others to merge included."""
    if options.report_only and not options.merge and not options.output_dir.is_dir():
        raise ValueError(f"there is no output directory {options.output_dir}")
    records = RunStore(options.output_dir)
    records.read()
    if options.merge:
        # Of several processes the first alone has to have the other directories.
        copied = processes.agree(lambda: merge.merge(records, options.merge))
        records.notes.append(f"{copied} runs were copied from other directories")
    return records


def load_subject(
    options: argparse.Namespace, task: str, train_examples: int | None
) -> Subject:
    """The model and a task, as the options say.

    Args:
      options: with those of model and data.
      task: the task's name, where the options do not name files.
      train_examples: most examples to train on; None for all.

    Returns:
      Both.

    Raises:
      ValueError: if they cannot be used.
    """
    data = load_data(options, task).take(train_examples, options.max_eval_examples)
    if are_alike(data.train.labels):
        raise ValueError(
            f"all {len(data.train)} examples left to train on have one label; "
            "--max-train-examples, --held-out or --eval-share must leave more"
        )
    subject = subjects.prepare(
        data,
        choices.embedded_model() if options.model == EMBEDDED else options.model,
        max_length=options.max_length,
        dtype=options.dtype,
        remat=options.remat,
        new_head=options.new_head,
    )
    is_drawn = subject.fresh or any(recipe.redraws for recipe in options.recipes)
    if len(options.init_seeds or ()) > 1 and not is_drawn:
        raise ValueError(
            f"--init-seeds has {len(options.init_seeds)} seeds, but {options.model} "
            "holds all parameters, the classifier included: nothing is drawn at random "
            "without --new-head"
        )
    return subject


def load_data(options: argparse.Namespace, task: str) -> TaskData:
    """A task's examples, of which some may be held out, as the options say.

    Args:
      options: with those of data.
      task: the task's name, where the options do not name files.

    Returns:
      All of them.

    Raises:
      ValueError: if they cannot be used, or there are none to score.
    """
    if options.train_file is not None:
        data = load.load_files(options.train_file, options.eval_file, reading(options))
    elif options.dataset is not None:
        data = load.load_dataset(options.dataset, reading(options))
    else:
        data = load.load_task(task, options.data_dir)
    data = data.hold_out(options.held_out)
    if data.evaluation is data.train:
        missing = f"the dataset {options.dataset!r} has no split"
        if options.dataset is None:
            missing = "beside --train-file there is nothing"
        raise ValueError(
            f"{missing} to score; --eval-share 0.2 scores a fifth of its examples"
        )
    return data


def reading(options: argparse.Namespace) -> load.Reading:
    """What the user says of data of their own.

    Args:
      options: with those of data.

    Returns:
      How they are read and scored.
    """
    return load.Reading(
        problem=options.problem and PROBLEMS[options.problem],
        metric=options.metric,
        positive_class=options.positive_class,
        text_columns=options.text_columns or (),
        label_column=options.label_column,
        encoding=options.encoding,
        evaluation_share=options.eval_share,
    )


def _configure(options: argparse.Namespace) -> list[Configuration]:
    """Every method on every task, task by task.

    A method whose settings are those of one before it is left out, as a matched budget
    is where the budgets match anyway.
    """
    found: dict[str, Configuration] = {}
    first = None
    sizes = options.train_sizes or (options.max_train_examples,)
    for task, size in itertools.product(options.tasks, sizes):
        subject = load_subject(options, task, size)
        first = first or subject
        if subject.fresh == first.fresh:
            # The weights are there once.
            subject = dataclasses.replace(subject, pretrained=first.pretrained)
        for recipe in options.recipes:
            model = choices.without_folder(options.model)
            configuration = Configuration(subject, model, recipe)
            found.setdefault(configuration.name, configuration)
    return list(found.values())


def _add_to_manifest(job: Job) -> None:
    """Adds what someone needs to repeat the command."""
    entry = {
        "command": shlex.join(map(choices.without_folder, job.options.command)),
        "started": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
        "commit": environment.commit(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "settings": environment.settings(),
    }

    def add(content: manifest.Config) -> None:
        content["commands"].append(entry)
        for configuration in job.configurations:
            content["configurations"][configuration.name] = configuration.fields
            if configuration.name in content["chosen"]:
                content["chosen"].remove(configuration.name)
        table, tables = job.design, content["tables"]
        if table.name != ALL:
            # Where one row would have two settings the table is the last command's.
            with contextlib.suppress(KeyError, RecordsError):
                saved = Design.from_json(table.name, tables[table.name])
                table = saved.join(job.design)
            if job.options.reference:
                table = dataclasses.replace(table, reference=job.design.reference)
            tables[table.name] = table.to_json()

    manifest.change(job.records, add)
