"""Two ways to say one thing, and two things said in like ways, in the shape of MRPC.

A paraphrase says the same in other words: active or passive, "gave her a book" or "gave
a book to her", "sold to" or "bought from", "taller than me" or "I am shorter than",
synonyms. What is no paraphrase has been through the same, after one change of what is
said: who did it to whom, whether it happened, when, to how many.

References:
  Dolan and Brockett, "Automatically Constructing a Corpus of Sentential
  Paraphrases", IWP 2005.
"""

from __future__ import annotations

import dataclasses

from bert_glue.data.english import lexicon
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.rewording import Edit, reword, unambiguous
from bert_glue.data.english.sampling import MAX_WORDS, Sampler, Taste, related, sample
from bert_glue.data.english.structure import Clause, Phrase, lemmas, rename
from bert_glue.data.english.syntax import sentence, words

replace = dataclasses.replace


def roles(dice: Dice, clause: Clause) -> Clause | None:
    """Swaps two participants."""
    names = [
        name
        for name in ("subject", "object", "recipient")
        if getattr(clause, name) is not None
    ]
    kinds = {name: _kind(getattr(clause, name)) for name in names}
    beings = [name for name in names if kinds[name] == "human"]
    if clause.verb == "be" or (len(beings) < 2 and "thing" not in kinds.values()):
        beings = names
    if len(beings) < 2:
        return None
    first, second = dice.shuffled(beings)[:2]
    swapped = {first: getattr(clause, second), second: getattr(clause, first)}
    if swapped[first].head.endswith("self") or swapped[second].head.endswith("self"):
        return None
    if kinds[first] != kinds[second] and clause.verb != "be":
        entry = lexicon.VERBS[clause.verb]
        if (entry.subject, entry.object) != ("being", "being"):
            return None
    return replace(clause, **swapped)


def _kind(phrase: Phrase) -> str:
    noun = lexicon.NOUNS.get(phrase.head)
    return noun.kind if noun is not None else "human"


def polarity(dice: Dice, clause: Clause) -> Clause | None:
    """Negates the verb, or takes the negation back."""
    del dice
    turned = replace(clause, negated=not clause.negated, frequency="")
    return turned if unambiguous(turned) else None


def argument(dice: Dice, clause: Clause) -> Clause | None:
    """Puts another noun of the same kind, or another name, in a participant's place."""
    known = lemmas(clause)
    names = [n for n in ("subject", "object", "recipient") if getattr(clause, n)]
    name = dice.pick(names)
    phrase = getattr(clause, name)
    if phrase.head in lexicon.NAMES:
        options = [n for n in lexicon.NAMES if n != phrase.head]
    elif phrase.head in lexicon.NOUNS:
        kind, like = _kind(phrase), lexicon.NOUNS[phrase.head].hypernym
        nouns = [
            n for n, e in lexicon.NOUNS.items() if e.kind == kind and n not in known
        ]
        options = [n for n in nouns if not related(n, phrase.head)]
        siblings = [n for n in nouns if like and lexicon.NOUNS[n].hypernym == like]
        twin = lexicon.NOUNS[phrase.head].synonym
        options = [n for n in siblings if n != twin] or options
    else:
        return None
    new = dice.pick(options)
    return replace(clause, **{name: rename(phrase, {phrase.head: new})})


def action(dice: Dice, clause: Clause) -> Clause | None:
    """Says that something else was done."""
    if clause.verb == "be":
        old = lexicon.ADJECTIVES[clause.predicate]
        if old.opposite:
            return replace(clause, predicate=old.opposite)
        return None
    old = lexicon.VERBS[clause.verb]
    like = (old.frame, old.subject, old.object)
    options = [
        verb.base
        for verb in lexicon.VERBS.values()
        if (verb.frame, verb.subject, verb.object) == like
        and not related(verb.base, old.base)
    ]
    return replace(clause, verb=dice.pick(options)) if options else None


def _takes(phrase: Phrase, adjective: str) -> bool:
    """Whether a phrase has room for an adjective that fits it."""
    fits = lexicon.is_a(_kind(phrase), lexicon.ADJECTIVES[adjective].kind)
    return fits and phrase.head in lexicon.NOUNS and not phrase.adjectives


def modifier(dice: Dice, clause: Clause) -> Clause | None:
    """Gives an adjective to the other noun, or another adjective to the same."""
    subject, other = clause.subject, clause.object
    if subject is None or not subject.adjectives:
        subject, other = other, subject
    if subject is None or not subject.adjectives:
        return None
    owner = "subject" if subject is clause.subject else "object"
    old = subject.adjectives[0]
    if other is not None and _takes(other, old):
        moved = replace(other, adjectives=subject.adjectives)
        rest = "object" if owner == "subject" else "subject"
        plain = replace(subject, adjectives=())
        return replace(clause, **{owner: plain, rest: moved})
    entry = lexicon.ADJECTIVES[old]
    new = entry.opposite or Sampler(dice, Taste()).adjective(subject.head)
    if new in (old, entry.synonym):
        return None
    return replace(clause, **{owner: replace(subject, adjectives=(new,))})


def when(dice: Dice, clause: Clause) -> Clause | None:
    """Changes the tense, or the time of the tense."""
    tense = clause.tense.split()[-1]
    if clause.time:
        options = [t for t in lexicon.TIMES.get(tense, ()) if t != clause.time]
        return replace(clause, time=dice.pick(options)) if options else None
    new = {"past": "future", "present": "past", "future": "past"}.get(clause.tense)
    return replace(clause, tense=new) if new else None


def quantity(dice: Dice, clause: Clause) -> Clause | None:
    """Says it of more, fewer or none."""
    phrase = clause.subject
    if phrase is None or phrase.head not in lexicon.NOUNS or phrase.partner is not None:
        return None
    if phrase.relative is not None or clause.negated:
        return None
    if phrase.plural:
        options = [d for d in ("all", "most", "some", "two", "no") if d != phrase.det]
    else:
        options = [d for d in ("every", "a", "no") if d != phrase.det]
        options = [d for d in options if (d, phrase.det) != ("every", "each")]
    turned = replace(clause, subject=replace(phrase, det=dice.pick(options)))
    return turned if unambiguous(turned) else None


CHANGED: dict[str, tuple[Edit, float]] = {
    "roles": (roles, 4.0),
    "polarity": (polarity, 1.0),
    "argument": (argument, 2.0),
    "action": (action, 1.5),
    "modifier": (modifier, 1.5),
    "when": (when, 1.0),
    "quantity": (quantity, 1.0),
}


def change(dice: Dice, clause: Clause) -> tuple[Clause, str] | None:
    """Says something else in like words.

    Args:
      dice: source of the random choices.
      clause: an `unambiguous` clause.

    Returns:
      The clause after one edit of `CHANGED`, and that edit's name; None where the
      edit drawn does not apply.
    """
    if clause.complement is not None and dice.chance(0.7):
        inner = change(dice, clause.complement)
        return inner and (replace(clause, complement=inner[0]), inner[1])
    name = dice.weighted({name: weight for name, (_, weight) in CHANGED.items()})
    changed = CHANGED[name][0](dice, clause)
    if changed is None or changed == clause or not unambiguous(changed):
        return None
    return changed, name


def pair(dice: Dice, same: bool, taste: Taste | None = None) -> tuple[str, str, str]:
    """Draws a pair of sentences.

    Args:
      dice: source of the random choices.
      same: whether the second sentence is to say the same as the first.
      taste: how often sentences have what.

    Returns:
      The two sentences, which differ, and the name of what was changed ('' if the
      second says the same).
    """
    # One edit is drawn for both kinds of pairs, so that the sentences which an edit can
    # be done to are as frequent in both.
    while True:
        clause = sample(dice, taste, accept=unambiguous)
        edited = change(dice, clause)
        if edited is None:
            continue
        meant, name = (clause, "") if same else edited
        first, second = (reword(dice, said) for said in (clause, meant))
        texts = sentence(first), sentence(second)
        short = all(len(words(said)) <= MAX_WORDS for said in (first, second))
        if short and texts[0] != texts[1]:
            return (*texts, name)
