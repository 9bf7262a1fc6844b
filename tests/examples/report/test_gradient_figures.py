"""Which runs and layers figures of gradient norms show, and what is said of them."""

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
from bert_glue.report import gradient_figures, plots


def methods_of(folder):
    return gather(RunStore(folder).read(), ComponentLogs(folder).load)


def arrays(seed, name, shape):
    if name.startswith("norms"):
        return np.full(shape, seed + 1, np.float32)
    return np.full(shape, 0.5 if seed == 0 else 1, np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two failed runs of one method and two others, and a method that never fails."""
    recorded_runs.write(tmp_path, [0, 30, -5, 20], arrays=arrays)
    recorded_runs.write(
        *(tmp_path, [7, 8], "cwgnc"),
        **{"arrays": arrays, "clipping": "component", "max_norm": 0.05, "steps": 3},
    )
    return tmp_path


def test_the_worst_failed_run_stands_beside_the_best_successful(folder):
    devlin, cwgnc = methods_of(folder)
    chosen = gradient_figures.choose_runs(devlin)
    assert list(chosen) == [
        "failed run (seed 2, -5.0)",
        "successful run (seed 1, 30.0)",
    ]
    assert [run.record["seed"] for run in chosen.values()] == [2, 1]
    assert list(gradient_figures.choose_runs(cwgnc)) == ["successful run (seed 1, 8.0)"]
    diverged = devlin.runs[3].record | {"failed": True, "diverged_at": 9}
    last = LoggedRun(diverged, devlin.runs[3].log)
    worse = LoggedMethod("devlin", devlin.settings, (*devlin.runs[:3], last))
    assert (
        next(iter(gradient_figures.choose_runs(worse)))
        == "failed run (seed 3, diverged)"
    )


@pytest.mark.medium
def test_what_is_said_and_drawn(folder, monkeypatch):
    methods = methods_of(folder)
    _, *lines = gradient_figures.describe(methods).splitlines()
    # Method, outcome, runs, largest norm, norm at the end: seed + 1 of made-up norms.
    assert [line.split() for line in lines[1:4]] == [
        ["devlin", "failed", "2", "3", "2"],
        ["devlin", "successful", "2", "4", "3"],
        ["cwgnc", "successful", "2", "2", "1.5"],
    ]
    assert lines[4:] == ["cwgnc: no run failed; its best is drawn alone"]
    figures = {}
    monkeypatch.setattr(
        plots, "save", lambda figure, path: figures.setdefault(path, figure) and path
    )
    gradient_figures.draw(folder, methods, layer=0)
    devlin, cwgnc = (
        figures[folder / "figures" / f"figure_3_{method}.png"]
        for method in ("devlin", "cwgnc")
    )
    # One scale for both methods, in which the threshold of the one that has any lies.
    panels = [*devlin.axes, *cwgnc.axes]
    assert len(panels) == 3
    assert len({axes.get_xlim() for axes in panels}) == 1
    ((low, high),) = {axes.get_ylim() for axes in panels}
    # Norms from 1 to 3, and the threshold.
    assert low < 0.05 < 3 < high
    assert [len(figure.axes[-1].texts) for figure in (devlin, cwgnc)] == [0, 1]
    monkeypatch.undo()
    written = gradient_figures.draw(folder, methods[1:], layer=0)
    assert [path.name for path in written] == [
        "figure_3_cwgnc.png",
        "clip_rate_components.png",
        "clip_rate_parameters.png",
        "norms_cwgnc",
    ]
    layers = {f"layer_{layer}.png" for layer in range(recorded_runs.LAYERS)}
    kinds = {f"{n}_{kind}.png" for n in ("key", "query") for kind in ("bias", "kernel")}
    assert {path.name for path in written[-1].iterdir()} == (
        layers | kinds | {"head.png", "embeddings.png"}
    )


def test_a_layer_that_is_not_there_is_refused(folder):
    with pytest.raises(ValueError, match=r"no layer 3; the model's are 0 to 2"):
        gradient_figures.draw(folder, methods_of(folder), layer=3)
