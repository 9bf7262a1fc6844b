"""The report's options and parts; all of it on a tiny model is in test_report.py."""

import pathlib

import gpu_report
import pytest
import report_tests


def options(*arguments):
    return gpu_report.parse(["--torch-python", "no-such-python", *arguments])


@pytest.mark.parametrize("accelerator", ["gpu", "tpu"])
def test_parts_fill_the_budget_and_few_files(accelerator):
    parts = gpu_report.all_parts(options("--accelerator", accelerator))
    # And a summary.
    assert len(parts) + 1 <= 8
    assert sum(part.seconds for part in parts) == 60 * options().minutes


def test_every_script_is_there():
    for accelerator in ("gpu", "tpu"):
        for part in gpu_report.all_parts(options("--accelerator", accelerator)):
            for command in part.commands:
                script = pathlib.Path(gpu_report.__file__).with_name(
                    command.arguments[0]
                )
                assert script.is_file(), script


def test_a_tpu_has_neither_pytorch_nor_flags_of_cuda(monkeypatch):
    monkeypatch.setattr(gpu_report, "_has_torch", lambda python: True)
    for tpu in (False, True):
        words = [
            " ".join([*command.arguments, *command.environment.values()])
            for part in gpu_report.all_parts(
                options(*(["--accelerator", "tpu"] if tpu else []))
            )
            for command in part.commands
        ]
        assert any("torch" in each for each in words) != tpu
        assert any("xla_gpu" in each for each in words) != tpu


def test_a_python_that_is_not_there_has_no_pytorch():
    assert not gpu_report._has_torch("no-such-python")


def test_no_minutes_are_refused(capsys):
    with pytest.raises(SystemExit):
        gpu_report.parse(["--minutes", "0"])
    assert "--minutes is 0.0: it must be above 0" in capsys.readouterr().err


def test_unknown_parts_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="--parts has 'speed'; accepted are machine"):
        gpu_report.main(["--parts", "speed", "--output", str(tmp_path)])


def test_files_are_dealt_out_once_each():
    hands = report_tests.deal(["tests/library", "cwgnc_jax/_clip.py"], 3)
    dealt = [file for hand in hands for file in hand]
    assert len(hands) == 3
    assert len(dealt) == len(set(dealt))
    assert {"tests/library/test_clip.py", "cwgnc_jax/_clip.py"} <= set(dealt)
    assert "tests/library/__init__.py" not in dealt


OUTPUT = """\
tests/a.py::TestA::test_b[x y] PASSED                                   [ 33%]
tests/a.py::test_c FAILED                                                [ 66%]
tests/a.py::test_d SKIPPED (no card)                                     [100%]
=================================== FAILURES ===================================
E   assert 1 == 2
FAILED tests/a.py::test_c - assert 1 == 2
"""


def test_results_are_counted_and_failures_shown():
    assert report_tests.count(OUTPUT) == {"passed": 1, "failed": 1, "skipped": 1}
    assert report_tests.failures(OUTPUT) == ["tests/a.py::test_c"]
    text = report_tests.report([OUTPUT, ""], ["failed: exit code 1", "passed"], 3.0)
    assert "| all | 1 | 1 | 0 | 1 | 3 s |" in text
    assert "E   assert 1 == 2" in text
