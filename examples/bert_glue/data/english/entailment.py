"""Premises, and what does or does not follow from them, in the shape of RTE.

Most hypotheses are made by natural logic: a word is replaced by a more general or a
more special one, a modifier is dropped or added, and whether the result follows depends
on where that happens. "A poodle ran" lets "a dog ran" follow; "no poodle ran" does not
let "no dog ran" follow, but the reverse. The rest turn on who did what to whom, on
relative clauses, on verbs that do or do not vouch for what they report, and on
quantifiers, conjunctions and comparatives.

References:
  van Benthem, "Essays in Logical Semantics", 1986.
  MacCartney and Manning, "Natural logic for textual inference", 2007.
  Dagan et al., "The PASCAL Recognising Textual Entailment Challenge", 2006.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bert_glue.data.english import lexicon, paraphrase
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.rewording import reword, unambiguous
from bert_glue.data.english.sampling import MAX_WORDS, Sampler, Taste, sample
from bert_glue.data.english.structure import Clause, Phrase
from bert_glue.data.english.syntax import sentence, words

replace = dataclasses.replace
Inference = tuple[Clause, Clause]
# Draws a premise and a hypothesis that follows from it, or one that does not.
Kind = Callable[[Dice, bool, Taste], Inference | None]

_UP = ("a", "some", "this", "that", "these", "those", "the", *lexicon.POSSESSIVES)
_DOWN = ("every", "each", "all", "no")


def _hyponyms(word: str) -> list[str]:
    tables = (lexicon.NOUNS, lexicon.VERBS)
    return [w for table in tables for w, e in table.items() if e.hypernym == word]


def _general(dice: Dice, phrase: Phrase) -> Phrase | None:
    """A phrase that names more things: a hypernym, or a modifier less."""
    options: list[Phrase] = []
    hypernym = lexicon.NOUNS[phrase.head].hypernym
    if hypernym and _retellable(phrase):
        options += [replace(phrase, head=hypernym)] * 2
    if phrase.adjectives:
        options.append(replace(phrase, adjectives=()))
    if phrase.near or phrase.relative:
        options.append(replace(phrase, near=None, relative=None))
    return dice.pick(options) if options else None


def _special(dice: Dice, phrase: Phrase) -> Phrase | None:
    """A phrase that names fewer things: a hyponym, or a modifier more."""
    sampler = Sampler(dice, Taste())
    options: list[Phrase] = []
    hyponyms = _hyponyms(phrase.head)
    if hyponyms and _retellable(phrase):
        options += [replace(phrase, head=dice.pick(hyponyms))] * 2
    if not phrase.adjectives:
        adjective = sampler.adjective(phrase.head)
        options.append(replace(phrase, adjectives=(adjective,)))
    if not (phrase.near or phrase.relative):
        options.append(replace(phrase, near=sampler.near()))
    return dice.pick(options) if options else None


def _retellable(phrase: Phrase) -> bool:
    """Whether another noun may stand there: a big mouse is not a big animal."""
    scalar = any(lexicon.ADJECTIVES[word].opposite for word in phrase.adjectives)
    return phrase.relative is None and not scalar


def _edit_subject(dice: Dice, clause: Clause) -> tuple[Clause, bool] | None:
    phrase = clause.subject
    if phrase is None or phrase.head not in lexicon.NOUNS or phrase.partner is not None:
        return None
    if phrase.det not in _UP + _DOWN or clause.verb == "be":
        return None
    upward = dice.chance(0.5)
    edited = (_general if upward else _special)(dice, phrase)
    follows = upward == (phrase.det in _UP)
    return edited and (replace(clause, subject=edited), follows)


def _edit_object(dice: Dice, clause: Clause) -> tuple[Clause, bool] | None:
    phrase = clause.object
    if phrase is None or phrase.head not in lexicon.NOUNS or phrase.partner is not None:
        return None
    if clause.verb == "be" or phrase.det not in _UP + _DOWN:
        return None
    downward = _denied(clause)
    if downward and phrase.det not in ("a", "some"):
        return None  # what "the" presupposes is not denied with the rest
    upward = dice.chance(0.5)
    edited = (_general if upward else _special)(dice, phrase)
    follows = upward == ((phrase.det in _UP) != downward)
    return edited and (replace(clause, object=edited), follows)


def _denied(clause: Clause) -> bool:
    """Whether the clause denies what its verb says."""
    return clause.negated or (clause.subject is not None and clause.subject.det == "no")


def _edit_action(dice: Dice, clause: Clause) -> tuple[Clause, bool] | None:
    """Generalises or specialises the verb or its adverbials."""
    if clause.verb == "be":
        return None
    upward = dice.chance(0.5)
    options: list[Clause] = []
    if upward:
        hypernym = lexicon.VERBS[clause.verb].hypernym
        options += [replace(clause, verb=hypernym)] * 2 if hypernym else []
        options += [replace(clause, manner="")] * bool(clause.manner)
        options += [replace(clause, time="", front=False)] * bool(clause.time)
        options += [replace(clause, near=None, front=False)] * bool(clause.near)
    else:
        hyponyms = _hyponyms(clause.verb)[:2]
        options += [replace(clause, verb=verb, double=False) for verb in hyponyms]
        manner = dice.pick(lexicon.MANNERS)
        options += [replace(clause, manner=manner)] * (not clause.manner)
        times = lexicon.TIMES.get(clause.tense, ())
        if times and not clause.time:
            options.append(replace(clause, time=dice.pick(times)))
    if not options:
        return None
    return dice.pick(options), upward != _denied(clause)


def monotone(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """One or two words made more general or more special."""
    premise = sample(dice, taste, accept=_plain)
    hypothesis, holds, count = premise, True, 1 + dice.chance(0.4)
    edits = dice.shuffled((_edit_subject, _edit_object, _edit_action))
    for edit in edits:
        edited = edit(dice, hypothesis) if count else None
        if edited is not None:
            hypothesis, holds, count = edited[0], holds and edited[1], count - 1
    if count == 2 or hypothesis == premise or holds != follows:
        return None
    return premise, hypothesis


def _plain(clause: Clause) -> bool:
    other = clause.object
    reflexive = other is not None and other.head.endswith(("self", "selves"))
    nested = clause.complement is not None
    return unambiguous(clause) and not (reflexive or nested or clause.frequency)


_FOLLOWS = {
    "every": ("a",), "each": ("a",), "all": ("most", "some"), "most": ("some",),
    "many": ("some",), "several": ("some",), "three": ("some",), "two": ("some",),
}  # fmt: skip
_FOLLOWS_NOT = {
    "a": ("every", "no"), "some": ("all", "most", "many", "no"), "no": ("a", "some"),
    "every": ("no",), "all": ("no",), "most": ("all", "no"), "many": ("all", "most"),
    "several": ("all", "no"), "two": ("three", "all"), "each": ("no",),
    "three": ("all", "most"),
}  # fmt: skip


def quantity(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """Another quantifier."""
    premise = sample(dice, taste, accept=_plain)
    phrase = premise.subject
    if phrase is None or phrase.partner is not None or phrase.relative is not None:
        return None
    options = (_FOLLOWS if follows else _FOLLOWS_NOT).get(phrase.det, ())
    if phrase.det == "no" and not follows:
        options = ("some",) if phrase.plural else ("a",)
    if not options:
        return None
    new = replace(phrase, det=dice.pick(options))
    hypothesis = replace(premise, subject=new)
    return (premise, hypothesis) if unambiguous(hypothesis) else None


def roles(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """The same participants, in the same roles or in others."""
    premise = sample(dice, taste, accept=_plain)
    swapped = paraphrase.roles(dice, premise)
    if swapped is None:
        return None
    unsaid = follows and premise.object is not None and premise.verb != "be"
    if unsaid and not _denied(premise) and dice.chance(0.3):
        passive = replace(premise, subject=None, passive=True)
        return premise, passive
    return premise, premise if follows else swapped


def attitude(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """What somebody knows is true; what somebody thinks need not be."""
    frame = dice.pick(("factive", "clausal"))
    premise = sample(dice, taste, frame, accept=unambiguous)
    inner = premise.complement
    if inner is None or not _plain(inner):
        return None
    if frame == "factive" and not follows:
        denied = replace(inner, negated=not inner.negated)
        return (premise, denied) if unambiguous(denied) else None
    # What follows from a thought is the same thought in other words.
    return premise, premise if frame == "clausal" and follows else inner


def relative(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """What a relative clause says, about the one whom it says it about."""
    premise = sample(dice, replace(taste, relative=0.9), accept=_plain)
    phrase = premise.subject
    if phrase is None or phrase.relative is None:
        return None
    if phrase.det in ("no", "every", "each", "all", "most", "many") or premise.negated:
        return None
    said = phrase.relative.clause
    name = "object" if (phrase.relative.gap == "object") != said.passive else "subject"
    other_name = "subject" if name == "object" else "object"
    whole = replace(said, **{name: phrase.bare})
    if whole.verb == "be" or not _plain(whole):
        return None
    plain = replace(premise, subject=replace(phrase, relative=None))
    if follows:
        return premise, dice.pick((whole, plain))
    other = getattr(whole, other_name)
    swapped = paraphrase.roles(dice, whole)
    options = [swapped] if swapped is not None else []
    if other is not None and _human(other) == _human(phrase):
        options.append(replace(premise, subject=replace(other, relative=None)))
    return (premise, dice.pick(options)) if options else None


def _human(phrase: Phrase) -> bool:
    noun = lexicon.NOUNS.get(phrase.head)
    return noun is None or noun.kind == "human"


def conjunction(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """One of two did what both did, but not surely what either did."""
    premise = sample(dice, replace(taste, pair=0.9), accept=_plain)
    phrase = premise.subject
    if phrase is None or phrase.partner is None or premise.negated:
        return None
    first, second = replace(phrase, partner=None), phrase.partner[1]
    one = replace(premise, subject=dice.pick((first, second)))
    if follows:
        return premise, one
    return one, premise


def comparison(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """Who is taller than whom."""
    premise = sample(dice, taste, "comparative", accept=_plain)
    if follows:
        return premise, premise
    opposite = lexicon.ADJECTIVES[premise.predicate].opposite
    options = [
        replace(premise, predicate=opposite),
        replace(premise, subject=premise.object, object=premise.subject),
        replace(premise, object=None),
    ]
    return premise, dice.pick(options)


def polarity(dice: Dice, follows: bool, taste: Taste) -> Inference | None:
    """Whether it happened at all."""
    premise = sample(dice, taste, accept=_plain)
    denied = replace(premise, negated=not premise.negated)
    if not unambiguous(denied):
        return None
    if dice.chance(0.5):
        premise, denied = denied, premise
    return premise, premise if follows else denied


KINDS: dict[str, tuple[Kind, float]] = {
    "monotone": (monotone, 5.0),
    "quantity": (quantity, 1.0),
    "roles": (roles, 2.0),
    "attitude": (attitude, 1.0),
    "relative": (relative, 1.5),
    "conjunction": (conjunction, 0.7),
    "comparison": (comparison, 1.0),
    "polarity": (polarity, 0.7),
}


def pair(dice: Dice, follows: bool, taste: Taste | None = None) -> tuple[str, str, str]:
    """Draws a premise and a hypothesis.

    Args:
      dice: source of the random choices.
      follows: whether the hypothesis is to follow from the premise.
      taste: how often sentences have what.

    Returns:
      Premise and hypothesis, which differ, and a key of `KINDS`.
    """
    if taste is None:
        taste = Taste(quantified=0.35)
    name = dice.weighted({name: weight for name, (_, weight) in KINDS.items()})
    while True:
        drawn = KINDS[name][0](dice, follows, taste)
        if drawn is None:
            continue
        premise, hypothesis = drawn[0], reword(dice, drawn[1])
        texts = sentence(premise), sentence(hypothesis)
        short = all(len(words(said)) <= MAX_WORDS for said in (premise, hypothesis))
        if short and texts[0] != texts[1]:
            return (*texts, name)
