"""What a table is made of: joined, kept as JSON, and from whatever runs there are."""

import dataclasses

import pytest
from bert_glue.records import manifest
from bert_glue.records.designs import Design, choose_reference
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from bert_glue.report import write
from run_records import RUNS, run


def test_designs_join_and_survive_json():
    whole = Design.of_records(RUNS)
    assert Design.from_json(whole.name, whole.to_json()) == whole
    first, second = Design.of_records(RUNS[:5]), Design.of_records(RUNS[5:])
    assert first.join(second).configurations == whole.configurations
    assert first.join(second).seeds == whole.seeds
    other = Design.of_records([run("cwgnc", 0, 60.0, learning_rate=1e-4)])
    with pytest.raises(RecordsError, match="cwgnc on cola has other settings"):
        first.join(other)
    with pytest.raises(RecordsError, match="is not one of this version"):
        Design.from_json("1", {"methods": []})


def test_joined_designs_do_not_depend_on_their_order():
    clipped, bare, more = (
        Design.of_records([run(method, 0, 60.0)]) for method in ("cwgnc", "adamw", "gu")
    )
    # The usual reference is chosen anew, where it was nobody's wish.
    assert bare.reference == "adamw"
    assert bare.join(clipped).reference == clipped.join(bare).reference == "cwgnc"
    wished = dataclasses.replace(bare.join(more), reference="gu")
    assert wished.join(clipped).reference == clipped.join(wished).reference == "gu"
    # The larger table says how rows are ordered.
    assert clipped.join(bare.join(clipped)).methods == ("adamw", "cwgnc")
    assert bare.join(clipped).join(clipped).methods == ("adamw", "cwgnc")
    # The paper's threshold is the method's own: one row, and not two of the same runs.
    same = Design.of_records([run("cwgnc:max_norm=0.05", 1, 50.0)])
    joined = bare.join(clipped).join(same)
    assert joined.methods == ("adamw", "cwgnc")
    assert joined.runs == 4


def test_labels_of_earlier_versions_are_the_same_rows(tmp_path):
    loose, old = "cwgnc:max_norm=1e5", "cwgnc:max_norm=100000.0"
    runs = [run("cwgnc", 0, 60.0), run(loose, 0, 50.0), run(loose, 0, 40.0, task="rte")]
    assert runs[1]["label"] == "cwgnc:max_norm=100000"
    new = Design.of_records(runs)
    # As they were written before: with what Python makes of a number.
    earlier = [*runs[:2], runs[2] | {"label": old}]
    records = RunStore(tmp_path)
    records.append(earlier)
    assert Design.of_records(records.read()) == new
    saved = new.to_json() | {"methods": ["cwgnc", old], "reference": old}
    saved["configurations"] = [
        [task, method.replace("100000", "100000.0"), name]
        for task, method, name in saved["configurations"]
    ]
    joined = new.join(Design.from_json("1", saved))
    assert joined == dataclasses.replace(new, reference=runs[1]["label"])
    manifest.change(records, lambda content: content["tables"].update({"1": saved}))
    for reference in (loose, old, runs[1]["label"]):
        [table] = write.read(records, reference=reference)
        assert table.design.reference == "cwgnc:max_norm=100000"
        assert table.methods == ["cwgnc", "cwgnc:max_norm=100000"]


def test_runs_of_one_label_and_other_settings_are_rows_of_their_own():
    runs = [
        run("cwgnc", 0, 60.0),
        run("cwgnc", 0, 50.0, learning_rate=1e-4),
        run("cwgnc", 1, 50.0, learning_rate=1e-4),
        run("adamw", 0, 50.0, learning_rate=1e-4),
    ]
    design = Design.of_records(runs)
    assert design.methods == (
        *("cwgnc (learning rate 2e-05)", "cwgnc (learning rate 0.0001)", "adamw"),
    )
    assert design.runs == 3 * 2
    assert design.configurations["cola", "adamw"] == runs[-1]["configuration"]


@pytest.mark.parametrize(
    ("methods", "reference"),
    [
        (["adamw", "cwgnc:epochs=3", "cwgnc"], "cwgnc"),
        (["cwgnc:max_norm=0.01", "cwgnc:max_norm=0.05"], "cwgnc:max_norm=0.05"),
        (["adamw", "cwgnc:epochs=3"], "cwgnc:epochs=3"),
        (["adamw", "mixout"], "adamw"),
    ],
)
def test_the_row_to_compare_with(methods, reference):
    assert choose_reference(methods) == reference
