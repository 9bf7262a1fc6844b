"""The curve of stability from its command line to its files."""

import contextlib
import io
import json
import pathlib
import re

import finetune_glue
import numpy as np
import pandas
import pytest
import reproduce_tables
import stability_curve
import tiny_bert
from bert_glue.records import locks
from fake_training import kill_after, replace_training

pytestmark = pytest.mark.usefixtures("kept_programs")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 40, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 21, seed=1)
    return [
        *("--model", str(model), "--train-file", train, "--eval-file", dev),
        *("--epochs", "1", "--batch-size", "8", "--seeds", "2"),
    ]


def score(configuration, seed):
    """One method works up to 1e-3, the other two octaves further."""
    recipe = configuration.recipe
    high = 4e-3 if recipe.name == "cwgnc" else 1e-3
    above = max(0.0, np.log2(recipe.learning_rate / high))
    enough = len(configuration.subject.train.lengths) >= 20
    rng = np.random.default_rng([*configuration.run(seed).encode()])
    return (80 if enough else 60) - 12 * above + rng.normal(0, 1)


@pytest.fixture
def done(monkeypatch):
    return replace_training(monkeypatch, score)


def run(options, folder, *more):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        arguments = [*options, "--output-dir", str(folder), *more]
        assert stability_curve.main(arguments) == 0
    return printed.getvalue()


@pytest.mark.slow
def test_a_curve_and_a_finer_one_in_the_same_folder(options, tmp_path, compiled):
    printed = run(options, tmp_path, "--over", "learning_rate=1e-4..1e-2:3")
    assert "custom, accuracy: mean +- std, failed runs" in printed
    assert "at no value a difference of their scores is shown" in printed
    records = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(records) == 2 * 3 * 2
    # Learning rates are numbers: each method is one program, whatever they are.
    assert sum("_train_steps" in name for name in compiled) == 2
    finer = run(options, tmp_path, "--over", "learning_rate=0.0001,0.001,0.003,0.01")
    assert "12 of 16 runs are recorded, 4 missing" in finer
    records = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(records) == 2 * 4 * 2
    assert len({json.loads(line)["run"] for line in records}) == len(records)
    table = pandas.read_csv(tmp_path / "curve_custom.csv")
    assert table["method"].tolist() == ["cwgnc"] * 4 + ["adamw"] * 4
    assert table["value"].tolist() == [0.0001, 0.001, 0.003, 0.01] * 2
    assert table["runs"].tolist() == [2] * 8
    assert (tmp_path / "curve_custom.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "curve_custom.svg").read_text()


_GRID = ("--over", "learning_rate=1e-4..1.28e-2:8")


def test_a_line_is_said_of_each_method_before(options, tmp_path, done):
    said = run(options, tmp_path, *_GRID).partition("custom, accuracy: mean")[0]
    assert len(said.splitlines()) < 12
    [line] = re.findall("^cwgnc: .*", said, re.M)
    assert ", learning rate 0.0001, 0.0002, 0.0004, 0.0008, 0.0016, " in line
    # Of the ranges and of the scores at eight values.
    assert (
        "9 comparisons with cwgnc (of widths and of means at 8 values) take 9" in said
    )
    # Ends are corrected on their own, so that fewer seeds can show them.
    assert "2 comparisons with cwgnc (of ends of ranges) take 7 seeds" in said
    assert len(done) == 2 * 2 * 8


def test_any_method_may_be_what_others_are_compared_with(
    options, tmp_path, monkeypatch, done, capsys
):
    chosen = (*_GRID[:1], "learning_rate=1e-3,4e-3,8e-3", "--held-out", "0.2")
    more = ("--reference", "adamw", "--then-run", "3")
    said = run(options, tmp_path / "rates", *chosen, *more)
    assert "that the range of cwgnc is wider" in said
    assert said.index("adamw: stable") < said.index("cwgnc: stable")
    assert "with adamw:learning_rate=" in said[said.index("chosen on") :]
    # Numbers of examples are rows of their own, too.
    grid = ("--over", "max_train_examples=10,20,40", "--learning-rate", "1e-3")
    said = run(options, tmp_path / "counts", *grid, "--reference", "adamw")
    assert said.index("adamw: works") < said.index("cwgnc: works")
    with pytest.raises(SystemExit):
        stability_curve.main([*options, *_GRID, "--reference", "mixout"])
    assert "accepted are cwgnc, adamw" in capsys.readouterr().err
    # What was chosen is in its table, and on no curve.
    over = ("--report-only", "--over", "learning_rate", "--reference", "adamw")
    again = run([], tmp_path / "rates", *over)
    assert "cwgnc: stable" in again
    assert "alone" not in again
    assert "held out" not in again
    # Nor what was chosen earlier; but what is asked for is on a curve.
    more = (*_GRID[:1], "learning_rate=1.6e-2,3.2e-2", "--then-run", "3")
    run(options, tmp_path / "rates", *more, "--held-out", "0.2")
    again = run([], tmp_path / "rates", *over)
    assert "held out" not in again
    asked = (*_GRID[:1], "learning_rate=1e-3,4e-3,8e-3")
    run(options, tmp_path / "rates", *asked)
    again = run([], tmp_path / "rates", "--report-only", "--over", "learning_rate")
    assert "held out" in again


def test_a_budget_keeps_its_grid(options, tmp_path, monkeypatch, capsys):
    options = options[:-2]
    arguments = [*options, "--runs", "130", "--output-dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        kill_after(patch, 23, score)
        assert stability_curve.main([*arguments, *_GRID]) == 130
    done = replace_training(monkeypatch, score)
    other = ("--over", "learning_rate=2e-4..6e-3:6")
    config = (tmp_path / "config.json").read_bytes()
    with pytest.raises(SystemExit):
        stability_curve.main([*arguments, *other])
    text = capsys.readouterr().err
    assert "at which this study was begun, learning_rate=0.0001,0.0004," in text
    assert done == []
    assert (tmp_path / "config.json").read_bytes() == config
    # More values around the same do no harm.
    wider = (
        "--over",
        "learning_rate=1e-4,2e-4,4e-4,8e-4,1.6e-3,3.2e-3,6.4e-3,1.28e-2,1",
    )
    assert stability_curve.main([*arguments, *wider]) == 0
    assert done


def test_why_there_are_no_curves_is_said(options, tmp_path, done):
    said = run(options[:-2], tmp_path, *_GRID, "--runs", "2")
    assert "no curves: no method has runs at two values of learning_rate" in said


def test_classes_may_have_dollars_in_their_names(options, tmp_path, done):
    mine = []
    for name, count in (("train", 40), ("eval", 21)):
        path = pathlib.Path(tiny_bert.write_tsv(tmp_path / name, count, seed=0))
        table = pandas.read_csv(path, sep="\t")
        labels = sorted(table["label"].unique())
        table["label"] = table["label"].map(dict(zip(labels, ("$", "$$"), strict=True)))
        table.to_csv(path, sep="\t", index=False)
        mine += [f"--{name}-file", str(path)]
    grid = ("--over", "learning_rate=1e-3,4e-3", "--metric", "f1")
    run([*options[:2], *mine, *options[6:]], tmp_path / "runs", *grid)
    assert "F1 of the class $$" in (tmp_path / "runs" / "index.html").read_text()
    # Of two classes in one folder the names are in those of the methods.
    mine += ["--positive-class", "$"]
    run([*options[:2], *mine, *options[6:]], tmp_path / "runs", *grid)
    over = ("--report-only", "--over", "learning_rate")
    drawn = run([], tmp_path / "runs", *over)
    assert "positive class $" in drawn
    again = ["--report-only", "--table", "runs", "--output-dir", str(tmp_path / "runs")]
    assert reproduce_tables.main(again) == 0


def test_more_layers_drawn_anew_than_there_are(options, tmp_path, done, capsys):
    more = ("--over", "reinit_layers=1,3", "--output-dir", str(tmp_path))
    with pytest.raises(SystemExit):
        stability_curve.main([*options, *more])
    text = capsys.readouterr().err
    assert "reinit_layers is 3 in the method cwgnc; accepted is 0 to 2" in text
    assert done == []


@pytest.mark.medium
def test_the_page_has_the_curve_with_a_text_in_its_place(options, tmp_path, done):
    run(options, tmp_path, *_GRID)
    page = (tmp_path / "index.html").read_text()
    assert "<h2>custom over learning rate</h2>" in page
    [image] = re.findall("<img .*?>", page)
    assert 'src="data:image/svg+xml;base64,' in image
    assert (
        'alt="accuracy and share of failed runs on custom over learning rate' in image
    )
    assert '<th scope="row">0.0128</th>' in page
    assert "adamw: stable from" in page
    # What another script makes of the folder keeps it.
    again = ["--report-only", "--table", "runs", "--output-dir", str(tmp_path)]
    assert reproduce_tables.main(again) == 0
    page = (tmp_path / "index.html").read_text()
    assert "<h2>custom over learning rate</h2>" in page
    assert "<h2>Runs</h2>" in page


def test_curves_of_another_scripts_runs(options, tmp_path, done, capsys):
    methods = "cwgnc:learning_rate=1e-3,cwgnc:learning_rate=4e-3"
    methods += ",adamw:learning_rate=1e-3,adamw:learning_rate=4e-3"
    methods += ",adamw:clipping=none:learning_rate=4e-3"
    arguments = [*options, "--method", methods, "--output-dir", str(tmp_path)]
    assert finetune_glue.main(arguments) == 0
    recorded = (tmp_path / "runs.jsonl").read_bytes()
    drawn = run([], tmp_path, "--report-only", "--over", "learning_rate")
    assert "cwgnc: stable from at most 0.001" in drawn
    assert "adamw:clipping=none: at 0.004 alone" in drawn
    assert (tmp_path / "runs.jsonl").read_bytes() == recorded
    # Without a name it is all curves that there are, at all their values.
    assert run([], tmp_path, "--report-only").startswith(drawn[:40])
    # One of two values is no curve.
    arguments = ["--report-only", "--over", "learning_rate=1e-3,9"]
    with pytest.raises(SystemExit):
        stability_curve.main([*arguments, "--output-dir", str(tmp_path)])
    assert "no runs of one method at several values" in capsys.readouterr().err


@pytest.mark.medium
def test_a_budget_killed_goes_on_where_it_was(options, tmp_path, monkeypatch, done):
    options = options[:-2]  # without seeds, which the budget chooses
    budget = (*_GRID, "--runs", "130")
    said = run(options, tmp_path / "whole", *budget)
    assert "at most 130 runs in all" in said
    assert re.search(r"p-values allow for \d looks? at the results", said)
    assert "that the range of cwgnc is wider among the values tried is shown" in said
    whole = sorted(done)
    assert 40 <= len(whole) <= 130
    per_value = pandas.read_csv(tmp_path / "whole" / "curve_custom.csv")["runs"]
    assert max(per_value) > 2 * min(per_value)

    with monkeypatch.context() as patch:
        first = kill_after(patch, 21, score)
        arguments = [*options, *budget, "--output-dir", str(tmp_path / "broken")]
        assert stability_curve.main(arguments) == 130
    rest = replace_training(monkeypatch, score)
    again = run(options, tmp_path / "broken", *budget)
    assert sorted(first + rest) == whole
    assert [line for line in again.splitlines() if "wider is shown" in line] == [
        line for line in said.splitlines() if "wider is shown" in line
    ]
    # All is done: nothing more is run, and the verdict stays.
    rest.clear()
    assert "had its last look before" in run(options, tmp_path / "broken", *budget)
    assert rest == []


@pytest.mark.medium
def test_looks_are_allowed_for_whatever_is_asked_later(options, tmp_path, done):
    options = options[:-2]  # without seeds, which the budget chooses
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    said = run(options, whole, *_GRID, "--runs", "130")
    [looks] = re.findall("p-values allow for .*", said)

    def curves_of(printed):
        lines = printed[printed.index("custom, accuracy: mean") :].splitlines()
        return [line for line in lines if not line.startswith(str(tmp_path))]

    # Drawn again, and of a study that was stopped before it drew any.
    config = json.loads((whole / "config.json").read_text())
    broken.mkdir()
    (broken / "runs.jsonl").write_bytes((whole / "runs.jsonl").read_bytes())
    (broken / "config.json").write_text(json.dumps(config | {"curves": {}}))
    over = ("--report-only", "--over", "learning_rate")
    for folder in (whole, broken):
        again = curves_of(run([], folder, *over))
        assert again == curves_of(said)
    # Asked as if there had been none.
    done.clear()
    for folder in (whole, broken):
        assert looks in run(options, folder, *_GRID, "--seeds", "4")
        values = ("--report-only", "--over", "learning_rate=1e-4,4e-4,1.6e-3,6.4e-3")
        assert looks in run([], folder, *values)
        # Others' looks are said, at least.
        said = run(options, folder, *_GRID, "--seeds", "4", "--method", "cwgnc,llrd")
        assert "do not allow for" in said
        assert "at results of other studies in this folder" in said


@pytest.mark.medium
def test_the_best_of_each_method_on_other_examples_by_fresh_seeds(
    options, tmp_path, done
):
    more = ("--held-out", "0.2", "--seeds", "3", *_GRID)
    said = run(options, tmp_path, *more, "--then-run", "8")
    assert "chosen on examples held out: cwgnc:learning_rate=" in said
    assert "by the seeds 3 to 10" in said
    assert "Chosen settings" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "table_chosen.csv").exists()
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    runs = [json.loads(line) for line in lines]
    chosen = [line for line in runs if "held_out" not in line]
    assert len(chosen) == 2 * 8
    assert {line["init_seed"] for line in chosen} == {*range(3, 11)}
    assert {line["init_seed"] for line in runs if "held_out" in line} == {0, 1, 2}
    # 40 examples, of which a fifth is held out first, and 21 others.
    assert {(line["train_examples"], line["eval_examples"]) for line in runs} == {
        (32, 8),
        (40, 21),
    }


@pytest.mark.medium
def test_numbers_of_examples(options, tmp_path, done):
    grid = ("--over", "max_train_examples=10,20,40", "--learning-rate", "1e-3")
    said = run(options, tmp_path, *grid)
    assert "of the examples to train on 10, 20 or 40, always the same" in said
    assert re.search(r"cwgnc works from \d+ examples on, adamw works from", said)
    table = pandas.read_csv(tmp_path / "curve_custom.csv")
    assert table["value"].tolist() == [10, 20, 40] * 2
    assert {*table["setting"]} == {"max_train_examples"}
    # Another setting's curves in the same folder leave these files alone.
    run(options, tmp_path, "--over", "learning_rate=1e-3,2e-3")
    other = pandas.read_csv(tmp_path / "curve_custom_learning_rate.csv")
    assert {*other["setting"]} == {"learning_rate"}
    assert pandas.read_csv(tmp_path / "curve_custom.csv").equals(table)


@pytest.mark.medium
def test_numbers_of_examples_of_other_data(options, tmp_path, done, capsys):
    other = tiny_bert.write_tsv(tmp_path / "other.tsv", 40, seed=5)
    grid = ("--over", "max_train_examples=20,40", "--learning-rate", "1e-3")
    of_these = [*options[:2], "--train-file", other, *options[4:]]
    folder = tmp_path / "runs"

    def table(options):
        return re.search(r"custom, accuracy: (.*\n){3}", run(options, folder, *grid))[0]

    mine = table(options)
    assert table(of_these) != mine
    assert len(done) == 2 * 2 * 4
    # What is recorded of mine is drawn again, not what came after it.
    assert table(options) == mine
    arguments = ["--report-only", "--over", grid[1].partition("=")[0]]
    with pytest.raises(SystemExit):
        stability_curve.main([*arguments, "--output-dir", str(folder)])
    assert (
        "examples of several data, which no curve can tell" in capsys.readouterr().err
    )
    # What was drawn of one of them keeps no other curve from being drawn.
    run(of_these, folder, "--over", "learning_rate=1e-3,4e-3")
    said = run([], folder, "--report-only")
    assert "note: there are runs of cwgnc with 20 examples of several data" in said
    assert re.search(r"^cwgnc \(data fingerprint .*\): stable from", said, re.M)
    assert (
        "<h2>custom over training examples</h2>" in (folder / "index.html").read_text()
    )


@pytest.mark.medium
def test_what_was_drawn_of_some_data_stays_of_these(options, tmp_path, done):
    other = tiny_bert.write_tsv(tmp_path / "other.tsv", 40, seed=5)
    grid = ("--over", "max_train_examples=20,40", "--learning-rate", "1e-3")
    run(options, tmp_path / "runs", *grid)
    report = ("--report-only", "--over", "max_train_examples")
    drawn = run([], tmp_path / "runs", *report)
    of_these = [*options[:2], "--train-file", other, *options[4:]]
    run(of_these, tmp_path / "runs", "--over", "learning_rate=1e-3,4e-3")
    page = (tmp_path / "runs" / "index.html").read_text()
    [best] = re.findall(r"cwgnc: works .*", drawn)
    assert best in page


@pytest.mark.medium
def test_a_report_asks_what_was_asked_before(options, tmp_path, done):
    asked = ("--margin", "9", "--most-failed", "0.2", "--reference", "adamw")
    said = run(options, tmp_path, *_GRID, *asked)
    assert said.index("adamw: stable") < said.index("cwgnc: stable")

    def curve():
        return json.loads((tmp_path / "config.json").read_text())["curves"]

    before = curve()["learning_rate"]
    again = run([], tmp_path, "--report-only")
    assert again[: again.index(str(tmp_path))] in said
    after = curve()["learning_rate"]
    names = ("margin", "most_failed", "reference")
    assert [after[name] for name in names] == [before[name] for name in names]
    assert [after[name] for name in names] == [9, 0.2, "adamw"]
    run([], tmp_path, "--report-only", "--margin", "3", "--reference", "cwgnc")
    assert [curve()["learning_rate"][name] for name in names] == [3, 0.2, "cwgnc"]


@pytest.mark.medium
def test_a_budget_over_more_examples_than_there_are(options, tmp_path, monkeypatch):
    grid = ("--over", "max_train_examples=8,12,16,24,32,100", "--learning-rate", "1e-3")
    arguments = [*options[:-2], *grid, "--runs", "60", "--output-dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        kill_after(patch, 21, score)
        assert stability_curve.main(arguments) == 130
    done = replace_training(monkeypatch, score)
    assert stability_curve.main(arguments) == 0
    assert done
    # What the directory has no runs of is said.
    over = ("--report-only", "--over", "max_train_examples=8,12,100")
    assert "note: no runs at max_train_examples 100" in run([], tmp_path, *over)


@pytest.mark.medium
def test_what_was_chosen_is_on_no_curve_of_other_runs(options, tmp_path, done):
    grid = ("--over", "learning_rate=1e-3,4e-3,8e-3")
    run(options, tmp_path, *grid)
    drawn = pandas.read_csv(tmp_path / "curve_custom.csv")
    held_out = ("--held-out", "0.2", "--then-run", "4")
    run(options, tmp_path, "--over", "learning_rate=2e-3,3e-3", *held_out)
    run([], tmp_path, "--report-only")
    again = pandas.read_csv(tmp_path / "curve_custom.csv")
    evaluated = again[~again["method"].str.contains("held out")]
    assert evaluated["runs"].tolist() == drawn["runs"].tolist()
    assert evaluated["value"].tolist() == drawn["value"].tolist()


def test_what_is_to_be_reported_on_must_be_there(options, tmp_path, done, capsys):
    without = [*options[:4], *options[6:], "--output-dir", str(tmp_path)]
    with pytest.raises(SystemExit):
        stability_curve.main([*without, "--held-out", "0.25", "--then-run", "3"])
    said = capsys.readouterr().err
    assert "beside --train-file there is nothing to score; --eval-share 0.2" in said
    assert done == []


_SEARCH = (
    *("--sampler", "optuna", "--over", "learning_rate=1e-4..1e-1"),
    *("--over", "epochs=1,5", "--runs", "40", "--seeds", "3", "--method", "cwgnc"),
    *("--held-out", "0.2"),
)


def search_score(configuration, seed):
    recipe = configuration.recipe
    off = abs(np.log2(recipe.learning_rate / 2e-3)) + abs(recipe.epochs - 3)
    return 90 - 4 * off + seed.init


@pytest.mark.medium
def test_several_numbers_at_once(options, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    options = [*options[:6], "--batch-size", "8", "--then-run", "8"]
    with monkeypatch.context() as patch:
        first = kill_after(patch, 12, search_score)
        arguments = [*options, *_SEARCH, "--output-dir", str(tmp_path)]
        assert stability_curve.main(arguments) == 130
    rest = replace_training(monkeypatch, search_score)
    said = run(options, tmp_path, *_SEARCH)
    [best] = re.findall(r"^cwgnc: best of .*", said, re.M)
    rate, epochs = re.search(r"learning rate (\S+), epochs (\d)", best).groups()
    assert 5e-4 < float(rate) < 8e-3
    assert 2 <= int(epochs) <= 4
    chosen = 8
    searched = len(first) + len(rest) - chosen
    # The last trial may go on for all its seeds.
    assert 40 <= searched < 40 + 3
    assert len({*first, *rest}) == len(first) + len(rest)
    # Some trials were not worth all seeds.
    trials, whole = re.search(r"best of (\d+) trials, (\d+) of them", best).groups()
    assert int(whole) < int(trials)
    assert "by the seeds 3 to 10" in said
    assert (tmp_path / "optuna.log").exists()
    # Of other ranges, or by other seeds, it is another search.
    more = [*_SEARCH[:2], "--over", "learning_rate=1e-3..2e-3", *_SEARCH[4:]]
    [best] = re.findall(r"^cwgnc: best of .*", run(options, tmp_path, *more), re.M)
    assert 1e-3 <= float(re.search(r"learning rate (\S+), ", best)[1]) <= 2e-3


@pytest.mark.medium
def test_a_search_passes_over_what_is_not_accepted(
    options, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("optuna")
    done = replace_training(monkeypatch, lambda configuration, seed: 50.0)
    options = [*options[:4], "--held-out", "0.2", "--sampler", "optuna", "--seeds", "1"]
    sizes = ("--over", "batch_size=2..32", "--method", "cwgnc", "--runs", "6")
    said = run(options, tmp_path, *sizes, "--accumulate", "2")
    assert "cwgnc: best of" in said
    assert 3 <= len(done) <= 6
    # Of those that are, there are two among seventeen.
    done.clear()
    sizes = ("--over", "batch_size=16..32", "--method", "cwgnc", "--runs", "6")
    run(options, tmp_path / "rare", *sizes, "--accumulate", "16")
    assert done
    monkeypatch.setattr("bert_glue.cli.search._MOST_REFUSED", 1)
    arguments = [*options, *sizes[:-1], "1", "--accumulate", "16"]
    assert stability_curve.main([*arguments, "--output-dir", f"{tmp_path}/none"]) == 1
    said = capsys.readouterr().err
    assert "no values that were drawn go together; the last ones: accumulate is" in said
    arguments = [*options, "--output-dir", str(tmp_path), "--runs", "6"]
    for refused, message in (
        (("--over", "batch_size=8..99", "--method", "cwgnc"), "there are 32 examples"),
        (("--over", "max_norm=0.1..1", "--method", "no-clipping"), "has no effect"),
    ):
        with pytest.raises(SystemExit):
            stability_curve.main([*arguments, *refused])
        assert message in capsys.readouterr().err
    lock = locks.exclusive(tmp_path / "optuna.log.running")
    with lock.acquire(timeout=0):
        assert stability_curve.main([*arguments, *sizes[:4]]) == 1
    assert "another process searches in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sampler", "optuna"], "--sampler optuna takes --runs N, and no --minutes"),
        (["--sampler", "optuna", "--runs", "9"], "it needs --held-out, such as"),
        (
            ["--sampler", "optuna", "--runs", "9", "--distributed"],
            "searches in one process; leave out --distributed",
        ),
        (
            ["--over", "learning_rate=1,2", "--over", "epochs=1,2"],
            "several numbers take --sampler optuna",
        ),
        (
            [
                "--over",
                "max_train_examples=9,19",
                "--then-run",
                "3",
                "--held-out",
                ".2",
            ],
            "--then-run chooses a setting",
        ),
        (["--report-only", "--sampler", "optuna"], "leave out --sampler"),
        (["--over", "learning_rate"], "learning_rate without values; it needs some"),
        (["--then-run", "3"], "it needs --held-out, such as"),
        (["--runs", "9", "--minutes", "3"], "two budgets; give one"),
        (["--minutes", "0"], "give one, above 0"),
        (["--runs", "1"], "--runs is 1: not one for each of 2 methods"),
        (["--runs", "9", "--seeds", "3"], "which seeds run where; leave out --seeds"),
        (
            ["--over", "max_train_examples=9,19", "--max-train-examples", "9"],
            "leave out --max-train-examples",
        ),
        (["--over", "speed=1,2"], "accepted are values of max_norm, learning_rate"),
        (["--over", "learning_rate=1"], "two values above 0 at least"),
        (
            [*_SEARCH[:4], *_SEARCH[2:4], "--runs", "9", "--held-out", "0.2"],
            "learning_rate is what --over varies, but another option sets it",
        ),
        *(
            (["--over", grid], "accepted is learning_rate=LOW..HIGH:COUNT")
            for grid in (
                "learning_rate=3..1:4",
                "learning_rate=a..b",
                "learning_rate=1e-5..",
                "learning_rate=1e-5..1e-3:x",
            )
        ),
        (["--over", "max_norm=0.01,inf"], "two values above 0 at least, all finite"),
        (["--margin", "0"], "accepted is a number above 0"),
        (["--most-failed", "1.5"], "accepted is a number of at least 0 and at most 1"),
        (["--learning-rate", "1e-3"], "learning_rate is what --over varies"),
        (["--method", "cwgnc:learning_rate=1e-3"], "sets learning_rate, which --over"),
    ],
)
def test_what_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        stability_curve.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
