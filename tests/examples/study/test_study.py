"""What a study keeps beside the records of its runs."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import run_records
from bert_glue.devices import environment, processes
from bert_glue.records.component_logs import ComponentLogs
from bert_glue.records.run_store import RunStore
from bert_glue.study import study as studies
from bert_glue.study import summaries
from bert_glue.study.configuration import Run
from bert_glue.study.programs import StudyStopped
from bert_glue.study.progress import Progress
from bert_glue.study.study import Study, write_summary
from bert_glue.training.seeds import Seed


def test_checkpoint_of_other_code_is_not_used(tmp_path, monkeypatch):
    store, notes = RunStore(tmp_path), []

    def checkpoint():
        study = Study([], [], store, checkpoint_minutes=1)
        return study._checkpoints.of([("adamw", Seed(0, 0))], [], notes.append)

    checkpoint().save(5, {"x": 1}, {"a": np.zeros(3)})
    assert checkpoint().load(lambda facts: {"a": 0})[0] == {"x": 1}
    now = environment.code()
    monkeypatch.setattr(environment, "code", lambda: "0123456789ab")
    assert checkpoint().load(lambda facts: {"a": 0}) is None
    assert notes[-1].endswith(f"it was saved with code {now} instead of 0123456789ab")


def test_processes_that_are_started_differently_are_found_out(tmp_path, monkeypatch):
    def told(seeds=(0, 1), **options):
        found = {}
        monkeypatch.setattr(processes, "check_same", found.__setitem__)
        Study([], [Seed(n, n) for n in seeds], RunStore(tmp_path), **options)
        return found

    same = told()
    assert told() == same
    for options, what in (
        ({"seeds": (2, 3)}, "seeds"),
        ({"axes": {"seed": 2}}, "options"),
        ({"parallel_seeds": 1}, "options"),
        ({"checkpoint_minutes": 1}, "options"),
        ({"component_logs": ComponentLogs(tmp_path)}, "options"),
    ):
        differing = told(**options)
        assert {name for name in same if differing[name] != same[name]} == {what}
    monkeypatch.setattr(environment, "settings", lambda: {"jax_enable_x64": True})
    assert (
        told()["versions, code or JAX's settings"]
        != same["versions, code or JAX's settings"]
    )


def test_a_process_that_does_not_answer_ends_the_study(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    study = Study([], [], store)

    def broken(array):
        # JAX's error where the connection to another process breaks.
        raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes.multihost_utils, "broadcast_one_to_all", broken)
    with pytest.raises(StudyStopped, match=r"has probably gone.*closed by peer"):
        study.run(Progress(0, shown=False))


def test_output_that_nobody_reads_ends_a_script_quietly():
    script = """
from bert_glue.cli import script
def main():
    while True:
        print("x" * 1000)
script.run_script(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_summary_is_of_all_runs_though_others_finish_meanwhile(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    store.append([run_records.run("cwgnc", 0, 40.0)])
    write = studies.write_json

    def write_late(path, content):
        if len(store.read()) == 1:
            # Another process records a run, and is first to write.
            other = RunStore(tmp_path)
            other.append([run_records.run("cwgnc", 1, 60.0)])
            write_summary(other)
        write(path, content)

    monkeypatch.setattr(studies, "write_json", write_late)
    write_summary(store)
    assert len(store.read()) == 2
    (row,) = json.loads((tmp_path / "summary.json").read_text())
    assert (row["runs"], row["mean"]) == (2, 50)


def test_rows_without_a_new_run_are_not_summarised_again(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    rates = [f"cwgnc:learning_rate={number}e-4" for number in range(1, 9)]
    store.append(
        [
            run_records.run(method, seed, 40.7 + seed)
            for method in rates
            for seed in (0, 1)
        ]
    )
    summaries._summarize.cache_clear()
    write_summary(store)
    made, summarise = [], summaries.stability.summarize_runs
    monkeypatch.setattr(
        summaries.stability,
        "summarize_runs",
        lambda scores: made.append(scores) or summarise(scores),
    )
    store.append([run_records.run(rates[3], 2, 60.3)])
    write_summary(store)
    assert made == [(40.7, 41.7, 60.3)]
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert [row["runs"] for row in rows] == [2, 2, 2, 3, 2, 2, 2, 2]


def test_an_interrupted_group_is_taken_whole_or_not_at_all(tmp_path, monkeypatch):
    configuration = types.SimpleNamespace(run=lambda seed: f"run-{seed.name}")
    runs = [Run(configuration, Seed(number, number)) for number in range(4)]
    store = RunStore(tmp_path)
    study = Study([], [], store)
    asked, taken = [], {"run-0"}

    def claim(run, is_complete):
        asked.append(run)
        return run not in taken

    monkeypatch.setattr(store, "claim", claim)

    def claimed():
        asked.clear()
        return study._claim(runs, 2, [runs[:3]])

    # Another process has the first of the group, and gets the others as well.
    assert claimed() == [runs[1], runs[2]]
    assert asked == ["run-0", "run-0", "run-1", "run-2"]
    taken.clear()
    assert claimed() == runs[:3]


def test_rows_are_said_when_they_are_whole_or_a_minute_apart(tmp_path):
    store, said, seconds = RunStore(tmp_path), [], [0.0]
    study = Study([], [], store, clock=lambda: seconds[0])

    def configuration(method):
        runs = [run_records.run(method, number, 60 + number) for number in range(3)]
        about = types.SimpleNamespace(
            name=runs[0]["configuration"],
            run=lambda seed: runs[seed.init]["run"],
            subject=types.SimpleNamespace(task=types.SimpleNamespace(name="cola")),
            recipe=types.SimpleNamespace(label=runs[0]["label"]),
        )
        return about, runs

    (first, its_runs), (second, others) = map(configuration, ("cwgnc", "adamw"))
    study.configurations = [first, second]
    seeds = [Seed(number, number) for number in range(3)]
    study._shares = {first.name: seeds, second.name: seeds}

    def finish(configuration, run, after):
        store.append([run])
        seconds[0] += after
        said.clear()
        study._say_row(configuration, said.append)
        return list(said)

    assert finish(first, its_runs[0], 59) == []
    assert finish(first, its_runs[1], 2) == [
        "cola, cwgnc: 2 of 3 runs: std 0.5, mean 60.5, max 61.0, failed 0"
    ]
    assert finish(first, its_runs[2], 1) == [
        "cola, cwgnc: 3 of 3 runs: std 0.8, mean 61.0, max 62.0, failed 0"
    ]
    assert finish(second, others[0], 61) == [
        "cola, adamw: 1 of 3 runs: mean 60.0, max 60.0, failed 0"
    ]
    assert finish(second, others[1], 59) == []
    # The table comes next.
    assert finish(second, others[2], 100) == []
