"""The words of a small English: some hundred lexemes with their forms and relations.

Nouns carry a kind (what verbs may take as an argument), a plural, a hypernym (every
poodle is a dog) and perhaps a synonym; verbs carry their forms, the kinds of their
arguments, a frame, a synonym and a hypernym (who dozes sleeps). The tables are written
by hand. Irregular forms stand in them; rules spell the regular ones.
"""

from __future__ import annotations

import dataclasses
import re

# Item: singular[/plural][=synonym[/plural]]; row: kind: hypernym > hyponyms.
_NOUNS = """
human: person/people > child/children adult worker artist relative doctor=physician
human: person/people > athlete criminal teacher=instructor lawyer=attorney guest=visitor
human: child/children > boy=lad girl toddler pupil
human: adult > man/men woman/women
human: worker > baker farmer tailor carpenter plumber miner
human: artist > painter singer sculptor dancer poet
human: relative > uncle aunt cousin nephew niece
human: doctor > surgeon dentist
human: athlete > runner boxer skater wrestler
human: criminal > thief/thieves=robber pirate smuggler
animal: animal > dog=hound bird horse rodent reptile rabbit=bunny/bunnies wolf/wolves
animal: dog > poodle terrier spaniel
animal: bird > robin sparrow crow owl goose/geese
animal: horse > pony/ponies mare
animal: rodent > mouse/mice rat squirrel
animal: reptile > lizard turtle snake
food: fruit > apple pear plum cherry/cherries
food: vegetable > carrot onion potato/potatoes
food: dessert > cake pie cookie
thing: tool > hammer wrench shovel axe knife/knives
thing: instrument > violin flute trumpet
thing: garment > shirt scarf/scarves coat=jacket hat
thing: book > novel atlas/atlases diary/diaries
thing: toy > doll kite puppet
thing: container > box/boxes basket jar bucket
thing: vehicle > car=automobile truck=lorry/lorries van bus/buses bicycle=bike
thing: flower > rose tulip lily/lilies daisy/daisies
thing: weapon > sword spear dagger
thing: ornament > ring necklace bracelet
thing: document > letter map contract
place: building > barn tower school museum house shop=store
place: place > park garden forest river bridge harbor station market village road=street
"""

# Item: base[/past[/participle]][=synonym...][>hypernym]; row: frame subject object.
# The last row of each frame of three arguments does not alternate ("gave her a book").
_VERBS = """
intransitive being: sleep/slept doze>sleep run/ran/run sprint>run walk stroll>walk
intransitive being: move jump=leap fall/fell/fallen wait vanish=disappear
intransitive human: laugh giggle>laugh smile=grin cry=weep/wept dance shout=yell
intransitive human: sing/sang/sung swim/swam/swum whisper sneeze cough arrive
transitive being being: chase=pursue follow see/saw/seen
transitive being being: watch=observe attack bite/bit/bitten
transitive being being: find/found=discover frighten=scare hear/heard
transitive human being: admire=adore praise=commend
transitive human being: help=assist rescue=save greet=welcome
transitive human being: visit push=shove scold feed/fed hug>touch touch kick>touch
transitive human human: hire=employ thank marry=wed/wedded warn
transitive human thing: fix=repair buy/bought=purchase
transitive human thing: steal/stole/stolen hide/hid/hidden=conceal
transitive human thing: paint carry=haul break/broke/broken
transitive human thing: smash>break drop wash>clean polish>clean
transitive human thing: clean choose/chose/chosen=select pull drag>pull burn lift=raise
transitive being food: eat/ate/eaten devour>eat smell taste
transitive human food: cook boil>cook fry>cook bake>cook
ditransitive human thing: give/gave/given send/sent mail>send lend/lent sell/sold
ditransitive human thing: show/showed/shown hand offer throw/threw/thrown toss>throw
dative human thing: donate>give deliver return describe
source human thing: borrow receive=get/got
factive human: know/knew/known realize remember=recall notice
clausal human: think/thought=believe claim suspect say/said
"""

# Two ways to tell of one transfer: who gave is whom it was received from.
CONVERSES = {
    "give": "receive",
    "lend": "borrow",
    "sell": "buy",
    "receive": "give",
    "borrow": "lend",
    "buy": "sell",
}

_ADJECTIVES = """
being: happy=glad angry hungry tired=weary brave=courageous clever=smart lazy shy gentle
human: famous polite rude honest
thing: red blue green wooden shiny expensive=costly useful dirty
any: strange=odd beautiful=lovely ugly
"""

# Opposites: whatever is taller than me, I am shorter than.
_SCALES = """
being: tall short, old young, strong weak, fast slow, big=large small
human: rich=wealthy poor, kind cruel
thing: new ancient, heavy light
"""

_ADVERBS = """
manner: quickly=rapidly slowly quietly=silently
manner: loudly happily=gladly carefully=cautiously
manner: eagerly bravely angrily gently
"""

NAMES = {
    "anna": "she", "clara": "she", "emma": "she", "julia": "she", "laura": "she",
    "maria": "she", "nora": "she", "sarah": "she", "david": "he", "felix": "he",
    "george": "he", "henry": "he", "martin": "he", "oscar": "he", "peter": "he",
    "simon": "he",
}  # fmt: skip

# Nouns that say whether he or she is meant, for reflexives.
GENDERS = {
    "boy": "he", "lad": "he", "man": "he", "uncle": "he", "nephew": "he",
    "girl": "she", "woman": "she", "aunt": "she", "niece": "she",
}  # fmt: skip

# Subject, object and reflexive form.
PRONOUNS = {
    "i": ("i", "me", "myself"),
    "he": ("he", "him", "himself"),
    "she": ("she", "her", "herself"),
    "we": ("we", "us", "ourselves"),
    "they": ("they", "them", "themselves"),
}

SINGULAR_DETERMINERS = ("the", "a", "this", "that", "every", "each", "no")
PLURAL_DETERMINERS = (
    "the", "these", "those", "some", "many", "several", "all", "most", "no", "two",
    "three",
)  # fmt: skip
POSSESSIVES = ("my", "our", "his", "their")
PREPOSITIONS = ("near", "behind", "in", "beside")
TIMES = {
    "past": ("yesterday", "last night", "last week", "this morning"),
    "future": ("tomorrow", "next week", "on monday", "on friday"),
    "present": ("on mondays", "in winter", "in summer"),
}
FREQUENCIES = ("often", "rarely", "always", "usually")


@dataclasses.dataclass(frozen=True)
class Noun:
    """A noun: its forms, what kind of thing it names and its place among nouns."""

    singular: str
    plural: str
    kind: str
    hypernym: str = ""
    synonym: str = ""

    def form(self, plural: bool) -> str:
        """Returns the singular or the plural."""
        return self.plural if plural else self.singular


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb: its forms, its frame and what it takes as subject and object."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str
    frame: str
    subject: str
    object: str = ""
    hypernym: str = ""
    synonym: str = ""


@dataclasses.dataclass(frozen=True)
class Adjective:
    """An adjective; one on a scale has an opposite and a comparative."""

    word: str
    kind: str
    synonym: str = ""
    opposite: str = ""
    comparative: tuple[str, ...] = ()


def _ends_short(word: str) -> bool:
    """Whether the last consonant is doubled: one vowel, one consonant after it."""
    vowels = re.findall("[aeiou]+", word)
    return len(vowels) == 1 and bool(re.search("[^aeiou][aeiou][^aeiouwxy]$", word))


def _plus_s(word: str) -> str:
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search("(s|x|z|ch|sh|o)$", word) else "s")


def _plus_vowel(word: str, suffix: str) -> str:
    """Adds -ed, -er or -ing."""
    if suffix != "ing" and re.search("[^aeiou]y$", word):
        return word[:-1] + "i" + suffix
    if word.endswith("e") and not word.endswith("ee"):
        return word[:-1] + suffix
    return word + (word[-1] if _ends_short(word) else "") + suffix


def _rows(table: str) -> list[tuple[list[str], str]]:
    """Splits 'words: rest' lines."""
    lines = [line.split(":") for line in table.strip().splitlines()]
    return [(head.split(), rest.strip()) for head, rest in lines]


def _read_nouns() -> dict[str, Noun]:
    nouns: dict[str, Noun] = {}

    def add(item: str, kind: str, hypernym: str) -> None:
        spellings = [(word + "/").split("/")[:2] for word in item.split("=")]
        for i, (singular, plural) in enumerate(spellings):
            if singular not in nouns:
                twin = spellings[1 - i][0] if len(spellings) == 2 else ""
                plural = plural or _plus_s(singular)
                nouns[singular] = Noun(singular, plural, kind, hypernym, twin)

    for (kind,), rest in _rows(_NOUNS):
        hypernym, hyponyms = rest.split(" > ")
        add(hypernym, kind, "")
        for item in hyponyms.split():
            add(item, kind, hypernym.split("/")[0])
    return nouns


def _read_verbs() -> dict[str, Verb]:
    verbs: dict[str, Verb] = {}
    for (frame, *kinds), rest in _rows(_VERBS):
        for item in rest.split():
            names, _, hypernym = item.partition(">")
            spellings = [word.split("/") for word in names.split("=")]
            for i, (base, *forms) in enumerate(spellings):
                past = forms[0] if forms else _plus_vowel(base, "ed")
                verbs[base] = Verb(
                    base=base,
                    third=_plus_s(base),
                    past=past,
                    participle=forms[-1] if forms else past,
                    gerund=_plus_vowel(base, "ing"),
                    frame=frame,
                    subject=kinds[0],
                    object=kinds[1] if len(kinds) > 1 else "",
                    hypernym=hypernym,
                    synonym=spellings[1 - i][0] if len(spellings) == 2 else "",
                )
    return verbs


def _read_adjectives() -> dict[str, Adjective]:
    adjectives: dict[str, Adjective] = {}
    for (kind,), rest in _rows(_ADJECTIVES):
        for item in rest.split():
            word, _, twin = item.partition("=")
            adjectives[word] = Adjective(word, kind, twin)
            if twin:
                adjectives[twin] = Adjective(twin, kind, word)
    for (kind,), rest in _rows(_SCALES):
        for pair in rest.split(","):
            ends = [item.split("=") for item in pair.split()]
            for words, others in (ends, ends[::-1]):
                for i, word in enumerate(words):
                    twin = words[1 - i] if len(words) == 2 else ""
                    more = ("more", word) if word == "ancient" else None
                    adjectives[word] = Adjective(
                        word, kind, twin, others[0], more or (_plus_vowel(word, "er"),)
                    )
    return adjectives


NOUNS = _read_nouns()
VERBS = _read_verbs()
ADJECTIVES = _read_adjectives()
MANNERS = tuple(word for _, rest in _rows(_ADVERBS) for word in re.split("[ =]", rest))
MANNER_SYNONYMS = {
    words[i]: words[1 - i]
    for _, rest in _rows(_ADVERBS)
    for words in (item.split("=") for item in rest.split())
    if len(words) == 2
    for i in (0, 1)
}

_KINDS = {
    "human": ("human",),
    "animal": ("animal",),
    "being": ("human", "animal"),
    "food": ("food",),
    "thing": ("thing", "food"),
    "place": ("place",),
    "any": ("human", "animal", "food", "thing", "place"),
}


def is_a(kind: str, accepted: str) -> bool:
    """Whether a noun of this kind may stand where another kind is asked for.

    >>> is_a("human", "being"), is_a("thing", "being")
    (True, False)
    """
    return kind in _KINDS[accepted]
