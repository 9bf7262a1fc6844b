"""What the figures show: the data of their artists, labels, legends; no pixels."""

import io
import subprocess
import sys

import numpy as np
import pytest

import cwgnc_jax

matplotlib = pytest.importorskip("matplotlib")

from cwgnc_jax import plotting  # noqa: E402
from cwgnc_jax.stability import Curve, stable_range  # noqa: E402

RNG = np.random.default_rng(0)
LAYER_22 = [
    f"encoder/layers/{module}/{kind}[21]"
    for module in (
        "attention_norm",
        "attention_output",
        "intermediate",
        "key",
        "output",
        "output_norm",
        "query",
        "value",
    )
    for kind in (("bias", "scale") if module.endswith("norm") else ("bias", "kernel"))
]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(figure):
    """Bytes of the picture: drawing it must not warn, warnings being errors."""
    target = io.BytesIO()
    figure.savefig(target, dpi=40)
    return target.getvalue()


def updates(stages, layers):
    """Movements of the groups that each stage trains; 0 for the others."""
    found = {"embeddings": np.zeros(stages)}
    for layer in range(layers):
        found[f"layer {layer}"] = np.array(
            [
                1e-4 * (layer + 1) * (layer >= layers - 1 - stage)
                for stage in range(stages)
            ]
        )
    found["head"] = np.full(stages, 3e-3)
    if stages == layers:
        found["embeddings"][-1] = 1e-6
    return found


FIGURES = {
    "scores": lambda: plotting.plot_scores(
        {"GU": RNG.normal(60, 1, (6, 5)), "full": RNG.normal(70, 1, 5)}, majority=52.7
    ),
    "updates": lambda: plotting.plot_updates(updates(4, 24)),
    "all stages": lambda: plotting.plot_updates(updates(24, 24)),
    "norms": lambda: plotting.plot_gradient_norms(
        {"failed": np.exp(RNG.normal(size=(40, 16))), "success": np.ones((40, 16))},
        LAYER_22,
    ),
    "layers": lambda: plotting.plot_layer_norms(np.exp(RNG.normal(size=(40, 24)))),
    "clip rate": lambda: plotting.plot_clip_rate({"cwgnc": RNG.uniform(size=40)}),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_figures_are_drawn_without_pyplot(make):
    figure = make()
    assert len(drawn(figure)) > 1000
    assert len(drawn(make())) > 1000
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_the_library_does_not_import_matplotlib():
    code = "import sys, cwgnc_jax; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_it_says_what_to_install():
    code = """
import sys
sys.modules["matplotlib"] = None
try:
    import cwgnc_jax.plotting
except ImportError as error:
    assert "pip install cwgnc-jax[plot]" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class TestScores:
    def test_mean_spread_and_every_run(self):
        scores = {"GU": RNG.normal(60, 2, (6, 5)), "restart": RNG.normal(65, 2, (6, 5))}
        figure = plotting.plot_scores(scores, ylabel="F1 (%)", title="MRPC")
        [axes] = figure.axes
        assert axes.get_ylabel() == "F1 (%)"
        assert figure.get_suptitle() == "MRPC"
        assert len(axes.containers) == 2
        for bars, values in zip(axes.containers, scores.values(), strict=True):
            line, _, [spread] = bars
            np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
            ends = np.array(spread.get_segments())[:, :, 1]
            # ddof 0, as the paper's own code has it.
            np.testing.assert_allclose(np.diff(ends)[:, 0], 2 * values.std(axis=1))
            np.testing.assert_allclose(np.round(line.get_xdata()), range(1, 7))
        runs = [line for line in axes.lines if line.get_linestyle() == "None"]
        runs = [line for line in runs if len(line.get_ydata()) == 30]
        for line, values in zip(runs, scores.values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), values.ravel())

    def test_many_methods_stand_beside_each_other(self):
        scores = {f"method {n}": RNG.normal(60, 2, (3, 5)) for n in range(11)}
        figure = plotting.plot_scores(scores)
        [axes] = figure.axes
        low, high = axes.get_xlim()
        lines = [bars[0] for bars in axes.containers]
        places = np.concatenate([line.get_xdata() for line in lines])
        assert low < places.min()
        assert places.max() < high
        # Nor does one reach into the next stage's place.
        assert np.abs(places - np.round(places)).max() < 0.5
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == 11

    def test_legend_has_the_order_of_the_methods(self):
        scores = {"GU": np.ones((3, 2)), "full": [3.0, 5.0], "restart": np.ones((3, 2))}
        figure = plotting.plot_scores(scores, majority=52.7)
        assert legend_of(figure) == [*scores, "majority classifier"]
        named = plotting.plot_scores(scores, majority=52.7, constant="mean")
        assert legend_of(named) == [*scores, "mean"]
        [full] = [line for line in figure.axes[0].lines if line.get_label() == "full"]
        assert full.get_ydata() == [4.0, 4.0]

    @pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": 1.0}, {"a": [[[1.0]]]}])
    def test_mistakes(self, scores):
        with pytest.raises(ValueError, match="scores"):
            plotting.plot_scores(scores)


class TestUpdates:
    def test_frozen_layers_have_no_points(self):
        values = updates(4, 24)
        figure = plotting.plot_updates(values)
        [axes] = figure.axes
        assert axes.get_yscale() == "log"
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["20", "21", "22", "23", "head"]
        shown = ["layer 20", "layer 21", "layer 22", "layer 23", "head"]
        for stage, line in enumerate(axes.lines):
            expected = [values[name][stage] or np.nan for name in shown]
            np.testing.assert_array_equal(line.get_ydata(), expected)
        assert legend_of(figure) == [f"stage {stage}" for stage in range(4)]
        low, high = axes.get_ylim()
        assert low < 2.1e-3 < 3e-3 < high

    def test_24_stages_have_a_colour_bar_that_can_be_read(self):
        figure = plotting.plot_updates(updates(24, 24))
        axes, bar = figure.axes
        assert not figure.legends
        assert len(axes.lines) == 24
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["emb.", *map(str, range(24)), "head"]
        assert bar.get_ylabel() == "stage"
        drawn(figure)
        ticks = [label.get_text() for label in bar.get_yticklabels()]
        assert ticks == [str(stage) for stage in range(0, 24, 2)]
        assert len({line.get_color() for line in axes.lines}) == 24

    def test_diagnostics_go_in_as_they_are(self):
        groups = ("embeddings", "head", "layer 1", "layer 0", "layer 1")
        moved = np.array([[0, 1, 2, 0, 3], [4, 5, 6, 7, 1]], np.float32)
        figure = plotting.plot_updates(cwgnc_jax.extremes_by_group(moved, groups))
        lines = [line.get_ydata() for line in figure.axes[0].lines]
        np.testing.assert_array_equal(lines, [[np.nan, np.nan, 3, 1], [4, 7, 6, 5]])

    @pytest.mark.parametrize("stages", [2, 10])
    def test_many_methods_beside_differ(self, stages):
        values = updates(stages, 24)
        beside = {f"method {n}": {"head": 1e-3 * (n + 1)} for n in range(7)}
        figure = plotting.plot_updates(values, beside=beside)
        drawn(figure)
        assert legend_of(figure)[-7:] == list(beside)
        lines = figure.axes[0].lines[-7:]
        looks = {(line.get_linestyle(), line.get_color()) for line in lines}
        assert len(looks) == 7

    @pytest.mark.parametrize("stages", [4, 24])
    def test_runs_without_stages_stand_beside(self, stages):
        values = updates(stages, 24)
        full = {name: 2e-3 for name in values if name != "embeddings"}
        figure = plotting.plot_updates(values, beside={"full": full})
        axes = figure.axes[0]
        # They have moved the lower layers too, so that these are shown.
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["emb."] * (stages == 24) + [*map(str, range(24)), "head"]
        line = axes.lines[-1]
        assert line.get_linestyle() == "--"
        np.testing.assert_array_equal(line.get_ydata()[-25:], [2e-3] * 25)
        expected = [f"stage {n}" for n in range(stages)] if stages == 4 else []
        assert legend_of(figure) == [*expected, "full"]
        drawn(figure)

    def test_nothing_moved(self):
        assert drawn(plotting.plot_updates({"layer 0": [0.0], "head": [0.0]}))

    @pytest.mark.parametrize("values", [{}, {"a": [1.0], "b": [1.0, 2.0]}])
    def test_mistakes(self, values):
        with pytest.raises(ValueError, match="as many stages for each group"):
            plotting.plot_updates(values)


class TestGradientNorms:
    def test_a_failed_run_beside_another(self):
        runs = {
            name: np.exp(RNG.normal(size=(50, 16))) for name in ("failed", "success")
        }
        figure = plotting.plot_gradient_norms(runs, LAYER_22)
        assert [axes.get_title() for axes in figure.axes] == list(runs)
        failed, success = figure.axes
        assert failed.get_ylim() == success.get_ylim()
        for axes, norms in zip(figure.axes, runs.values(), strict=True):
            np.testing.assert_array_equal([x.get_ydata() for x in axes.lines], norms.T)
            np.testing.assert_array_equal(axes.lines[0].get_xdata(), range(1, 51))

    def test_the_legend_tells_all_components_apart(self):
        figure = plotting.plot_gradient_norms({"run": np.ones((9, 16))}, LAYER_22)
        entries = [text for text in legend_of(figure) if text.strip()]
        assert entries == [
            "attention_norm",
            "attention_output",
            "intermediate",
            "key",
            "output",
            "output_norm",
            "query",
            "value",
            "kernel",
            "scale",
            "bias",
        ]
        looks = {(x.get_color(), x.get_linestyle()) for x in figure.axes[0].lines}
        assert len(looks) == 16

    def test_more_modules_than_colours(self):
        names = [f"m{number}/kernel" for number in range(11)]
        figure = plotting.plot_gradient_norms({"run": np.ones((3, 11))}, names)
        assert len({str(line.get_color()) for line in figure.axes[0].lines}) == 11

    def test_steps_and_medians(self):
        norms = np.arange(1.0, 8)[:, None]
        figure = plotting.plot_gradient_norms(
            {"run": norms}, ["kernel"], steps=10 * np.arange(1, 8), smooth=3
        )
        [line] = figure.axes[0].lines
        assert line.get_xdata().tolist() == [20, 50, 70]
        assert line.get_ydata().tolist() == [2, 5, 7]

    def test_many_steps_are_thinned(self):
        figure = plotting.plot_gradient_norms({"run": np.ones((10_000, 1))}, ["kernel"])
        assert 100 <= len(figure.axes[0].lines[0].get_xdata()) <= 150

    def test_zeros_have_no_point(self):
        figure = plotting.plot_gradient_norms({"run": [[0.0], [2.0]]}, ["kernel"])
        assert np.isnan(figure.axes[0].lines[0].get_ydata()).tolist() == [True, False]

    def test_rounding_has_no_line_and_the_figure_says_so(self):
        names = [
            f"layers/{name}[0]" for name in ("key/bias", "key/kernel", "query/bias")
        ]
        norms = np.ones((5, 3)) * [1e-8, 1, 1e-5]
        failed = np.where(np.arange(5) == 2, np.nan, 1.0)[:, None] * norms
        figure = plotting.plot_gradient_norms({"a": norms, "b": failed}, names)
        drawn(figure)
        for axes in figure.axes:
            assert [line.get_ydata()[0] for line in axes.lines] == [1, 1e-5]
            assert axes.get_ylim()[0] > 1e-6
        title = figure.legends[0].get_title().get_text()
        assert title == "not drawn, being rounding: key bias"
        # What one run has only as rounding, another may have.
        both = {"a": norms, "b": np.ones((5, 3))}
        figure = plotting.plot_gradient_norms(both, names)
        assert [len(axes.lines) for axes in figure.axes] == [3, 3]

    @pytest.mark.parametrize("what", [np.nan, np.inf])
    def test_what_diverged_is_no_rounding(self, what):
        norms = np.where(np.arange(3) == 2, what, np.ones((5, 3)))
        names = [f"layers/{name}/kernel[0]" for name in ("query", "value", "key")]
        figure = plotting.plot_gradient_norms({"run": norms}, names)
        [legend] = figure.legends
        assert "key" in [text.get_text() for text in legend.get_texts()]
        assert legend.get_title().get_text() == ""

    def test_mistakes(self):
        with pytest.raises(ValueError, match=r"each of 2 names, got \[\(3, 1\)\]"):
            plotting.plot_gradient_norms({"run": np.ones((3, 1))}, ["a", "b"])
        with pytest.raises(ValueError, match="got no runs"):
            plotting.plot_gradient_norms({}, ["a"])
        with pytest.raises(ValueError, match=r"steps must be 3 numbers.*\(2,\)"):
            plotting.plot_gradient_norms({"run": np.ones((3, 1))}, ["a"], steps=[1, 2])
        with pytest.raises(ValueError, match="smooth must be at least 1, got 0"):
            plotting.plot_gradient_norms({"run": np.ones((3, 1))}, ["a"], smooth=0)


class TestLayerNorms:
    def test_a_line_for_each_of_24_layers_and_a_bar(self):
        norms = np.exp(RNG.normal(size=(20, 24)))
        figure = plotting.plot_layer_norms(norms, title="query/kernel")
        axes, bar = figure.axes
        np.testing.assert_array_equal([x.get_ydata() for x in axes.lines], norms.T)
        assert bar.get_ylabel() == "layer"
        assert len({line.get_color() for line in axes.lines}) == 24

    def test_several_runs_side_by_side(self):
        runs = {"failed": np.ones((4, 3)), "successful": 2 * np.ones((4, 3))}
        failed, successful, bar = plotting.plot_layer_norms(runs).axes
        assert [failed.get_title(), successful.get_title()] == list(runs)
        assert failed.get_ylim() == successful.get_ylim()
        assert [len(axes.lines) for axes in (failed, successful)] == [3, 3]
        assert bar.get_ylabel() == "layer"
        with pytest.raises(ValueError, match="each of 0 layers, got no runs"):
            plotting.plot_layer_norms({})

    def test_numbers_of_layers(self):
        figure = plotting.plot_layer_norms(np.ones((4, 3)), layers=[21, 22, 23])
        drawn(figure)
        ticks = [label.get_text() for label in figure.axes[1].get_yticklabels()]
        assert ticks == ["21", "22", "23"]
        with pytest.raises(
            ValueError, match=r"each of 2 layers, got the shape \(4, 3\)"
        ):
            plotting.plot_layer_norms(np.ones((4, 3)), layers=[1, 2])


class TestClipRate:
    def test_long_names_keep_inside_the_figure(self):
        names = [
            f"cwgnc:learning_rate=0.00{n}, failed run (seed {n})" for n in range(4)
        ]
        figure = plotting.plot_clip_rate({name: [0.5] for name in names})
        drawn(figure)
        box, whole = figure.legends[0].get_window_extent(), figure.bbox
        assert box.x0 >= whole.x0
        assert box.x1 <= whole.x1

    def test_per_cent_and_means(self):
        rates = {"0.05": [1.0, 0.5, 0.0, 0.5], "1": [0.0, 0.0, 0.0, 1.0]}
        figure = plotting.plot_clip_rate(rates, smooth=2)
        lines = figure.axes[0].lines
        assert [line.get_ydata().tolist() for line in lines] == [[75, 25], [0, 50]]
        assert legend_of(figure) == ["0.05", "1"]
        assert lines[0].get_color() != lines[1].get_color()

    def test_mistakes(self):
        with pytest.raises(ValueError, match=r"rates: 'a' must have 1 axes.*\(1, 1\)"):
            plotting.plot_clip_rate({"a": [[1.0]]})

        with pytest.raises(ValueError, match="rates must have at least one run"):
            plotting.plot_clip_rate({})


def test_names_that_begin_with_an_underscore_are_in_the_legend():
    names = ["_a", "b"]
    for figure in (
        plotting.plot_scores({name: [[1.0, 2.0], [2.0, 3.0]] for name in names}),
        plotting.plot_clip_rate({name: [0.5, 1.0] for name in names}),
        plotting.plot_updates({"head": [0.1]}, beside={"_a": {"head": 0.1}}),
        plotting.plot_gradient_norms({"run": np.ones((3, 2))}, ["x/_a/b", "x/c/_d"]),
    ):
        drawn(figure)
        legend = [name.removeprefix("\u200b") for name in legend_of(figure)]
        assert set(legend) & {"_a"}


@pytest.mark.parametrize("steps", [2, 3, 400])
def test_steps_are_whole_and_a_threshold_is_seen(steps):
    norms = RNG.uniform(1, 2, size=(steps, 2)).astype(np.float32)
    for figure in (
        plotting.plot_gradient_norms(
            {"run": norms}, ["q/bias", "q/kernel"], threshold=0.05
        ),
        plotting.plot_layer_norms(norms, threshold=0.05),
        plotting.plot_clip_rate({"run": norms[:, 0] / 2}),
    ):
        drawn(figure)
        axes = figure.axes[0]
        ticks = axes.get_xticks()
        assert np.array_equal(ticks, np.round(ticks))
        if axes.get_yscale() == "log":
            low, high = axes.get_ylim()
            assert low < 0.05 < high
            assert [line.get_ydata()[0] for line in axes.lines].count(0.05) == 1
            assert [text.get_text() for text in axes.texts] == ["threshold 0.05"]
    # What clips nothing is no line.
    figure = plotting.plot_layer_norms(norms, threshold=np.inf)
    assert len(figure.axes[0].lines) == 2


class TestStability:
    def curves(self):
        values = [1e-5, 1e-4, 1e-3]
        failed = np.zeros((3, 4), bool)
        broken = failed.copy()
        broken[2, :3] = True
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 1, (2, 3, 4))
        return {
            "cwgnc": Curve(values, 60 + noise[0], failed),
            "adamw": Curve(values, 60 + noise[1] - 30 * broken, broken),
        }

    def test_means_shares_and_names(self):
        curves = self.curves()
        ranges = {name: stable_range(each, margin=3) for name, each in curves.items()}
        figure = plotting.plot_stability(curves, ranges, title="cola")
        above, between, below = figure.axes
        assert above.get_xscale() == "log"
        for line, curve in zip(above.lines, curves.values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), curve.means)
        bars = [line for line in between.lines if len(line.get_xdata()) == 2]
        for line, found in zip(bars, ranges.values(), strict=True):
            np.testing.assert_allclose(line.get_xdata(), [found.low, found.high])
        # Lines and bars have names, in the same colours.
        for axes, lines in ((above, above.lines), (between, bars)):
            names = {text.get_text(): text.get_color() for text in axes.texts}
            assert names == dict(
                zip(curves, (line.get_color() for line in lines), strict=True)
            )
        shares = [container.lines[0].get_ydata() for container in below.containers]
        np.testing.assert_allclose(shares, [[0, 0, 0], [0, 0, 0.75]])
        assert drawn(figure)

    @pytest.mark.parametrize("count", [9, 10, 13])
    def test_more_methods_than_colours_have_axes_of_their_own(self, count):
        first, second = self.curves().values()
        curves = {"cwgnc": first} | {f"method {n}": second for n in range(1, count)}
        ranges = {name: stable_range(each, margin=3) for name, each in curves.items()}
        figure = plotting.plot_stability(curves, ranges, ylabel="accuracy (%)")
        titled = [axes for axes in figure.axes if axes.get_title()]
        assert [axes.get_title() for axes in titled] == [*curves]
        assert len(figure.axes) == 2 * count
        for axes, (name, curve) in zip(titled, curves.items(), strict=True):
            grey, own = axes.lines
            np.testing.assert_allclose(grey.get_ydata(), first.means)
            np.testing.assert_allclose(own.get_ydata(), curve.means)
            [tint] = axes.patches
            low, high = tint.get_x(), tint.get_x() + tint.get_width()
            found = ranges[name]
            # It reaches the ends where it may go on.
            assert (low < found.low) == found.open_below
            assert (high > found.high * (1 + 1e-9)) == found.open_above
            assert low == pytest.approx(found.low, rel=0.3)
            assert high == pytest.approx(found.high, rel=0.3)
        assert legend_of(figure) == ["the method", "cwgnc", "its stable range"]
        drawn(figure)
        # Every column says its values below its last axes.
        below = [axes for axes in figure.axes if axes.get_xlabel()]
        assert len(below) == min(count, 5)
        for axes in below:
            assert any(label.get_visible() for label in axes.get_xticklabels())

    def test_a_range_that_is_empty_has_no_bar(self):
        curve = Curve([1, 2], [[0, 0], [0, 0]], np.ones((2, 2), bool))
        for count in (1, 9):
            names = [f"m{number}" for number in range(count)]
            curves = dict.fromkeys(names, curve)
            ranges = dict.fromkeys(names, stable_range(curve, margin=1))
            figure = plotting.plot_stability(curves, ranges)
            assert not any(axes.patches for axes in figure.axes)
            assert count > 1 or not figure.axes[1].lines
            assert drawn(figure)

    def test_a_single_seed_has_no_band(self):
        curve = Curve([1, 2], [[1], [2]], [[False], [True]])
        assert drawn(plotting.plot_stability({"a": curve}))
        scores = [[60, 62], [61, np.nan], [60, 64]]
        curve = Curve([1, 2, 4], scores, np.zeros((3, 2), bool))
        figure = plotting.plot_stability({"a": curve})
        [band] = figure.axes[0].collections
        corners = np.concatenate([path.vertices for path in band.get_paths()])
        assert 2 not in corners[:, 0]

    @pytest.mark.parametrize("count", [3, 9])
    def test_a_single_value_stands_in_the_middle(self, count):
        curve = Curve([1e-3], [[1, 2]], [[False, False]])
        figure = plotting.plot_stability(dict.fromkeys(map(str, range(count)), curve))
        assert figure.axes[0].get_xlim() == pytest.approx((5e-4, 2e-3))
        assert drawn(figure)

    @pytest.mark.parametrize("count", [3, 10])
    def test_long_names_leave_the_axes_their_place(self, count):
        label = "adamw:clipping=none:group_by_length=true:epochs=3:warmup_ratio=0.1"
        curves = {f"{label}:{n}": self.curves()["cwgnc"] for n in range(count)}
        ranges = {name: stable_range(each, margin=3) for name, each in curves.items()}
        figure = plotting.plot_stability(curves, ranges)
        drawn(figure)
        axes = figure.axes[0]
        inches = figure.get_figwidth() * axes.get_position().width
        assert inches > (4 if count == 3 else 1.4)
        if count == 10:
            boxes = [
                each.title.get_window_extent() for each in figure.axes if each.title
            ]
            widths = [box.width / figure.dpi for box in boxes]
            assert max(widths) < figure.get_figwidth() / 5

    def test_near_values_keep_their_shares(self):
        curve = Curve([900, 1000], [[1, 2], [2, 3]], np.zeros((2, 2), bool))
        figure = plotting.plot_stability(dict.fromkeys("abcdefgh", curve))
        places = [bars.lines[0].get_xdata() for bars in figure.axes[-1].containers]
        first, second = np.transpose(places)
        assert max(first) < 950 < min(second)

    def test_nothing_is_tinted_where_a_method_was_not_run(self):
        first = self.curves()["cwgnc"]
        late = Curve(10 * first.values, first.scores, first.failed)
        curves = dict.fromkeys("abcdefgh", first) | {"late": late}
        ranges = {name: stable_range(each, margin=9) for name, each in curves.items()}
        figure = plotting.plot_stability(curves, ranges)
        [tint] = next(a for a in figure.axes if a.get_title() == "late").patches
        assert 0.7 * late.values[0] < tint.get_x() < late.values[0]
        end = tint.get_x() + tint.get_width()
        assert late.values[-1] < end < 1.5 * late.values[-1]

    def test_ranges_of_no_curve(self):
        found = stable_range(self.curves()["cwgnc"], margin=3)
        for count in (1, 9):
            curves = dict.fromkeys(map(str, range(count)), self.curves()["cwgnc"])
            with pytest.raises(ValueError, match=r"ranges must be of .*\['other'\]"):
                plotting.plot_stability(curves, {"other": found})

    def test_without_curves(self):
        with pytest.raises(ValueError, match="at least one method"):
            plotting.plot_stability({})
