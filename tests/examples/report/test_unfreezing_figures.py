"""Scores and movements by stage, from runs whose components moved by known lengths."""

import numpy as np
import pytest
import recorded_runs
from bert_glue.records.component_logs import (
    ComponentLogs,
    LoggedMethod,
    LoggedRun,
    gather,
)
from bert_glue.records.run_store import RunStore
from bert_glue.report import unfreezing_figures


@pytest.fixture
def made_up(tmp_path):
    """Three stages of GU whose layers have moved by known lengths."""
    names, layers = 15, recorded_runs.LAYERS
    trained = [[0, 1, 5, 8, 11, 14], [0, 1, *range(4, 6), 7, 8, 10, 11, 13, 14]]
    trained.append(list(range(names)))

    def arrays(seed, name, shape):
        if name.startswith("rmsd_from_initial"):
            stage = int(name.rpartition("/")[2])
            values = np.zeros(names, np.float32)
            values[trained[stage]] = 1 + stage + seed
            return values
        # A distance of 1 is that of what was zeros.
        return np.full(shape, 0.5, np.float32)

    scores = [[10, 20, 30], [20, 20, 50]]
    recorded_runs.write(
        tmp_path, scores, "gu", trained=trained, arrays=arrays, unfreeze="gu"
    )
    recorded_runs.write(
        tmp_path, [40, 60], "full", arrays=lambda *a: 7 + np.zeros(a[2])
    )
    assert len(trained) == layers
    return gather(RunStore(tmp_path).read(), ComponentLogs(tmp_path).load)


@pytest.mark.medium
def test_what_the_figures_show(made_up):
    gu, full = made_up
    np.testing.assert_array_equal(
        unfreezing_figures.scores_by_stage(gu), [[10, 20], [20, 20], [30, 50]]
    )
    np.testing.assert_array_equal(unfreezing_figures.scores_by_stage(full), [[40, 60]])
    moved = unfreezing_figures.movement_by_stage(gu, "rmsd_from_initial")
    assert {name: list(values) for name, values in moved.items()} == {
        "embeddings": [0, 0, 3.5],
        "layer 0": [0, 0, 3.5],
        "layer 1": [0, 2.5, 3.5],
        "layer 2": [1.5, 2.5, 3.5],
        "head": [1.5, 2.5, 3.5],
    }
    # The made-up distance is 0.5 everywhere: what did not move has none all the same.
    turned = unfreezing_figures.movement_by_stage(gu, "cosine_distance_from_initial")
    assert {name: list(values) for name, values in turned.items()} == {
        "embeddings": [0, 0, 0.5],
        "layer 0": [0, 0, 0.5],
        "layer 1": [0, 0.5, 0.5],
        "layer 2": [0.5, 0.5, 0.5],
        "head": [0.5, 0.5, 0.5],
    }
    # All components of full fine-tuning moved alike; of GU not stage by stage either,
    # for the made-up movement from the stage before is the same everywhere.
    assert unfreezing_figures.racing(full)["whole run"].tolist() == [0, 0]
    assert unfreezing_figures.racing(gu)["stage by stage"].tolist() == [0, 0]
    diverged = [
        LoggedRun(run.record | {"diverged_at": 3}, run.log) for run in gu.runs[1:]
    ]
    sound = LoggedMethod("gu", gu.settings, (gu.runs[0], *diverged))
    moved = unfreezing_figures.movement_by_stage(sound, "rmsd_from_initial")
    assert list(moved["head"]) == [1, 2, 3]
    none = LoggedMethod("gu", gu.settings, tuple(diverged))
    assert unfreezing_figures.movement_by_stage(none, "rmsd_from_initial") == {}


def test_what_was_zeros_at_first_hides_nothing(made_up):
    gu, _ = made_up
    for run in gu.runs:
        for name, array in run.log.arrays.items():
            if name.startswith("cosine_distance"):
                array[8] = 1.0  # of the layer at the top, in all stages
    assert unfreezing_figures.zeros_at_first(gu) == [gu.runs[0].log.names[8]]
    for start in ("initial", "before"):
        turned = unfreezing_figures.movement_by_stage(
            gu, f"cosine_distance_from_{start}"
        )
        assert max(map(max, turned.values())) == 0.5


@pytest.mark.medium
def test_tables_and_figures(made_up, tmp_path):
    lines = unfreezing_figures.describe(made_up).splitlines()
    assert lines[0].startswith("Matthews' correlation in % after each stage")
    rows = [line.split("  ") for line in lines]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    # Means and standard deviations of [10, 20], [20, 20], [30, 50] and [40, 60].
    assert cells[1:6] == [
        ["stage", "GU", "full fine-tuning"],
        ["1", "15.0 ± 5.0"],
        ["2", "20.0 ± 0.0"],
        ["3", "40.0 ± 10.0"],
        ["all at once", "50.0 ± 10.0"],
    ]
    # Four steps in each of three stages, and in one.
    assert cells[6] == ["updates until then", "12", "4"]
    assert ["full fine-tuning", "0.000 ± 0.000"] in cells
    written = unfreezing_figures.draw(tmp_path, made_up)
    assert [path.name for path in written] == [
        "figure_1.png",
        *(f"figure_{name}_gu.png" for name in ("2a", "2b", "4", "5")),
    ]
    assert all(path.stat().st_size > 5000 for path in written)


@pytest.mark.medium
def test_stages_that_restart_are_not_compared_with_the_stage_before(made_up, tmp_path):
    gu, full = made_up
    settings = gu.settings | {"unfreeze": "restart"}
    restart = LoggedMethod("gu-restart", settings, gu.runs)
    written = unfreezing_figures.draw(tmp_path, [restart, full])
    assert [path.name for path in written] == [
        "figure_1.png",
        *(f"figure_{name}_gu-restart.png" for name in ("2a", "5")),
    ]
    assert list(unfreezing_figures.racing(restart)) == ["whole run"]
    # The last stage alone makes its score.
    assert "updates until then             4" in unfreezing_figures.describe([restart])
