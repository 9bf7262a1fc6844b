"""``config.json``: read with every part, changed under a lock, refused if foreign."""

import functools
import json
import threading

import pytest
from bert_glue.records import manifest
from bert_glue.records.files import RecordsError
from bert_glue.records.run_store import RunStore


def test_every_part_is_there(tmp_path):
    empty = {"commands": [], "configurations": {}, "tables": {}}
    empty |= {"chosen": [], "curves": {}, "budgets": {}}
    assert manifest.read(tmp_path) == empty
    (tmp_path / manifest.NAME).write_text('{"commands": [1], "else": 2}')
    assert manifest.read(tmp_path) == empty | {"commands": [1], "else": 2}


@pytest.mark.parametrize(
    "text", ["", "[]", '"', '{"commands": ', '{"model_type": "bert"}']
)
def test_what_is_not_ours_is_refused_and_untouched(tmp_path, text):
    (tmp_path / manifest.NAME).write_text(text)
    with pytest.raises(RecordsError, match=r"config\.json is not JSON of this project"):
        manifest.read(tmp_path)
    with pytest.raises(RecordsError, match="use another output directory"):
        manifest.change(RunStore(tmp_path), lambda content: None)
    assert (tmp_path / manifest.NAME).read_text() == text


def test_what_cannot_be_read(tmp_path):
    (tmp_path / manifest.NAME).mkdir()
    with pytest.raises(RecordsError, match=r"config\.json cannot be read: Is a dir"):
        manifest.read(tmp_path)


def append(entry, content):
    content["commands"].append(entry)


def test_no_change_is_lost(tmp_path):
    def add(number):
        store = RunStore(tmp_path)
        for count in range(5):
            entry = [number, count]
            manifest.change(store, functools.partial(append, entry))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    commands = json.loads((tmp_path / manifest.NAME).read_text())["commands"]
    assert sorted(commands) == [[n, count] for n in range(3) for count in range(5)]
