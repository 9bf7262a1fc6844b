"""Several output directories made one."""

import dataclasses

import pytest
from bert_glue.records import manifest, merge
from bert_glue.records.designs import Design
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from run_records import run


def test_merged_runs_that_disagree_are_said(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, scores in zip(folders, ([60.0], [60.0, 50.0], [12.5]), strict=True):
        RunStore(folder).append(
            run("cwgnc", seed, score) for seed, score in enumerate(scores)
        )
    into = RunStore(tmp_path / "all")
    assert merge.merge(into, folders[:2]) == 2
    assert into.notes == []
    assert merge.merge(into, folders) == 0
    assert [record["score"] for record in into.read()] == [60.0, 50.0]
    (note,) = into.notes
    assert note.startswith("1 of the runs to merge, such as cola-cwgnc-")


def folder_of(folder, runs, number="1"):
    """An output directory whose command made a table of some runs."""
    store = RunStore(folder)
    store.append(runs)
    design = dataclasses.replace(Design.of_records(runs), name=number)

    def add(content):
        content["commands"].append({"command": f"of {folder.name}"})
        content["configurations"] |= {run["configuration"]: {} for run in runs}
        content["tables"][number] = design.to_json()

    manifest.change(store, add)
    return folder


def test_how_runs_were_made_is_merged_too(tmp_path):
    one = folder_of(tmp_path / "a", [run("cwgnc", 0, 60.0)])
    other = folder_of(tmp_path / "b", [run("adamw", 1, 50.0)])
    # A shard that had nothing to do.
    idle = tmp_path / "idle"
    manifest.change(RunStore(idle), lambda content: None)
    into = RunStore(tmp_path / "all")
    for copied in (2, 0):
        assert merge.merge(into, [one, other, idle]) == copied
    content = manifest.read(into.folder)
    assert [each["command"] for each in content["commands"]] == ["of a", "of b"]
    assert len(content["configurations"]) == 2
    design = Design.from_json("1", content["tables"]["1"])
    assert design.methods == ("cwgnc", "adamw")
    assert [seed.name for seed in design.seeds] == ["0", "1"]


def test_budgets_are_merged_with_their_looks(tmp_path):
    def folder(name, looks):
        store = RunStore(tmp_path / name)
        spending = {"seeds": [[1e-3, 4]], "looks": looks, "seconds": 1.0, "runs": 8}

        def add(content):
            content["budgets"]["key"] = spending
            content["curves"]["learning_rate"] = {"setting": "learning_rate"}

        manifest.change(store, add)
        return tmp_path / name

    late = [[1, 0.5, 0.01], [2, 1.0, 0.04]]
    one, other = folder("a", late[:1]), folder("b", late)
    apart = folder("c", [[1, 0.5, 0.03]])
    for order in ([one, other], [other, one]):
        into = RunStore(tmp_path / f"from-{order[0].name}")
        merge.merge(into, order)
        content = manifest.read(into.folder)
        assert content["budgets"]["key"]["looks"] == late
        assert content["curves"] == {"learning_rate": {"setting": "learning_rate"}}
    with pytest.raises(RecordsError, match="a budget of their own in several"):
        merge.merge(RunStore(tmp_path / "all"), [one, apart])


@pytest.mark.parametrize(
    "further", [{"seeds": [[1e-3, 8]]}, {"shown": True}, {"seconds": 9.0}]
)
def test_of_two_copies_of_a_budget_the_one_further_on_counts(tmp_path, further):
    early = {"seeds": [[1e-3, 4]], "looks": [[1, 0.5, 0.01]], "seconds": 1.0, "runs": 8}
    late = early | further
    for name, (ours, theirs) in {"a": (early, late), "b": (late, early)}.items():
        stores = [RunStore(tmp_path / name), RunStore(tmp_path / f"{name}-other")]
        for store, budget in zip(stores, (ours, theirs), strict=True):
            manifest.change(
                store,
                lambda content, budget=budget: content["budgets"].update(key=budget),
            )
        merge.merge(stores[0], [stores[1].folder])
        assert manifest.read(stores[0].folder)["budgets"]["key"] == late


def test_the_first_curve_stays_the_first_one(tmp_path):
    settings = ("learning_rate", "weight_decay")
    stores = [RunStore(tmp_path / name) for name in settings]
    for store, setting in zip(stores, settings, strict=True):
        curve = {"setting": setting}
        manifest.change(
            store,
            lambda content, curve=curve: content["curves"].update(
                {curve["setting"]: curve}
            ),
        )
    merge.merge(stores[0], [stores[1].folder])
    assert (*manifest.read(stores[0].folder)["curves"],) == settings


def test_what_cannot_be_merged_changes_nothing(tmp_path):
    one = folder_of(tmp_path / "a", [run("cwgnc", 0, 60.0)])
    other = folder_of(tmp_path / "b", [run("cwgnc", 1, 50.0, learning_rate=1e-4)])
    into = RunStore(tmp_path / "all")
    with pytest.raises(RecordsError, match=r"nowhere.runs\.jsonl cannot be read"):
        merge.merge(into, [one, tmp_path / "nowhere"])
    with pytest.raises(RecordsError, match="cwgnc on cola has other settings"):
        merge.merge(into, [one, other])
    assert into.read() == []
    assert manifest.read(into.folder)["commands"] == []
