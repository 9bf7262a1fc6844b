"""How many seeds run side by side, estimated and as compiled."""

import dataclasses

import pytest
import tiny_bert
from bert_glue.study.plan import Plan, bytes_per_seed, largest_group, plan_groups
from bert_glue.training.methods import METHODS
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

GIB = 1 << 30


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 100, 41)


def plan(seeds, **changes):
    settings = {
        "bytes_per_seed": 10 << 20,
        "bytes_available": 95 << 20,
        "gain": True,
    }
    return plan_groups(seeds, **(settings | changes))


def test_groups_fill_the_memory_evenly():
    assert plan(5).group_size == 5
    assert plan(9).group_size == 9
    assert plan(10).group_size == 5
    assert plan(25).group_size == 9
    assert plan(25, gain=False).group_size == 1
    assert plan(25, gain=False, places=4) == Plan(
        4, "one on each device, which gains nothing from more"
    )
    assert plan(25, wanted=4) == Plan(4, "as asked for")
    assert plan(3, wanted=4) == Plan(3, "all there are to do; 4 were asked for")


def test_more_than_the_memory_is_refused():
    with pytest.raises(
        ValueError, match=r"10 parallel seeds need about 100 MiB.*1 to 9"
    ):
        plan(25, wanted=10)
    with pytest.raises(ValueError, match=r"training needs about 200 MiB"):
        plan(1, bytes_per_seed=200 << 20)


@pytest.mark.medium
@pytest.mark.cpu
@pytest.mark.parametrize("seeds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_memory_is_estimated_before_it_is_compiled(subject, seeds):
    # Large enough for what is counted to outweigh what is not.
    config = dataclasses.replace(
        tiny_bert.CONFIG, hidden_size=128, intermediate_size=512
    )
    params = tiny_bert.parameters(config)
    subject = dataclasses.replace(subject, config=config, pretrained=params)
    recipe = METHODS["cwgnc"].replace(batch_size=8, epochs=2, dropout=0.0)
    estimate = bytes_per_seed(subject, recipe)
    trainer = Trainer(subject.workload(recipe), recipe, seeds, buckets=(24,))
    assert 0.7 < seeds * estimate / trainer.compile() < 1.6


def compiled_for(bytes_of, seeds, available, **estimate):
    """The plan, and the sizes that were compiled for it."""
    compiled = []

    def compiling(size):
        compiled.append(size)
        return bytes_of(size)

    return largest_group(compiling, seeds, available, **estimate), compiled


def linear(fixed, each):
    return lambda seeds: fixed + each * seeds


@pytest.mark.parametrize("each", [4, 5, 6])
def test_the_largest_group_that_fits_is_compiled_alone(each):
    bytes_of = linear(2 * GIB, 5 * GIB)
    plan, compiled = compiled_for(bytes_of, 25, 70 * GIB, each=each * GIB)
    # 13 fit, and 25 in two groups are 13 and 12. A few percent more or less are far
    # from another number of groups.
    assert plan.group_size == 13
    assert compiled == ([13] if each < 6 else [9, 13])
    assert "13 take 67.0 GiB of the 70.0 GiB that are free" in plan.reason
    assert "2 groups" in plan.reason


def test_all_seeds_are_compiled_for_if_they_may_fit():
    bytes_of = linear(GIB, GIB)
    assert compiled_for(bytes_of, 5, 8 * GIB, each=GIB)[1] == [5]
    plan, compiled = compiled_for(bytes_of, 9, 8 * GIB, each=GIB // 2)
    assert (plan.group_size, compiled) == (5, [9, 5])


@pytest.mark.parametrize("each", [1, GIB // 8, GIB, 3 * GIB, 1 << 50])
@pytest.mark.parametrize("available", [9, 13, 24, 100])
def test_whatever_was_expected_what_is_compiled_counts(each, available):
    # From 8 on a seed takes more than smaller groups tell, and 12 no compiler can do.
    def bytes_of(seeds):
        return 1 << 62 if seeds > 11 else (seeds if seeds < 8 else 2 * seeds) * GIB

    free = available * GIB
    plan, compiled = compiled_for(bytes_of, 12, free, each=each)
    assert bytes_of(plan.group_size) <= free
    # In as few groups as any size that fits, but for what small ones cannot tell.
    assert plan.group_size == 6
    assert len(compiled) == len(set(compiled)) <= 4


def test_places_are_filled_evenly():
    # 8 devices, of which each has room for 3 seeds.
    def bytes_of(seeds):
        assert seeds % 8 == 0
        return (1 + 2 * seeds // 8) * GIB

    estimate = {"each": 2 * GIB, "fixed": GIB, "places": 8}
    plan = largest_group(bytes_of, 30, 7 * GIB, **estimate)
    assert plan.group_size == 16
    assert "of each device" in plan.reason
    assert largest_group(bytes_of, 20, 7 * GIB, **estimate).group_size == 24
    with pytest.raises(ValueError, match=r"takes 3.0 GiB of each device.*2.0 GiB are"):
        largest_group(bytes_of, 20, 2 * GIB, **estimate)
