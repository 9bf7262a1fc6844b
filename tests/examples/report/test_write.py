"""From a folder of records to its tables: which there are, and what is left over."""

import dataclasses

import pytest
from bert_glue.records import manifest
from bert_glue.records.designs import Design
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from bert_glue.report import formats, page, write
from run_records import RUNS, run


def test_files_hold_the_tables_and_the_page(tmp_path):
    records = RunStore(tmp_path)
    records.append(RUNS)
    command = {"command": "x.py", "commit": "abc", "versions": {"a": 1}}
    manifest.change(records, lambda content: content["commands"].append(command))
    (table,) = found = write.read(records)
    paths = write.write(records, found)
    assert {path.name: path.read_text() for path in paths} == {
        "table.md": formats.fill("table.md", table=table),
        "table.tex": formats.fill("table.tex", table=table),
        "table.csv": formats.fill("table.csv", table=table),
        "table_comparisons.csv": formats.fill("comparisons.csv", table=table),
        "index.html": page.page([table], manifest.read(tmp_path)),
    }


def test_runs_in_no_table_are_said_and_can_be_shown(tmp_path):
    records = RunStore(tmp_path)
    others = [run("mixout", 0, 60.0), run("cwgnc", 0, 50.0, learning_rate=1e-4)]
    records.append([*RUNS, *others])
    design = dataclasses.replace(Design.of_records(RUNS), name="1")
    manifest.change(
        records, lambda content: content["tables"].update({"1": design.to_json()})
    )
    found = write.read(records)
    assert write.left_over(records, found) == (
        "2 other runs of this directory are in no table: 1 of mixout on cola, 1 of "
        "cwgnc on cola; --report-only --table runs shows all"
    )
    (known, every) = write.read(records, "runs")
    assert known.design == design
    (known, every) = write.read(records, "runs", "mixout")
    assert (known.design, every.design.reference) == (design, "mixout")
    with pytest.raises(ValueError, match="'mixout'; accepted are cwgnc, adamw"):
        write.read(records, "1", "mixout")
    runs = sum(len(cell.runs) for cell in every.cells.values())
    assert runs == len(RUNS) + len(others)
    assert write.left_over(records, [every]) == ""
    paths = write.write(records, [*found, every])
    assert {path.name for path in paths} == {
        *(f"{name}.{kind}" for name in ("table", "table1") for kind in ("md", "tex")),
        *("table.csv", "table1.csv", "index.html"),
        *("table_comparisons.csv", "table1_comparisons.csv"),
    }


def test_a_page_of_nothing_is_refused(tmp_path):
    records = RunStore(tmp_path)
    with pytest.raises(RecordsError, match="no runs are recorded"):
        write.read(records)
    records.append(RUNS)
    with pytest.raises(RecordsError, match="no runs of table 2"):
        write.read(records, "2")
    with pytest.raises(ValueError, match="accepted are cwgnc, adamw"):
        write.read(records, reference="sgd")
    assert write.read(records, reference="adamw")[0].design.reference == "adamw"
