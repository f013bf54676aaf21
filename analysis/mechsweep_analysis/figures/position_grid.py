"""Grid of layers by token positions, as for patching the residual stream."""

import numpy as np

from mechsweep_analysis.figures.colour_grid import draw_grid
from mechsweep_analysis.figures.frame import Context, Drawing
from mechsweep_analysis.style import quantity, show
from mechsweep_analysis.summary import Metric

NAME = "position_grid"


def choose(metric: Metric) -> tuple[str, ...] | None:
    names = metric.axis_names
    return ("layer", "position") if "layer" in names and "position" in names else None


def draw(context: Context) -> Drawing:
    metric = context.metric
    layers, positions = metric.mean.shape
    caption = f"Grid of {quantity(metric)} for {layers} layers by {positions} token positions"
    caption += f" ({context.where})." if context.where else "."
    if np.isfinite(metric.mean).any():
        row, column = np.unravel_index(np.nanargmax(metric.mean), metric.mean.shape)
        layer, position = metric.axes[0].values[row], metric.axes[1].values[column]
        largest = show(float(metric.mean[row, column]))
        caption += f" Largest: {largest} at layer {layer}, position {position}."
    labels = ("token position (index, prefix included)", "layer")
    where = "the summary file has"
    return draw_grid(context, "by layer and token position", labels, where, caption)
