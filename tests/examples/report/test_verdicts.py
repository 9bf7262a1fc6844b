"""Comparisons of methods in a table, with scores whose answers are known."""

import csv
import itertools
import re

import numpy as np
import pytest
from bert_glue.records.designs import Design
from bert_glue.report import formats, notes, tables, verdicts
from run_records import ADAMW, CWGNC, run


def test_seeds_that_differ_are_compared_unpaired():
    ours = [run("cwgnc", seed, score) for seed, score in enumerate(CWGNC)]
    theirs = [run("adamw", seed + 3, score) for seed, score in enumerate(ADAMW)]
    found = verdicts.compare({("cola", "c"): ours, ("cola", "a"): theirs}, "c")
    assert [each.comparison.test for each in found] == ["welch", "brown-forsythe"]
    assert found[0].comparison.values == (np.mean(CWGNC), np.mean(ADAMW))
    # While runs are under way, the seeds that both have are compared.
    found = verdicts.compare({("cola", "c"): ours, ("cola", "a"): theirs[:4]}, "c")
    assert [each.comparison.test for each in found] == ["paired", "paired"]
    assert found[0].comparison.runs == (4, 4)
    assert found[0].comparison.values == (np.mean(CWGNC[3:]), np.mean(ADAMW[:4]))
    # One run is no sample.
    assert verdicts.compare({("cola", "c"): ours, ("cola", "a"): theirs[:1]}, "c") == ()


def test_a_verdict_says_what_which_way_and_whether_it_is_shown():
    def sentences(first, second):
        runs = {
            ("cola", label): [run(label, *each) for each in enumerate(scores)]
            for label, scores in (("cwgnc", first), ("adamw", second))
        }
        return [str(verdict) for verdict in verdicts.compare(runs, "cwgnc")]

    low = [50.0, 52.0, 51.0, 50.5, 52.5, 51.5, 53.0, 50.0]
    mean, std = sentences([70.0 + n / 8 for n in range(8)], low)
    # 2 / 2^8 of all exchanges are as far apart; twice that for two comparisons.
    assert mean == (
        "On cola, cwgnc has the higher mean, 70.44 against 51.31 of adamw: shown (p = "
        "0.016 corrected for 2 comparisons, 0.0078 alone; paired test of 8 seeds)."
    )
    assert std.startswith(
        "On cola, cwgnc has the smaller standard deviation, 0.2864 against 1.059 of "
    )
    mean, std = sentences(low[:5], [score - 9 for score in low[:5]])
    assert mean == (
        "On cola, cwgnc has the higher mean, 51.2 against 42.2 of adamw: not shown, "
        "chance may be the reason (p = 0.12 corrected for 2 comparisons, 0.062 alone; "
        "paired test of 5 seeds; below 7 seeds it can show nothing; 7 seeds would show "
        "such a difference)."
    )
    assert std.startswith(
        "On cola, cwgnc and adamw have the same standard deviation, 0.9274: not shown "
    )


def test_seeds_past_all_reach_are_not_counted_in_words():
    shifts = [1.0, -1.0, 2.0, -2.0, 3.0, -2.99, 0.0]
    runs = [
        *(run("cwgnc", seed, score) for seed, score in enumerate(CWGNC)),
        *(
            run("adamw", seed, score + shift)
            for seed, (score, shift) in enumerate(zip(CWGNC, shifts, strict=True))
        ),
    ]
    table = tables.build(Design.of_records(runs), runs)
    assert table.verdicts[0].comparison.seeds_needed() > 1_000_000
    (line,) = verdicts.brief_lines(table.verdicts, "cwgnc")
    assert line["higher mean"] == "not shown (p = 1; over 10,000 seeds)"


def test_equal_epochs_are_compared_and_unlike_ones_said():
    def runs_of(method, mean):
        return [run(method, seed, mean + seed) for seed in range(7)]

    runs = [
        *(*runs_of("cwgnc", 60.0), *runs_of("adamw", 50.0)),
        *(*runs_of("cwgnc:epochs=3", 52.0), *runs_of("adamw:epochs=5", 61.0)),
        *(*runs_of("cwgnc:epochs=3:learning_rate=1e-4", 1.0), *runs_of("mosbach", 70)),
    ]
    table = tables.build(Design.of_records(runs), runs)
    assert [
        (each.reference, each.method)
        for each in table.verdicts
        if each.comparison.question == "score"
    ] == [
        ("cwgnc", "adamw"),
        ("cwgnc", "cwgnc:epochs=3"),
        ("cwgnc", "adamw:epochs=5"),
        ("cwgnc", "cwgnc:epochs=3:learning_rate=0.0001"),
        ("cwgnc", "mosbach"),
        # Not the row with another learning rate, nor the 5 epochs once more.
        ("cwgnc:epochs=3", "adamw"),
    ]
    last = table.verdicts[-2].comparison
    assert last.values == (55.0, 53.0)
    assert last.names == ("cwgnc:epochs=3", "adamw")
    assert {each.comparison.comparisons for each in table.verdicts} == {12}
    assert "some with cwgnc:epochs=3 instead, for equal epochs" in notes.outcome(table)
    assert "| cola | adamw / cwgnc:epochs=3 | " in formats.fill("table.md", table=table)
    # The table's CSV has one reference, that of the comparisons has all.
    rows = {
        row["method"]: row
        for row in csv.DictReader(formats.fill("table.csv", table=table).splitlines())
    }
    first = table.verdicts[0].comparison
    assert float(rows["adamw"]["score_p"]) == first.p_value
    lines = list(
        csv.DictReader(formats.fill("comparisons.csv", table=table).splitlines())
    )
    for line, each in zip(lines, table.verdicts, strict=True):
        assert (line["reference"], line["method"]) == (each.reference, each.method)
        assert line["question"] == each.comparison.question
        values = float(line["reference_value"]), float(line["method_value"])
        assert values == each.comparison.values
        assert float(line["p_corrected"]) == each.comparison.p_adjusted
        assert line["better"] == (
            each.comparison.favours if each.comparison.shown else ""
        )
    remarks = " ".join(notes.notes(table))
    assert "epochs (5 of cwgnc, adamw:epochs=5; 3 of adamw, cwgnc:epochs=3," in remarks
    assert (
        "The score of mosbach is the best of 2 evaluations on the examples" in remarks
    )
    alike = [each for each in runs if each["label"] in ("cwgnc", "adamw:epochs=5")]
    remarks = " ".join(notes.notes(tables.build(Design.of_records(alike), alike)))
    assert "epochs" not in remarks
    assert "best of" not in remarks


@pytest.mark.parametrize("name", ["model_fingerprint", "data_fingerprint"])
def test_other_models_and_data_are_not_compared(name):
    changed = {name: "ffffffffffff"}
    runs = [
        *(run("cwgnc", seed, 60.0 + seed) for seed in range(3)),
        *(run("adamw", seed, 50.0 + seed) for seed in range(3)),
        *(run("devlin", seed, 50.0 + seed, **changed) for seed in range(3)),
    ]
    table = tables.build(Design.of_records(runs), runs)
    assert {each.method for each in table.verdicts} == {"adamw"}
    assert any(
        note.startswith("Rows of cola are of several") for note in notes.notes(table)
    )
    assert not any(table.best("cola").values())
    table = tables.build(Design.of_records(runs[:6]), runs)
    assert not any(note.startswith("Rows of cola") for note in notes.notes(table))


def test_a_method_that_always_fails_is_not_the_most_stable():
    scores = {"cwgnc": [60.0, 0.0, 61.0], "adamw": [50.0, 52.0, 54.0]}
    failing = {"devlin": [0.0, -0.01, 0.0], "mixout": [-1.0, 0.0, -1.0]}

    def table_of(scores):
        runs = [
            run(method, seed, score)
            for method, of_method in scores.items()
            for seed, score in enumerate(of_method)
        ]
        return tables.build(Design.of_records(runs), runs)

    def best_of(table):
        best = table.best("cola")
        return [best[name] for name in ("Std", "Mean", "Max")]

    table = table_of(scores | failing)
    assert table.best("cola")["Std"] == {"adamw"}
    failed = [
        note for note in notes.notes(table) if note.startswith("All runs failed of ")
    ]
    assert len(failed) == 1
    assert "of devlin on cola, mixout on cola:" in failed[0]
    # Nor is its spread compared: the means of three methods, the spread of one.
    asked = [(each.method, each.comparison.question) for each in table.verdicts]
    assert asked == [
        *(("adamw", "score"), ("adamw", "spread")),
        *(("devlin", "score"), ("mixout", "score")),
    ]
    assert all(each.comparison.comparisons == 4 for each in table.verdicts)
    answers = {
        line["method"]: line["smaller std"]
        for line in verdicts.brief_lines(table.verdicts, "cwgnc")
    }
    assert answers["devlin"] == answers["mixout"] == "not asked"
    assert answers["adamw"].startswith("not shown (p = ")
    # Nor is any spread compared with that of a reference that always fails.
    reversed_ = table_of(failing | {"adamw": scores["adamw"]})
    assert reversed_.design.reference == "devlin"
    questions = [each.comparison.question for each in reversed_.verdicts]
    assert questions == ["score", "score"]
    # A single run has no spread at all.
    single = table_of(scores | {"mosbach": [90.0]})
    assert best_of(single) == [{"adamw"}, {"adamw"}, {"cwgnc"}]
    (line,) = re.findall(
        "^mosbach .*", formats.fill("table.txt", table=single), re.MULTILINE
    )
    assert line.split()[1:5] == ["1", "-", "90.0", "90.0"]
    # Of one method, or where nothing works, nothing is the best.
    for alone in ({"mosbach": [90.0]}, {"adamw": scores["adamw"]}, failing):
        table_of_it = table_of(alone)
        assert best_of(table_of_it) == [set()] * 3
        text = formats.fill("table.txt", table=table_of_it)
        assert "*" not in text
        assert "best of its column" not in text
    assert "-0.0" not in formats.fill("table.txt", table=table)
    assert not any("All runs failed" in note for note in notes.notes(table_of(scores)))


def test_shares_of_crossed_seeds():
    # Rows add 0, 2, 4, columns 0, 6: variances 8/3 and 9 of 35/3.
    grid = [
        run("cwgnc", init, 50.0 + 2 * init + 6 * data, data_seed=data)
        for init in range(3)
        for data in range(2)
    ]
    shares = verdicts.shares(grid)
    seen = [share for share, _ in shares.values()]
    assert seen == pytest.approx([8 / 35, 27 / 35, 0], abs=1e-12)
    assert verdicts.shares(grid[:-1]) == {}
    remarks = notes.notes(tables.build(Design.of_records(grid), grid))
    # By chance (3 - 1) / 5, (2 - 1) / 5 and the rest.
    text = (
        "of the variance 23% lie between initialisations (40% by chance), 77% between "
        "data orders (20% by chance), 0% in their pairing (40% by chance)."
    )
    assert any(note.endswith(text) for note in remarks)


@pytest.mark.medium
def test_shares_by_chance_are_those_of_scores_in_all_orders():
    seen = [
        verdicts.shares(
            [
                run("cwgnc", init, score, data_seed=data)
                for (init, data), score in zip(
                    itertools.product(range(3), range(2)), scores, strict=True
                )
            ]
        )
        for scores in itertools.permutations([52.7, 69.0, 70.0, 70.5, 71.0, 72.9])
    ]
    means = np.mean([list(shares.values()) for shares in seen], axis=0)
    # The mean over all orders is exact; rounding of scores near 70 is left.
    np.testing.assert_allclose(means[:, 0], means[:, 1], rtol=1e-9)
    np.testing.assert_allclose(means[:, 1], [2 / 5, 1 / 5, 2 / 5], rtol=1e-12)
