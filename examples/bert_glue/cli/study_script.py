"""What every script that trains does: from its options to a study that is reported.

It imports JAX, and is itself imported once the command line is known to be right.
"""

import argparse
import contextlib
import dataclasses
import datetime
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_glue.cli import choices
from bert_glue.cli.announce import announcement, has_one_class
from bert_glue.cli.options import EMBEDDED
from bert_glue.cli.parser import Parser, errors_in_one_line
from bert_glue.data import load
from bert_glue.devices import environment, processes
from bert_glue.records import manifest, merge
from bert_glue.records.designs import Design
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from bert_glue.study.best_model import NoBestRun
from bert_glue.study.configuration import Configuration
from bert_glue.study.programs import StudyStopped
from bert_glue.study.progress import Progress
from bert_glue.study.shards import Shard
from bert_glue.study.study import Study
from bert_glue.training import subjects
from bert_glue.training.seeds import Seed
from bert_glue.training.subjects import Subject


@dataclasses.dataclass(frozen=True)
class Job:
    """What is about to be run.

    Attributes:
      options: the script's options.
      records: the output directory.
      seeds: seeds of each configuration.
      configurations: every method on every task, each once.
    """

    options: argparse.Namespace
    records: RunStore
    seeds: tuple[Seed, ...]
    configurations: Sequence[Configuration]


@dataclasses.dataclass(frozen=True)
class Part:
    """A script's own part in a job.

    Attributes:
      report: says what came of the study, and writes that, once all is done.
      study: further arguments of :class:`Study`.
      design: the table that is made, if one is.
    """

    report: Callable[[Study, Progress], None]
    study: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    design: Design | None = None


def run(
    parser: Parser,
    options: argparse.Namespace,
    prepare: Callable[[Job], Part],
    report_only: Callable[[RunStore], object] = lambda records: None,
) -> int:
    """Does what is missing of a study, reports, and lets go of its records.

    Args:
      parser: the script's parser.
      options: what :func:`choices.parse` returned.
      prepare: makes the script's own part; raises a ValueError or a RecordsError if
        it cannot use what the user gave.
      report_only: reports what is recorded, for a script that has such an option.

    Returns:
      The script's exit code.
    """
    try:
        with errors_in_one_line(parser, ValueError, RecordsError):
            if options.report_only:
                with contextlib.closing(_open_records(options)) as records:
                    for note in records.notes:
                        print(f"note: {note}")
                    report_only(records)
                return 0
            study, report = _make_study(options, prepare)
        progress = Progress(study.runs_missing())
        with contextlib.closing(study.records), contextlib.closing(progress):
            for line in announcement(options, study):
                progress.note(line)
            study.run(progress)
            progress.note("")
            report(study, progress)
    except (RecordsError, StudyStopped, NoBestRun, processes.Gone) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command does what is missing", file=sys.stderr)
        return 130
    return 0


def _make_study(
    options: argparse.Namespace, prepare: Callable[[Job], Part]
) -> tuple[Study, Callable[[Study, Progress], None]]:
    if options.distributed or options.coordinator:
        processes.connect(
            options.coordinator, options.num_processes, options.process_id
        )
    records = _open_records(options)
    if not options.no_compilation_cache:
        environment.keep_compiled_programs()
    seeds = tuple(Seed(*pair) for pair in options.pairs)
    configurations = _configure(options)
    part = prepare(Job(options, records, seeds, configurations))
    study = Study(
        configurations,
        seeds,
        records,
        parallel_seeds=options.parallel_seeds,
        checkpoint_minutes=options.checkpoint_minutes,
        axes=options.mesh,
        shard=options.shard and Shard(*options.shard),
        **part.study,
    )
    _add_to_manifest(study, options.command, part.design)
    return study, part.report


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


def _load_subject(options: argparse.Namespace, task: str) -> Subject:
    if options.train_file is not None:
        data = load.load_files(
            options.train_file,
            options.eval_file,
            metric=options.metric,
            text_columns=options.text_columns or (),
            label_column=options.label_column,
            encoding=options.encoding,
        )
    else:
        data = load.load_task(task, options.data_dir)
    data = data.hold_out(options.held_out)
    data = data.take(options.max_train_examples, options.max_eval_examples)
    if has_one_class(data.task, data.train.labels):
        raise ValueError(
            f"all {len(data.train)} examples left to train on are of one class; "
            "--max-train-examples or --held-out must leave more"
        )
    subject = subjects.prepare(
        data,
        choices.embedded_model() if options.model == EMBEDDED else options.model,
        max_length=options.max_length,
        dtype=options.dtype,
        remat=options.remat,
    )
    if len(options.init_seeds or ()) > 1 and not subject.fresh:
        raise ValueError(
            f"--init-seeds has {len(options.init_seeds)} seeds, but {options.model} "
            "holds all parameters, the classifier included: nothing is drawn at random"
        )
    return subject


def _configure(options: argparse.Namespace) -> list[Configuration]:
    """Every method on every task, task by task.

    A method whose settings are those of one before it is left out, as a matched budget
    is where the budgets match anyway.
    """
    found: dict[str, Configuration] = {}
    first = None
    for task in options.tasks:
        subject = _load_subject(options, task)
        first = first or subject
        if subject.fresh == first.fresh:
            # The weights are there once.
            subject = dataclasses.replace(subject, pretrained=first.pretrained)
        for recipe in options.recipes:
            configuration = Configuration(subject, options.model, recipe)
            found.setdefault(configuration.name, configuration)
    return list(found.values())


def _add_to_manifest(
    study: Study, command: Sequence[str], design: Design | None
) -> None:
    """Adds what someone needs to repeat the command."""
    entry = {
        "command": shlex.join(command),
        "started": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
        "commit": environment.commit(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "settings": environment.settings(),
    }

    def add(content: manifest.Config) -> None:
        content["commands"].append(entry)
        for configuration in study.configurations:
            content["configurations"][configuration.name] = configuration.fields
        if design is not None:
            table, tables = design, content["tables"]
            # Where one row would have two settings the table is the last command's.
            with contextlib.suppress(KeyError, RecordsError):
                saved = Design.from_json(design.number, tables[design.number])
                table = saved.join(design)
            tables[design.number] = table.to_json()

    manifest.change(study.records, add)
