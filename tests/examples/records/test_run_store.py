import errno
import json
import multiprocessing
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap

import numpy as np
import pytest
import two_processes
from bert_glue.records import run_store
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore


def test_what_is_appended_is_read(tmp_path):
    store = RunStore(tmp_path / "new" / "folder")
    assert store.read() == []
    # A command that is refused after all has left nothing behind.
    assert list(tmp_path.iterdir()) == []
    store.append([{"run": "a", "score": np.float32(0.5)}, {"run": "b", "score": 2.0}])
    store.append([{"run": "c", "score": float("nan"), "bad": np.inf}])
    found = RunStore(tmp_path / "new" / "folder").read()
    assert [record["run"] for record in found] == ["a", "b", "c"]
    assert [record["score"] for record in found] == [0.5, 2, None]
    assert found[2]["bad"] is None
    assert len(store.path.read_text().splitlines()) == 3


def test_lines_are_parsed_once(tmp_path, monkeypatch):
    store, other = RunStore(tmp_path), RunStore(tmp_path)
    store.append([{"run": "a", "score": 1.0}, {"run": "b", "score": 2.0}])
    store.read()[0]["score"] = "changed by a reader"
    counted, recount = [], run_store.recount
    monkeypatch.setattr(
        run_store, "recount", lambda run: (counted.append(run["run"]), recount(run))
    )
    # Without its line's end, which is put there.
    other.append([{"run": "c", "score": 3.0}])
    store.path.write_bytes(store.path.read_bytes().rstrip(b"\n"))
    for _ in range(3):
        assert [record["score"] for record in store.read()] == [1, 2, 3]
    assert counted == ["c"]
    other.append([{"run": "a", "score": 9.0}])
    assert [record["score"] for record in store.read()] == [1, 2, 3]
    with open(store.path, "a") as file:
        file.write("not json\n")
    for _ in range(2):
        with pytest.raises(RecordsError, match="line 5 is not JSON"):
            store.read()
    # Nothing is kept of what could not be read.
    content = store.path.read_text()
    with open(store.path, "a") as file:
        file.write('{"format": 1, "run": "d", "score": 4.0}\n')
    with pytest.raises(RecordsError, match="line 5 is not JSON"):
        store.read()
    store.path.write_text(content.replace("not json\n", ""))
    assert [record["run"] for record in store.read()] == ["a", "b", "c"]
    store.path.write_text(content)
    # Another file is read from its beginning.
    store.path.write_text(store.path.read_text().split("\n", 1)[1].split("not")[0])
    assert [record["score"] for record in store.read()] == [2, 3, 9]


@pytest.mark.parametrize("kept", range(0, 30, 7))
def test_truncated_last_line_is_set_aside(tmp_path, kept):
    store = RunStore(tmp_path)
    store.append([{"run": "a"}, {"run": "b"}])
    whole = store.path.read_bytes()
    first, second = whole.splitlines(keepends=True)
    store.path.write_bytes(first + second[: min(kept, len(second) - 2)])
    store = RunStore(tmp_path)
    assert [record["run"] for record in store.read()] == ["a"]
    assert len(store.notes) == (kept > 0)
    store.append([{"run": "c"}])
    assert [record["run"] for record in store.read()] == ["a", "c"]
    if kept:
        aside = (tmp_path / run_store.FRAGMENTS).read_bytes()
        assert aside == second[: min(kept, len(second) - 2)] + b"\n"


def test_line_that_only_lost_its_end_is_kept(tmp_path):
    store = RunStore(tmp_path)
    store.append([{"run": "a"}])
    store.path.write_bytes(store.path.read_bytes().rstrip(b"\n"))
    store.append([{"run": "b"}])
    assert [record["run"] for record in store.read()] == ["a", "b"]
    assert store.notes == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2 is not JSON"),
        ("[1]", "line 2 is not the record of a run"),
        ('{"run": "b"}', "line 2 is not the record of a run"),
        ('{"format": 99, "run": "b"}', "version 99.*this is version 1"),
        ('{"format": 1}', "does not name its run"),
    ],
)
def test_foreign_lines_are_refused_and_untouched(tmp_path, line, message):
    store = RunStore(tmp_path)
    store.append([{"run": "a"}])
    content = store.path.read_text() + line + "\n"
    store.path.write_text(content)
    with pytest.raises(RecordsError, match=message):
        store.read()
    assert store.path.read_text() == content


def test_full_disk_loses_and_leaves_nothing(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    store.append([{"run": "a"}])
    before = store.path.read_bytes()
    write = os.write

    def half(file, data):
        write(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(RecordsError, match=r"written to: No space left"):
        store.append([{"run": "b"}])
    monkeypatch.undo()
    assert store.path.read_bytes() == before
    # One write may also do less than it was asked to, as at a limit of a file's size.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(RecordsError, match=r"written to: No space left"):
            store.append([{"run": "b"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.path.read_bytes() == before
    store.append([{"run": "b"}])
    assert [record["run"] for record in store.read()] == ["a", "b"]


def test_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordsError, match="cannot be made"):
        RunStore(tmp_path / "file")
    with pytest.raises(RecordsError, match="cannot be made: Not a directory"):
        RunStore(tmp_path / "file" / "new" / "folder")


@pytest.fixture
def nobody():
    """Somebody who may not write everywhere, as root may."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.fixture
def readable():
    """A folder with a record that others may read; pytest's own they may not enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        store = RunStore(folder)
        store.append([{"run": "a"}])
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_folder_that_cannot_be_written_to(readable, nobody):
    before = sorted(readable.iterdir())
    with pytest.raises(RecordsError, match="cannot be written to: Permission denied"):
        RunStore(readable)
    with pytest.raises(RecordsError, match="cannot be made: Permission denied"):
        RunStore(readable / "new" / "folder")
    # What needs no writing still works: reports, and copying to another folder.
    assert [record["run"] for record in run_store.read_only(readable)] == ["a"]
    assert sorted(readable.iterdir()) == before


def test_what_a_killed_process_was_writing_is_swept_up(tmp_path):
    (tmp_path / "recordings").mkdir()
    stray = [tmp_path / ".summary.json.abc.new", tmp_path / "recordings/.a.npz.x.new"]
    for path in stray:
        path.write_text("{")
        os.utime(path, (0, 0))
    folder = tmp_path / ".model-abc.new"
    (folder / "new").mkdir(parents=True)
    for path in (folder / "new", folder):
        os.utime(path, (0, 0))
    # This one somebody may be writing just now.
    busy = tmp_path / ".config.json.abc.new"
    busy.write_text("{")
    RunStore(tmp_path)
    assert not any(path.exists() for path in (*stray, folder))
    assert busy.exists()


def test_only_one_may_claim_and_nobody_a_finished_run(tmp_path):
    mine, yours = RunStore(tmp_path), RunStore(tmp_path)
    assert mine.claim("a")
    assert not yours.claim("a")
    assert yours.claim("b")
    mine.append([{"run": "a"}])
    mine.release(["a"])
    assert not yours.claim("a")
    yours.close()
    assert mine.claim("b")
    mine.close()
    assert not (tmp_path / ".claims").exists()


@pytest.mark.medium
def test_claims_end_with_a_killed_process(tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from bert_glue.records.run_store import RunStore
        store = RunStore({str(tmp_path)!r})
        assert store.claim("a") and store.claim("b")
        print("claimed", flush=True)
        time.sleep(60)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "claimed\n"
        store = RunStore(tmp_path)
        assert not store.claim("a")
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
    assert store.claim("a")
    store.close()
    # What it left of the other is gone, too.
    assert not (tmp_path / ".claims").exists()


def _contend(folder, process, barrier):
    store = RunStore(folder)
    barrier.wait()
    for run in range(20):
        if store.claim(f"run-{run}"):
            store.append([{"run": f"run-{run}", "by": process, "text": "x" * 5000}])
            store.release([f"run-{run}"])


@pytest.mark.slow
def test_processes_share_a_folder_without_doing_a_run_twice(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    workers = [
        context.Process(target=_contend, args=(tmp_path, number, barrier))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    lines = (tmp_path / run_store.RUNS).read_text().splitlines()
    names = [json.loads(line)["run"] for line in lines]
    assert sorted(names) == sorted(f"run-{run}" for run in range(20))


@pytest.mark.slow
def test_of_several_processes_the_first_alone_touches_the_folder(tmp_path):
    folder = tmp_path / "runs"
    RunStore(folder).append([{"run": "a", "label": "cwgnc:max_norm=1.0"}])
    with open(folder / "runs.jsonl", "a") as file:
        file.write('{"run": "cut')
    first, other = two_processes.run(
        """
        import numpy as np
        from bert_glue.records import manifest, merge
        from bert_glue.records.component_logs import ComponentLogs
        from bert_glue.records.files import RecordsError
        from bert_glue.records.resume import Checkpoints
        from bert_glue.records.run_store import RunStore
        from bert_glue.training.seeds import Seed

        store = RunStore(folder)
        answer["mine"] = store.folder == folder
        answer["before"] = [(run["run"], run["label"]) for run in store.read()]
        answer["claims"] = [store.claim(run) for run in ("a", "b", "b", "c")]
        # What only the first has to know: others' records are not used.
        store.append([{"run": "b", "score": 1.5 if processes.is_first() else 9}])
        store.release(["b", "c"])
        answer["after"] = store.read()
        manifest.change(store, lambda content: content["commands"].append("x"))
        ComponentLogs(store.folder).copy_from([folder / "nowhere"])
        refusals = []
        for attempt in (
            lambda: RunStore("/dev/null/no"),
            lambda: store.append([{"run": object()}]),
            lambda: merge.merge(store, [folder / "nowhere"]),
        ):
            try:
                processes.agree(attempt)
            except (RecordsError, TypeError) as error:
                refusals.append(str(error))
        answer["refusals"] = refusals

        notes = []
        made = Checkpoints(store.folder, 1e-9, {"code": 1})
        checkpoint = made.of([("adamw", Seed(0, 0))], [], notes.append)
        answer["due"] = checkpoint.is_due()
        value = 1.0 if processes.is_first() else 2.0
        arrays = {"a": np.array([value, -0.0, np.nan], np.float32), "b": np.arange(3)}
        answer["none"] = checkpoint.load(lambda facts: arrays)
        checkpoint.save(5, {"x": value}, arrays)
        facts, loaded = checkpoint.load(lambda facts: arrays)
        answer["facts"] = facts
        answer["bytes"] = [loaded[name].tobytes().hex() for name in ("a", "b")]
        interrupted = processes.agree(
            lambda: made.interrupted(["adamw"], [], is_done=lambda *run: False)
        )
        answer["interrupted"] = interrupted
        scratch = store.folder
        store.close()
        answer["left"] = scratch.exists()
        """,
        str(folder),
        "/dev/null/no",
    )
    assert (first.pop("mine"), other.pop("mine")) == (True, False)
    assert (first.pop("left"), other.pop("left")) == (True, False)
    assert first == other
    assert first["before"] == [["a", "cwgnc:max_norm=1"]]
    assert first["claims"] == [False, True, False, True]
    assert first["after"][1] == {"format": 1, "run": "b", "score": 1.5}
    assert len(first["refusals"]) == 3
    assert first["refusals"][0].startswith("the output directory /dev/null/no cannot")
    assert (first["due"], first["none"], first["facts"]) == (True, None, {"x": 1.0})
    values = np.array([1.0, -0.0, np.nan], np.float32)
    assert first["bytes"] == [values.tobytes().hex(), np.arange(3).tobytes().hex()]
    assert first["interrupted"] == [[["adamw", [0, 0]]]]
    assert {path.name for path in folder.iterdir()} == {
        *("runs.jsonl", "runs.jsonl.truncated", ".lock", "config.json", "checkpoints")
    }
    assert json.loads((folder / "config.json").read_text())["commands"] == ["x"]
