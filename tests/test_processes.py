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
import pytest
import tiny_bert

SIDE_BY_SIDE = 4


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
        (printed, errors), (followers, _) = (
            self.wait(index, seconds=240) for index in range(2)
        )
        assert [each.returncode for each in self.processes] == [0, 0], errors
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
        *("--parallel-seeds", SIDE_BY_SIDE),
    ]


def records_of(folder):
    path = folder / "runs.jsonl"
    if not path.exists():
        return []
    # The last line may just be being written.
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.slow
def test_two_processes_one_dies_and_the_study_goes_on(options, tmp_path):
    folder = tmp_path / "runs"
    with pair(finetune_glue, folder, *options, "--seeds", 2000) as processes:
        deadline = time.monotonic() + 240
        while not records_of(folder):
            assert time.monotonic() < deadline
            assert processes.processes[0].poll() is None, processes.wait(0, 10)
            time.sleep(0.05)
        processes.processes[1].send_signal(signal.SIGKILL)
        printed, errors = processes.wait(0, seconds=60)
        assert processes.processes[0].returncode == 1
    assert "process 0 of 2 cannot go on: another process has probably gone" in errors
    assert "start the same command everywhere again" in errors
    assert f"seeds side by side: {SIDE_BY_SIDE} (as asked for)" in printed
    before = records_of(folder)
    assert 0 < len(before) < 2000

    seeds = len(before) + SIDE_BY_SIDE
    with pair(finetune_glue, folder, *options, "--seeds", seeds) as processes:
        printed = processes.finish()
    assert f"{len(before)} of {seeds} runs are recorded, 4 missing" in printed
    records = records_of(folder)
    assert records[: len(before)] == before
    assert [record["seed"] for record in records] == list(range(seeds))
    assert {path.name for path in folder.iterdir()} == {
        *("runs.jsonl", "runs.png", "summary.json", "config.json", ".lock")
    }
    new = records[-SIDE_BY_SIDE:]
    assert new[0]["hardware"]["devices"] == 4
    assert new[0]["hardware"]["mesh"] == "seed=4,data=1,model=1"

    # One process, one device: the same but for the order of sums. Adam makes at most
    # 1e-4 of it in these five steps (see test_training.py).
    arguments = [*map(str, options), "--output-dir", str(tmp_path / "alone")]
    chosen = ",".join(str(record["seed"]) for record in new)
    assert finetune_glue.main([*arguments, "--seeds", chosen]) == 0
    for ours, theirs in zip(new, records_of(tmp_path / "alone"), strict=True):
        assert ours["run"] == theirs["run"]
        assert ours["score"] == pytest.approx(theirs["score"])
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
