"""The page from records, read back."""

import html.parser
import re

import pytest
from bert_glue.records.designs import Design
from bert_glue.report import page, tables
from run_records import RUNS


@pytest.fixture(scope="module")
def text():
    command = {"command": "x.py --method '<i>'", "commit": "abc+", "versions": {"a": 1}}
    config = {"commands": [command], "configurations": {}, "tables": {}}
    return page.page([tables.build(Design.of_records(RUNS), RUNS)], config)


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


def test_readneeds_nothing_but_itself(text):
    read = Page(text)
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "use"}
    for _, attributes in read.tags:
        assert not {"src", "href", "xlink:href", "srcset", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|@font-face", text)
    assert "prefers-color-scheme: dark" in text
    # What users wrote is text, not tags.
    assert not names & {"i", "embed"}
    assert "x.py --method '<i>'" in "".join(read.words)
    assert "models/<b>tiny & small</b>" in "".join(read.words)
    assert "abc+" in "".join(read.words)


def test_every_run_has_a_dot_and_a_curve(text):
    read = Page(text)
    dots = [
        attributes
        for tag, attributes in read.tags
        if tag in ("circle", "svg")
        and "run" in (attributes.get("class") or "").split(" ")
    ]
    assert len(dots) == len(RUNS)
    failed = [each for each in dots if "failed" in each["class"]]
    assert len(failed) == sum(run["failed"] for run in RUNS) == 3
    titles = read.titles
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


def test_colours_follow_the_light_or_dark_of_the_reader(text):
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", style)
    assert len(rules) > 50
    for selector, body in rules:
        # Pictures alone have a background that is always white.
        pictures = all(each.strip().startswith("img") for each in selector.split(","))
        if selector.strip() != ":root" and not pictures:
            assert not re.search(r"#[0-9a-f]{3}|: (white|black)\b", body), selector


def test_the_conclusion_comes_first(text):
    (section,) = re.findall(r"<header>.*?</header>", text, re.DOTALL)
    assert "Of 4 comparisons with cwgnc" in section
    assert "<table" not in text[: text.index("</header>")]
