"""Sentences to token numbers, with the tokenizer that came with a checkpoint."""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from bert_glue.data.batching import MULTIPLE, Data, round_up
from bert_glue.data.examples import Examples
from bert_glue.data.quiet import quiet

if TYPE_CHECKING:
    import transformers

_VOCABULARIES = ("tokenizer.json", "vocab.txt")
TOKENIZER_FILES = (
    *_VOCABULARIES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files that make up a BERT tokenizer, of which some are enough."""

_CHUNK = 4096


def load_tokenizer(
    folder: str | pathlib.Path,
) -> "transformers.PreTrainedTokenizerFast":
    """Loads the tokenizer of a checkpoint, as transformers does.

    Args:
      folder: holds ``tokenizer.json`` or ``vocab.txt``, and ``config.json`` or
        ``tokenizer_config.json``, which say what kind of tokenizer it is.

    Returns:
      The tokenizer.

    Raises:
      ValueError: if the folder has no vocabulary, or what it has does not make up a
        tokenizer that encloses sentences as BERT expects them.
    """
    folder = pathlib.Path(folder)
    try:
        # Without one, transformers goes on with five special tokens.
        if not any((folder / name).is_file() for name in _VOCABULARIES):
            raise FileNotFoundError(f"neither {' nor '.join(_VOCABULARIES)} is there")
        with quiet():
            # Imported here: it takes a second, which --help is not to wait for.
            from transformers import AutoTokenizer, PreTrainedTokenizerFast

            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        # Of [CLS] a [SEP] b [SEP], what is not text.
        added = tokenizer.num_special_tokens_to_add(pair=True)
        if not isinstance(tokenizer, PreTrainedTokenizerFast) or added != 3:
            raise ValueError(
                f"{type(tokenizer).__name__} adds {added} special tokens to a pair of "
                "sentences; BERT's adds 3, [CLS] and twice [SEP]"
            )
        # A special token that the vocabulary lacks is given a number above all others,
        # for which the model has no embedding.
        for name in (tokenizer.unk_token, tokenizer.cls_token, tokenizer.sep_token):
            index = tokenizer.backend_tokenizer.token_to_id(str(name))
            if index is None or index >= tokenizer.vocab_size:
                raise ValueError(f"{name} is not in the vocabulary")
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
) -> Data:
    """Encodes sentences or pairs.

    Args:
      examples: what to encode.
      tokenizer: from :func:`load_tokenizer`.
      max_length: most tokens of an example, special ones included; of a longer pair the
        longer sentence is cut first.
      pad_token_id: what padding is filled with.

    Returns:
      NumPy arrays, padded on the right to the length of the longest example, rounded up
      to a multiple of 8 if that is not above the maximum; labels are 0 where there were
      none.

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
    engine.enable_truncation(max_length, strategy="longest_first")
    inputs = [texts if len(texts) == 2 else texts[0] for texts in examples.texts]
    # In chunks: an encoding takes far more memory than the two arrays that are kept.
    rows = [
        (np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.int8))
        for start in range(0, len(inputs), _CHUNK)
        for encoding in engine.encode_batch_fast(inputs[start : start + _CHUNK])
    ]
    engine.no_truncation()
    lengths = np.array([len(ids) for ids, _ in rows], np.int32)
    width = round_up(int(lengths.max()), max_length)
    input_ids = np.full((len(rows), width), pad_token_id, np.int32)
    token_type_ids = np.zeros_like(input_ids)
    for row, (ids, types) in enumerate(rows):
        input_ids[row, : len(ids)] = ids
        token_type_ids[row, : len(ids)] = types
    labels = np.zeros_like(lengths) if examples.labels is None else examples.labels
    return Data(input_ids, token_type_ids, lengths, labels)
