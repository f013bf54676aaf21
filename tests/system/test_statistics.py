"""Numbers of `mechsweep reduce` made a second time with NumPy from what the results file holds:
p- and q-values over all patterns of signs, null bands, the shape of a profile; and how often a
random model's heads are called significant."""

import csv
import itertools
import json

import h5py
import numpy as np
import pytest
from system_program import digest, model_entry, mpirun, must, prompt_file, write_config

DRAWS = 60
LEVEL = 0.9
WITHIN = 1e-10
STATISTICS = {"bootstrap": {"resamples": 300, "level": LEVEL}, "tests": {"permutations": 500}}
NULL = {"null_sources": {"draws": DRAWS, "max_shift": 3}, "top_fraction": 0.5}
MODEL = "llama-random"


def write_prompts(path, count, length, pool):
    """Tokens drawn with replacement, so that there are copies of many lags; the last is asked."""
    generator = np.random.default_rng(5)
    lines = []
    for _ in range(count):
        tokens = generator.integers(1, 1 + pool, length).tolist()
        lines.append(json.dumps({"tokens": tokens, "prefix_length": 0, "answer": tokens[0]}))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics")
    write_prompts(folder / "p.jsonl", 9, 24, 12)
    copies = {"id": "rep", "kind": "file", "path": str(folder / "p.jsonl")}
    scores = {"kind": "attention_scores", "statistics": STATISTICS} | NULL
    scores |= {"scores": ["induction", "duplicate_token"], "by_position": "layers", "lags": [5, 2]}
    experiments = [
        {"id": "heads", "kind": "head_ablation", "operation": "zero", "positions": "targets",
         "prompts": ["rep"], "statistics": STATISTICS},
        scores | {"id": "fixed"},
        scores | {"id": "anew", "top_heads": "each_resample"},
    ]  # fmt: skip
    prompts = [copies, prompt_file("score_patterns")]
    config = write_config(folder / "sweep.yaml", [model_entry(MODEL)], prompts, experiments)
    must("run", config, "--out", folder / "r.h5")
    must("reduce", folder / "r.h5")
    return folder


@pytest.fixture(scope="module")
def files(folder):
    with h5py.File(folder / "r.h5") as results, h5py.File(folder / "r.summary.h5") as summary:
        yield results, summary


def cluster_sums(values, templates):
    """[G, ...] sums over the prompts of each template, a prompt without one alone; NaN left out."""
    names = [t or f"prompt {i}" for i, t in enumerate(templates)]
    return np.array(
        [
            np.nansum(values[[i for i, name in enumerate(names) if name == cluster]], axis=0)
            for cluster in dict.fromkeys(names)
        ]
    )


def sign_flip_tests(values, templates):
    """p, adjusted p, q of cells [P, C] over all 2^G patterns, two-sided, studentised."""
    terms = cluster_sums(values, templates)
    size = np.sqrt((terms**2).sum(axis=0))
    counted = ~np.isnan(values).all(axis=0)
    terms = np.divide(terms, size, out=np.zeros_like(terms), where=size > 0)
    signs = np.array(list(itertools.product((1, -1), repeat=len(terms))))
    drawn = np.abs(signs @ terms)
    threshold = drawn[0] - 1e-9
    p = np.where(counted, (drawn >= threshold).mean(axis=0), np.nan)
    largest = drawn[:, counted].max(axis=1)
    adjusted = np.array([(largest >= one).mean() for one in threshold])
    order = np.sort(p[counted])
    steps = order * len(order) / np.arange(1, len(order) + 1)
    q = [np.nan if np.isnan(one) else steps[order >= one].min() for one in p]
    return p, np.where(counted, adjusted, np.nan), np.minimum(q, 1.0)


def check_tests(group, values, templates):
    for name, known in zip(("p_value", "p_adjusted", "q_value"),
                           sign_flip_tests(values, templates), strict=True):  # fmt: skip
        np.testing.assert_allclose(group[name][()].ravel(), known, rtol=0, atol=1e-12,
                                   err_msg=f"{group.name} {name}")  # fmt: skip


def templates_of(results, prompts):
    return [t.decode() for t in results[f"prompts/{prompts}/{MODEL}/template"][()]]


def test_effects_of_heads(files):
    results, summary = files
    run = results[f"runs/heads/{MODEL}/rep"]
    delta = run["loss"][()] - run["base/loss"][()][:, None, None]
    group = summary[f"runs/heads/{MODEL}/rep/delta_loss"]
    assert summary[group.parent.name].attrs["flips"] == 10000
    check_tests(group, delta.reshape(len(delta), -1), templates_of(results, "rep"))
    p = group["p_value"][()]
    assert (p >= 2 / 2**9 - 1e-15).all() and (p < 1).any()
    assert "p_value" not in summary[f"runs/heads/{MODEL}/rep/loss"]


@pytest.mark.parametrize("prompts", ["rep", "score_patterns"])
def test_excess_over_the_null(files, prompts):
    results, summary = files
    for score in ("induction", "duplicate_token"):
        null = results[f"runs/fixed/{MODEL}/{prompts}/null/{score}"]
        excess = null["score"][()] - null["null_score"][()]
        group = summary[f"runs/fixed/{MODEL}/{prompts}/{score}_excess"]
        known = np.nanmean(excess, axis=0)
        np.testing.assert_allclose(group["mean"][()], known, rtol=0, atol=WITHIN)
        check_tests(group, excess.reshape(len(excess), -1), templates_of(results, prompts))
        assert "p_value" not in summary[f"runs/fixed/{MODEL}/{prompts}/{score}"]


def band_of(profiles):
    """Of null profiles [N, L]: median, bounds, simultaneous bounds."""
    outside = (1 - LEVEL) / 2
    median = np.median(profiles, axis=0)
    sd = profiles.std(axis=0, ddof=1)
    z = (profiles - median) / sd
    above = np.quantile(z.max(axis=1), 1 - outside)
    below = np.quantile(z.min(axis=1), outside)
    low, high = np.quantile(profiles, [outside, 1 - outside], axis=0)
    return {
        "null_median": median,
        "null_lower": low,
        "null_upper": high,
        "null_simultaneous_lower": median + below * sd,
        "null_simultaneous_upper": median + above * sd,
    }


def check_band(group, profiles):
    for name, known in band_of(profiles).items():
        np.testing.assert_allclose(group[name][()], known, rtol=0, atol=WITHIN, err_msg=name)


def check_shape(shape, profile, profiles):
    """The quantities that follow from a profile and its null without random numbers."""
    labels = [x.decode() for x in shape["mean"].dims[0][0][()]]
    mine = dict(zip(labels, shape["mean"][()], strict=True))
    low = dict(zip(labels, shape["percentile_low"][()], strict=True))
    high = dict(zip(labels, shape["percentile_high"][()], strict=True))
    band = band_of(profiles)
    layers, peak = len(profile), int(np.argmax(profile))
    excess = np.maximum(profile - band["null_median"], 0)
    centroid = (excess * np.arange(layers)).sum() / excess.sum() if excess.sum() > 0 else np.nan
    inside = not profile[peak] > band["null_simultaneous_upper"][peak]
    both = np.vstack([profile, profiles])
    largest = ((both - both.mean(axis=0)) / both.std(axis=0, ddof=1)).max(axis=1)
    known = {
        "peak_layer": peak,
        "peak_depth": peak / layers,
        "peak_centre_depth": (peak + 0.5) / layers,
        "peak_value": profile[peak],
        "peak_excess": profile[peak] - band["null_median"][peak],
        "inside_null": float(inside),
        "peak_p_value": (1 + (largest[1:] >= largest[0]).sum()) / (1 + len(profiles)),
        "centroid_depth": centroid / layers,
        "centroid_centre_depth": (centroid + 0.5) / layers,
    }
    for name, value in known.items():
        np.testing.assert_allclose(mine[name], value, rtol=0, atol=WITHIN, err_msg=name)
    assert np.isnan(mine["bandwidth"]) == inside and np.isnan(mine["clipped"]) == inside
    for name in ("peak_layer", "peak_value", "centroid_depth"):
        assert low[name] <= high[name] or np.isnan(mine[name]), name
    return mine


@pytest.mark.parametrize("prompts", ["rep", "score_patterns"])
@pytest.mark.parametrize("score", ["induction", "duplicate_token"])
def test_profile_of_all_heads(files, prompts, score):
    results, summary = files
    null = results[f"runs/fixed/{MODEL}/{prompts}/null/{score}"]
    values = np.nanmean(null["score"][()], axis=0)
    profile, profiles = values.mean(axis=1), np.nanmean(null["profile"][()], axis=0)
    run = summary[f"runs/fixed/{MODEL}/{prompts}"]
    group = run[f"{score}_matched_layer_profile"]
    np.testing.assert_allclose(group["mean"][()], profile, rtol=0, atol=WITHIN)
    check_band(group, profiles)
    mine = check_shape(run[f"{score}_matched_layer_profile_shape"], profile, profiles)
    assert abs(group["peak_share"][()].sum() - 1) < 1e-12
    # Of permuted heads no layer can have less than the smallest heads, or more than the largest.
    ordered = np.sort(values.ravel())
    heads = values.shape[1]
    assert (group["permuted_lower"][()] >= ordered[:heads].mean() - WITHIN).all()
    assert (group["permuted_upper"][()] <= ordered[-heads:].mean() + WITHIN).all()
    assert 1 / 501 <= mine["permutation_p_value"] <= 1


@pytest.mark.parametrize("score", ["induction", "duplicate_token"])
def test_top_heads_that_are_chosen_anew(files, score):
    results, summary = files
    null = results[f"runs/anew/{MODEL}/rep/null/{score}"]
    values = np.nanmean(null["score"][()], axis=0)
    top = np.sort(values, axis=1)[:, ::-1][:, :2]
    drawn = np.nanmean(null["heads"][()].astype(np.float64), axis=0)
    profiles = np.sort(drawn, axis=2)[:, :, ::-1][:, :, :2].mean(axis=2)
    run = summary[f"runs/anew/{MODEL}/rep"]
    group = run[f"{score}_matched_top_layer_profile"]
    np.testing.assert_allclose(group["mean"][()], top.mean(axis=1), rtol=0, atol=WITHIN)
    check_band(group, profiles)
    check_shape(run[f"{score}_matched_top_layer_profile_shape"], top.mean(axis=1), profiles)
    chosen = run[f"{score}_matched/top_head"][()]
    assert (chosen.sum(axis=1) == 2).all()
    assert (np.sort(np.where(chosen == 1, values, -1), axis=1)[:, ::-1][:, :2] == top).all()


@pytest.mark.parametrize("score", ["induction", "duplicate_token"])
def test_top_heads_of_one_half_on_the_other(files, score):
    results, summary = files
    null = results[f"runs/fixed/{MODEL}/rep/null/{score}"]
    run = summary[f"runs/fixed/{MODEL}/rep"]
    group = run[f"{score}_matched_top_layer_profile"]
    chosen = run[f"{score}_matched/top_head"][()] == 1
    scores, drawn = null["score"][()], null["heads"][()].astype(np.float64)
    # Nine prompts: halves of five and four. The summary does not name them, its mean does.
    found = []
    for half_b in itertools.combinations(range(9), 4):
        b = list(half_b)
        profile = np.array([row[mask].mean() for row, mask in
                            zip(scores[b].mean(axis=0), chosen, strict=True)])  # fmt: skip
        if np.allclose(profile, group["mean"][()], rtol=0, atol=WITHIN):
            found.append(b)
    assert len(found) == 1
    half_a = [p for p in range(9) if p not in found[0]]
    means = scores[half_a].mean(axis=0)
    known = np.argsort(np.argsort(-means, axis=1), axis=1) < 2
    assert (chosen == known).all()
    of_draws = drawn[found[0]].mean(axis=0)
    profiles = np.array([[row[mask].mean() for row, mask in zip(one, chosen, strict=True)]
                         for one in of_draws])  # fmt: skip
    check_band(group, profiles)
    assert (group["prompts"][()] == 4).all()


def test_positions_and_lags_are_means_over_prompts(files):
    results, summary = files
    stored = results[f"runs/fixed/{MODEL}/score_patterns"]
    run = summary[f"runs/fixed/{MODEL}/score_patterns"]
    with np.errstate(invalid="ignore"):
        by_position = stored["by_position/induction"][()]
        count = (~np.isnan(by_position)).sum(axis=0)
        known = np.divide(np.nansum(by_position, axis=0), count)
    np.testing.assert_allclose(run["induction_by_position/mean"][()], known, atol=WITHIN)
    np.testing.assert_allclose(
        run["induction_by_position_all_heads/mean"][()], known.mean(axis=0), atol=WITHIN
    )
    by_lag = stored["by_lag/induction"][()]
    assert list(stored["lag"][()]) == [2, 5]
    profile = run["induction_by_lag_layer_profile"]
    known = np.nanmean(by_lag.mean(axis=2), axis=0)
    np.testing.assert_allclose(profile["mean"][()], known, atol=WITHIN)


def test_tables_name_p_and_q_values(folder):
    rows = list(csv.DictReader((folder / "r.summary.csv").open()))
    tested = [row for row in rows if row["metric"] in ("delta_loss", "induction_excess")]
    assert tested and all(row["p_value"] and row["p_adjusted"] and row["q_value"] for row in tested)
    band = [row for row in rows if row["metric"] == "induction_matched_layer_profile"]
    assert band and all(row["null_simultaneous_upper"] for row in band)
    document = json.loads((folder / "r.summary.json").read_text())
    runs = {run["run"]: run for run in document["runs"]}
    strongest = runs[f"heads/{MODEL}/rep"]["strongest"]["delta_loss"][0]
    assert 0 < strongest["p_value"] <= strongest["p_adjusted"] <= 1
    shape = runs[f"fixed/{MODEL}/rep"]["shapes"]["induction_matched_layer_profile_shape"]
    assert shape["peak_layer"]["mean"] in (0, 1, 2)
    assert runs[f"fixed/{MODEL}/rep"]["null_draws"] == DRAWS


def test_a_summary_is_the_same_at_any_rank_count(folder, tmp_path):
    (tmp_path / "r.h5").write_bytes((folder / "r.h5").read_bytes())
    (tmp_path / "r.meta").write_bytes((folder / "r.meta").read_bytes())
    outcome = mpirun(3, "reduce", tmp_path / "r.h5")
    assert outcome.status == 0, outcome.err
    assert digest(tmp_path / "r.summary.h5") == digest(folder / "r.summary.h5")


def test_random_heads_are_significant_no_more_often_than_the_level_says(tmp_path):
    """Weights without training, tokens without order: induction is no better than its null."""
    write_prompts(tmp_path / "p.jsonl", 40, 30, 25)
    models = ["llama-random", "gpt2-random", "gpt-neox-parallel", "gpt-neox-serial", "opt-relu",
              "mistral-full", "qwen3-norms", "phi3-longrope"]  # fmt: skip
    scores = {"id": "s", "kind": "attention_scores", "scores": ["induction"],
              "null_sources": {"draws": 100, "max_shift": 3}}  # fmt: skip
    entry = {"id": "p", "kind": "file", "path": str(tmp_path / "p.jsonl")}
    entries = [model_entry(name) for name in models]
    must("run", write_config(tmp_path / "c.yaml", entries, [entry], [scores]),
         "--out", tmp_path / "r.h5")  # fmt: skip
    must("reduce", tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.summary.h5") as summary:
        groups = [summary[f"runs/s/{name}/p/induction_excess"] for name in models]
        p = np.concatenate([group["p_value"][()].ravel() for group in groups])
        adjusted = [group["p_adjusted"][()].min() for group in groups]
    # More than this many of the heads have p <= .05 by chance once in 1,000 times.
    heads, bound = len(p), 0
    chance = np.cumprod([1, *((heads - k) / (k + 1) * 0.05 / 0.95 for k in range(heads))])
    tail = 1 - np.cumsum(chance * 0.95**heads)
    bound = int(np.argmax(tail < 1e-3))
    assert heads >= 40
    assert (p <= 0.05).sum() <= bound
    assert sum(one <= 0.05 for one in adjusted) <= 3
