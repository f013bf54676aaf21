"""Draws every figure and makes every table of a summary, in memory."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mechsweep_analysis import figures
from mechsweep_analysis.figures import head_map
from mechsweep_analysis.figures.frame import Context
from mechsweep_analysis.style import is_headline
from mechsweep_analysis.summary import Metric, Run, Summary
from mechsweep_analysis.top_table import Row, headline, top_five, top_rows

LONGEST_NAME = 150  # of a file, without its ending; file systems allow 255 bytes


@dataclass(frozen=True)
class Options:
    """What a user chose."""

    interval: str | None = None  # None: what the config of each run asked for
    top: int = 20
    pdf: bool = False  # write every figure as PDF, too


@dataclass(frozen=True)
class FigureFile:
    """A figure as files; `name` is that of both, without an ending."""

    name: str
    caption: str
    png: bytes
    svg: bytes
    pdf: bytes | None = None


@dataclass(frozen=True)
class Table:
    """The strongest heads of one metric, of one value of its further axes."""

    name: str
    where: str
    rows: list[Row]


@dataclass(frozen=True)
class MetricResult:
    """Everything that a report shows of one metric."""

    metric: Metric
    is_headline: bool
    numbers: dict[str, float | int]
    figures: list[FigureFile]
    tables: list[Table]
    left_out: int  # slices along further axes of which no figure is drawn


@dataclass(frozen=True)
class RunResult:
    """Everything that a report shows of one run; the headline metrics come first."""

    run: Run
    interval: str
    metrics: list[MetricResult]


def render_runs(summary: Summary, options: Options) -> Iterator[RunResult]:
    for run in summary.runs:
        interval = options.interval or run.interval
        ordered = sorted(run.metrics.values(), key=lambda metric: not is_headline(run, metric))
        yield RunResult(
            run, interval, [_render(run, metric, interval, options) for metric in ordered]
        )


def _render(run: Run, metric: Metric, interval: str, options: Options) -> MetricResult:
    context = Context(run, metric, interval, options.top)
    plans = figures.plan_figures(metric)
    drawn, tables = [], []
    for plan in plans:
        drawing = figures.draw(plan, context)
        name = file_name(run.run_id, metric.name, plan.slug, plan.figure.NAME)
        pdf = drawing.pdf() if options.pdf else None
        drawn.append(FigureFile(name, drawing.caption, drawing.png(), drawing.svg(), pdf))
        if plan.figure is head_map:
            cut = metric.at(plan.fixed).ordered(plan.axes)
            rows = top_rows(run, cut, interval, options.top)
            tables.append(
                Table(file_name(run.run_id, metric.name, plan.slug, "top"), plan.where, rows)
            )
    return MetricResult(
        metric=metric,
        is_headline=is_headline(run, metric),
        numbers=headline(run, metric),
        figures=drawn,
        tables=tables,
        left_out=plans[0].slices - min(plans[0].slices, figures.MAX_SLICES) if plans else 0,
    )


def top_five_lines(result: RunResult) -> list[str]:
    """One line for each score [L, H] of a run, for the terminal."""
    return [
        f"top five of {result.run.run_id}, {one.metric.name}: {top_five(result.run, one.metric)}"
        for one in result.metrics
        if one.is_headline and set(one.metric.axis_names) == {"layer", "head"}
    ]


def file_name(*parts: str) -> str:
    """A file name from ids, the same on every system; a digest keeps changed ones apart."""
    whole = "--".join(part for part in parts if part)
    plain = re.sub(r"[^A-Za-z0-9._,=-]+", "-", whole.replace("/", "--")).lstrip(".-") or "figure"
    is_plain = re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._,=/-]*", whole) and whole[0] != "."
    unambiguous = not any("--" in part for part in parts)
    if is_plain and unambiguous and len(plain) <= LONGEST_NAME:
        return plain
    digest = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:10]
    if len(plain) > LONGEST_NAME:
        plain = f"{plain[: LONGEST_NAME - 60]}..{plain[-40:]}"
    return f"{plain}-{digest}"
