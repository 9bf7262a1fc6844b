"""What trackers are called with, and what TensorBoard reads of it."""

import importlib.util
import json
import math
import sys
import types

import pytest
from bert_glue.records import trackers
from bert_glue.records.trackers import KINDS, TrackedRun

SETTINGS = {
    "task": "rte",
    "learning_rate": 2e-05,
    "epochs": 3,
    "classes": ["yes", "no"],
    "unfreeze": None,
    "bias_correction": True,
}
SUMMARY = {"score": 71.5, "failed": False, "diverged_at": None, "steps": 20}
FINAL = {"final/score": 71.5, "final/failed": 0.0, "final/steps": 20.0}


@pytest.fixture
def run(tmp_path):
    return TrackedRun("rte-cwgnc-0a1b-3", "rte cwgnc", tmp_path, SETTINGS)


def do(kind, run, summary=SUMMARY):
    """What a run tells a tracker: entries, an evaluation at a step of one, the end."""
    tracker = KINDS[kind].start(run)
    tracker.log({"loss": 0.75, "grad_norm/layer_1": 0.5}, 10)
    tracker.log({"loss": math.nan, "grad_norm/layer_1": math.inf}, 20)
    tracker.log({"score": 71.5}, 20)
    tracker.finish(summary)


class TestTensorBoard:
    """Read back by TensorBoard itself."""

    @pytest.fixture(autouse=True)
    def packages(self):
        pytest.importorskip("tensorboardX")
        pytest.importorskip("tensorboard")

    def read(self, run):
        from tensorboard.backend.event_processing import event_accumulator

        folder = run.folder / "tracking" / "tensorboard" / run.name
        events = event_accumulator.EventAccumulator(str(folder))
        events.Reload()
        return events

    def test_scalars_and_hyperparameters(self, run):
        from tensorboard.plugins.hparams import metadata

        do("tensorboard", run)
        events = self.read(run)
        scalars = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        loss = scalars.pop("loss")
        assert loss[0] == (10, 0.75)
        assert loss[1][0] == 20
        assert math.isnan(loss[1][1])
        assert scalars == {
            "grad_norm/layer_1": [(10, 0.5), (20, math.inf)],
            "score": [(20, 71.5)],
            **{tag: [(20, value)] for tag, value in FINAL.items()},
        }
        summary = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG)
        content = metadata.parse_session_start_info_plugin_data(
            summary.plugin_data.content
        )
        read = {
            name: getattr(value, value.WhichOneof("kind"))
            for name, value in content.hparams.items()
        }
        assert read == SETTINGS | {"classes": "['yes', 'no']", "unfreeze": "None"}

    def test_a_run_that_begins_anew_has_each_step_once(self, run):
        do("tensorboard", run, None)
        do("tensorboard", run)
        steps = [event.step for event in self.read(run).Scalars("loss")]
        assert steps == [10, 20]


def test_lines_of_json(run):
    for _ in range(2):
        do("jsonl", run)
    path = run.folder / "tracking" / f"{run.name}.jsonl"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"run": run.name, "settings": SETTINGS},
        {"step": 10, "loss": 0.75, "grad_norm/layer_1": 0.5},
        {"step": 20, "loss": None, "grad_norm/layer_1": None},
        {"step": 20, "score": 71.5},
        {"summary": SUMMARY},
    ]


class Calls:
    """Anything that is called is written down, by its path."""

    def __init__(self, name, calls, results=None):
        self._name, self._calls, self._results = name, calls, results or {}

    def __getattr__(self, name):
        return Calls(f"{self._name}.{name}", self._calls, self._results)

    def __call__(self, *args, **kwargs):
        self._calls.append((self._name, args, kwargs))
        result = self._results.get(self._name)
        return (
            Calls(self._name, self._calls, self._results) if result is None else result
        )


def test_wandb(run, monkeypatch):
    calls = []
    run_there = Calls("run", calls)
    wandb = Calls("wandb", calls, {"wandb.init": run_there})
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    do("wandb", run)
    (init, _, named), *logged = calls
    assert init == "wandb.init"
    assert named == {
        "project": "cwgnc_jax",
        "name": run.name,
        "group": "rte cwgnc",
        "dir": str(run.folder),
        "config": SETTINGS,
        # Seeds are trained side by side: no run ends another.
        "reinit": "create_new",
        "settings": {"silent": True, "console": "off"},
    }
    assert logged[0] == (
        "run.log",
        ({"loss": 0.75, "grad_norm/layer_1": 0.5},),
        {"step": 10},
    )
    assert logged[2:] == [
        ("run.log", ({"score": 71.5},), {"step": 20}),
        ("run.summary.update", (SUMMARY,), {}),
        ("run.finish", (), {"exit_code": 0}),
    ]
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    calls.clear()
    do("wandb", run, None)
    assert calls[0][2]["project"] == "mine"
    assert calls[-1] == ("run.finish", (), {"exit_code": 1})


def test_mlflow(run, monkeypatch):
    calls = []
    client = Calls("client", calls)
    made = types.SimpleNamespace(info=types.SimpleNamespace(run_id="1f"))
    client._results["client.create_run"] = made
    experiment = types.SimpleNamespace(experiment_id="7")
    results = {"mlflow.MlflowClient": client, "mlflow.set_experiment": experiment}
    monkeypatch.setitem(sys.modules, "mlflow", Calls("mlflow", calls, results))
    entities = types.ModuleType("mlflow.entities")
    entities.Param = lambda key, value: (key, value)
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    # So many settings take two calls.
    many = {f"setting_{number}": "x" * 600 for number in range(120)}
    run = TrackedRun(run.name, run.group, run.folder, SETTINGS | many)
    do("mlflow", run)
    assert ("mlflow.set_experiment", ("cwgnc_jax",), {}) in calls
    assert (
        "client.create_run",
        ("7",),
        {"run_name": run.name, "tags": {"group": "rte cwgnc"}},
    ) in calls
    batches = [(args, named) for name, args, named in calls if "log_batch" in name]
    assert {args for args, _ in batches} == {("1f",)}
    assert all(
        len(entries) <= 100 for _, named in batches for entries in named.values()
    )
    params = [pair for _, named in batches for pair in named.get("params", ())]
    assert dict(params[:6]) == {name: str(value) for name, value in SETTINGS.items()}
    assert len(params) == 126
    assert max(len(value) for _, value in params) == 500
    metrics = [entry for _, named in batches for entry in named.get("metrics", ())]
    assert metrics[:2] == [("loss", 0.75, 10), ("grad_norm/layer_1", 0.5, 10)]
    assert metrics[4:] == [
        ("score", 71.5, 20),
        *((name, value, 20) for name, value in FINAL.items()),
    ]
    assert calls[-1] == ("client.set_terminated", ("1f", "FINISHED"), {})
    do("mlflow", run, None)
    assert calls[-1] == ("client.set_terminated", ("1f", "KILLED"), {})


def test_trackio(run, monkeypatch, capsys):
    """Like the package, the fake ends the run that it finds in its context."""
    import contextvars

    current = contextvars.ContextVar("current", default=None)
    ended, calls = [], []

    def init(project, name, group, config, embed, auto_log_cpu, auto_log_gpu):
        assert (project, group, config) == ("cwgnc_jax", "rte cwgnc", SETTINGS)
        assert (embed, auto_log_cpu, auto_log_gpu) == (False, False, False)
        if current.get() is not None:
            ended.append(current.get())
        current.set(name)
        print("* Created new run")
        return types.SimpleNamespace(
            log=lambda metrics, step: calls.append((metrics, step)),
            finish=lambda: ended.append(name),
        )

    trackio = types.ModuleType("trackio")
    trackio.init = init
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    beside = KINDS["trackio"].start(run)
    do("trackio", run)
    assert ended == [run.name]
    beside.finish(None)
    assert ended == [run.name] * 2
    assert calls[0] == ({"loss": 0.75, "grad_norm/layer_1": 0.5}, 10)
    assert calls[-2:] == [({"score": 71.5}, 20), (FINAL, 20)]
    assert capsys.readouterr().out == ""


def test_each_has_an_extra_of_its_name():
    import pathlib
    import tomllib

    project = pathlib.Path(trackers.__file__).parents[3]
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name, kind in KINDS.items():
        if kind.package is not None:
            (requirement,) = extras[name]
            assert requirement.startswith(f"{kind.package}>=")


@pytest.mark.parametrize("kind", ["wandb", "mlflow", "trackio"])
def test_the_packages_take_these_calls(kind, run, monkeypatch, tmp_path):
    """By hand: where one is installed, a run of it without a network."""
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    beside = KINDS[kind].start(run)
    do(kind, run)
    beside.finish(SUMMARY)
