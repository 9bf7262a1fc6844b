import types

from bert_glue.study.shards import Shard, deal, share
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=60),
    st.integers(1, 80),
)
def test_parts_are_whole_and_even(costs, of):
    parts = [deal(costs, Shard(number, of)) for number in range(1, of + 1)]
    # Each piece in one part, and in order: parts have no gaps.
    assert [piece for part in parts for piece in part] == list(range(len(costs)))
    # No part is more than a piece above its share.
    fair = sum(costs) / of + max(costs)
    assert all(sum(costs[piece] for piece in part) <= fair for part in parts)


def configuration(name, lengths, **settings):
    return types.SimpleNamespace(
        name=name,
        recipe=Recipe(name, "", **settings),
        subject=types.SimpleNamespace(
            train=types.SimpleNamespace(lengths=lengths), shapes={}
        ),
    )


def test_a_part_takes_as_many_tokens_and_not_as_many_runs():
    short = configuration("short", [5, 5], epochs=1)
    long = configuration("long", [5, 5, 5, 5], epochs=2)
    seeds = [Seed(seed, seed) for seed in range(4)]
    assert share([short, long], seeds, None) == {"short": seeds, "long": seeds}
    parts = [share([short, long], seeds, Shard(number, 2)) for number in (1, 2)]
    # 4 runs of 10 tokens, 4 of 40: the middle of the second long one is that of all.
    assert [len(part["short"]) for part in parts] == [4, 0]
    assert [part["long"] for part in parts] == [seeds[:1], seeds[1:]]
