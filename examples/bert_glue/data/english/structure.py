"""What a sentence says: clauses, noun phrases and relative clauses.

A `Clause` holds who did what to whom and when, together with the few choices of how
it is put (active or passive, "gave her a book" or "gave a book to her").
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from bert_glue.data.english import lexicon

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Phrase:
    """A noun phrase.

    Attributes:
      head: a noun's singular, a name, a pronoun (as a subject) or a reflexive.
      det: determiner of a noun; empty for names and pronouns.
      plural: whether the noun is plural.
      adjectives: adjectives before the noun.
      near: a preposition and the phrase of a place.
      relative: a relative clause.
      partner: a conjunction ('and' or 'or') and a second phrase.
    """

    head: str
    det: str = ""
    plural: bool = False
    adjectives: tuple[str, ...] = ()
    near: tuple[str, Phrase] | None = None
    relative: Relative | None = None
    partner: tuple[str, Phrase] | None = None

    @property
    def number(self) -> str:
        """What a verb agrees with: 'singular', 'plural' or 'first' (I)."""
        if self.plural or self.partner is not None or self.head in ("we", "they"):
            return "plural"
        return "first" if self.head == "i" else "singular"

    @property
    def bare(self) -> Phrase:
        """The phrase without its modifiers."""
        return Phrase(self.head, self.det, self.plural)


@dataclasses.dataclass(frozen=True)
class Relative:
    """A relative clause: a whole clause of which one argument is left unsaid.

    Attributes:
      clause: the clause; one of its arguments is the noun that it modifies.
      gap: which one, by its place in the sentence: 'subject' or 'object'.
    """

    clause: Clause
    gap: str


@dataclasses.dataclass(frozen=True)
class Clause:
    """A clause.

    Attributes:
      subject: who acts; None leaves the agent of a passive unsaid.
      verb: base form of a verb, or 'be' with a predicate.
      object: whom or what the action befalls, or what a comparison compares with.
      recipient: to whom something is given (or from whom it is received).
      complement: the clause that a verb such as 'know' introduces.
      predicate: adjective after 'be'; a comparative where there is an object.
      tense: 'present', 'past', 'future', 'perfect', 'progressive' or
        'past progressive'.
      negated: whether the verb is negated with 'not'.
      passive: whether the clause is in the passive.
      double: whether the recipient stands before the object, without 'to'.
      manner: adverb of manner.
      frequency: adverb of frequency.
      near: a preposition and the phrase of the place where it happens.
      time: adverbial of time.
      front: whether the adverbial of time (else of place) comes first.
    """

    subject: Phrase | None
    verb: str
    object: Phrase | None = None
    recipient: Phrase | None = None
    complement: Clause | None = None
    predicate: str = ""
    tense: str = "past"
    negated: bool = False
    passive: bool = False
    double: bool = False
    manner: str = ""
    frequency: str = ""
    near: tuple[str, Phrase] | None = None
    time: str = ""
    front: bool = False


def rename(node: T, names: dict[str, str]) -> T:
    """Replaces words throughout a clause or phrase.

    Args:
      node: a `Clause`, a `Phrase` or a part of one.
      names: new word of each word that is to be replaced.

    Returns:
      The same structure with its words replaced.

    >>> rename(Clause(Phrase("poodle", "a"), "doze"), {"poodle": "dog"}).subject.head
    'dog'
    """
    renamed: Any = node
    if isinstance(node, str):
        renamed = names.get(node, node)
    elif isinstance(node, tuple):
        renamed = tuple(rename(part, names) for part in node)
    elif dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
        new = {name: rename(value, names) for name, value in fields.items()}
        renamed = dataclasses.replace(node, **new)
    return renamed


def lemmas(node: object) -> list[str]:
    """Lists the words of a clause that the lexicon knows, in order, each once."""
    known: list[str] = []
    if isinstance(node, str):
        open_classes = (lexicon.NOUNS, lexicon.VERBS, lexicon.ADJECTIVES)
        if any(node in words for words in open_classes) or node in lexicon.MANNERS:
            known.append(node)
    elif isinstance(node, tuple):
        known = [word for part in node for word in lemmas(part)]
    elif dataclasses.is_dataclass(node):
        parts = (getattr(node, f.name) for f in dataclasses.fields(node))
        known = [word for part in parts for word in lemmas(part)]
    return list(dict.fromkeys(known))
