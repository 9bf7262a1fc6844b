"""The best run's model: what it answers once it is kept, saved and read again."""

import dataclasses
import re
import types

import jax
import numpy as np
import pytest
import tiny_bert
from bert_glue.data import load
from bert_glue.data.examples import Examples
from bert_glue.devices.mesh import SINGLE
from bert_glue.records.run_store import RunStore
from bert_glue.study import best_model, saved_model
from bert_glue.study.best_model import BestModel
from bert_glue.study.configuration import Configuration
from bert_glue.study.progress import Progress
from bert_glue.study.saved_model import Classifier
from bert_glue.training import subjects
from bert_glue.training.evaluation import Evaluator
from bert_glue.training.methods import METHODS
from bert_glue.training.seeds import Seed

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """Pairs of texts, which only their segment ids tell apart."""
    folder = tmp_path_factory.mktemp("pairs")
    texts = [text for text, _ in tiny_bert.sentences(24, seed=0)]
    pairs = zip(texts, texts[::-1], strict=True)
    rows = [f"{a}\t{b}\t{number % 2}" for number, (a, b) in enumerate(pairs)]
    file = folder / "pairs.tsv"
    file.write_text("\n".join(["sentence1\tsentence2\tlabel", *rows, ""]))
    data = load.load_files(file, file)
    return subjects.prepare(data, tiny_bert.save(folder / "model"))


@pytest.fixture
def finished(subject, tmp_path):
    """A study of one run without segment ids, its parameters, and their logits."""
    configuration = Configuration(subject, "tiny", METHODS["mosbach"])
    seed, records = Seed(0, 0), RunStore(tmp_path)
    run = {
        **{"format": 1, "run": configuration.run(seed), "score": 50.0},
        **{"configuration": configuration.name, "diverged_at": None},
        **{"init_seed": 0, "data_seed": 0, "failed": True, "constant_score": 60.0},
    }
    records.append([run])
    params = subject.init()(subject.pretrained, jax.random.key(0))
    # Weights as large as 1 make segments and answers that differ.
    params = jax.tree.map(lambda leaf: leaf * 50 if leaf.ndim > 1 else leaf, params)
    with_axis = jax.tree.map(lambda leaf: leaf[None], params)
    scored = subject.workload(METHODS["mosbach"])
    logits = Evaluator(subject.forward(), scored.evaluation)(with_axis)[0]
    return types.SimpleNamespace(
        records=records,
        study=([configuration], [seed]),
        offer=(
            [run],
            [types.SimpleNamespace(placement=SINGLE)],
            types.SimpleNamespace(params=with_axis),
        ),
        logits=logits,
    )


@pytest.mark.slow
def test_a_model_without_segments_answers_as_it_was_scored(subject, finished, capsys):
    best = BestModel(finished.records, subject, saved=True)
    best.offer(*finished.offer)
    progress = Progress(0, shown=False)
    record, params = best.finish(*finished.study, progress)
    assert record["score"] == 50
    # What is offered as the best is not said to be good.
    assert re.search(
        r"every run failed; .*, the best run, failed: no better than a constant answer",
        capsys.readouterr().out,
    )

    # Every pair is given its real segment ids, as Hugging Face's tokenizers do.
    assert np.any(subject.evaluation.token_type_ids)
    with_axis = jax.tree.map(lambda leaf: np.asarray(leaf)[None], params)
    evaluate = Evaluator(subject.forward(), subject.evaluation)
    np.testing.assert_array_equal(evaluate(with_axis)[0], finished.logits)

    # The parameters as they were trained would answer otherwise.
    trained = jax.tree.map(lambda leaf: leaf[0], finished.offer[2].params)
    assert not np.allclose(evaluate(finished.offer[2].params)[0], finished.logits)
    pairs = Examples([("the cat sees", "a dog"), ("a", "the red bird")], None)
    classifiers = [Classifier.of_run(subject, each) for each in (params, trained)]
    encoded = classifiers[0].encode(pairs).data
    assert not np.allclose(*[each.logits(encoded) for each in classifiers])

    # Saved, and read by a later process.
    later = BestModel(finished.records, subject, saved=False)
    again = later.finish(*finished.study, progress)[1]
    jax.tree.map(np.testing.assert_array_equal, again, params)
    # And by one that uses it as it is.
    saved = saved_model.read(best.folder)
    task = saved.task(load.Reading())
    assert task == dataclasses.replace(subject.task, name=task.name)
    classifier = saved.classifier(task)
    np.testing.assert_array_equal(
        classifier.logits(subject.evaluation), finished.logits
    )


def test_a_run_that_failed_is_not_better_than_one_that_did_not(finished, subject):
    best = BestModel(finished.records, subject, saved=False)
    [run], trainers, result = finished.offer
    for name, changes in (
        ("sound", {"failed": False, "score": 40.0}),
        ("failed", {"failed": True, "score": 90.0}),
        ("better", {"failed": False, "score": 45.0}),
    ):
        best.offer([run | changes | {"run": name}], trainers, result)
        assert best._kept[0] == ("sound" if name == "failed" else name)


def test_a_saved_model_that_lost_its_weights_is_trained_again(
    subject, finished, monkeypatch
):
    best = BestModel(finished.records, subject, saved=True)
    best.offer(*finished.offer)
    best.finish(*finished.study, Progress(0, shown=False))
    (best.folder / "model.safetensors").unlink()

    class Trained(Exception):
        pass

    def make_trainers(*_):
        raise Trained

    monkeypatch.setattr(best_model, "make_trainers", make_trainers)
    later = BestModel(finished.records, subject, saved=False)
    with pytest.raises(Trained):
        later.finish(*finished.study, Progress(0, shown=False))
