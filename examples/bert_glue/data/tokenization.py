"""Sentences to token numbers, with the tokenizer that came with a checkpoint."""

import json
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bert_glue.data.batching import MULTIPLE, Data, round_up
from bert_glue.data.examples import Examples
from bert_glue.data.quiet import quiet
from bert_glue.data.signatures import foreign_file

if TYPE_CHECKING:
    import transformers

_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
TOKENIZER_FILES = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files that make up a tokenizer, of which some are enough."""

_FAMILIES = (
    *("Bert", "DistilBert", "Electra", "MobileBert", "Roberta", "XLMRoberta"),
    *("Camembert", "MPNet", "Albert", "DebertaV2", "Llama", "Qwen2", "GPT2"),
)
_CLASSES = (
    *(f"{family}Tokenizer" for family in _FAMILIES),
    "PreTrainedTokenizer",
    "TokenizersBackend",
)
"""Kinds of tokenizers, with or without 'Fast', that the engine behind transformers has,
or that say all about themselves in tokenizer.json."""

_CHUNK = 4096


class Encoded(NamedTuple):
    """Examples as numbers, and what became of them.

    Attributes:
      data: the arrays.
      longest: most tokens that an example has before it is cut.
      truncated_share: share of the examples that were cut, from 0 to 1.
      token_types: how many there are: 2 where pairs are told apart.
    """

    data: Data
    longest: int
    truncated_share: float
    token_types: int


def load_tokenizer(
    folder: str | pathlib.Path, special_tokens: int | None = 3
) -> "transformers.PreTrainedTokenizerFast":
    """Loads the tokenizer of a checkpoint, as transformers does.

    Args:
      folder: holds ``tokenizer.json``, ``vocab.txt`` or another vocabulary, and
        ``config.json`` or ``tokenizer_config.json``, which say what kind of tokenizer
        it is.
      special_tokens: how many it should add to a pair of sentences: BERT's [CLS] and
        twice [SEP]; None if that is its own business.

    Returns:
      The tokenizer.

    Raises:
      ValueError: if the folder has no vocabulary, or what it has does not make up a
        tokenizer that encloses sentences as the model expects them.
    """
    folder = pathlib.Path(folder)
    try:
        # Without one, transformers goes on with five special tokens.
        present = [name for name in _VOCABULARIES if (folder / name).is_file()]
        if not present:
            raise FileNotFoundError(
                f"neither {' nor '.join(_VOCABULARIES[:2])} is there, nor another "
                "vocabulary"
            )
        if foreign := foreign_file(folder / present[0]):
            raise ValueError(f"{present[0]} is {foreign}")
        kind = _read_json(folder, "tokenizer_config.json").get("tokenizer_class")
        if kind is not None and str(kind).removesuffix("Fast") not in _CLASSES:
            raise ValueError(
                f"its class is {kind}; accepted are {', '.join(_CLASSES)} and their "
                "Fast ones"
            )
        if present[0] == "vocab.txt":
            _check_vocabulary(folder)
        with quiet():
            # Imported here: it takes a second, which --help is not to wait for.
            from transformers import AutoTokenizer, PreTrainedTokenizerFast

            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        # Of [CLS] a [SEP] b [SEP], what is not text.
        added = tokenizer.num_special_tokens_to_add(pair=True)
        is_engine = isinstance(tokenizer, PreTrainedTokenizerFast)
        if not is_engine or added != (special_tokens or added):
            raise ValueError(
                f"{type(tokenizer).__name__} adds {added} special tokens to a pair of "
                f"sentences; the model expects {special_tokens}, such as [CLS] and "
                "[SEP]"
            )
        _check_special_tokens(tokenizer, folder)
        _add_tokens(tokenizer, _read_json(folder, "added_tokens.json"))
    except Exception as error:  # of many kinds, bare ones of the engine among them
        raise ValueError(
            f"cannot read the tokenizer in {folder}: {' '.join(str(error).split())} "
            f"({type(error).__name__})"
        ) from error
    return tokenizer


def encode(
    examples: Examples,
    tokenizer: "transformers.PreTrainedTokenizerFast",
    max_length: int,
    pad_token_id: int = 0,
) -> Encoded:
    """Encodes sentences or pairs.

    Args:
      examples: what to encode.
      tokenizer: from :func:`load_tokenizer`.
      max_length: most tokens of an example, special ones included; of a longer pair the
        longer sentence is cut first, on the side that the tokenizer says.
      pad_token_id: what padding is filled with.

    Returns:
      NumPy arrays, padded on the right to the length of the longest example, rounded up
      to a multiple of 8 if that is not above the maximum, with labels of 0 where there
      were none; and how many examples were cut.

    Raises:
      ValueError: if ``max_length`` leaves no room for tokens, or there are no examples.
    """
    if max_length < MULTIPLE:
        raise ValueError(f"max_length is {max_length}: at least {MULTIPLE} is due")
    if not examples.texts:
        raise ValueError("there are no examples to encode")
    # Not through the tokenizer around it, which makes long lists of what is wanted as
    # arrays, and takes more time for that.
    engine = tokenizer.backend_tokenizer
    engine.no_padding()
    inputs = [texts if len(texts) == 2 else texts[0] for texts in examples.texts]

    def rows_of(inputs: list[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        # In chunks: an encoding takes far more memory than the arrays that are kept.
        return [
            (np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.int8))
            for start in range(0, len(inputs), _CHUNK)
            for encoding in engine.encode_batch_fast(inputs[start : start + _CHUNK])
        ]

    engine.no_truncation()
    rows = rows_of(inputs)
    longest = max(len(ids) for ids, _ in rows)
    # The engine does not say how long was what it cut: what is too long comes anew.
    cut = [row for row, (ids, _) in enumerate(rows) if len(ids) > max_length]
    engine.enable_truncation(
        max_length, strategy="longest_first", direction=tokenizer.truncation_side
    )
    for row, shorter in zip(cut, rows_of([inputs[row] for row in cut]), strict=True):
        rows[row] = shorter
    engine.no_truncation()
    lengths = np.array([len(ids) for ids, _ in rows], np.int32)
    width = round_up(int(lengths.max()), max_length)
    input_ids = np.full((len(rows), width), pad_token_id, np.int32)
    token_type_ids = np.zeros_like(input_ids)
    for row, (ids, types) in enumerate(rows):
        input_ids[row, : len(ids)] = ids
        token_type_ids[row, : len(ids)] = types
    labels = np.zeros_like(lengths) if examples.labels is None else examples.labels
    data = Data(input_ids, token_type_ids, lengths, labels)
    token_types = int(token_type_ids.max()) + 1
    return Encoded(data, longest, len(cut) / len(rows), token_types)


def _read_json(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """A file's object; empty if there is no file."""
    if not (folder / name).is_file():
        return {}
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{name} is not an object")
    return content


def _check_vocabulary(folder: pathlib.Path) -> None:
    """Refuses a word piece that is there twice: it would have but one number."""
    first_lines: dict[str, int] = {}
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    for line, piece in enumerate(pieces, 1):
        if piece and (first := first_lines.setdefault(piece, line)) != line:
            raise ValueError(f"vocab.txt has {piece!r:.60} in lines {first} and {line}")


def _check_special_tokens(
    tokenizer: "transformers.PreTrainedTokenizerFast", folder: pathlib.Path
) -> None:
    """Refuses special tokens that the files do not have.

    Such a one is given a number above all others, for which the model has no embedding.
    """
    of_file = {
        token.get("content")
        for token in _read_json(folder, "tokenizer.json").get("added_tokens") or ()
    }
    for name in (tokenizer.unk_token, tokenizer.cls_token, tokenizer.sep_token):
        index = tokenizer.backend_tokenizer.token_to_id(str(name))
        is_known = index is not None and index < tokenizer.vocab_size
        if name is not None and not is_known and name not in of_file:
            raise ValueError(f"{name} is not in the vocabulary")


def _add_tokens(
    tokenizer: "transformers.PreTrainedTokenizerFast", added: dict[str, Any]
) -> None:
    """Adds the tokens of added_tokens.json that transformers has passed over."""
    number_of = tokenizer.backend_tokenizer.token_to_id
    for token, number in sorted(added.items(), key=lambda item: item[1]):
        if number_of(token) is None:
            tokenizer.add_tokens([token])
        if number_of(token) != number:
            raise ValueError(
                f"added_tokens.json has {token!r:.60} as number {number}, but it is "
                f"number {number_of(token)} of all pieces"
            )
