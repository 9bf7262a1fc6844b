"""Files as the official downloads of GLUE have them, written small."""

import pathlib

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
