"""Time limits, failures and files of a report, with processes of a line of code."""

import os
import pathlib
import time

import pytest
import report_runner
from report_runner import Command, Part, Report, run

# Writes what it got into the file that follows --output.
WRITE = (
    "import pathlib, sys; a = sys.argv; "
    "pathlib.Path(a[a.index('--output') + 1]).write_text"
)


def python(code: str, **settings) -> Command:
    settings = {"needs": (), "writes": False} | settings
    return Command("some code", ("-c", code), **settings)


def test_what_is_printed_and_written_comes_back(tmp_path):
    command = python(f"{WRITE}('# figures'); print('figure: speed = 3')", writes=True)
    outcome = run(command, 60, tmp_path)
    assert outcome.state == "ok"
    assert outcome.report == "# figures"
    assert outcome.log == "figure: speed = 3\n"


@pytest.mark.medium
def test_a_process_that_hangs_ends_with_all_that_it_started(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys, time; "
        "line = [sys.executable, '-c', 'import time; time.sleep(99)']; "
        "child = subprocess.Popen(line); "
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid)); "
        f"{WRITE}('as far as it came'); time.sleep(99)"
    )
    began = time.monotonic()
    outcome = run(python(code, writes=True), 4, tmp_path)
    assert outcome.state == "stopped: out of time"
    assert time.monotonic() - began < 30  # a busy machine may be slow to end it
    assert outcome.report == "as far as it came"
    child = int(pid_file.read_text())
    status = pathlib.Path(f"/proc/{child}/stat")
    for _ in range(100):
        # Ended it is nobody's, until the system has cleared it away.
        try:
            state = status.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} still runs")


def test_without_time_nothing_is_run(tmp_path):
    # For other programs, no time means no limit.
    outcome = run(python("raise SystemExit('it was run')"), 0, tmp_path)
    assert outcome.state == "not run: no time left"
    assert not outcome.log


def test_without_its_packages_nothing_is_run(tmp_path):
    command = python("print(1)", needs=("json", "no_such_package"))
    assert run(command, 60, tmp_path).state == "not run: no_such_package missing"


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("raise ValueError('broken')", "failed: exit code 1"),
        ("import os; os.kill(os.getpid(), 9)", "failed: ended by SIGKILL"),
    ],
)
def test_a_part_that_fails_costs_only_itself(tmp_path, code, state):
    parts = [
        Part("first", "First", 1, (python(code), python("print('after it')"))),
        Part("second", "Second", 1, (python("print('figure: speed = 3')"),)),
    ]
    assert not Report(tmp_path, parts, 120).make()
    first = (tmp_path / "first.md").read_text()
    assert state in first
    assert "after it" in first
    summary = (tmp_path / "summary.md").read_text()
    assert f"| first | some code | {state} |" in summary
    assert "| second | some code | ok |" in summary
    assert "| speed | 3 |" in summary
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first.md",
        "second.md",
        "summary.md",
    ]


def test_the_last_lines_of_a_failure_are_shown(tmp_path):
    code = "print('much ' * 9); raise ValueError('the cause')"
    Report(tmp_path, [Part("one", "One", 1, (python(code),))], 60).make()
    assert "ValueError: the cause" in (tmp_path / "one.md").read_text()


def test_time_that_is_left_over_goes_to_what_follows(tmp_path):
    say = python(
        "import sys; print('figure: limit', '=', sys.argv[-1])", knows_limit=True
    )
    parts = [Part(name, name, 1, (say,)) for name in ("first", "second")]
    reports = []

    class Kept(Report):
        def _summarise(self):
            reports.append(float(self.figures["limit"]))

    assert Kept(tmp_path, parts, 200).make()
    first, second = reports
    # Half of 200 s, and a reserve of 5 s to write in; then all that is left.
    assert 90 < first <= 95
    assert 150 < second <= 195


@pytest.mark.medium
def test_a_report_is_written_while_its_part_runs(tmp_path):
    code = (
        f"import time; {WRITE}('half'); time.sleep(2); {WRITE.split('; ')[-1]}('all')"
    )
    seen = []
    run(python(code, writes=True), 60, tmp_path, seen.append, every=0.1)
    assert seen[0] == "half"


@pytest.mark.medium
def test_all_processes_find_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    paths = report_runner.environment()["PYTHONPATH"].split(os.pathsep)
    assert paths[-1] == "mine"
    code = "import reporting, cwgnc_jax.stability, bert_glue.data.tasks"
    assert run(python(code), 120, tmp_path).state == "ok"
