"""What is drawn where somebody is watching, and where nobody is."""

import re
import time

from bert_glue.study import progress as module
from bert_glue.study.progress import Progress
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed


def run(progress):
    progress.start(METHODS["adamw"], [Seed(3, 3), Seed(4, 4)], 20)
    progress._steps.mininterval = 0
    progress.reach(10, loss=0.51234)
    progress.reach(20, score=71.25)
    progress.finish(2)
    progress.note("done")
    progress.close()


def test_bars_show_loss_score_and_time_left(capsys):
    progress = Progress(5, shown=True)
    begun = capsys.readouterr().err
    assert "runs:   0%" in begun
    assert "preparing ..." in begun
    assert "?step" not in begun
    run(progress)
    output = capsys.readouterr()
    half, whole = (
        next(line for line in output.err.split("\r") if f" {count}/20" in line)
        for count in (10, 20)
    )
    assert "adamw, seeds 3, 4:  50%" in half
    assert "loss=0.5123" in half
    assert re.search(r"<\d\d:\d\d,", half)
    assert "loss=0.5123, score=71.25" in whole
    assert "runs:  40%" in output.err
    assert output.out == "done\n"


def test_quiet_where_nobody_is_watching(capsys):
    run(Progress(5))
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out == "done\n"


def test_a_log_has_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    progress = Progress(5)
    time.sleep(0.1)
    progress.start(METHODS["adamw"], [Seed(3, 3)], 20)
    progress.reach(10, loss=0.51234)
    time.sleep(0.1)
    progress.close()
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = said.splitlines()
    assert lines[0] == "preparing ...; 0 of 5 runs done"
    assert re.fullmatch(
        r"adamw, seed 3: 10 of 20 steps, 00:0\d gone, 00:0\d left, loss=0.5123; "
        "0 of 5 runs done",
        lines[-1],
    )
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_several_settings_are_said(capsys):
    progress = Progress(5, shown=True)
    seeds = [Seed(3, 3), Seed(4, 4)]
    progress.start(METHODS["adamw"], [*seeds, *seeds[:1]], 20, 2)
    progress.close()
    assert "adamw, seeds 3, 4 of it and 1 more:" in capsys.readouterr().err
