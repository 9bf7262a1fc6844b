"""Tables and page from records, read back and compared with NumPy and by hand."""

import csv
import dataclasses
import html.parser
import itertools
import re

import numpy as np
import pytest
from bert_glue.records import manifest
from bert_glue.records.designs import Design
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore
from bert_glue.report import charts, formats, plots, tables, write
from bert_glue.study import summaries
from run_records import ADAMW, CWGNC, MRPC, RUNS, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    records = RunStore(tmp_path_factory.mktemp("report"))
    records.append(RUNS)
    command = {"command": "x.py --method '<i>'", "commit": "abc+", "versions": {"a": 1}}
    manifest.change(records, lambda content: content["commands"].append(command))
    found = write.read(records)
    paths = write.write(records, found)
    assert [path.name for path in paths] == [
        *("table.md", "table.tex", "table.csv", "table_comparisons.csv", "index.html"),
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


def test_scores_that_are_all_alike_have_an_axis_to_read():
    runs = [run("cwgnc", seed, 0.0) for seed in range(3)]
    runs = [
        each | {"history": [part | {"score": 0.0} for part in each["history"]]}
        for each in runs
    ]
    column = tables.build(Design.of_records(runs), runs).column("cola")
    ticks = re.findall(r"%\">([^<]+)</span>", charts.curves(column, "score", "x"))
    assert ticks == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


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


def test_runs_in_no_table_are_said_and_can_be_shown(tmp_path):
    records = RunStore(tmp_path)
    others = [run("mixout", 0, 60.0), run("cwgnc", 0, 50.0, learning_rate=1e-4)]
    records.append([*RUNS, *others])
    design = dataclasses.replace(Design.of_records(RUNS), number="1")
    manifest.change(
        records, lambda content: content["tables"].update({"1": design.to_json()})
    )
    found = write.read(records)
    assert write.left_over(records, found) == (
        "2 other runs of this directory are in no table: 1 of mixout on cola, 1 of "
        "cwgnc on cola; --report-only --table runs shows all"
    )
    (every,) = write.read(records, "runs")
    runs = sum(len(cell.runs) for cell in every.cells.values())
    assert runs == len(RUNS) + len(others)
    assert write.left_over(records, [every]) == ""
    paths = write.write(records, [*found, every])
    assert {path.name for path in paths} == {
        *(f"{name}.{kind}" for name in ("table", "table1") for kind in ("md", "tex")),
        *("table.csv", "table1.csv", "index.html"),
        *("table_comparisons.csv", "table1_comparisons.csv"),
    }


def test_a_page_of_nothing_is_refused(tmp_path):
    records = RunStore(tmp_path)
    with pytest.raises(RecordsError, match="no runs are recorded"):
        write.read(records)
    records.append(RUNS)
    with pytest.raises(RecordsError, match="no runs of table 2"):
        write.read(records, "2")
    with pytest.raises(ValueError, match="accepted are cwgnc, adamw"):
        write.read(records, reference="sgd")
    assert write.read(records, reference="adamw")[0].design.reference == "adamw"


@pytest.mark.parametrize("methods", [["cwgnc"], ["cwgnc", "adamw"]])
def test_titles_keep_inside_the_picture(methods):
    changes = {"held_out": 0.1, "task": "acceptability", "metric": "pearson_spearman"}
    runs = [run(method, seed, 60.0) | changes for method in methods for seed in (0, 1)]
    figure = plots.plot_runs(summaries.summarize(runs))
    figure.canvas.draw()
    (axes,) = figure.axes
    for text in (axes.title, axes.yaxis.label):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert axes.get_title().replace("\n", " ").endswith("held out of the training set")


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
