"""The word pieces of the small English, in the order of a BERT vocabulary file."""

from __future__ import annotations

import string

from bert_glue.data.english import lexicon

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CLOSED = "be am is are was were been being have has do does did will not"
_CLOSED += " an and or than more that who by to from her"


# Endings that are pieces of their own, longest first.
SUFFIXES = ("ing", "ed", "er", "es", "d", "r", "s")


def _stands(word: str, stems: set[str]) -> bool:
    """Whether a word needs a piece of its own: it is no stem with an ending."""
    return not any(word == stem + end for stem in stems for end in SUFFIXES)


def vocabulary() -> list[str]:
    """Lists the pieces that spell every word of the grammar, and any other word.

    Regular inflection is a piece of its own, as in vocabularies learnt from text:
    'dogs' is 'dog' and '##s', 'baked' is 'bake' and '##d'; 'geese', 'stole' and
    'baking' are one piece.

    Returns:
      Special pieces, punctuation, letters and digits at the start of a word and (with
      '##') inside one, endings, then words in alphabetical order. A piece's place is
      its identifier.

    >>> pieces = vocabulary()
    >>> "geese" in pieces, "dogs" in pieces, len(pieces) == len(set(pieces))
    (True, False, True)
    """
    stems = {*lexicon.NOUNS, *lexicon.VERBS, *lexicon.ADJECTIVES}
    inflected: set[str] = set()
    for noun in lexicon.NOUNS.values():
        inflected.add(noun.plural)
    for verb in lexicon.VERBS.values():
        inflected |= {verb.third, verb.past, verb.participle, verb.gerund}
    for adjective in lexicon.ADJECTIVES.values():
        inflected |= set(adjective.comparative)
    words = stems | {word for word in inflected if _stands(word, stems)}
    words |= set(_CLOSED.split())
    for forms in lexicon.PRONOUNS.values():
        words |= set(forms)
    for group in (
        lexicon.MANNERS,
        lexicon.NAMES,
        lexicon.SINGULAR_DETERMINERS,
        lexicon.PLURAL_DETERMINERS,
        lexicon.POSSESSIVES,
        lexicon.PREPOSITIONS,
        lexicon.FREQUENCIES,
    ):
        words |= set(group)
    for times in lexicon.TIMES.values():
        words |= {word for time in times for word in time.split()}
    letters = string.ascii_lowercase + string.digits
    inside = [f"##{letter}" for letter in letters]
    endings = [f"##{end}" for end in SUFFIXES if len(end) > 1]
    longer = sorted(word for word in words if len(word) > 1)
    return [*SPECIAL, *".,;:!?'\"()-", *letters, *inside, *endings, *longer]
