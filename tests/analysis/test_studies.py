"""What is shown of several runs together, against numbers worked out another way."""

import csv
import json
import math

import h5py
import numpy as np
import pytest
from conftest import LAYER_HEAD
from mechsweep_analysis.command import main
from mechsweep_analysis.studies.family import parameters
from mechsweep_analysis.studies.product import spearman
from summary_writer import SummaryWriter, text

LAYERS, HEADS, PROMPTS = 2, 3, 8
AXES = {"layer": [0, 1], "head": [0, 1, 2]}
RNG = np.random.default_rng(20)
EFFECTS = {
    "zero": np.array([[0.5, -0.1, 0.0], [0.25, 1.5, 0.3]]),
    "resample": np.array([[0.1, 0.2, 0.3], [-0.4, 0.5, 0.0]]),
}
SCORES = np.array([[0.05, 0.4, 0.1], [0.2, 0.9, 0.3]])
# Two targets a prompt; the last prompt has one.
LOGIT = RNG.normal(size=(PROMPTS, LAYERS, HEADS, 2, 2))
BASE_LOGIT = RNG.normal(size=(PROMPTS, 2, 2))
LOGIT[-1, :, :, 1] = BASE_LOGIT[-1, 1] = np.nan
PATCHED = RNG.normal(3.0, 1.0, size=(PROMPTS, LAYERS, HEADS))
CORRUPT = RNG.normal(4.0, 1.0, size=PROMPTS)
FACTS = {"n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": 1, "head_size": 4, "d_model": 12}
FACTS |= {"d_mlp": 20, "vocab_size": 100}


def write_summary(folder, name="small", model="tiny", scores=SCORES):
    path = folder / f"{name}.summary.h5"
    with SummaryWriter(path, source=f"{name}.h5") as writer:
        writer.model(model, LAYERS, HEADS)
        group = writer.file[f"models/{model}"]
        for fact, value in FACTS.items():
            group.attrs[fact] = value
        group.attrs["gated_mlp"], group.attrs["tied_embeddings"] = True, False
        group.attrs["position"] = text("rotary")
        several = {**AXES, "operation": list(EFFECTS)}
        counts = {"n_prompts": PROMPTS, "n_clusters": PROMPTS}
        run = writer.run(f"heads/{model}/abna", several, **counts)
        writer.metric(run, "delta_loss", list(several), np.stack(list(EFFECTS.values()), axis=-1))
        run = writer.run(
            f"effects/{model}/repeat", AXES, positions="the target positions", **counts
        )
        writer.metric(run, "delta_loss", LAYER_HEAD, EFFECTS["zero"])
        run = writer.run(f"scores/{model}/repeat", AXES, kind="attention_scores", **counts)
        writer.metric(run, "induction", LAYER_HEAD, scores, units="1", long_name="induction score")
        patching = {"kind": "activation_patching", "direction": "clean_to_corrupt"}
        run = writer.run(f"patch/{model}/trials", AXES, **patching, **counts)
        change = (PATCHED - CORRUPT[:, None, None]).mean(axis=0)
        writer.metric(run, "delta_loss", LAYER_HEAD, change)
    return path


def write_samples(folder, name="small", model="tiny", key="cd" * 32):
    """The results file that belongs to it, with what prompts are read from."""
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file.attrs["format"], file.attrs["key"] = text("mechsweep-results"), text(key)
        for run, data, base, axes in (
            (f"effects/{model}/repeat", LOGIT, BASE_LOGIT, ["target", "tracked"]),
            (f"patch/{model}/trials", PATCHED, CORRUPT, []),
        ):
            group = file.create_group(f"runs/{run}")
            dataset = "logit" if axes else "loss"
            for at, values, names in (
                (dataset, data, ["prompt", "layer", "head", *axes]),
                (f"base/{dataset}", base, ["prompt", *axes]),
            ):
                made = group.create_dataset(at, data=values)
                for place, axis in enumerate(names):
                    if axis not in group:
                        size = values.shape[place]
                        group.create_dataset(axis, data=np.arange(size)).make_scale(axis)
                    made.dims[place].attach_scale(group[axis])


@pytest.fixture
def reported(tmp_path):
    """The folder of a report of all this."""
    path = write_summary(tmp_path)
    write_samples(tmp_path)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def across(out):
    whole = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in whole["across_runs"]}


def test_the_ranking_has_every_head_of_every_operation(reported):
    for operation, effects in EFFECTS.items():
        name = f"heads--tiny--abna--operation={operation}--ranking.csv"
        rows = rows_of(reported / "tables" / name)
        assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5, 6]
        found = [(float(row["delta_loss"]), int(row["layer"]), int(row["head"])) for row in rows]
        cells = [(effects[at], *at) for at in np.ndindex(LAYERS, HEADS)]
        assert found == sorted(cells, key=lambda cell: -cell[0])
        assert float(rows[0]["interval_low"]) == pytest.approx(found[0][0] - 0.1)


def test_the_ranking_counts_positive_heads_and_averages_the_first(reported):
    zero = across(reported)["heads--tiny--abna--ranking"]["operations"]["zero"]
    assert (zero["heads"], zero["positive"]) == (6, 4)
    assert zero["top_ten_mean"] == pytest.approx((0.5 - 0.1 + 0.25 + 1.5 + 0.3) / 6)
    assert zero["top_ten_median"] == pytest.approx((0.25 + 0.3) / 2)
    page = (reported / "tables" / "heads--tiny--abna--ranking.md").read_text(encoding="utf-8")
    assert "| 1 | 1 | 1 | 1.500 | 1.400 | 1.600 | 0.500 | 1 |" in page
    assert "| 2 | 0 | 0 | 0.500 | 0.400 | 0.600 | 0.100 | 4 |" in page
    assert "Operation zero: 4 of 6 heads have a positive change" in page
    assert "Base run: loss 3.800 nats (chance 3.258)" in page


def test_trials_are_the_falls_of_the_loss_of_the_head_that_the_ablation_chooses(reported):
    whole = json.loads((reported / "tables" / "patch--tiny--trials--trials.json").read_text())
    chosen, own = whole["heads"]
    gains = [CORRUPT[prompt] - PATCHED[prompt, 1, 1] for prompt in range(PROMPTS)]
    mean = sum(gains) / PROMPTS
    deviation = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / (PROMPTS - 1))
    assert chosen["head"] == "L1H1"
    assert "heads/tiny/abna (zero), other prompts" in chosen["chosen_by"]
    assert chosen["improvements"] == pytest.approx(gains)
    assert (chosen["n"], chosen["improved"]) == (PROMPTS, sum(gain > 0 for gain in gains))
    assert (chosen["mean"], chosen["standard_deviation"]) == pytest.approx((mean, deviation))
    layer, head = divmod(int((CORRUPT[:, None, None] - PATCHED).mean(axis=0).argmax()), HEADS)
    assert own["head"] == f"L{layer}H{head}" != "L1H1"
    assert "these very prompts" in own["chosen_by"]
    for one in (chosen, own):
        name = f"patch--tiny--trials--delta_loss--{one['head']}--histogram"
        assert (reported / "figures" / f"{name}.png").is_file()


def test_scores_stand_beside_the_change_of_the_answers_logit(reported):
    rows = rows_of(reported / "tables" / "scores--tiny--repeat--effects--score_effect.csv")
    assert len(rows) == 6
    means = []
    for row in rows:
        at = int(row["layer"]), int(row["head"])
        assert float(row["induction"]) == SCORES[at]
        changes = []
        for prompt in range(PROMPTS):
            targets = range(1 if prompt == PROMPTS - 1 else 2)
            each = [LOGIT[prompt, *at, t, 0] - BASE_LOGIT[prompt, t, 0] for t in targets]
            changes.append(sum(each) / len(each))
        means.append(sum(changes) / PROMPTS)
        assert float(row["delta_logit"]) == pytest.approx(means[-1])
        error = np.std(changes, ddof=1) / math.sqrt(PROMPTS)
        assert float(row["delta_logit_standard_error"]) == pytest.approx(error)
    one = across(reported)["scores--tiny--repeat--effects--score_effect"]
    assert one["spearman"]["induction"] == pytest.approx(spearman(SCORES.ravel(), np.array(means)))
    assert (
        one["top_five"]["induction"] == "L1H1 0.900, L0H1 0.400, L1H2 0.300, L1H0 0.200, L0H2 0.100"
    )


@pytest.mark.parametrize("key", [None, "00" * 32])
def test_without_its_results_file_effects_are_on_the_loss_and_there_are_no_trials(tmp_path, key):
    path = write_summary(tmp_path)
    if key:
        write_samples(tmp_path, key=key)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    made = across(tmp_path / "out")
    assert "patch--tiny--trials--trials" not in made
    assert made["scores--tiny--repeat--effects--score_effect"]["effect"] == "delta_loss"
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert (
        "Effects are on the loss: " + ("small.h5 is of another" if key else "The results") in page
    )


def test_spearman_is_that_of_scipy():
    # scipy.stats.spearmanr of SciPy 1.17, with ties and with a missing value left out.
    first = np.array([1.0, 2.0, 2.0, 4.0, 5.0, np.nan])
    second = np.array([2.0, 1.0, 3.0, 3.0, 9.0, 7.0])
    assert spearman(first, second) == pytest.approx(0.763157894736842)
    assert math.isnan(spearman(first, np.ones(6)))


def test_parameters_are_those_of_known_models():
    # SmolLM2-135M has 134,515,008: 61 norms of 576 are left out.
    facts = {"d_model": 576, "n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "head_size": 64}
    facts |= {"d_mlp": 1536, "vocab_size": 49152, "gated_mlp": "True", "tied_embeddings": "True"}
    assert parameters(facts) == 134_515_008 - 61 * 576
    # GPT-2 small has 124,439,808: biases (9 * 768 a layer) and 25 norms of 2 * 768 are left out.
    facts = {"d_model": 768, "n_layers": 12, "n_heads": 12, "n_kv_heads": 12, "head_size": 64}
    facts |= {"d_mlp": 3072, "vocab_size": 50257, "gated_mlp": "False", "tied_embeddings": "True"}
    facts |= {"position": "learned", "max_positions": 1024}
    assert parameters(facts) == 124_439_808 - 12 * 9 * 768 - 25 * 2 * 768
    assert math.isnan(parameters({}))


def test_several_files_get_a_report_each_and_a_page_together(tmp_path, capsys):
    first = write_summary(tmp_path, "a", "small")
    (tmp_path / "x").mkdir()
    second = write_summary(tmp_path / "x", "a", "large", scores=SCORES / 2)
    out = tmp_path / "out"
    assert main([str(first), str(second), "--out", str(out), "--pdf"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert (
        "top five of scores/large/repeat, induction: L1H1 0.450, L0H1 0.200, L1H2 0.150, "
        in "".join(said)
    )
    written = {line.removeprefix("wrote ") for line in said if line.startswith("wrote ")}
    assert written == {str(path) for path in out.rglob("*") if path.is_file()}
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        "a",
        "a-2",
        "figures",
        "tables",
    }
    endings = {path.suffix for path in (out / "figures").iterdir()}
    assert endings == {".png", ".svg", ".pdf"}
    rows = rows_of(out / "tables" / "scores--repeat--induction--family.csv")
    firsts = {row["model"]: row for row in rows if row["place"] == "1"}
    # Attention 2 * (12 * 12 + 12 * 4), MLP 3 * 12 * 20, both in 2 layers; 2 * 1200 embeddings.
    assert {row["parameters"] for row in rows} == {str(2 * (384 + 720) + 2400)}
    assert [float(firsts[name]["score"]) for name in ("small", "large")] == [0.9, 0.45]
    assert float(firsts["small"]["relative_depth"]) == 0.75
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'href="a/index.html#run-1"' in page and 'href="a-2/index.html#run-1"' in page
    assert "<script" not in page and "url(" not in page
    together = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["together"]
    assert [one["metric"] for one in together] == ["induction"]
    again = tmp_path / "again"
    assert main([str(first), str(second), "--out", str(again), "--pdf"]) == 0
    for path in (out / "figures").iterdir():
        assert (again / "figures" / path.name).read_bytes() == path.read_bytes()


def test_a_file_that_cannot_be_read_leaves_nothing_of_the_others(tmp_path, capsys):
    path = write_summary(tmp_path)
    missing = tmp_path / "none.summary.h5"
    assert main([str(path), str(missing), "--out", str(tmp_path / "out")]) == 3
    assert "none.summary.h5 does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
