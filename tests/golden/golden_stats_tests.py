"""Expected values for tests: sign flips, several cells at once, random draws, null sources."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

ALTERNATIVES = ("two-sided", "greater", "less")


def cluster_sums(column, clusters):
    keep = ~np.isnan(column)
    return np.bincount(clusters[keep], weights=column[keep], minlength=clusters.max() + 1)


def paired():
    """Differences by cluster; SciPy turns the signs of the clusters' sums."""
    rng = np.random.default_rng(81)
    clusters = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8])
    first = rng.standard_normal((14, 4)) + [0.0, 0.5, 1.0, -0.4]
    second = rng.standard_normal((14, 4)) * 0.5
    first[3, 1] = second[8, 1] = np.nan
    first[:, 3] = np.round(first[:, 3])  # ties
    second[:, 3] = np.round(second[:, 3])
    differences = first - second
    cells = []
    for column in differences.T:
        sums, prompts = cluster_sums(column, clusters), int(np.sum(~np.isnan(column)))
        cells.append(
            {
                "mean": np.nanmean(column),
                "prompts": prompts,
                "p_values": [
                    float(
                        stats.permutation_test(
                            (sums,),
                            lambda x, axis=-1, n=prompts: np.sum(x, axis=axis) / n,
                            permutation_type="samples",
                            n_resamples=np.inf,
                            alternative=alternative,
                        ).pvalue
                    )
                    for alternative in ALTERNATIVES
                ],
            }
        )
    return {"clusters": clusters, "first": first, "second": second, "cells": cells}


def many_clusters():
    """Whole numbers: the law of the sum under all 2^40 sign patterns is a convolution."""
    rng = np.random.default_rng(82)
    values = rng.integers(-9, 13, 40)
    law = np.array([1.0])
    for size in np.abs(values):
        step = np.zeros(2 * size + 1)
        step[0] += 0.5
        step[-1] += 0.5
        law = np.convolve(law, step)
    support = np.arange(len(law)) - len(law) // 2
    total = values.sum()
    two_sided = law[np.abs(support) >= abs(total)].sum()
    return {"values": values, "two_sided": two_sided, "greater": law[support >= total].sum()}


def max_statistic():
    """All sign patterns of eight clusters, written out."""
    rng = np.random.default_rng(83)
    clusters = np.array([0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 6, 7])
    common = rng.standard_normal((12, 1))
    values = (0.6 * common + rng.standard_normal((12, 6))) * [1, 1, 5, 0.2, 1, 1]
    values += [0.0, 0.9, 2.0, 0.3, 0.0, -0.8]
    values[[3, 7], 4] = np.nan  # clusters 2 and 4 leave the cell
    sums = np.array([cluster_sums(column, clusters) for column in values.T])  # [C, G]
    prompts = np.sum(~np.isnan(values), axis=0)
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    cases = []
    for statistic, alternative in itertools.product(("studentised", "mean"), ALTERNATIVES):
        scale = np.sqrt((sums**2).sum(axis=1)) if statistic == "studentised" else prompts
        table = signs @ sums.T / scale  # [256, C], the first row as observed
        size = {"two-sided": np.abs(table), "greater": table, "less": -table}[alternative]
        reach = size[0] - 1e-12
        cases.append(
            {
                "statistic": statistic,
                "alternative": alternative,
                "observed": table[0],
                "p_values": np.mean(size >= reach, axis=0),
                "adjusted": [np.mean(size.max(axis=1) >= r) for r in reach],
            }
        )
    return {"clusters": clusters, "values": values, "cases": cases}


def multiple_comparisons():
    rng = np.random.default_rng(84)
    lists = [
        np.array([0.01, 0.04, 0.04, 0.001, 0.9, 0.5, 0.04, 1.0, 0.0, 0.2]),
        rng.uniform(0, 1, 25) ** 3,
        np.array([0.6]),
        np.array([0.03, np.nan, 0.2, np.nan, 0.03, 0.01]),
    ]
    result = []
    for p in lists:
        tests = ~np.isnan(p)
        q, adjusted = np.full(len(p), np.nan), np.full(len(p), np.nan)
        q[tests] = stats.false_discovery_control(p[tests])
        adjusted[tests] = multipletests(p[tests], method="holm")[1]
        result.append({"p": p, "q": q, "holm": adjusted})
    return result


def random_draws():
    """SciPy's Monte Carlo test, handed the draws that it would have made."""
    rng = np.random.default_rng(85)
    draws = np.round(rng.gamma(2.0, size=199), 2)
    shares = [0.0, 0.025, 0.5, 0.975, 1.0]
    cases = []
    for observed in (0.05, float(draws[7]), 2.0, 5.5, 40.0):
        p_values = [
            float(
                stats.monte_carlo_test(
                    np.array([observed]),
                    lambda size: draws.reshape(size),
                    lambda x, axis=-1: np.sum(x, axis=axis),
                    n_resamples=len(draws),
                    alternative=alternative,
                ).pvalue
            )
            for alternative in ALTERNATIVES
        ]
        z = (observed - draws.mean()) / draws.std(ddof=1)
        cases.append({"observed": observed, "p_values": p_values, "z": z})
    return {
        "draws": draws,
        "shares": shares,
        "quantiles": np.quantile(draws, shares),
        "mean": draws.mean(),
        "sd": draws.std(ddof=1),
        "cases": cases,
    }


def possible(tokens, operations, i, lag, prefix, offset, taken):
    """Whether operation i may get this lag; `taken` are earlier (query, source) pairs."""
    query, true_source = operations[i]
    source = query - lag
    key = source + offset
    targets = {tokens[true_source + offset]} | set(tokens[query + 1 : query + 2])
    return (
        prefix <= source < query
        and prefix <= key < query
        and tokens[source] != tokens[query]
        and tokens[key] not in targets
        and (query, source) not in taken
    )


def outcomes(tokens, operations, set_lags, prefix, offset, max_shift):
    """The probability of every assignment of sources, as fractions; by (source, origin)."""
    law = Counter()

    def step(i, left, taken, path, weight):
        if i == len(operations):
            law[path] += weight
            return
        query, own = operations[i][0], operations[i][0] - operations[i][1]

        def fits(lag):
            return possible(tokens, operations, i, lag, prefix, offset, taken)

        def go(lag, origin, share, rest):
            pair = (query, query - lag)
            step(i + 1, rest, (*taken, pair), (*path, (query - lag, origin)), weight * share)

        for origin, stock in (("shuffled", left), ("drawn", set_lags)):
            choice = {lag: n for lag, n in stock.items() if n > 0 and fits(lag)}
            for lag, n in choice.items():
                rest = left - Counter([lag]) if origin == "shuffled" else left
                go(lag, origin, Fraction(n, sum(choice.values())), rest)
            if choice:
                return
        for shift in range(1, max_shift + 1):
            moved = [
                lag
                for lag in (own - shift, own + shift)
                if fits(lag) and tokens[query - lag + offset] != tokens[query]
            ]
            for lag in moved:
                go(lag, "shifted", Fraction(1, len(moved)), left)
            if moved:
                return
        step(i + 1, left, taken, (*path, (-1, "none")), weight)

    step(0, Counter(q - s for q, s in operations), (), (), Fraction(1))
    assert sum(law.values()) == 1
    return law


def copies(tokens, prefix, offset):
    """All (query, source) whose key counts, latest occurrence."""
    found = []
    for query in range(prefix, len(tokens)):
        sources = [s for s in range(prefix, query) if tokens[s] == tokens[query]]
        if sources and prefix <= sources[-1] + offset < query:
            found.append((query, sources[-1]))
    return found


def antecedents():
    """Small prompts with every outcome's probability; 1e-6 of correct programs fail each test."""
    mixed = {2: 3, 3: 1, 4: 2, 5: 1, 7: 4}
    cases = [
        # Lags of 2 to 8, shuffled as far as they fit.
        {"tokens": [7, 1, 8, 6, 7, 5, 7, 2, 3, 7, 8, 4, 8, 3]},
        {"tokens": [5, 6, 4, 2, 8, 3, 8, 5, 7, 3, 5, 8, 6, 6]},
        {"tokens": [1, 1, 5, 1, 4, 6, 6, 8, 2, 7, 4, 8, 1, 2]},  # one is left without
        # One period: no lag of the prompt fits; two kinds of keys.
        {"tokens": [9, 1, 2, 3, 4, 1, 2, 3, 4], "prefix": 1},
        {"tokens": [1, 2, 3, 4, 1, 2, 3, 4], "offset": 0},
        {"tokens": [9, 9, 1, 2, 3, 1, 2, 3], "prefix": 2, "offset": -1},
        # No lag of the set fits either: they are moved, by one, or by two either way.
        {"tokens": [1, 2, 3, 4, 1, 2, 3, 4], "set_lags": {4: 9}, "max_shift": 2},
        {"tokens": [7, 8, 9, 1, 2, 2, 3, 4, 1, 2, 2, 3, 4], "set_lags": {5: 9}, "max_shift": 3},
        {"tokens": [1, 2, 1, 2, 1, 2], "set_lags": {2: 3}, "max_shift": 3},  # nothing fits
        # Two operations of one query.
        {"tokens": [4, 1, 2, 1, 3, 5, 1, 2], "operations": [(6, 1), (6, 3), (7, 2)]},
    ]
    result = []
    for case in cases:
        case = {"prefix": 0, "offset": 1, "max_shift": 0, "set_lags": mixed, **case}
        case.setdefault("operations", copies(case["tokens"], case["prefix"], case["offset"]))
        law = outcomes(
            case["tokens"],
            case["operations"],
            Counter(case["set_lags"]),
            case["prefix"],
            case["offset"],
            case["max_shift"],
        )
        case["set_lags"] = [case["set_lags"].get(lag, 0) for lag in range(10)]
        case["outcomes"] = [
            {
                "sources": [source for source, _ in path],
                "origins": [origin for _, origin in path],
                "probability": float(p),
            }
            for path, p in sorted(law.items())
        ]
        case["draws"] = max(3000, int(6 / float(min(law.values()))))  # at least 6 of each expected
        case["critical"] = float(stats.chi2.isf(1e-6, len(law) - 1)) if len(law) > 1 else 0.0
        result.append(case)
    return result


def rates():
    """Bounds for the number of rejections at .05 in 2000 null data sets.

    The number is binomial. `low` and `high` leave out at most 1e-5 of it on either side, so that
    a right test with another seed fails twice in 100,000. Holm rejects anything in m = 20
    independent tests when the smallest p is at most .05 / m: 1 - (1 - .05 / m)^m.
    """
    result = {"trials": 2000, "level": 0.05}
    holm = 1 - (1 - 0.05 / 20) ** 20
    for name, rate in (("nominal", 0.05), ("holm", holm)):
        low, high = stats.binom.ppf(1e-5, 2000, rate), stats.binom.isf(1e-5, 2000, rate)
        result[name] = [int(low), int(high)]
    return result


def golden():
    return {
        "paired": paired(),
        "many_clusters": many_clusters(),
        "max_statistic": max_statistic(),
        "multiple_comparisons": multiple_comparisons(),
        "random_draws": random_draws(),
        "antecedents": antecedents(),
        "rates": rates(),
        "chi_square_1e_6": {str(df): float(stats.chi2.isf(1e-6, df)) for df in (9, 14, 19)},
    }
