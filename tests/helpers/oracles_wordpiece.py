"""BERT's tokenization written out: by its definition, not by a library.

Devlin et al. (2019); Wu et al. (2016), "Google's Neural Machine Translation System".
"""

import unicodedata
from collections.abc import Iterable, Mapping

_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def words(text: str, lower: bool) -> list[str]:
    """Splits at white space, around punctuation and around ideographs."""
    found = [""]
    for sign in _unaccented(text.lower()) if lower else text:
        kind = unicodedata.category(sign)
        if sign.isspace():
            found.append("")
        elif kind in ("Cc", "Cf") or sign == "\ufffd":
            continue
        elif _is_punctuation(sign) or _is_ideograph(sign):
            found += [sign, ""]
        else:
            found[-1] += sign
    return [word for word in found if word]


def pieces(word: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Takes the longest known beginning, again and again; [UNK] if there is none."""
    ids = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else f"##{word[start:end]}"
            if piece in vocabulary:
                break
        else:
            return [vocabulary["[UNK]"]]
        ids.append(vocabulary[piece])
        start = end
    return ids if len(word) <= 100 else [vocabulary["[UNK]"]]


def tokens(text: str, vocabulary: Mapping[str, int], lower: bool = True) -> list[int]:
    """Numbers of a text's pieces, without special ones."""
    return [i for word in words(text, lower) for i in pieces(word, vocabulary)]


def enclosed(
    texts: Iterable[list[int]], vocabulary: Mapping[str, int]
) -> tuple[list[int], list[int]]:
    """[CLS] a [SEP] b [SEP], and the number of the text that each belongs to."""
    ids, types = [vocabulary["[CLS]"]], [0]
    for number, text in enumerate(texts):
        ids += [*text, vocabulary["[SEP]"]]
        types += [number] * (len(text) + 1)
    return ids, types


def _unaccented(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in decomposed if unicodedata.category(sign) != "Mn")


def _is_punctuation(sign: str) -> bool:
    if sign.isascii():
        return sign.isprintable() and not sign.isalnum()
    return unicodedata.category(sign).startswith("P")


def _is_ideograph(sign: str) -> bool:
    return any(first <= ord(sign) <= last for first, last in _IDEOGRAPHS)
