"""Every figure there is, and which of them a metric gets."""

import itertools
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from mechsweep_analysis.figures import (
    head_map,
    named_bars,
    position_grid,
    profile,
    top_heads,
)
from mechsweep_analysis.figures.frame import Context, Drawing, settings
from mechsweep_analysis.summary import Metric

# The only list, in the order of a report.
FIGURES: tuple[ModuleType, ...] = (head_map, top_heads, position_grid, profile, named_bars)

# Along this axis stand quantities of several units, such as a profile's peak and its width.
QUANTITY_AXIS = "quantity"

# Slices of one metric that are drawn when it has further axes.
MAX_SLICES = 6


@dataclass(frozen=True)
class Plan:
    """One figure to draw: `fixed` says at which index of which axis the metric is cut."""

    figure: ModuleType
    axes: tuple[str, ...]
    fixed: dict[str, int]
    where: str  # the cut in words, such as "operation zero"; empty without a cut
    slug: str  # the same for a file's name: "operation=zero"
    slices: int  # how many cuts there are; more than MAX_SLICES means that some are not drawn


def plan_figures(metric: Metric) -> list[Plan]:
    """The figures of one metric, those that show most of its axes at once."""
    if metric.is_scalar or metric.mean.size == 0 or QUANTITY_AXIS in metric.axis_names:
        return []
    chosen = [(figure, figure.choose(metric)) for figure in FIGURES]
    chosen = [(figure, axes) for figure, axes in chosen if axes]
    most = max((len(axes) for _, axes in chosen), default=0)
    plans = []
    for figure, axes in chosen:
        if len(axes) == most:
            plans += _cuts(metric, figure, axes)
    return plans


def draw(plan: Plan, context: Context) -> Drawing:
    """Draws a plan; `context` has the whole metric."""
    metric = context.metric.at(plan.fixed).ordered(plan.axes)
    with settings():
        return plan.figure.draw(context.cut(metric, plan.where))


def _cuts(metric: Metric, figure: ModuleType, axes: tuple[str, ...]) -> list[Plan]:
    others = [axis for axis in metric.axes if axis.name not in axes]
    indices = [range(len(axis.values)) for axis in others]
    cuts = [
        {axis.name: index for axis, index in zip(others, combination, strict=True)}
        for combination in itertools.product(*indices)
    ]
    shown = sorted(_strongest(metric, cuts)[:MAX_SLICES])
    plans = []
    for number in shown:
        pairs = [(axis.name, axis.values[cuts[number][axis.name]]) for axis in others]
        where = ", ".join(f"{name} {value}" for name, value in pairs)
        slug = ",".join(f"{name}={value}" for name, value in pairs)
        plans.append(Plan(figure, axes, cuts[number], where, slug, len(cuts)))
    return plans


def _strongest(metric: Metric, cuts: list[dict[str, int]]) -> list[int]:
    """Numbers of the cuts, those with the largest absolute mean in a cell first."""

    def largest(number: int) -> float:
        values = np.abs(metric.at(cuts[number]).mean)
        return float(np.max(values, initial=-1.0, where=np.isfinite(values)))

    return sorted(range(len(cuts)), key=lambda number: (-largest(number), number))
