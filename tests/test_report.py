"""Tables and page from records, read back and compared with NumPy and by hand."""

import csv
import dataclasses
import html.parser
import itertools
import pathlib
import re

import numpy as np
import pytest
from bert_glue import (
    charts,
    config,
    formats,
    merging,
    paper,
    plots,
    report,
    summaries,
    tables,
    verdicts,
)
from bert_glue.designs import Design
from bert_glue.records import RecordsError, RunRecords, read_only
from run_records import run

CWGNC = [62.0, 61.0, 63.5, 62.4, 60.9, 62.2, 61.7]
ADAMW = [59.0, 0.0, 63.9, 58.2, 57.0, 61.0, -2.5]
MRPC = {"cwgnc": [90.0, 91.0, 90.5], "adamw": [89.0, 81.2, 91.04]}

RUNS = [
    *(run("cwgnc", seed, score) for seed, score in enumerate(CWGNC)),
    *(run("adamw", seed, score) for seed, score in enumerate(ADAMW[:-1])),
    run("adamw", 6, ADAMW[-1], diverged_at=137),
    *(
        run(method, seed, score, task="mrpc", model="models/<b>tiny & small</b>")
        for method, scores in MRPC.items()
        for seed, score in enumerate(scores)
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    records = RunRecords(tmp_path_factory.mktemp("report"))
    records.append(RUNS)
    command = {"command": "x.py --method '<i>'", "commit": "abc+", "versions": {"a": 1}}
    config.change(records, lambda content: content["commands"].append(command))
    found = report.read(records)
    paths = report.write(records, found)
    assert [path.name for path in paths] == [
        *("table.md", "table.tex", "table.csv", "index.html"),
    ]
    return records.folder


@pytest.fixture(scope="module")
def table():
    return tables.build(Design.of_records(RUNS), RUNS)


def expected(scores):
    return np.std(scores), np.mean(scores), np.max(scores)


def test_csv_holds_the_numbers_unrounded(folder):
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [(row["task"], row["method"]) for row in rows] == [
        *(("cola", "cwgnc"), ("cola", "adamw"), ("mrpc", "cwgnc"), ("mrpc", "adamw")),
    ]
    scores = [CWGNC, ADAMW, MRPC["cwgnc"], MRPC["adamw"]]
    for row, of_row in zip(rows, scores, strict=True):
        numbers = [float(row[name]) for name in ("std", "mean", "max")]
        assert numbers == pytest.approx(expected(of_row), rel=1e-12)
        assert float(row["min"]) == min(of_row)
        assert int(row["runs"]) == len(of_row)
    # Majority rule: scores of 0 and below, and the run that diverged.
    assert [row["failed"] for row in rows] == ["0", "2", "0", "1"]
    # MRPC's released threshold lies below the majority classifier.
    assert [row["failed_released"] for row in rows] == ["0", "2", "0", "0"]
    assert [row["diverged"] for row in rows] == ["0", "1", "0", "0"]
    # Wilson's interval of 2 of 7 by its formula, z = 1.959964.
    z, share, n = 1.959963984540054, 2 / 7, 7
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    ends = [float(rows[1][f"failure_rate_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx([center - half, center + half], rel=1e-9)
    # Three runs say nothing about their spread.
    assert rows[2]["std_low"] == rows[2]["std_high"] == ""
    assert [row["paper_mean"] for row in rows] == ["62.2", "59.2", "", ""]


def exchanges_p_value(differences):
    means = [
        abs(np.mean(np.multiply(signs, differences)))
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    # Equal but for rounding is equal.
    return np.mean(np.array(means) >= abs(np.mean(differences)) - 1e-9)


def test_comparisons_are_paired_and_corrected_together(folder):
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))

    def far(scores):
        return np.abs(np.array(scores) - np.median(scores))

    p_values = [
        exchanges_p_value(np.subtract(CWGNC, ADAMW)),
        exchanges_p_value(far(ADAMW) - far(CWGNC)),
        exchanges_p_value(np.subtract(MRPC["cwgnc"], MRPC["adamw"])),
        exchanges_p_value(far(MRPC["adamw"]) - far(MRPC["cwgnc"])),
    ]
    answers = [rows[1], rows[3]]
    found = [
        float(row[f"{question}_p"])
        for row in answers
        for question in ("score", "spread")
    ]
    assert found == pytest.approx(p_values, rel=1e-9)
    # Holm's correction by hand: times 4, 3, 2, 1, never below the one before.
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(np.array([4, 3, 2, 1]) * np.sort(p_values))
    corrected = dict(zip(order.tolist(), np.minimum(stepped, 1), strict=True))
    found = [
        float(row[f"{question}_p_corrected"])
        for row in answers
        for question in ("score", "spread")
    ]
    assert found == pytest.approx([corrected[place] for place in range(4)], rel=1e-9)
    assert [row["score_test"] for row in answers] == ["paired", "paired"]
    # The reference is not compared with itself.
    assert rows[0]["score_p"] == rows[0]["spread_shown"] == ""


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_markdown_round_trip(folder):
    text = (folder / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    head, rows = cells_of(lines[0]), [cells_of(line) for line in lines[2:4]]
    assert head == [
        "method",
        *(f"{task} {name}" for task in ("cola", "mrpc") for name in tables.COLUMNS),
    ]
    scores = [(CWGNC, MRPC["cwgnc"]), (ADAMW, MRPC["adamw"])]
    for row, of_row in zip(rows, scores, strict=True):
        printed = [f"{x:.1f}" for scores in of_row for x in expected(scores)]
        assert [re.sub(r"\*| \(.*", "", cell) for cell in row[1:]] == printed
    bold = [[cell.startswith("**") for cell in row[1:]] for row in rows]
    # The best 91.0 and 91.04 are printed alike: both are bold.
    assert bold[0] == [True, True, False, True, True, True]
    assert bold[1] == [False, False, True, False, False, True]
    # The paper's numbers stand beside the setting that is the paper's.
    assert rows[0][1].endswith(" (1.7)")
    assert rows[0][2].endswith(" (62.2)")
    assert "(" not in "".join(rows[0][4:] + rows[1][4:])
    assert "models/" not in text
    assert "the model is" in text
    assert "not shown" in text
    widths = {len(cells_of(line)) for line in lines[:4]}
    assert widths == {7}


def test_latex_is_a_whole_tabular(folder):
    text = (folder / "table.tex").read_text()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrr}"
    assert body[-1] == r"\end{tabular}"
    rules = [line for line in body if line.startswith(r"\cmidrule")]
    assert rules == [r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"]
    rows = [line for line in body if line.endswith(r" \\")]
    assert rows[0].count("&") == 2
    assert all(row.count(" & ") == 6 for row in rows[1:])
    assert rows[2].startswith(rf"cwgnc & \textbf{{{np.std(CWGNC):.1f}}} & ")
    # The paper's numbers stand below, where there are any.
    small = [cell.strip() for cell in rows[3].removesuffix(r" \\").split(" & ")]
    assert small == [
        "",
        *(rf"{{\scriptsize ({n})}}" for n in (1.7, 62.2, 65.0)),
        *[""] * 3,
    ]
    assert r"{\scriptsize Devlin et al. (2019) + bias correction} & " in rows[5]
    for rule in ("toprule", "midrule", "bottomrule"):
        assert body.count(f"\\{rule}") == 1
    assert text.count("{") == text.count("}")


def test_latex_escapes():
    runs = [run("cwgnc:max_norm=0.5", seed, 60.0 + seed) for seed in range(2)]
    text = formats.latex(tables.build(Design.of_records(runs), runs))
    assert r"cwgnc:max\_norm=0.5 & \textbf{0.5} & " in text


class Page(html.parser.HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.titles, self.ids, self.words = [], [], [], []
        self._inside = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside.append(tag)

    def handle_data(self, data):
        inside = self._inside[-1] if self._inside else ""
        (self.titles if inside == "title" else self.words).append(data)


def test_page_needs_nothing_but_itself(folder):
    text = (folder / "index.html").read_text()
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "use"}
    for _, attributes in page.tags:
        assert not {"src", "href", "xlink:href", "srcset", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|@font-face", text)
    assert "prefers-color-scheme: dark" in text
    # What users wrote is text, not tags.
    assert not names & {"i", "embed"}
    assert "x.py --method '<i>'" in "".join(page.words)
    assert "models/<b>tiny & small</b>" in "".join(page.words)
    assert "abc+" in "".join(page.words)


def test_every_run_has_a_dot_and_a_curve(folder):
    page = Page((folder / "index.html").read_text())
    dots = [
        attributes
        for tag, attributes in page.tags
        if tag in ("circle", "svg")
        and "run" in (attributes.get("class") or "").split(" ")
    ]
    assert len(dots) == len(RUNS)
    failed = [each for each in dots if "failed" in each["class"]]
    assert len(failed) == sum(run["failed"] for run in RUNS) == 3
    titles = page.titles
    for record in RUNS:
        words = f"{record['label']}, seed {record['seed']}: {record['score']:.2f}"
        # A dot, a line of scores and one of losses.
        found = [title for title in titles if title.startswith(words)]
        assert len(found) == 3 * sum(
            (other["label"], other["seed"], other["score"])
            == (record["label"], record["seed"], record["score"])
            for other in RUNS
        )
    assert "adamw, seed 6: -2.50, diverged at step 137" in titles
    # Dots are in order of their scores, from left to right.
    cola = sorted(
        (record["score"], float((dot.get("cx") or dot["x"]).rstrip("%")))
        for record, dot in zip(RUNS[:14], dots[:14], strict=True)
    )
    places = [place for _, place in cola]
    assert places == sorted(places)
    assert 0 < places[0] < places[-1] < 100


def test_curve_ends_where_the_loss_is_not_finite(table):
    curves = charts.curves(table.column("cola"), "train_loss", "loss")
    paths = re.findall(r'class="curve( failed)?" d="([^"]+)"', curves)
    assert len(paths) == 14
    # One evaluation is a dot; the other runs have two.
    assert [path.endswith("h0") for _, path in paths] == [False] * 13 + [True]
    first = re.fullmatch(r"M50.00 ([\d.]+)L100.00 ([\d.]+)", paths[0][1])
    # Down, as the loss falls from 0.6 to 0.3 over a scale with a margin of 6% of that.
    assert first is not None
    assert float(first[1]) == pytest.approx(100 * 0.06 / 1.12, abs=0.01)
    assert float(first[2]) == pytest.approx(100 * 1.06 / 1.12, abs=0.01)


def test_equal_scores_do_not_hide_each_other():
    runs = [run("cwgnc", seed, 0.0) for seed in range(25)]
    column = tables.build(Design.of_records(runs), runs).column("cola")
    html = charts.dots(column, "x")
    heights = {
        re.search(r'y="([^"]+)"', dot)[1]
        for dot in re.findall(r'<svg class="run.*?>', html)
    }
    assert len(heights) == 25
    assert all(0 < float(height) < 46 for height in heights)


def test_text_says_what_there_is(table):
    text = formats.text(table)
    lines = text.splitlines()
    assert lines[0] == "Runs"
    assert lines[1].startswith("cola: Matthews' correlation in %, 8,551 training")
    line = next(line for line in lines if line.startswith("adamw "))
    assert line.split()[:2] == ["adamw", "7"]
    assert f"{np.std(ADAMW):.1f}" in line
    assert "63.9*" in line
    assert "11.1" in line
    assert "Of 4 comparisons with cwgnc" in text
    assert "(2 of means, 2 of spreads)" in text
    # Every comparison that is not shown says so.
    shown = sum(each.comparison.shown for each in table.verdicts)
    assert text.count("not shown (") == 4 - shown


def test_runs_of_other_seeds_are_left_out_and_missing_ones_said():
    design = Design.of_records(RUNS[:14])
    table = tables.build(design, [*RUNS[:10], run("cwgnc", 99, 10.0)])
    assert len(table.cells["cola", "cwgnc"].runs) == 7
    assert table.notes[0].startswith("10 of 14 runs are recorded")


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
    assert "some with cwgnc:epochs=3 instead, for equal epochs" in table.outcome
    assert "| cola | adamw / cwgnc:epochs=3 | " in formats.markdown(table)
    # The CSV has one reference.
    rows = {
        row["method"]: row
        for row in csv.DictReader(formats.csv_text(table).splitlines())
    }
    first = table.verdicts[0].comparison
    assert float(rows["adamw"]["score_p"]) == first.p_value
    notes = " ".join(table.notes)
    assert "epochs (5 of cwgnc, adamw:epochs=5; 3 of adamw, cwgnc:epochs=3," in notes
    assert "The score of mosbach is the best of 2 evaluations on the examples" in notes
    alike = [each for each in runs if each["label"] in ("cwgnc", "adamw:epochs=5")]
    notes = " ".join(tables.build(Design.of_records(alike), alike).notes)
    assert "epochs" not in notes
    assert "best of" not in notes


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
    assert any(note.startswith("Rows of cola are of several") for note in table.notes)
    table = tables.build(Design.of_records(runs[:6]), runs)
    assert not any(note.startswith("Rows of cola") for note in table.notes)


def test_shares_of_crossed_seeds():
    # Rows add 0, 2, 4, columns 0, 6: variances 8/3 and 9 of 35/3.
    grid = [
        run("cwgnc", init, 50.0 + 2 * init + 6 * data, data_seed=data)
        for init in range(3)
        for data in range(2)
    ]
    shares = verdicts.shares(grid)
    assert shares is not None
    assert shares.init == pytest.approx(8 / 35)
    assert shares.data == pytest.approx(27 / 35)
    assert shares.both == pytest.approx(0, abs=1e-12)
    assert verdicts.shares(grid[:-1]) is None
    notes = tables.build(Design.of_records(grid), grid).notes
    # By chance (3 - 1) / 5, (2 - 1) / 5 and the rest.
    text = (
        "of the variance 23% lie between initialisations (40% by chance), 77% between "
        "data orders (20% by chance), 0% in their pairing (40% by chance)."
    )
    assert any(note.endswith(text) for note in notes)


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
    means = np.mean([dataclasses.astuple(each) for each in seen if each], axis=0)
    init, data, both, init_by_chance, data_by_chance = means
    # The mean over all orders is exact; rounding of scores near 70 is left.
    assert init == pytest.approx(init_by_chance, rel=1e-9)
    assert data == pytest.approx(data_by_chance, rel=1e-9)
    assert both == pytest.approx(1 - init_by_chance - data_by_chance, rel=1e-9)


@pytest.mark.parametrize(
    ("method", "task", "mean"),
    [
        ("devlin", "rte", 50.9),
        ("mosbach", "mrpc", 90.3),
        ("cwgnc", "cola", 62.2),
        ("cwgnc:max_norm=5", "cola", 57.3),
        ("cwgnc:max_norm=5", "rte", None),
        ("cwgnc:max_norm=7", "cola", None),
        ("cwgnc:epochs=3", "cola", None),
        ("adamw:schedule=bert", "cola", None),
        ("gu", "cola", None),
    ],
)
def test_the_papers_numbers_stand_beside_its_own_settings_only(method, task, mean):
    record = run(method, 0, 60.0, task=task)
    published = paper.published(record)
    assert (None if published is None else published.mean) == mean
    for change in (
        {"model": "bert-base-uncased"},
        {"train_examples": 1000},
        {"eval_examples": 100},
        {"max_length": 64},
        {"dtype": "bfloat16"},
        {"learning_rate": 1e-4},
        {"held_out": 0.1},
    ):
        assert paper.published(record | change) is None


def test_configurations_with_one_label_are_told_apart():
    runs = [
        run("cwgnc", 0, 60.0),
        run("cwgnc", 0, 50.0, learning_rate=1e-4),
        run("adamw", 0, 40.0),
    ]
    design = Design.of_records(runs)
    assert design.methods == (
        "cwgnc (learning rate 2e-05)",
        "cwgnc (learning rate 0.0001)",
        "adamw",
    )
    table = tables.build(design, runs)
    means = [cell.row.summary.mean for cell in table.column("cola").values()]
    assert means == [60, 50, 40]


def test_designs_join_and_survive_json():
    whole = Design.of_records(RUNS)
    assert Design.from_json(whole.number, whole.to_json()) == whole
    first, second = Design.of_records(RUNS[:5]), Design.of_records(RUNS[5:])
    assert first.join(second).configurations == whole.configurations
    assert first.join(second).seeds == whole.seeds
    other = Design.of_records([run("cwgnc", 0, 60.0, learning_rate=1e-4)])
    with pytest.raises(RecordsError, match="cwgnc on cola has other settings"):
        first.join(other)
    with pytest.raises(RecordsError, match="is not one of this version"):
        Design.from_json("1", {"methods": []})


def test_joined_designs_do_not_depend_on_their_order():
    clipped, bare, more = (
        Design.of_records([run(method, 0, 60.0)]) for method in ("cwgnc", "adamw", "gu")
    )
    # The usual reference is chosen anew, where it was nobody's wish.
    assert bare.reference == "adamw"
    assert bare.join(clipped).reference == clipped.join(bare).reference == "cwgnc"
    wished = dataclasses.replace(bare.join(more), reference="gu")
    assert wished.join(clipped).reference == clipped.join(wished).reference == "gu"
    # The larger table says how rows are ordered.
    assert clipped.join(bare.join(clipped)).methods == ("adamw", "cwgnc")
    assert bare.join(clipped).join(clipped).methods == ("adamw", "cwgnc")
    # The paper's threshold is the method's own: one row, and not two of the same runs.
    same = Design.of_records([run("cwgnc:max_norm=0.05", 1, 50.0)])
    joined = bare.join(clipped).join(same)
    assert joined.methods == ("adamw", "cwgnc")
    assert joined.runs == 4


def differences_said(runs):
    notes = tables.build(Design.of_records(runs), runs).notes
    (note,) = (note for note in notes if note.startswith("The setting is not the"))
    return note


def test_settings_that_labels_do_not_name_are_said():
    runs = [
        *(run("cwgnc", seed, 60.0 + seed, learning_rate=1e-4) for seed in range(2)),
        run("adamw:epochs=5", 0, 60.0, learning_rate=1e-4),
        run("mosbach", 0, 60.0),
    ]
    # Of rows; the epochs stand in the row's name.
    assert differences_said(runs).endswith(
        "comparable: learning rate 0.0001 and not 2e-05 (cwgnc, adamw:epochs=5)."
    )
    runs = [
        run("cwgnc", 0, 60.0, learning_rate=1e-4, epochs=2),
        run("cwgnc", 0, 60.0, learning_rate=1e-4, task="rte"),
        run("adamw", 0, 60.0, learning_rate=1e-4),
        run("adamw", 0, 60.0, learning_rate=1e-4, task="rte", epochs=2),
    ]
    assert differences_said(runs).endswith(
        "learning rate 0.0001 and not 2e-05; epochs 2 and not 5 (cwgnc on cola); "
        "epochs 2 and not 3 (adamw on rte)."
    )
    assert paper.recipe_differences(run("gu", 0, 60.0, learning_rate=1e-4)) == []


def test_merged_runs_that_disagree_are_said(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, scores in zip(folders, ([60.0], [60.0, 50.0], [12.5]), strict=True):
        RunRecords(folder).append(
            run("cwgnc", seed, score) for seed, score in enumerate(scores)
        )
    into = RunRecords(tmp_path / "all")
    assert merging.merge(into, folders[:2]) == 2
    assert into.notes == []
    assert merging.merge(into, folders) == 0
    assert [record["score"] for record in into.read()] == [60.0, 50.0]
    (note,) = into.notes
    assert note.startswith("1 of the runs to merge, such as cola-cwgnc-")


def test_runs_in_no_table_are_said_and_can_be_shown(tmp_path):
    records = RunRecords(tmp_path)
    others = [run("mixout", 0, 60.0), run("cwgnc", 0, 50.0, learning_rate=1e-4)]
    records.append([*RUNS, *others])
    design = dataclasses.replace(Design.of_records(RUNS), number="1")
    config.change(
        records, lambda content: content["tables"].update({"1": design.to_json()})
    )
    found = report.read(records)
    assert report.left_over(records, found) == (
        "2 other runs of this directory are in no table: 1 of mixout on cola, 1 of "
        "cwgnc on cola; --report-only --table runs shows all"
    )
    (every,) = report.read(records, "runs")
    runs = sum(len(cell.runs) for cell in every.cells.values())
    assert runs == len(RUNS) + len(others)
    assert report.left_over(records, [every]) == ""
    paths = report.write(records, [*found, every])
    assert {path.name for path in paths} == {
        *(f"{name}.{kind}" for name in ("table", "table1") for kind in ("md", "tex")),
        *("table.csv", "table1.csv", "index.html"),
    }


@pytest.mark.parametrize(
    "path",
    sorted((pathlib.Path(__file__).parents[1] / "results").glob("*/table*.md")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_recorded_tables_are_what_their_records_say(path):
    number = path.stem.removeprefix("table") or "runs"
    runs = read_only(path.parent)
    saved = config.read(path.parent)["tables"]
    design = (
        Design.from_json(number, saved[number])
        if number in saved
        else Design.of_records(runs)
    )
    reference = re.search(r"comparisons? with (\S+) ", path.read_text())
    if reference:
        design = dataclasses.replace(design, reference=reference[1])
    table = tables.build(design, runs)
    assert formats.markdown(table) == path.read_text()
    assert formats.latex(table) == path.with_suffix(".tex").read_text()


def test_labels_of_earlier_versions_are_the_same_rows(tmp_path):
    loose, old = "cwgnc:max_norm=1e5", "cwgnc:max_norm=100000.0"
    runs = [run("cwgnc", 0, 60.0), run(loose, 0, 50.0), run(loose, 0, 40.0, task="rte")]
    assert runs[1]["label"] == "cwgnc:max_norm=100000"
    new = Design.of_records(runs)
    # As they were written before: with what Python makes of a number.
    earlier = [*runs[:2], runs[2] | {"label": old}]
    assert Design.of_records(earlier) == new
    saved = new.to_json() | {"methods": ["cwgnc", old], "reference": old}
    saved["configurations"] = [
        [task, method.replace("100000", "100000.0"), name]
        for task, method, name in saved["configurations"]
    ]
    joined = new.join(Design.from_json("1", saved))
    assert joined == dataclasses.replace(new, reference=runs[1]["label"])
    records = RunRecords(tmp_path)
    records.append(earlier)
    config.change(records, lambda content: content["tables"].update({"1": saved}))
    for reference in (loose, old, runs[1]["label"]):
        [table] = report.read(records, reference=reference)
        assert table.design.reference == "cwgnc:max_norm=100000"
        assert table.methods == ["cwgnc", "cwgnc:max_norm=100000"]


def test_a_page_of_nothing_is_refused(tmp_path):
    records = RunRecords(tmp_path)
    with pytest.raises(RecordsError, match="no runs are recorded"):
        report.read(records)
    records.append(RUNS)
    with pytest.raises(RecordsError, match="no runs of table 2"):
        report.read(records, "2")
    with pytest.raises(ValueError, match="accepted are cwgnc, adamw"):
        report.read(records, reference="sgd")
    assert report.read(records, reference="adamw")[0].design.reference == "adamw"


def test_names_of_methods_do_not_run_into_each_other():
    methods = [
        "adamw",
        "cwgnc:epochs=3:learning_rate=0.0001:bias_correction=false",
        "mixout:mixout_output_layer=false:mixout_gradient=released",
    ]
    runs = [run(method, seed, 60.0) for method in methods for seed in range(2)]
    figure = plots.plot_runs(summaries.summarize(runs))
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) == 3
    for left, right in itertools.pairwise(boxes):
        assert left.x1 < right.x0
    assert figure.bbox.x0 <= boxes[0].x0
    assert boxes[-1].x1 <= figure.bbox.x1


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

    table = table_of(scores | failing)
    assert table.best("cola")[0] == {"adamw"}
    notes = [note for note in table.notes if note.startswith("All runs failed of ")]
    assert len(notes) == 1
    assert "of devlin on cola, mixout on cola:" in notes[0]
    # Nor is its spread compared: the means of three methods, the spread of one.
    asked = [(each.method, each.comparison.question) for each in table.verdicts]
    assert asked == [
        *(("adamw", "score"), ("adamw", "spread")),
        *(("devlin", "score"), ("mixout", "score")),
    ]
    assert all(each.comparison.comparisons == 4 for each in table.verdicts)
    answers = {
        line[1]: line[3] for line in verdicts.brief_rows(table.verdicts, "cwgnc")
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
    assert single.best("cola") == ({"adamw"}, {"adamw"}, {"cwgnc"})
    (line,) = re.findall("^mosbach .*", formats.text(single), re.MULTILINE)
    assert line.split()[1:5] == ["1", "-", "90.0", "90.0"]
    alone = table_of({"mosbach": [90.0]})
    assert alone.best("cola") == (set(), {"mosbach"}, {"mosbach"})
    # Where nothing works, nothing is steady.
    assert table_of(failing).best("cola") == (set(), {"devlin"}, {"devlin", "mixout"})
    assert "-0.0" not in formats.text(table)
    assert not any("All runs failed" in note for note in table_of(scores).notes)


def test_a_spread_that_nothing_bounds_is_unknown():
    runs = [run("devlin", seed, -1.0 if seed == 3 else 0.0) for seed in range(25)]
    table = tables.build(Design.of_records(runs), runs)
    cell = table.column("cola")["devlin"]
    assert cell.row.summary.std_interval.high == np.inf
    assert formats.sureness(cell)[1] == "unknown"


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_scored_on_held_out_examples_is_told_apart(order):
    held = [run("adamw", seed, 50.0, data_fingerprint="held") for seed in range(2)]
    held = [each | {"held_out": 0.004, "eval_examples": 34} for each in held]
    runs = [*held, *(run("adamw", seed, 60.0) for seed in range(2))][::order]
    table = tables.build(Design.of_records(runs), runs)
    assert "held out" not in table.heading("cola")
    labels = sorted(table.column("cola"), key=len)
    assert len(labels) == 2
    assert "held out" not in labels[0]
    assert "held out 0.004" in labels[1]
    alone = tables.build(Design.of_records(held), held)
    assert "on 0.4% held out of the training set" in alone.heading("cola")
    assert any("scored on 0.4% held out" in note for note in alone.notes)
