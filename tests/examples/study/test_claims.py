"""Which runs a process takes on."""

from bert_glue.records.run_store import RunStore
from bert_glue.study.claims import claim_group
from bert_glue.training.seeds import Seed


def test_an_interrupted_group_is_taken_whole_or_not_at_all(tmp_path, monkeypatch):
    seeds = [Seed(number, number) for number in range(4)]
    store = RunStore(tmp_path)
    asked, taken = [], {"run-0"}

    def claim(run, is_complete):
        asked.append(run)
        return run not in taken

    monkeypatch.setattr(store, "claim", claim)

    def claimed():
        asked.clear()
        return claim_group(
            store,
            lambda seed: f"run-{seed.name}",
            seeds,
            2,
            interrupted=[seeds[:3]],
            is_complete=lambda run: True,
        )

    # Another process has the first of the group, and gets the others as well.
    assert claimed() == [seeds[1], seeds[2]]
    assert asked == ["run-0", "run-0", "run-1", "run-2"]
    taken.clear()
    assert claimed() == seeds[:3]
