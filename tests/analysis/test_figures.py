"""What figures show: the numbers, limits, ticks and words that reach Matplotlib."""

import itertools

import numpy as np
import pytest
from conftest import EFFECTS, LAYER_HEAD, SCORES, WARNING
from mechsweep_analysis import figures
from mechsweep_analysis.figures import frame
from mechsweep_analysis.figures.frame import Context
from mechsweep_analysis.style import show
from mechsweep_analysis.summary import Axis, load_summary
from summary_writer import SummaryWriter


def draw_all(path, run_id, name, interval="bca", top=20):
    """All figures of a metric, by (figure's name, cut)."""
    summary = load_summary(path)
    run = next(run for run in summary.runs if run.run_id == run_id)
    metric = run.metrics[name]
    context = Context(run, metric, interval, top)
    plans = figures.plan_figures(metric)
    return {(plan.figure.NAME, plan.where): figures.draw(plan, context) for plan in plans}


def main_axes(drawing):
    return drawing.figure.axes[0]


def words(drawing):
    return " ".join(text.get_text() for text in drawing.figure.texts)


def test_table_of_figures_has_every_module_once():
    names = [figure.NAME for figure in figures.FIGURES]
    assert names == ["head_map", "top_heads", "position_grid", "profile", "bars"]


def test_head_map_shows_the_means_with_colours_centred_at_zero(summary_path):
    drawn = draw_all(summary_path, "heads/tiny/abna", "delta_loss")
    assert set(drawn) == {("head_map", ""), ("top_heads", "")}
    image = main_axes(drawn["head_map", ""]).images[0]
    np.testing.assert_array_equal(np.asarray(image.get_array()), EFFECTS)
    assert image.get_clim() == (-1.5, 1.5)
    assert image.get_cmap().name.startswith("RdBu")


def test_scores_are_coloured_from_0_to_1(summary_path):
    drawn = draw_all(summary_path, "scores/tiny/repeat", "induction")
    image = main_axes(drawn["head_map", ""]).images[0]
    np.testing.assert_array_equal(np.asarray(image.get_array()), SCORES)
    assert image.get_clim() == (0.0, 1.0)
    assert image.get_cmap().name.startswith("viridis")


def test_recoveries_far_beyond_their_range_are_marked_and_counted(summary_path):
    drawing = draw_all(summary_path, "resid/tiny/abna", "recovery_loss")["position_grid", ""]
    image = main_axes(drawing).images[0]
    assert image.get_clim() == (0.0, 1.0)
    # 1.02 is as good as 1; -0.5 is not as good as 0.
    expected = [[0.0, 0.01, 1.0], [-0.5, 0.4, 1.0]]
    np.testing.assert_array_equal(np.asarray(image.get_array()), expected)
    assert "1 cell below −0.05 (orange); the means go from −0.500 to 1.020" in words(drawing)
    written = [text.get_text() for text in main_axes(drawing).texts]
    assert written == ["0", "0.0100", "1.000", "−0.500", "0.400", "1.020"]


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[np.nan, np.nan]]])
def test_limits_exist_without_any_effect(tmp_path, values):
    path = tmp_path / "x.summary.h5"
    with SummaryWriter(path) as writer:
        run = writer.run("e/m/p", {"layer": [0], "head": [0, 1]})
        writer.metric(run, "delta_loss", LAYER_HEAD, values)
    drawing = draw_all(path, "e/m/p", "delta_loss")["head_map", ""]
    assert main_axes(drawing).images[0].get_clim() == (-1.0, 1.0)
    assert drawing.png().startswith(b"\x89PNG")


def test_missing_cells_are_said(tmp_path):
    path = tmp_path / "x.summary.h5"
    with SummaryWriter(path) as writer:
        run = writer.run("e/m/p", {"layer": [0], "head": [0, 1]})
        writer.metric(run, "delta_loss", LAYER_HEAD, [[0.5, np.nan]])
    drawing = draw_all(path, "e/m/p", "delta_loss")["head_map", ""]
    assert np.ma.getmaskarray(main_axes(drawing).images[0].get_array()).tolist() == [[False, True]]
    assert "Grey: no value (1 cell)." in words(drawing)


@pytest.mark.parametrize(("interval", "half"), [("bca", 0.1), ("percentile", 0.2)])
def test_top_heads_are_in_order_with_the_chosen_interval(summary_path, interval, half):
    drawing = draw_all(summary_path, "heads/tiny/abna", "delta_loss", interval, top=3)
    axes = main_axes(drawing["top_heads", ""])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["L1H2", "L1H0", "L0H2"]
    assert [bar.get_width() for bar in axes.patches] == [1.5, 0.3, 0.2]
    segments = axes.collections[0].get_segments()
    np.testing.assert_allclose(
        [segment[:, 0] for segment in segments],
        [[mean - half, mean + half] for mean in (1.5, 0.3, 0.2)],
    )
    assert axes.yaxis_inverted()
    said = words(drawing["top_heads", ""])
    assert "3 of 8 heads are shown" in said
    assert ("BCa" if interval == "bca" else "percentile") in said


def test_of_margins_the_most_negative_come_first(summary_path):
    drawing = draw_all(summary_path, "heads/tiny/abna", "delta_margin", top=2)["top_heads", ""]
    labels = main_axes(drawing).get_yticklabels()
    assert [label.get_text() for label in labels] == ["L1H2", "L1H0"]
    assert "the 2 heads with the smallest means" in words(drawing)


def test_profile_has_the_means_and_the_band(summary_path):
    drawing = draw_all(summary_path, "heads/tiny/abna", "delta_loss_layer_profile")["profile", ""]
    axes = main_axes(drawing)
    means = EFFECTS.mean(axis=1)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), means)
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx((means - 0.1).min())
    assert corners[:, 1].max() == pytest.approx((means + 0.1).max())
    assert axes.get_xlabel() == "layer"
    assert axes.get_ylabel() == "delta_loss_layer_profile (nats)"


def test_sets_are_bars_for_each_operation(summary_path):
    drawn = draw_all(summary_path, "sets/tiny/abna", "delta_loss")
    assert set(drawn) == {("bars", "operation zero"), ("bars", "operation resample")}
    axes = main_axes(drawn["bars", "operation resample"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["movers", "top_2"]
    assert [bar.get_width() for bar in axes.patches] == [0.4, -0.2]
    assert "operation resample" in words(drawn["bars", "operation resample"])


def test_axes_in_another_order_and_with_gaps_keep_their_coordinates(tmp_path):
    path = tmp_path / "x.summary.h5"
    with SummaryWriter(path) as writer:
        run = writer.run("e/m/p", {"head": [3, 5], "layer": [8, 9, 10]})
        writer.metric(run, "delta_loss", ["head", "layer"], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    drawn = draw_all(path, "e/m/p", "delta_loss", top=1)
    axes = main_axes(drawn["head_map", ""])
    np.testing.assert_array_equal(
        np.asarray(axes.images[0].get_array()), [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]
    )
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3", "5"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["8", "9", "10"]
    assert main_axes(drawn["top_heads", ""]).get_yticklabels()[0].get_text() == "L10H5"


def test_of_many_slices_the_strongest_are_drawn(tmp_path):
    path = tmp_path / "x.summary.h5"
    values = np.zeros((1, 2, 10))
    values[0, 1] = [0, 5, 0.1, -9, 0.2, 3, 4, 2, 1, 0.3]
    with SummaryWriter(path) as writer:
        run = writer.run("e/m/p", {"layer": [0], "head": [0, 1], "target": list(range(10))})
        writer.metric(run, "delta_loss", [*LAYER_HEAD, "target"], values)
    drawn = draw_all(path, "e/m/p", "delta_loss")
    maps = [where for name, where in drawn if name == "head_map"]
    assert maps == [f"target {place}" for place in (1, 3, 5, 6, 7, 8)]


def test_every_figure_says_what_it_is_of(summary_path):
    summary = load_summary(summary_path)
    for run in summary.runs:
        for name in run.metrics:
            for drawing in draw_all(summary_path, run.run_id, name).values():
                said = words(drawing)
                assert run.run_id in said
                assert "64 prompts in 64 clusters" in said
                assert "95 % BCa intervals" in said
                if run.experiment == "scores":
                    assert "Base run: not scored" in said
                else:
                    assert "loss 3.800 nats (chance 3.258)" in said
                    assert "accuracy 28.0 % (chance 3.8 %)" in said
                assert (f"Warning: {WARNING}" in said) == (run.experiment == "heads")
                assert drawing.caption
                axes = main_axes(drawing)
                assert axes.get_xlabel() and axes.get_ylabel()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-1.5, "−1.500"),
        (0.25, "0.250"),
        (0.000336, "0.000336"),
        (-2.4e-5, "−2.4e−05"),
        (12345.6, "12\N{NARROW NO-BREAK SPACE}346"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_numbers_for_people(value, shown):
    assert show(value) == shown


def test_colour_bars_are_labelled_with_units(summary_path):
    drawing = draw_all(summary_path, "heads/tiny/abna", "delta_loss")["head_map", ""]
    assert drawing.figure.axes[1].get_ylabel() == "change of loss (nats)"


@pytest.mark.parametrize("columns", ["head", "position"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (30, 9), (80, 64)])
def test_text_and_ticks_fit_into_the_figure(tmp_path, shape, columns):
    path = tmp_path / "x.summary.h5"
    run_id = f"{'experiment_' * 8}/{'model-' * 8}/{'prompts' * 12}"
    with SummaryWriter(path) as writer:
        run = writer.run(run_id, {"layer": list(range(shape[0])), columns: list(range(shape[1]))})
        means = np.linspace(-1, 2, shape[0] * shape[1]).reshape(shape)
        writer.metric(run, "delta_loss", ["layer", columns], means)
    for drawing in draw_all(path, run_id, "delta_loss").values():
        drawing.figure.draw_without_rendering()
        axes = main_axes(drawing)
        assert_inside(drawing.figure, [*drawing.figure.texts, axes.xaxis.label, axes.yaxis.label])
        assert_apart(axes.get_xticklabels(), "x")
        assert_apart(axes.get_yticklabels(), "y")


def assert_inside(figure, texts):
    page = figure.bbox
    for text in texts:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 + 1
        assert page.y0 <= box.y0 and box.y1 <= page.y1 + 1


def assert_apart(labels, direction):
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    spans = sorted((getattr(box, direction + "0"), getattr(box, direction + "1")) for box in boxes)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_files_are_the_same_every_time(summary_path):
    first = draw_all(summary_path, "heads/tiny/abna", "delta_loss")["head_map", ""]
    second = draw_all(summary_path, "heads/tiny/abna", "delta_loss")["head_map", ""]
    assert first.png() == second.png()
    assert first.svg() == second.svg()
    assert b"<dc:date>" not in first.svg()


def test_dollar_signs_are_not_mathematics(tmp_path):
    path = tmp_path / "x.summary.h5"
    with SummaryWriter(path) as writer:
        run = writer.run("e/m$_{/p$", {"set": ["$a^", "b$"]})
        writer.metric(run, "delta_loss", ["set"], [1.0, 2.0], long_name="$\\frac")
    drawing = draw_all(path, "e/m$_{/p$", "delta_loss")["bars", ""]
    assert drawing.png() and drawing.svg()


def test_wrapping_keeps_every_letter_and_the_width():
    run_id = "experiment_" * 20 + "/" + "x" * 200
    lines = frame.wrap(f"of {run_id} here", 9, 3.0)
    assert "".join(lines).replace(" ", "") == f"of{run_id}here"
    assert all(frame.text_width(line, 9) <= 3.0 for line in lines)


def test_shortening_keeps_both_ends():
    label = "induction-heads-" + "of-some-layers-" * 5 + "end"
    short = frame.shorten(label, 8, 1.5)
    assert short.startswith("induc") and short.endswith("end") and "…" in short
    assert 1.3 < frame.text_width(short, 8) <= 1.5
    assert frame.shorten("L9H5", 8, 1.5) == "L9H5"


@pytest.mark.parametrize(
    ("cells", "cell", "room", "expected"),
    [(4, 0.6, 0.2, ["0", "1", "2", "3"]), (10, 0.1, 0.15, ["0", "2", "4", "6", "8"])],
)
def test_tick_steps(cells, cell, room, expected):
    assert frame.tick_places(Axis("layer", tuple(range(cells))), cell, room)[1] == expected


def test_ticks_of_a_range_of_layers_are_round_numbers():
    axis = Axis("layer", tuple(range(7, 23)))
    assert frame.tick_places(axis, 0.1, 0.4) == ([3, 8, 13], ["10", "15", "20"])
