"""Bars of named things: sets of heads, single named heads, operations."""

import numpy as np

from mechsweep_analysis.figures.bars import Bar, draw_bars
from mechsweep_analysis.figures.frame import Context, Drawing
from mechsweep_analysis.style import quantity, show
from mechsweep_analysis.summary import Metric

NAME = "bars"
MOST_BARS = 60
PREFERRED = ("set", "named_head")
WORDS = {"set": "set", "named_head": "head", "named_neuron": "neuron"}


def choose(metric: Metric) -> tuple[str, ...] | None:
    for name in PREFERRED:
        if name in metric.axis_names:
            return (name,)
    # Of a few operations at many layers or positions, the curves say more than bars at each.
    named = all(not axis.is_numeric for axis in metric.axes)
    return metric.axis_names[:1] if named else None


def draw(context: Context) -> Drawing:
    metric = context.metric
    axis = metric.axes[0]
    low, high = metric.interval(context.interval)
    places = _shown(metric.mean)
    bars = [
        Bar(str(axis.values[at]), float(metric.mean[at]), float(low[at]), float(high[at]))
        for at in places
    ]
    words = WORDS.get(axis.name, axis.name)
    notes = []
    if len(places) < len(axis.values):
        notes.append(
            f"The {len(places)} of {len(axis.values)} with the largest absolute means are shown."
        )
    caption = f"Bars of {quantity(metric)} by {words}"
    caption += f" ({context.where}): " if context.where else ": "
    caption += "; ".join(f"{bar.label} {show(bar.mean)}" for bar in bars[:10])
    caption += "; …" if len(bars) > 10 else "."
    return draw_bars(context, bars, f"by {words}", words, notes, caption)


def _shown(means: np.ndarray) -> list[int]:
    """Indices in the file's order; of too many, those with the largest absolute means."""
    strength = np.where(np.isfinite(means), np.abs(means), -1.0)
    return sorted(np.argsort(-strength, kind="stable")[:MOST_BARS].tolist())
