"""Horizontal bars with intervals, shared by the figures of named things; not a figure itself."""

from dataclasses import dataclass

import numpy as np

from mechsweep_analysis.figures.frame import (
    Body,
    Context,
    Drawing,
    build,
    shorten,
    text_width,
    wrap,
)
from mechsweep_analysis.style import Scale, quantity, scale_of

WIDTH = 5.4
ROW = 0.215
WIDEST_LABEL = 2.6
RISE, FALL, PLAIN = "#b2182b", "#2166ac", "#4477aa"


@dataclass(frozen=True)
class Bar:
    """One row; the interval's ends may be NaN."""

    label: str
    mean: float
    low: float
    high: float


def draw_bars(
    context: Context, bars: list[Bar], what: str, label: str, notes: list[str], caption: str
) -> Drawing:
    """Draws the bars downwards in the given order; `label` names what a row is."""
    scale = scale_of(context.run, context.metric)
    labels = [shorten(bar.label, 8, WIDEST_LABEL) for bar in bars]
    widest = max((text_width(words, 8) for words in labels), default=0.0)
    without = sum(not (np.isfinite(bar.low) and np.isfinite(bar.high)) for bar in bars)
    if without:
        notes = [*notes, f"No interval for {without} of the bars."]
    body = Body(
        what=what,
        width=WIDTH,
        height=max(len(bars) * ROW + 0.15, 1.2),
        left=0.5 + widest,
        shown="Bars: means over prompts; lines: {interval}",
        notes=notes,
    )
    figure, axes = build(context, body)
    rows = np.arange(len(bars))
    means = np.array([bar.mean for bar in bars])
    colours = [RISE if mean >= 0 else FALL for mean in means]
    axes.barh(rows, means, height=0.72, color=colours if scale is Scale.EFFECT else PLAIN)
    low, high = (np.array([getattr(bar, end) for bar in bars]) for end in ("low", "high"))
    axes.hlines(rows, low, high, color="black", linewidth=1.1)
    axes.plot(low, rows, "k|", high, rows, "k|", markersize=5)
    axes.axvline(0, color="black", linewidth=0.9)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(rows, labels)
    axes.set_ylabel(label, size=9)
    axes.set_xlabel("\n".join(wrap(quantity(context.metric), 9, WIDTH)), size=9)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return Drawing(figure, caption)
