"""Claims end with their process, where the file system has flock and where not."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import filelock
import pytest
from bert_glue.records import locks
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore


@pytest.fixture(params=["flock", *("ENOSYS", "ENOLCK", "EOPNOTSUPP")])
def kind(request, monkeypatch):
    """Each way in which a file system has flock, or has not."""
    missing = getattr(errno, request.param, None)
    if missing is not None:

        def refuse(descriptor, **options):
            raise OSError(missing, os.strerror(missing))

        monkeypatch.setattr(locks.filelock, "lock_descriptor", refuse)
    locks._has_flock.cache_clear()
    yield request.param
    locks._has_flock.cache_clear()


def in_a_process(code):
    """Runs code in another process of the same kind, up to its first line."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def without_flock(kind):
    if kind == "flock":
        return ""
    return (
        "def refuse(*_, **__):\n"
        f"    raise OSError({getattr(errno, kind)}, 'none')\n"
        "locks.filelock.lock_descriptor = refuse\n"
    )


def test_one_at_a_time(tmp_path, kind):
    folder = tmp_path / "claims"
    mine, yours = locks.Claims(folder), locks.Claims(folder)
    assert mine.take("a")
    assert not mine.take("a")
    assert not yours.take("a")
    assert yours.take("b")
    yours.release("a")
    assert not yours.take("a")
    mine.release("a")
    mine.release("a")
    assert yours.take("a")
    yours.release_all()
    assert not folder.exists()
    is_lease = isinstance(locks.exclusive(tmp_path / "c"), filelock.SoftFileLease)
    assert is_lease == (kind != "flock")


@pytest.mark.parametrize("killed_by", [signal.SIGKILL, signal.SIGTERM])
def test_claims_end_with_their_process(tmp_path, kind, killed_by):
    child = in_a_process(
        "import pathlib, time\nfrom bert_glue.records import locks\n"
        + without_flock(kind)
        + f"claims = locks.Claims(pathlib.Path({str(tmp_path / 'claims')!r}))\n"
        "assert claims.take('a') and claims.take('b')\n"
        "print('held', flush=True)\ntime.sleep(60)\n"
    )
    claims = locks.Claims(tmp_path / "claims")
    with child:
        assert not claims.take("a")
        child.send_signal(killed_by)
        child.wait(timeout=10)
    # On the same machine nobody waits for a lease to end.
    assert claims.take("a")
    claims.release_all()
    # What it left of the other is gone, too.
    assert not (tmp_path / "claims").exists()


def test_a_claim_of_a_process_that_is_gone_on_another_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.6)
    holder, waiting = (locks.Claims(tmp_path / "claims") for _ in range(2))
    assert holder.take("a")
    marker = tmp_path / "claims" / "a.lease"
    # While it lives it is touched: nobody takes it over.
    for _ in range(10):
        assert not waiting.take("a")
        time.sleep(0.1)
    left = marker.read_text().splitlines()
    holder.release("a")
    # What is left by a process of another machine that was killed.
    assert sum("host=" in line for line in left) == 1
    lines = ["host=elsewhere" if "host=" in line else line for line in left]
    marker.write_text("\n".join([*lines, ""]))
    began = time.monotonic()
    while not waiting.take("a"):
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    assert time.monotonic() - began >= 0.6
    waiting.release_all()
    assert not (tmp_path / "claims").exists()


def test_lock_waits_for_its_holder(tmp_path, kind):
    path = tmp_path / "lock"
    child = in_a_process(
        "import pathlib, time\nfrom bert_glue.records import locks\n"
        + without_flock(kind)
        + f"with locks.exclusive(pathlib.Path({str(path)!r})):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    with child:
        began = time.monotonic()
        with locks.exclusive(path):
            waited = time.monotonic() - began
    # The child sleeps 0.5 s; some of it may pass before the clock is read.
    assert waited > 0.2


def test_other_errors_are_not_taken_for_a_lack_of_flock(tmp_path, monkeypatch):
    def refuse(descriptor, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(locks.filelock, "lock_descriptor", refuse)
    with pytest.raises(RecordsError, match="cannot be written to: Input/output error"):
        RunStore(tmp_path).claim("a")


@pytest.mark.parametrize("moment", ["mkdir", "open"])
def test_folder_of_claims_that_another_process_removes_is_made_again(
    tmp_path, kind, monkeypatch, moment
):
    folder = tmp_path / ".claims"
    original, removed = pathlib.Path.mkdir, []

    def interrupted(path, *arguments, **options):
        if moment == "mkdir" and path == folder and not removed:
            # The folder is found to be there, and then no longer is.
            removed.append(path)
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        original(path, *arguments, **options)
        if moment == "open" and path == folder and not removed:
            removed.append(path)
            folder.rmdir()

    monkeypatch.setattr(pathlib.Path, "mkdir", interrupted)
    store = RunStore(tmp_path)
    assert store.claim("a")
    assert removed
    store.close()
    # Something else by that name is not waited for.
    folder.write_text("")
    with pytest.raises(RecordsError, match="cannot be written to: File exists"):
        store.claim("a")


def test_what_flock_left_does_not_count_where_there_is_none(tmp_path, monkeypatch):
    (tmp_path / "claims").mkdir()
    for path in (tmp_path / ".lock", tmp_path / "claims" / "a"):
        path.touch()
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    with locks.exclusive(tmp_path / ".lock"):
        assert locks.Claims(tmp_path / "claims").take("a")


def test_leases_leave_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    before = threading.active_count()
    claims = locks.Claims(tmp_path)
    for run in range(5):
        assert claims.take(f"run-{run}")
    claims.release_all()
    assert threading.active_count() == before
