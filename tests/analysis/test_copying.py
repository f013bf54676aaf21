"""Figures of copy mechanisms, against slow loops over what was written."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from mechsweep_analysis import figures
from mechsweep_analysis.command import main
from mechsweep_analysis.render import Options
from mechsweep_analysis.studies import alignment, edge_bars, edge_positions
from mechsweep_analysis.studies.edge_data import edge_runs, runs_in_order
from mechsweep_analysis.studies.product import Source
from mechsweep_analysis.summary import Summary, load_summary
from study_writer import EDITS, HEADS, LAYERS, PAIRS, PROMPTS, SCORES, CopyFiles


def source_of(files, has_results=True):
    results = files.results if has_results else None
    return Source(load_summary(files.path), results, "", Options())


@pytest.fixture
def copies(tmp_path):
    """Two models, two lengths each."""
    return [
        CopyFiles(tmp_path, f"{model}_{length}", model, length, seed=10 * place + length)
        for place, model in enumerate(("pretrained", "finetuned"))
        for length in (4, 7)
    ]


def test_alignment_over_length_has_the_mean_of_every_model(copies):
    (product,) = alignment.make([source_of(one) for one in copies])
    assert product.name == "alignment--unique_copy--alignment"
    rows = {(r["model"], r["length"], r["score"]): r for r in product.numbers["scores"]}
    assert len(rows) == 4 * len(SCORES)
    for one in copies:
        for score in SCORES:
            each = []
            for prompt in range(PROMPTS):
                cells = [one.attention[score][prompt, i, j] for i in range(LAYERS)
                         for j in range(HEADS)]  # fmt: skip
                each.append(sum(cells) / len(cells))
            mean = sum(each) / PROMPTS
            spread = math.sqrt(sum((x - mean) ** 2 for x in each) / (PROMPTS - 1))
            row = rows[one.model, one.length, score]
            assert row["mean"] == pytest.approx(mean)
            assert row["standard_error"] == pytest.approx(spread / math.sqrt(PROMPTS))
    names = [figure.name for figure in product.figures]
    assert names == [
        "alignment--unique_copy--alignment_over_length",
        "alignment--unique_copy--length=4--alignment_over_position",
        "alignment--unique_copy--length=7--alignment_over_position",
    ]


def test_models_share_the_panels(copies):
    members = [alignment._member(source_of(one), source_of(one).summary.runs[0]) for one in copies]
    drawing = alignment._draw_lengths(("alignment", "unique_copy"), members)
    first = drawing.figure.axes[0]
    assert [line.get_label() for line in first.lines] == ["pretrained", "finetuned"]
    expected = [one.attention["previous"].mean() for one in copies if one.model == "finetuned"]
    np.testing.assert_allclose(first.lines[1].get_ydata(), expected)
    np.testing.assert_allclose(first.lines[1].get_xdata(), [4, 7])


def test_positions_count_from_the_second_part(copies):
    one = copies[0]
    source = source_of(one)
    run = next(run for run in source.summary.runs if run.kind == "attention_scores")
    drawing = alignment._draw_positions(("a", "b"), [alignment._member(source, run)])
    line = drawing.figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), one.by_position["previous"][6:10])


def test_bars_are_means_and_stand_beside_random_pairs(copies):
    one = copies[0]
    (product,) = edge_bars.make([source_of(one)])
    rows = {(row["pairs"], row["edit"]): row for row in product.numbers["edits"]}
    assert set(rows) == {(pairs, edit) for pairs in PAIRS for edit in EDITS}
    for (pairs, edit), row in rows.items():
        at = PAIRS.index(pairs), EDITS.index(edit)
        losses = [one.loss[p, 0, *at, t] for p in range(PROMPTS) for t in range(one.length)]
        right = [one.top1[p, 0, *at, t] == 1 for p in range(PROMPTS) for t in range(one.length)]
        assert row["loss"] == pytest.approx(sum(losses) / len(losses))
        assert row["correct"] == pytest.approx(sum(right) / len(right))
        assert row["base_loss"] == pytest.approx(one.base_loss.mean())
        if pairs == "duplicate":
            assert row["random_loss_draws"] == []
            continue
        draws = [one.random_loss[:, 0, 0, at[1], draw].mean() for draw in (0, 1)]
        assert row["random_loss_draws"] == pytest.approx(draws)
        assert row["random_loss"] == pytest.approx(sum(draws) / 2)
    (runs,) = edge_runs(source_of(one))
    loss = edge_bars._draw("x", "zero", [runs]).figure.axes[0]
    drawn = {round(bar.get_height(), 9) for bar in loss.patches}
    for row in rows.values():
        assert round(row["loss"], 9) in drawn
    assert any(np.allclose(line.get_ydata(), one.base_loss.mean()) for line in loss.lines)


def test_pretrained_and_finetuned_stand_in_one_figure(copies):
    products = edge_bars.make([source_of(one) for one in copies])
    assert [one.numbers["length"] for one in products] == [4, 7]
    for product in products:
        assert {row["model"] for row in product.numbers["edits"]} == {"pretrained", "finetuned"}
        assert len(product.figures) == 1


def test_curves_by_target_are_means_over_prompts(copies):
    one = copies[1]
    (product,) = edge_positions.make(source_of(one))
    (text,) = product.documents.values()
    header, *lines = [line.split(",") for line in text.splitlines()]
    rows = {tuple(line[:4]): line[4:] for line in lines}
    assert header[4:] == ["mean", "standard_error", "prompts"]
    # The base run, two kinds of pairs, and the random ones of the first; loss and accuracy.
    assert len(lines) == (1 + 3 * len(EDITS)) * 2 * one.length
    for target in range(one.length):
        values = [one.base_loss[p, target] for p in range(PROMPTS)]
        mean, error, prompts = rows["no intervention", "", "loss", str(target + 1)]
        assert float(mean) == pytest.approx(sum(values) / PROMPTS)
        assert float(error) == pytest.approx(np.std(values, ddof=1) / math.sqrt(PROMPTS))
        assert int(prompts) == PROMPTS
        right = [one.top1[p, 0, 1, 0, target] == 1 for p in range(PROMPTS)]
        mean = rows["duplicate", "k", "correct", str(target + 1)][0]
        assert float(mean) == pytest.approx(sum(right) / PROMPTS)
        draws = [one.random_loss[p, 0, 0, 1, d, target] for p in range(PROMPTS) for d in (0, 1)]
        mean = rows["random.pairs.induction", "v", "loss", str(target + 1)][0]
        assert float(mean) == pytest.approx(sum(draws) / len(draws))


def test_targets_that_a_prompt_does_not_have_are_left_out():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [5.0, np.nan]])
    means, errors, counts = edge_positions.summarise(values)
    np.testing.assert_allclose(means, [3.0, 5.0])
    np.testing.assert_array_equal(counts, [3, 1])
    assert errors[0] == pytest.approx(2.0 / math.sqrt(3)) and math.isnan(errors[1])


def test_without_a_results_file_there_are_bars_alone(tmp_path):
    files = CopyFiles(tmp_path, "a")
    source = source_of(files, has_results=False)
    assert alignment.make([source]) == []
    assert edge_positions.make(source) == []
    (product,) = edge_bars.make([source])
    assert product.numbers["length"] is None and len(product.figures) == 1


def test_without_edges_or_copies_there_is_nothing(tmp_path, summary_path):
    files = CopyFiles(tmp_path, "a", has_edges=False)
    assert edge_bars.make([source_of(files)]) == []
    other = Source(load_summary(summary_path), None, "", Options())
    assert alignment.make([other]) == edge_bars.make([other]) == edge_positions.make(other) == []


def test_draws_are_no_curve(copies):
    source = source_of(copies[0])
    run = next(run for run in source.summary.runs if run.experiment == "random")
    plans = figures.plan_figures(run.metrics["loss"])
    assert {plan.figure.NAME for plan in plans} == {"bars"}


def test_models_of_one_file_come_in_the_order_of_the_config(copies):
    runs = source_of(copies[0]).summary.runs
    for place, run in enumerate(reversed(runs)):
        run.attributes["run_index"] = str(place)
    source = Source(Summary(Path("x"), {}, {}, runs), None, "", Options())
    assert runs_in_order(source, "attention_edges")[0] is runs[-1]


def test_whole_command_on_pairs_of_models(copies, tmp_path):
    out = tmp_path / "out"
    assert main([*(str(one.path) for one in copies), "--out", str(out), "--pdf"]) == 0
    together = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["together"]
    names = [one["name"] for one in together]
    assert "alignment--unique_copy--alignment" in names
    assert "edges--copy--unique_copy,length=7--zero--edge_bars" in names
    for name in ("alignment--unique_copy--alignment_over_length",
                 "edges--copy--unique_copy,length=4--zero--edge_bars"):  # fmt: skip
        for ending in ("png", "svg", "pdf"):
            assert (out / "figures" / f"{name}.{ending}").is_file()
    own = out / "pretrained_4" / "figures"
    assert (own / "edges--pretrained--copy--edge_positions.png").is_file()
