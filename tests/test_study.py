"""What a study keeps beside the records of its runs."""

import json

import run_records
from bert_glue.records import RunRecords
from bert_glue.study import Study


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
