"""What a study keeps beside the records of its runs."""

import json
import pathlib

import bert_glue
import numpy as np
import run_records
from bert_glue import environment
from bert_glue.records import RunRecords
from bert_glue.seeds import Seed
from bert_glue.study import Study

import cwgnc_jax


def test_code_is_known_by_all_of_its_files(tmp_path):
    package, other = tmp_path / "package", tmp_path / "other"
    for folder in (package / "inner", other):
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("x = 1\n")
    names = [environment.code(package, other)]
    (package / "notes.txt").write_text("no code")
    assert environment.code(package, other) == names[0]
    (package / "inner" / "a.py").write_text("x = 2\n")
    names.append(environment.code(package, other))
    (package / "inner" / "a.py").rename(package / "inner" / "b.py")
    names.append(environment.code(package, other))
    (other / "new.py").write_text("")
    names.append(environment.code(package, other))
    assert len(set(names)) == 4
    # Every module of both packages is read, and nothing else.
    assert environment.code() == environment.code(
        pathlib.Path(bert_glue.__file__).parent, pathlib.Path(cwgnc_jax.__file__).parent
    )


def test_checkpoint_of_other_code_is_not_used(tmp_path, monkeypatch):
    store, notes = RunRecords(tmp_path), []

    def checkpoint():
        study = Study([], [], store, checkpoint_minutes=1)
        return study._checkpoints.of("adamw", [], [Seed(0, 0)], notes.append)

    checkpoint().save(5, {"x": 1}, {"a": np.zeros(3)})
    assert checkpoint().load(lambda facts: {"a": 0})[0] == {"x": 1}
    now = environment.code()
    monkeypatch.setattr(environment, "code", lambda: "0123456789ab")
    assert checkpoint().load(lambda facts: {"a": 0}) is None
    assert notes[-1].endswith(f"it was saved with code {now} instead of 0123456789ab")


def test_summary_is_of_all_runs_though_others_finish_meanwhile(tmp_path, monkeypatch):
    store = RunRecords(tmp_path)
    store.append([run_records.run("cwgnc", 0, 40.0)])
    study, write = Study([], [], store), store.write_json

    def write_late(name, content):
        if len(store.read()) == 1:
            # Another process records a run, and is first to write.
            other = RunRecords(tmp_path)
            other.append([run_records.run("cwgnc", 1, 60.0)])
            Study([], [], other).write_summary()
        write(name, content)

    monkeypatch.setattr(store, "write_json", write_late)
    study.write_summary()
    assert len(store.read()) == 2
    (row,) = json.loads((tmp_path / "summary.json").read_text())
    assert (row["runs"], row["mean"]) == (2, 50)
