"""The small English and the tasks that are made of it."""

import hashlib
import os
import pathlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import oracles_english
import pytest
from bert_glue.data import generated, tasks
from bert_glue.data.english import acceptability, entailment, lexicon, paraphrase
from bert_glue.data.english.dice import Dice
from bert_glue.data.english.rewording import SAME, reword, unambiguous
from bert_glue.data.english.sampling import FRAMES, MAX_WORDS, Sampler, Taste, sample
from bert_glue.data.english.structure import Clause, Phrase, Relative
from bert_glue.data.english.syntax import sentence, text, words
from bert_glue.data.english.vocabulary import SUFFIXES, vocabulary

NAMES = tuple(generated.SHARES)


def n(head: str, det: str = "the", plural: bool = False, *adjectives: str) -> Phrase:
    return Phrase(head, det, plural, adjectives)


THE_DOGS, THE_GIRL = n("dog", plural=True), n("girl")
BARN = ("near", n("barn"))
CHASED = Relative(Clause(n("boy"), "chase", THE_DOGS, tense="present"), "object")
BITING = Relative(Clause(THE_DOGS, "bite", Phrase("he"), tense="present"), "subject")


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        (Clause(THE_DOGS, "bite", THE_GIRL), "The dogs bit the girl."),
        (
            Clause(THE_DOGS, "bite", THE_GIRL, passive=True, tense="perfect"),
            "The girl has been bitten by the dogs.",
        ),
        (
            Clause(None, "bite", THE_DOGS, passive=True, tense="progressive"),
            "The dogs are being bitten.",
        ),
        (
            Clause(Phrase("dog", "the", near=BARN), "run", tense="present"),
            "The dog near the barn runs.",
        ),
        (
            Clause(THE_DOGS, "run", tense="present", negated=True),
            "The dogs do not run.",
        ),
        (
            Clause(Phrase("i"), "cry", tense="past progressive", negated=True),
            "I was not crying.",
        ),
        (
            Clause(Phrase("she"), "watch", Phrase("they"), tense="present"),
            "She watches them.",
        ),
        (
            Clause(Phrase("he"), "see", Phrase("we"), passive=True),
            "We were seen by him.",
        ),
        (
            Clause(THE_GIRL, "give", n("apple", "an"), Phrase("he"), double=True),
            "The girl gave him an apple.",
        ),
        (
            Clause(THE_GIRL, "give", n("apple", "a"), Phrase("he")),
            "The girl gave an apple to him.",
        ),
        (
            Clause(
                THE_GIRL, "give", n("knife", "no"), THE_DOGS, passive=True, double=True
            ),
            "The dogs were given no knife by the girl.",
        ),
        (
            Clause(THE_GIRL, "buy", n("map", "a"), Phrase("peter")),
            "The girl bought a map from Peter.",
        ),
        (
            Clause(THE_GIRL, "be", Phrase("i"), predicate="big", tense="present"),
            "The girl is bigger than me.",
        ),
        (
            Clause(n("map"), "be", n("box"), predicate="ancient", negated=True),
            "The map was not more ancient than the box.",
        ),
        (
            Clause(
                Phrase("dog", "the", True, relative=CHASED),
                "hide",
                n("scarf", plural=True),
                frequency="often",
                time="on mondays",
                front=True,
                tense="present",
            ),
            "On Mondays the dogs that the boy chases often hide the scarves.",
        ),
        (
            Clause(Phrase("dog", "the", True, relative=BITING), "sleep", near=BARN),
            "The dogs that bite him slept near the barn.",
        ),
        (
            Clause(
                Phrase("anna", partner=("and", Phrase("i"))),
                "know",
                complement=Clause(n("thief", "every"), "steal", n("cherry", "a")),
                tense="present",
            ),
            "Anna and I know that every thief stole a cherry.",
        ),
        (
            Clause(n("mouse", "all", True), "frighten", Phrase("themselves")),
            "All mice frightened themselves.",
        ),
    ],
)
def test_sentences_are_spelt_as_english_spells_them(clause: Clause, expected: str):
    assert sentence(clause) == expected


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("carry", "carries carried carried carrying"),
        ("drop", "drops dropped dropped dropping"),
        ("fix", "fixes fixed fixed fixing"),
        ("wash", "washes washed washed washing"),
        ("visit", "visits visited visited visiting"),
        ("chase", "chases chased chased chasing"),
        ("see", "sees saw seen seeing"),
        ("swim", "swims swam swum swimming"),
        ("show", "shows showed shown showing"),
        ("run", "runs ran run running"),
    ],
)
def test_verb_forms(base: str, forms: str):
    verb = lexicon.VERBS[base]
    assert [verb.third, verb.past, verb.participle, verb.gerund] == forms.split()


def test_relations_between_words_are_mutual():
    for table in (lexicon.NOUNS, lexicon.VERBS, lexicon.ADJECTIVES):
        for word, entry in table.items():
            if entry.synonym:
                assert table[entry.synonym].synonym == word
    for verb, converse in lexicon.CONVERSES.items():
        assert lexicon.CONVERSES[converse] == verb
    for word, adjective in lexicon.ADJECTIVES.items():
        if adjective.opposite:
            back = lexicon.ADJECTIVES[adjective.opposite].opposite
            assert oracles_english.canonical(back) == oracles_english.canonical(word)


def test_words_are_of_the_kinds_of_those_above_them():
    for word, noun in lexicon.NOUNS.items():
        if noun.hypernym:
            assert lexicon.NOUNS[noun.hypernym].kind == noun.kind, word
    for word, verb in lexicon.VERBS.items():
        if verb.hypernym:
            above = lexicon.VERBS[verb.hypernym]
            kinds = [k for k in ("human", "animal") if lexicon.is_a(k, verb.subject)]
            assert all(lexicon.is_a(kind, above.subject) for kind in kinds), word


def test_no_spelling_belongs_to_two_words():
    spellings: Counter[str] = Counter()
    for noun in lexicon.NOUNS.values():
        spellings.update({noun.singular, noun.plural})
    for verb in lexicon.VERBS.values():
        forms = (verb.base, verb.third, verb.past, verb.participle, verb.gerund)
        spellings.update(set(forms))
    for adjective in lexicon.ADJECTIVES.values():
        spellings.update({adjective.word, *adjective.comparative[-1:]})
    spellings.update(lexicon.MANNERS)
    spellings.update(list(lexicon.NAMES))
    twice = {word for word, count in spellings.items() if count > 1}
    assert not twice


@pytest.mark.parametrize("frame", FRAMES)
def test_samples_have_their_frame_and_a_bounded_length(frame: str):
    dice = Dice("frames", frame)
    for _ in range(200):
        clause = sample(dice, frame=frame)
        copular = frame in ("comparative", "adjective")
        assert copular or lexicon.VERBS[clause.verb].frame == frame
        assert (clause.verb == "be") == copular
        assert len(words(clause)) <= MAX_WORDS


def test_dice_are_fair():
    dice = Dice("fair")
    count = 20_000
    picks = Counter(dice.pick("abcd") for _ in range(count))
    weighted = Counter(dice.weighted({"a": 3.0, "b": 1.0}) for _ in range(count))
    firsts = Counter(dice.shuffled("abcd")[0] for _ in range(count))
    # Six standard deviations of a binomial count.
    for found, share in [
        (picks["a"], 0.25),
        (weighted["a"], 0.75),
        (firsts["d"], 0.25),
    ]:
        assert abs(found - share * count) < 6 * (count * share * (1 - share)) ** 0.5


@pytest.mark.medium
@pytest.mark.parametrize("edit", SAME)
def test_each_rewording_keeps_the_meaning(edit: str):
    dice, tried = Dice("same", edit), 0
    while tried < 150:
        clause = sample(dice, accept=unambiguous)
        edited = SAME[edit][0](dice, clause)
        if edited is None:
            continue
        tried += 1
        assert edited != clause
        same = oracles_english.meaning(edited) == oracles_english.meaning(clause)
        assert same, (sentence(clause), sentence(edited))


def test_rewordings_together_keep_the_meaning():
    dice = Dice("reword")
    for _ in range(500):
        clause = sample(dice, accept=unambiguous)
        said = reword(dice, clause)
        same = oracles_english.meaning(said) == oracles_english.meaning(clause)
        assert same, (sentence(clause), sentence(said))


@pytest.mark.parametrize("edit", paraphrase.CHANGED)
def test_each_change_changes_the_meaning(edit: str):
    dice, tried = Dice("changed", edit), 0
    while tried < 150:
        clause = sample(dice, accept=unambiguous)
        changed = paraphrase.CHANGED[edit][0](dice, clause)
        if changed is None or changed == clause:
            continue
        tried += 1
        same = oracles_english.meaning(changed) == oracles_english.meaning(clause)
        assert not same, (sentence(clause), sentence(changed))


def _is_plain(clause: Clause) -> bool:
    phrases = [p for p in (clause.subject, clause.object) if p is not None]
    known = all(p.head in (*lexicon.NOUNS, *lexicon.NAMES) for p in phrases)
    simple = all(p.relative is None and p.partner is None for p in phrases)
    return known and simple and clause.verb != "be" and clause.recipient is None


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["monotone", "quantity", "polarity"])
def test_entailments_hold_in_all_worlds_and_the_others_fail_in_some(kind: str):
    dice, taste = Dice("worlds", kind), Taste(quantified=0.35)
    tried = Counter()
    while min(tried[True], tried[False]) < 25:
        follows = tried[True] < 25
        drawn = entailment.KINDS[kind][0](dice, follows, taste)
        if drawn is None or not all(map(_is_plain, drawn)):
            continue
        premise, hypothesis = drawn
        tried[follows] += 1
        counterexample = False
        for seed in range(100 if follows else 4000):
            world = oracles_english.World(seed)
            both = [oracles_english.holds(clause, world) for clause in drawn]
            if both == [True, False]:
                counterexample = True
                break
        said = (sentence(premise), sentence(hypothesis))
        assert counterexample != follows, said


@pytest.mark.parametrize("violation", acceptability.VIOLATIONS)
def test_each_violation_spoils_the_sentence(violation: str):
    dice, tried = Dice("violation", violation), 0
    violate = acceptability.VIOLATIONS[violation][0]
    while tried < 30:
        clause = sample(dice)
        spoken = violate(dice, clause)
        if spoken is None:
            continue
        tried += 1
        assert text(spoken) != sentence(clause)


def test_agreement_violations_are_violations():
    """An independent reading of number: 'was' after a plural subject, and so on."""
    dice, found = Dice("number"), 0
    violate = acceptability.VIOLATIONS["agreement"][0]
    while found < 50:
        clause = Sampler(dice, Taste(pronoun=0, name=0, pair=0)).clause("adjective")
        spoken = violate(dice, clause)
        if spoken is None or clause.subject is None or clause.tense == "future":
            continue
        if clause.subject.relative is not None or clause.subject.near is not None:
            continue
        found += 1
        noun, verb = spoken[-2 - clause.negated - 1].text, spoken[-2 - clause.negated]
        plural = noun in {entry.plural for entry in lexicon.NOUNS.values()}
        assert verb.text in (("is", "was") if plural else ("are", "were"))


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_train_and_evaluation_share_no_sentence(name: str, seed: int):
    data = generated.load(name, seed=seed)
    evaluation = {text for texts in data.evaluation.texts for text in texts}
    train = [text for texts in data.train.texts for text in texts]
    assert not evaluation & set(train)
    assert not generated.held_out(name, 0) & set(train)
    assert len(set(data.train.texts)) == len(data.train.texts)
    assert len(set(data.evaluation.texts)) == len(data.evaluation.texts)


@pytest.mark.medium
def test_text_to_pretrain_on_has_no_evaluation_sentence():
    held_out = set().union(*(generated.held_out(n, s) for n in NAMES for s in (0, 1)))
    stream = generated.corpus(0)
    texts = [text for _ in range(1000) for text in next(stream)]
    assert not held_out & set(texts)
    # The check could not fail if such sentences were never drawn.
    dice = Dice("corpus check")
    drawn = {sentence(sample(dice)) for _ in range(7_000)}
    assert drawn & held_out


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_labels_are_those_of_the_models(name: str):
    data = generated.load(name)
    share = {"acceptability": 0.70, "paraphrase": 0.68, "entailment": 0.50}[name]
    assert data.task is tasks.GENERATED[name]
    for examples in (data.train, data.evaluation):
        assert np.mean(examples.labels == 1) == pytest.approx(share, abs=1e-3)
        assert examples.labels is not None
        assert examples.labels.dtype == np.int32
    assert len(data.train) == generated.TRAIN_SIZE
    assert len(data.evaluation) == generated.EVALUATION_SIZE


@pytest.mark.medium
def test_labels_mean_what_the_task_says():
    rows = generated.rows("entailment", "evaluation", generated.EVALUATION_SIZE)
    index = tasks.GENERATED["entailment"].labels.index("entailment")
    follows = [row for row in rows if row.made == "attitude" and row.label == index]
    assert follows
    assert any(
        re.search(r"\b(know|realiz|notic|rememb|recall)", row.texts[0])
        for row in follows
    )
    rows = generated.rows("acceptability", "evaluation", generated.EVALUATION_SIZE)
    assert all((row.label == 0) == bool(row.made) for row in rows)


_DIGEST = """
import hashlib
from bert_glue.data import generated
digest = hashlib.sha256()
for name in generated.SHARES:
    for split in ("evaluation", "train"):
        digest.update(repr(generated.rows(name, split, 400)).encode())
stream = generated.corpus(0)
digest.update(repr([next(stream) for _ in range(300)]).encode())
print(digest.hexdigest()[:16])
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
@pytest.mark.slow
def test_the_same_everywhere(hash_seed: str):
    """Recorded once; the order of sets and hashes of strings must not matter."""
    examples = pathlib.Path(generated.__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    environment["PYTHONPATH"] = str(examples)
    command = [sys.executable, "-c", _DIGEST]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "1f2fd125107cd661"


def test_rows_differ_between_seeds_and_not_between_calls():
    digests = []
    for seed in (0, 1, 0):
        generated.rows.cache_clear()
        found = repr(generated.rows("paraphrase", "train", 30, seed))
        digests.append(hashlib.sha256(found.encode()).hexdigest())
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generated.load("grammar"), "name must be one of acceptability"),
        (lambda: generated.load("paraphrase", train_size=0), "size must be at least 1"),
        (lambda: generated.rows("paraphrase", "dev", 3), "split must be"),
    ],
)
def test_wrong_arguments_are_named(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.medium
def test_every_word_of_the_grammar_is_a_piece_or_a_stem_with_an_ending():
    pieces = set(vocabulary())
    stream = generated.corpus(0)
    for _ in range(2000):
        for said in next(stream):
            for word in said[:-1].lower().split():
                stems = (word.removesuffix(end) for end in SUFFIXES)
                assert word in pieces or pieces.intersection(stems), word
