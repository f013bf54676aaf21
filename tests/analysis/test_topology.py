"""Figures of where heads sit in depth, against numbers worked out another way."""

import json

import h5py
import numpy as np
import pytest
from mechsweep_analysis.command import main
from mechsweep_analysis.errors import InputError
from mechsweep_analysis.render import Options
from mechsweep_analysis.studies import (
    causal,
    make_products,
    profile_figures,
    topology_sizes,
    topology_text,
)
from mechsweep_analysis.studies.lag_split import draw_lags
from mechsweep_analysis.studies.product import Source
from mechsweep_analysis.studies.profile_data import profiles_of
from mechsweep_analysis.studies.topology import _draw_heads, sentence
from mechsweep_analysis.summary import load_summary
from study_writer import DRAWS, profile_of, shape_of, write_causal, write_topology
from summary_writer import write_results

MODELS = {"small": (6, 3), "large": (12, 7)}


def source_of(path, results=None):
    return Source(load_summary(path), results, "", Options())


def profiles(tmp_path, **options):
    path = tmp_path / "t.summary.h5"
    write_topology(path, {"small": MODELS["small"]}, **options)
    return profiles_of(source_of(path))


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines}


def heights(band):
    """The least and largest ordinate of a filled band."""
    corners = band.get_paths()[0].vertices[:, 1]
    return corners.min(), corners.max()


def test_profile_has_means_over_relative_depth_and_its_interval(tmp_path):
    drawing = profile_figures.draw_profile(profiles(tmp_path))
    mean_over_heads, top = drawing.figure.axes
    for axes, label, factor in (
        (mean_over_heads, "mean over heads", 1.0),
        (top, "top 0.1 of each layer's heads", 1.5),
    ):
        line = lines_of(axes)[label]
        np.testing.assert_allclose(line.get_xdata(), [(layer + 0.5) / 6 for layer in range(6)])
        np.testing.assert_allclose(line.get_ydata(), factor * profile_of(6, 3))
        low, high = heights(axes.collections[0])
        assert low == pytest.approx((factor * profile_of(6, 3) - 0.01).min())
        assert high == pytest.approx((factor * profile_of(6, 3) + 0.01).max())
        assert axes.get_xlim() == (0, 1)
        assert "relative depth" in axes.get_xlabel()
    marks = lines_of(mean_over_heads)
    assert marks["peak"].get_xdata()[0] == pytest.approx(3.5 / 6)
    assert marks["centroid"].get_xdata()[0] == pytest.approx(3.45 / 6)
    width = next(c for c in mean_over_heads.collections if c.get_label() == "bandwidth")
    ends = width.get_segments()[0][:, 0]
    assert ends[1] - ends[0] == pytest.approx(2 * np.sqrt(2 * np.log(2)) / 6)


def test_null_bands_are_the_files(tmp_path):
    axes = profile_figures.draw_null(profiles(tmp_path)).figure.axes[0]
    wide, narrow = axes.collections
    assert heights(wide) == pytest.approx((0.005, 0.06))
    assert heights(narrow) == pytest.approx((0.01, 0.03))
    np.testing.assert_allclose(lines_of(axes)["permuted heads, upper bound"].get_ydata(), 0.2)


def test_a_peak_inside_its_null_has_no_width(tmp_path):
    found = profiles(tmp_path, inside=True)
    said = sentence(found[0])
    assert "inside the null: no bandwidth" in said
    drawing = profile_figures.draw_profile(found)
    labels = [c.get_label() for c in drawing.figure.axes[0].collections]
    assert "bandwidth" not in labels
    assert "inside the null, so no bandwidth" in drawing.caption


def test_shape_takes_percentile_ends_where_there_are_no_others(tmp_path):
    shape = profiles(tmp_path)[0].shape
    assert (shape["peak_layer"].low, shape["peak_layer"].high) == pytest.approx((2.97, 3.03))
    assert shape["bandwidth"].high - shape["bandwidth"].value == pytest.approx(0.015)


def test_lags_without_a_query_are_said_and_not_drawn(tmp_path):
    drawing = draw_lags(profiles(tmp_path)[0])
    ranges, lags = drawing.figure.axes
    np.testing.assert_allclose(lines_of(ranges)["lags up to 8"].get_ydata(), profile_of(6, 3))
    assert set(lines_of(lags)) == {"lag 4", "lag 16"}
    np.testing.assert_allclose(lines_of(lags)["lag 16"].get_ydata(), 0.5 * profile_of(6, 3))
    assert "No query counts at lag 1." in " ".join(t.get_text() for t in drawing.figure.texts)


def test_head_map_is_centred_at_zero_and_marks_heads_above_the_null(tmp_path):
    drawing = _draw_heads(profiles(tmp_path)[0])
    axes = drawing.figure.axes[0]
    heads = np.outer(profile_of(6, 3), [0.5, 1.0, 1.5])
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), heads - 0.02)
    low, high = axes.images[0].get_clim()
    assert low == -high == pytest.approx(-(heads - 0.02).max())
    marked = {(int(y), int(x)) for x, y in axes.collections[0].get_offsets()}
    assert marked == {(int(a), int(b)) for a, b in np.argwhere(heads > 0.2)}


@pytest.mark.parametrize("files", [1, 2])
def test_models_lie_over_each_other_on_relative_depth(tmp_path, files):
    if files == 1:
        write_topology(tmp_path / "t.summary.h5", MODELS)
        sources = [source_of(tmp_path / "t.summary.h5")]
    else:
        for name, shape in MODELS.items():
            write_topology(tmp_path / f"{name}.summary.h5", {name: shape})
        sources = [source_of(tmp_path / f"{name}.summary.h5") for name in MODELS]
    products = topology_sizes.make(sources)
    assert [one.name for one in products] == [
        "scores--abab--induction--topology_sizes",
        "scores--abab--induction--topology_top_sizes",
    ]
    models = {one["model"]: one for one in products[0].numbers["models"]}
    for name, (layers, peak) in MODELS.items():
        wanted = shape_of(layers, peak)
        assert models[name]["bandwidth"]["value"] == pytest.approx(wanted["bandwidth"])
        assert models[name]["clipped"] is False
    rows = products[0].documents["scores--abab--induction--topology_sizes.csv"].splitlines()
    assert len(rows) == 3 and rows[0].startswith("model,parameters,layers,peak_layer")


def test_overlay_has_each_models_excess_with_its_peak_at_1(tmp_path):
    write_topology(tmp_path / "t.summary.h5", MODELS)
    found = [p for p in profiles_of(source_of(tmp_path / "t.summary.h5")) if not p.is_top]
    members = [topology_sizes.Member(p.run.model, p, 1.0) for p in found]
    raw, scaled, strip = topology_sizes._draw(members, "x").figure.axes
    by_model = {p.run.model: p for p in found}
    for line, member in zip(scaled.lines, members, strict=False):
        layers, peak = MODELS[member.label]
        np.testing.assert_allclose(line.get_ydata(), (profile_of(layers, peak) - 0.02) / 0.3)
        assert line.get_ydata().max() == pytest.approx(1.0)
    assert set(lines_of(raw)) >= set(by_model)
    assert [label.get_text() for label in strip.get_yticklabels()] == list(by_model)
    for bar, member in zip(strip.patches, members, strict=True):
        shape = shape_of(*MODELS[member.label])
        assert bar.get_x() == pytest.approx(shape["left_centre_depth"])
        assert bar.get_width() == pytest.approx(shape["bandwidth"])


def test_causal_bars_are_before_plus_change(tmp_path):
    truth = write_causal(tmp_path / "c.summary.h5")
    source = source_of(tmp_path / "c.summary.h5")
    products = causal.make(source)
    assert [one.numbers["operation"] for one in products] == ["zero", "resample"]
    run = source.summary.runs[0]
    rows = causal.comparisons(run, "resample")
    loss, accuracy = causal._draw(source, run, "resample", rows, "k").figure.axes
    for axes, name, base in ((loss, "delta_loss", 2.0), (accuracy, "delta_correct", 0.75)):
        cells = truth[name]
        chosen, uniform, layer = np.array([b.get_height() for b in axes.patches]).reshape(3, 2)
        np.testing.assert_allclose(chosen, base + cells["observed"][:, 0, 1])
        np.testing.assert_allclose(uniform, base + cells["mean"][:, 0, 1])
        np.testing.assert_allclose(layer, base + cells["mean"][:, 1, 1])
    ends = [segment[:, 1] for c in loss.collections for segment in c.get_segments()]
    for match in (0, 1):
        for k in (0, 1):
            low, high = (truth["delta_loss"][q][k, match, 1] for q in ("quantile_025",
                                                                       "quantile_975"))  # fmt: skip
            assert any(end == pytest.approx([2.0 + low, 2.0 + high]) for end in ends)
    assert f"{DRAWS} random sets" in products[0].said
    assert products[0].numbers["base_accuracy"] == 0.75


def test_text_has_seeds_numbers_prompts_and_hardware(tmp_path):
    write_topology(tmp_path / "small.summary.h5", {"small": MODELS["small"]})
    attempt = {
        "machine": {"isa": "x86-64-v4"},
        "hosts": ["a", "b"],
        "ranks": 4,
        "threads_per_rank": 2,
    }
    write_results(tmp_path / "small.h5", [attempt])
    out = tmp_path / "out"
    assert main([str(tmp_path / "small.summary.h5"), "--out", str(out)]) == 0
    said = (out / "tables" / "small--methods.md").read_text(encoding="utf-8")
    for words in (
        "Seed 42; mechsweep 0.1.0",
        "1 with 4 ranks, 2 threads a rank, 2 hosts, isa x86-64-v4",
        "6 prompts counted",
        f"Null draws: {DRAWS}; head permutations: 500",
        "95 % BCa intervals, 10000 bootstrap resamples",
        "| peak, layer l | 3 [3, 3] | 3 [3, 3] |",
        "| peak, l/L | 0.500 [0.485, 0.515] |",
        "| peak, (l+½)/L | 0.583 [0.568, 0.598] |",
        "| centroid, (c+½)/L | 0.575 [0.560, 0.590] |",
        "| bandwidth / L | 0.392 [0.377, 0.407] |",
        "| bandwidth clipped | no | no |",
        "| p of the peak, null draws | 0.0244",
        "Base run: loss 3.800 nats",
    ):
        assert words in said, words
    whole = json.loads(
        (out / "tables" / "scores--small--abab--induction--topology.json").read_text()
    )
    assert whole["profiles"][0]["peak_layer"]["value"] == 3.0
    assert whole["by_layer"][0]["null_upper"] == [0.03] * 6
    names = {path.name for path in (out / "figures").iterdir()}
    for figure in ("topology_heads", "topology_profile", "topology_null", "topology_lags"):
        assert {
            f"scores--small--abab--induction--{figure}.{end}" for end in ("png", "svg")
        } <= names


def test_text_counts_prompts_that_models_answer_right(tmp_path):
    path = tmp_path / "t.summary.h5"
    write_topology(path, {"small": MODELS["small"]})
    facts = {"": "all_models", "_models": "small", "_kept": 6, "_prompts": 9}
    with h5py.File(path, "r+") as file:
        for name, value in facts.items():
            file["runs/scores/small/abab"].attrs[f"correct_in{name}"] = value
    (product,) = topology_text.make(source_of(path))
    assert "6 of 9 that small answer right" in "".join(product.documents.values())


def test_text_says_that_a_peak_inside_the_null_has_no_bandwidth(tmp_path):
    write_topology(tmp_path / "small.summary.h5", {"small": MODELS["small"]}, inside=True)
    products = make_products(source_of(tmp_path / "small.summary.h5"))
    said = next(p.documents["small--methods.md"] for p in products if "small--methods" in p.name)
    assert "| bandwidth / L | none: inside the null | none: inside the null |" in said
    assert "Hardware: not known." in said


def test_base_performance_comes_from_another_run_on_the_same_prompts(tmp_path):
    path = tmp_path / "t.summary.h5"
    write_topology(path, {"small": MODELS["small"]})
    with h5py.File(path, "r+") as file:
        scores = file["runs/scores/small/abab"]
        scores.attrs["base_loss"] = scores.attrs["base_accuracy"] = np.nan
        other = file.create_group("runs/top/small/abab")
        for name, value in {
            "kind": "head_ablation",
            "base_loss": 0.75,
            "base_accuracy": 1.0,
        }.items():
            other.attrs[name] = value
    profile = profiles_of(source_of(path))[0]
    assert profile.base.startswith("Base run: loss 0.750 nats")
    assert profile.base.endswith("accuracy 100.0 % (chance –) (top/small/abab).")


def test_comparison_that_lacks_a_number_is_damaged(tmp_path):
    write_causal(tmp_path / "c.summary.h5")
    with h5py.File(tmp_path / "c.summary.h5", "r+") as file:
        del file["runs/top/tiny/abab/control_delta_loss/p_value"]
    with pytest.raises(InputError, match="control_delta_loss has no dataset p_value"):
        load_summary(tmp_path / "c.summary.h5")


def test_files_without_a_null_or_random_sets_get_none_of_these(tmp_path):
    path = tmp_path / "t.summary.h5"
    write_topology(path, MODELS, has_null=False)
    assert make_products(source_of(path)) == []
    assert topology_sizes.make([source_of(path)]) == []
