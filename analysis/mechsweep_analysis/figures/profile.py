"""Curve over one numbered axis, such as the mean over heads of each layer, with its interval."""

import numpy as np

from mechsweep_analysis.figures.frame import (
    Body,
    Context,
    Drawing,
    build,
    number_room,
    tick_places,
    wrap,
)
from mechsweep_analysis.style import LAYER_PROFILE, Scale, quantity, scale_of, show
from mechsweep_analysis.summary import Metric

NAME = "profile"
WIDTH, HEIGHT = 6.4, 3.0
MOST_MARKERS = 60
PREFERRED = ("layer", "position")


def choose(metric: Metric) -> tuple[str, ...] | None:
    # Draws have numbers, but no order.
    numbered = [axis.name for axis in metric.axes if axis.is_numeric and axis.name != "draw"]
    if not numbered:
        return None
    return (next((name for name in PREFERRED if name in numbered), numbered[0]),)


def draw(context: Context) -> Drawing:
    metric = context.metric
    axis = metric.axes[0]
    low, high = metric.interval(context.interval)
    places = np.arange(len(axis.values))
    words = f"by {axis.name}"
    if metric.name.endswith(LAYER_PROFILE) and "over heads" not in metric.long_name:
        words += ", mean over heads"
    shown = "Line: mean over prompts; band: {interval}"
    body = Body(what=words, width=WIDTH, height=HEIGHT, left=0.95, shown=shown)
    figure, axes = build(context, body)
    axes.fill_between(places, low, high, color="#4477aa", alpha=0.25, linewidth=0)
    marker = "o" if len(places) <= MOST_MARKERS else None
    axes.plot(places, metric.mean, color="#24557f", linewidth=1.5, marker=marker, markersize=3.5)
    if len(places) <= MOST_MARKERS:
        axes.vlines(places, low, high, color="#24557f", linewidth=0.8)
    if scale_of(context.run, metric) is not Scale.LEVEL:
        axes.axhline(0, color="#555555", linewidth=0.8, linestyle="--")
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_xticks(*tick_places(axis, WIDTH / len(places), number_room(axis)))
    axes.set_xlabel(_axis_words(axis.name), size=9)
    axes.set_ylabel("\n".join(wrap(quantity(metric), 9, HEIGHT)), size=9)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return Drawing(figure, _caption(context, axis))


def _axis_words(name: str) -> str:
    return "token position (index, prefix included)" if name == "position" else name


def _caption(context: Context, axis) -> str:
    metric = context.metric
    caption = f"Curve of {quantity(metric)} over {len(axis.values)} values of {axis.name}"
    caption += f" ({context.where})." if context.where else "."
    if np.isfinite(metric.mean).any():
        peak, trough = int(np.nanargmax(metric.mean)), int(np.nanargmin(metric.mean))
        for word, place in (("Largest", peak), ("Smallest", trough)):
            value = show(float(metric.mean[place]))
            caption += f" {word}: {value} at {axis.name} {axis.values[place]}."
    return caption
