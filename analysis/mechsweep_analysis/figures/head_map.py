"""Heat map of every head: layers downwards, heads to the right."""

import numpy as np

from mechsweep_analysis.figures.colour_grid import draw_grid
from mechsweep_analysis.figures.frame import Context, Drawing
from mechsweep_analysis.style import quantity, show
from mechsweep_analysis.summary import Metric
from mechsweep_analysis.top_table import top_five

NAME = "head_map"


def choose(metric: Metric) -> tuple[str, ...] | None:
    names = metric.axis_names
    return ("layer", "head") if "layer" in names and "head" in names else None


def draw(context: Context) -> Drawing:
    metric = context.metric
    layers, heads = metric.mean.shape
    caption = f"Heat map of {quantity(metric)} for {layers} layers by {heads} heads"
    caption += f" ({context.where})." if context.where else "."
    if np.isfinite(metric.mean).any():
        caption += f" Largest: {_cell(metric, np.nanargmax(metric.mean))}."
        caption += f" Smallest: {_cell(metric, np.nanargmin(metric.mean))}."
    notes = [f"Top five: {top_five(context.run, metric)}."]
    labels = ("head", "layer")
    return draw_grid(context, "by layer and head", labels, "the tables have", caption, notes)


def _cell(metric: Metric, flat: int) -> str:
    row, column = np.unravel_index(flat, metric.mean.shape)
    layer, head = metric.axes[0].values[row], metric.axes[1].values[column]
    return f"L{layer}H{head} with {show(float(metric.mean[row, column]))}"
