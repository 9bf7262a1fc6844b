"""Random sentences of the small English."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from bert_glue.data.english import lexicon
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.structure import Clause, Phrase, Relative
from bert_glue.data.english.syntax import words

MAX_WORDS = 11


@dataclasses.dataclass(frozen=True)
class Taste:
    """How often sentences have what; every entry is a probability.

    `quantified` is that of a subject with 'every', 'no', 'most' and the like, and
    `quantified_others` that of other phrases; all the rest is definite or 'a', 'some'.
    """

    adjective: float = 0.3
    near: float = 0.12
    relative: float = 0.12
    plural: float = 0.45
    pronoun: float = 0.1
    name: float = 0.15
    pair: float = 0.05
    indefinite: float = 0.25
    quantified: float = 0.15
    quantified_others: float = 0.1
    reflexive: float = 0.03
    passive: float = 0.2
    negated: float = 0.15
    manner: float = 0.15
    frequency: float = 0.1
    place: float = 0.12
    time: float = 0.25
    front: float = 0.4


FRAMES = {
    "intransitive": 2.0,
    "transitive": 5.0,
    "ditransitive": 1.5,
    "dative": 0.4,
    "source": 0.5,
    "factive": 0.7,
    "clausal": 0.5,
    "comparative": 1.0,
    "adjective": 1.0,
}
_STATIVE = ("see", "hear", "find", "discover", "admire", "adore", "smell", "taste")


@functools.cache
def related(first: str, second: str) -> bool:
    """Whether two words are the same, synonyms, or one a hypernym of the other."""
    return bool(_circle(first) & _circle(second))


@functools.cache
def _nouns(kind: str) -> tuple[str, ...]:
    entries = lexicon.NOUNS.items()
    return tuple(noun for noun, e in entries if lexicon.is_a(e.kind, kind))


@functools.cache
def _adjectives(kind: str) -> tuple[str, ...]:
    entries = lexicon.ADJECTIVES.items()
    return tuple(word for word, e in entries if lexicon.is_a(kind, e.kind))


def _circle(word: str) -> set[str]:
    table = lexicon.NOUNS.get(word) or lexicon.VERBS.get(word)
    if table is None:
        return {word}
    return {word, *filter(None, (table.synonym, table.hypernym))}


class Sampler:
    """Draws the clauses of one sentence: no noun or name comes twice in it.

    Args:
      dice: source of the random choices.
      taste: how often sentences have what.
    """

    def __init__(self, dice: Dice, taste: Taste):
        self.dice = dice
        self.taste = taste
        self._used: list[str] = []

    def noun(self, kind: str) -> str:
        """Returns a noun of a kind that is related to none that came before."""
        noun = self.dice.pick(_nouns(kind))
        for _ in range(20):  # 'place' is related to all other places
            if not any(related(noun, used) for used in self._used):
                break
            noun = self.dice.pick(_nouns(kind))
        self._used.append(noun)
        return noun

    def _name(self) -> Phrase:
        free = [name for name in lexicon.NAMES if name not in self._used]
        self._used.append(self.dice.pick(free))
        return Phrase(self._used[-1])

    def _det(self, plural: bool, quantified: float) -> str:
        dice, taste = self.dice, self.taste
        if dice.chance(quantified):
            few = ("every", "each", "no")
            many = ("many", "several", "all", "most", "no", "two", "three")
            return dice.pick(many if plural else few)
        if dice.chance(taste.indefinite):
            return "some" if plural else "a"
        if dice.chance(0.3):
            near = ("these", "those") if plural else ("this", "that")
            return dice.pick((*near, *lexicon.POSSESSIVES))
        return "the"

    def phrase(self, kind: str, subject: bool = False, depth: int = 1) -> Phrase:
        """Draws a noun phrase.

        Args:
          kind: what the phrase must name, as the lexicon's verbs put it.
          subject: whether it is to be a subject, which more often has modifiers.
          depth: how many relative clauses may still be nested.

        Returns:
          The phrase.
        """
        dice, taste = self.dice, self.taste
        person = kind in ("human", "being")
        if person and dice.chance(taste.pronoun):
            pronouns = [p for p in lexicon.PRONOUNS if p not in self._used]
            self._used.append(dice.pick(pronouns))
            return Phrase(self._used[-1])
        if person and dice.chance(taste.name):
            name = self._name()
            both = ("and", self._name()) if dice.chance(taste.pair) else None
            return dataclasses.replace(name, partner=both)
        plural = dice.chance(taste.plural)
        quantified = taste.quantified if subject else taste.quantified_others
        noun = self.noun(kind)
        phrase = Phrase(noun, self._det(plural, quantified), plural)
        if dice.chance(taste.adjective):
            phrase = dataclasses.replace(phrase, adjectives=(self.adjective(noun),))
        bias = 2.0 if subject else 0.5
        if dice.chance(taste.near * bias):
            return dataclasses.replace(phrase, near=self.near())
        if depth > 0 and dice.chance(taste.relative * bias):
            return dataclasses.replace(
                phrase, relative=self.relative(phrase.bare, depth)
            )
        if dice.chance(taste.pair) and phrase.det in ("the", "a"):
            plural = dice.chance(taste.plural)
            det = phrase.det if phrase.det == "the" else "some" if plural else "a"
            partner = Phrase(self.noun(kind), det, plural)
            return dataclasses.replace(phrase, partner=("and", partner))
        return phrase

    def adjective(self, noun: str) -> str:
        """Returns an adjective that fits a noun."""
        return self.dice.pick(_adjectives(lexicon.NOUNS[noun].kind))

    def near(self) -> tuple[str, Phrase]:
        """Returns where something is: a preposition and a place."""
        plural = self.dice.chance(0.3)
        det = self.dice.pick(("the", "the", "these" if plural else "this"))
        place = Phrase(self.noun("place"), det, plural)
        return self.dice.pick(lexicon.PREPOSITIONS), place

    def verb(self, frame: str, fits: Callable[[lexicon.Verb], bool]) -> str:
        """Returns a verb of a frame that also fits otherwise."""
        verbs = [v for v in lexicon.VERBS.values() if v.frame == frame and fits(v)]
        return self.dice.pick(verbs).base

    def relative(self, head: Phrase, depth: int) -> Relative:
        """Draws a relative clause that a noun fits in."""
        dice, kind = self.dice, lexicon.NOUNS[head.head].kind
        head = dataclasses.replace(head, det="the")
        tense = dice.weighted({"past": 3.0, "present": 2.0})
        if lexicon.is_a(kind, "being") and dice.chance(0.5):
            verb = self.verb("transitive", lambda v: lexicon.is_a(kind, v.subject))
            other = self.phrase(lexicon.VERBS[verb].object, depth=depth - 1)
            return Relative(Clause(head, verb, other, tense=tense), "subject")
        if kind == "place":
            verb = "visit"
        else:
            verb = self.verb("transitive", lambda v: lexicon.is_a(kind, v.object))
        other = self.phrase(lexicon.VERBS[verb].subject, depth=depth - 1)
        passive = dice.chance(self.taste.passive)
        gap = "subject" if passive else "object"
        return Relative(Clause(other, verb, head, tense=tense, passive=passive), gap)

    def tense(self, verb: str) -> str:
        """Returns a tense that a verb can stand in."""
        tenses = {"past": 5.0, "present": 3.0, "future": 1.0, "perfect": 1.0}
        frame = lexicon.VERBS[verb].frame if verb != "be" else "be"
        if frame in ("be", "factive", "clausal"):
            return self.dice.weighted({"past": 2.0, "present": 2.0, "future": 0.3})
        if verb not in _STATIVE:
            tenses |= {"progressive": 1.0, "past progressive": 0.6}
        return self.dice.weighted(tenses)

    def clause(self, frame: str = "", depth: int = 1) -> Clause:
        """Draws a clause.

        Args:
          frame: a frame of `FRAMES`; drawn too where it is empty.
          depth: how many clauses may still be nested.

        Returns:
          The clause.
        """
        dice, taste = self.dice, self.taste
        if not frame:
            nested = ("factive", "clausal")
            frames = {f: w for f, w in FRAMES.items() if depth > 0 or f not in nested}
            frame = dice.weighted(frames)
        if frame in ("comparative", "adjective"):
            return self._copular(frame == "comparative", depth)
        verb = self.verb(frame, lambda v: True)
        entry = lexicon.VERBS[verb]
        clause = Clause(
            subject=self.phrase(entry.subject, True, depth),
            verb=verb,
            tense=self.tense(verb),
            negated=dice.chance(taste.negated),
        )
        if frame in ("factive", "clausal"):
            return dataclasses.replace(clause, complement=self.clause(depth=depth - 1))
        if entry.object:
            clause = self._with_object(clause, entry, depth)
        return self._with_adverbials(clause, action=verb not in _STATIVE)

    def _copular(self, comparative: bool, depth: int) -> Clause:
        dice = self.dice
        kind = dice.pick(("human", "being", "thing"))
        subject = self.phrase(kind, True, depth)
        other = self.phrase(kind, depth=0) if comparative else None
        heads = [p.head for p in (subject, other) if p is not None]
        kinds = [lexicon.NOUNS[h].kind if h in lexicon.NOUNS else kind for h in heads]
        kinds = ["human" if kind == "being" else kind for kind in kinds]
        fits = [
            word
            for word, entry in lexicon.ADJECTIVES.items()
            if all(lexicon.is_a(kind, entry.kind) for kind in kinds)
            and (entry.comparative or not comparative)
        ]
        return Clause(
            subject,
            "be",
            other,
            predicate=dice.pick(fits),
            tense=self.tense("be"),
            negated=dice.chance(self.taste.negated),
        )

    def _with_object(self, clause: Clause, entry: lexicon.Verb, depth: int) -> Clause:
        dice, taste = self.dice, self.taste
        owner = clause.subject
        self_word = _reflexive(owner) if lexicon.is_a("human", entry.object) else ""
        if self_word and dice.chance(taste.reflexive * 5):
            return dataclasses.replace(clause, object=Phrase(self_word))
        clause = dataclasses.replace(
            clause,
            object=self.phrase(entry.object, depth=depth - 1),
            passive=dice.chance(taste.passive),
        )
        if entry.frame in ("ditransitive", "dative", "source"):
            clause = dataclasses.replace(
                clause,
                recipient=self.phrase("human", depth=0),
                double=entry.frame == "ditransitive" and dice.chance(0.5),
            )
        return clause

    def _with_adverbials(self, clause: Clause, action: bool) -> Clause:
        dice, taste = self.dice, self.taste
        usual = clause.tense in ("past", "present", "perfect")
        times = lexicon.TIMES.get(clause.tense.split()[0], ())
        near = self.near() if dice.chance(taste.place) else None
        time = dice.pick(times) if times and dice.chance(taste.time) else ""
        often = usual and not clause.negated and dice.chance(taste.frequency)
        slowly = action and dice.chance(taste.manner)
        return dataclasses.replace(
            clause,
            manner=dice.pick(lexicon.MANNERS) if slowly else "",
            frequency=dice.pick(lexicon.FREQUENCIES) if often else "",
            near=near,
            time=time,
            front=bool(near or time) and dice.chance(taste.front),
        )


def _reflexive(owner: Phrase | None) -> str:
    """The reflexive that refers to a phrase, where only one can."""
    if owner is None:
        return ""
    if owner.head in lexicon.PRONOUNS and owner.partner is None:
        return lexicon.PRONOUNS[owner.head][2]
    if owner.number == "plural":
        return lexicon.PRONOUNS["they"][2]
    gender = lexicon.NAMES.get(owner.head) or lexicon.GENDERS.get(owner.head)
    return lexicon.PRONOUNS[gender][2] if gender else ""


def sample(
    dice: Dice,
    taste: Taste | None = None,
    frame: str = "",
    accept: Callable[[Clause], bool] = lambda clause: True,
) -> Clause:
    """Draws a sentence of at most `MAX_WORDS` words.

    Args:
      dice: source of the random choices.
      taste: how often sentences have what.
      frame: a frame of `FRAMES`; any where it is empty.
      accept: what else must hold of the sentence; it is drawn until it does.

    Returns:
      What the sentence says.
    """
    while True:
        clause = Sampler(dice, taste or Taste()).clause(frame)
        if accept(clause) and len(words(clause)) <= MAX_WORDS:
            return clause
