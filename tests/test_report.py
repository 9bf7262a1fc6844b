"""All of the report on a tiny model, as on a bare box.

It starts many processes, for minutes: here, away from the tests of processes that run
one program together, which wait for each other for half a minute at most.
"""

import os
import pathlib
import subprocess
import sys

import gpu_report
import pytest

# What a box without an installation is without.
BLOCKED = ("datasets", "haiku", "keras", "pandas", "equinox")


@pytest.mark.slow
def test_all_of_it_on_a_bare_box(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in BLOCKED:
        (blocked / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    output = tmp_path / "report"
    project = pathlib.Path(gpu_report.__file__).parents[1]
    paths = [blocked, project, project / "examples"]
    line = [sys.executable, project / "benchmarks" / "gpu_report.py", "--tiny"]
    done = subprocess.run(
        [*line, "--output", output, "--minutes", "30", "--torch-python", "none"],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    summary = (output / "summary.md").read_text()
    assert done.returncode == 0, summary + done.stdout[-3000:]
    rows = [line.split("|") for line in summary.splitlines() if line.startswith("| ")]
    states = {row[2].strip(): row[3].strip() for row in rows[2:] if len(row) > 5}
    assert set(states.values()) == {"ok"}
    files = {path.name for path in output.iterdir()}
    assert len(files) <= 8
    causes = (output / "step.md").read_text()
    assert "| matrix products |" in causes
    assert "| dropout's random bits |" in causes
    throughput = (output / "throughput.md").read_text()
    assert "Error" not in throughput
    assert "| tiny, rte | 4 | like length |" in throughput
    assert "remat none" in throughput
    assert "Table 1's 375 runs" in summary
