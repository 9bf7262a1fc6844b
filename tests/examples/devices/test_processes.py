"""One program in two processes: the same results, one writer, an end if one dies."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import finetune_glue
import gradual_unfreezing
import numpy as np
import pytest
import reproduce_tables
import stability_curve
import tiny_bert
import two_processes
from bert_glue.records.component_logs import ComponentLogs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]

SIDE_BY_SIDE = 4
# What differs from one execution of the same run to the next.
_OF_THE_EXECUTION = {"seconds", "finished", "commit"}


class Pair:
    """A script in two processes that have two devices each."""

    def __init__(self, script, folder, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "CWGNC_CACHE": str(folder.parent / "cache"),
        }
        together = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"]
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, script.__file__, *map(str, options)),
                    # Only the first is able to write there.
                    *("--output-dir", str(folder) if index == 0 else "/dev/null/no"),
                    *(*together, "--process-id", str(index)),
                ],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]

    def wait(self, index, seconds):
        """What a process printed, and its errors."""
        return self.processes[index].communicate(timeout=seconds)

    def finish(self):
        """What the first printed, once both have ended well."""
        (printed, errors), (followers, others) = (
            self.wait(index, seconds=240) for index in range(2)
        )
        codes = [each.returncode for each in self.processes]
        assert codes == [0, 0], errors + others
        # The second process neither wrote nor talked.
        # Gloo's threads print there too, and tear each other's lines.
        ours = [line for line in printed.splitlines() if "ranks" not in line]
        assert len(ours) > 5
        assert not set(ours) & set(followers.splitlines()) - {""}
        return printed

    def stop(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()


@contextlib.contextmanager
def pair(script, folder, *options):
    started = Pair(script, folder, *options)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 36, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 21, seed=1)
    return [
        *("--model", model, "--train-file", train, "--eval-file", dev),
        *("--learning-rate", "5e-3", "--epochs", "1", "--batch-size", "8"),
    ]


def records_of(folder):
    path = folder / "runs.jsonl"
    if not path.exists():
        return []
    # The last line may just be being written.
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def groups_with_checkpoints(folder):
    # One that is being removed is hidden.
    return {path.parent for path in folder.glob("checkpoints/[!.]*/[0-9]*")}


def set_aside(folder, aside, moved):
    for path in groups_with_checkpoints(folder):
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
            moved.append(path)
            break
    return bool(moved)


def wait_for(processes, condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        assert processes.processes[0].poll() is None, processes.wait(0, 10)
        time.sleep(0.01)


def results_of(records):
    return [
        {name: record[name] for name in record.keys() - _OF_THE_EXECUTION}
        for record in records
    ]


def test_two_processes_one_dies_and_the_study_goes_on(options, tmp_path):
    folder, aside = tmp_path / "runs", tmp_path / "aside"
    # All that a group carries: frozen parameters, initial ones, the best so far, a log
    # that an evaluation interrupts.
    method = "mosbach:unfreeze=gu:stages=1:mixout=0.1"
    options = [*options, "--method", method, "--parallel-seeds", SIDE_BY_SIDE]
    options += ["--epochs", 2]
    # Seeds lie on both processes, the parameters of each in two parts.
    mesh = ["--mesh", "seed=2,model=2"]
    often = [*mesh, "--checkpoint-minutes", "1e-9"]
    with pair(finetune_glue, folder, *options, *often, "--seeds", 2000) as processes:
        # What a kill at this moment would leave of the first group.
        moved = []
        wait_for(processes, lambda: set_aside(folder, aside, moved))
        [first] = moved
        wait_for(processes, lambda: len(records_of(folder)) >= 2 * SIDE_BY_SIDE)
        done = groups_with_checkpoints(folder)
        wait_for(processes, lambda: groups_with_checkpoints(folder) - done)
        # JAX would catch it, and go on; it ends the process as at once as a kill.
        processes.processes[1].send_signal(signal.SIGTERM)
        printed, errors = processes.wait(0, seconds=60)
        assert processes.processes[0].returncode == 1
        processes.wait(1, seconds=60)
        assert processes.processes[1].returncode == -signal.SIGTERM
    assert "process 0 of 2 cannot go on: another process has probably gone" in errors
    assert "start the same command everywhere again" in errors
    assert f"seeds side by side: {SIDE_BY_SIDE} (as asked for)" in printed
    before = records_of(folder)
    assert len(before) >= 2 * SIDE_BY_SIDE
    lines = (folder / "runs.jsonl").read_text().splitlines(keepends=True)
    (folder / "runs.jsonl").write_text("".join(lines[SIDE_BY_SIDE:]))
    first.parent.mkdir(exist_ok=True)
    aside.rename(first)

    seeds = len(before) + SIDE_BY_SIDE
    with pair(finetune_glue, folder, *options, *mesh, "--seeds", seeds) as processes:
        printed = processes.finish()
    kept = len(before) - SIDE_BY_SIDE
    assert f"{kept} of {seeds} runs are recorded, 8 missing" in printed
    # The other group may have ended between the look at it and the kill.
    assert printed.count("going on from") in (1, 2), printed
    records = records_of(folder)
    assert records[:kept] == before[SIDE_BY_SIDE:]
    records.sort(key=lambda record: record["seed"])
    assert [record["seed"] for record in records] == list(range(seeds))
    # To the last bit what the first group came to without an interruption.
    assert results_of(records[: len(before)]) == results_of(before)
    assert {path.name for path in folder.iterdir()} == {
        *("runs.jsonl", "runs.png", "summary.json", "config.json", ".lock")
    }
    new = records[-SIDE_BY_SIDE:]
    assert new[0]["hardware"]["devices"] == 4
    assert new[0]["hardware"]["mesh"] == "seed=2,data=1,model=2"

    # One process, one device: the same but for the order of sums. Adam makes at most
    # 1e-4 of it in these ten steps (see test_training.py).
    arguments = [*map(str, options), "--output-dir", str(tmp_path / "alone")]
    chosen = ",".join(str(record["seed"]) for record in new)
    assert finetune_glue.main([*arguments, "--seeds", chosen]) == 0
    for ours, theirs in zip(new, records_of(tmp_path / "alone"), strict=True):
        assert ours["run"] == theirs["run"]
        assert ours["score"] == pytest.approx(theirs["score"])
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)


def test_one_may_compile_longer_than_connections_take(tmp_path, monkeypatch):
    """Half a minute, on CPUs, after which a connection is not opened any more."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    code = """
    import time
    import numpy as np
    from bert_glue.devices import mesh

    def slow():
        time.sleep(35)
        return 1

    answer["decided"] = processes.agree(slow)
    placement = mesh.choose({"data": 4}, seeds=1, batch_size=4)
    processes.open_connections(placement.mesh)

    def add(values):
        if index == 0:
            time.sleep(35)  # As if it were compiled for so long.
        return placement.everywhere(values.sum())

    values = placement.batches(np.arange(4, dtype=np.float32)[None])
    answer["sum"] = float(jax.jit(add)(values))
    """
    for answer in two_processes.run(code, tmp_path, tmp_path):
        assert answer == {"decided": 1, "sum": 6}


@pytest.mark.parametrize(
    ("script", "more", "last"),
    [
        (reproduce_tables, "--method cwgnc --seeds 2", "index.html"),
        (
            stability_curve,
            "--method cwgnc --over learning_rate=1e-3,5e-3 --runs 8",
            "index.html",
        ),
        (finetune_glue, "--method cwgnc --seeds 2 --save-model", "runs.png"),
    ],
)
def test_both_of_two_processes_end_when_the_report_is_made(
    script, more, last, options, tmp_path
):
    """The second has none of the first's files to make it of."""
    folder, words = tmp_path / "runs", more.split()
    if "--over" in words:
        at = options.index("--learning-rate")
        options = options[:at] + options[at + 2 :]
    with pair(script, folder, *options, *words) as processes:
        printed = processes.finish()
    assert str(folder / last) in printed
    assert (folder / last).stat().st_size > 1000
    assert (folder / "model").is_dir() == ("--save-model" in words)


def test_case_study_of_two_processes(options, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    options = [*options, "--method", "gu:stages=1", "--seeds", 3]
    # Each seed's batches lie on both processes; its parameters are whole on each.
    mesh = ["--mesh", "seed=1,data=4"]
    with pair(gradual_unfreezing, together, *options, *mesh) as processes:
        printed = processes.finish()
    assert f"{together / 'figures' / 'figure_1.png'}" in printed
    arguments = [*map(str, options), "--output-dir", str(alone)]
    assert gradual_unfreezing.main(arguments) == 0
    names = {path.relative_to(together) for path in together.rglob("*")}
    assert names == {path.relative_to(alone) for path in alone.rglob("*")}
    for ours, theirs in zip(records_of(together), records_of(alone), strict=True):
        assert ours["run"] == theirs["run"]
        found, expected = (
            ComponentLogs(folder).load(ours["run"]).arrays
            for folder in (together, alone)
        )
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            # Float32 sums in another order, here of numbers up to 1, through five steps
            # of Adam; norms have 11 bits of mantissa, of which one may be rounded.
            share = 2.0**-10 if "norms" in name else 1e-5
            np.testing.assert_allclose(found[name], values, rtol=share, atol=1e-7)
