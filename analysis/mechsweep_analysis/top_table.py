"""The heads with the strongest effect, and the headline numbers of a metric."""

import csv
import io
import math
from dataclasses import dataclass

import numpy as np

from mechsweep_analysis.style import show, strongest_first
from mechsweep_analysis.summary import INTERVALS, Metric, Run

COLUMNS = (
    "place",
    "layer",
    "head",
    "mean",
    "interval_low",
    "interval_high",
    "standard_error",
    "prompts",
    "clusters",
    "rank",
)
TOP_TEN = 10


@dataclass(frozen=True)
class Row:
    """One head of a table; `rank` is the summary's, 1 for the largest mean."""

    place: int
    layer: int
    head: int
    mean: float
    interval_low: float
    interval_high: float
    standard_error: float
    prompts: int
    clusters: int
    rank: int

    @property
    def name(self) -> str:
        return f"L{self.layer}H{self.head}"


def top_rows(run: Run, metric: Metric, interval: str, top: int) -> list[Row]:
    """The first `top` heads of a metric [L, H], strongest first; heads without a mean are left out.

    Ties are broken by layer, then head.
    """
    means = metric.mean.ravel()
    keys = -strongest_first(run, metric) * means
    order = [place for place in np.argsort(keys, kind="stable") if math.isfinite(means[place])]
    low, high = metric.interval(interval)
    ranks = metric.arrays.get("rank", np.zeros(metric.mean.shape, dtype=np.int32))
    rows = []
    for place, cell in enumerate(order[:top], start=1):
        at = np.unravel_index(cell, metric.mean.shape)
        rows.append(
            Row(
                place=place,
                layer=metric.axis("layer").values[at[0]],
                head=metric.axis("head").values[at[1]],
                mean=float(metric.mean[at]),
                interval_low=float(low[at]),
                interval_high=float(high[at]),
                standard_error=float(metric.arrays["standard_error"][at]),
                prompts=int(metric.arrays["prompts"][at]),
                clusters=int(metric.arrays["clusters"][at]),
                rank=int(ranks[at]),
            )
        )
    return rows


def top_five(run: Run, metric: Metric) -> str:
    """`L18H6 0.930, L17H4 0.861, ...` of a metric [L, H], strongest first."""
    rows = top_rows(run, metric, INTERVALS[0], 5)
    return ", ".join(f"{row.name} {show(row.mean)}" for row in rows) or "no values"


def as_csv(rows: list[Row]) -> str:
    """The rows with 9 significant digits; a number that is missing is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_plain(getattr(row, column)) for column in COLUMNS])
    return out.getvalue()


def _plain(value) -> str:
    if isinstance(value, float):
        return f"{value:.9g}" if math.isfinite(value) else ""
    return str(value)


def headline(run: Run, metric: Metric) -> dict[str, float | int]:
    """Numbers that say how a metric is spread over its cells."""
    means = metric.mean[np.isfinite(metric.mean)]
    if not means.size:
        return {"cells": 0}
    sign = strongest_first(run, metric)
    strongest = -sign * np.sort(-sign * means)[:TOP_TEN]
    return {
        "cells": int(means.size),
        "positive": int((means > 0).sum()),
        "largest": float(means.max()),
        "smallest": float(means.min()),
        "median": float(np.median(means)),
        "top_ten_mean": float(strongest.mean()),
        "top_ten_median": float(np.median(strongest)),
    }
