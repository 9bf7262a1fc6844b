"""Curves from records: which runs count, what is printed, what is written."""

import io

import numpy as np
import pandas
import pytest
from bert_glue.records.files import RecordsError
from bert_glue.report import curves
from bert_glue.training.seeds import Seed

from cwgnc_jax import stability

RATES = (1e-4, 3e-4, 1e-3)
SEEDS = [Seed(number, number) for number in range(8)]
METHODS = ("cwgnc", "adamw")
# The second method breaks at the highest rate.
MEANS = {"cwgnc": (60, 70, 69), "adamw": (60, 70, 20)}


def records(task="cola", **more):
    rng = np.random.default_rng(1)
    return [
        {
            "run": f"{task}-{method}-{rate:g}-{seed.name}",
            "configuration": f"{method}-{rate:g}",
            "label": f"{method}:learning_rate={rate:g}:epochs=3",
            "method": method,
            "learning_rate": rate,
            "epochs": 3,
            "task": task,
            "metric": "matthews",
            "train_examples": 100,
            "init_seed": seed.init,
            "data_seed": seed.data,
            "score": MEANS[method][RATES.index(rate)] + rng.normal(0, 0.5),
            "failed": method == "adamw" and rate == RATES[-1],
            **more,
        }
        for method in METHODS
        for rate in RATES
        for seed in SEEDS
    ]


def design(*tasks, **more):
    methods = {
        curves.method_of(run, "learning_rate"): run["method"]
        for task in tasks or ("cola",)
        for run in records(task)
    }
    return curves.CurveDesign("learning_rate", methods, tuple(SEEDS), **more)


def build(runs, **more):
    return curves.build(runs, design(**more))


def test_curves_are_those_of_the_records():
    [found] = build(records())
    assert [*found.curves] == ["cwgnc", "adamw"]
    for method, curve in found.curves.items():
        np.testing.assert_allclose(curve.values, RATES)
        np.testing.assert_allclose(curve.means, MEANS[method], atol=1)
        assert curve.scores.shape == (3, 8)
    np.testing.assert_array_equal(found.curves["adamw"].failed_shares, [0, 0, 1])
    expected = stability.stable_range(found.curves["cwgnc"], margin=2)
    assert found.ranges["cwgnc"] == expected


def test_p_values_are_corrected_together():
    [found] = build(records())
    verdict = found.verdicts["adamw"]
    raw = [
        stability.compare_ranges(*found.curves.values(), margin=2, by=by)
        for by in ("width", "low", "high")
    ]
    points = [
        stability.compare_scores(mine, theirs)
        for mine, theirs in zip(
            *(curve.scores for curve in found.curves.values()), strict=True
        )
    ]
    widths, *ends = raw
    adjusted = stability.holm([test.p_value for test in (widths, *points)])
    ours = [verdict.widths.p_adjusted]
    ours += [test.p_adjusted for test in verdict.scores.values()]
    np.testing.assert_allclose(ours, adjusted)
    # Whether ends differ is a question of its own.
    np.testing.assert_allclose(
        [test.p_adjusted for test in verdict.ends],
        stability.holm([test.p_value for test in ends]),
    )
    assert verdict.scores[RATES[-1]].shown
    assert not verdict.scores[RATES[0]].shown


def test_what_is_printed():
    [found] = build(records())
    lines = [*found.lines()]
    assert lines[0] == "cola, Matthews' correlation: mean +- std, failed runs"
    assert lines[1].split() == ["learning", "rate", "cwgnc", "adamw"]
    assert lines[4].startswith("0.001")
    assert lines[4].endswith("8/8")
    text = "\n".join(lines)
    assert "cwgnc: stable from " in text
    assert "to at least 0.001" in text
    assert "that the range of cwgnc is wider is shown (p = " in text
    assert "; that the range of cwgnc ends higher is shown (p = " in text
    assert "shown to score higher: cwgnc at 0.001" in text


@pytest.mark.parametrize("name", ["data_fingerprint", "model_fingerprint"])
def test_runs_on_other_data_or_of_another_model_are_not_compared(name):
    runs = [run | {name: "a"} for run in records()]
    runs += [
        run | {name: "b", "label": "other"} for run in runs if "adamw" in run["run"]
    ]
    found = curves.CurveDesign.of_records(runs, "learning_rate")
    [drawn] = curves.build(runs, found)
    assert [*drawn.curves] == ["cwgnc:epochs=3", "adamw:epochs=3", "other"]
    assert [*drawn.verdicts] == ["adamw:epochs=3"]
    sentence = (
        "not compared with cwgnc:epochs=3, as they have another model, other data or "
        "another metric: other"
    )
    assert sentence in drawn.sentences
    assert sentence in drawn.conclusions
    # Nor does one that is not compared take from those that are.
    alone = curves.build([run for run in runs if run[name] == "a"], found)[0]
    ours, theirs = drawn.verdicts["adamw:epochs=3"], alone.verdicts["adamw:epochs=3"]
    assert ours.widths.p_adjusted == theirs.widths.p_adjusted


def test_other_runs_do_not_count():
    runs = records()
    others = [run | {"epochs": 5, "score": 0.0} for run in runs]
    late = [run | {"init_seed": 99, "data_seed": 99, "score": 0.0} for run in runs]
    [one], [two] = build(runs), build([*runs, *others, *late])
    assert [*one.lines()] == [*two.lines()]
    few = {"asked": ((1e-4, 3), (1e-3, 2))}
    [asked] = build(runs, **few)
    assert asked.curves["cwgnc"].runs.tolist() == [3, 2]
    [some] = build(runs, values=(1e-4, 1e-3))
    assert some.curves["adamw"].runs.tolist() == [8, 8]


def test_a_study_under_way_has_its_curves_so_far():
    missing = [
        run
        for run in records()
        if run["init_seed"] < 3 and run["configuration"] != "adamw-0.0003"
    ]
    [found] = build(missing)
    assert found.curves["cwgnc"].runs.tolist() == [3, 3, 3]
    assert found.curves["adamw"].values.tolist() == [1e-4, 1e-3]
    # Compared where both have been run.
    verdict = found.verdicts["adamw"]
    assert verdict.values == [1e-4, 1e-3]
    assert str(verdict).startswith("over the 2 values that both have: cwgnc works from")
    assert [line.split()[-1] for line in found.lines()][3] == "-"


def test_methods_with_one_value_have_no_range():
    runs = [run for run in records() if run["configuration"] != "adamw-0.0003"]
    one = [run for run in runs if run["configuration"] != "adamw-0.0001"]
    [found] = build(one)
    assert [*found.ranges] == ["cwgnc"]
    assert found.verdicts["adamw"].widths is None
    assert [*found.verdicts["adamw"].scores] == [1e-3]
    text = "\n".join(found.lines())
    assert "adamw: at 0.001 alone" in text
    assert (
        "adamw and cwgnc: too few values and seeds in common to compare ranges" in text
    )
    assert "shown to score higher: cwgnc at 0.001" in text
    pandas.read_csv(io.StringIO(found.csv()))


def test_curves_of_runs_that_there_are():
    runs = records()
    # The same method by another name at one value, and a namesake that is another.
    for run in runs:
        if run["configuration"] == "adamw-0.0003":
            run["label"] = "adamw:learning_rate=0.0003"
    others = [
        run | {"dtype": "bfloat16", "configuration": run["configuration"] + "b"}
        for run in runs
        if run["method"] == "cwgnc"
    ]
    found = curves.CurveDesign.of_records([*runs, *others], "learning_rate")
    assert [*found.methods.values()] == [
        "cwgnc:epochs=3",
        "adamw:epochs=3",
        "cwgnc:epochs=3 (dtype bfloat16)",
    ]
    [drawn] = curves.build([*runs, *others], found)
    assert [len(curve.values) for curve in drawn.curves.values()] == [3, 3, 3]
    assert [*drawn.verdicts] == ["adamw:epochs=3", "cwgnc:epochs=3 (dtype bfloat16)"]


def test_numbers_of_examples():
    runs = [
        run | {"train_examples": count, "data_fingerprint": f"{count}"}
        for count, rate in zip((50, 250, 1000), RATES, strict=True)
        for run in records()
        if run["learning_rate"] == rate
    ]
    for run in runs:
        run["learning_rate"] = 1e-4
        # More examples do no harm.
        run["score"] = {50: 40, 250: 70, 1000: 71}[run["train_examples"]]
        run["failed"] = run["train_examples"] == 50 and run["method"] == "adamw"
    found = curves.CurveDesign.of_records(runs, "max_train_examples")
    [drawn] = curves.build(runs, found)
    text = "\n".join(drawn.lines())
    assert "training examples  cwgnc:learning" in text
    # 69 = 71 - 2 between 40 at 50 examples and 70 at 250.
    start = round(50 * 5 ** (29 / 30), -1)
    assert f"works from {start:g} examples on" in text


def test_numbers_of_examples_are_said_of_each_method():
    runs = [
        run | {"train_examples": count, "learning_rate": 1e-4, "score": count / 50}
        for count, rate in zip((50, 250, 1000), RATES, strict=True)
        for run in records()
        if run["learning_rate"] == rate
    ]
    runs = [run | {"failed": run["train_examples"] == 50} for run in runs]
    found = curves.CurveDesign.of_records(runs, "max_train_examples", margin=16.0)
    [drawn] = curves.build(runs, found)
    [line] = [each for each in drawn.sentences if each.startswith("cwgnc")][:1]
    assert "works from 210 examples on; mean over all values" in line
    assert "octaves" not in line


def test_the_least_p_value_is_far_below_the_level_whatever_it_is_corrected_for():
    rng = np.random.default_rng(0)
    values, seeds = 10.0 ** np.arange(-6, 6), 25
    wide = np.where(np.arange(12) < 10, 70.0, 20.0)
    narrow = np.where(np.arange(12) < 3, 70.0, 20.0)

    def curve(means):
        scores = means[:, None] + rng.normal(0, 0.5, (12, seeds))
        return stability.Curve(values, scores, np.zeros(scores.shape, bool))

    made = {f"method {number}": curve(narrow) for number in range(4)}
    made = {"cwgnc": curve(wide), **made}
    asked = design(correction=16.0, looks=1)
    found = curves.judge("cola", "accuracy", made, asked)
    # 52 comparisons at the first of four looks.
    for verdict in found.verdicts.values():
        assert verdict.widths.shown
        assert verdict.scores[values[5]].shown


def test_looks_make_p_values_larger():
    [once], [often] = build(records()), build(records(), correction=2.0, looks=3)
    one, two = (found.verdicts["adamw"].widths for found in (once, often))
    assert two.p_adjusted == pytest.approx(min(1, 2 * one.p_adjusted))
    assert "p-values allow for 3 looks at the results" in "\n".join(often.lines())


def test_values_without_seeds_in_common_are_said_to_be_left_out():
    def kept(run):
        # At the lowest rate one has the first seed, the other the rest.
        is_first = run["method"] == "cwgnc"
        return run["learning_rate"] != RATES[0] or (run["init_seed"] == 0) == is_first

    [found] = build(list(filter(kept, records())))
    verdict = found.verdicts["adamw"]
    assert verdict.values == [*RATES[1:]]
    assert str(verdict).startswith("over the 2 values that both have: by the runs")
    lacking = [
        run for run in records() if (run["init_seed"] < 4) == (run["method"] == "cwgnc")
    ]
    [found] = build(lacking)
    assert "too few values and seeds in common" in "\n".join(found.sentences)


def test_designs_of_an_older_version_are_read():
    saved = design().to_json()
    for name in ("asked", "values", "looks"):
        del saved[name]
    assert curves.CurveDesign.from_json(saved) == design()


def test_designs_are_kept():
    for kept in (design(), design(asked=((1e-4, 3),), looks=2)):
        assert curves.CurveDesign.from_json(kept.to_json()) == kept
    with pytest.raises(RecordsError, match="a curve in config"):
        curves.CurveDesign.from_json({"setting": "learning_rate"})


def test_any_method_may_be_the_reference():
    [found] = build(records(), reference="adamw")
    assert [*found.curves] == ["adamw", "cwgnc"]
    assert [*found.verdicts] == ["cwgnc"]
    with pytest.raises(ValueError, match="the reference is 'sgd'; accepted are cwgnc"):
        design(reference="sgd")


def test_a_figure_has_a_text_in_its_place():
    [found] = build(records())
    assert "share of failed runs on cola over learning rate" in found.alternative
    assert "that the range of cwgnc is wider is shown" in found.alternative


def test_many_methods_are_concluded_in_few_words():
    rates = (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3)
    noise = np.random.default_rng(3).normal(0, 0.2, (6, len(rates), 12))
    stable = {  # at which rates
        "cwgnc": (2, 4),
        "same": (2, 4),
        "alike": (2, 4),
        "lower": (1, 3),
        "narrow": (3, 3),
        "none": (9, 9),
    }
    found = curves.judge(
        "cola",
        "accuracy",
        {
            name: stability.Curve(rates, 70 + each, failed)
            for (name, (low, high)), each in zip(stable.items(), noise, strict=True)
            for at in [np.arange(len(rates))[:, None]]
            for failed in [np.broadcast_to((at < low) | (at > high), each.shape)]
        },
        curves.CurveDesign("learning_rate", {name: name for name in stable}),
    )
    narrow, none, rest, *ends = found.conclusions
    assert "narrow works from" in narrow
    assert "that the range of cwgnc is wider is shown" in narrow
    assert "none has no stable value; that the range of cwgnc is wider is sho" in none
    assert rest.startswith("that the range of cwgnc (from 0.00037 to 0.0017) is wider,")
    assert "not shown beside same (from 0.00037 to 0.0017), alike (from" in rest
    assert rest.endswith("lower (from 0.00019 to 0.00086)")
    assert ends == [
        "shown to begin lower than cwgnc: lower; shown to begin higher than cwgnc: "
        "narrow",
        "shown to end lower than cwgnc: lower, narrow",
    ]


def test_tasks_have_curves_of_their_own():
    both = [*records(), *records("rte")]
    assert [found.task for found in curves.build(both, design("cola", "rte"))] == [
        "cola",
        "rte",
    ]


def test_the_table_of_numbers():
    [found] = build(records())
    table = pandas.read_csv(io.StringIO(found.csv()))
    assert len(table) == 6
    assert table["value"].tolist() == [*RATES, *RATES]
    np.testing.assert_allclose(table["mean"][:3], found.curves["cwgnc"].means)
    assert table["failed"].tolist() == [0, 0, 0, 0, 0, 1]
    assert table["stable_high"][0] == pytest.approx(1e-3)
    low = stability.wilson_interval(8, 8).low
    assert table["failed_low"].tolist()[-1] == pytest.approx(low)
