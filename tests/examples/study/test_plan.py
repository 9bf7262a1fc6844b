"""How many seeds run side by side, estimated and as compiled."""

import dataclasses

import pytest
import tiny_bert
from bert_glue.data import load
from bert_glue.study.plan import Plan, bytes_per_seed, largest_group, plan_groups
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS
from bert_glue.training.subjects import Subject
from bert_glue.training.trainer import Trainer

GIB = 1 << 30


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_bert.save(folder / "model")
    train = tiny_bert.write_tsv(folder / "train.tsv", 100, seed=0)
    dev = tiny_bert.write_tsv(folder / "dev.tsv", 41, seed=1)
    return subjects.prepare(load.load_files(train, dev), model)


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
    assert plan(25, wanted=4) == Plan(4, "as asked for")
    assert plan(3, wanted=4) == Plan(3, "all there are to do; 4 were asked for")


def test_more_than_the_memory_is_refused():
    with pytest.raises(
        ValueError, match=r"10 parallel seeds need about 100 MiB.*1 to 9"
    ):
        plan(25, wanted=10)
    with pytest.raises(ValueError, match=r"training needs about 200 MiB"):
        plan(1, bytes_per_seed=200 << 20)


@pytest.mark.cpu
def test_memory_is_estimated_before_it_is_compiled(subject):
    # Large enough for what is counted to outweigh what is not.
    config = dataclasses.replace(
        tiny_bert.CONFIG, hidden_size=128, intermediate_size=512
    )
    params = tiny_bert.parameters(config)
    subject = dataclasses.replace(subject, config=config, pretrained=params)
    recipe = METHODS["cwgnc"].replace(batch_size=8, epochs=2, dropout=0.0)
    estimate = bytes_per_seed(subject, recipe)
    trainer = Trainer(subject.workload(recipe), recipe, 1, buckets=(24,))
    assert 0.7 < estimate / trainer.compile() < 1.6


def linear(fixed, each, used=None):
    """Memory of groups, and which of them were compiled."""

    def bytes_of(seeds):
        if used is not None:
            used.append(seeds)
        return fixed + each * seeds

    return bytes_of


def test_the_largest_group_that_fits():
    compiled = []
    plan = largest_group(linear(2 * GIB, 5 * GIB, compiled), 25, 70 * GIB)
    # 13 fit, and 25 in two groups are 13 and 12.
    assert plan.group_size == 13
    assert compiled == [1, 2, 13]
    assert "13 take 67.0 GiB of the 70.0 GiB that are free" in plan.reason
    assert "2 groups" in plan.reason


def test_all_seeds_are_tried_first_if_they_may_fit():
    compiled = []
    bytes_of = linear(GIB, GIB, compiled)
    assert largest_group(bytes_of, 5, 8 * GIB, all_first=True).group_size == 5
    assert compiled == [5]
    compiled.clear()
    assert largest_group(bytes_of, 9, 8 * GIB, all_first=True).group_size == 5
    assert compiled == [9, 1, 2, 5]


def test_what_is_compiled_counts_and_not_what_was_expected():
    # From 8 on a seed takes more than two small groups tell.
    def bytes_of(seeds):
        return (seeds if seeds < 8 else 2 * seeds) * GIB

    assert largest_group(bytes_of, 12, 13 * GIB).group_size == 6
    assert largest_group(bytes_of, 10, 10 * GIB).group_size == 5


def test_places_are_filled_evenly():
    # 8 devices, of which each has room for 3 seeds.
    def bytes_of(seeds):
        assert seeds % 8 == 0
        return (1 + 2 * seeds // 8) * GIB

    plan = largest_group(bytes_of, 30, 7 * GIB, places=8)
    assert plan.group_size == 16
    assert "of each device" in plan.reason
    assert largest_group(bytes_of, 20, 7 * GIB, places=8).group_size == 24
    with pytest.raises(ValueError, match=r"takes 3.0 GiB of each device.*2.0 GiB are"):
        largest_group(bytes_of, 20, 2 * GIB, places=8)
