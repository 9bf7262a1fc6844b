"""Files written whole or not at all, and names for what they hold."""

import json
import os

import numpy as np
import pytest
from bert_glue.records import files
from bert_glue.records.files import RecordsError


def test_identity_ignores_order_and_spelling_of_numbers():
    name = files.identity({"a": 1, "b": {"c": [0.5, None]}})
    assert name == files.identity({"b": {"c": (np.float64(0.5), None)}, "a": 1.0})
    assert name != files.identity({"a": 2, "b": {"c": [0.5, None]}})
    assert name != files.identity({"a": 1, "b": {"c": [0.5, 0]}})


def test_json_files_are_replaced_whole(tmp_path):
    path = tmp_path / "summary.json"
    files.write_json(path, {"a": 1})
    files.write_json(path, {"b": float("inf")})
    assert json.loads(path.read_text()) == {"b": None}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "new" / "page.html"
    files.replace_file(path, b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RecordsError, match=r"page\.html cannot be written: No space"):
        files.replace_file(path, b"new")
    assert files.read_file(path) == b"old"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(RecordsError, match="none cannot be read: No such file"):
        files.read_file(tmp_path / "none")


def test_files_are_read_by_whom_the_umask_lets(tmp_path):
    umask = os.umask(0o027)
    try:
        files.replace_file(tmp_path / "page.html", b"")
    finally:
        os.umask(umask)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (3.0, 3),
        (2.0**53, 2.0**53),
        (-np.inf, None),
        ({1: (True, np.array([1, 2]))}, {"1": [True, [1, 2]]}),
    ],
)
def test_values_as_json_has_them(value, expected):
    found = files.plain(value)
    assert found == expected
    assert type(found) is type(expected)
