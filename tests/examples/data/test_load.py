import logging
import pathlib
import time

import numpy as np
import pytest
from bert_glue.data import generated, hub, tasks
from bert_glue.data.examples import Examples, TaskData
from bert_glue.data.load import load_files, load_task, read_examples
from bert_glue.data.tasks import TASKS
from bert_glue.data.tsv import DataError

_PARSES = (
    "sentence1_binary_parse|sentence2_binary_parse|sentence1_parse|sentence2_parse"
)
_MNLI = f"index|promptID|pairID|genre|{_PARSES}|sentence1|sentence2|label1"

# Folder, development file and columns of the official downloads, by which the lines
# below are written; columns that are no text and no label are filled with 'x'.
OFFICIAL = {
    "rte": ("RTE", "dev", "index|sentence1|sentence2|label"),
    "mrpc": ("MRPC", "dev", "Quality|#1 ID|#2 ID|#1 String|#2 String"),
    "cola": ("CoLA", "dev", "source|label|mark|sentence"),
    "sst2": ("SST-2", "dev", "sentence|label"),
    "wnli": ("WNLI", "dev", "index|sentence1|sentence2|label"),
    "qnli": ("QNLI", "dev", "index|question|sentence|label"),
    "qqp": ("QQP", "dev", "id|qid1|qid2|question1|question2|is_duplicate"),
    "mnli": ("MNLI", "dev_matched", f"{_MNLI}|label2|gold_label"),
    "mnli-mm": ("MNLI", "dev_mismatched", f"{_MNLI}|label2|gold_label"),
    "stsb": (
        "STS-B",
        "dev",
        "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score",
    ),
}
# The spellings of labels in the files, beside what GLUE on the hub calls 0, 1, 2.
LABELS = {
    "rte": ["entailment", "not_entailment"],
    "mrpc": ["0", "1"],
    "cola": ["0", "1"],
    "sst2": ["0", "1"],
    "wnli": ["0", "1"],
    "qnli": ["entailment", "not_entailment"],
    "qqp": ["0", "1"],
    "mnli": ["entailment", "neutral", "contradiction"],
    "mnli-mm": ["entailment", "neutral", "contradiction"],
    "stsb": ["0.000", "3.800", "5.000"],
}
TEXTS = {"sentence", "sentence1", "sentence2", "question", "question1", "question2"}
TEXTS |= {"#1 String", "#2 String"}
LABEL_COLUMNS = {"label", "Quality", "is_duplicate", "gold_label", "score"}


def official_line(name: str, texts: list[str], label: str) -> str:
    texts = list(texts)
    fields = []
    for column in OFFICIAL[name][2].split("|"):
        if column in TEXTS:
            fields.append(texts.pop(0))
        else:
            fields.append(label if column in LABEL_COLUMNS else "x")
    assert not texts
    return "\t".join(fields)


def write_official(folder: pathlib.Path, name: str) -> list[tuple[str, ...]]:
    """Writes a training and a development file; gives back the texts of the latter."""
    of_task, development, columns = OFFICIAL[name]
    count = sum(column in TEXTS for column in columns.split("|"))
    (folder / of_task).mkdir()
    header = [] if name == "cola" else [columns.replace("|", "\t")]
    for file in ("train", development):
        texts = [
            tuple(f'{file} {label}, "{side}' for side in range(count))
            for label in LABELS[name]
        ]
        lines = [
            official_line(name, list(each), label)
            for each, label in zip(texts, LABELS[name], strict=True)
        ]
        text = "\n".join([*header, *lines]) + "\n"
        (folder / of_task / f"{file}.tsv").write_text(text, encoding="utf-8")
    return texts


def write(path: pathlib.Path, *lines: str) -> pathlib.Path:
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def test_every_task_is_tested():
    assert set(OFFICIAL) == set(LABELS) == set(tasks.TASKS)


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_layout(tmp_path, name):
    expected = write_official(tmp_path, name)
    data = load_task(name, tmp_path)
    assert data.task is tasks.TASKS[name]
    assert data.evaluation.texts == expected
    assert data.train.texts != expected
    for examples in (data.train, data.evaluation):
        assert examples.labels is not None
        if name == "stsb":
            assert examples.labels.dtype == np.float32
            np.testing.assert_array_equal(examples.labels, np.float32([0, 3.8, 5]))
        else:
            assert examples.labels.dtype == np.int32
            np.testing.assert_array_equal(examples.labels, range(len(LABELS[name])))
    assert data.task.num_labels == (1 if name == "stsb" else len(LABELS[name]))
    assert data.task.is_regression == (name == "stsb")


@pytest.mark.parametrize("name", tasks.GENERATED)
def test_generated_tasks_need_no_data(monkeypatch, name):
    monkeypatch.setattr(generated, "load", lambda asked: ("generated", asked))
    assert load_task(name) == ("generated", name)


def test_thresholds_of_the_released_code():
    thresholds = {name: task.failed_below for name, task in tasks.TASKS.items()}
    assert {k: v for k, v in thresholds.items() if v is not None} == {
        "rte": 53.0,
        "mrpc": 75.0,
        "cola": 0.0,
    }


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


def test_unknown_labels_come_with_what_is_accepted(tmp_path):
    file = write(tmp_path / "file", "sentence\tlabel", "good\t1", "bad\t2")
    with pytest.raises(DataError, match=r"line 3: unknown label '2'; .* '0', '1'$"):
        read_examples(file, tasks.TASKS["sst2"])


@pytest.mark.parametrize("score", ["high", "nan", "inf", ""])
def test_scores_are_finite_numbers(tmp_path, score):
    file = write(tmp_path / "file", "sentence1\tsentence2\tscore", f"a\tb\t{score}")
    with pytest.raises(DataError, match=f"line 2: unknown score '{score}'; .* numbers"):
        read_examples(file, tasks.TASKS["stsb"])


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin").write_bytes(b"sentence\tlabel\nfine\t1\nt\xe4n\t0\n")
    with pytest.raises(DataError, match=r"latin, line 3: not UTF-8"):
        read_examples(tmp_path / "latin", tasks.TASKS["sst2"])
    with pytest.raises(DataError, match=r"cannot read .*absent: No such file"):
        read_examples(tmp_path / "absent", tasks.TASKS["sst2"])
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        read_examples(tmp_path, tasks.TASKS["sst2"])


def test_folders_that_lack_something(tmp_path):
    with pytest.raises(
        DataError, match=r"RTE/train.tsv and RTE/dev.tsv; there is no f"
    ):
        load_task("rte", tmp_path / "absent")
    with pytest.raises(DataError, match=r"no file .*RTE/train.tsv.* holds nothing$"):
        load_task("rte", tmp_path)
    write_official(tmp_path, "mnli")
    write_official(tmp_path, "cola")
    with pytest.raises(DataError, match=r"no file .*RTE.* holds CoLA, MNLI$"):
        load_task("rte", tmp_path)
    with pytest.raises(DataError, match=r"no file .*MNLI/dev_mismatched.tsv: "):
        load_task("mnli-mm", tmp_path)


def test_unknown_task():
    with pytest.raises(
        DataError, match=r"unknown task 'glue'; .* acceptability.* stsb"
    ):
        load_task("glue")


# ---- the user's own files


@pytest.mark.parametrize(
    ("spellings", "classes"),
    [
        (["yes", "no", "yes"], ("no", "yes")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["2", "none", "1"], ("1", "2", "none")),
        (["1", "0", "1"], ("0", "1")),
        (["b c", "a", "\u00e4"], ("a", "b c", "\u00e4")),
    ],
)
def test_own_classes_are_those_of_training(tmp_path, spellings, classes):
    rows = [f"{label}\ttext {i}" for i, label in enumerate(spellings)]
    train = write(tmp_path / "train", "label\tsentence", *rows)
    dev = write(tmp_path / "dev", "sentence\tid\tlabel", f"new\t7\t{spellings[1]}")
    data = load_files(train, dev)
    assert data.task.name == "custom"
    assert data.task.labels == classes
    assert data.task.metric == "accuracy"
    np.testing.assert_array_equal(
        data.train.labels, [classes.index(label) for label in spellings]
    )
    assert data.evaluation.texts == [("new",)]
    np.testing.assert_array_equal(data.evaluation.labels, [classes.index(spellings[1])])
    with pytest.raises(DataError, match=r"line 2: unknown label 'other'"):
        load_files(train, write(tmp_path / "bad", "sentence\tlabel", "new\tother"))


def test_own_regression(tmp_path):
    header = "sentence1\tsentence2\tlabel"
    train = write(tmp_path / "train", header, "a\tb\t1", "c\td\t-2.5", "e\tf\t1e-1")
    dev = write(tmp_path / "dev", header, "g\th\t3")
    data = load_files(train, dev)
    assert data.task.is_regression
    assert data.task.metric == "pearson_spearman"
    assert data.train.labels is not None
    assert data.train.labels.dtype == np.float32
    np.testing.assert_array_equal(data.train.labels, np.float32([1, -2.5, 0.1]))
    assert data.evaluation.texts == [("g", "h")]


def test_the_metric_decides_what_labels_are(tmp_path):
    whole = write(tmp_path / "whole", "sentence\tlabel", "a\t1", "b\t2", "c\t3")
    data = load_files(whole, whole, metric="pearson_spearman")
    np.testing.assert_array_equal(data.train.labels, np.float32([1, 2, 3]))
    halves = write(tmp_path / "halves", "sentence\tlabel", "a\t1.5", "b\t0.5")
    data = load_files(halves, halves, metric="f1")
    assert data.task.labels == ("0.5", "1.5")


@pytest.mark.parametrize(
    ("lines", "metric", "message"),
    [
        (
            ["text\tlabel", "a\t1"],
            None,
            "line 1: the columns are 'text', 'label'; need",
        ),
        (["sentence", "a"], None, "line 1: the columns are 'sentence'; needed are"),
        (["sentence1\tlabel", "a\t1"], None, "'sentence', or 'sentence1' and 'senten"),
        (
            ["a sentence " * 9 + "\t1", "b\t0"],
            None,
            r"are 'a sentence .*\[...\]', '1'; ",
        ),
        (["sentence\tlabel", "a\t1", "b\t1"], None, "every label is '1'; two classes"),
        (["sentence\tlabel", "a\t1", "b\t "], None, "line 3: the label is empty"),
        (
            ["sentence\tlabel", "a\t.5", "b\tx"],
            None,
            "line 3: the label 'x' is no numb",
        ),
        (
            ["sentence\tlabel", "a\t1", "b\tx"],
            "pearson_spearman",
            "line 3: unknown label 'x'; accepted are numbers",
        ),
        (["sentence\tlabel", "a\t1", "b\t2", "c\t3"], "f1", "needs two classes, not 3"),
        (["sentence\tlabel", "a\t1", "b\t2"], "bleu", "unknown metric 'bleu'"),
    ],
)
def test_bad_own_files(tmp_path, lines, metric, message):
    file = write(tmp_path / "file", *lines)
    with pytest.raises(ValueError, match=message):
        load_files(file, file, metric=metric)


@pytest.mark.parametrize(
    ("name", "header", "row", "expected"),
    [
        ("rte", "index\tsentence1\tsentence2", "0\ta\tb", ("a", "b")),
        ("rte", "sentence2\tlabel\tsentence1", "b\twhat?\ta", ("a", "b")),
        ("cola", "index\tsentence", "0\ta", ("a",)),
        ("mrpc", "#1 String\t#2 String", "a\tb", ("a", "b")),
        ("mrpc", "sentence1\tsentence2", "a\tb", ("a", "b")),
        ("qnli", "question\tsentence", "a\tb", ("a", "b")),
    ],
)
def test_files_to_predict(tmp_path, name, header, row, expected):
    file = write(tmp_path / "file", header, row)
    examples = read_examples(file, tasks.TASKS[name], labelled=False)
    assert examples.texts == [expected]
    assert examples.labels is None


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "qnli",
            ["sentence", "a"],
            "line 1: .* for qnli are 'question' and 'sentence'",
        ),
        (
            "cola",
            ["a sentence", "b"],
            "are 'a sentence'; needed for cola are 'sentence'",
        ),
        ("cola", ["sentence", "a", "", "b"], "line 3: an empty line"),
        ("cola", ["sentence"], "has no examples"),
    ],
)
def test_bad_files_to_predict(tmp_path, name, lines, message):
    with pytest.raises(DataError, match=message):
        read_examples(
            write(tmp_path / "file", *lines), tasks.TASKS[name], labelled=False
        )


# ---- fewer examples


def numbered(count: int) -> Examples:
    return Examples([(str(i),) for i in range(count)], np.arange(count, dtype=np.int32))


def test_fewer_examples_are_nested_and_in_order():
    everything = numbered(200)
    kept: set[int] = set()
    for count in (1, 2, 50, 199, 200, 500):
        taken = everything.take(count)
        assert taken.labels is not None
        labels = taken.labels.tolist()
        assert len(labels) == min(count, 200)
        assert labels == sorted(set(labels))
        assert taken.texts == [(str(label),) for label in labels]
        assert kept <= set(labels)
        kept = set(labels)
    assert everything.take(None) is everything


def test_fewer_examples_are_the_same_ones_for_ever():
    # Records of runs on a part of the data would otherwise silently change meaning.
    taken = numbered(100).take(6).labels
    np.testing.assert_array_equal(taken, [27, 42, 77, 79, 83, 85])


def test_fewer_examples_are_drawn_from_everywhere():
    taken = numbered(1000).take(100).labels
    assert taken is not None
    # The mean of 100 of 1,000 has a standard deviation of 27.
    assert abs(taken.mean() - 499.5) < 4 * 27


def test_fewer_unlabelled_examples():
    taken = Examples([("a",), ("b",)], None).take(1)
    assert len(taken) == 1
    assert taken.labels is None


@pytest.mark.parametrize("count", [0, -3])
def test_no_examples_cannot_be_taken(count):
    with pytest.raises(ValueError, match=f"count is {count}; at least 1"):
        numbered(5).take(count)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_held_out_examples_are_not_trained_on(share):
    everything = numbered(1000)
    data = TaskData(TASKS["cola"], everything, numbered(3)).hold_out(share)
    assert data.held_out == share
    assert len(data.evaluation) == round(1000 * share)
    parts = []
    for part in (data.train, data.evaluation):
        assert part.labels is not None
        parts.append(part.labels.tolist())
        assert part.texts == [(str(label),) for label in parts[-1]]
        assert parts[-1] == sorted(parts[-1])
    assert sorted(parts[0] + parts[1]) == list(range(1000))


def test_held_out_examples_are_the_same_ones_for_ever_and_from_everywhere():
    held = numbered(60).hold_out(0.1)[1].labels
    np.testing.assert_array_equal(held, [20, 31, 41, 47, 53, 57])
    held = numbered(1000).hold_out(0.1)[1].labels
    assert held is not None
    # The mean of 100 of 1,000 has a standard deviation of 27.
    assert abs(held.mean() - 499.5) < 4 * 27
    # They are not the ones that a smaller training set would keep.
    smaller = numbered(1000).take(100).labels
    assert smaller is not None
    assert len(set(held.tolist()) & set(smaller.tolist())) < 30


def test_nothing_held_out():
    data = TaskData(TASKS["cola"], numbered(5), numbered(3))
    assert data.hold_out(None) is data


@pytest.mark.parametrize(("share", "count"), [(0.01, 0), (0.99, 5)])
def test_both_parts_must_have_examples(share, count):
    with pytest.raises(ValueError, match=f"of 5 examples are {count}; there must be"):
        numbered(5).hold_out(share)


# ---- the hub, of which a stand-in gives what it has been found to give


def hub_splits(task: tasks.Task, **changes):
    import datasets

    texts = task.hub_texts or task.texts
    labels = [0.0, 3.8, 5.0] if task.is_regression else [*range(task.num_labels)]
    splits = {}
    for split in ("train", task.hub_split):
        columns = {name: [f"{split} {name} {i}" for i in labels] for name in texts}
        columns |= {"label": labels, "idx": [*range(len(labels))], **changes}
        columns = {k: v for k, v in columns.items() if v is not None}
        splits[split] = datasets.Dataset.from_dict(columns)
    return datasets.DatasetDict(splits)


def stand_in(monkeypatch, answer):
    import datasets
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)

    def load_dataset(*arguments):
        asked.append(arguments)
        if isinstance(answer, Exception):
            logging.getLogger("huggingface_hub.utils").warning("retrying")
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


HUB_NAMES = {"mnli-mm": "mnli"}


@pytest.mark.parametrize("name", tasks.TASKS)
def test_hub(monkeypatch, name):
    task = tasks.TASKS[name]
    asked = stand_in(monkeypatch, hub_splits(task))
    data = load_task(name)
    assert asked == [("nyu-mll/glue", HUB_NAMES.get(name, name))]
    assert data.task is task
    texts = task.hub_texts or task.texts
    assert data.evaluation.texts[1] == tuple(
        f"{task.hub_split} {column} {3.8 if task.is_regression else 1}"
        for column in texts
    )
    expected = [0, 3.8, 5] if task.is_regression else range(task.num_labels)
    dtype = np.float32 if task.is_regression else np.int32
    assert data.train.labels is not None
    assert data.train.labels.dtype == dtype
    np.testing.assert_array_equal(data.train.labels, np.array(expected, dtype))


def test_no_network_is_one_line(monkeypatch, caplog):
    import datasets

    logger = logging.getLogger("huggingface_hub")
    before = logger.level, datasets.are_progress_bars_disabled()
    stand_in(monkeypatch, ConnectionError("a\nb"))
    with pytest.raises(
        DataError,
        match=r"cannot load 'rte'.*RTE/train.tsv and RTE/dev.tsv with --data-d",
    ) as caught:
        load_task("rte")
    assert "\n" not in str(caught.value)
    assert not caplog.records
    assert before == (logger.level, datasets.are_progress_bars_disabled())


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, tmp_path):
    import datasets
    import huggingface_hub.constants

    waits = []
    # Nothing listens at the port for discarded messages of the machine itself.
    for place, name in (
        (huggingface_hub.constants, "ENDPOINT"),
        (datasets.config, "HF_ENDPOINT"),
    ):
        monkeypatch.setattr(place, name, "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(time, "sleep", waits.append)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(DataError, match=r"cannot load 'rte' .* with --data-dir$"):
        load_task("rte")
    assert waits == []
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": [-1, -1]},
            "split 'train': labels from -1 to -1; accepted are 0 to 1",
        ),
        ({"label": [0, 2]}, "labels from 0 to 2"),
        ({"sentence1": None}, "no column 'sentence1'; there are 'sentence2', 'label'"),
        ({"sentence1": [], "sentence2": [], "label": [], "idx": []}, "no examples"),
    ],
)
def test_a_hub_that_has_something_else(monkeypatch, changes, message):
    stand_in(monkeypatch, hub_splits(tasks.TASKS["rte"], **changes))
    with pytest.raises(DataError, match=message):
        hub.load_task(tasks.TASKS["rte"])


def test_a_hub_without_a_split(monkeypatch):
    splits = hub_splits(tasks.TASKS["rte"])
    del splits["validation"]
    stand_in(monkeypatch, splits)
    with pytest.raises(
        DataError, match="split 'validation': not there; there are train"
    ):
        hub.load_task(tasks.TASKS["rte"])


# ---- real data


@pytest.mark.parametrize(
    ("name", "train", "evaluation", "positive"),
    [("rte", 2490, 277, 131), ("mrpc", 3668, 408, 279), ("cola", 8551, 1043, 721)],
)
def test_real_data(shared_dir, name, train, evaluation, positive):
    data = load_task(name, shared_dir / "glue")
    assert (len(data.train), len(data.evaluation)) == (train, evaluation)
    assert data.train.labels is not None
    assert data.evaluation.labels is not None
    assert set(data.train.labels.tolist()) == {0, 1}
    assert data.evaluation.labels.sum() == positive
    for examples in (data.train, data.evaluation):
        assert all(text.strip() == text != "" for row in examples.texts for text in row)
