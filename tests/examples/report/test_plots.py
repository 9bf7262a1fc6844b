"""Pictures of runs: what is written keeps inside them."""

import itertools

import pytest
from bert_glue.report import plots
from bert_glue.study import summaries
from run_records import run


@pytest.mark.parametrize("methods", [["cwgnc"], ["cwgnc", "adamw"]])
def test_titles_keep_inside_the_picture(methods):
    changes = {"held_out": 0.1, "task": "acceptability", "metric": "pearson_spearman"}
    runs = [run(method, seed, 60.0) | changes for method in methods for seed in (0, 1)]
    figure = plots.plot_runs(summaries.summarize(runs))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for text in (axes.title, axes.yaxis.label):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert axes.get_title().replace("\n", " ").endswith("held out of the training set")


def test_names_of_methods_do_not_run_into_each_other():
    methods = [
        "adamw",
        "cwgnc:epochs=3:learning_rate=0.0001:bias_correction=false",
        "mixout:mixout_output_layer=false:mixout_gradient=released",
    ]
    runs = [run(method, seed, 60.0) for method in methods for seed in range(2)]
    figure = plots.plot_runs(summaries.summarize(runs))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) == 3
    for left, right in itertools.pairwise(boxes):
        assert left.x1 < right.x0
    assert figure.bbox.x0 <= boxes[0].x0
    assert boxes[-1].x1 <= figure.bbox.x1
