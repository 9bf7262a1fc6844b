import types

import pytest
from bert_glue.cli import choices, command_line
from bert_glue.study.shards import Shard, deal, parse_shard, share
from bert_glue.training.recipe import Recipe
from bert_glue.training.seeds import Seed, cross
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


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_shard(text):
    with pytest.raises(ValueError, match=r"shard is .*; accepted is 1/8 to 8/8"):
        parse_shard(text)


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


def options(*arguments):
    parser = command_line.make_parser("x.py", "", "")
    command_line.add_run_options(parser, default_seeds=3)
    return parser.parse_args(arguments)


def test_both_seeds_of_a_run():
    assert choices.seeds(options()) == [Seed(0, 0), Seed(1, 1), Seed(2, 2)]
    assert choices.seeds(options("--seeds", "7,")) == [Seed(7, 7)]
    crossed = choices.seeds(options("--init-seeds", "2", "--data-seeds", "0,5-6"))
    assert crossed == cross((0, 1), (0, 5, 6))
    assert crossed[3:] == [Seed(1, 0), Seed(1, 5), Seed(1, 6)]
    assert choices.seeds(options("--data-seeds", "2")) == [Seed(0, 0), Seed(0, 1)]
    assert choices.seeds(options("--init-seeds", "2")) == [Seed(0, 0), Seed(1, 0)]
    with pytest.raises(ValueError, match="--seeds sets both seeds of a run"):
        choices.seeds(options("--seeds", "2", "--init-seeds", "2"))
