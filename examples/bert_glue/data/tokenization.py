"""Sentences to token numbers, with the tokenizer that came with a checkpoint."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_glue.data.examples import Examples

if TYPE_CHECKING:
    import tokenizers

# Files that make up a BERT tokenizer, of which some are enough.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_MULTIPLE = 8
_CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Examples as arrays, padded on the right to one length.

    Attributes:
      input_ids: int32 of shape (examples, length); the length is that of the longest
        example, rounded up to a multiple of 8 if that is not above the maximum.
      token_type_ids: int32 of the same shape: 1 for tokens of the second sentence.
      lengths: int32 of shape (examples,): tokens that are not padding.
      labels: int32 or float32 of shape (examples,), or None.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.lengths)


def load_tokenizer(folder: str | pathlib.Path) -> "tokenizers.Tokenizer":
    """Loads the tokenizer of a checkpoint.

    Args:
      folder: Holds ``tokenizer.json`` or ``vocab.txt``, and ``tokenizer_config.json``
        if it is not as the former says, or BERT's usual one, which lower-cases and
        strips accents.

    Returns:
      The tokenizer, which neither truncates nor pads.

    Raises:
      ValueError: If the folder has neither file, or they do not make up a tokenizer
        that encloses sentences as BERT expects them.
    """
    from tokenizers import Tokenizer

    folder = pathlib.Path(folder)
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            _normalize_as_told(tokenizer, _settings(folder))
        elif (folder / "vocab.txt").is_file():
            tokenizer = _from_vocabulary(folder)
        else:
            raise FileNotFoundError("neither tokenizer.json nor vocab.txt is there")
    except Exception as error:  # the engine raises bare exceptions
        raise ValueError(f"cannot read the tokenizer in {folder}: {error}") from error
    # Of [CLS] a [SEP] b [SEP], what is not text.
    added = tokenizer.num_special_tokens_to_add(is_pair=True)
    if added != 3:
        raise ValueError(
            f"the tokenizer in {folder} adds {added} special tokens to a pair of "
            "sentences; BERT's adds 3, [CLS] and twice [SEP]"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _from_vocabulary(folder: pathlib.Path) -> "tokenizers.Tokenizer":
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    settings = _settings(folder)
    wrapped = BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    if wrapped.token_to_id("[UNK]") is None:
        raise ValueError("[UNK] is not in vocab.txt")
    return Tokenizer.from_str(wrapped.to_str())


def _settings(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _normalize_as_told(
    tokenizer: "tokenizers.Tokenizer", settings: Mapping[str, Any]
) -> None:
    """Lets tokenizer_config.json overrule tokenizer.json, as Hugging Face does."""
    from tokenizers.normalizers import BertNormalizer

    state = json.loads(tokenizer.to_str())["normalizer"]
    if state is None or state.pop("type") != "BertNormalizer":
        return
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    told = {ours: settings[name] for name, ours in names.items() if name in settings}
    if {**state, **told} != state:
        tokenizer.normalizer = BertNormalizer(**{**state, **told})


def encode(
    examples: Examples,
    tokenizer: "tokenizers.Tokenizer",
    max_length: int,
    pad_token_id: int = 0,
) -> Encoded:
    """Encodes sentences or pairs.

    Args:
      examples: What to encode.
      tokenizer: From :func:`load_tokenizer`.
      max_length: Most tokens of an example, special ones included; of a longer pair the
        longer sentence is cut first.
      pad_token_id: What padding is filled with.

    Returns:
      The arrays.

    Raises:
      ValueError: If ``max_length`` leaves no room for tokens, or there are no examples.
    """
    if max_length < _MULTIPLE:
        raise ValueError(f"max_length is {max_length}: at least {_MULTIPLE} is due")
    if not examples.texts:
        raise ValueError("there are no examples to encode")
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    inputs = [texts if len(texts) == 2 else texts[0] for texts in examples.texts]
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    # What the engine returns takes far more memory than the numbers that are kept.
    for start in range(0, len(inputs), _CHUNK):
        for encoding in tokenizer.encode_batch_fast(inputs[start : start + _CHUNK]):
            rows.append(
                (np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.int8))
            )
    tokenizer.no_truncation()
    lengths = np.array([len(ids) for ids, _ in rows], np.int32)
    longest = min(-(-int(lengths.max()) // _MULTIPLE) * _MULTIPLE, max_length)
    input_ids = np.full((len(rows), longest), pad_token_id, np.int32)
    token_type_ids = np.zeros_like(input_ids)
    for row, (ids, types) in enumerate(rows):
        input_ids[row, : len(ids)] = ids
        token_type_ids[row, : len(ids)] = types
    return Encoded(input_ids, token_type_ids, lengths, examples.labels)
