import json
import pathlib
import shutil

import numpy as np
import oracles_wordpiece
import pytest
from bert_glue.data import load, tokenization
from bert_glue.data.examples import Examples
from hypothesis import given, settings
from hypothesis import strategies as st

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [
    *["play", "##ing", "##ed", "un", "##play", "the", "The", "cafe", "caf\u00e9"],
    *["\u4e2d", "a", "##a", "b", "##b", "e", "\u00e9", "##e", "A", "!", "'", "-"],
]
VOCABULARY = {piece: number for number, piece in enumerate([*SPECIAL, *PIECES])}


def write_vocabulary(folder: pathlib.Path, **settings) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*SPECIAL, *PIECES]) + "\n"
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def uncased(tmp_path_factory):
    return tokenization.load_tokenizer(
        write_vocabulary(tmp_path_factory.mktemp("uncased"))
    )


@pytest.fixture(scope="module")
def cased(tmp_path_factory):
    folder = write_vocabulary(tmp_path_factory.mktemp("cased"), do_lower_case=False)
    return tokenization.load_tokenizer(folder)


def encode(tokenizer, *texts, max_length=64, labels=None, **settings):
    examples = Examples(list(texts), labels)
    return tokenization.encode(examples, tokenizer, max_length).data


def names(encoded, row: int = 0) -> list[str]:
    reverse = {number: piece for piece, number in VOCABULARY.items()}
    return [reverse[i] for i in encoded.input_ids[row, : encoded.lengths[row]].tolist()]


# Worked out by hand.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The playing", "the play ##ing"),
        ("unplayed!", "un ##play ##ed !"),
        ("Caf\u00e9 caf\u00e9", "cafe cafe"),
        ("b'a-e", "b ' a - e"),
        ("a\u4e2db", "a \u4e2d b"),
        ("playq the", "[UNK] the"),
        ("a\tb\u00a0e", "a b e"),
        ("a" * 100, "a" + " ##a" * 99),
        ("a" * 101, "[UNK]"),
        ("", ""),
    ],
)
def test_uncased_pieces(uncased, text, expected):
    found = names(encode(uncased, (text,), max_length=128))
    assert found == ["[CLS]", *expected.split(), "[SEP]"]


def test_cased_keeps_case_and_accents(cased):
    found = names(encode(cased, ("The the caf\u00e9 A a",)))
    assert found[1:-1] == ["The", "the", "caf\u00e9", "A", "a"]


def test_accents_can_be_kept_in_lower_case(tmp_path):
    folder = write_vocabulary(tmp_path, do_lower_case=True, strip_accents=False)
    found = names(
        encode(tokenization.load_tokenizer(folder), ("\u00c9 e CAF\u00c9 The",))
    )
    assert found[1:-1] == ["\u00e9", "e", "caf\u00e9", "the"]


def test_pairs_are_enclosed_and_marked(uncased):
    encoded = encode(uncased, ("the play", "a"), ("b", "e e e"))
    assert names(encoded) == ["[CLS]", "the", "play", "[SEP]", "a", "[SEP]"]
    np.testing.assert_array_equal(encoded.lengths, [6, 7])
    np.testing.assert_array_equal(
        encoded.token_type_ids, [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0]]
    )


# Letters, accents composed and not, signs that split and signs that vanish.
_SIGNS = "aabbeeAE\u00e9\u00c9e\u0301!'- \t\u4e2d\u00a0\u200d\x07\ufffdplayinged"


@settings(deadline=None)
@given(st.text(_SIGNS, max_size=30), st.text(_SIGNS, max_size=30))
@pytest.mark.parametrize("lower", [True, False])
def test_agrees_with_wordpiece_written_out(uncased, cased, lower, first, second):
    tokenizer = uncased if lower else cased
    encoded = encode(tokenizer, (first, second), max_length=128)
    ids, types = oracles_wordpiece.enclosed(
        [oracles_wordpiece.tokens(text, VOCABULARY, lower) for text in (first, second)],
        VOCABULARY,
    )
    assert encoded.input_ids[0, : encoded.lengths[0]].tolist() == ids
    assert encoded.token_type_ids[0, : encoded.lengths[0]].tolist() == types


def test_arrays(uncased):
    labels = np.array([1, 0, 1], np.int32)
    encoded = encode(uncased, ("a",), ("a " * 9,), ("b e",), labels=labels)
    assert encoded.input_ids.shape == encoded.token_type_ids.shape == (3, 16)
    np.testing.assert_array_equal(encoded.lengths, [3, 11, 4])
    for array in (encoded.input_ids, encoded.token_type_ids, encoded.lengths):
        assert array.dtype == np.int32
    assert encoded.labels is labels
    padding = np.arange(16) >= encoded.lengths[:, None]
    assert np.all(encoded.input_ids[padding] == 0)
    assert np.all(encoded.input_ids[~padding] != 0)
    assert np.all(encoded.token_type_ids[padding] == 0)


def test_padding_takes_the_models_number(uncased):
    encoded = tokenization.encode(Examples([("a",)], None), uncased, 64, 4).data
    np.testing.assert_array_equal(encoded.input_ids[0, 3:], [4] * 5)


@pytest.mark.parametrize(("words", "length"), [(6, 8), (7, 16), (17, 20), (18, 20)])
def test_length_is_a_multiple_of_eight_or_the_maximum(uncased, words, length):
    encoded = encode(uncased, ("a " * words,), max_length=20)
    assert encoded.input_ids.shape == (1, length)


def test_many_examples_keep_their_order(uncased):
    # More than are handed to the engine at once.
    texts = [("a " * (number % 7 + 1),) for number in range(9000)]
    encoded = encode(uncased, *texts)
    np.testing.assert_array_equal(encoded.lengths, np.arange(9000) % 7 + 3)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 50))
def test_the_longer_sentence_is_cut_first(uncased, first, second, maximum):
    texts = "a " * first, "b " * second
    ids = encode(uncased, texts, max_length=maximum).input_ids[0]
    kept = np.sum(ids == VOCABULARY["a"]), np.sum(ids == VOCABULARY["b"])
    room = maximum - 3
    assert sum(kept) == min(room, first + second)
    # One that was cut was the longer one, up to the token that then went.
    assert kept[0] == first or kept[0] >= kept[1] - 1
    assert kept[1] == second or kept[1] >= kept[0] - 1


def test_truncation_does_not_stay_with_the_tokenizer(uncased):
    encode(uncased, ("a " * 50,), max_length=8)
    assert encode(uncased, ("a " * 50,), max_length=64).lengths[0] == 52


def test_tokenizer_file_goes_before_the_vocabulary(tmp_path, cased):
    folder = write_vocabulary(tmp_path, do_lower_case=False)
    cased.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *reversed(PIECES)]))
    loaded = tokenization.load_tokenizer(folder)
    assert names(encode(loaded, ("The A",)))[1:-1] == ["The", "A"]


def test_a_saved_truncation_is_not_kept(tmp_path, uncased):
    write_vocabulary(tmp_path)
    engine = uncased.backend_tokenizer
    engine.enable_truncation(8)
    engine.enable_padding(length=30)
    engine.save(str(tmp_path / "tokenizer.json"))
    engine.no_truncation()
    engine.no_padding()
    loaded = tokenization.load_tokenizer(tmp_path)
    assert encode(loaded, ("a " * 50,)).lengths.tolist() == [52]
    assert encode(loaded, ("a",)).lengths.tolist() == [3]


def test_added_tokens_are_whole(tmp_path):
    folder = write_vocabulary(tmp_path)
    (folder / "added_tokens.json").write_text(json.dumps({"[new]": len(VOCABULARY)}))
    encoded = encode(tokenization.load_tokenizer(folder), ("a [new] b",))
    assert encoded.input_ids[0, 2] == len(VOCABULARY)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither tokenizer.json nor vocab.txt"),
        ({"tokenizer.json": "{"}, "cannot read the tokenizer"),
        ({"tokenizer.json": "{}"}, "cannot read the tokenizer"),
        ({"vocab.txt": ""}, r"\[UNK\] is not in the vocabulary"),
        ({"vocab.txt": "[PAD]\n[UNK]\n[SEP]\na\n"}, r"\[CLS\] is not in the vocab"),
        ({"vocab.txt": "[PAD]\n[CLS]\n[SEP]\na\n"}, r"\[UNK\] is not in the vocabu"),
        ({"vocab.txt": "\n".join(SPECIAL), "tokenizer_config.json": "{"}, "cannot"),
        (
            {
                "vocab.txt": "\n".join(SPECIAL),
                "tokenizer_config.json": '{"tokenizer_class": "BertJapaneseTokenizer"}',
            },
            "its class is BertJapaneseTokenizer; accepted are BertTokenizer",
        ),
        (
            {"vocab.txt": "\n".join([*SPECIAL, "a", "b", "a"])},
            r"vocab\.txt has 'a' in lines 6 and 8",
        ),
        (
            {
                "vocab.txt": "\n".join([*SPECIAL, "a"]),
                "added_tokens.json": '{"[new]": 9}',
            },
            r"has '\[new\]' as number 9, but it is number 6",
        ),
        ({"vocab.txt": "version https://git-lfs.github.com/spec/v1\n"}, "of Git LFS;"),
        ({"tokenizer.json": "version https://git-lfs.github.com/"}, "of Git LFS;"),
    ],
)
def test_bad_tokenizers(tmp_path, files, message):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        tokenization.load_tokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_beside_a_tokenizer_is_not_run(tmp_path):
    mapped = {"AutoTokenizer": ["mine.Mine", None]}
    settings = {"tokenizer_class": "Mine", "auto_map": mapped}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "mine.py").write_text("raise SystemExit('was run')")
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIAL))
    with pytest.raises(ValueError, match="cannot read the tokenizer"):
        tokenization.load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", [None, "BertTokenizerFast", "ElectraTokenizer"])
@pytest.mark.parametrize("listed", [True, False])
def test_added_tokens_beside_a_vocabulary(tmp_path, kind, listed):
    settings = {"tokenizer_class": kind} if kind else {"do_lower_case": True}
    if listed:
        # Where this is there, transformers does not look into added_tokens.json.
        settings["added_tokens_decoder"] = {"0": {"content": "[PAD]", "special": True}}
    folder = write_vocabulary(tmp_path, **settings)
    (folder / "added_tokens.json").write_text(
        json.dumps({"xyz": len(VOCABULARY) + 1, "[new]": len(VOCABULARY)})
    )
    encoded = encode(tokenization.load_tokenizer(folder), ("a [new] xyz b",))
    added = [len(VOCABULARY), len(VOCABULARY) + 1]
    assert encoded.input_ids[0, 2:4].tolist() == added


def test_what_was_cut_is_counted(uncased):
    texts = [("a " * words,) for words in (1, 6, 7, 40)]
    encoded = tokenization.encode(Examples(texts, None), uncased, 8)
    assert encoded.longest == 42
    assert encoded.truncated_share == 0.5
    assert encoded.data.lengths.tolist() == [3, 8, 8, 8]
    encoded = tokenization.encode(Examples(texts, None), uncased, 42)
    assert (encoded.longest, encoded.truncated_share) == (42, 0)


def test_lengths_before_the_cut_are_those_of_transformers(shared_dir, real_folder):
    import transformers

    examples = load.load_task("rte", shared_dir / "glue").evaluation
    theirs = transformers.AutoTokenizer.from_pretrained(real_folder)
    lengths = list(map(len, theirs(examples.texts)["input_ids"]))
    tokenizer = tokenization.load_tokenizer(real_folder)
    encoded = tokenization.encode(examples, tokenizer, 128)
    assert encoded.longest == max(lengths) > 128
    assert encoded.truncated_share == sum(n > 128 for n in lengths) / len(lengths)


def test_a_tokenizer_without_special_tokens_is_refused(tmp_path):
    import tokenizers

    model = tokenizers.models.WordPiece(VOCABULARY, unk_token="[UNK]")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"adds 0 special tokens.*\[CLS\]"):
        tokenization.load_tokenizer(tmp_path)


def test_what_cannot_be_encoded(uncased):
    with pytest.raises(ValueError, match="max_length is 7: at least 8"):
        encode(uncased, ("a",), max_length=7)
    with pytest.raises(ValueError, match="no examples"):
        encode(uncased)


@pytest.fixture(scope="module")
def real_folder(shared_dir):
    return shared_dir / "models" / "all-MiniLM-L6-v2"


# Facts about the official data, counted once with another program.
@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "tokens"), [("rte", 165_740), ("mrpc", 195_290), ("cola", 96_859)]
)
def test_tokens_of_real_training_sets(shared_dir, real_folder, name, tokens):
    train = load.load_task(name, shared_dir / "glue").train
    tokenizer = tokenization.load_tokenizer(real_folder)
    assert tokenization.encode(train, tokenizer, 128).data.lengths.sum() == tokens


@pytest.mark.parametrize("name", ["rte", "mrpc", "cola"])
def test_real_sentences_agree_with_wordpiece_written_out(
    shared_dir, real_folder, tmp_path, name
):
    for file in ("vocab.txt", "config.json"):
        shutil.copy(real_folder / file, tmp_path)
    lines = (tmp_path / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {piece: number for number, piece in enumerate(lines)}
    examples = load.load_task(name, shared_dir / "glue").evaluation
    encoded = [
        tokenization.encode(examples, tokenization.load_tokenizer(folder), 512).data
        for folder in (real_folder, tmp_path)
    ]
    for row, texts in enumerate(examples.texts):
        ids, types = oracles_wordpiece.enclosed(
            [oracles_wordpiece.tokens(text, vocabulary) for text in texts], vocabulary
        )
        for each in encoded:
            length = each.lengths[row]
            assert each.input_ids[row, :length].tolist() == ids
            assert each.token_type_ids[row, :length].tolist() == types


# As the documentation of transformers prints them for this vocabulary.
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", "101 7592 2088 102"),
        (
            "I've been waiting for a HuggingFace course my whole life.",
            "101 1045 1005 2310 2042 3403 2005 1037 17662 12172 2607 2026 2878 2166 "
            "1012 102",
        ),
    ],
)
def test_known_sentences(real_folder, text, ids):
    encoded = encode(tokenization.load_tokenizer(real_folder), (text,))
    found = encoded.input_ids[0, : encoded.lengths[0]].tolist()
    assert found == [int(number) for number in ids.split()]


def assert_as_transformers(ours, theirs, pairs, max_length):
    encoded = encode(ours, *pairs, max_length=max_length)
    expected = theirs(
        *map(list, zip(*pairs, strict=True)),
        truncation="longest_first",
        max_length=max_length,
    )
    for row, length in enumerate(encoded.lengths):
        assert encoded.input_ids[row, :length].tolist() == expected["input_ids"][row]
        types = encoded.token_type_ids[row, :length].tolist()
        assert types == expected["token_type_ids"][row]


@pytest.mark.parametrize("max_length", [9, 64])
def test_what_is_cut_on_the_left(tmp_path, uncased, max_length):
    import transformers

    uncased.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"truncation_side": "left"})
    )
    ours = tokenization.load_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.truncation_side == "left"
    pairs = [("the cat a the dog", "a the " * 9), ("the " * 20, "a"), ("a", "the")]
    assert_as_transformers(ours, theirs, pairs, max_length)


@pytest.mark.parametrize("max_length", [9, 64])
@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_alone_makes_transformers_tokenizer(
    tmp_path, uncased, cased, lower, max_length
):
    import transformers

    folder = write_vocabulary(tmp_path)
    theirs = transformers.BertTokenizer.from_pretrained(folder, do_lower_case=lower)
    pairs = [
        ("The playing", "unplayed! caf\u00e9 A"),
        ("a\u4e2db - the the play playing", "Caf\u00e9"),
        ("b'a-e " * 5, "the " * 4),
    ]
    assert_as_transformers(uncased if lower else cased, theirs, pairs, max_length)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
def test_the_configuration_overrules_the_file_as_in_transformers(
    tmp_path, lower, asked
):
    import transformers

    made = write_vocabulary(tmp_path / "made", do_lower_case=lower)
    transformers.BertTokenizer.from_pretrained(made).save_pretrained(made)
    settings = json.loads((made / "tokenizer_config.json").read_text())
    if asked is None:
        del settings["do_lower_case"]
    else:
        settings["do_lower_case"] = asked
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = tokenization.load_tokenizer(made)
    found = names(encode(ours, ("The Caf\u00e9 the",)))
    # BERT's own setting where nothing is said.
    assert found[1] == ("The" if asked is False else "the")
    theirs = transformers.BertTokenizerFast.from_pretrained(made)
    pairs = [("The playing", "unplayed! caf\u00e9 A"), ("Caf\u00e9", "the")]
    assert_as_transformers(ours, theirs, pairs, 64)


@pytest.mark.parametrize("max_length", [32, 128])
def test_real_pairs_are_as_transformers_encodes_them(
    shared_dir, real_folder, max_length
):
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(real_folder)
    ours = tokenization.load_tokenizer(real_folder)
    pairs = load.load_task("rte", shared_dir / "glue").evaluation.texts
    assert_as_transformers(ours, theirs, pairs, max_length)
