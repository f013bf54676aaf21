"""What a study is made from and what it makes; and the small numbers that several of them need."""

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mechsweep_analysis.figures.frame import Drawing
from mechsweep_analysis.render import FigureFile, Options
from mechsweep_analysis.summary import Metric, Run, Summary

USUAL_OPERATION = "zero"


@dataclass(frozen=True)
class Source:
    """One summary, and the results file that it was made from where that is at hand."""

    summary: Summary
    results: Path | None
    note: str  # why there is no results file
    options: Options

    def runs(self, kind: str) -> list[Run]:
        return [run for run in self.summary.runs if run.kind == kind]

    def interval(self, run: Run) -> str:
        return self.options.interval or run.interval


@dataclass(frozen=True)
class Product:
    """A part of the report about several runs, or about what no single figure shows."""

    name: str
    title: str
    said: str
    numbers: dict
    figures: list[FigureFile] = field(default_factory=list)
    documents: dict[str, str] = field(default_factory=dict)  # by file name, for tables/
    header: list[str] = field(default_factory=list)  # of a table for people
    rows: list[list] = field(default_factory=list)


def figure_file(name: str, drawing: Drawing, options: Options) -> FigureFile:
    pdf = drawing.pdf() if options.pdf else None
    return FigureFile(name, drawing.caption, drawing.png(), drawing.svg(), pdf)


def heads_by_operation(metric: Metric) -> dict[str, Metric]:
    """{operation: metric [layer, head]}, "" for a run of one operation; empty for other axes."""
    axes = set(metric.axis_names)
    if axes == {"layer", "head"}:
        return {"": metric.ordered(("layer", "head"))}
    if axes != {"layer", "head", "operation"}:
        return {}
    return {
        operation: metric.at({"operation": place}).ordered(("layer", "head"))
        for place, operation in enumerate(metric.axis("operation").values)
    }


def usual(operations: dict[str, Metric]) -> str:
    """The operation that a single number is of: zero where there is one, else the first."""
    return USUAL_OPERATION if USUAL_OPERATION in operations else next(iter(operations))


def head_names(metric: Metric) -> list[str]:
    """`L0H0`, ... of a metric [layer, head] in the order of its flattened mean."""
    return [
        f"L{layer}H{head}"
        for layer in metric.axis("layer").values
        for head in metric.axis("head").values
    ]


def relative_depths(metric: Metric, layers: int) -> np.ndarray:
    """(l + 1/2) / L of every head of a metric [layer, head], flattened."""
    depths = (np.array(metric.axis("layer").values) + 0.5) / layers
    return np.repeat(depths, len(metric.axis("head").values))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 for the smallest; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation over the places where both are finite; NaN where it is undefined."""
    there = np.isfinite(first) & np.isfinite(second)
    if there.sum() < 3:
        return math.nan
    ranks = [average_ranks(values[there]) for values in (first, second)]
    if min(np.ptp(one) for one in ranks) == 0:
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def csv_text(columns: list[str], rows: list[list]) -> str:
    """Numbers with 9 significant digits; one that is missing is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue()


def _plain(value):
    if isinstance(value, float):
        return f"{value:.9g}" if math.isfinite(value) else ""
    return value
