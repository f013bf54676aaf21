"""Expected values for layer profiles: top heads, shape, bands, bootstrap, permutation of heads."""

import itertools

import numpy as np
from scipy import signal, stats

NONE = {"peak_value": np.nan, "centroid": np.nan, "bandwidth": np.nan}


def top_fraction():
    """Means of the largest heads by sorting; ties go to the lower head."""
    rng = np.random.default_rng(71)
    scores = np.round(rng.standard_normal((4, 7)), 2)
    scores[1, [0, 3, 5]] = 0.5  # a tie across the border
    scores[1, 6] = 2.0
    scores[2, :6] = np.nan  # one head for two places
    scores[3, :] = np.nan
    values = rng.standard_normal((3, 4, 7))
    values[1, 0, :] = np.nan
    cases = []
    for fraction in (0.1, 0.3, 1.0):
        count = max(1, int(7 * fraction))
        chosen = np.zeros((4, 7), dtype=int)
        profile = np.full(4, np.nan)
        for layer, row in enumerate(scores):
            order = [h for h in np.argsort(-row, kind="stable") if not np.isnan(row[h])][:count]
            chosen[layer, order] = 1
            if order:
                profile[layer] = np.mean(row[order])
        masked = np.where(chosen == 1, values, np.nan)
        with np.errstate(all="ignore"):
            by_prompt = np.array(
                [[np.nanmean(h) if np.isfinite(h).any() else np.nan for h in p] for p in masked]
            )
        cases.append(
            {
                "fraction": fraction,
                "count": count,
                "chosen": chosen,
                "profile": profile,
                "by_prompt": by_prompt,
            }
        )
    return {"scores": scores, "values": values, "cases": cases}


def shape(profile, baseline, upper):
    """Peak, centroid, and the width from scipy.signal.peak_widths at half of the excess."""
    excess = np.asarray(profile) - np.asarray(baseline)
    layers = len(excess)
    result = {"peak": -1, "inside_null": True, "clipped": False, "left": np.nan, "right": np.nan}
    result.update(NONE)
    if np.isnan(profile).all():
        return result
    peak = int(np.nanargmax(profile))
    result.update(peak=peak, peak_value=profile[peak])
    weights = np.nan_to_num(np.maximum(0, excess))
    if weights.sum() > 0:
        result["centroid"] = np.average(np.arange(layers), weights=weights)
    if not (profile[peak] > upper[peak] and excess[peak] > 0):
        return result
    # SciPy takes the ends of a wlen-less window as given; NaN layers cut the profile.
    first, last = 0, layers - 1
    for layer in np.flatnonzero(np.isnan(excess)):
        first = max(first, layer + 1) if layer < peak else first
        last = min(last, layer - 1) if layer > peak else last
    part = excess[first : last + 1]
    window = (np.array([excess[peak]]), np.array([0]), np.array([len(part) - 1]))
    _, height, left, right = signal.peak_widths(part, [peak - first], 0.5, prominence_data=window)
    left, right = left[0] + first, right[0] + first
    clipped_left, clipped_right = excess[first] > height[0], excess[last] > height[0]
    clipped_left &= left == first
    clipped_right &= right == last
    left = first - 0.5 if clipped_left else left
    right = last + 0.5 if clipped_right else right
    result.update(
        inside_null=False,
        clipped=bool(clipped_left or clipped_right),
        left=left,
        right=right,
        bandwidth=(right - left) / layers,
    )
    return result


def shapes():
    rng = np.random.default_rng(72)
    cases = []

    def add(profile, baseline, upper):
        profile, baseline, upper = (np.asarray(x, dtype=float) for x in (profile, baseline, upper))
        cases.append(
            {
                "profile": profile,
                "baseline": baseline,
                "upper": upper,
                **shape(profile, baseline, upper),
            }
        )

    zeros, low = np.zeros(8), np.full(8, 0.05)
    add([0, 0.1, 0.2, 0.8, 0.7, 0.2, 0.1, 0], zeros, low)
    add([0.9, 0.8, 0.3, 0, 0, 0, 0, 0.1], zeros, low)  # clipped on the left
    add([0, 0, 0, 0, 0, 0.5, 0.9, 0.6], zeros, low)  # clipped on the right
    add([0.8, 0.9, 0.8, 0.7, 0.8, 0.9, 0.6, 0.5], zeros, low)  # clipped on both, tied peaks
    add([0, 0, 0, 0.6, 0, 0, 0, 0], zeros, low)  # one layer
    add([0.6, 0, 0, 0, 0, 0, 0, 0], zeros, low)  # one layer, the first
    add([0.1, 0.4, 0.8, 0.4, 0.1, 0.7, 0.1, 0], zeros, low)  # layers at half; a second hump
    add([0.04, 0.03, 0.05, 0.02, 0, 0, 0, 0], zeros, low)  # inside the null
    add([-0.3, -0.1, -0.2, -0.4, -0.3, -0.3, -0.3, -0.3], zeros, zeros - 0.5)  # below its baseline
    add([0.2, np.nan, 0.7, 0.8, 0.6, np.nan, 0.1, 0.3], zeros, low)  # layers without a value
    add([np.nan] * 8, zeros, low)
    for _ in range(12):
        layers = int(rng.integers(2, 24))
        baseline = rng.uniform(0, 0.15, layers)
        hump = np.exp(-(((np.arange(layers) - rng.uniform(0, layers)) / rng.uniform(0.5, 4)) ** 2))
        noise = 0.05 * rng.standard_normal(layers)
        add(baseline + 0.7 * hump + noise, baseline, baseline + 0.1)
    return cases


def textbook_intervals(replicates, estimate, jackknife, level):
    """Percentile and BCa by the formulas of Efron and Tibshirani 1993."""
    replicates = np.array([r for r in replicates if np.isfinite(r)])
    tail = (1 - level) / 2
    tie = np.isclose(replicates, estimate, rtol=1e-11, atol=1e-13)
    z0 = stats.norm.ppf(np.mean(np.where(tie, 0.5, replicates < estimate)))
    deviation = np.mean(jackknife) - jackknife
    a = np.sum(deviation**3) / (6 * np.sum(deviation**2) ** 1.5)
    ends = []
    for z in (stats.norm.ppf(tail), stats.norm.ppf(1 - tail)):
        share = stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
        ends.append(np.quantile(replicates, share))
    return {
        "replicates": len(replicates),
        "standard_error": np.std(replicates, ddof=1),
        "percentile_low": np.quantile(replicates, tail),
        "percentile_high": np.quantile(replicates, 1 - tail),
        "bca_low": ends[0],
        "bca_high": ends[1],
    }


def shape_answer(rows, baselines, upper, clusters, level):
    found = [shape(p, b, upper) for p, b in zip(rows, baselines, strict=True)]
    drawn = found[1 + clusters :]
    peaks = np.array([s["peak"] for s in drawn])
    outside = [s for s in drawn if not s["inside_null"]]
    answer = {
        "estimate": found[0],
        "profile": [
            textbook_intervals(column[1 + clusters :], column[0], column[1 : 1 + clusters], level)
            for column in rows.T
        ],
        "peak_share": np.bincount(peaks, minlength=rows.shape[1]) / len(peaks),
        "peak_low": int(np.quantile(peaks, (1 - level) / 2, method="inverted_cdf")),
        "peak_high": int(np.quantile(peaks, (1 + level) / 2, method="inverted_cdf")),
        "outside_share": len(outside) / len(drawn),
        "clipped_share": float(np.mean([s["clipped"] for s in outside])),
    }
    for name in ("centroid", "bandwidth"):
        every = np.array([s[name] for s in found])
        answer[name] = textbook_intervals(
            every[1 + clusters :], every[0], every[1 : 1 + clusters], level
        )
    return answer


def shape_bootstrap():
    """Profiles, peaks and widths of given resamples, every resample written out as prompts."""
    rng = np.random.default_rng(73)
    clusters = np.repeat(np.arange(9), [2, 1, 3, 1, 1, 2, 1, 4, 1])
    prompts, layers, heads, draws, resamples, level = len(clusters), 6, 4, 5, 140, 0.9
    hump = np.array([0.0, 0.05, 0.45, 0.5, 0.3, 0.05])
    values = hump[:, None] + 0.9 * rng.standard_normal((prompts, layers, heads))
    nulls = 0.1 * rng.standard_normal((prompts, draws, layers))
    counts = np.array([np.bincount(rng.integers(0, 9, 9), minlength=9) for _ in range(resamples)])
    weights = np.vstack([np.ones((1, 9)), 1 - np.eye(9), counts]).astype(int)
    listed = [[p for p in range(prompts) for _ in range(row[clusters[p]])] for row in weights]
    mean_rows = np.array([values[p].mean(axis=(0, 2)) for p in listed])
    top_rows = np.array([np.sort(values[p].mean(axis=0), axis=1)[:, -2:].mean(1) for p in listed])
    moving = np.array([np.median(nulls[p].mean(axis=0), axis=0) for p in listed])
    upper = np.full(layers, 0.35)
    fixed = np.repeat(moving[:1], len(moving), axis=0)
    return {
        "level": level,
        "clusters": clusters,
        "counts": counts,
        "values": values,
        "nulls": nulls,
        "upper": upper,
        "top_fraction": 0.5,
        "top_rows": top_rows[:25],
        "baselines": moving[:25],
        "fixed": shape_answer(mean_rows, fixed, upper, 9, level),
        "moving": shape_answer(top_rows, moving, upper, 9, level),
    }


def band():
    """Pointwise quantiles, the studentised envelope and its test, in NumPy."""
    rng = np.random.default_rng(74)
    draws = rng.standard_normal((60, 5)) * [0.1, 1, 3, 0.2, 1] + [0, 1, 2, 3, 4]
    middle, sd = np.median(draws, axis=0), np.std(draws, axis=0, ddof=1)
    z = (draws - middle) / sd
    tests = []
    for lift in (1.0, 1.7, 2.0, 2.6, 9.0):
        profile = draws.mean(axis=0) + lift * sd * np.array([1, 0, 0.1, 0.5, -1])
        everyone = np.vstack([profile, draws])
        score = (everyone - everyone.mean(axis=0)) / everyone.std(axis=0, ddof=1)
        most = score.max(axis=1)
        tests.append(
            {
                "profile": profile,
                "layer": int(np.argmax(score[0])),
                "statistic": most[0],
                "p_value": float(np.mean(most >= most[0])),
            }
        )
    return {
        "draws": draws,
        "shares": [0.05, 0.9],
        "median": middle,
        "lower": np.quantile(draws, 0.05, axis=0),
        "upper": np.quantile(draws, 0.9, axis=0),
        "simultaneous_lower": middle + np.quantile(z.min(axis=1), 0.05) * sd,
        "simultaneous_upper": middle + np.quantile(z.max(axis=1), 0.9) * sd,
        "peak_tests": tests,
    }


def head_permutation():
    """Every way to put nine heads into three layers; the p-value from SciPy."""
    scores = np.array([[0.11, 0.52, 0.07], [0.93, 0.61, 0.64], [0.02, 0.35, 0.21]])
    flat = scores.ravel()
    cases = []
    for count in (3, 1):

        def largest(a, b, c, axis=-1, count=count):
            layers = np.stack([np.sort(x, axis=axis)[..., -count:].mean(-1) for x in (a, b, c)])
            return layers.max(axis=0)

        if count == 1:  # the largest head is somewhere in any arrangement
            p_value = 1.0
        else:
            p_value = float(
                stats.permutation_test(
                    tuple(scores), largest, n_resamples=np.inf, alternative="greater"
                ).pvalue
            )
        profiles = []
        for order in itertools.permutations(range(9)):
            if any(
                order[3 * i : 3 * i + 3] != tuple(sorted(order[3 * i : 3 * i + 3]))
                for i in range(3)
            ):
                continue
            rows = np.sort(flat[list(order)].reshape(3, 3), axis=1)[:, -count:]
            profiles.append(rows.mean(axis=1))
        profiles = np.array(profiles)
        assert len(profiles) == 1680
        assert np.isclose(np.mean(profiles.max(1) >= largest(*scores) - 1e-12), p_value)
        cases.append(
            {
                "fraction": count / 3,
                "p_value": p_value,
                # What a share of draws within 5 standard deviations of this one can give.
                "range": {
                    str(share): [
                        np.quantile(profiles[:, 0], np.clip(share + side * 0.01, 0, 1))
                        for side in (-1, 1)
                    ]
                    for share in (0.1, 0.5, 0.9)
                },
            }
        )
    return {"scores": scores, "cases": cases}


def golden():
    return {
        "top_fraction": top_fraction(),
        "shapes": shapes(),
        "shape_bootstrap": shape_bootstrap(),
        "band": band(),
        "head_permutation": head_permutation(),
    }
