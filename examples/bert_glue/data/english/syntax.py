"""How a sentence is put into words: order, agreement, case and verb forms.

Each word knows the slot that it fills and which other forms would be wrong there, so
that unacceptable sentences can be made by one exact change.
"""

from __future__ import annotations

from typing import NamedTuple

from bert_glue.data.english import lexicon
from bert_glue.data.english.structure import Clause, Phrase, Relative


class Word(NamedTuple):
    """A word of a sentence.

    Attributes:
      text: how it is spelt.
      slot: what it is there: 'finite', 'nonfinite', 'not', 'det', 'adjective',
        'noun', 'name', 'pronoun', 'reflexive', 'preposition', 'relative', 'that',
        'adverb', 'time', 'comparative', 'than' or 'conjunction'.
      wrong: forms that would be ungrammatical in its place.
    """

    text: str
    slot: str
    wrong: tuple[str, ...] = ()


_AUXILIARIES = {
    "be": {"base": "be", "participle": "been", "gerund": "being"},
    "have": {"base": "have"},
    "do": {"base": "do"},
    "will": {"base": "will"},
}
_FINITE: dict[str, dict[str, dict[str, str]]] = {
    "be": {
        "present": {"singular": "is", "plural": "are", "first": "am"},
        "past": {"singular": "was", "plural": "were", "first": "was"},
    },
    "have": {"present": {"singular": "has", "plural": "have", "first": "have"}},
    "do": {
        "present": {"singular": "does", "plural": "do", "first": "do"},
        "past": {"singular": "did", "plural": "did", "first": "did"},
    },
    "will": {"present": {"singular": "will", "plural": "will", "first": "will"}},
}
# Finite tense, and the auxiliaries with the form that each asks of what follows it.
_TENSES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "present": ("present", ()),
    "past": ("past", ()),
    "future": ("present", (("will", "base"),)),
    "perfect": ("present", (("have", "participle"),)),
    "progressive": ("present", (("be", "gerund"),)),
    "past progressive": ("past", (("be", "gerund"),)),
}
_NUMBERS: tuple[str, ...] = ("singular", "plural", "first")


def _finite(verb: str, tense: str, number: str) -> Word:
    if verb in _FINITE:
        forms = _FINITE[verb][tense]
    else:
        entry = lexicon.VERBS[verb]
        past = tense == "past"
        plain = entry.past if past else entry.base
        forms: dict[str, str] = dict.fromkeys(_NUMBERS, plain)
        forms["singular"] = entry.past if past else entry.third
    right = forms[number]
    wrong = sorted({forms[name] for name in _NUMBERS[:2]} - {right})
    return Word(right, "finite", tuple(wrong))


def _nonfinite(verb: str, form: str, passive: bool) -> Word:
    if verb in _AUXILIARIES:
        return Word(_AUXILIARIES[verb][form], "nonfinite")
    entry = lexicon.VERBS[verb]
    right = getattr(entry, form)
    wrong = {entry.base, entry.third, entry.past, entry.participle, entry.gerund}
    if passive:
        wrong.discard(entry.gerund)  # 'was chasing' is a passive's neighbour, not wrong
    if form == "gerund":
        wrong.discard(entry.participle)
    return Word(right, "nonfinite", tuple(sorted(wrong - {right})))


def verb_group(clause: Clause, number: str) -> list[Word]:
    """Spells the verb with its auxiliaries, 'not' and adverb of frequency.

    Args:
      clause: the clause, of which tense, voice, polarity and verb count.
      number: the grammatical subject's number, as `Phrase.number` gives it.

    Returns:
      The words.

    >>> clause = Clause(None, "steal", tense="perfect", negated=True, passive=True)
    >>> " ".join(word.text for word in verb_group(clause, "plural"))
    'have not been stolen'
    """
    tense, chain = _TENSES[clause.tense]
    links = [*chain, *([("be", "participle")] if clause.passive else [])]
    if clause.negated and not links and clause.verb != "be":
        links = [("do", "base")]
    verbs = [verb for verb, _ in links] + [clause.verb]
    group = [_finite(verbs[0], tense, number)]
    group += [Word("not", "not")] if clause.negated else []
    adverb = [Word(clause.frequency, "adverb")] if clause.frequency else []
    if len(verbs) == 1 and clause.verb != "be":
        return adverb + group
    group += adverb
    for i, (_, form) in enumerate(links):
        last = i == len(links) - 1
        group.append(_nonfinite(verbs[i + 1], form, clause.passive and last))
    return group


def _noun_phrase(phrase: Phrase, subject: bool) -> list[Word]:
    head = phrase.head
    if head in lexicon.PRONOUNS:
        forms = lexicon.PRONOUNS[head]
        right, wrong = forms[:2] if subject else forms[1::-1]
        spoken = [Word(right, "pronoun", (wrong,))]
    elif head in lexicon.NAMES:
        spoken = [Word(head, "name")]
    elif head.endswith(("self", "selves")):
        others = {forms[2] for forms in lexicon.PRONOUNS.values()} - {head}
        spoken = [Word(head, "reflexive", tuple(sorted(others)))]
    else:
        singular, plural = lexicon.SINGULAR_DETERMINERS, lexicon.PLURAL_DETERMINERS
        right, wrong = (plural, singular) if phrase.plural else (singular, plural)
        unfit = tuple(d for d in wrong if d not in right and d != "that")
        spoken = [Word(phrase.det, "det", unfit)]
        spoken += [Word(adjective, "adjective") for adjective in phrase.adjectives]
        spoken.append(Word(lexicon.NOUNS[head].form(phrase.plural), "noun"))
    if phrase.near is not None:
        spoken += _near(phrase.near)
    if phrase.relative is not None:
        spoken += _relative(phrase.relative, phrase)
    if phrase.partner is not None:
        conjunction, partner = phrase.partner
        spoken += [Word(conjunction, "conjunction"), *_noun_phrase(partner, subject)]
    return spoken


def _near(near: tuple[str, Phrase]) -> list[Word]:
    return [Word(near[0], "preposition"), *_noun_phrase(near[1], False)]


def _relative(relative: Relative, phrase: Phrase) -> list[Word]:
    human = lexicon.NOUNS[phrase.head].kind == "human"
    pronoun = "who" if human and relative.gap == "subject" else "that"
    wrong = () if human else ("who",)
    return [Word(pronoun, "relative", wrong), *words(relative.clause, relative.gap)]


def _recipient(clause: Clause) -> list[Word]:
    if clause.recipient is None:
        return []
    received = lexicon.VERBS[clause.verb].frame == "source"
    preposition = "from" if received or clause.verb in ("buy", "purchase") else "to"
    return [Word(preposition, "preposition"), *_noun_phrase(clause.recipient, False)]


def _predicate(clause: Clause) -> list[Word]:
    if clause.object is None:
        return [Word(clause.predicate, "adjective")]
    comparative = lexicon.ADJECTIVES[clause.predicate].comparative
    spoken = [Word(text, "comparative") for text in comparative]
    return [*spoken, Word("than", "than"), *_noun_phrase(clause.object, False)]


def words(clause: Clause, gap: str = "") -> list[Word]:
    """Spells a clause, word by word.

    Args:
      clause: what is to be said.
      gap: 'subject' leaves the grammatical subject unsaid, 'object' the object of an
        active clause, as relative clauses do; the verb still agrees with it.

    Returns:
      The words in their order, without capitals or full stop ('a' is not yet 'an').
    """
    subject, obj, recipient = clause.subject, clause.object, _recipient(clause)
    agent: list[Word] = []
    if clause.passive:
        if subject is not None:
            agent = [Word("by", "preposition"), *_noun_phrase(subject, False)]
        if clause.double:
            subject, recipient = clause.recipient, []
        else:
            subject, obj = clause.object, None
    elif clause.double and clause.recipient is not None:
        recipient = []
    if subject is None:
        raise ValueError(f"clause has nothing to stand as its subject: {clause}")

    said = [] if gap == "subject" else _noun_phrase(subject, True)
    said += verb_group(clause, subject.number)
    if clause.verb == "be":
        said += _predicate(clause)
    else:
        if clause.double and not clause.passive and clause.recipient is not None:
            said += _noun_phrase(clause.recipient, False)
        if obj is not None and gap != "object":
            said += _noun_phrase(obj, False)
        said += recipient + agent
    return _with_adverbials(clause, said)


def _with_adverbials(clause: Clause, said: list[Word]) -> list[Word]:
    """What follows the verb and its objects, or comes before all."""
    if clause.complement is not None:
        said += [Word("that", "that"), *words(clause.complement)]
    said += [Word(clause.manner, "adverb")] if clause.manner else []
    place = _near(clause.near) if clause.near is not None else []
    time = [Word(text, "time") for text in clause.time.split()]
    if clause.front:
        return [*time, *said, *place] if time else [*place, *said]
    return [*said, *place, *time]


_SILENT = ("honest",)
_CONSONANT = ("useful",)
_CAPITALS = {"i", "monday", "mondays", "friday", *lexicon.NAMES}


def text(spoken: list[Word]) -> str:
    """Writes words as a sentence.

    Args:
      spoken: the words in order.

    Returns:
      The sentence, with a capital, 'an' where it belongs and a full stop.

    >>> text([Word(t, "") for t in "a owl saw a useful map on monday".split()])
    'An owl saw a useful map on Monday.'
    """
    written = []
    for i, word in enumerate(spoken):
        spelt = word.text
        if spelt == "a" and i + 1 < len(spoken):
            after = spoken[i + 1].text
            vowel = after[0] in "aeiou" and after not in _CONSONANT
            spelt = "an" if vowel or after in _SILENT else "a"
        written.append(spelt.capitalize() if spelt in _CAPITALS else spelt)
    return " ".join([written[0].capitalize(), *written[1:]]) + "."


def sentence(clause: Clause) -> str:
    """Writes a clause as a sentence.

    >>> baker = Phrase("baker", "the", near=("near", Phrase("river", "the")))
    >>> sentence(Clause(baker, "feed", Phrase("goose", "some", plural=True)))
    'The baker near the river fed some geese.'
    """
    return text(words(clause))
