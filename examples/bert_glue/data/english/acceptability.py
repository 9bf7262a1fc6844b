"""Acceptable and unacceptable sentences, in the shape of CoLA.

An unacceptable sentence is an acceptable one after one violation: a wrong form, a word
out of its place, an argument that its verb lacks or cannot take. What the violation
leaves behind is still made of the same words, so that no single word tells.

References:
  Warstadt et al., "Neural Network Acceptability Judgments", TACL 2019.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

from bert_glue.data.english import lexicon
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.sampling import Sampler, Taste, sample
from bert_glue.data.english.structure import Clause
from bert_glue.data.english.syntax import Word, text, words

Spoken = list[Word]

# Verbs of which English speakers would not doubt what they can stand with.
_NEEDS_OBJECT = """
admire adore praise commend rescue greet hire employ fix repair purchase conceal
carry find discover frighten scare chase pursue devour raise lend hand thank
describe throw receive get
"""
_TAKES_NONE = """
sleep doze laugh giggle smile grin cry weep arrive vanish disappear sneeze cough
fall wait
"""
_NEEDS_MIND = """
admire adore praise commend greet welcome visit scold hug hire employ thank marry
wed warn buy purchase steal paint choose select borrow eat devour see hear watch
observe
"""


def _slots(spoken: Spoken, slot: str) -> list[int]:
    return [i for i, word in enumerate(spoken) if word.slot == slot]


def _wrong_form(slot: str) -> Callable[[Dice, Clause], Spoken | None]:
    """Makes the violation that puts a wrong form into a slot."""

    def violate(dice: Dice, clause: Clause) -> Spoken | None:
        spoken = words(clause)
        indices = [i for i in _slots(spoken, slot) if spoken[i].wrong]
        if not indices:
            return None
        i = dice.pick(indices)
        spoken[i] = Word(dice.pick(spoken[i].wrong), slot)
        return spoken

    return violate


def _order(dice: Dice, clause: Clause) -> Spoken | None:
    """Moves a word past a neighbour that it must precede."""
    spoken = words(clause)
    fixed = {
        ("det", "noun"), ("det", "adjective"), ("adjective", "noun"),
        ("preposition", "det"), ("preposition", "name"), ("relative", "finite"),
        ("finite", "det"), ("finite", "not"), ("not", "nonfinite"),
        ("nonfinite", "det"), ("comparative", "than"), ("than", "det"),
        ("nonfinite", "preposition"), ("finite", "comparative"),
    }  # fmt: skip
    slots = [word.slot for word in spoken]
    pairs = itertools.pairwise(slots)
    indices = [i for i, pair in enumerate(pairs) if pair in fixed]
    if not indices:
        return None
    i = dice.pick(indices)
    spoken[i], spoken[i + 1] = spoken[i + 1], spoken[i]
    return spoken


def _missing(dice: Dice, clause: Clause) -> Spoken | None:
    """Leaves out an argument that the verb cannot do without."""
    del dice
    if clause.verb == "be" or clause.passive or clause.object is None:
        return None
    if clause.verb not in _NEEDS_OBJECT.split():
        return None
    return words(dataclasses.replace(clause, object=None))


def _extra(dice: Dice, clause: Clause) -> Spoken | None:
    """Gives an object to a verb that takes none."""
    if clause.verb not in _TAKES_NONE.split():
        return None
    sampler = Sampler(dice, Taste(relative=0, near=0))
    heads = {clause.subject.head} if clause.subject else set()
    other = sampler.phrase("being", depth=0)
    if other.head in heads:
        return None
    clause = dataclasses.replace(clause, object=other, passive=dice.chance(0.3))
    return words(clause)


def _dative(dice: Dice, clause: Clause) -> Spoken | None:
    """Puts the recipient first with a verb that does not allow it, or says it twice."""
    if clause.recipient is None:
        return None
    if lexicon.VERBS[clause.verb].frame == "dative" and not clause.passive:
        return words(dataclasses.replace(clause, double=True))
    spoken = words(clause)
    indices = [
        i
        for i, word in enumerate(spoken)
        if word.slot == "preposition" and word.text in ("to", "from")
    ]
    if not indices:
        return None
    i = dice.pick(indices)
    others = ("by", "from") if spoken[i].text == "to" else ("by", "near")
    if dice.chance(0.5):
        del spoken[i]
    else:
        spoken[i] = Word(dice.pick(others[:1]), "preposition")
    return spoken


def _resumptive(dice: Dice, clause: Clause) -> Spoken | None:
    """Fills the gap of a relative clause with a pronoun."""
    for phrase in (clause.subject, clause.object):
        relative = phrase.relative if phrase is not None else None
        if phrase is None or relative is None or relative.gap != "object":
            continue
        inside = len(words(relative.clause, relative.gap))
        spoken = words(clause)
        start = _slots(spoken, "relative")[0] + 1
        pronoun = "them" if phrase.plural else dice.pick(("him", "her"))
        spoken.insert(start + inside, Word(pronoun, "pronoun"))
        return spoken
    return None


def _comparative(dice: Dice, clause: Clause) -> Spoken | None:
    """Marks a comparative twice or not at all."""
    spoken = words(clause)
    indices = _slots(spoken, "comparative")
    if not indices:
        return None
    i = indices[-1]
    if len(indices) == 2:
        del spoken[indices[0]]
    elif dice.chance(0.5):
        spoken.insert(i, Word("more", "comparative"))
    else:
        spoken[i] = Word(clause.predicate, "adjective")
    return spoken


def _passive(dice: Dice, clause: Clause) -> Spoken | None:
    """Leaves out what marks a passive: 'by' or the auxiliary."""
    if not clause.passive or clause.subject is None:
        return None
    spoken = words(clause)
    indices = [i for i, word in enumerate(spoken) if word.text == "by"]
    del spoken[indices[-1]]
    del dice
    return spoken


def _selection(dice: Dice, clause: Clause) -> Spoken | None:
    """Lets a thing do what only people and animals can."""
    if clause.subject is None or clause.object is None:
        return None
    if (
        clause.verb not in _NEEDS_MIND.split()
        or clause.subject.head not in lexicon.NOUNS
    ):
        return None
    if clause.object.relative is not None or clause.subject.partner is not None:
        return None
    things = [n for n, noun in lexicon.NOUNS.items() if noun.kind == "thing"]
    if clause.object.head in things and dice.chance(0.5):
        agent, patient = clause.object, clause.subject
        return words(dataclasses.replace(clause, subject=agent, object=patient))
    subject = dataclasses.replace(clause.subject, head=dice.pick(things), relative=None)
    adjective = Sampler(dice, Taste()).adjective(subject.head)
    subject = dataclasses.replace(
        subject, adjectives=(adjective,) * bool(subject.adjectives)
    )
    return words(dataclasses.replace(clause, subject=subject))


VIOLATIONS: dict[str, tuple[Callable[[Dice, Clause], Spoken | None], float]] = {
    "agreement": (_wrong_form("finite"), 5.0),
    "verb form": (_wrong_form("nonfinite"), 2.0),
    "determiner": (_wrong_form("det"), 2.0),
    "case": (_wrong_form("pronoun"), 1.0),
    "reflexive": (_wrong_form("reflexive"), 1.0),
    "relative pronoun": (_wrong_form("relative"), 0.5),
    "resumptive pronoun": (_resumptive, 0.5),
    "word order": (_order, 2.5),
    "missing argument": (_missing, 1.5),
    "extra argument": (_extra, 1.0),
    "dative": (_dative, 1.0),
    "passive": (_passive, 0.7),
    "comparative": (_comparative, 0.7),
    "selection": (_selection, 1.0),
}


def unacceptable(dice: Dice, taste: Taste | None = None) -> tuple[str, str]:
    """Draws an unacceptable sentence.

    Args:
      dice: source of the random choices.
      taste: how often the sentence has what before it is spoilt.

    Returns:
      The sentence and the name of its violation, a key of `VIOLATIONS`.
    """
    name = dice.weighted({name: weight for name, (_, weight) in VIOLATIONS.items()})
    violate = VIOLATIONS[name][0]
    while True:
        spoken = violate(dice, sample(dice, taste))
        if spoken is not None:
            return text(spoken), name


def acceptable(dice: Dice, taste: Taste | None = None) -> str:
    """Draws an acceptable sentence from those that a violation could be done to.

    A violation picks its sentences (one of case needs a pronoun); the acceptable ones
    are picked alike, so that the pick says nothing about the label.

    Args:
      dice: source of the random choices.
      taste: how often the sentence has what.

    Returns:
      The sentence.
    """
    name = dice.weighted({name: weight for name, (_, weight) in VIOLATIONS.items()})
    violate = VIOLATIONS[name][0]
    while True:
        clause = sample(dice, taste)
        if violate(dice, clause) is not None:
            return text(words(clause))
