"""A group that was interrupted goes on as if nothing had happened."""

import copy
import functools
import json
import os
import resource

import jax
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import metrics
from bert_glue.records import resume
from bert_glue.records.resume import Checkpoints
from bert_glue.records.run_store import RunStore
from bert_glue.study import programs
from bert_glue.study.configuration import Configuration
from bert_glue.study.progress import Progress
from bert_glue.study.run_group import train_group
from bert_glue.study.study import Study
from bert_glue.study.tracking import GroupTracking
from bert_glue.training.group_state import GroupState
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed
from bert_glue.training.stages import make_stages
from bert_glue.training.trainer import Trainer

pytestmark = pytest.mark.medium

SEEDS = [Seed(3, 3), Seed(0, 5)]
QUICK = {"learning_rate": 5e-3, "max_norm": 0.05, "batch_size": 8, "dropout": 0.0}


class Killed(BaseException):
    """Nothing in the loop can catch this."""


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return tiny_bert.prepare(folder, 50, 20)


def trainers_of(subject, recipe):
    trainers = []
    for stage in make_stages(recipe, subject.shapes):
        trainer = Trainer(
            subject.workload(recipe),
            recipe,
            len(SEEDS),
            buckets=(24,),
            stage=stage,
            recording=True,
            evaluator=trainers[0].evaluate if trainers else None,
        )
        trainer.compile()
        trainers.append(trainer)
    return trainers


@pytest.fixture(scope="module")
def trainers(subject):
    """Everything at once that a run carries: two stages of gradual unfreezing with one
    optimizer, of two epochs of seven steps with three evaluations each, the best of
    which is kept; Mixout, which looks back to the initial parameters."""
    recipe = METHODS["gu"].replace(
        **QUICK,
        epochs=2,
        stages=2,
        carry_optimizer=True,
        mixout=0.5,
        evaluations_per_epoch=3,
        keep="best",
    )
    return trainers_of(subject, recipe)


def keeping_last(trainers, **settings):
    """The same compiled programs, for a recipe whose result is the last evaluation."""
    others = list(map(copy.copy, trainers))
    for trainer in others:
        trainer.recipe = trainer.recipe.replace(keep="last", **settings)
    return others


def trained(trainers, subject, checkpoint=None, *, evaluations=None, **more):
    """What becomes of the seeds; killed in the evaluation after so many."""
    labels = np.asarray(subject.evaluation.labels)
    left = np.inf if evaluations is None else evaluations * len(SEEDS)

    def score(logits):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        # Finer than a score of twenty examples, so that seldom two are equal.
        accuracy = metrics.score("accuracy", subject.predictions(logits), labels)
        return accuracy + float(np.abs(logits).mean())

    progress = Progress(len(SEEDS), shown=more.pop("shown", False))
    try:
        return train_group(
            trainers, SEEDS, score, progress, checkpoint=checkpoint, **more
        )
    finally:
        progress.close()


def assert_same(group, expected):
    assert group.outcomes == expected.outcomes
    assert group.recorded.keys() == expected.recorded.keys()
    jax.tree.map(np.testing.assert_array_equal, group.recorded, expected.recorded)
    jax.tree.map(np.testing.assert_array_equal, group.params, expected.params)


def runs_of(configuration, *seeds):
    return [(configuration, seed) for seed in seeds]


def checkpoints(folder, minutes=1e-9, **surroundings):
    return Checkpoints(folder, minutes, surroundings or {"versions": {"jax": "1"}})


def checkpoint_in(folder, notes=None, **surroundings):
    made = checkpoints(folder, **surroundings).of(
        runs_of("adamw", *SEEDS),
        ["norms"],
        (lambda text: None) if notes is None else notes.append,
    )
    assert made is not None
    return made


@pytest.fixture(scope="module")
def undisturbed(trainers, subject):
    group = trained(trainers, subject)
    # It is worth comparing: scores are no constants, and seeds differ.
    assert np.ptp([each["score"] for each in group.outcomes[0].history]) > 0
    assert group.outcomes[0].score != group.outcomes[1].score
    assert {"losses", "norms/0", "scales/1", "rmsd_from_initial/1"} < set(
        group.recorded
    )
    assert group.recorded["losses"].shape == (2, 28)
    return group


# Evaluations: 1, 2 in an epoch, 3 at its end, 6 at the end of the first stage.
@pytest.mark.parametrize("breaks", [[1], [3], [6], [2, 5, 3]])
def test_to_the_last_bit_the_same_as_without_the_break(
    trainers, subject, undisturbed, tmp_path, breaks
):
    for number, evaluations in enumerate(breaks):
        with pytest.raises(Killed):
            # Bars cut the stretches otherwise; the result does not depend on that.
            trained(
                trainers,
                subject,
                checkpoint_in(tmp_path),
                evaluations=evaluations,
                shown=number == 1,
            )
    notes = []
    checkpoint = checkpoint_in(tmp_path, notes)
    again = trained(trainers, subject, checkpoint)
    step = undisturbed.outcomes[0].history[sum(breaks) - 1]["step"]
    assert notes == [f"going on from {checkpoint.folder / str(step)}"]
    assert_same(again, undisturbed)


# Of every second epoch the evaluations are 1, 2, and 3 at the end of the first stage.
@pytest.mark.parametrize(("evaluations", "every"), [(4, 1), (6, 1), (2, 2), (4, 2)])
def test_last_evaluation_is_the_same_too(
    trainers, subject, tmp_path, evaluations, every
):
    trainers = keeping_last(trainers, epochs_per_evaluation=every)
    expected = trained(trainers, subject)
    with pytest.raises(Killed):
        trained(trainers, subject, checkpoint_in(tmp_path), evaluations=evaluations)
    assert_same(trained(trainers, subject, checkpoint_in(tmp_path)), expected)


def tracked(subject, trainers):
    """Where a group is tracked, and all that it is told of."""
    entries = []
    configuration = Configuration(subject, "tiny", trainers[0].recipe)

    def send(row, method, values, step):
        assert method == "log"
        entries.append((row, step, values))

    return GroupTracking(configuration, len(SEEDS), 3, send), entries


@pytest.mark.parametrize("evaluations", [1, 4, 6])
def test_trackers_hear_all_of_a_group_that_goes_on(
    trainers, subject, tmp_path, evaluations
):
    tracking, expected = tracked(subject, trainers)
    trained(trainers, subject, tracking=tracking)
    assert len({(row, step) for row, step, _ in expected}) > 20
    with pytest.raises(Killed):
        trained(trainers, subject, checkpoint_in(tmp_path), evaluations=evaluations)
    tracking, entries = tracked(subject, trainers)
    trained(trainers, subject, checkpoint_in(tmp_path), tracking=tracking)
    # Every step once, and in order, as if nothing had happened.
    assert entries == expected


def test_time_adds_up_and_only_the_last_checkpoint_is_kept(subject, trainers, tmp_path):
    checkpoint = checkpoint_in(tmp_path)
    with pytest.raises(Killed):
        trained(trainers, subject, checkpoint, evaluations=3)
    (folder,) = checkpoint.folder.iterdir()
    assert folder.name == "7"
    facts, arrays = checkpoint.load(GroupState(trainers).template)
    assert facts["seconds"] > 0
    checkpoint.save(7, facts | {"seconds": 1000}, arrays)
    assert 1000 < trained(trainers, subject, checkpoint_in(tmp_path)).seconds < 1600
    # Whoever has recorded the runs removes it, with the empty folder above.
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def arrays_of(number):
    return {"a": np.full((3, 4), number, np.float32), "b": {"c": np.arange(number)}}


def template_of(facts):
    return {"a": np.zeros((3, 4), np.float32), "b": {"c": 0}} | facts.get("more", {})


def test_what_is_damaged_is_passed_over(tmp_path):
    notes = []
    checkpoint = checkpoint_in(tmp_path, notes)
    checkpoint.save(5, {"x": [1, float("nan")]}, arrays_of(5))
    older = checkpoint.folder / "5"
    kept = older.rename(tmp_path / "kept")
    checkpoint.save(9, {"x": 2}, arrays_of(9))
    kept.rename(older)
    newest = checkpoint.folder / "9"
    # What a process leaves that is killed while it writes.
    (checkpoint.folder / "10").mkdir()
    (checkpoint.folder / "10" / "arrays.npz").write_bytes(b"")

    facts, arrays = checkpoint.load(template_of)
    assert facts == {"x": 2}
    np.testing.assert_array_equal(arrays["b"]["c"], np.arange(9))
    notes.clear()
    data = newest / "arrays.npz"
    whole = data.read_bytes()
    data.write_bytes(whole[:-7])
    facts, arrays = checkpoint.load(template_of)
    assert np.isnan(facts["x"][1])
    np.testing.assert_array_equal(arrays["a"], np.full((3, 4), 5, np.float32))
    assert notes[0] == (
        f"{newest} is damaged and is not used (arrays.npz was cut short or changed)"
    )
    # As long as it should be, with other bytes in it: checksums find that.
    data.write_bytes(whole[:-7] + bytes(7))
    assert checkpoint.load(template_of)[0].keys() == {"x"}
    assert f"{newest} is damaged and is not used (" in notes[2]
    (older / "group.json").write_text('{"about": ')
    assert checkpoint.load(template_of) is None
    assert f"{older} is damaged" in notes[-1]
    checkpoint.save(12, {}, arrays_of(1))
    assert [path.name for path in checkpoint.folder.iterdir()] == ["12"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda saved: saved["facts"].update(history=[]),
        lambda saved: saved["facts"].pop("done"),
        lambda saved: saved.update(arrays="0"),
        lambda saved: saved["about"].pop("runs"),
        lambda saved: saved.pop("checksum"),
        lambda saved: saved.clear(),
    ],
)
def test_facts_that_were_changed_are_not_believed(tmp_path, edit):
    checkpoint = checkpoint_in(tmp_path, notes := [])
    checkpoint.save(5, {"history": [1.5, float("nan")], "done": 5}, arrays_of(5))
    path = checkpoint.folder / "5" / "group.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved))
    assert checkpoint.load(template_of) is not None
    edit(saved)
    path.write_text(json.dumps(saved))
    assert checkpoint.load(template_of) is None
    assert notes[1].startswith(f"{checkpoint.folder / '5'} is damaged and is not used")
    # Nor does it say of which group it is, which is told once.
    made, notes = checkpoints(tmp_path), []
    of_method = functools.partial(
        made.interrupted,
        *(["adamw"], ["norms"]),
        is_done=lambda *_: False,
        note=notes.append,
    )
    assert [*of_method(), *of_method()] == []
    assert notes == [
        f"{checkpoint.folder} is damaged and is not used (group.json was cut short or "
        "changed)"
    ]


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '"checksum"', "\xff"])
def test_whatever_is_no_checkpoint_is_said_and_not_used(tmp_path, content):
    checkpoint = checkpoint_in(tmp_path, notes := [])
    checkpoint.save(5, {}, arrays_of(5))
    (checkpoint.folder / "5" / "group.json").write_text(content)
    # Nor what somebody has put there.
    (checkpoint.folder / "mine").mkdir()
    (checkpoint.folder / "mine" / "group.json").write_text("{}")
    assert checkpoint.load(template_of) is None
    assert len(notes) == 1
    assert "5 is damaged and is not used (group.json was cut short or ch" in notes[0]


def test_a_saving_that_is_killed_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoint = checkpoint_in(tmp_path)
    checkpoint.save(5, {"x": 5}, arrays_of(5))

    def kill(*_, **__):
        raise Killed

    # While the arrays are written, before and while all else is.
    for owner, name in (
        (np, "savez"),
        (resume, "_digest"),
        (os, "replace"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, kill)
            with pytest.raises(Killed):
                checkpoint.save(9, {"x": 9}, arrays_of(9))
        facts, arrays = checkpoint_in(tmp_path, notes := []).load(template_of)
        assert facts == {"x": 5}
        np.testing.assert_array_equal(arrays["b"]["c"], np.arange(5))
        assert notes == [f"going on from {checkpoint.folder / '5'}"]
    checkpoint.save(9, {"x": 9}, arrays_of(9))
    assert [path.name for path in checkpoint.folder.iterdir()] == ["9"]


def test_arrays_of_another_shape_are_not_taken(tmp_path):
    notes = []
    checkpoint = checkpoint_in(tmp_path, notes)
    checkpoint.save(5, {}, arrays_of(5) | {"a": np.zeros((2, 4), np.float32)})
    assert checkpoint.load(template_of) is None
    assert "it has float32[2, 4] for float32[3, 4]" in notes[-1]
    checkpoint.save(6, {"more": {"d": 0}}, arrays_of(5))
    assert checkpoint.load(template_of) is None
    assert "it has 2 arrays, not 3" in notes[-1]


def test_what_cannot_be_used_does_not_stand_in_the_way(tmp_path):
    checkpoint_in(tmp_path, versions={"jax": "2"}).save(5, {"x": 2}, arrays_of(5))
    checkpoint = checkpoint_in(tmp_path, notes := [])
    checkpoint.save(5, {"x": 1}, arrays_of(4))
    assert notes == []
    assert [path.name for path in checkpoint.folder.iterdir()] == ["5"]
    facts, arrays = checkpoint.load(template_of)
    assert facts == {"x": 1}
    np.testing.assert_array_equal(arrays["b"]["c"], np.arange(4))


def test_other_versions_and_other_groups_do_not_mix(tmp_path):
    notes = []
    checkpoint_in(tmp_path).save(5, {}, arrays_of(5))
    later = checkpoint_in(tmp_path, notes, versions={"jax": "2"})
    assert later.load(template_of) is None
    assert "it was saved with jax 1 instead of 2" in notes[0]
    for recorded, seeds in (
        ([], SEEDS),
        (["norms"], SEEDS[:1]),
        (["norms"], SEEDS[::-1]),
    ):
        other = checkpoints(tmp_path).of(runs_of("adamw", *seeds), recorded)
        assert other.load(template_of) is None
    other = checkpoints(tmp_path).of(runs_of("cwgnc", *SEEDS), ["norms"])
    assert other.load(template_of) is None
    assert checkpoint_in(tmp_path).load(template_of) is not None
    none = checkpoints(tmp_path, minutes=0)
    assert none.of(runs_of("adamw", *SEEDS), ["norms"]) is None


def test_run_goes_on_if_the_disk_is_full(tmp_path, caplog):
    notes = []
    checkpoint = checkpoint_in(tmp_path, notes)
    checkpoint.save(5, {}, arrays_of(5))
    large = arrays_of(5) | {"noise": np.random.default_rng(0).random(100_000)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may be larger: writing breaks off in the middle, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        checkpoint.save(9, {}, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "no checkpoint at step 9: " in notes[0]
    assert "\n" not in notes[0]
    assert caplog.records == []
    # Nothing is left of it, and the one before is still there.
    assert [path.name for path in checkpoint.folder.iterdir()] == ["5"]
    assert checkpoint.load(template_of) is not None
    assert not checkpoint_in(tmp_path, minutes=10).is_due()


def test_which_groups_can_go_on(tmp_path):
    def interrupted(done=(), names=("adamw",), **limits):
        return made.interrupted(
            names,
            ["norms"],
            is_done=lambda name, seed: (name, seed) in done,
            note=notes.append,
            **limits,
        )

    notes = []
    made = checkpoints(tmp_path)
    of_two = runs_of("adamw", Seed(0, 0), Seed(1, 1))
    of_one = runs_of("adamw", Seed(2, 2))
    for group in (of_two, of_one):
        made.of(group, ["norms"]).save(5, {}, arrays_of(5))
    made.of(of_two, []).save(5, {}, arrays_of(5))
    made.of(runs_of("cwgnc", Seed(0, 0)), ["norms"]).save(5, {}, arrays_of(5))
    assert sorted(interrupted()) == [of_two, of_one]
    assert interrupted(most=1) == interrupted(most=1) == [of_one]
    assert notes == [
        "the checkpoint of seeds 0, 1 is not used: it needs 2 parallel seeds, not 1"
    ]
    assert interrupted(done=of_two[:1]) == [of_one]
    assert notes[1:] == ["removed the checkpoint of seeds 0, 1: 1 are done"]
    assert interrupted() == [of_one]
    # A process was killed while it deleted one.
    (tmp_path / resume.FOLDER / ".removed-adamw" / "5" / "arrays").mkdir(parents=True)
    assert interrupted(done=of_one) == []
    assert len(notes) == 2
    # Those of others are still there.
    assert len(list((tmp_path / resume.FOLDER).iterdir())) == 2


def test_a_group_may_be_of_several_settings(tmp_path):
    def interrupted(*names, done=()):
        return made.interrupted(
            names, [], is_done=lambda *run: run in done, note=notes.append
        )

    notes = []
    made = checkpoints(tmp_path)
    mixed = [*runs_of("low", *SEEDS[:2]), *runs_of("high", *SEEDS[:1])]
    made.of(mixed, []).save(5, {}, arrays_of(5))
    assert interrupted("low", "high") == interrupted("high", "low") == [mixed]
    # Where not all of them are to be done it stays, but does not form.
    assert interrupted("low") == interrupted("high") == []
    assert interrupted("low", "high", done=mixed[2:]) == []
    names = ", ".join(seed.name for seed in SEEDS[:2])
    assert notes == [
        f"removed the checkpoint of seeds {names} of 2 settings: 1 are done"
    ]
    assert interrupted("low", "high") == []


def test_groups_of_other_versions_do_not_form_again(tmp_path):
    # How many seeds fit side by side may be another number now.
    def interrupted(made, *done):
        return made.interrupted(["adamw"], [], is_done=lambda _, seed: seed in done)

    made, group = checkpoints(tmp_path), runs_of("adamw", *SEEDS)
    made.of(group, [], layout={"mesh": 2}).save(5, {}, arrays_of(5))
    assert interrupted(made) == [group]
    later = checkpoints(tmp_path, versions={"jax": "2"})
    assert interrupted(later) == []
    assert interrupted(made) == [group]
    # Nor do they stay for good.
    assert interrupted(later, *SEEDS) == []
    assert interrupted(made) == []


def test_what_a_kill_left_in_the_middle_of_a_saving_is_swept_up(tmp_path):
    made = checkpoints(tmp_path)
    folders = [made.of([("adamw", Seed(n, n))], []).folder for n in range(2)]
    for folder in folders:
        (folder / "7" / "arrays").mkdir(parents=True)
        (folder / "7" / "arrays" / "data").write_bytes(b"0")
    for path in (folders[0] / "7", *(folders[0] / "7").rglob("*")):
        os.utime(path, (0, 0))
    assert made.interrupted(["adamw"], [], is_done=lambda *run: False) == []
    # The other one somebody may be writing.
    assert [folder.exists() for folder in folders] == [False, True]


@pytest.mark.slow
def test_interrupted_group_forms_again(subject, tmp_path, monkeypatch):
    recipe = METHODS["cwgnc"].replace(**QUICK, epochs=3)
    configuration = Configuration(subject, "tiny", recipe)
    store = RunStore(tmp_path)
    lines = []
    # Compiled once for all studies.
    compiled = functools.cache(functools.partial(programs.make_trainers, configuration))
    monkeypatch.setattr(programs, "make_trainers", lambda _, size, **__: compiled(size))

    def study(*numbers, **options):
        seeds = [Seed(number, number) for number in numbers]
        made = Study([configuration], seeds, store, checkpoint_minutes=1e-9, **options)
        progress = Progress(len(seeds), shown=False)
        progress.note = lines.append
        made.run(progress)

    def kill(*_):
        raise Killed

    # Killed in the third evaluation.
    score, left = Configuration.score, iter(range(5))

    def score_until_killed(configuration, logits):
        return kill() if next(left, None) is None else score(configuration, logits)

    with monkeypatch.context() as patch:
        patch.setattr(Configuration, "score", score_until_killed)
        with pytest.raises(Killed):
            study(4, 1)
    # Killed when the group's files have been written and its records have not.
    with monkeypatch.context() as patch:
        patch.setattr(store, "append", kill)
        with pytest.raises(Killed):
            study(4, 1)
    assert store.read() == []
    assert sum("going on from" in line for line in lines) == 1
    # Four seeds would be one group, but the interrupted one comes first.
    study(0, 1, 4, 7)
    assert sum("going on from" in line for line in lines) == 2
    found = store.read()
    assert [(run["seed"], run["group_size"]) for run in found] == [
        *((4, 2), (1, 2), (0, 2), (7, 2))
    ]
    assert all(len(run["history"]) == 3 for run in found)
    assert not (tmp_path / resume.FOLDER).exists()
    # A checkpoint that is left of runs that are recorded is removed.
    identity = {"versions": {}, "hardware": {}}
    old = Checkpoints(tmp_path, 1, identity).of([(configuration.name, SEEDS[0])], [])
    old.save(5, {}, arrays_of(5))
    study(4, 1)
    assert old.folder.exists()
    old = Checkpoints(tmp_path, 1, identity).of([(configuration.name, Seed(4, 4))], [])
    old.save(5, {}, arrays_of(5))
    study(4, 1)
    assert not old.folder.exists()
    store.close()
