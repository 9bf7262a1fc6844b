"""Sentences to token numbers, with the tokenizer that came with a checkpoint."""

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from bert_glue.tasks import Examples

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


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Examples as arrays, padded on the right to one length.

    Attributes:
      input_ids: int32 of shape (examples, length); the length is that of the longest
        example, rounded up to a multiple of 8.
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
      folder: Holds ``tokenizer.json``, or ``vocab.txt`` with, if the text is not to be
        lower-cased, a ``tokenizer_config.json`` that says so.

    Returns:
      The tokenizer, which neither truncates nor pads.

    Raises:
      ValueError: If the folder has neither file, or one that cannot be read.
    """
    from tokenizers import Tokenizer
    from tokenizers.implementations import BertWordPieceTokenizer

    folder = pathlib.Path(folder)
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        elif (folder / "vocab.txt").is_file():
            lower = True
            if (folder / "tokenizer_config.json").is_file():
                settings = json.loads((folder / "tokenizer_config.json").read_text())
                lower = settings.get("do_lower_case", True)
            wrapped = BertWordPieceTokenizer(
                str(folder / "vocab.txt"), lowercase=bool(lower)
            )
            tokenizer = Tokenizer.from_str(wrapped.to_str())
        else:
            raise ValueError(f"{folder} has neither tokenizer.json nor vocab.txt")
    except ValueError:
        raise
    except Exception as error:  # the engine raises bare exceptions
        raise ValueError(f"cannot read the tokenizer in {folder}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


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
    encodings = tokenizer.encode_batch(inputs)
    tokenizer.no_truncation()
    lengths = np.asarray([len(encoding.ids) for encoding in encodings], np.int32)
    longest = min(-(-int(lengths.max()) // _MULTIPLE) * _MULTIPLE, max_length)
    input_ids = np.full((len(encodings), longest), pad_token_id, np.int32)
    token_type_ids = np.zeros_like(input_ids)
    for row, encoding in enumerate(encodings):
        input_ids[row, : lengths[row]] = encoding.ids
        token_type_ids[row, : lengths[row]] = encoding.type_ids
    return Encoded(input_ids, token_type_ids, lengths, examples.labels)
