"""Work that depends on earlier results: heads chosen by one run and removed together in another.

Selections and numbers are compared with what NumPy makes of the export, and with sweeps in which
the heads are named in the config.
"""

import json
from collections import defaultdict

import h5py
import numpy as np
import pytest
from stage_sweeps import heads, numbers_of, prompts, selection_of, swept, top
from system_program import (
    DONE,
    GOLDEN,
    INTERRUPTED,
    USAGE,
    digest,
    export_rows,
    journal,
    model_entry,
    must,
    prompt_file,
    run,
    status_counts,
    write_config,
)

SKIPPED = 5


def prompts_that(rows, what, experiment="top"):
    """Numbers of the prompts that were `chosen_on` or `evaluated_on`."""
    return {
        int(row["prompt"])
        for row in rows
        if row["run"].startswith(f"{experiment}/")
        and row["metric"] == what
        and float(row["value"]) == 1
    }


def ranked_by_numpy(rows, on, source="heads", metric="delta_loss"):
    """Heads by the mean over prompts, computed from the exported numbers."""
    by_head = defaultdict(list)
    for (head, prompt), value in numbers_of(rows, source, metric).items():
        if int(prompt) in on:
            by_head[head].append(value)
    means = {head: np.mean(values) for head, values in by_head.items()}
    return sorted(means.items(), key=lambda item: -item[1])


def datasets(results, run_id):
    """Every number of a run that edits gave, by name."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset) and item.ndim > 1 and not name.startswith("selection"):
            found[name] = item[()]

    with h5py.File(results) as file:
        file[f"runs/{run_id}"].visititems(keep)
    return found


def warnings_of(group):
    return " ".join(text.decode() for text in group.attrs["warnings"])


@pytest.mark.parametrize("model", ["llama-random", "gpt2-random", "gemma3-pattern"])
def test_the_selection_is_what_numpy_makes_of_the_export(folder, model):
    results = swept(folder, [heads(), top()], model=model)
    rows = export_rows(results)
    on, tried = prompts_that(rows, "chosen_on"), prompts_that(rows, "evaluated_on")
    assert on | tried == set(range(24))
    assert not on & tried
    expected = ranked_by_numpy(rows, on)[:4]
    found = selection_of(rows)
    assert [head for head, _ in found] == [head for head, _ in expected]
    assert np.allclose([s for _, s in found], [s for _, s in expected], rtol=1e-7, atol=1e-9)
    with h5py.File(results) as file:
        stored = file[f"runs/top/{model}/p/selection"]
        names = [f"L{x}H{y}" for x, y in zip(stored["layer"], stored["head"], strict=True)]
        assert names == [head for head, _ in found]
        assert stored["score"].dims[0][0].name.endswith("/rank")
        assert set(np.flatnonzero(stored["chosen_on"][()] == 1)) == on
        attributes = dict(file[f"runs/top/{model}/p"].attrs)
    assert attributes["selected_from"].decode() == f"heads/{model}/p"
    assert attributes["evaluated_on"].decode() == "half_b"
    assert attributes["held_out"]
    # Numbers of the edits: of the prompts that were held out and no others, for each k.
    losses = [r for r in rows if r["run"].startswith("top/") and r["metric"] == "delta_loss"]
    assert {int(r["prompt"]) for r in losses} == tried
    assert {r["k"] for r in losses} == {"1", "2", "4"}
    assert len(losses) == 3 * len(tried)
    inspected = must("inspect", results).out
    assert f" chosen {found[0][0]} (" in " ".join(inspected.split())


def test_joint_edits_are_those_of_sets_and_of_an_interventions_file(folder):
    operations = ["zero", "value_bias", "mean"]
    taken = top(
        operation=operations, mean_over="all", readouts=["kl", "answer_rank"], evaluate="all"
    )
    results = swept(folder, [heads(), taken])
    chosen = [head for head, _ in selection_of(export_rows(results))]
    sets = {f"k{k}": chosen[:k] for k in (1, 2, 4)}
    named = heads(
        "named",
        operation=operations,
        mean_over="all",
        readouts=["kl", "answer_rank"],
        heads={"sets": sets},
    )
    lines = [
        {
            "edits": [
                {
                    "site": "z",
                    "layer": int(head[1 : head.index("H")]),
                    "heads": [int(head[head.index("H") + 1 :])],
                    "positions": "all",
                    "operation": "zero",
                }
                for head in sorted(members)
            ]
        }
        for members in sets.values()
    ]
    file = folder / "in" / "edits.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    listed = {"id": "listed", "kind": "interventions", "file": str(file)}
    other = swept(folder, [named, listed], name="named")
    by_top = datasets(results, "top/llama-random/p")
    by_sets = datasets(other, "named/llama-random/p")
    by_file = datasets(other, "listed/llama-random/p")
    assert set(by_top) == set(by_sets)
    assert by_top["loss"].shape == (24, 3, 3)
    for name, values in by_sets.items():
        assert by_top[name].tobytes() == values.tobytes(), name
    assert by_top["loss"][:, :, 0].tobytes() == by_file["loss"].tobytes()
    assert np.isfinite(by_top["loss"]).all()


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks(folder, ranks):
    experiments = [heads(), heads("other", operation="mean", mean_over="all"), top()]
    experiments += [top("again", source="other", k=[2, 3], at_least=0.001)]
    alone = swept(folder, experiments, name="alone")
    together = swept(folder, experiments, name="together", ranks=ranks)
    assert digest(alone) == digest(together)
    assert (journal(alone)[:, 0] == journal(together)[:, 0]).all()


def test_log_mode_and_parts_of_a_job_array(folder):
    """Ranks read the log of others; parts leave what depends on other parts for later."""
    experiments = [heads(), heads("other"), top(k=[1, 2, 6], at_least=0.0)]
    expected = digest(swept(folder, experiments, name="alone"))
    store = {"execution": {"store": "log"}}
    assert digest(swept(folder, experiments, name="log", ranks=3, **store)) == expected
    config, merged = folder / "in" / "alone.yaml", folder / "out" / "merged.h5"
    parts = [folder / "out" / f"part{part}.h5" for part in (1, 2)]
    for part, file in enumerate(parts, 1):
        run("run", config, "--out", file, "--part", f"{part}/2")
    must("merge", merged, *parts, status=INTERRUPTED)
    assert status_counts(merged)[1]["done"] == 2
    must("run", config, "--out", merged)
    assert digest(merged) == expected


def test_the_trained_models_induction_head_is_chosen(folder):
    golden = json.loads((GOLDEN / "tiny-induction.json").read_text())["fp32"]
    zeroed = sorted(golden["single_heads_zeroed"], key=lambda one: -one["loss"])
    experiments = [
        {"id": "scores", "kind": "attention_scores", "scores": ["induction"]},
        heads(),
        top("by_score", source="scores", by="mean(induction)", k=[1], on="all", evaluate="all"),
        top("by_effect", k=[1, 3], on="all", evaluate="all"),
    ]
    config = write_config(
        folder / "in" / "c.yaml",
        [model_entry("tiny-induction")],
        [prompt_file("tiny_induction")],
        experiments,
    )
    results = folder / "out" / "r.h5"
    must("run", config, "--out", results)
    rows = export_rows(results)
    (head, score) = selection_of(rows, "by_score")[0]
    assert [head] == golden["induction_heads"]
    assert abs(score - golden["induction"][1][2]) < 1e-5
    found = selection_of(rows, "by_effect")
    assert [[head] for head, _ in found] == [one["heads"] for one in zeroed[:3]]
    for (_, score), one in zip(found, zeroed, strict=False):
        assert abs(score - (one["loss"] - golden["base"]["loss"])) < 1e-4
    removed = [
        float(r["value"])
        for r in rows
        if r["run"].startswith("by_score/") and r["metric"] == "loss" and r["k"] == "1"
    ]
    assert abs(np.mean(removed) - golden["induction_heads_zeroed"]["loss"]) < 1e-4


def test_heads_below_the_least_score_leave_units_out(folder):
    plain = swept(folder, [heads(), top(k=[1])], name="plain")
    rows = export_rows(plain)
    ranked = ranked_by_numpy(rows, prompts_that(rows, "chosen_on"))
    least = (ranked[1][1] + ranked[2][1]) / 2  # two heads reach it
    experiments = [heads(), top(k=[1, 2, 3, 6], at_least=least), top("none", k=[1], at_least=1e6)]
    results = swept(folder, experiments, name="least")
    rows = export_rows(results)
    assert [head for head, _ in selection_of(rows)] == [head for head, _ in ranked[:2]]
    losses = [r for r in rows if r["run"].startswith("top/") and r["metric"] == "loss"]
    assert {r["k"] for r in losses} == {"1", "2"}
    assert not [r for r in rows if r["run"].startswith("none/") and r["metric"].endswith("loss")]
    assert prompts_that(rows, "evaluated_on", "none") == prompts_that(rows, "evaluated_on")
    with h5py.File(results) as file:
        runs, firsts = file["units/run"][()], file["units/first_begin"][()]
        stages = file["units/stage"][()]
        assert np.isnan(file["runs/top/llama-random/p/loss"][:, 2:]).all()
        assert (file["runs/top/llama-random/p/selection/layer"][2:] == -1).all()
    left_out = journal(results)[:, 0] == SKIPPED
    expected = (((runs == 1) & (firsts >= 2)) | (runs == 2)) & (stages == 1)
    assert (left_out == expected).all()
    status, counts = status_counts(results)
    assert status == DONE
    assert counts["skipped"] == left_out.sum() == 3
    assert counts["failed"] == counts["left"] == 0
    assert counts["share_of_work"] == 1
    verified = must("verify", results).out
    assert "3 skipped" in " ".join(verified.split())
    # What was left out is no number that is missing.
    must("reduce", results)
    with h5py.File(results.with_suffix("").with_suffix(".summary.h5")) as file:
        summary = file["runs/top/llama-random/p"]
        assert "k 3, 6: left out" in warnings_of(summary)
        assert summary.attrs["n_prompts_left_out"] == 0
        counted = summary["delta_loss/prompts"][()]
        assert (counted > 0).tolist() == [True, True, False, False]
        assert counted[0] == len(prompts_that(rows, "evaluated_on"))
        assert (summary["delta_loss/non_finite"][()] == 0).all()
        values = [
            float(r["value"])
            for r in rows
            if r["run"].startswith("top/") and r["metric"] == "delta_loss" and r["k"] == "2"
        ]
        assert np.isclose(summary["delta_loss/mean"][1], np.mean(values), rtol=1e-7)
        assert "k 1: left out" in warnings_of(file["runs/none/llama-random/p"])
    # A second launch has nothing to do.
    before = journal(results)
    must("run", folder / "in" / "least.yaml", "--out", results, ranks=2)
    assert (journal(results) == before).all()


def test_plan_counts_what_may_have_to_be_done(folder):
    experiments = [heads(), top(k=[1, 2, 4], at_least=0.1)]
    config = write_config(
        folder / "in" / "c.yaml", [model_entry("llama-random")], [prompts()], experiments
    )
    planned = must("plan", config).out
    lines = {line.split()[0]: line.split() for line in planned.splitlines() if line.strip()}
    assert lines["heads/llama-random/p"][1:3] == ["24", "1"]
    assert lines["top/llama-random/p"][1:3] == ["24", "4"]  # the choice, and one for each k
    assert lines["units"][1] == "5"


def test_what_cannot_be_chosen_is_refused_before_anything_runs(folder):
    for experiments, message in [
        ([top(), heads()], "there is no run 'heads/llama-random/p' above this one"),
        ([heads(), top(by="mean(delta_los)")], "did you mean 'delta_loss'?"),
        ([heads(), top(k=[13])], "asks for 13 heads, but run 'heads/llama-random/p' has 12"),
        ([heads(controls={"random_k": 2, "match": "layer"})], "controls: goes with `heads: {top:"),
    ]:
        config = write_config(
            folder / "in" / "c.yaml", [model_entry("llama-random")], [prompts()], experiments
        )
        outcome = run("run", config, "--out", folder / "out" / "r.h5")
        assert outcome.status == USAGE
        assert message in outcome.err
        assert not (folder / "out" / "r.h5").exists()
