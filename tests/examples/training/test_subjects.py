import dataclasses

import jax
import numpy as np
import pandas
import pytest
import tiny_bert
from bert_glue.data import batching, load, tasks
from bert_glue.data.examples import PROBLEMS, Examples, TaskData
from bert_glue.model import checkpoint
from bert_glue.model.encoder import initial_params
from bert_glue.training import subjects
from bert_glue.training.methods import METHODS


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return tiny_bert.save(tmp_path_factory.mktemp("tiny"))


def fingerprint(folder, train, evaluation, task=tasks.GENERATED["acceptability"]):
    splits = [
        Examples(list(map(tuple, texts)), np.array(labels, np.int32))
        for texts, labels in (train, evaluation)
    ]
    data = TaskData(task, *splits)
    return subjects.prepare(data, folder).data_fingerprint


def test_the_fingerprint_changes_with_any_text_and_label(tiny_folder):
    train = [["the cat sees"], ["a dog"]], [0, 1]
    evaluation = [["the bird"]], [1]
    f1 = dataclasses.replace(tasks.GENERATED["acceptability"], metric="f1")
    of_two = tasks.GENERATED["paraphrase"]
    different = [
        fingerprint(tiny_folder, train, evaluation),
        fingerprint(tiny_folder, ([["the cat hears"], ["a dog"]], [0, 1]), evaluation),
        fingerprint(tiny_folder, ([["the cat sees"], ["a dog"]], [1, 1]), evaluation),
        fingerprint(tiny_folder, ([["a dog"], ["the cat sees"]], [1, 0]), evaluation),
        fingerprint(tiny_folder, train, ([["the dog"]], [1])),
        fingerprint(tiny_folder, train, ([["the bird"]], [0])),
        fingerprint(tiny_folder, evaluation, train),
        fingerprint(tiny_folder, train, evaluation, f1),
        fingerprint(tiny_folder, ([["a", "cat"]], [0]), ([["a", "dog"]], [1]), of_two),
        fingerprint(tiny_folder, ([["a cat", ""]], [0]), ([["a", "dog"]], [1]), of_two),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint(tiny_folder, train, evaluation) == different[0]


def test_one_token_type_serves_both_sentences(tmp_path):
    config = dataclasses.replace(tiny_bert.CONFIG, type_vocab_size=1)
    folder = tiny_bert.save(tmp_path, config)
    pairs = Examples([("the cat", "a dog"), ("a bird", "the cat")], np.int32([0, 1]))
    data = TaskData(tasks.GENERATED["paraphrase"], pairs, pairs)
    subject = subjects.prepare(data, folder)
    assert not np.any(subject.train.token_type_ids)
    assert subject.notes == (
        f"{folder} has one token type: both sentences of a pair get it",
    )


def test_a_vocabulary_of_which_half_is_missing(tmp_path):
    folder = tiny_bert.save(tmp_path)
    pieces = (folder / "vocab.txt").read_text().split("\n")
    (folder / "vocab.txt").write_text("\n".join(pieces[:12]))
    train = Examples([("the cat sees",), ("a dog",)], np.int32([0, 1]))
    data = TaskData(tasks.GENERATED["acceptability"], train, train)
    with pytest.raises(
        ValueError, match=f"{folder} has 12 pieces and is not whole: the"
    ):
        subjects.prepare(data, folder)


def test_what_is_cut_and_noted_comes_with_the_subject(tiny_folder):
    texts = [("the cat sees",), ("a dog " * 6,)]
    train = Examples(texts, np.int32([0, 1]), ("odd",))
    data = TaskData(tasks.GENERATED["acceptability"], train, train)
    subject = subjects.prepare(data, tiny_folder, max_length=8)
    assert (subject.truncated_share, subject.longest) == (0.5, 14)
    assert subject.notes == ("odd",)


@pytest.mark.medium
def test_a_new_head_is_drawn_from_the_seed(tmp_path):
    folder = tiny_bert.save(tmp_path)
    params = initial_params(tiny_bert.CONFIG, 2, jax.random.key(0))
    checkpoint.save(folder, tiny_bert.CONFIG, params, labels=("1", "0"))
    data = load.load_task("acceptability").take(4, 4)
    own = subjects.prepare(data, folder)
    new = subjects.prepare(data, folder, new_head=True)
    assert (own.fresh, new.fresh) == ((), ("classifier",))
    (note,) = own.notes
    assert "in the task's order" in note
    assert new.notes == ()
    assert own.model_fingerprint != new.model_fingerprint
    kernels = [
        new.init()(new.pretrained, jax.random.key(seed))["classifier"]["kernel"]
        for seed in (0, 1)
    ]
    assert not np.allclose(*kernels)
    # The rest is the checkpoint's.
    drawn = new.init()(new.pretrained, jax.random.key(0))
    np.testing.assert_array_equal(drawn["pooler"]["kernel"], params["pooler"]["kernel"])


def test_what_is_learnt_follows_from_the_labels(tiny_folder):
    task = tasks.Task("custom", ("text",), ("a", "b"), "f1_micro", is_multi_label=True)
    texts = [("the cat",), ("a dog",), ("a bird",), ("a dog",)]
    labels = np.int32([[1, 0], [1, 0], [0, 0], [1, 1]])
    train = Examples(texts, labels)
    subject = subjects.prepare(TaskData(task, train, train), tiny_folder)
    np.testing.assert_array_equal(subject.train.labels, labels)
    # The commonest set is {a}: three of four answers are right, one label is missed.
    assert subject.majority_score == pytest.approx(75)
    recipe = METHODS["cwgnc"].replace(class_weights="balanced", label_smoothing=0.1)
    loss = subject.workload(recipe).loss
    assert (loss.problem, loss.label_smoothing) == (task.problem_type, 0.1)
    np.testing.assert_allclose(loss.class_weights, [[2, 2 / 3], [2 / 3, 2]], rtol=1e-6)
    logits = np.float32([[1, -1], [1, 2]])
    np.testing.assert_array_equal(subject.predictions(logits), [[1, 0], [1, 1]])
    plain = subject.loss(METHODS["cwgnc"])
    assert plain.class_weights is None
    assert plain.label_smoothing == 0
    numbers = Examples(texts, np.float32([1, 2.5, 3, 0]))
    task = tasks.Task("custom", ("text",), (), "pearson")
    subject = subjects.prepare(TaskData(task, numbers, numbers), tiny_folder)
    with pytest.raises(ValueError, match=r"class_weights .* but labels are numbers"):
        subject.loss(METHODS["cwgnc"].replace(class_weights="balanced"))


# Labels as they are, as numbers, and several an example.
@pytest.mark.parametrize("labels", [["yes", "no", "no"], [1, 0, 1], ["a,b", "", "b"]])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_the_fingerprint_is_that_of_the_rows(tiny_folder, tmp_path, name, labels):
    frame = pandas.DataFrame(
        {"sentence": ["the cat", "a dog", "a bird"], "label": labels}
    )
    problem = "multi_label" if "a,b" in labels else "single_label"
    reading = load.Reading(problem=PROBLEMS[problem])
    frame.to_csv(tmp_path / "rows.tsv", sep="\t", index=False)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "rows.parquet")
    found = {
        subjects.prepare(
            load.load_files(tmp_path / each, tmp_path / each, reading), tiny_folder
        ).data_fingerprint
        for each in ("rows.tsv", name)
    }
    assert len(found) == 1


@pytest.mark.cpu
@pytest.mark.slow
def test_rematerialisation_changes_memory_and_no_result(tiny_folder):
    config = dataclasses.replace(tiny_bert.CONFIG, num_hidden_layers=8)
    params = initial_params(config, 2, jax.random.key(0))
    texts = Examples([(text,) for text, _ in tiny_bert.sentences(8, seed=0)], None)
    task = tasks.GENERATED["acceptability"]
    labelled = dataclasses.replace(texts, labels=np.zeros(8, np.int32))
    subject = subjects.prepare(TaskData(task, labelled, labelled), tiny_folder)
    batch = batching.take_batch(subject.train, np.arange(8), subject.train.width)
    results, used = [], []
    for remat in ("none", "cheap", "full"):
        forward = subjects.make_forward(config, 2, "float32", remat)

        def loss(params, forward=forward):
            return forward(params, batch, None).sum()

        compiled = jax.jit(jax.grad(loss)).lower(params).compile()
        used.append(compiled.memory_analysis().temp_size_in_bytes)
        results.append(compiled(params))
    assert used[0] > 1.5 * used[1] > 2 * used[2]
    for other in results[1:]:
        # Gradients of about 1: what is computed twice fuses, and rounds, otherwise.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            other,
            results[0],
        )
    with pytest.raises(ValueError, match="remat is 'half'; accepted are none, cheap"):
        subjects.make_forward(config, 2, "float32", "half")(params, batch, None)
