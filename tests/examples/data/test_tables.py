import csv
import gzip

import numpy as np
import pandas
import pytest
from bert_glue.data import tables, tasks
from bert_glue.data.load import Reading, load_files, read_examples
from bert_glue.data.tables import DataError
from glue_files import OFFICIAL, official_line, write


def test_signs_that_are_no_line_ends_and_no_quotes(tmp_path):
    texts = ['he said "no', "it's \u2028 one \x0b line \x85 still", '"', " spaced "]
    lines = [official_line("sst2", [text], "1") for text in texts]
    content = "\n".join(["sentence\tlabel", *lines])
    (tmp_path / "file").write_bytes(content.encode())
    examples = read_examples(tmp_path / "file", tasks.TASKS["sst2"])
    assert examples.texts == [(text,) for text in texts]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"end", b"end end", b"end  "])
def test_marks_and_line_ends_of_other_systems(tmp_path, mark, end, last):
    content = mark + end.join([b"sentence\tlabel", b"one\t1", b"t\xc3\xa4n\t0"])
    (tmp_path / "file").write_bytes(content + last.replace(b"end", end))
    examples = read_examples(tmp_path / "file", tasks.TASKS["sst2"])
    assert examples.texts == [("one",), ("t\u00e4n",)]
    np.testing.assert_array_equal(examples.labels, [1, 0])


def test_short_lines_of_qqp_are_passed_over(tmp_path):
    whole = official_line("qqp", ["a", "b"], "1")
    header = OFFICIAL["qqp"][2].replace("|", "\t")
    file = write(tmp_path / "file", header, whole, "1\t2\t3\tbroken", "off\t0", whole)
    assert len(read_examples(file, tasks.TASKS["qqp"])) == 2
    with pytest.raises(DataError, match=r"line 3: 7 fields, but there are 6"):
        read_examples(
            write(tmp_path / "long", header, whole, whole + "\t0"), tasks.TASKS["qqp"]
        )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "has no examples"),
        (["index\tsentence1\tsentence2\tlabel"], "has no examples"),
        (["index\tsentence1\tlabel", "0\ta\tentailment"], "line 1: no column 'sente"),
        (["index\tsentence1\tsentence2", "0\ta\tb"], "line 1: no column 'label'; ther"),
        (
            ["sentence1\tsentence1\tsentence2\tlabel"] * 2,
            "line 1: more than one column",
        ),
        (
            ["i\tsentence1\tsentence2\tlabel", "0\ta\tb\tno"],
            "line 2: unknown label 'no'",
        ),
        (["i\tsentence1\tsentence2\tlabel", "0\ta\tb\t"], "line 2: unknown label ''"),
        (["sentence1\tsentence2\tlabel", "a\tb\tentailment", "a"], "line 3: 1 field"),
        (["sentence1\tsentence2\tlabel", "a\tb\tc\td"], "line 2: 4 field"),
        (["sentence1\tsentence2\tlabel", "", "a\tb\tc"], "line 2: an empty line"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, lines, message):
    file = write(tmp_path / "file.tsv", *lines)
    with pytest.raises(DataError, match=message) as caught:
        read_examples(file, tasks.TASKS["rte"])
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin").write_bytes(b"sentence\tlabel\nfine\t1\nt\xe4n\t0\n")
    with pytest.raises(DataError, match=r"latin, line 3: not UTF-8"):
        read_examples(tmp_path / "latin", tasks.TASKS["sst2"])
    with pytest.raises(DataError, match=r"cannot read .*absent: No such file"):
        read_examples(tmp_path / "absent", tasks.TASKS["sst2"])
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        read_examples(tmp_path, tasks.TASKS["sst2"])


# What programs have to quote, or must not take for quoting.
TEXTS = [
    "the parcel came on time",
    'she said "hi" to me',
    '"Free" stuff',
    'all of it "quoted"',
    "first paragraph\n\nsecond paragraph",
    "a tab\there, a comma",
    "one line \u2028 still; it costs \u00a35 \u2013 really",
    " spaced ",
    "back\\slash",
]
FRAME = pandas.DataFrame(
    {"sentence": TEXTS, "id": range(9), "label": ["ham", "spam", "ham"] * 3}
)


def as_r_writes(path):
    """As write.table of R does by default: names of rows, backslashes before quotes."""
    quoted = [
        [f'"{field}"' if isinstance(field, str) else str(field) for field in row]
        for row in FRAME.map(
            lambda field: field.replace('"', '\\"') if isinstance(field, str) else field
        ).itertuples(name=None)
    ]
    for number, row in enumerate(quoted, 1):
        row[0] = f'"{number}"'
    lines = ["\t".join(row) for row in [['"sentence"', '"id"', '"label"'], *quoted]]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


WRITERS = {
    "pandas.tsv": lambda path: FRAME.to_csv(path, sep="\t", index=False),
    "index.tsv": lambda path: FRAME.to_csv(path, sep="\t"),
    "all.tsv": lambda path: FRAME.to_csv(path, sep="\t", quoting=csv.QUOTE_ALL),
    "strings.txt": lambda path: FRAME.to_csv(
        path, sep="\t", index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n"
    ),
    "utf16.txt": lambda path: FRAME.to_csv(
        path, sep="\t", index=False, encoding="utf-16", lineterminator="\r\n"
    ),
    "r.tsv": as_r_writes,
    "plain.csv": lambda path: FRAME.to_csv(path, index=False),
    "excel.csv": lambda path: FRAME.to_csv(
        path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n"
    ),
    "spaced.csv": lambda path: path.write_text(
        FRAME.to_csv(sep="\x1f", quoting=csv.QUOTE_ALL).replace("\x1f", ", ")
    ),
    "plain.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "plain.parquet": lambda path: FRAME.to_parquet(path),
    "bytes.parquet": lambda path: FRAME.assign(
        **{name: FRAME[name].map(str.encode) for name in ("sentence", "label")}
    ).to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_however_they_are_written(tmp_path, name):
    WRITERS[name](tmp_path / name)
    data = load_files(tmp_path / name, tmp_path / name)
    assert data.task.labels == ("ham", "spam")
    assert data.train.texts == [(text,) for text in TEXTS]
    np.testing.assert_array_equal(data.train.labels, [0, 1, 0] * 3)
    assert data.notes == ()


def test_bytes_that_are_no_text(tmp_path):
    texts = [text.encode("utf-16") for text in TEXTS]
    file = tmp_path / "file.parquet"
    FRAME.assign(sentence=texts).to_parquet(file)
    with pytest.raises(
        DataError, match=r"file\.parquet, line 1: bytes that are not UTF"
    ):
        load_files(file, file)


def test_delimiters_are_those_of_all_rows(tmp_path):
    file = tmp_path / "file.csv"
    # No header, and commas in its first text.
    file.write_text("yes, well, fine;1\nno;0\n")
    reading = Reading(text_columns=("1",), label_column="2")
    assert load_files(file, None, reading).train.texts == [
        ("yes, well, fine",),
        ("no",),
    ]
    file.write_text("text, grade\nwell, good\nill,bad\n")
    named = Reading(text_columns=("text",), label_column="grade")
    assert load_files(file, None, named).task.labels == ("bad", "good")
    # A semicolon in every row is the delimiter, however many commas there are.
    for content, columns in (
        ("well;3,5\nill;1,2\n", ("well", "3,5")),
        ('1;"Well, hmm"\n0;"No, never"\n', ("1", "Well, hmm")),
        ("Text, english;Grade\nwell;3,5\n", ("Text, english", "Grade")),
        ('"Text\n(english)";grade\nwell;1\n', ("Text\n(english)", "grade")),
        ("\n text;grade\nwell;1\n", (" text", "grade")),
        ("sep=;\ntext;a,b\nwell;1\nill;0,0\n", ("text", "a,b")),
        ("good\tI came, saw, left\nbad\tno, never\n", ("good", "I came, saw, left")),
        ('text\n "Great" she said\n', ("text",)),
    ):
        file.write_text(content)
        assert tables.read(file).header == columns
    assert tables.read(file).rows == [(2, [' "Great" she said'])]
    file.write_text("well;3,5;A\nill;1,5\nso so;2,5;B\n")
    with pytest.raises(DataError, match="line 2: 2 fields, but there are 3 columns"):
        load_files(file, None, reading)
    # A space behind some delimiters alone is part of what is written.
    file.write_text("text,label\n well, 1\nill,0\n")
    assert load_files(file, None).train.texts == [(" well",), ("ill",)]


def test_quotes_of_sentences_are_not_those_of_a_program(tmp_path):
    texts = ['"Yes," he said.', '"All of it."', "plain", '"" twice', '"a" and "b"']
    file = write(tmp_path / "f", "sentence\tlabel", *(f"{t}\t1" for t in texts), "x\t0")
    data = load_files(file, file)
    assert data.train.texts == [(text,) for text in [*texts, "x"]]
    assert data.notes == (
        f"{file}: 2 fields begin and end with quotation marks, which are read as a "
        "part of them, as others are not quoted",
    )


@pytest.mark.parametrize("name", ["RTE/train", "MRPC/train", "CoLA/train", "RTE/dev"])
def test_official_files_have_no_quotes_for_whoever_reads_them(shared_dir, name):
    path = shared_dir / "glue" / f"{name}.tsv"
    assert tables.read(path).rows == tables.read_official(path).rows


def test_lines_of_what_was_quoted(tmp_path):
    file = tmp_path / "file.csv"
    file.write_text('text,label\n"two\nlines",1\n\nnext,0\n"",1\n')
    data = load_files(file, file)
    assert data.train.texts == [("two\nlines",), ("next",), ("",)]
    assert data.notes == (
        f"{file}: texts are in 'text', labels in 'label'",
        f"{file}: 1 of 3 examples have an empty text (line 6), and are used all the "
        "same",
    )
    file.write_text('text,label\n"two\nlines",1\nnext,0,more\n')
    with pytest.raises(DataError, match=r"file.csv, line 4: 3 fields, but there are 2"):
        load_files(file, file)
    file.write_text('text,label\nfine,1\n"two\nlines,1\nnext,0\n')
    with pytest.raises(DataError, match=r"file.csv, line 3: unexpected end of data"):
        load_files(file, file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text"', r"a.jsonl, line 2: no JSON"),
        ("a.jsonl", b'[{"text": "a"}]', r"line 1: not an object; accepted is one a li"),
        ("a.jsonl", b"[" * 100_000, r"line 1: no JSON \("),
        ("a.jsonl", rb'{"text": "cut \ud83d"}', r"line 1: no JSON .*surrogates"),
        (
            "a.jsonl",
            b'{"text": "a", "label": 1}\n{"text": ["4", "27"], "label": 2}\n',
            r"line 2: the text is \['4', '27'\]; accepted are text and numbers, one",
        ),
        (
            "a.jsonl",
            b'{"text": "a", "label": [4, [27]]}\n',
            r"line 1: the label is \['4', \['27'\]\]; accepted are .*, or lists of the",
        ),
        ("a.jsonl", b'{"text": "a", "label": NaN}\n', "line 1: the label is empty"),
        (
            "a.tsv",
            gzip.compress(b"sentence\tlabel\n", mtime=0),
            "a.tsv is packed by gzip",
        ),
        ("a.tsv", b"PAR1 and so on", "a.tsv is Parquet; end its name in .parquet"),
        ("a.csv", b"PK\x03\x04...", "an Excel workbook; save it as CSV"),
        (
            "a.tsv",
            b"version https://git-lfs.github.com/spec/v1\n",
            "pointer of Git LFS",
        ),
        ("a.parquet", b"PAR1 and so on", "a.parquet is no Parquet"),
        ("a.tsv", "text\tlabel\na\t1".encode("utf-16-le"), "--encoding utf-16-le"),
        (
            "a.tsv",
            b"text\tlabel\n\x96\t1",
            "line 2: not UTF-8 .* --encoding, such as cp",
        ),
    ],
)
def test_files_that_are_not_what_they_seem(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_files(tmp_path / name, None)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_encodings_by_name(tmp_path):
    text = "text\tlabel\nit costs \u00a35 \u2013 really\tham\nno\tspam\n"
    for encoding in ("cp1252", "utf-16-le", "gb18030"):
        (tmp_path / "file").write_bytes(text.encode(encoding))
        data = load_files(
            tmp_path / "file", tmp_path / "file", Reading(encoding=encoding)
        )
        assert data.train.texts[0] == ("it costs \u00a35 \u2013 really",)
    for encoding in ("latin-0", "zip", "utf-8\0"):
        with pytest.raises(ValueError, match="encoding"):
            load_files(tmp_path / "file", None, Reading(encoding=encoding))


# Files as common programs write them: after twelve plain rows those given here.
REPEATED = [
    "the parcel came on time",
    "win a prize now",
    "see you at noon",
    "free entry, call today",
]
CASES = {
    "pandas_quotes.tsv": ['she said "hi" to me', '"Free" stuff'],
    "r_quotes.tsv": [],
    "pandas_multiline.tsv": ["first line\nsecond line"],
    "pandas_multiline_blank.tsv": ["first paragraph\n\nsecond paragraph"],
    "plain.csv": [],
    "blank_line.csv": ["first paragraph\n\nsecond paragraph"],
    "plain.jsonl": [],
    "float_classes.tsv": [],
    "multilabel.tsv": [],
    "missing_text.tsv": [""],
    "label_case.tsv": ["call me"],
    "excel_unicode.txt": [],
    "excel_mac_cr.txt": [],
    "cp1252.tsv": ["it costs \u00a35 \u2013 really"],
    "no_header.tsv": [],
}
CLASSES = {
    "float_classes.tsv": ("0", "1"),
    "multilabel.tsv": ("0", "4", "27", "0,4", "4,27"),
    "label_case.tsv": ("Ham", "ham", "spam"),
}
NOTES = {
    "plain.csv": ["texts are in 'text', labels in 'category'"],
    "blank_line.csv": ["texts are in 'text', labels in 'category'"],
    "plain.jsonl": ["texts are in 'text', labels in 'label'"],
    "float_classes.tsv": ["each label is a whole number, if written as 0.0, and taken"],
    "multilabel.tsv": ["line 4: the label '4,27' has a comma, as have 2 of 5 classes"],
    "label_case.tsv": ["'ham' (line 2) and 'Ham' (line 14) differ in case alone"],
    "missing_text.tsv": ["1 of 13 examples have an empty text (line 14)"],
}
OPTIONS = {
    "cp1252.tsv": {"encoding": "cp1252"},
    "no_header.tsv": {"text_columns": ("2",), "label_column": "1"},
}


@pytest.mark.parametrize("name", CASES)
def test_files_of_common_programs(shared_dir, name):
    file = shared_dir / "cases" / "files" / name
    if not file.is_file():
        pytest.skip(f"no {file}")
    data = load_files(file, file, Reading(**OPTIONS.get(name, {})))
    expected = [*REPEATED * 3, *CASES[name]]
    assert [text for (text,) in data.train.texts] == expected
    assert data.task.labels == CLASSES.get(name, ("ham", "spam"))
    assert len(data.notes) == len(NOTES.get(name, []))
    for note, words in zip(data.notes, NOTES.get(name, []), strict=True):
        assert words in note


def test_columns_by_name_and_by_number(tmp_path):
    file = write(
        tmp_path / "sick.tsv",
        "pair_ID\tsentence_A\tsentence_B\trelatedness\tjudgment",
        "1\ta dog runs\tan animal moves\t4.5\tENTAILMENT",
        "2\ta dog runs\tnobody moves\t3.6\tCONTRADICTION",
    )
    with pytest.raises(
        DataError, match=r"what --text-columns and --label-column name$"
    ):
        load_files(file, file)
    names = ("sentence_A", "sentence_B")
    data = load_files(file, file, Reading(text_columns=names, label_column="judgment"))
    assert data.train.texts[1] == ("a dog runs", "nobody moves")
    assert data.task.labels == ("CONTRADICTION", "ENTAILMENT")
    for texts in (("judgment",), ("sentence_A", "sentence_A")):
        with pytest.raises(ValueError, match="these must be different columns"):
            load_files(file, file, Reading(text_columns=texts, label_column="judgment"))
    with pytest.raises(DataError, match="no column 'entailment'; there are 'pair_ID'"):
        load_files(file, file, Reading(text_columns=names, label_column="entailment"))
    bare = write(tmp_path / "bare.tsv", "ham\tfine", "spam\tbuy", "ham\tgood")
    with pytest.raises(
        DataError, match=r"looks like a row: .* --text-columns 2 --labe"
    ):
        load_files(bare, bare)
    data = load_files(bare, bare, Reading(text_columns=("2",), label_column="1"))
    assert data.train.texts == [("fine",), ("buy",), ("good",)]
    with pytest.raises(DataError, match="no column '3'; there are '1', '2'"):
        load_files(bare, bare, Reading(text_columns=("3",), label_column="1"))
    # New texts without a header, or with the usual names.
    for lines in (["x\tnew"], ["label\tText", "ham\tnew"]):
        texts = read_examples(
            write(tmp_path / "new.tsv", *lines), data.task, labelled=False
        ).texts
        assert texts == [("new",)]


def test_a_header_that_does_not_fit_comes_before_a_blank_line(tmp_path):
    file = write(tmp_path / "file", "id\tbody\tstars", "1\ta\t2", "", "3\tb\t4")
    with pytest.raises(
        DataError, match="line 1: the columns are 'id', 'body', 'stars'"
    ):
        load_files(file, file)
