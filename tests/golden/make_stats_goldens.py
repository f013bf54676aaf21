#!/usr/bin/env python3
"""Writes stats.json: expected values of src/stats from NumPy, SciPy and statsmodels.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python tests/golden/make_stats_goldens.py

Nothing here calls mechsweep. "given_counts" feeds explicit resample counts to a slow
implementation that writes every resample out as a list of prompts; "scipy_bootstrap" is
scipy.stats.bootstrap with resamples of its own, to be met within Monte-Carlo error. Profiles are
in golden_stats_profiles.py, tests of hypotheses in golden_stats_tests.py. The versions that made
stats.json stand in its `made_by`.
"""

import json
import pathlib

import golden_stats_profiles
import golden_stats_tests
import numpy as np
import scipy
import statsmodels
from scipy import stats

LEVEL = 0.9


def plain(value):
    """NumPy to JSON; NaN becomes null."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, (np.floating, float)):
        return None if np.isnan(value) else float(value)
    if isinstance(value, np.integer):
        return int(value)
    return value


def ratio(top, bottom, prompts):
    """Sum of `top` over the listed prompts, divided by that of `bottom`; NaN prompts left out."""
    keep = [p for p in prompts if not (np.isnan(top[p]) or np.isnan(bottom[p]))]
    if not keep:
        return np.nan
    return np.sum(top[keep]) / np.sum(bottom[keep])


def slow_cell(top, bottom, clusters, counts, level):
    """Estimate and intervals of one cell by the textbook, resample by resample."""
    members = [np.flatnonzero(clusters == g) for g in range(clusters.max() + 1)]
    everyone = list(range(len(top)))
    present = [m for m in members if any(not (np.isnan(top[p]) or np.isnan(bottom[p])) for p in m)]
    cell = {
        "estimate": ratio(top, bottom, everyone),
        "prompts": int(np.sum(~(np.isnan(top) | np.isnan(bottom)))),
        "clusters": len(present),
    }
    names = ["standard_error", "percentile_low", "percentile_high", "bca_low", "bca_high"]
    if len(present) < 2:
        cell.update({name: np.nan for name in names})
        return cell
    replicates = []
    for row in counts:
        drawn = [p for g, times in enumerate(row) for _ in range(times) for p in members[g]]
        replicates.append(ratio(top, bottom, drawn))
    replicates = np.array([r for r in replicates if np.isfinite(r)])
    jackknife = np.array([ratio(top, bottom, [p for p in everyone if p not in m]) for m in present])
    tail = (1 - level) / 2
    # Equal up to rounding is equal.
    tie = np.isclose(replicates, cell["estimate"], rtol=1e-11, atol=1e-13)
    below = np.mean(np.where(tie, 0.5, replicates < cell["estimate"]))
    z0 = stats.norm.ppf(below)
    deviation = jackknife.mean() - jackknife
    a = np.sum(deviation**3) / (6 * np.sum(deviation**2) ** 1.5)
    ends = []
    for z in (stats.norm.ppf(tail), stats.norm.ppf(1 - tail)):
        share = stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
        ends.append(np.quantile(replicates, share))
    values = [np.std(replicates, ddof=1), *np.quantile(replicates, [tail, 1 - tail]), *ends]
    cell.update(dict(zip(names, values, strict=True)))
    return cell


def given_counts(rng):
    clusters = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9])
    prompts, cells, groups, resamples = len(clusters), 5, 10, 150
    top = rng.exponential(size=(prompts, cells)) - 0.3
    bottom = rng.uniform(0.5, 2.0, size=(prompts, cells))
    top[[1, 7, 8], 1] = np.nan  # cluster 4 leaves the cell
    top[3:, 2] = np.nan  # two clusters are left
    top[2:, 3] = np.nan  # one cluster is left
    top[:, 4] = rng.integers(0, 2, size=prompts)  # many ties
    bottom[10, 4] = np.nan
    draws = rng.integers(0, groups, size=(resamples, groups))
    counts = np.array([np.bincount(row, minlength=groups) for row in draws])
    ones = np.ones(prompts)
    return {
        "level": LEVEL,
        "clusters": plain(clusters),
        "counts": plain(counts),
        "values": plain(top),
        "denominator": plain(bottom),
        "means": [slow_cell(top[:, c], ones, clusters, counts, LEVEL) for c in range(cells)],
        "ratios": [
            slow_cell(top[:, c], bottom[:, c], clusters, counts, LEVEL) for c in range(cells)
        ],
    }


def scipy_bootstrap(rng):
    """Clusters as SciPy's observations: pairs (sum, number) with the ratio of sums."""
    clusters = np.repeat(np.arange(30), rng.integers(1, 4, size=30))
    values = rng.lognormal(sigma=0.5, size=30)[clusters] * rng.uniform(0.5, 1.5, size=len(clusters))
    sums = np.bincount(clusters, weights=values)
    sizes = np.bincount(clusters)

    def statistic(s, n, axis=-1):
        return np.sum(s, axis=axis) / np.sum(n, axis=axis)

    def bounds(method, resamples, seed):
        answer = stats.bootstrap(
            (sums, sizes),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=20_000,
            confidence_level=LEVEL,
            method=method,
            rng=np.random.default_rng(seed),
        )
        return [*answer.confidence_interval, answer.standard_error]

    result = {"level": LEVEL, "clusters": plain(clusters), "values": plain(values)}
    for method in ("percentile", "bca"):
        scipy_name = "BCa" if method == "bca" else method
        ends = bounds(scipy_name, 200_000, 5)
        # The Monte-Carlo error of 40,000 resamples, by repetition.
        spread = np.std([bounds(scipy_name, 40_000, 100 + i) for i in range(30)], axis=0, ddof=1)
        for i, end in enumerate(("low", "high")):
            result[f"{method}_{end}"] = float(ends[i])
            result[f"{method}_{end}_sd"] = float(spread[i])
        result["standard_error"] = float(ends[2])
        result["standard_error_sd"] = float(spread[2])
    return result


def clean(tree):
    if isinstance(tree, dict):
        return {key: clean(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [clean(value) for value in tree]
    return plain(tree)


def main():
    rng = np.random.default_rng(20240607)
    x = np.array(
        [-37.5, -20.0, -8.0, -5.5, -3.0, -1.959964, -1.0, -0.25, 0.0, 0.1, 0.7, 2.0, 5.0, 8.0]
    )
    p = np.array(
        [
            1e-300,
            1e-20,
            1e-12,
            1e-6,
            0.001,
            0.025,
            0.0749,
            0.0751,
            0.3,
            0.5,
            0.7,
            0.9,
            0.925,
            0.975,
            0.9999,
            1 - 1e-12,
        ]
    )
    sample = np.sort(rng.standard_normal(11))
    shares = np.array([0.0, 0.025, 0.1, 0.33, 0.5, 0.77, 0.975, 1.0])
    even = np.round(rng.standard_normal(8), 3)
    cube = rng.standard_normal((2, 3, 4))
    cube[0, 1, 2] = cube[1, 0, 0] = cube[1, 0, 3] = np.nan
    cube[1, 2, :] = np.nan
    with np.errstate(all="ignore"):
        profile = np.array(
            [[np.nanmean(h) if np.isfinite(h).any() else np.nan for h in row] for row in cube]
        )
    golden = {
        "made_by": f"make_stats_goldens.py, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"statsmodels {statsmodels.__version__}",
        "normal": {
            "x": plain(x),
            "cdf": plain(stats.norm.cdf(x)),
            "p": plain(p),
            "quantile": plain(stats.norm.ppf(p)),
        },
        "quantiles": {
            "sorted": plain(sample),
            "p": plain(shares),
            "expected": plain(np.quantile(sample, shares)),
        },
        "ranking": {
            "values": plain(even),
            "order": plain(np.argsort(-even, kind="stable")),
            "median": float(np.median(even)),
            "fraction_positive": float(np.mean(even > 0)),
        },
        "profile": {"values": plain(cube), "expected": plain(profile)},
        "given_counts": given_counts(rng),
        "scipy_bootstrap": scipy_bootstrap(rng),
        **golden_stats_profiles.golden(),
        **golden_stats_tests.golden(),
    }
    path = pathlib.Path(__file__).with_name("stats.json")
    lines = [f"{json.dumps(key)}: {json.dumps(clean(value))}" for key, value in golden.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
