"""What sentences of the small English mean, apart from how they are put.

`meaning` brings a clause to one form, whatever its voice, word order or choice among
synonyms. `holds` says whether a clause is true in a `World`, a small model of it, so
that entailments can be tried: in no world may the premise be true and the conclusion
false.
"""

from __future__ import annotations

import dataclasses
import hashlib

from bert_glue.data.english import lexicon
from bert_glue.data.english.structure import Clause, Phrase

_FIRST = {"receive": "give", "get": "give", "borrow": "lend", "buy": "sell"}
_FIRST["purchase"] = "sell"
_TABLES = (lexicon.NOUNS, lexicon.VERBS, lexicon.ADJECTIVES)


def canonical(word: str) -> str:
    """One of two synonyms, always the same."""
    for table in _TABLES:
        if word in table and table[word].synonym:
            return min(word, table[word].synonym)
    return min(word, lexicon.MANNER_SYNONYMS.get(word, word))


def _phrase(phrase: Phrase | None) -> object:
    if phrase is None:
        return None
    if phrase.partner is not None:
        both = [dataclasses.replace(phrase, partner=None), phrase.partner[1]]
        return frozenset(map(_phrase, both)), phrase.partner[0]
    det, plural = phrase.det, phrase.plural
    if det in ("every", "each", "all"):
        det, plural = "all", True
    if det == "no":
        plural = True
    inside = None
    if phrase.relative is not None:
        # The noun is one and the same in both clauses: compare what is said of it.
        inside = _clause(phrase.relative.clause, same=phrase.head)
    near = phrase.near and (phrase.near[0], _phrase(phrase.near[1]))
    words = frozenset(map(canonical, phrase.adjectives))
    return canonical(phrase.head), det, plural, words, near, inside


def _clause(clause: Clause, same: str = "") -> object:
    def named(phrase: Phrase | None) -> object:
        if same and phrase is not None and phrase.head == same:
            return "the same"
        return _phrase(phrase)

    subject, verb = named(clause.subject), canonical(clause.verb)
    other, recipient = named(clause.object), named(clause.recipient)
    predicate = canonical(clause.predicate)
    if clause.verb == "be" and clause.object is not None:
        # Both 'taller' and 'shorter' become the one that comes first.
        opposite = canonical(lexicon.ADJECTIVES[clause.predicate].opposite)
        if opposite < predicate:
            predicate, subject, other = opposite, other, subject
    if clause.verb in _FIRST and clause.recipient is not None:
        verb, subject, recipient = _FIRST[clause.verb], recipient, subject
    return (
        canonical(verb),
        subject,
        other,
        recipient,
        clause.complement and _clause(clause.complement),
        predicate,
        clause.tense,
        clause.negated,
        canonical(clause.manner),
        clause.frequency,
        clause.near and (clause.near[0], _phrase(clause.near[1])),
        clause.time,
    )


def meaning(clause: Clause) -> object:
    """What a clause says; equal for two clauses that say the same."""
    return _clause(clause)


class World:
    """Some things, and at random what each of them is and does.

    Whatever is a poodle is a dog, and who dozes sleeps; all else is open. Worlds differ
    in how many things there are and in how much is true of them.
    """

    def __init__(self, seed: int):
        self.things = range(3 + seed % 6)
        self._seed = seed
        shares = (0.5, 0.9, 0.7, 0.3)
        self._share_of_being = shares[seed // 6 % 4]
        self._share_of_doing = shares[seed // 24 % 4]

    def _toss(self, kind: str, *fact: object) -> bool:
        being = kind in ("noun", "adjective", "near")
        share = self._share_of_being if being else self._share_of_doing
        said = repr((self._seed, kind, fact)).encode()
        digest = hashlib.blake2b(said, digest_size=4).digest()
        return int.from_bytes(digest) < share * 2**32

    def noun(self, thing: int, noun: str) -> bool:
        """Whether a thing is what the noun names."""
        above = lexicon.NOUNS[noun].hypernym
        up = not above or self.noun(thing, above)
        return up and self._toss("noun", thing, canonical(noun))

    def adjective(self, thing: int, adjective: str) -> bool:
        """Whether the adjective is true of a thing."""
        return self._toss("adjective", thing, canonical(adjective))

    def near(self, subject: object, near: tuple[str, Phrase]) -> bool:
        """Whether something is, or happens, at a place."""
        return self._toss("near", subject, near[0], repr(_phrase(near[1])))

    def event(self, clause: Clause, subject: int, other: int | None) -> bool:
        """Whether somebody does what the clause says to somebody or something."""
        event = (subject, other, clause.tense)
        above = lexicon.VERBS[clause.verb].hypernym
        done = self._toss("verb", canonical(clause.verb), event)
        if above:
            done &= self._toss("verb", canonical(above), event)
        if clause.manner:
            done &= self._toss("manner", canonical(clause.manner), event)
        if clause.time:
            done &= self._toss("time", clause.time, event)
        if clause.near:
            done &= self.near(("event", event), clause.near)
        return done

    def named(self, phrase: Phrase) -> list[int]:
        """The things that a phrase's noun and modifiers are true of."""
        return [
            thing
            for thing in self.things
            if self.noun(thing, phrase.head)
            and all(self.adjective(thing, word) for word in phrase.adjectives)
            and (phrase.near is None or self.near(("thing", thing), phrase.near))
        ]


_AT_LEAST = {"two": 2, "several": 2, "many": 2, "three": 3}


def _quantify(det: str, named: list[int], true: list[int]) -> bool:
    if det in ("every", "each", "all"):
        return len(true) == len(named)
    if det == "most":
        return 2 * len(true) > len(named)
    if det == "no":
        return not true
    return len(true) >= _AT_LEAST.get(det, 1)


def holds(clause: Clause, world: World) -> bool | None:
    """Whether a clause is true in a world.

    The definite is read like 'some': there is one of which it is true. A name is its
    own only bearer.

    Args:
      clause: a clause with a verb, without recipient, complement, pronouns or
        relative clauses.
      world: where it is tried.

    Returns:
      The truth; None where the subject or the object speaks of what does not exist.
    """

    def named(phrase: Phrase) -> list[int]:
        if phrase.head in lexicon.NAMES:
            return [list(lexicon.NAMES).index(phrase.head) % len(world.things)]
        return world.named(phrase)

    assert clause.subject is not None
    subjects = named(clause.subject)
    others: list[int | None] = [None]
    if clause.object is not None:
        others = [*named(clause.object)]
    if not subjects or not others:
        return None

    def does(subject: int) -> bool:
        done = [o for o in others if world.event(clause, subject, o)]
        det = clause.object.det if clause.object is not None else ""
        return _quantify(det, list(others), done) != clause.negated

    return _quantify(clause.subject.det, subjects, [s for s in subjects if does(s)])
