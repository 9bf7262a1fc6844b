"""Other ways to say the same: each edit keeps what a clause says and changes how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bert_glue.data.english import lexicon
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.structure import Clause, Relative, lemmas, rename

replace = dataclasses.replace
Edit = Callable[[Dice, Clause], Clause | None]

_SCOPED = ("every", "each", "no", "all", "most", "many", "several", "two", "three")
_VAGUE = ("a", "some")


def unambiguous(clause: Clause) -> bool:
    """Whether no word order of the clause could change who 'every' or 'not' is about.

    "A boy did not see every dog" has readings that its passive lacks; a clause with a
    quantifier or 'not' is kept only where all its other phrases are definite.
    """
    phrases = (clause.subject, clause.object, clause.recipient)
    dets = [phrase.det for phrase in phrases if phrase is not None]
    scoped = sum(det in _SCOPED for det in dets) + clause.negated
    vague = sum(det in _VAGUE for det in dets)
    nested = clause.complement is None or unambiguous(clause.complement)
    return nested and (scoped == 0 or scoped + vague == 1)


def voice(dice: Dice, clause: Clause) -> Clause | None:
    """Active to passive and back."""
    del dice
    if clause.verb == "be" or clause.object is None or clause.subject is None:
        return None
    if clause.object.head.endswith(("self", "selves")):
        return None
    return replace(clause, passive=not clause.passive)


def dative(dice: Dice, clause: Clause) -> Clause | None:
    """'Gave a book to her' to 'gave her a book' and back."""
    del dice
    if clause.recipient is None or lexicon.VERBS[clause.verb].frame != "ditransitive":
        return None
    return replace(clause, double=not clause.double)


def fronting(dice: Dice, clause: Clause) -> Clause | None:
    """'Ran yesterday' to 'yesterday ... ran' and back."""
    del dice
    if not (clause.time or clause.near):
        return None
    return replace(clause, front=not clause.front)


def synonyms(dice: Dice, clause: Clause) -> Clause | None:
    """Synonyms for some of the words that have one."""
    pairs = ((word, _synonym(word)) for word in lemmas(clause))
    twins = {word: twin for word, twin in pairs if twin}
    if not twins:
        return None
    chosen = dice.some(tuple(twins), 0.5) or [dice.pick(tuple(twins))]
    return rename(clause, {word: twins[word] for word in chosen})


def _synonym(word: str) -> str:
    for table in (lexicon.NOUNS, lexicon.VERBS, lexicon.ADJECTIVES):
        if word in table:
            return table[word].synonym
    return lexicon.MANNER_SYNONYMS.get(word, "")


def converse(dice: Dice, clause: Clause) -> Clause | None:
    """'Sold to' to 'bought from', 'taller than' to 'shorter than', and back."""
    del dice
    if clause.verb == "be":
        if clause.object is None:
            return None
        opposite = lexicon.ADJECTIVES[clause.predicate].opposite
        turned = replace(clause, subject=clause.object, object=clause.subject)
        return replace(turned, predicate=opposite)
    if clause.verb not in lexicon.CONVERSES or clause.recipient is None:
        return None
    return replace(
        clause,
        subject=clause.recipient,
        verb=lexicon.CONVERSES[clause.verb],
        recipient=clause.subject,
        double=False,
    )


def partners(dice: Dice, clause: Clause) -> Clause | None:
    """'Anna and David' to 'David and Anna'."""
    del dice
    for name in ("subject", "object", "recipient"):
        phrase = getattr(clause, name)
        if phrase is not None and phrase.partner is not None:
            conjunction, partner = phrase.partner
            first = replace(phrase, partner=None)
            return replace(
                clause, **{name: replace(partner, partner=(conjunction, first))}
            )
    return None


def quantifier(dice: Dice, clause: Clause) -> Clause | None:
    """'Every dog' to 'all dogs', 'no dog' to 'no dogs', and back."""
    phrase = clause.subject
    if phrase is None or phrase.partner is not None:
        return None
    if phrase.det in ("every", "each", "all"):
        det = dice.pick([d for d in ("every", "each", "all") if d != phrase.det])
        plural = det == "all"
    elif phrase.det == "no":
        det, plural = "no", not phrase.plural
    else:
        return None
    number = replace(phrase, det=det, plural=plural)
    if phrase.relative is not None:
        number = replace(number, relative=_renumber(phrase.relative, plural))
    return replace(clause, subject=number)


def _renumber(relative: Relative, plural: bool) -> Relative:
    """Gives the noun that a relative clause modifies its new number there too."""
    clause = relative.clause
    name = "object" if (relative.gap == "object") != clause.passive else "subject"
    inside = replace(getattr(clause, name), plural=plural)
    return replace(relative, clause=replace(clause, **{name: inside}))


def relative_voice(dice: Dice, clause: Clause) -> Clause | None:
    """'That the boy chased' to 'that was chased by the boy' and back."""
    del dice
    for name in ("subject", "object"):
        phrase = getattr(clause, name)
        relative = phrase.relative if phrase is not None else None
        if phrase is None or relative is None:
            continue
        if (relative.gap == "subject") != relative.clause.passive:
            continue
        turned = replace(relative.clause, passive=not relative.clause.passive)
        gap = "subject" if turned.passive else "object"
        return replace(
            clause, **{name: replace(phrase, relative=Relative(turned, gap))}
        )
    return None


SAME: dict[str, tuple[Edit, float]] = {
    "voice": (voice, 0.5),
    "dative": (dative, 0.5),
    "fronting": (fronting, 0.4),
    "converse": (converse, 0.4),
    "partners": (partners, 0.6),
    "quantifier": (quantifier, 0.5),
    "relative voice": (relative_voice, 0.4),
    "synonyms": (synonyms, 0.5),
}


def reword(dice: Dice, clause: Clause) -> Clause:
    """Says the same in other words.

    Args:
      dice: source of the random choices.
      clause: an `unambiguous` clause.

    Returns:
      The clause after some of the edits of `SAME`; itself where none applies.
    """
    said = clause
    for edit, probability in SAME.values():
        if dice.chance(probability):
            said = edit(dice, said) or said
    if said.complement is not None:
        said = replace(said, complement=reword(dice, said.complement))
    return said
