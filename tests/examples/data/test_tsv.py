import numpy as np
import pytest
from bert_glue.data import tasks
from bert_glue.data.load import read_examples
from bert_glue.data.tsv import DataError
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
    with pytest.raises(DataError, match=r"line 3: 7 .* fields, but there are 6"):
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
        (["sentence1\tsentence2\tlabel", "a\tb\tentailment", "a"], "line 3: 1 tab"),
        (["sentence1\tsentence2\tlabel", "a\tb\tc\td"], "line 2: 4 tab-separated fi"),
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
